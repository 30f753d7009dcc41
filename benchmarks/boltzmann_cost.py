"""Cost of an effective draw, diffusion and simulation: `python benchmarks/boltzmann_cost.py --model PATH`.

For DW-4 at temperature 1 and LJ-13 at 0.4, in one process on one thread:

    replica exchange    runs as short as those of `make_dw4` and `make_lj13`, charged for burn-in and all
                        temperatures
    diffusion           a trained `BoltzmannDiffusion` of temperature 2 (LJ-13: 1), annealed by weighted and
                        controlled particles (VCG-SMC), one system of particles a run

Every run estimates mean energy, mean squared radius and the mean number of short pairs; what its error is
worth in independent draws, and what such a draw cost, is said in boltzmann_cost_runs.py. Training and the
simulation of training data are charged apart: once for as many runs as one likes. For chains the integrated
autocorrelation times of a long run give the cost of a further draw, without burn-in; for particles the final
and the least effective sample size and the share of different ancestors stand beside what the error is worth,
because resampled particles share ancestors and what they look like is not what they are worth.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from boltzmann_cost_runs import OBSERVABLES, FloatArray, Law, Run, estimate, law_of, observe, rows_of, timed
from boltzmann_sets import FOLDER, SETS
from measuring import limit_threads
from reporting import markdown_table, run_header, write_markdown, write_table
from sklearn.base import clone
from survival_pictures import new_figure, save_figure

from sciffusion.datasets import DoubleWell, LennardJones
from sciffusion.datasets.chain_diagnostics import autocorrelation_time
from sciffusion.datasets.replica_exchange import ExchangeSettings, run_replica_exchange

__all__ = ["TASKS", "CostTask", "chain_times", "diffusion_runs", "exchange_runs", "main"]

EXCHANGE, DIFFUSION = "replica exchange", "diffusion"


@dataclass(frozen=True)
class CostTask:
    """One law to estimate under: the system, temperatures, and what counts as a short pair.

    Parameters
    ----------
    system : DoubleWell or LennardJones
        The cluster.
    ladder : tuple of float
        Temperatures of the exchange, the target first.
    swap_every, burn_in : int
        Steps between exchanges, and before the first state that counts.
    reference, training : str
        Names in `SETS` of the target law and of the law that models are trained on.
    short : float
        Pairs closer than this are counted.
    columns : int
        Independent chains at each temperature, as many as cost one thread little more than one does.
    """

    system: DoubleWell | LennardJones
    ladder: tuple[float, ...]
    swap_every: int
    burn_in: int
    reference: str
    training: str
    short: float
    columns: int

    def settings(self, frames: int, thinning: int) -> ExchangeSettings:
        """Return the settings of a simulation."""
        return ExchangeSettings(self.ladder, self.columns, frames, thinning, self.burn_in, self.swap_every)


TASKS = {
    "dw4": CostTask(DoubleWell(), (1.0, 1.5, 2.0), 20, 2000, "dw4 T=1", "dw4 T=2", 4.0, 128),
    "lj13": CostTask(
        LennardJones(),
        (0.4, 0.47, 0.55, 0.65, 0.78, 0.95, 1.2, 1.5, 2.0),
        10,
        4000,
        "lj13 T=.4",
        "lj13 T=1",
        1.3,
        32,
    ),
}


class Sampler(Protocol):
    """What is asked of a trained model."""

    def sample(self, n: int, **settings: Any) -> Any:
        """Return configurations with log weights, effective sizes and ancestors."""
        ...


def reference_law(task: CostTask, *, quick: bool, folder: Path) -> Law:
    """Return the law of the observables at the target temperature, from two independent runs."""
    runs = [SETS[task.reference].load(seed, quick=quick, folder=folder) for seed in (0, 1)]
    values = [observe(run.configurations, run.energies, task.short) for run in runs]
    return law_of(values, [run.diagnostics["effective_size"] for run in runs])


def exchange_runs(task: CostTask, seeds: Sequence[int], frames: int = 64, thinning: int = 100) -> list[Run]:
    """Return independent simulations from the grid, each charged its burn-in and all temperatures."""

    def simulate(seed: int) -> tuple[FloatArray, dict[str, float]]:
        generator = torch.Generator().manual_seed(1000 + seed)
        found = run_replica_exchange(
            task.system, task.settings(frames, thinning), keep=[0], generator=generator
        )
        states = found.configurations[0].reshape(-1, task.system.n, task.system.dimensions)
        notes = {"R-hat": float(found.r_hat[0]), "rarest exchange": float(np.nanmin(found.swap_rates))}
        return estimate(observe(states, found.energies[0].reshape(-1), task.short)), notes

    return [timed(lambda seed=seed: simulate(seed)) for seed in seeds]  # type: ignore[misc]


def chain_times(task: CostTask, frames: int, thinning: int = 20) -> pd.DataFrame:
    """Return autocorrelation times along chains at the target temperature, and the cost of a further draw."""
    start = time.process_time()
    generator = torch.Generator().manual_seed(7)
    found = run_replica_exchange(task.system, task.settings(frames, thinning), keep=[0], generator=generator)
    seconds = time.process_time() - start
    settings = task.settings(frames, thinning)
    per_step = seconds / (settings.burn_in + frames * thinning)
    states = found.configurations[0].reshape(-1, task.system.n, task.system.dimensions)
    values = observe(states, found.energies[0].reshape(-1), task.short).reshape(-1, frames, settings.columns)
    rows = []
    for observable, series in zip(OBSERVABLES, values, strict=True):
        steps = thinning * autocorrelation_time(series)
        rows.append(
            {
                "observable": observable,
                "autocorrelation time, steps": steps,
                "further draw, CPU ms": 1e3 * per_step * steps / settings.columns,
                "R-hat": float(found.r_hat[0]),
            }
        )
    return pd.DataFrame(rows).set_index("observable")


def diffusion_runs(
    model: Sampler, task: CostTask, seeds: Sequence[int], particles: int, **settings: Any
) -> list[Run]:
    """Return independent systems of particles drawn by a trained model at the target temperature."""

    def draw(seed: int) -> tuple[FloatArray, dict[str, float]]:
        found = model.sample(
            particles, temperature=task.ladder[0], particles=particles, random_state=seed, **settings
        )
        x = np.asarray(found.configurations, dtype=np.float32)
        with torch.inference_mode():
            energies = task.system(torch.from_numpy(x)).double().numpy()
        log_weights = np.asarray(found.log_weights, dtype=np.float64)
        fractions = np.asarray(found.ess, dtype=np.float64)
        notes = {
            "particles": float(particles),
            "final ESS / N": float(fractions[-1].mean()),
            "least ESS / N": float(fractions.min()),
            "ancestors / N": found.unique_ancestors / particles,
        }
        return estimate(observe(x, energies, task.short), log_weights), notes

    return [timed(lambda seed=seed: draw(seed)) for seed in seeds]  # type: ignore[misc]


def training_cost(
    task: CostTask, model: Any, *, quick: bool, folder: Path, steps: tuple[int, int] = (10, 60)
) -> dict[str, float]:
    """Return the CPU seconds of the training data and of a fit, the latter by the slope of two short ones."""
    data = SETS[task.training].load(0, quick=quick, folder=folder)
    rows, seconds = slice(0, 2000), []
    for count in steps:
        short = clone(model).set_params(max_steps=count)
        start = time.process_time()
        short.fit(data.configurations[rows], temperature=data.temperature, forces=data.forces[rows])
        seconds.append(time.process_time() - start)
    a_step = (seconds[1] - seconds[0]) / (steps[1] - steps[0])
    return {
        "data, CPU s": float(data.diagnostics["cpu_seconds"]),
        "steps of the fit": float(model.max_steps),
        "fit, CPU s": a_step * model.max_steps,
    }


def equal_time(rows: pd.DataFrame) -> pd.DataFrame:
    """Return errors of both methods for the CPU seconds of one diffusion run, and the ratio of costs a draw.

    Chains get further runs from the grid, whose mean has the error of one by the root of their number.
    """
    found = []
    for (system, observable), group in rows.groupby(["system", "observable"], sort=False):
        by_method = group.set_index("method")
        if DIFFUSION not in by_method.index:
            continue
        chains, particles = by_method.loc[EXCHANGE], by_method.loc[DIFFUSION]
        more = max(1.0, particles["CPU s"] / chains["CPU s"])
        found.append(
            {
                "system": system,
                "observable": observable,
                "CPU s": particles["CPU s"],
                "error, diffusion": particles["error"],
                "error, replica exchange": float(np.hypot(chains["bias"], chains["spread"] / np.sqrt(more))),
                "cost ratio by error": particles["ms per draw by error"] / chains["ms per draw by error"],
                "cost ratio by spread": particles["ms per draw by spread"] / chains["ms per draw by spread"],
            }
        )
    columns = ["system", "observable"]
    return pd.DataFrame(found).set_index(columns) if found else pd.DataFrame()


def _draw(rows: pd.DataFrame, path: Path, note: str) -> None:
    systems = list(dict.fromkeys(rows["system"]))
    figure, axes = new_figure(columns=len(systems), width=4.5)
    for panel, system in zip(axes[0], systems, strict=True):
        of_system = rows[rows["system"] == system]
        for method, shift, colour in ((EXCHANGE, -0.2, "#5b7083"), (DIFFUSION, 0.2, "#c1440e")):
            found = of_system[of_system["method"] == method].set_index("observable")
            if not len(found):
                continue
            places = np.arange(len(OBSERVABLES)) + shift
            costs = found.loc[list(OBSERVABLES), "ms per draw by error"]
            panel.bar(places, costs, width=0.38, color=colour, label=method)
            panel.plot(places, found.loc[list(OBSERVABLES), "ms per draw by spread"], "k_", markersize=14)
        panel.set_xticks(range(len(OBSERVABLES)), OBSERVABLES)
        panel.set(yscale="log", title=system, ylabel="CPU ms a draw (dash: by spread)")
        panel.set_ylim(top=8.0 * panel.get_ylim()[1])  # room for the legend
        panel.legend(fontsize=8, loc="upper left")
    figure.suptitle(f"Cost of what an independent draw is worth, training excluded{note}")
    save_figure(figure, path)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Cost of an effective draw: diffusion and replica exchange.")
    parser.add_argument("--model", type=Path, action="append", default=[], help="saved BoltzmannDiffusion")
    parser.add_argument("--particles", type=int, default=1000, help="particles of a system, one system a run")
    parser.add_argument("--nfe", type=int, help="network evaluations of a run; the model's own by default")
    parser.add_argument("--control", default="vcg", choices=("vcg", "ecg", "langevin", "none"))
    parser.add_argument("--runs", type=int, default=8, help="independent runs of the diffusion")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter runs, small references")
    parser.add_argument("--check", action="store_true", help="exit code as of every benchmark; no bars here")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/boltzmann_cost"))
    parser.add_argument("--data", type=Path, default=FOLDER, help="where reference sets are kept and found")
    return parser.parse_args(arguments)


def _models(paths: Sequence[Path]) -> dict[str, Any]:
    """Return the given models by system, told by their number of atoms."""
    from sciffusion.domains.boltzmann import BoltzmannDiffusion

    by_atoms = {task.system.n: name for name, task in TASKS.items()}
    models = {}
    for path in paths:
        model = BoltzmannDiffusion.load(path)
        models[by_atoms[model.n_atoms_]] = model
    return models


def _rows(name: str, task: CostTask, models: dict[str, Any], options: argparse.Namespace) -> pd.DataFrame:
    """Return the rows of one system, a method and observable each."""
    law = reference_law(task, quick=options.quick, folder=options.data)
    seeds = range(4 if options.quick else 24)
    rows = rows_of({"system": name, "method": EXCHANGE}, exchange_runs(task, seeds), law)
    if name in models:
        particles = 200 if options.quick else options.particles
        extra = {"control": options.control} | ({} if options.nfe is None else {"nfe": options.nfe})
        runs = diffusion_runs(
            models[name], task, range(2 if options.quick else options.runs), particles, **extra
        )
        rows += rows_of({"system": name, "method": DIFFUSION}, runs, law)
    for row in rows:
        row["reference error"] = float(law.error[OBSERVABLES.index(str(row["observable"]))])
    return pd.DataFrame(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run both methods, write tables and picture, and give the exit code."""
    options = _parse(arguments)
    limit_threads()
    models, parts, times, training = _models(options.model), [], {}, {}
    for name, task in TASKS.items():
        parts.append(_rows(name, task, models, options))
        times[name] = chain_times(task, 200 if options.quick else 1000)
        if name in models:
            training[name] = training_cost(task, models[name], quick=options.quick, folder=options.data)
        print(
            parts[-1][["method", "observable", "CPU s", "error", "ms per draw by error"]].to_string(),
            flush=True,
        )
    rows = pd.concat(parts, ignore_index=True)
    table, chains = rows.set_index(["system", "method", "observable"]), pd.concat(times, names=["system"])
    ratios = equal_time(rows)
    for stem, frame in (("rows", table), ("chains", chains), ("equal_time", ratios)):
        write_table(options.out / f"{stem}.csv", frame)
    _draw(rows, options.out / "boltzmann_cost.png", " (reduced run)" if options.quick else "")
    sections = [("Picture", "![boltzmann_cost.png](boltzmann_cost.png)")]
    sections += [] if options.quick or not models else [("Reading", READING.strip())]
    sections += _tables(rows, chains, ratios, training)
    header = run_header(options.quick, None if arguments is None else ["boltzmann_cost.py", *arguments])
    title = "Cost of an effective draw: diffusion and replica exchange"
    write_markdown(options.out / "report.md", title, header, sections)
    return 0


def _tables(
    rows: pd.DataFrame, chains: pd.DataFrame, ratios: pd.DataFrame, training: dict[str, dict[str, float]]
) -> list[tuple[str, str]]:
    measured = ["CPU s", "bias", "spread", "error", "reference error", "draws by error", "draws by spread"]
    costs = ["ms per draw by error", "ms per draw by spread"]
    says = [name for name in ("R-hat", "final ESS / N", "least ESS / N", "ancestors / N") if name in rows]
    first = rows[rows["observable"] == OBSERVABLES[0]]
    sections = []
    for system, group in rows.groupby("system", sort=False):
        shown = group.set_index("method")[["observable", "runs", *measured, *costs]]
        sections.append((f"{system}: errors and costs of a run", markdown_table(shown)))
    sections.append(
        ("What runs say of themselves", markdown_table(first.set_index("system")[["method", *says]]))
    )
    sections.append(("Chains, without burn-in", markdown_table(chains.reset_index("observable"))))
    if len(ratios):
        sections.append(
            ("At the CPU seconds of a diffusion run", markdown_table(ratios.reset_index("observable")))
        )
    if training:
        table = pd.DataFrame(training).T.rename_axis("system")
        sections.append(("Training, once", markdown_table(table)))
    return sections


READING = """
- On these clusters replica exchange is the cheaper way by far: their energies cost microseconds, one
  evaluation of a network of all pairs some hundred times as much, and a draw takes 250 of them, with
  divergences.
- What a model buys is not in the table: other temperatures and tilts of one model need no simulation, and an
  energy that is dear to evaluate is not evaluated at all while drawing. By the same numbers, a force call
  would have to cost about as many milliseconds as a draw of the model over the steps that replica exchange
  needs for an independent state.
- Few particles of LJ-13 hold many copies of few ancestors, which weights do not see: a system of 1,000 is
  biased, and worth next to nothing by error, where 2,000 (boltzmann_clusters.py) are not as far off.
- Draws "by error" are what the error of a run is worth against the reference, bias and all: a biased run is
  worth few draws however many particles it has. "By spread" leaves the bias out.
- Where a run of the diffusion costs less than one of the chains, the comparison at equal CPU seconds gives
  the chains a whole run and favours them.
"""


if __name__ == "__main__":
    sys.exit(main())
