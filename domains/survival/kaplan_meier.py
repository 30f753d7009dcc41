r"""Kaplan-Meier and Nelson-Aalen curves for many patients at once.

A generator answers a patient with draws :math:`(t_i, p_i)`, i = 1..K: a time and either a flag
(event 1, censored 0) or the probability that this time is an event. With draw weights :math:`w_i`,

.. math::

    n(t) = \sum_{t_i \ge t} w_i, \qquad d(t) = \sum_{t_i = t} w_i p_i, \qquad
    S(t) = \prod_{s \le t} \Bigl(1 - \frac{d(s)}{n(s)}\Bigr), \qquad
    H(t) = \sum_{s \le t} \frac{d(s)}{n(s)} .

S estimates P(T > t) and H the cumulative hazard when event time and censoring time are independent given
the patient. Both are right-continuous. At equal times events come first: whoever is censored at t is still
at risk at t. Using :math:`p_i` instead of a coin thrown with probability :math:`p_i` replaces the flag by
its conditional mean (Rao-Blackwell) and so removes the noise of the coin.

For the censoring time the roles are swapped and the tie rule is kept, so events at t have left before
anyone is censored at t: its hazard is :math:`(d_{all}(t) - d(t)) / (n(t) - d(t))` with
:math:`d_{all}(t) = \sum_{t_i = t} w_i`.

**Beyond the last draw** S and H stay at their last value. If the last draw is censored (or an event with
p < 1) that value of S is positive and nothing is known about later times: quantiles below it are infinite,
and a restricted mean with a horizon beyond the last draw takes S as constant there.

Kaplan and Meier, *Nonparametric estimation from incomplete observations*, JASA 53 (1958); Aalen,
*Nonparametric inference for a family of counting processes*, Annals of Statistics 6 (1978).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

__all__ = ["KaplanMeierCurves", "kaplan_meier_curves"]

FloatArray = NDArray[np.float64]

# A group whose events exhaust its risk set must bring S to exactly 0 although d and n are summed in
# different orders.
_EXHAUSTED = 1.0 - 1e-12


@dataclass(frozen=True)
class KaplanMeierCurves:
    """One survival step function a row, as values at the sorted times of its draws.

    Attributes
    ----------
    times : ndarray of shape (rows, draws)
        Times of the draws, ascending in each row, in the unit of the input; ties are kept.
    survival : ndarray of shape (rows, draws)
        S(t) at ``times``, right-continuous, in [0, 1], non-increasing in each row.
    cumulative_hazard : ndarray of shape (rows, draws)
        Nelson-Aalen H(t) at ``times``, non-decreasing in each row.
    """

    times: FloatArray
    survival: FloatArray
    cumulative_hazard: FloatArray

    def survival_at(self, times: ArrayLike) -> FloatArray:
        """Evaluate S(t).

        Parameters
        ----------
        times : array-like of shape (), (n_times,) or (rows, n_times)
            Times common to all rows, or one list a row; any order.

        Returns
        -------
        ndarray of shape (rows, n_times)
            S at these times: 1 before the first draw, the last value beyond the last draw.
        """
        return self._values_at(self.survival, 1.0, times)

    def cumulative_hazard_at(self, times: ArrayLike) -> FloatArray:
        """Evaluate the Nelson-Aalen H(t), 0 before the first draw; otherwise as `survival_at`."""
        return self._values_at(self.cumulative_hazard, 0.0, times)

    def quantile(self, levels: ArrayLike) -> FloatArray:
        """Give the smallest draw time t with P(T <= t) = 1 - S(t) >= level.

        Parameters
        ----------
        levels : array-like of shape (), (n_levels,) or (rows, n_levels)
            Probabilities in [0, 1]; .5 is the median.

        Returns
        -------
        ndarray of shape (rows, n_levels)
            Times; 0 for level 0, infinity where the curve never falls to 1 - level.

        Raises
        ------
        ValueError
            If a level is outside [0, 1].
        """
        wanted = self._per_row(levels, "levels")
        if not ((wanted >= 0) & (wanted <= 1)).all():
            raise ValueError(f"levels must lie in [0, 1], got values from {wanted.min()} to {wanted.max()}")
        # 1 - S and a level such as .9 are rounded differently; a few units in the last place decide nothing.
        index = _searchsorted(1.0 - self.survival, wanted - 4e-16, right=False)
        padded = np.concatenate([self.times, np.full((len(self.times), 1), np.inf)], axis=1)
        found = np.where(wanted == 0, 0.0, np.take_along_axis(padded, index, axis=1))
        return np.where(np.isnan(self.survival[:, -1:]), np.nan, found)

    def restricted_mean(self, horizon: ArrayLike) -> FloatArray:
        """Integrate S from 0 to the horizon, exactly for the step function: E[min(T, horizon)].

        Parameters
        ----------
        horizon : float or array-like of shape (rows,)
            Upper limit, >= 0, common or one a row.

        Returns
        -------
        ndarray of shape (rows,)
            Restricted mean survival time, in the unit of the times.

        Raises
        ------
        ValueError
            If a horizon is negative or not finite.
        """
        limit = np.broadcast_to(np.asarray(horizon, dtype=np.float64), (len(self.times),))[:, None]
        if not (np.isfinite(limit) & (limit >= 0)).all():
            raise ValueError(f"horizon must be finite and >= 0, got {horizon!r}")
        ends = np.concatenate([np.minimum(self.times, limit), limit], axis=1)
        levels = np.concatenate([np.ones_like(limit), self.survival], axis=1)
        widths: FloatArray = np.diff(ends, axis=1, prepend=0.0)
        means: FloatArray = np.einsum("rk,rk->r", widths, levels)
        return means

    def conditional(self, start: ArrayLike) -> KaplanMeierCurves:
        """Condition on T > start: S(t)/S(start) for t > start, 1 up to start; H(t) - H(start), 0 up to start.

        Parameters
        ----------
        start : float or array-like of shape (rows,)
            Time already survived, common or one a row.

        Returns
        -------
        KaplanMeierCurves
            Curves on the same clock: subtract ``start`` from their quantiles and restricted means for the
            remaining life. Rows with S(start) = 0 have no such distribution: their values, quantiles and
            restricted means are NaN.
        """
        begin = np.broadcast_to(np.asarray(start, dtype=np.float64), (len(self.times),))[:, None]
        survived = self.survival_at(begin)
        # 1 where there is someone left, NaN in rows where there is not.
        possible = np.where(survived > 0, 1.0, np.nan)
        after = self.times > begin
        return KaplanMeierCurves(
            self.times,
            np.where(after, self.survival / (survived * possible), possible),
            np.where(after, self.cumulative_hazard - self.cumulative_hazard_at(begin), 0.0) * possible,
        )

    def _per_row(self, values: ArrayLike, name: str) -> FloatArray:
        array = np.atleast_1d(np.asarray(values, dtype=np.float64))
        rows = len(self.times)
        if array.ndim > 2 or (array.ndim == 2 and len(array) != rows):
            raise ValueError(f"{name} must have shape (n,) or ({rows}, n), got {array.shape}")
        if np.isnan(array).any():
            raise ValueError(f"{name} must not contain NaN")
        return np.broadcast_to(array, (rows, array.shape[-1]))

    def _values_at(self, values: FloatArray, before: float, times: ArrayLike) -> FloatArray:
        passed = _searchsorted(self.times, self._per_row(times, "times"), right=True)
        padded = np.concatenate([np.full((len(values), 1), before), values], axis=1)
        return np.take_along_axis(padded, passed, axis=1)


def kaplan_meier_curves(
    times: ArrayLike,
    events: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    of: Literal["event", "censoring"] = "event",
) -> KaplanMeierCurves:
    """Estimate one curve a row from its draws, or from one cohort given as a single row.

    Parameters
    ----------
    times : array-like of shape (rows, draws)
        Finite times >= 0.
    events : array-like of shape (rows, draws)
        Flags (True = event) or probabilities of an event in [0, 1].
    weights : array-like of shape (draws,) or (rows, draws), optional
        Finite weights >= 0; an integer weight acts like that many copies of the draw.
    of : {"event", "censoring"}
        Whose distribution to estimate. "censoring" gives the survival function G of the censoring time.

    Returns
    -------
    KaplanMeierCurves
        Curves of the chosen time. Memory is a few arrays of (rows, draws); split the rows to bound it.

    Raises
    ------
    ValueError
        If shapes disagree, there is no draw, or a value is outside its range.
    """
    time, probability, weight = _checked_draws(times, events, weights)
    order = np.argsort(time, axis=1, kind="stable")
    time = np.take_along_axis(time, order, axis=1)
    weight = np.take_along_axis(weight, order, axis=1)
    weighted_events = weight * np.take_along_axis(probability, order, axis=1)
    hazard = _hazards(time, weight, weighted_events, of)
    survival = np.cumprod(1.0 - hazard, axis=1, dtype=np.float64)
    return KaplanMeierCurves(time, survival, np.cumsum(hazard, axis=1, dtype=np.float64))


def _hazards(time: FloatArray, weight: FloatArray, events: FloatArray, of: str) -> FloatArray:
    """Put d/n of each group of equal times at its first draw and 0 at the others."""
    first = np.ones(time.shape, dtype=bool)
    first[:, 1:] = time[:, 1:] != time[:, :-1]
    starts = np.flatnonzero(first)
    # Summing from the end keeps the small risk sets of the tail free of cancellation.
    at_risk = np.cumsum(weight[:, ::-1], axis=1)[:, ::-1].ravel()[starts]
    leaving = np.add.reduceat(events.ravel(), starts)
    if of == "censoring":
        at_risk = at_risk - leaving
        leaving = np.add.reduceat((weight - events).ravel(), starts)
    elif of != "event":
        raise ValueError(f'of must be "event" or "censoring", got {of!r}')
    ratio = np.divide(leaving, at_risk, out=np.zeros_like(leaving), where=(leaving > 0) & (at_risk > 0))
    hazard = np.zeros(time.size)
    hazard[starts] = np.where(ratio >= _EXHAUSTED, 1.0, ratio)
    return hazard.reshape(time.shape)


def _checked_draws(
    times: ArrayLike, events: ArrayLike, weights: ArrayLike | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    time = np.asarray(times, dtype=np.float64)
    probability = np.asarray(events, dtype=np.float64)
    if time.ndim != 2 or time.shape[1] == 0:
        raise ValueError(f"times must have shape (rows, draws) with at least one draw, got {time.shape}")
    if probability.shape != time.shape:
        raise ValueError(f"events must have the shape of times {time.shape}, got {probability.shape}")
    if not (np.isfinite(time) & (time >= 0)).all():
        raise ValueError("times must be finite and >= 0")
    if not ((probability >= 0) & (probability <= 1)).all():
        raise ValueError("events must be flags or probabilities in [0, 1]")
    weight = np.asarray(1.0 if weights is None else weights, dtype=np.float64)
    if weights is not None and weight.shape not in {time.shape, time.shape[1:]}:
        raise ValueError(f"weights must have shape {time.shape[1:]} or {time.shape}, got {weight.shape}")
    if not (np.isfinite(weight) & (weight >= 0)).all():
        raise ValueError("weights must be finite and >= 0")
    return time, probability, np.broadcast_to(weight, time.shape)


def _searchsorted(ascending: FloatArray, values: FloatArray, *, right: bool) -> NDArray[np.int64]:
    """Search each row in its own row (numpy has only the one-row form)."""
    found = torch.searchsorted(
        torch.from_numpy(np.ascontiguousarray(ascending)),
        torch.from_numpy(np.array(values, dtype=np.float64, order="C")),
        right=right,
    )
    indices: NDArray[np.int64] = found.numpy()
    return indices
