"""Draw four particles at half the temperature that a model was trained at, and measure the draws.

    python -m sciffusion.domains.boltzmann.demo --out report/boltzmann

The model is the published one of four particles with double wells, trained at temperature 2; where this
version has none, a small one is fitted first. It is drawn from at temperature 1 by guided particles and by
controlled ones. Both are weighted draws of one law; how well, is measured against replica exchange at
temperature 1, beside the floor: the same measures between two runs of replica exchange. ``--quick`` fits and
draws next to nothing: enough to see that all works.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sciffusion.estimators.imports import optional_import
from sciffusion.training.checkpoints import write_atomically
from sciffusion.training.global_state import limited_threads

from .diffusion import BoltzmannDiffusion
from .files_xyz import write_xyz
from .metrics import compare_samples
from .plots import plot_ess, plot_samples
from .plots_style import write_picture
from .pretrained import list_pretrained

__all__ = ["main", "run_demo"]

PUBLISHED = "double_well_4"
TRAINED_AT, DRAWN_AT = 2.0, 1.0
#: What is drawn: name, and the control of the particles.
RUNS = {"guided": "none", "controlled": "vcg"}


@dataclass(frozen=True)
class _Size:
    draws: int
    reference: int
    steps: int
    width: int


_WHOLE, _QUICK = _Size(2000, 10_000, 600, 32), _Size(64, 200, 20, 8)


def main(arguments: Sequence[str] | None = None) -> Path:
    """Run the demonstration.

    Parameters
    ----------
    arguments : sequence of str, optional
        Command line; ``sys.argv[1:]`` by default.

    Returns
    -------
    Path
        The folder with pictures and table.
    """
    options = _parser().parse_args(arguments)
    optional_import("matplotlib", "plots").use("Agg")
    with limited_threads(1):
        run_demo(Path(options.out), seed=options.seed, quick=options.quick)
    return Path(options.out)


def run_demo(folder: Path, *, seed: int = 0, quick: bool = False, say: Any = print) -> pd.DataFrame:
    """Draw, measure and show.

    Parameters
    ----------
    folder : Path
        Where pictures, table and models for a viewer go; made if need be.
    seed : int
        Of all draws.
    quick : bool
        Next to nothing, to see that all works.
    say : callable
        Takes each line of the report.

    Returns
    -------
    DataFrame
        The measures of every run, and of the reference against itself.
    """
    folder.mkdir(parents=True, exist_ok=True)
    size = _QUICK if quick else _WHOLE
    model = _model(size, seed, quick, say)
    runs: dict[str, Any] = {}
    for name, control in RUNS.items():
        begun = time.perf_counter()
        drawn = model.sample(size.draws, temperature=DRAWN_AT, control=control, random_state=seed)
        runs[name] = drawn
        say(f"{name}: {size.draws} draws at temperature {DRAWN_AT:g} in {time.perf_counter() - begun:.0f} s")
    table, known = _measure(runs, size, seed)
    content = table.to_csv()
    write_atomically(folder / "measures.csv", lambda file: file.write(content.encode("utf-8")))
    _draw(folder, runs, known)
    say("")
    say(table.T.round(4).to_string())
    say("")
    say(f"Measures, pictures and models for a viewer: {folder.resolve()}")
    return table


def _model(size: _Size, seed: int, quick: bool, say: Any) -> BoltzmannDiffusion:
    if PUBLISHED in list_pretrained() and not quick:
        say(f"The published model {PUBLISHED}, trained at temperature {TRAINED_AT:g}")
        return BoltzmannDiffusion.from_pretrained(PUBLISHED)
    say(f"Fitting a small model at temperature {TRAINED_AT:g}")
    known = _simulated(size.reference, TRAINED_AT, seed + 1)
    model = BoltzmannDiffusion(
        width=size.width, depth=2, max_steps=size.steps, batch_size=128, random_state=seed, device="cpu"
    )
    model.fit(known.configurations, temperature=TRAINED_AT, forces=known.forces)
    return model


def _simulated(count: int, temperature: float, seed: int) -> Any:
    from sciffusion.datasets import make_dw4

    return make_dw4(count, temperature, random_state=seed)


def _measure(runs: dict[str, Any], size: _Size, seed: int) -> tuple[pd.DataFrame, Any]:
    known, other = (_simulated(size.reference, DRAWN_AT, seed + place) for place in (2, 3))
    table = compare_samples(
        runs, known, second_reference=other, n_floor=3, features=("distances",), kernel_rows=4000
    )
    return table, known


def _draw(folder: Path, runs: dict[str, Any], known: Any) -> None:
    figure = plot_samples(runs, known, energy=known.energy, title="DW-4 from temperature 2 to 1")
    write_picture(folder / "laws.png", figure)
    write_picture(folder / "weights.png", plot_ess(runs))
    models = runs["controlled"].resampled(50, random_state=0)
    write_xyz(folder / "models.xyz", models)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sciffusion.domains.boltzmann.demo",
        description="Draw particles at half the temperature a model was trained at, and measure the draws.",
    )
    parser.add_argument("--out", default="report/boltzmann", help="folder to write (report/boltzmann)")
    parser.add_argument("--seed", type=int, default=0, help="seed of fit and draws (0)")
    parser.add_argument("--quick", action="store_true", help="next to nothing: to see that all works")
    return parser


if __name__ == "__main__":
    main()
