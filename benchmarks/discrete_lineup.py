"""Samplers of tokens side by side in `discrete_exact.py`: what each takes, and on which grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from sciffusion.discrete import (
    Ancestral,
    Corrected,
    CTMCCorrector,
    DiscreteDenoiser,
    DiscretePrediction,
    DiscreteProcess,
    DiscreteSolver,
    EulerRates,
    FirstHitting,
    Gibbs,
    Mask,
    MaximalCoupling,
    PredictionTrapezoid,
    Remasking,
    TauLeaping,
    ThetaTrapezoid,
    Uniform,
    UniformAbsorbing,
    keep_grid,
)
from sciffusion.discrete.grids import KeepSpacing
from sciffusion.exact import MarkovChainOracle

__all__ = ["CHAIN_ROWS", "EXACT_ROWS", "IMPERFECT_ROWS", "Entry", "PlugIn", "exact_denoiser"]

#: The trapezoid as first built: probabilities, cut at 0, and the middle prediction alone in the last step.
CLIPPED = PredictionTrapezoid(scale="probability", last="middle")
RATES = (EulerRates, TauLeaping, ThetaTrapezoid)


class PlugIn:
    """The mistake that is compared with: the denoiser's law in the place of the leave-one-out one."""

    def __init__(self, oracle: MarkovChainOracle, process: DiscreteProcess) -> None:
        self.oracle, self.path = oracle, process

    def __call__(self, state: Any, condition: Any = None, cache: Any = None) -> DiscretePrediction:
        """Answer with the wrong law under the right name."""
        return DiscretePrediction(self.oracle.predict(self.path, state, "denoiser").logits, "loo")


@dataclass(frozen=True)
class Entry:
    """One row: a solver on a process.

    ``first_order`` marks solvers whose error is expected to fall as one over the evaluations.
    """

    name: str
    process: str
    solver: DiscreteSolver
    spacing: KeepSpacing = "linear"
    first_order: bool = False
    least: int = 1
    most: int = 128
    plug_in: bool = False

    def grid(self, nfe: int) -> Tensor | None:
        """Give the grid with the most steps within a budget; None where there is none to compare."""
        if not max(self.least, self.solver.total_nfe(1)) <= nfe <= self.most:
            return None
        steps = self.solver.steps_within(nfe)
        if not isinstance(self.solver, RATES):
            return keep_grid(steps, self.spacing)
        return None if steps < 2 else keep_grid(steps, self.spacing, None, 1e-3, 1.0 - 1e-3)


def exact_denoiser(oracle: MarkovChainOracle, entry: Entry) -> DiscreteDenoiser:
    """Give the exact denoiser of a row, or the wrong one that it asks for."""
    process = {"uniform": Uniform, "mask": Mask, "absorbing": UniformAbsorbing}[entry.process](
        oracle.vocab_size
    )
    if entry.plug_in:
        return PlugIn(oracle, process)
    return oracle.denoiser(process, "loo" if entry.process == "uniform" else "denoiser")


def _corrected(sites: int = 1, spacing: int | None = None) -> Corrected:
    return Corrected(Ancestral(), Gibbs(sites, spacing))


#: Bench A: all states, the sampler's law propagated.
EXACT_ROWS: Sequence[Entry] = (
    Entry("plug-in of the denoiser (wrong)", "uniform", Ancestral(), plug_in=True),
    Entry("ancestral", "uniform", Ancestral(), first_order=True),
    Entry("maximal coupling", "uniform", MaximalCoupling(), first_order=True),
    Entry("Euler", "uniform", EulerRates(), first_order=True),
    Entry("tau-leaping", "uniform", TauLeaping(), first_order=True),
    Entry("theta-trapezoid, cosine", "uniform", ThetaTrapezoid(), "cosine", most=64),
    Entry("theta-trapezoid, logit", "uniform", ThetaTrapezoid(), "logit", most=64),
    Entry("clipped trapezoid, linear", "uniform", CLIPPED, most=64),
    Entry("clipped trapezoid, cosine", "uniform", CLIPPED, "cosine", most=64),
    Entry("prediction trapezoid, linear", "uniform", PredictionTrapezoid(), most=64),
    Entry("prediction trapezoid, cosine", "uniform", PredictionTrapezoid(), "cosine", most=64),
    Entry("ancestral + Gibbs, 1 site", "uniform", _corrected()),
    Entry("ancestral + Gibbs, 2 sites anywhere", "uniform", _corrected(2, 1)),
    Entry("ancestral + Gibbs, 2 sites, spacing 2", "uniform", _corrected(2)),
    Entry("ancestral + Gibbs, 2 sites, spacing 3", "uniform", _corrected(2, 3)),
    Entry("ancestral + Gibbs, all sites", "uniform", _corrected(4, 1)),
    Entry(
        "ancestral + Gibbs, lowest margin", "uniform", Corrected(Ancestral(), Gibbs(select="lowest_margin"))
    ),
    Entry("ancestral + CTMC corrector .1", "uniform", Corrected(Ancestral(), CTMCCorrector(0.1))),
    Entry("mask ancestral", "mask", Ancestral(), first_order=True),
    Entry("mask remasking, rescale .2", "mask", Remasking("rescale", 0.2), first_order=True),
    Entry("mask theta-trapezoid, logit", "mask", ThetaTrapezoid(), "logit", most=64),
    Entry("mask clipped trapezoid, linear", "mask", CLIPPED, most=64),
    Entry("mask prediction trapezoid, linear", "mask", PredictionTrapezoid(), most=64),
    Entry("mask prediction trapezoid, cosine", "mask", PredictionTrapezoid(), "cosine", most=64),
    Entry("mask ancestral + Gibbs, 1 site", "mask", _corrected()),
    Entry("absorbing uniform, ancestral", "absorbing", Ancestral(), first_order=True, most=64),
    Entry("absorbing uniform, prediction trapezoid", "absorbing", PredictionTrapezoid(), most=16),
)

#: Bench A with an imperfect denoiser.
IMPERFECT_ROWS: Sequence[Entry] = (
    Entry("ancestral", "uniform", Ancestral()),
    Entry("ancestral + Gibbs, 1 site", "uniform", _corrected()),
    Entry("prediction trapezoid, cosine", "uniform", PredictionTrapezoid(), "cosine", most=32),
    Entry("clipped trapezoid, cosine", "uniform", CLIPPED, "cosine", most=32),
    Entry("theta-trapezoid, cosine", "uniform", ThetaTrapezoid(), "cosine", most=32),
    Entry("mask ancestral", "mask", Ancestral()),
    Entry("mask remasking, rescale .2", "mask", Remasking("rescale", 0.2)),
    Entry("mask ancestral + Gibbs, 1 site", "mask", _corrected()),
    Entry("mask prediction trapezoid, linear", "mask", PredictionTrapezoid(), most=32),
    Entry("absorbing uniform, ancestral", "absorbing", Ancestral(), most=16),
)

#: Bench B: sequences that are too long to enumerate, drawn.
CHAIN_ROWS: Sequence[Entry] = (
    Entry("plug-in of the denoiser (wrong)", "uniform", Ancestral(), plug_in=True),
    Entry("ancestral", "uniform", Ancestral()),
    Entry("maximal coupling", "uniform", MaximalCoupling()),
    Entry("Euler", "uniform", EulerRates()),
    Entry("tau-leaping, cosine", "uniform", TauLeaping(), "cosine"),
    Entry("theta-trapezoid, cosine", "uniform", ThetaTrapezoid(), "cosine"),
    Entry("clipped trapezoid, cosine", "uniform", CLIPPED, "cosine"),
    Entry("prediction trapezoid, cosine", "uniform", PredictionTrapezoid(), "cosine"),
    Entry("prediction trapezoid, linear", "uniform", PredictionTrapezoid()),
    Entry("ancestral + Gibbs, 2 sites", "uniform", _corrected(2)),
    Entry("ancestral + Gibbs, 8 sites anywhere", "uniform", _corrected(8, 1)),
    Entry("ancestral + Gibbs, all sites", "uniform", _corrected(32, 1)),
    Entry(
        "ancestral + Gibbs, 4 of lowest margin", "uniform",
        Corrected(Ancestral(), Gibbs(4, select="lowest_margin")),
    ),
    Entry("mask ancestral", "mask", Ancestral()),
    Entry("mask remasking, rescale .05", "mask", Remasking("rescale", 0.05)),
    Entry("mask remasking, confidence", "mask", Remasking("confidence")),
    Entry("mask ancestral + Gibbs, 2 sites", "mask", _corrected(2)),
    Entry("mask prediction trapezoid, linear", "mask", PredictionTrapezoid()),
    Entry("mask first hitting", "mask", FirstHitting(), least=32, most=32),
    Entry("absorbing uniform, ancestral", "absorbing", Ancestral()),
    Entry("absorbing uniform, prediction trapezoid", "absorbing", PredictionTrapezoid()),
)  # fmt: skip
