"""What one run of a sampler of particles cost and estimated, and what many runs say of its error.

The common currency of correlated chains and weighted particles is the *effective number of draws*: the number
of independent exact draws whose mean would be as far off. With the law's mean :math:`mu` and variance
:math:`s^2` of an observable and the estimates :math:`m_i` of independent runs

    of the whole error   s^2 / mean (m_i - mu)^2     counts what the sampler has wrong in every run, too
    of the spread        s^2 / Var(m_i)              what more runs of the same sampler would average away

The mean and variance of the law come from long reference runs, whose own error is subtracted from neither.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from measuring import measure
from numpy.typing import NDArray

__all__ = ["OBSERVABLES", "Law", "Run", "estimate", "law_of", "observe", "rows_of", "timed"]

OBSERVABLES = ("energy", "squared radius", "short pairs")
FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Law:
    """Mean, variance and error of the mean of each observable under the reference, as (observables,)."""

    mean: FloatArray
    variance: FloatArray
    error: FloatArray


@dataclass(frozen=True)
class Run:
    """One run: its estimates (observables,), CPU seconds, and what it says of itself."""

    estimates: FloatArray
    cpu_seconds: float
    notes: dict[str, float]


def observe(configurations: NDArray[np.floating], energies: NDArray[np.floating], short: float) -> FloatArray:
    """Return (observables, n): energy, mean squared distance to the centre, pairs closer than `short`."""
    x = configurations.astype(np.float64)
    centred = x - x.mean(axis=1, keepdims=True)
    squared = (centred**2).sum(axis=2).mean(axis=1)
    first, second = np.triu_indices(x.shape[1], 1)
    apart = ((x[:, first] - x[:, second]) ** 2).sum(axis=2)
    return np.stack([energies.astype(np.float64), squared, (apart < short**2).sum(axis=1).astype(np.float64)])


def law_of(runs: Sequence[FloatArray], effective: Sequence[float]) -> Law:
    """Return the law from independent reference runs (observables, n) with effective sizes."""
    pooled = np.concatenate(list(runs), axis=1)
    variance = pooled.var(axis=1)
    return Law(pooled.mean(axis=1), variance, np.sqrt(variance / sum(effective)))


def estimate(values: FloatArray, log_weights: FloatArray | None = None) -> FloatArray:
    """Return the weighted means of observables (observables, n)."""
    if log_weights is None:
        return values.mean(axis=1)
    weights = np.exp(log_weights - log_weights.max())
    means: FloatArray = values @ (weights / weights.sum())
    return means


def timed(call: Callable[[], tuple[FloatArray, dict[str, float]]]) -> Run:
    """Run a sampler and charge it the CPU seconds it took."""
    (estimates, notes), cost = measure(call)
    return Run(estimates, cost.cpu_seconds, notes)


def rows_of(labels: dict[str, object], runs: Sequence[Run], law: Law) -> list[dict[str, object]]:
    """Return a row an observable: cost, bias, spread, error and effective draws of one run."""
    estimates = np.stack([run.estimates for run in runs])
    seconds = float(np.mean([run.cpu_seconds for run in runs]))
    notes = pd.DataFrame([run.notes for run in runs]).mean().to_dict()
    rows = []
    for place, observable in enumerate(OBSERVABLES):
        apart = estimates[:, place] - law.mean[place]
        spread = float(apart.std(ddof=1)) if len(runs) > 1 else float("nan")
        error = float(np.sqrt((apart**2).mean()))
        rows.append(
            {
                **labels,
                "observable": observable,
                "runs": len(runs),
                "CPU s": seconds,
                "bias": float(apart.mean()),
                "spread": spread,
                "error": error,
                "draws by error": float(law.variance[place]) / error**2,
                "draws by spread": float(law.variance[place]) / spread**2,
                "ms per draw by error": 1e3 * seconds * error**2 / float(law.variance[place]),
                "ms per draw by spread": 1e3 * seconds * spread**2 / float(law.variance[place]),
                **notes,
            }
        )
    return rows
