r"""What conformal intervals are made of: held-out errors of each step ahead, and levels that adapt.

For a target miss rate :math:`\alpha` the level in use starts at :math:`\alpha_0 = \alpha` and moves with
every new time t by

.. math:: \alpha_{t+1} = \alpha_t + \gamma\,(\alpha - \mathrm{err}_t),

where :math:`\mathrm{err}_t` is the share of the values of time t that lay outside the intervals of level
:math:`\alpha_t` forecast for them. Whatever the data do, the mean of :math:`\mathrm{err}_t` over T times is
within :math:`(\max(\alpha_0, 1 - \alpha_0) + \gamma) / (\gamma T)` of :math:`\alpha`, as long as intervals of
:math:`\alpha_t \le 0` cover everything and those of :math:`\alpha_t \ge 1` nothing (Gibbs and Candes,
*Adaptive Conformal Inference Under Distribution Shift*, arXiv 2106.00170). Here every step ahead has
levels of its own, the new errors join the held-out ones (the oldest leave), and in place of an infinite
interval stands the widest one that the errors know.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .base_forecast import TrainingBase
from .history import Floats

__all__ = ["ADAPTED_LEVELS", "ConformalState", "read_levels"]

#: Coverages in per cent whose levels are adapted; those between are interpolated.
ADAPTED_LEVELS = (50.0, 80.0, 90.0, 95.0, 99.0)

_MOST_WINDOWS = 2000


def read_levels(level: Any) -> list[float]:
    """Return one coverage in per cent, or several, as numbers.

    Raises
    ------
    TypeError
        If one is no number.
    ValueError
        If one is not between 0 and 100.
    """
    return [_level(one) for one in np.atleast_1d(np.asarray(level, dtype=object))]


def _level(level: Any) -> float:
    if isinstance(level, bool) or not isinstance(level, int | float | np.integer | np.floating):
        raise TypeError(f"level must hold per cents between 0 and 100, got {level!r}")
    if not 0.0 < level < 100.0:
        raise ValueError(f"level must hold per cents between 0 and 100, got {level!r}")
    return float(level)


@dataclass(frozen=True, eq=False)
class ConformalState:
    """Held-out errors, oldest first, and the adapted levels.

    Attributes
    ----------
    scores : ndarray of shape (windows, horizon)
        Standardised errors; NaN where the target was missing.
    alpha : ndarray of shape (levels, horizon)
        Miss rates in use for `ADAPTED_LEVELS`.
    """

    scores: Floats
    alpha: Floats

    @classmethod
    def begin(cls, training: TrainingBase) -> ConformalState:
        """Return the state after a fit: errors of at most 2000 windows, evenly spaced in time."""
        residuals = training.residuals[np.argsort(training.windows.origin, kind="stable")]
        every = -(-len(residuals) // _MOST_WINDOWS)
        target = 1.0 - np.array(ADAPTED_LEVELS) / 100.0
        return cls(residuals[::every], np.repeat(target[:, None], residuals.shape[1], axis=1))

    @property
    def horizon(self) -> int:
        """Steps ahead."""
        return int(self.scores.shape[1])

    def bounds(self, level: float, *, adaptive: bool = False) -> tuple[Floats, Floats]:
        """Return the lower and upper score of each step ahead.

        Raises
        ------
        ValueError
            If there are too few errors of a step for the level; adaptive bounds then are the outermost.
        """
        alpha = np.full(self.horizon, 1.0 - level / 100.0)
        if adaptive:
            alpha = alpha + self._correction(level)
        return self._bounds(alpha, outermost=adaptive)

    def middle(self) -> Floats:
        """Return the median score of each step ahead; 0 where none was observed."""
        seen = np.isfinite(self.scores).any(axis=0)
        result = np.zeros(self.horizon)
        result[seen] = np.nanmedian(self.scores[:, seen], axis=0)
        return result

    def _correction(self, level: float) -> Floats:
        """Return how far the levels in use are from their targets, interpolated to a coverage."""
        apart = self.alpha - (1.0 - np.array(ADAPTED_LEVELS)[:, None] / 100.0)
        return np.array([np.interp(level, ADAPTED_LEVELS, column) for column in apart.T])

    def _bounds(self, alpha: Floats, *, outermost: bool) -> tuple[Floats, Floats]:
        ordered = np.sort(self.scores, axis=0)  # NaN last
        counts = np.isfinite(self.scores).sum(axis=0)
        rank = np.floor((counts + 1) * np.clip(alpha, 0.0, 1.0) / 2.0 + 1e-9).astype(np.int64)
        if not outermost and (rank < 1).any():
            fewest = int(counts.min())
            needed = int(np.ceil(2 / alpha.min() - 1))
            raise ValueError(
                f"level {100 * (1 - alpha.min()):g} needs {needed} held-out windows for conformal "
                f"intervals, got {fewest}; use method='draws' or a lower level"
            )
        rank = np.clip(rank, 1, np.maximum((counts + 1) // 2, 1))
        steps = np.arange(self.horizon)
        lower, upper = ordered[rank - 1, steps], ordered[np.maximum(counts - rank, 0), steps]
        unseen = counts == 0
        return np.where(unseen, -np.inf, lower), np.where(unseen, np.inf, upper)

    def observed(self, scores: Floats, gamma: float) -> ConformalState:
        """Return the state after one more time.

        Parameters
        ----------
        scores : ndarray of shape (rows, horizon)
            Errors of the forecasts of this time's values, by steps ahead; NaN where there is none.
        gamma : float
            Step size.
        """
        seen = np.isfinite(scores)
        counts = seen.sum(axis=0)
        alpha = self.alpha.copy()
        for place, level in enumerate(ADAPTED_LEVELS):
            lower, upper = self._bounds(self.alpha[place], outermost=True)
            missed = (seen & ((scores < lower) | (scores > upper))).sum(axis=0)
            missed = np.where(self.alpha[place] >= 1.0, counts, missed)
            error = missed / np.maximum(counts, 1)
            alpha[place] += np.where(counts > 0, gamma * ((1.0 - level / 100.0) - error), 0.0)
        kept = np.flatnonzero(seen.any(axis=1))
        joined = np.concatenate([self.scores, scores[kept]])[-max(_MOST_WINDOWS, len(self.scores)) :]
        return replace(self, scores=joined, alpha=alpha)
