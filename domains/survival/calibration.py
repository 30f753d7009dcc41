r"""Do predicted survival probabilities come true? Checks on held-out rows under right censoring.

- **D-calibration**: if the predictions are the true distributions, :math:`\hat S(T_i|x_i)` of the event
  times is uniform on [0, 1]. An event counts in the bin of its value. A row censored with value s can only
  end up in [0, s], uniformly: bin [a, b) gets the length of its overlap with [0, s], divided by s. The
  chi-square statistic of the counts has bins - 1 degrees of freedom; censoring makes it conservative.
- **KM-calibration**: the mean predicted curve against the Kaplan-Meier curve of the same rows.
- **One-calibration** at a time t: rows grouped by predicted S(t | x), mean prediction against the group's
  Kaplan-Meier value, :math:`\sum_g (\mathrm{KM}_g(t) - \bar S_g(t))^2 / \widehat{\mathrm{Var}}_g` with
  Greenwood's variance. On held-out rows nothing is fitted, so each group brings one degree of freedom.
- **Event rate**: the generated share of events among (T, C) draws against the observed one.

All of them assume censoring independent of the event time given the features (one-calibration: within a
group; KM-calibration: overall).

Haider, Hoehn, Davis and Greiner, *Effective ways to build and evaluate individual survival distributions*,
JMLR 21 (2020); Demler, Paynter and Cook, *Tests of calibration and goodness-of-fit in the survival setting*,
Statistics in Medicine 34 (2015).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import trapezoid
from scipy.stats import chi2

from .kaplan_meier import kaplan_meier_curves
from .metrics import survival_table
from .model_selection import event_flags
from .targets import survival_target

__all__ = [
    "DCalibration",
    "EventRateCheck",
    "KMCalibration",
    "OneCalibration",
    "d_calibration",
    "event_rate_check",
    "km_calibration",
    "one_calibration",
]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class DCalibration:
    """Result of `d_calibration`.

    Attributes
    ----------
    statistic : float
        Chi-square statistic.
    p_value : float
        Upper tail probability; small values speak against calibration.
    degrees_of_freedom : int
        Number of bins - 1.
    bin_shares : ndarray of shape (bins,)
        Share of rows in each bin of S from 0 upwards, 1/bins each if calibrated. Large shares in low bins:
        rows outlive their predictions.
    """

    statistic: float
    p_value: float
    degrees_of_freedom: int
    bin_shares: FloatArray


@dataclass(frozen=True)
class KMCalibration:
    """Result of `km_calibration`.

    Attributes
    ----------
    times : ndarray of shape (n_times,)
        The grid.
    predicted, observed : ndarray of shape (n_times,)
        Mean predicted survival, and the Kaplan-Meier estimate.
    integrated_squared_difference : float
        Mean over the grid (by trapezoids) of (predicted - observed)^2.
    largest_difference : float
        Largest absolute difference on the grid.
    """

    times: FloatArray
    predicted: FloatArray
    observed: FloatArray
    integrated_squared_difference: float
    largest_difference: float


@dataclass(frozen=True)
class OneCalibration:
    """Result of `one_calibration`, groups from low to high predicted survival.

    Attributes
    ----------
    time : float
        Time t of the check.
    predicted, observed : ndarray of shape (groups,)
        Mean predicted S(t | x), and the group's Kaplan-Meier value; NaN where follow-up of the group ended in
        censoring before t. Such groups are left out of the statistic.
    counts : ndarray of shape (groups,)
        Rows in each group.
    statistic, p_value : float
        Chi-square statistic and its upper tail probability.
    degrees_of_freedom : int
        Number of groups in the statistic.
    """

    time: float
    predicted: FloatArray
    observed: FloatArray
    counts: NDArray[np.int64]
    statistic: float
    p_value: float
    degrees_of_freedom: int


@dataclass(frozen=True)
class EventRateCheck:
    """Result of `event_rate_check`.

    Attributes
    ----------
    observed, generated : float
        Share of events among the rows, and among their draws.
    difference : float
        generated - observed.
    standard_error : float
        Standard deviation of the observed share if the generated probabilities were true.
    z_score : float
        difference / standard_error.
    """

    observed: float
    generated: float
    difference: float
    standard_error: float
    z_score: float


def d_calibration(survival_at_own_time: ArrayLike, event: ArrayLike, bins: int = 10) -> DCalibration:
    """Test whether predicted survival at the observed times is uniform.

    Parameters
    ----------
    survival_at_own_time : array-like of shape (n,)
        Predicted S(t_i|x_i) at each row's own observed time, in [0, 1].
    event : array-like of shape (n,)
        Event flags, boolean or 0/1.
    bins : int
        Number of equal bins, at least 2.

    Returns
    -------
    DCalibration
        Statistic, p-value and shares.

    Raises
    ------
    ValueError
        If a probability is outside [0, 1], lengths differ or bins < 2.
    """
    survival = _probabilities(survival_at_own_time, "survival_at_own_time")
    flags = event_flags(event)
    if survival.ndim != 1 or flags.shape != survival.shape or not len(survival):
        raise ValueError(
            "survival_at_own_time and event must be one-dimensional, equally long and not empty, "
            f"got {survival.shape} and {flags.shape}"
        )
    if bins < 2:
        raise ValueError(f"bins must be at least 2, got {bins}")
    edges = np.arange(bins + 1) / bins
    own_bin = np.minimum(np.searchsorted(edges, survival[flags], side="right") - 1, bins - 1)
    counts = np.bincount(own_bin, minlength=bins).astype(np.float64)
    censored = survival[~flags & (survival > 0), None]
    counts += (np.clip(censored - edges[:-1], 0.0, 1.0 / bins) / censored).sum(axis=0)
    # Censored where nobody is predicted to be alive: nothing is left but the lowest bin.
    counts[0] += np.sum(~flags & (survival == 0))
    expected = len(survival) / bins
    statistic = float(np.sum((counts - expected) ** 2) / expected)
    return DCalibration(
        statistic, float(chi2.sf(statistic, bins - 1)), bins - 1, np.asarray(counts / len(survival))
    )


def km_calibration(survival: Any, y: Any, times: ArrayLike) -> KMCalibration:
    """Compare the mean predicted curve with the Kaplan-Meier curve.

    Parameters
    ----------
    survival : array-like of shape (n, n_times), or sequence of n step functions
        Predicted S(t | x).
    y : structured array, two-column frame or SurvivalTarget of n rows
        Observed target.
    times : array-like of shape (n_times,)
        At least two ascending times, up to the last observed time.

    Returns
    -------
    KMCalibration
        Both curves and their distance.

    Raises
    ------
    ValueError
        If shapes disagree or a time lies beyond the last observed time.
    """
    target = survival_target(y)
    grid = np.asarray(times, dtype=np.float64)
    if grid.ndim != 1 or len(grid) < 2 or not (np.diff(grid) > 0).all():
        raise ValueError("times must hold at least two strictly ascending times")
    if grid[-1] > target.time.max():
        raise ValueError(
            f"times must not exceed the last observed time {target.time.max():g}, got {grid[-1]:g}"
        )
    table = survival_table(survival, grid)
    if table.shape != (len(target), len(grid)):
        raise ValueError(f"survival must have shape {(len(target), len(grid))}, got {table.shape}")
    predicted = table.mean(axis=0)
    observed = kaplan_meier_curves(target.time[None], target.event[None]).survival_at(grid)[0]
    difference = predicted - observed
    squared = float(trapezoid(difference**2, grid) / (grid[-1] - grid[0]))
    return KMCalibration(grid, predicted, observed, squared, float(np.abs(difference).max()))


def one_calibration(survival_at_time: ArrayLike, y: Any, time: float, groups: int = 10) -> OneCalibration:
    """Compare predicted and Kaplan-Meier survival at one time in groups of similar prediction.

    Parameters
    ----------
    survival_at_time : array-like of shape (n,)
        Predicted S(time | x) of each row.
    y : structured array, two-column frame or SurvivalTarget of n rows
        Observed target.
    time : float
        Time of the check.
    groups : int
        Groups of equal size. Each should hold some five events before ``time`` for the chi-square
        approximation.

    Returns
    -------
    OneCalibration
        Group values, statistic and p-value (NaN if no group can be judged).

    Raises
    ------
    ValueError
        If shapes disagree, a probability is outside [0, 1], or there are fewer rows than groups.
    """
    target = survival_target(y)
    survival = _probabilities(survival_at_time, "survival_at_time")
    if survival.shape != (len(target),):
        raise ValueError(f"survival_at_time must have shape {(len(target),)}, got {survival.shape}")
    if not 1 <= groups <= len(target):
        raise ValueError(f"groups must be between 1 and the number of rows {len(target)}, got {groups}")
    members = np.array_split(np.argsort(survival, kind="stable"), groups)
    predicted = np.array([survival[rows].mean() for rows in members])
    counts = np.array([len(rows) for rows in members], dtype=np.int64)
    observed, variance = np.array(
        [_survival_and_variance(target.time[rows], target.event[rows], time) for rows in members]
    ).T
    # Greenwood is 0 in a group without events, or without survivors: take the binomial variance predicted.
    variance = np.where(variance > 0, variance, predicted * (1 - predicted) / counts)
    judged = np.isfinite(observed) & (variance > 0)
    freedom = int(judged.sum())
    statistic = float(np.sum((observed - predicted)[judged] ** 2 / variance[judged])) if freedom else np.nan
    p_value = float(chi2.sf(statistic, freedom)) if freedom else np.nan
    return OneCalibration(float(time), predicted, observed, counts, statistic, p_value, freedom)


def event_rate_check(event_probability: ArrayLike, event: Any) -> EventRateCheck:
    """Compare the generated share of events with the observed one.

    Parameters
    ----------
    event_probability : array-like of shape (n,) or (n, draws)
        Generated probability that a row is an event, or the flags (or probabilities) of its draws.
    event : array-like of shape (n,), or a survival target
        Observed flags.

    Returns
    -------
    EventRateCheck
        Both shares and the distance in standard errors.

    Raises
    ------
    ValueError
        If shapes disagree or a probability is outside [0, 1].
    """
    flags = event_flags(event)
    probability = _probabilities(event_probability, "event_probability")
    if probability.ndim not in (1, 2) or len(probability) != len(flags) or not len(flags):
        raise ValueError(
            f"event_probability must have shape ({len(flags)},) or ({len(flags)}, draws), "
            f"got {probability.shape}"
        )
    rate = probability.reshape(len(flags), -1).mean(axis=1)
    difference = float(rate.mean() - flags.mean())
    error = float(np.sqrt(np.sum(rate * (1 - rate))) / len(flags))
    z_score = (
        difference / error
        if error > 0
        else (0.0 if difference == 0 else float(np.copysign(np.inf, difference)))
    )
    return EventRateCheck(float(flags.mean()), float(rate.mean()), difference, error, z_score)


def _survival_and_variance(time: FloatArray, event: NDArray[np.bool_], at: float) -> tuple[float, float]:
    """Kaplan-Meier value and Greenwood variance at one time; NaN where follow-up ended before."""
    event_times, events = np.unique(time[event & (time <= at)], return_counts=True)
    at_risk = len(time) - np.searchsorted(np.sort(time), event_times, side="left")
    survival = float(np.prod(1.0 - events / at_risk))
    if survival == 0:
        return 0.0, 0.0
    if time.max() < at:
        return np.nan, np.nan
    return survival, float(survival**2 * np.sum(events / (at_risk * (at_risk - events))))


def _probabilities(values: ArrayLike, name: str) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if not ((array >= 0) & (array <= 1)).all():
        raise ValueError(f"{name} must lie in [0, 1] and hold no NaN")
    return array
