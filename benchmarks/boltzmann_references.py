"""How far sets of particles can be trusted: `python benchmarks/boltzmann_references.py`.

Makes (or finds) the sets of boltzmann_sets.py, each law from two independent seeds, and asks

    R-hat       of the energy, worst over the ladder of temperatures: at most 1.02
    exchanges   accepted between neighbouring temperatures, the rarest: at least a fifth
    seeds       mean energies of two runs apart by at most four standard errors (of correlated states)
    energies    at every temperature against published means: at most 0.15 of the spread there, because those
                are means of about 4,000 correlated states

and gives the *floor*: the distances W1 of energies and of pair distances (radial distribution) between the
two seeds, the least that any sampler can be found to have; once for the whole sets and once for 10,000 draws
of one against all of the other.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from bars import Bar, bars_text, check_exit_code, compare
from boltzmann_sets import FOLDER, SETS
from measuring import limit_threads
from numpy.typing import NDArray
from reporting import markdown_table, run_header, write_markdown, write_table
from scipy.stats import wasserstein_distance
from survival_pictures import new_figure, save_figure

from sciffusion.datasets import ParticleDataset

__all__ = ["energies_by_temperature", "floors", "main", "pair_distances", "reference_bars", "summary"]

#: Means and spreads of the energy in about 4,000 correlated states of an earlier, independent program.
EARLIER = {
    "dw4": {1.0: (-22.5, 1.9), 1.5: (-20.8, 2.6), 2.0: (-19.4, 3.1)},
    "lj13": {
        0.4: (-24.9, 3.0),
        0.47: (-21.5, 3.1),
        0.55: (-18.1, 3.5),
        0.65: (-14.0, 4.2),
        0.78: (-8.2, 5.2),
        0.95: (-1.1, 6.1),
        1.2: (7.8, 6.9),
        1.5: (17.0, 8.1),
        2.0: (30.9, 9.7),
    },
}
LADDERS = {"dw4": "dw4 T=1", "lj13": "lj13 T=.4"}
FEW = 10_000
Pairs = dict[str, list[ParticleDataset]]


def pair_distances(configurations: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return all distances of distinct pairs, one after the other."""
    first, second = np.triu_indices(configurations.shape[1], 1)
    differences = configurations[:, first].astype(np.float64) - configurations[:, second]
    distances: NDArray[np.float64] = np.sqrt((differences**2).sum(axis=2)).reshape(-1)
    return distances


def summary(sets: Pairs) -> pd.DataFrame:
    """Give one row a set and seed: energy, its error, convergence and cost."""
    rows = []
    for name, runs in sets.items():
        for seed, found in enumerate(runs):
            known, rates = found.diagnostics, found.diagnostics["swap_rates"]
            spread = float(found.energies.std())
            rows.append(
                {
                    "set": name,
                    "seed": seed,
                    "states": len(found),
                    "mean E": float(found.energies.mean()),
                    "error": spread / float(np.sqrt(known["effective_size"])),
                    "spread E": spread,
                    "effective states": float(known["effective_size"]),
                    "worst R-hat": float(known["r_hat"].max()),
                    "rarest exchange": float(rates.min()) if len(rates) else float("nan"),
                    "CPU s": float(known["cpu_seconds"]),
                }
            )
    return pd.DataFrame(rows).set_index(["set", "seed"])


def energies_by_temperature(sets: Pairs) -> pd.DataFrame:
    """Give mean energies along the two ladders, both seeds, beside the earlier numbers."""
    rows = []
    for system, name in LADDERS.items():
        means = [run.diagnostics["mean_energies"] for run in sets[name]]
        hats = [run.diagnostics["r_hat"] for run in sets[name]]
        for place, temperature in enumerate(sets[name][0].diagnostics["temperatures"]):
            earlier, spread = EARLIER[system][round(float(temperature), 4)]
            ours = float(np.mean([mean[place] for mean in means]))
            rows.append(
                {
                    "system": system,
                    "T": float(temperature),
                    **{f"seed {seed}": float(mean[place]) for seed, mean in enumerate(means)},
                    "earlier": earlier,
                    "earlier spread": spread,
                    "difference / spread": (ours - earlier) / spread,
                    "R-hat": max(float(hat[place]) for hat in hats),
                }
            )
    return pd.DataFrame(rows).set_index(["system", "T"])


def floors(sets: Pairs) -> pd.DataFrame:
    """Give the distances between two seeds of each law, whole and 10,000 draws against the whole."""
    rows = []
    for name, (first, second) in sets.items():
        apart = [pair_distances(run.configurations) for run in (first, second)]
        few = min(FEW, len(second) // 2)
        of_few = len(apart[1]) // len(second) * few
        places = [slice(start, start + few) for start in range(0, len(second) - few + 1, few)]
        rows.append(
            {
                "set": name,
                "W1 E": wasserstein_distance(first.energies, second.energies),
                "W1 RDF": wasserstein_distance(*apart),
                "draws": few,
                "W1 E of draws": np.mean(
                    [wasserstein_distance(first.energies, second.energies[place]) for place in places]
                ),
                "W1 RDF of draws": wasserstein_distance(apart[0], apart[1][:of_few]),
            }
        )
    return pd.DataFrame(rows).set_index("set")


def reference_bars(runs: pd.DataFrame, ladders: pd.DataFrame, reduced: bool) -> list[Bar]:
    """Give the bars; a reduced run decides none of them."""
    rates = runs["rarest exchange"].dropna()
    apart = runs.groupby(level="set")["mean E"].diff().abs()
    errors = runs["error"].pow(2).groupby(level="set").transform("sum").pow(0.5)
    bars = [
        compare("worst R-hat of any set", float(runs["worst R-hat"].max()), 1.02, at_most=True),
        compare("rarest exchange of any set", float(rates.min()), 0.2, at_most=False),
        compare("seeds apart, standard errors", float((apart / errors).max()), 4.0, at_most=True),
        compare(
            "mean energies against the earlier ones, spreads",
            float(ladders["difference / spread"].abs().max()),
            0.15,
            at_most=True,
        ),
    ]
    return [Bar(bar.name, None, bar.detail) for bar in bars] if reduced else bars


def _draw(sets: Pairs, path: Path, note: str) -> None:
    figure, axes = new_figure(columns=4, width=3.6)
    colours = dict(zip(sets, ("#c1440e", "#5b7083", "#e0a458") * 2, strict=False))
    for name, runs in sets.items():
        left = 0 if name.startswith("dw4") else 2
        for seed, run in enumerate(runs):
            style = {"histtype": "step", "density": True, "bins": 80, "color": colours[name]}
            style |= {"label": name} if seed == 0 else {"linestyle": "--"}
            axes[0, left].hist(run.energies, **style)
            axes[0, left + 1].hist(pair_distances(run.configurations[:5000]), **style)
    for panel, words in zip(axes[0], ("energy", "distance of a pair") * 2, strict=True):
        panel.set(xlabel=words, yticks=[])
        panel.legend(fontsize=7)
    figure.suptitle(f"Two independent runs of each law, full and dashed{note}")
    save_figure(figure, path)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Reference sets of DW-4 and LJ-13 and how far they agree.")
    parser.add_argument("--quick", action="store_true", help="2,000 configurations of short chains a set")
    parser.add_argument("--check", action="store_true", help="compare with the bars; exit 1 if one is missed")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/boltzmann_references"))
    parser.add_argument("--data", type=Path, default=FOLDER, help="where sets are kept and found")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the sets, write tables and picture, and give the exit code."""
    options = _parse(arguments)
    limit_threads()
    sets: Pairs = {}
    for name, wanted in SETS.items():
        sets[name] = [wanted.load(seed, quick=options.quick, folder=options.data) for seed in (0, 1)]
        seconds = [run.diagnostics["cpu_seconds"] for run in sets[name]]
        print(f"{name}: {len(sets[name][0])} configurations, CPU s {np.round(seconds, 1)}", flush=True)
    runs, ladders, distances = summary(sets), energies_by_temperature(sets), floors(sets)
    bars = reference_bars(runs, ladders, options.quick)
    tables = {"runs": runs, "ladders": ladders, "floors": distances}
    for name, table in tables.items():
        write_table(options.out / f"{name}.csv", table)
    _draw(sets, options.out / "boltzmann_references.png", " (reduced run)" if options.quick else "")
    sections = [
        ("Picture", "![boltzmann_references.png](boltzmann_references.png)"),
        ("Bars", bars_text(bars)),
        *([] if options.quick else [("Reading", READING.strip())]),
        ("Runs", markdown_table(runs.reset_index("seed"))),
        ("Energies along the ladders", markdown_table(ladders.reset_index("T"))),
        ("Floors: distances between the seeds", markdown_table(distances, digits=4)),
    ]
    header = run_header(options.quick, None if arguments is None else ["boltzmann_references.py", *arguments])
    write_markdown(options.out / "report.md", "Reference sets of DW-4 and LJ-13", header, sections)
    return check_exit_code(bars) if options.check else 0


READING = """
- Chains have forgotten their start: 64 or 128 independent ones run for 145,000 steps and more. The least
  frequent exchange is between the two highest temperatures of LJ-13.
- The means along the ladder of LJ-13 agree between seeds to a few hundredths of the spread and replace the
  earlier ones, which came from far fewer states and differ from these by up to a tenth of the spread.
- Of the double wells the *energy* forgets in about 100 steps, but the radius and the number of short pairs in
  about 900 (`boltzmann_cost.py` measures both). Effective states are those of the energy; for what depends on
  shape a set of DW-4 is worth about half its rows. R-hat of the energy alone would not have shown it.
- 10,000 draws cannot be told from the law below the last two columns. A distance that is asked for should be
  read as a multiple of them.
"""


if __name__ == "__main__":
    sys.exit(main())
