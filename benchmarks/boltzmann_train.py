"""The published models of particles: `python benchmarks/boltzmann_train.py SYSTEM --out DIR`.

Fits a `BoltzmannDiffusion` to simulated configurations and forces and writes three files:

    SYSTEM.safetensors   the model
    SYSTEM.md            its card: data, licence, command, temperature, units, sizes, cost, measured quality
    SYSTEM.json          CPU seconds of the fit and of the simulation, and the losses on the way

Data come from the cache of the benchmarks or are simulated first. A fit that was interrupted goes on from its
checkpoint when the same command is given again; its CPU seconds are then those of the last part, and the card
says so. What the card says of quality is read from the results of boltzmann_clusters.py and
boltzmann_peptide.py in `--results`; `--model FILE` writes card and numbers anew for a model fitted before.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from boltzmann_peptide_sets import FULL, QUICK, training_set
from boltzmann_sets import FOLDER, SETS
from measuring import limit_threads
from reporting import write_text

from sciffusion import BoltzmannDiffusion
from sciffusion.datasets import ParticleDataset

__all__ = ["RECIPES", "Recipe", "Training", "card_text", "main", "quality_lines", "train", "training_seconds"]

RESULTS = Path("docs/benchmarks")
QUICK_SIZES: dict[str, Any] = {"width": 8, "depth": 1, "max_steps": 20, "batch_size": 32}


@dataclass(frozen=True)
class Recipe:
    """How one published model is made.

    Parameters
    ----------
    title : str
        What it models, in words.
    particles : str or None
        Name of the training set in `SETS`; None for alanine dipeptide.
    use : str
        Settings of `sample` in the example of the card.
    quality : tuple of str
        Folder and file of the results, the column that names rows, and the start of the names that count.
    parameters : dict
        Of the estimator.
    method : str, default "VCG-SMC"
        Of the results that the card shows.
    published : bool, default True
        Whether the model is meant to be kept in the package.
    """

    title: str
    particles: str | None
    use: str
    quality: tuple[str, str, str, str]
    parameters: dict[str, Any]
    method: str = "VCG-SMC"
    published: bool = True

    def data(self, *, quick: bool, folder: Path) -> ParticleDataset:
        """Give the training set."""
        if self.particles is None:
            return training_set(QUICK if quick else FULL, folder=folder)
        return SETS[self.particles].load(0, quick=quick, folder=folder)


SIZE = {"width": 64, "depth": 4}
CLUSTERS = ("boltzmann_clusters", "pooled.csv", "task")
RECIPES = {
    "double_well_4": Recipe(
        "Four particles in the plane joined by double wells (DW-4)", "dw4 T=2", "temperature=1.0",
        (*CLUSTERS, "DW-4"), SIZE | {"max_steps": 15_000, "batch_size": 256},
    ),
    "double_well_4_energy": Recipe(
        "Log densities of four particles in the plane joined by double wells (DW-4)", "dw4 T=2",
        "temperature=1.0, control='ecg'", (*CLUSTERS, "DW-4"),
        {"width": 32, "depth": 3, "max_steps": 6_000, "batch_size": 256, "energy_based": True},
        "ECG-SMC", False,
    ),
    "lennard_jones_13": Recipe(
        "Thirteen Lennard-Jones particles in a trap (LJ-13)", "lj13 T=1", "temperature=0.4",
        (*CLUSTERS, "LJ-13"), SIZE | {"max_steps": 8_000, "batch_size": 192},
    ),
    "alanine_dipeptide": Recipe(
        "Alanine dipeptide in implicit water", None, "temperature=300.0",
        ("boltzmann_peptide", "rows.csv", "draws", "VCG-SMC"),
        {"width": 56, "depth": 3, "max_steps": 12_000, "batch_size": 80, "max_noise": 20.0,
         "variance_floor": 1.0, "chiral_centre": (8, 6, 14, 10)},
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Training:
    """What a fit took.

    Parameters
    ----------
    cpu_seconds : float
        Of the fit, all threads.
    data_seconds : float
        CPU seconds of simulating the training set.
    resumed : bool
        Whether the fit went on from a checkpoint, so that `cpu_seconds` is only of the last part.
    steps, held_out : list
        Steps at which the loss on configurations kept back was taken, and that loss.
    """

    cpu_seconds: float
    data_seconds: float
    resumed: bool = False
    steps: list[int] = field(default_factory=list)
    held_out: list[float] = field(default_factory=list)


def train(name: str, data: ParticleDataset, checkpoint: Path, *, quick: bool) -> tuple[Any, Training]:
    """Fit the model of a recipe and say what that took."""
    sizes = RECIPES[name].parameters | (QUICK_SIZES if quick else {})
    if len(data.bonds):
        sizes |= {"atom_types": data.atom_types.tolist(), "bonds": data.bonds.tolist()}
    resumed = checkpoint.exists()
    model = BoltzmannDiffusion(units=data.units, random_state=0, checkpoint=checkpoint, **sizes)
    started = time.process_time()
    model.fit(data.configurations, temperature=data.temperature, forces=data.forces)
    seconds = time.process_time() - started
    model.checkpoint = None  # a path of this machine has no place in the file
    history = model.history_
    return model, Training(
        seconds, float(data.diagnostics["cpu_seconds"]), resumed, [int(step) for step in history.steps],
        [float(loss) for loss in history.held_out_loss.ravel()],
    )  # fmt: skip


def training_seconds(model_file: Path) -> float:
    """Give the CPU seconds of a fit from the numbers beside a model file; NaN where there are none."""
    numbers = model_file.with_suffix(".json")
    if not numbers.is_file():
        return float("nan")
    known = json.loads(numbers.read_text())
    return float("nan") if known.get("resumed") else float(known["cpu_seconds"])


def quality_lines(name: str, results: Path) -> list[str]:
    """Give what benchmarks measured of a model as lines of a list; one that says so where none has."""
    folder, file, column, start = RECIPES[name].quality
    path = results / folder / file
    if not path.is_file():
        return [f"  - not measured yet; `python benchmarks/{folder}.py` does"]
    table = pd.read_csv(path)
    rows = table[table[column].astype(str).str.startswith(start)]
    if "method" in rows:
        rows = rows[rows["method"] == RECIPES[name].method]
    lines = []
    for _, row in rows.iterrows():
        numbers = row.drop([column, "method"], errors="ignore").dropna()
        wanted = ("w1_energy", "mmd", "w1_radial", "delta_nll", "js", "delta_f", "energy_w1", "min_ess")
        words = ", ".join(f"{key} {float(numbers[key]):.3g}" for key in wanted if key in numbers)
        lines.append(f"  - {row[column]}: {words}")
    lines.append(
        f"  - what these are, and of what size chance alone makes them: {results / folder}/report.md"
    )
    return lines


def card_text(name: str, model: Any, data: ParticleDataset, cost: Training, quality: Sequence[str]) -> str:
    """Give the card of a model."""
    recipe, card = RECIPES[name], data.card
    parameters = sum(weight.numel() for weight in model._model_.network.parameters())
    heat, lengths = ("", "reduced") if data.units == "reduced" else (" K", data.length_unit)
    part = " (the last part of an interrupted fit)" if cost.resumed else ""
    folder = "domains/boltzmann/weights" if recipe.published else "DIR"
    loaded = f"from_pretrained({name!r})" if recipe.published else f"load('DIR/{name}.safetensors')"
    example = f"BoltzmannDiffusion.{loaded}.sample(1000, {recipe.use})"
    shown = [
        ("Trained on", f"{len(data)} configurations with forces at temperature {data.temperature:g}{heat}, "
                       f"`{card.loader}`: {card.title}; {card.sampling}"),
        ("Energy", card.potential),
        ("Units", f"energies {data.units}, lengths {lengths}, temperatures "
                  f"{'in units of energy (Boltzmann constant 1)' if not heat else 'kelvin'}"),
        ("Network", f"equivariant, width {model.width}, depth {model.depth}, {parameters} parameters; noise "
                    f"from {model.min_noise:g} local scales (one is {model.local_scale_:.4g}) to "
                    f"{model.max_noise:g} standard deviations of a coordinate ({model.length_:.4g})"),
        ("Training", f"{model.max_steps} steps of {model.batch_size}, {cost.cpu_seconds:.0f} CPU seconds of "
                     f"training{part}; simulating the data took {cost.data_seconds:.0f} CPU seconds"),
        ("Command", f"`python benchmarks/boltzmann_train.py {name} --out {folder}`"),
    ]  # fmt: skip
    lines = [f"- **{key}**: {words}" for key, words in shown]
    licence = f"Apache-2.0, weights and card. Data: {card.licence}."
    return "\n".join(
        [f"# {name}", "", f"{recipe.title}: a `BoltzmannDiffusion`.", "",
         "    from sciffusion import BoltzmannDiffusion", f"    {example}", "",
         *lines, f"- **Measured** (controlled particles, {recipe.method}, weighted):", *quality,
         f"- **Licence**: {licence}", ""]
    )  # fmt: skip


def _known_cost(options: argparse.Namespace, data: ParticleDataset) -> Training:
    """Give what the fit of a model took that was made before."""
    numbers = options.model.with_suffix(".json")
    if options.cpu_seconds is not None:
        return Training(options.cpu_seconds, float(data.diagnostics["cpu_seconds"]))
    if not numbers.is_file():
        raise SystemExit(f"--model needs --cpu-seconds, or {numbers.name} beside the model")
    return Training(**json.loads(numbers.read_text()))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Fit and describe a published model of particles.")
    parser.add_argument("system", choices=tuple(RECIPES))
    parser.add_argument("--quick", action="store_true", help="a tiny model of a small set, to try it out")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/boltzmann_train"))
    parser.add_argument("--data", type=Path, default=FOLDER, help="where sets are kept and found")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where results of benchmarks lie")
    parser.add_argument("--model", type=Path, help="a model fitted before: write only its card and numbers")
    parser.add_argument("--cpu-seconds", type=float, help="of the fit of --model")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit or read a model, and write it with its card."""
    options = _parse(arguments)
    limit_threads()
    recipe, file = RECIPES[options.system], options.out / f"{options.system}.safetensors"
    data = recipe.data(quick=options.quick, folder=options.data)
    if options.model is not None:
        model, cost = BoltzmannDiffusion.load(options.model), _known_cost(options, data)
    else:
        file.parent.mkdir(parents=True, exist_ok=True)
        checkpoint = file.with_suffix(".checkpoint")
        model, cost = train(options.system, data, checkpoint, quick=options.quick)
        checkpoint.unlink(missing_ok=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    model.checkpoint = None
    model.save(file)
    write_text(file.with_suffix(".json"), json.dumps(asdict(cost), indent=1) + "\n")
    quality = quality_lines(options.system, options.results)
    write_text(file.with_suffix(".md"), card_text(options.system, model, data, cost, quality))
    print(f"{file.name}: {cost.cpu_seconds:.0f} CPU s, held out {cost.held_out[-1:]}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
