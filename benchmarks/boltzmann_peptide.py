"""Alanine dipeptide from 600 K to 300 K: `python benchmarks/boltzmann_peptide.py --model FILE`.

A model of the configurations at 600 K is drawn from at 300 K without being trained again, by pure guidance,
guided particles (G-SMC) and controlled ones (VCG-SMC). It is compared with a reference at 300 K (flattened
torsions, boltzmann_peptide_sets.py), beside

    other seed      the same reference from another seed, whole and with as many draws as the model: floors
    OpenMM          its own chains at 300 K, the usual way to get there
    600 K           the training set as it is; with its importance weights for 300 K; after a picosecond of
                    dynamics at 300 K; and its Ramachandran map squared

by the Jensen-Shannon divergence of Ramachandran maps (64 x 64 bins, smoothed by one bin, nats), the free
energy of the basin 0 <= phi < 126 degrees over all else, the distance W1 of energies, and effective sizes.
Draws of the wrong hand are reflected: exact for models that do not see the hand (`fold_mirror_images`), a
fault of those that do, which the column "mirrored" counts. CPU seconds are of sampling or simulation;
training is named apart. Without `--model` a model is fitted first; the published numbers are of the one of

    python benchmarks/boltzmann_train.py alanine_dipeptide --out build/boltzmann_peptide

Bar: the divergence of VCG-SMC is below that of importance reweighting.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from bars import Bar, bars_text, check_exit_code, compare
from boltzmann_peptide_pictures import draw_pictures
from boltzmann_peptide_rows import (
    METHODS,
    PeptideModel,
    draw_model,
    measure_draws,
    part,
    reweighted,
    squared,
)
from boltzmann_peptide_sets import (
    FOLDER,
    FULL,
    HOT,
    QUICK,
    Draws,
    PeptideSizes,
    cooled,
    flattened,
    from_dataset,
    from_file,
    openmm_set,
    training_set,
)
from measuring import limit_threads
from reporting import markdown_table, run_header, write_markdown, write_table

from sciffusion.datasets import ParticleDataset
from sciffusion.datasets.alanine_dipeptide_system import CHIRAL_CENTRE

__all__ = ["fit_model", "main", "peptide_bars", "run"]

OURS, WEIGHTED, FLOOR = "VCG-SMC", "600 K reweighted", "300 K, other seed"


def fit_model(training: ParticleDataset, quick: bool) -> tuple[Any, float]:
    """Fit a model to the set at 600 K; give it with the CPU seconds that took."""
    from sciffusion.domains.boltzmann.diffusion import BoltzmannDiffusion

    size = {"width": 8, "depth": 1, "max_steps": 20, "batch_size": 64} if quick else {}
    started = time.process_time()
    model = BoltzmannDiffusion(
        units=training.units, atom_types=training.atom_types.tolist(), bonds=training.bonds.tolist(),
        chiral_centre=CHIRAL_CENTRE, max_noise=20.0, random_state=0, **size,
    )  # fmt: skip
    model.fit(training.configurations, temperature=training.temperature, forces=training.forces)
    return model, time.process_time() - started


def _simulated(sizes: PeptideSizes, hot: Draws, folder: Path) -> dict[str, Draws]:
    """Give everything that needs no model."""
    other = flattened(sizes, 1, folder)
    few = part(hot, min(sizes.draws, len(hot.energies)))
    return {
        FLOOR: other,
        "300 K, other seed, as many draws": part(other, sizes.draws),
        "300 K, OpenMM": openmm_set(sizes, folder=folder),
        "600 K": hot,
        WEIGHTED: reweighted(hot),
        f"600 K, {sizes.cooling:g} ps at 300 K": cooled(few, sizes.cooling),
    }


def run(
    model: PeptideModel | None, hot: Draws, sizes: PeptideSizes, folder: Path = FOLDER
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Draws]]:
    """Give the rows at 300 K, the row of the model at its own temperature, and all draws by name.

    Parameters
    ----------
    model : PeptideModel or None
        Trained on the set; without one only simulations are compared.
    hot : Draws
        The training set, at 600 K.
    sizes : PeptideSizes
        How much is simulated and drawn.
    folder : Path
        Of the cache.
    """
    reference = flattened(sizes, 0, folder)
    sets = {"300 K": reference} | _simulated(sizes, hot, folder)
    rows = {name: measure_draws(draws, reference) for name, draws in sets.items()}
    rows["600 K, map squared"] = {"js": squared(hot, reference)}
    for method in METHODS if model is not None else ():
        found = draw_model(model, method, sizes)
        after = f"{method}, {sizes.cooling:g} ps at 300 K"
        for name, draws in ((method, found.draws), (after, cooled(found.draws, sizes.cooling))):
            sets[name] = draws
            rows[name] = measure_draws(draws, reference)
            rows[name] |= {"mirrored": found.mirrored, "least_ess": found.least_ess}
    measured = {"600 K, as many draws": part(hot, sizes.draws)}
    if model is not None:
        measured["model"] = draw_model(model, "pure guidance", sizes, temperature=HOT).draws
    at_home = pd.DataFrame({name: measure_draws(draws, hot) for name, draws in measured.items()}).T
    return pd.DataFrame(rows).T.rename_axis("draws"), at_home.rename_axis("draws at 600 K"), sets


def peptide_bars(rows: pd.DataFrame, reduced: bool) -> list[Bar]:
    """Give the bar of the claim."""
    limit, ours = float(rows.loc[WEIGHTED, "js"]), float(rows["js"].get(OURS, float("nan")))
    bar = compare(
        "JS divergence of VCG-SMC against importance reweighting",
        ours,
        limit,
        at_most=True,
    )
    return [Bar(bar.name, None, "needs the full run with a model")] if reduced else [bar]


COLUMNS = {
    "js": "JS (nats)", "delta_f": "dF basin (kJ/mol)", "delta_f_error": "its error",
    "energy_w1": "W1 energy (kJ/mol)", "draws": "draws", "ess": "effective size",
    "least_ess": "least ESS/N", "mirrored": "mirrored", "cpu_seconds": "CPU s",
}  # fmt: skip


def _shown(rows: pd.DataFrame) -> str:
    table = rows.reindex(columns=list(COLUMNS)).astype(float)
    for name in ("draws", "ess", "cpu_seconds"):
        table[name] = table[name].round().map(lambda value: "-" if value != value else f"{value:.0f}")
    return markdown_table(table.rename(columns=COLUMNS), digits=4)


def _model(options: argparse.Namespace, sizes: PeptideSizes) -> tuple[Any, str, Draws]:
    """Give the model or None, words about it, and its training set."""
    training = None if options.training else training_set(sizes, folder=options.folder)
    hot = from_file(options.training) if training is None else from_dataset(training)
    if options.no_model:
        return None, "none: simulations only", hot
    if options.model:
        from sciffusion.domains.boltzmann.diffusion import BoltzmannDiffusion

        return BoltzmannDiffusion.load(options.model), "trained before", hot
    if training is None:
        raise ValueError("training: a file is only compared with, give the model that was trained on it")
    model, seconds = fit_model(training, options.quick)
    return model, f"trained here in {seconds:.0f} CPU s", hot


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit code is 1 if a bar was asked for and missed."""
    options = _options(arguments)
    limit_threads()
    sizes, out = (QUICK if options.quick else FULL), Path(options.out)
    model, trained, hot = _model(options, sizes)
    rows, at_home, sets = run(model, hot, sizes, options.folder)
    write_table(out / "rows.csv", rows)
    write_table(out / "at_600.csv", at_home)
    draw_pictures(sets, out)
    bars = peptide_bars(rows, options.quick or options.no_model)
    header = run_header(options.quick or options.no_model) | {"model": trained}
    sections = [
        ("300 K", _shown(rows)),
        ("The model at the temperature it was trained at, against the training set", _shown(at_home)),
        ("Bars", bars_text(bars)),
        ("Pictures", "![Ramachandran maps](ramachandran.png)\n\n![Free energy along phi](profiles.png)"),
    ]
    write_markdown(out / "report.md", "Alanine dipeptide from 600 K to 300 K", header, sections)
    return check_exit_code(bars) if options.check else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="reduced: next to nothing of everything")
    parser.add_argument("--check", action="store_true", help="exit with 1 if the bar is missed")
    parser.add_argument("--model", help="file of a fitted BoltzmannDiffusion")
    parser.add_argument("--training", help="file of the configurations at 600 K that --model was trained on")
    parser.add_argument("--no-model", action="store_true", help="reduced: compare simulations only")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="cache of simulated sets")
    parser.add_argument("--out", default="build/benchmarks/boltzmann_peptide", help="folder of the results")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
