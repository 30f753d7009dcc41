r"""The location of a forecast: a non-negative stack of cheap forecasts.

With members :math:`p_k` (cheap forecasts and the out-of-fold ridge), their median :math:`p_0` and targets y
of training windows, all divided by a scale of the row, the weights of a range of steps ahead minimise

.. math:: \sum \rho\bigl(y - p_0 - \textstyle\sum_k w_k (p_k - p_0)\bigr),
          \qquad w_k \ge 0, \ \textstyle\sum_k w_k \le 1,

with :math:`\rho(e) = \sqrt{e^2 + .01}`, near the absolute error that the CRPS of a point forecast is, by
reweighted least squares, the median itself taking what is left of a sum of 1. Steps ahead are taken in a few
ranges, each shrunk to the weights of all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .history import Floats
from .nonnegative import nonnegative_weights

__all__ = ["Stack", "fit_weights", "members_array", "step_ranges"]

_RANGES = 4
_ITERATIONS = 12
_SMOOTH = 0.01
_CONSTRAINT = 1e3  # how much the sum of the weights counts against the fit
_TO_EQUAL = 10.0  # observations' worth of shrinkage of all weights to equal ones
_TO_COMMON = 0.02  # of the weights of a range to those of all steps


def members_array(forecasts: dict[str, Floats], names: tuple[str, ...]) -> tuple[Floats, Floats]:
    """Return the members' forecasts, shape (members, windows, horizon), and their median.

    A member that has no forecast (its season has not been seen) is given the median of the others; where no
    member has one, both are NaN.
    """
    stacked = np.stack([forecasts[name] for name in names])
    lacking = np.isnan(stacked)
    if not lacking.any():
        return stacked, np.median(stacked, axis=0)
    known = ~lacking.all(axis=0)
    median = np.full(stacked.shape[1:], np.nan)
    median[known] = np.nanmedian(stacked[:, known], axis=0)
    return np.where(lacking, median, stacked), median


@dataclass(frozen=True, eq=False)
class Stack:
    """Weights of the members.

    Attributes
    ----------
    names : tuple of str
        Members.
    weights : ndarray of shape (members, horizon)
    """

    names: tuple[str, ...]
    weights: Floats

    @classmethod
    def fit(
        cls, names: tuple[str, ...], members: Floats, median: Floats, targets: Floats, units: Floats
    ) -> Stack:
        """Fit the weights.

        Parameters
        ----------
        names : tuple of str
        members : ndarray of shape (members, windows, horizon)
        median, targets : ndarray of shape (windows, horizon)
            Targets may be missing.
        units : ndarray of shape (windows, 1)
            Scale of each window's row, > 0.
        """
        horizon = targets.shape[1]
        equal = np.full(len(names), 1.0 / len(names))
        departures = (members - median) / units
        wanted = (targets - median) / units
        common = fit_weights(departures, wanted, equal, _TO_EQUAL / max(np.isfinite(wanted).sum(), 1))
        weights = np.repeat(common[:, None], horizon, axis=1)
        ranges = step_ranges(horizon)
        for part in range(int(ranges[-1]) + 1) if ranges[-1] > 0 else ():
            steps = np.flatnonzero(ranges == part)
            fitted = fit_weights(departures[..., steps], wanted[:, steps], common, _TO_COMMON)
            weights[:, steps] = fitted[:, None]
        return cls(names, weights)

    def combine(self, members: Floats, median: Floats, own: Floats | None = None) -> Floats:
        """Return the stacked forecast, shape (windows, horizon).

        Parameters
        ----------
        members : ndarray of shape (members, windows, horizon)
        median : ndarray of shape (windows, horizon)
        own : ndarray of shape (windows, members, horizon), optional
            Weights of each window, in place of the common ones.
        """
        departures = members - median
        if own is None:
            result: Floats = median + np.einsum("kwh,kh->wh", departures, self.weights)
        else:
            result = median + np.einsum("kwh,wkh->wh", departures, own)
        return result


def step_ranges(horizon: int) -> NDArray[np.int64]:
    """Return the number of the range that each step ahead lies in; a short horizon is one range."""
    count = _RANGES if horizon >= _RANGES else 1
    return np.concatenate(
        [np.full(len(steps), part) for part, steps in enumerate(np.array_split(np.arange(horizon), count))]
    )


def fit_weights(
    departures: Floats, wanted: Floats, prior: Floats, penalty: float, iterations: int = _ITERATIONS
) -> Floats:
    """Return the weights of the module's equation for some windows and steps.

    Parameters
    ----------
    departures : ndarray of shape (members, windows, steps)
        Differences from the median, in units of the row.
    wanted : ndarray of shape (windows, steps)
        Difference of the target from the median, NaN where it is missing.
    prior : ndarray of shape (members,)
        Weights to shrink to.
    penalty : float >= 0
        How strongly, relative to the mean diagonal of the normal equations.
    iterations : int
        Of the reweighting.
    """
    inputs = departures.reshape(len(departures), -1).T
    target = wanted.reshape(-1)
    usable = np.isfinite(target) & np.isfinite(inputs).all(axis=1)
    inputs, target = inputs[usable], target[usable]
    weights = prior
    if not len(target):
        return weights
    for _ in range(iterations):
        importance = 1.0 / np.sqrt((target - inputs @ weights) ** 2 + _SMOOTH)
        weighted = inputs * importance[:, None]
        weights = _within_simplex(weighted.T @ inputs, weighted.T @ target, prior, penalty)
    return weights


def _within_simplex(gram: Floats, moments: Floats, prior: Floats, penalty: float) -> Floats:
    """Return non-negative weights whose sum is at most 1, by a further weight for the median."""
    size = len(prior)
    typical = max(float(np.trace(gram)) / size, 1e-300)
    sum_to_one = _CONSTRAINT * typical
    extended = np.full((size + 1, size + 1), sum_to_one)
    extended[:size, :size] += gram
    wanted = np.full(size + 1, sum_to_one)
    wanted[:size] += moments
    rest = max(1.0 - float(prior.sum()), 0.0)
    # The penalty is relative to the gram matrix itself, not to the constraint.
    strength = penalty * typical / (float(np.trace(extended)) / (size + 1))
    return nonnegative_weights(extended, wanted, prior=np.append(prior, rest), penalty=strength)[:size]
