"""DW-4 and LJ-13 annealed and tilted by learned models: `python benchmarks/boltzmann_clusters.py --check`.

The published models of DW-4 at temperature 2 and of LJ-13 at 1 are drawn from at 1 and at .4, and in an
added harmonic trap, without being trained again. 10,000 particles in 5 systems of 2,000 (where fewer, tables
say so: LJ-13 is kept within 40 minutes of one core) are compared with 40,000 configurations of replica
exchange:

    pure guidance         the score of the target law, no weights
    G-SMC                 the same with weights and resampling
    G-SMC, equal time     one system with as many more particles as the CPU seconds of one of VCG-SMC allow
    VCG, VCG-SMC          the drift controlled for the variance of the weights; -SMC resamples
    ECG-SMC               controlled for an energy; needs a model of log densities (`--ecg-model`)

Measures: difference of the mean negative log density (dNLL), maximum mean discrepancy (MMD) and sliced
Wasserstein distance (SWD) of coordinates put through random symmetries, and of sorted distances, which no
symmetry changes; the distance W1 of pair distances (RDF) and of energies; weights are exact in all of them.
The floor is the same for 10,000 configurations of another run of the reference. Log normalisers stand beside
values found without the models (boltzmann_clusters_free_energy.py). The strength of the traps of the paper is
not known: its numbers for tilting are not comparable.

Draws are kept in `--draws`; the same command goes on where an earlier one was stopped.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from bars import bars_text, check_exit_code
from boltzmann_clusters_free_energy import Known, annealing_constant, tilting_constant
from boltzmann_clusters_pictures import draw_task
from boltzmann_clusters_report import (
    FLOOR,
    cluster_bars,
    published_table,
    quality_table,
    reading,
    weights_table,
)
from boltzmann_clusters_rows import (
    METHODS,
    TASKS,
    ClusterTask,
    Plan,
    SystemDraws,
    draw_systems,
    file_digest,
    floor_rows,
    measure,
    pooled,
    trap,
    weights_row,
)
from boltzmann_sets import FOLDER, SETS
from boltzmann_train import train, training_seconds
from measuring import limit_threads
from reporting import run_header, write_markdown, write_table

from sciffusion.datasets import ParticleDataset
from sciffusion.datasets.particles_cache import cached_arrays
from sciffusion.domains.boltzmann import BoltzmannDiffusion, BoltzmannReference
from sciffusion.domains.boltzmann.pretrained import list_pretrained, pretrained_file

__all__ = ["Session", "main"]

MODELS = {"dw4": "double_well_4", "lj13": "lennard_jones_13"}
QUICK = Plan(particles=60, most_systems=2, nfe=12)
EQUAL = "G-SMC, equal time"
FLOOR_BLOCKS = 4


@dataclass
class Session:
    """Everything that the tasks of one run share.

    Parameters
    ----------
    plan : Plan
        How much is drawn.
    models : dict of str to Path
        Model files by system.
    energy_models : dict of str to Path
        Models of log densities by system, for ECG.
    quick : bool
    data, draws : Path
        Folders of the reference sets and of the draws.
    """

    plan: Plan
    models: dict[str, Path]
    energy_models: dict[str, Path]
    quick: bool
    data: Path
    draws: Path

    def load(self, name: str, seed: int = 0) -> ParticleDataset:
        """Give a reference set."""
        return SETS[name].load(seed, quick=self.quick, folder=self.data)

    def model(self, system: str, method: str) -> tuple[Any, str]:
        """Give the model that a method draws with, and the digest of its file."""
        path = self.models[system]
        if method == "ECG-SMC":
            path = self.energy_models.get(system, path)
        return BoltzmannDiffusion.load(path), file_digest(path)


@dataclass
class TaskRun:
    """One task: its references and the rows of its methods."""

    session: Session
    task: ClusterTask

    @cached_property
    def training(self) -> ParticleDataset:
        """The law of the model."""
        return self.session.load(self.task.training)

    @cached_property
    def references(self) -> list[ParticleDataset]:
        """Two independent runs of the law to draw from."""
        return [self.session.load(self.task.reference, seed) for seed in (0, 1)]

    @cached_property
    def reference(self) -> BoltzmannReference:
        """The first of them, ready for comparisons."""
        return BoltzmannReference.from_dataset(self.references[0], features=("coordinates", "distances"))

    def rows(self) -> tuple[pd.DataFrame, dict[str, SystemDraws]]:
        """Give one row a method and one of the floor, and the draws of each method together."""
        rows: dict[str, dict[str, Any]] = {}
        draws: dict[str, SystemDraws] = {}
        known = self.known()
        plain = [name for name in self.task.systems if name != EQUAL]
        for method in [*plain, *([EQUAL] if EQUAL in self.task.systems else [])]:
            plan = self._equal_plan(rows) if method == EQUAL else self.session.plan
            try:
                systems = self._draw(method, plan)
            except ValueError as error:  # a control that this model cannot have
                if method != "ECG-SMC":
                    raise
                rows[method] = {"note": str(error).rstrip(".")}
                continue
            draws[method] = pooled(systems)
            rows[method] = self._row(method, plan, systems, known)
            print(f"  W1(E) {rows[method]['w1_energy']:.4g}, MMD {rows[method]['mmd']:.4g}", flush=True)
        rows = {name: rows[name] for name in METHODS if name in rows} | {FLOOR: self._floor()}
        table = pd.DataFrame.from_dict(rows, orient="index").reindex(list(rows))
        table = table.rename_axis("method").reset_index()
        table.insert(0, "task", self.task.name)
        table.insert(1, "stem", self.task.stem)
        return table, draws

    def known(self) -> Known:
        """Give the log normaliser found without the model."""
        task = self.task
        if task.strength:
            atoms, dimensions = self.training.n_atoms, self.training.dimensions
            return tilting_constant(self.training, trap(task.strength, atoms, dimensions).value)
        return annealing_constant(
            self.training, self.references, self.session.draws, quick=self.session.quick
        )

    def _draw(self, method: str, plan: Plan) -> list[SystemDraws]:
        model, digest = self.session.model(self.task.system, method)
        return draw_systems(
            model, digest, self.task, method, plan, self.session.draws,
            tell=lambda words: print(words, flush=True),
        )  # fmt: skip

    def _equal_plan(self, rows: dict[str, dict[str, Any]]) -> Plan:
        """Give G-SMC as many particles as cost what those of VCG-SMC do, and never fewer than these."""
        ratio = max(rows["VCG-SMC"]["cpu_ms"] / rows["G-SMC"]["cpu_ms"], 1.0)
        return replace(self.session.plan, particles=round(self.session.plan.particles * round(ratio, 1)))

    def _row(self, method: str, plan: Plan, systems: list[SystemDraws], known: Known) -> dict[str, Any]:
        measured = self._measured(method, plan, systems)
        row: dict[str, Any] = measured["pooled"].to_dict()
        for column in ("mean", "deviation"):
            row |= {f"{name}_{column}": value for name, value in measured[column].items()}
        row |= weights_row(systems)
        heat = self.references[0].kT
        row |= {"known": known.value, "known_error": known.error, "free_energy_known": -heat * known.value}
        return row | {"free_energy": -heat * row["log_normaliser"]}

    def _measured(self, method: str, plan: Plan, systems: list[SystemDraws]) -> pd.DataFrame:
        """Give the measures of draws, computed or from the cache beside the draws."""
        digest = self.session.model(self.task.system, method)[1]
        key = {"model": digest, "task": self.task.stem, "method": method, "systems": len(systems)}
        key |= {"particles": plan.particles, "nfe": plan.nfe, "quick": self.session.quick, "version": 1}
        columns: list[str] = []

        def compute() -> dict[str, Any]:
            found = measure(systems, self.reference)
            columns.extend(found.columns)
            return {"names": np.array(list(found.index)), "columns": np.array(columns), "v": found.to_numpy()}

        arrays = cached_arrays(f"{self.task.stem}-measures", key, compute, folder=self.session.draws)
        return pd.DataFrame(arrays["v"], arrays["names"].tolist(), arrays["columns"].tolist())

    def _floor(self) -> dict[str, float]:
        """Give the mean measures of blocks as large as all draws, and mean and deviation of small ones."""
        plan, other = self.session.plan, self.references[1]
        whole = floor_rows(self.reference, other, plan.particles * plan.most_systems, FLOOR_BLOCKS)
        small = floor_rows(self.reference, other, plan.particles, plan.most_systems)
        row = whole.mean().to_dict()
        row |= {f"{name}_mean": value for name, value in small.mean().items()}
        return row | {f"{name}_deviation": value for name, value in small.std(ddof=1).items()}


def _model_files(options: argparse.Namespace) -> dict[str, Path]:
    """Give the model file of each system: as asked for, published, or fitted here."""
    files = {}
    for system in options.only:
        name, asked = MODELS[system], getattr(options, f"{system}_model")
        if asked is not None:
            files[system] = asked
        elif name in list_pretrained() and not options.quick:
            files[system] = pretrained_file(name)
        else:
            files[system] = _fitted(name, TASKS[f"{system}_annealing"].training, options)
    return files


def _fitted(name: str, training: str, options: argparse.Namespace) -> Path:
    file = options.draws / f"{name}.safetensors"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        data = SETS[training].load(0, quick=options.quick, folder=options.data)
        checkpoint = file.with_suffix(".checkpoint")
        model, cost = train(name, data, checkpoint, quick=options.quick)
        checkpoint.unlink(missing_ok=True)
        model.save(file)
        words = f'{{"cpu_seconds": {cost.cpu_seconds:.1f}, "resumed": {str(cost.resumed).lower()}}}\n'
        file.with_suffix(".json").write_text(words)
    return file


def _energy_models(paths: Sequence[Path]) -> dict[str, Path]:
    atoms = {4: "dw4", 13: "lj13"}
    return {atoms[BoltzmannDiffusion.load(path).n_atoms_]: path for path in paths}


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="DW-4 and LJ-13 annealed and tilted by learned models.")
    parser.add_argument("--quick", action="store_true", help="tiny models, two systems of 60 particles")
    parser.add_argument("--check", action="store_true", help="compare with the bars; exit 1 if one is missed")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/boltzmann_clusters"))
    parser.add_argument("--draws", type=Path, help="where draws are kept; folder draws of --out by default")
    parser.add_argument("--data", type=Path, default=FOLDER, help="where reference sets are kept and found")
    parser.add_argument("--only", nargs="+", choices=tuple(MODELS), default=list(MODELS), help="systems")
    parser.add_argument("--dw4-model", type=Path, help="the published one by default")
    parser.add_argument("--lj13-model", type=Path, help="the published one by default")
    parser.add_argument("--ecg-model", type=Path, action="append", default=[], help="knows log densities")
    parser.add_argument("--nfe", type=int, help="score evaluations a particle; the model's own by default")
    options = parser.parse_args(arguments)
    options.draws = options.out / "draws" if options.draws is None else options.draws
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw what is missing, measure, write tables and pictures, and give the exit code."""
    options = _parse(arguments)
    limit_threads()
    plan = QUICK if options.quick else Plan(nfe=options.nfe)
    files = _model_files(options)
    session = Session(
        plan, files, _energy_models(options.ecg_model), options.quick, options.data, options.draws
    )
    tables, pictures = [], {}
    note = " (reduced run)" if options.quick else ""
    for stem, task in TASKS.items():
        if task.system not in options.only:
            continue
        run = TaskRun(session, task)
        table, draws = run.rows()
        tables.append(table)
        pictures[stem] = draw_task(task, run.references[0], draws, options.out, note)
        write_table(options.out / "pooled.csv", pd.concat(tables).set_index("task"))
    rows = pd.concat(tables, ignore_index=True)
    training = {system: training_seconds(file) for system, file in files.items()}
    bars = cluster_bars(rows, training, options.quick)
    sections = [("Bars", bars_text(bars))]
    sections += [] if options.quick else [("Reading", reading(rows))]
    for stem, name in pictures.items():
        sections += _sections(stem, name, rows[rows["stem"] == stem])
    header = run_header(options.quick, None if arguments is None else ["boltzmann_clusters.py", *arguments])
    header |= {
        f"training of {MODELS[system]}": "CPU seconds not known" if math.isnan(cost) else f"{cost:.0f} CPU s"
        for system, cost in training.items()
    }
    write_markdown(options.out / "report.md", "DW-4 and LJ-13 annealed and tilted", header, sections)
    return check_exit_code(bars) if options.check else 0


def _sections(stem: str, picture: str, rows: pd.DataFrame) -> list[tuple[str, str]]:
    title = TASKS[stem].name
    warning = "The strength of the paper's trap is not known: **not comparable with the paper**.\n\n"
    paper = f"{title}: mean (deviation) over systems, and the paper's over five runs"
    return [
        (title, f"![{picture}]({picture})\n\n{quality_table(rows)}"),
        (f"{title}: weights, log normalisers, costs", weights_table(rows)),
        (paper, (warning if TASKS[stem].strength else "") + published_table(rows, stem)),
    ]


if __name__ == "__main__":
    sys.exit(main())
