"""Masked against uniform against autoregressive molecules: `python benchmarks/molecules_compare.py`.

Three transformers of one size are trained for the same CPU seconds, one thread each, on the same molecules of
MOSES, written as SELFIES: `mask`, `uniform` and `autoregressive` (see `molecules_models`). Their draws are
compared with the MOSES test set at equal nfe: validity, uniqueness, novelty, Fréchet ChemNet distance (FCD),
cosine similarity of fragments and scaffolds, the share that passes MOSES's filters, and Wasserstein distances
of properties. Draws a CPU second count the sampler alone.

Trained weights are kept in the output folder and taken from there in a later run; `--weights` names another
folder. Weights that `molecules_train.py` wrote are read likewise.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from bars import Bar, bars_text, check_exit_code, compare
from measuring import limit_threads
from molecules_autoregressive import draw_strings
from molecules_fcd import chemnet_statistics, frechet_distance
from molecules_models import ModelSize, Vocabulary, draw_lengths, draw_rows
from molecules_orders import OrderedReveal
from molecules_report import OTHER, attempts_table, main_table, picture, property_table, reading
from molecules_train import TrainingBudget, load_training, train_file, training_strings
from reporting import RowFile, markdown_table, run_header, write_markdown

from sciffusion.datasets import fetch_moses, fetch_moses_filters
from sciffusion.discrete import DiscreteSolver, FirstHitting, PredictionTrapezoid, Remasking
from sciffusion.domains.molecules import evaluate
from sciffusion.domains.molecules.filters import MoleculeFilter
from sciffusion.domains.molecules.molecule_set import MoleculeSet, describe_molecules
from sciffusion.domains.molecules.tokenizers import molecule_tokenizer
from sciffusion.networks.token_transformer import TokenTransformer

__all__ = ["ATTEMPTS", "SETTINGS", "Setting", "compare_bars", "main", "measure_setting"]

PUBLISHING = {"valid": 0.95, "unique": 0.9, "novel": 0.9}  # least values of a model that is published
KEY = ("model", "solver", "spacing", "temperature", "nfe")
FCD_RATIO = 1.5  # and its most FCD over the autoregressive peer's


@dataclass(frozen=True)
class Setting:
    """A trained model with a way to draw from it.

    Parameters
    ----------
    model : str
        Name of the file of weights, without its ending.
    nfe : int or None
        Budget of a draw; None for token by token.
    solver : str
        One of `_solver`.
    spacing : {"linear", "cosine"}
        Of the keep probability.
    temperature : float
        Logits are divided by it.
    """

    model: str
    nfe: int | None = None
    solver: str = "ancestral"
    spacing: str = "linear"
    temperature: float = 1.0

    @property
    def key(self) -> tuple[object, ...]:
        """What names the row of this setting."""
        return self.model, self.solver, self.spacing, self.temperature, self.nfe or 0


NFE = (16, 32, 64)
CAVEATS = """
- Minutes on one core leave all three far from trained, the peer included: the numbers rank how fast families
  learn, not what they can reach. A sequence teaches the peer all of its tokens in each step, the masked model
  only those that are masked, given the others.
- FCD falls with the number of draws; rows are comparable with each other, not with published values.
- What was tried to close the distance is in ../molecules_development.md."""
SETTINGS = (
    Setting("autoregressive_selfies", solver="token by token"),
    *(Setting(f"{family}_selfies", nfe) for family in ("mask", "uniform") for nfe in NFE),
)
ATTEMPTS = (
    Setting("mask_selfies", 32, "trapezoid"),
    Setting("mask_selfies", 64, "first hitting"),
    Setting("mask_selfies", 64, "remasking"),
    Setting("mask_selfies", 64, temperature=0.9),
    Setting("uniform_selfies", 32, "trapezoid", "cosine"),
    Setting("uniform_selfies", 64, "trapezoid"),
    Setting("uniform_selfies", 64, temperature=0.9),
)


def _solver(name: str) -> DiscreteSolver | None:
    solvers: dict[str, DiscreteSolver] = {
        "trapezoid": PredictionTrapezoid(), "first hitting": FirstHitting(), "remasking": Remasking(),
        "left to right": OrderedReveal("left"), "certain first": OrderedReveal("certain"),
    }  # fmt: skip
    return solvers.get(name)


class Sources:
    """Trained models by name, and the sets that draws are compared with."""

    def __init__(self, weights: Path, cache: Path, n_test: int) -> None:
        self.weights, self._models = weights, {}
        train, test = fetch_moses("train"), fetch_moses("test")
        self.training = set(train.smiles)
        #: The same molecules in every run: as many as are compared, drawn with a fixed seed.
        self.test = list(test.sample(min(n_test, len(test)), random_state=0).smiles)
        self.patterns = list(fetch_moses_filters()["smarts"])
        self.chemnet = chemnet_statistics(self.test, cache=cache)
        kept = cache / f"test-{len(self.test)}.npz"
        if kept.exists():
            self.described = MoleculeSet.load(kept)
        else:
            self.described = describe_molecules(self.test)
            self.described.save(kept)

    def model(self, name: str) -> tuple[TokenTransformer, Vocabulary, dict[str, Any]]:
        """Return a trained network with its vocabulary and description."""
        if name not in self._models:
            self._models[name] = load_training(self.weights / f"{name}.safetensors")
        return self._models[name]


def draw_smiles(sources: Sources, setting: Setting, count: int, seed: int) -> tuple[list[str], float, float]:
    """Draw from a model; return SMILES (some of them invalid), CPU seconds of the sampler, and its nfe."""
    network, vocabulary, about = sources.model(setting.model)
    tokenizer = molecule_tokenizer(about["representation"])
    generator = torch.Generator().manual_seed(seed)
    begun = time.process_time()
    if setting.nfe is None:
        parts = [min(500, count - start) for start in range(0, count, 500)]
        rows = torch.cat([draw_strings(network, part, vocabulary.length, generator) for part in parts])
    else:
        lengths = draw_lengths(about["lengths"], count, generator)
        rows = draw_rows(
            about["family"], network, lengths, setting.nfe, generator, solver=_solver(setting.solver),
            spacing=setting.spacing, temperature=setting.temperature,
        )  # fmt: skip
    spent = time.process_time() - begun
    strings = vocabulary.decode(rows)
    nfe = setting.nfe if setting.nfe is not None else sum(map(len, strings)) / len(strings) + 1.0
    return [tokenizer.to_smiles(tokenizer.join(tokens)) for tokens in strings], spent, nfe


def measure_setting(sources: Sources, setting: Setting, count: int, seed: int = 0) -> dict[str, object]:
    """Draw and measure; one row of the table."""
    smiles, spent, nfe = draw_smiles(sources, setting, count, seed)
    row: dict[str, object] = dict(zip(KEY, setting.key, strict=True))
    about = sources.model(setting.model)[2]
    row |= {"mean_nfe": nfe, "draws": count, **_measured(sources, smiles)}
    row |= {"draws_per_cpu_second": count / spent, "training_cpu_seconds": about["entry"]["cpu_seconds"],
            "training_steps": about["entry"]["step"]}  # fmt: skip
    return row


def peer_row(sources: Sources, path: Path) -> dict[str, object]:
    """Return the row of a peer, from the file that `molecules_peer.py` wrote."""
    found = json.loads(path.read_text())
    row = {"model": found["name"], "solver": "-", "spacing": "-", "temperature": 1.0, "nfe": 0}
    row |= {"mean_nfe": float("nan"), "draws": len(found["smiles"]), **_measured(sources, found["smiles"])}
    names = ("draws_per_cpu_second", "training_cpu_seconds")
    return row | {name: found[name] for name in names}


def _measured(sources: Sources, smiles: list[str]) -> dict[str, float]:
    """Return the measures of drawn strings against the test set."""
    drawn = describe_molecules(smiles, filters=MoleculeFilter.from_patterns(sources.patterns))
    found = evaluate(
        drawn, sources.described, training=sources.training, training_is_canonical=True, unique_at=()
    )
    fcd = frechet_distance(chemnet_statistics(smiles), sources.chemnet) if len(drawn) > 1 else float("nan")
    return {"fcd": fcd, **{str(name): float(value) for name, value in found.scores.items()}}


def floor_row(sources: Sources, count: int) -> dict[str, object]:
    """Return what as many molecules of the training set get: no model can be expected to do better."""
    smiles = list(fetch_moses("train").sample(count, random_state=1).smiles)
    row = {"model": "training set", "solver": "-", "spacing": "-", "temperature": 1.0, "nfe": 0}
    return row | {"draws": count, **_measured(sources, smiles), "novel": float("nan")}


def compare_bars(table: pd.DataFrame, reduced: bool) -> list[Bar]:
    """Judge whether the best diffusion model may be published, and state each condition."""
    peer = table[table["model"] == "autoregressive_selfies"]
    ours = table[table["model"].str.startswith(("mask", "uniform"))]
    if reduced or peer.empty or ours.empty:
        return [Bar("a diffusion model may be published", None, "decided by full runs only")]
    best = ours.loc[ours["fcd"].idxmin()]
    limit = FCD_RATIO * float(peer["fcd"].iloc[0])
    bars = [
        compare(f"{name} of the best diffusion model", float(best[name]), least, at_most=False)
        for name, least in PUBLISHING.items()
    ]
    name = f"FCD of the best diffusion model, limit {FCD_RATIO} x the autoregressive peer's"
    return [*bars, compare(name, float(best["fcd"]), limit, at_most=True)]


def _train_missing(weights: Path, names: Sequence[str], budget: TrainingBudget, molecules: int) -> None:
    for name in names:
        path = weights / f"{name}.safetensors"
        if not path.exists():
            family, representation = name.split("_")[:2]
            strings = training_strings(molecules, representation)
            train_file(family, representation, strings, path, budget, ModelSize())


def _attempts_section(table: pd.DataFrame) -> list[tuple[str, str]]:
    tried = attempts_table(table)
    return [] if tried.empty else [("What else was tried", markdown_table(tried))]


def _measure_missing(
    rows: RowFile, settings: Sequence[Setting], given: argparse.Namespace, weights: Path, n_test: int
) -> None:
    """Measure what has no row yet; the reference sets are read only where one is missing."""
    found = rows.frame()
    peer_is_there = not found.empty and bool((found["model"] == OTHER).any())
    wants_peer = given.peer is not None and given.peer.exists() and not peer_is_there
    missing = [one for one in settings if one.key not in rows]
    floor_is_there = ("training set", "-", "-", 1.0, 0) in rows
    if not missing and not wants_peer and floor_is_there:
        return
    sources = Sources(weights, given.out / "cache", n_test)
    if not floor_is_there:
        rows.add(floor_row(sources, given.draws))
    if wants_peer:
        rows.add(peer_row(sources, given.peer))
    for setting in missing:
        rows.add(measure_setting(sources, setting, given.draws))
        print(setting.key, flush=True)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2 000 molecules, 5 CPU seconds a model")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--attempts", action="store_true", help="other solvers and temperatures, too")
    parser.add_argument("--cpu-seconds", type=float, default=240.0)
    parser.add_argument("--molecules", type=int, default=260_000)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--peer", type=Path, help="file that molecules_peer.py wrote")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/molecules_compare"))
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    limit_threads()
    given = _arguments(arguments)
    settings = (*SETTINGS, *(ATTEMPTS if given.attempts else ()))
    budget = TrainingBudget(cpu_seconds=given.cpu_seconds)
    n_test = 10_000
    if given.quick:
        settings = tuple(replace(one, nfe=one.nfe and 16) for one in SETTINGS if one.nfe in (None, 16))
        budget, given.molecules, given.draws, n_test = TrainingBudget(cpu_seconds=5.0), 2000, 200, 500
    weights = given.out / "weights" if given.weights is None else given.weights
    weights.mkdir(parents=True, exist_ok=True)
    _train_missing(weights, sorted({one.model for one in settings}), budget, given.molecules)
    common = {"draws": given.draws, "molecules": given.molecules, "n_test": n_test}
    rows = RowFile(given.out / "rows.csv", KEY, common, resume=True)
    _measure_missing(rows, settings, given, weights, n_test)
    table = rows.frame()
    bars = compare_bars(table, given.quick)
    picture(table, given.out / "molecules_compare.png")
    write_markdown(
        given.out / "report.md", "Molecules: masked, uniform, autoregressive",
        run_header(given.quick), [
            ("What it says", reading(table) + CAVEATS),
            ("Bars of publishing trained weights", bars_text(bars)),
            ("Draws at equal nfe", markdown_table(main_table(table)) + "\n\n![FCD](molecules_compare.png)"),
            ("Wasserstein distances of properties", markdown_table(property_table(table))),
            *_attempts_section(table),
        ],
    )  # fmt: skip
    return check_exit_code(bars) if given.check else 0


if __name__ == "__main__":
    sys.exit(main())
