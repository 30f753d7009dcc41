r"""The scale of a forecast: a non-negative mixture of things that have the size of its error.

.. math:: g_\tau = \sum_k v_{k\tau} s_{k\tau} + \epsilon, \qquad v \ge 0,

over signals s that are all in the units of the series, so that the scale grows with it: recent and lasting
averages of the errors that two reference forecasts (the last value, the seasonal mean) made that many steps
ahead, departures from the seasonal mean at the same phase, recent and lasting departures and differences,
the disagreement of the stacked members and the size of the forecast. All are known at the origin. The weights
minimise the deviance of absolute out-of-fold residuals r,

.. math:: \sum \log g + |r| / g,

(the scale of a Laplace law) by Fisher scoring: least squares of \|r| on s with weights :math:`1/g^2`, with
non-negative coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .history import Floats, History, Windows, exponential_average, seasonal_mean
from .members import one_step_seasonal_mean
from .nonnegative import nonnegative_weights

__all__ = ["Spread", "error_signals"]

_RANGES = 6
_ITERATIONS = 15
_FLOOR = 1e-3  # of the row's unit
_RATES = (0.01, 0.05, 0.3)
_SEASONS = 10
_SMALL_SIGNAL = 0.1  # of the mean residual
_TO_PRIOR = 20.0  # observations' worth of shrinkage
_TO_COMMON = 0.02


def error_signals(
    history: History, windows: Windows, horizon: int, periods: tuple[int, ...]
) -> dict[str, Floats]:
    """Return the signals that need no forecast, by name, each of shape (windows, horizon), without NaN."""
    values = history.observed
    signals = {}
    jumps = np.abs(np.diff(values, axis=1, prepend=np.nan))
    for rate in _RATES[1:]:
        signals[f"jumps {rate:g}"] = _constant(exponential_average(jumps, rate), windows, horizon)
    signals |= _reference_errors(history, windows, horizon)
    if periods:
        departures = np.abs(values - one_step_seasonal_mean(history, periods[0], _SEASONS))
        signals["phase"] = seasonal_mean(departures, windows, horizon, periods[0], _SEASONS)
        for rate in _RATES[1:]:
            signals[f"departures {rate:g}"] = _constant(
                exponential_average(departures, rate), windows, horizon
            )
    # Where a signal has nothing to go by yet, the errors of the last value stand in.
    fallback = np.nan_to_num(signals[f"last value's errors {_RATES[0]:g}"])
    return {name: np.where(np.isnan(signal), fallback, signal) for name, signal in signals.items()}


def _constant(averages: Floats, windows: Windows, horizon: int) -> Floats:
    found = np.where(windows.origin >= 0, averages[windows.row, np.maximum(windows.origin, 0)], np.nan)
    return np.repeat(found[:, None], horizon, axis=1)


def _reference_errors(history: History, windows: Windows, horizon: int) -> dict[str, Floats]:
    """Return averages of the past errors of the last value, interpolated between a few steps ahead."""
    values = history.observed
    knots = np.unique(np.clip([1, horizon // 4, horizon // 2, horizon], 1, max(history.length - 1, 1)))
    signals = {}
    for rate in _RATES[:2]:
        found = []
        for step in knots:
            errors = np.full_like(values, np.nan)
            errors[:, step:] = np.abs(values[:, step:] - values[:, :-step])
            found.append(_constant(exponential_average(errors, rate), windows, 1)[:, 0])
        ahead = np.arange(1, horizon + 1)
        at_knots = np.stack(found, axis=1)
        right = np.clip(np.searchsorted(knots, ahead), 1, max(len(knots) - 1, 1))
        if len(knots) == 1:
            signals[f"last value's errors {rate:g}"] = np.repeat(at_knots, horizon, axis=1)
            continue
        share = np.clip((ahead - knots[right - 1]) / (knots[right] - knots[right - 1]), 0.0, 1.0)
        signals[f"last value's errors {rate:g}"] = (
            at_knots[:, right - 1] * (1.0 - share) + at_knots[:, right] * share
        )
    return signals


@dataclass(frozen=True, eq=False)
class Spread:
    """Weights of the signals.

    Attributes
    ----------
    names : tuple of str
    weights : ndarray of shape (signals, horizon)
    """

    names: tuple[str, ...]
    weights: Floats

    @classmethod
    def fit(cls, signals: dict[str, Floats], residuals: Floats, units: Floats) -> Spread:
        """Fit the weights to out-of-fold residuals of shape (windows, horizon), which may be missing.

        Parameters
        ----------
        signals : dict of ndarray of shape (windows, horizon)
        residuals : ndarray of shape (windows, horizon)
        units : ndarray of shape (windows, 1)
            Scale of each window's row, > 0.
        """
        names = tuple(signals)
        horizon = residuals.shape[1]
        inputs = np.stack([signals[name] for name in names]) / units
        sizes = np.abs(residuals) / units
        usable = np.isfinite(sizes)
        # Forecasts without any error, of constant series, leave nothing to learn from but the floor.
        typical = max(float(sizes[usable].mean()), _FLOOR) if usable.any() else 1.0
        means = inputs[:, usable].mean(axis=1) if usable.any() else np.ones(len(names))
        prior = typical / (len(names) * np.maximum(means, _SMALL_SIGNAL * typical))
        common = _fit_range(inputs, sizes, prior, _TO_PRIOR / max(usable.sum(), 1))
        weights = np.repeat(common[:, None], horizon, axis=1)
        if horizon >= _RANGES:
            for steps in np.array_split(np.arange(horizon), _RANGES):
                fitted = _fit_range(inputs[..., steps], sizes[:, steps], common, _TO_COMMON)
                weights[:, steps] = fitted[:, None]
        return cls(names, weights)

    def combine(self, signals: dict[str, Floats], units: Floats) -> Floats:
        """Return the scale, shape (windows, horizon), > 0."""
        total = _FLOOR * units
        for name, weights in zip(self.names, self.weights, strict=True):
            total = total + weights * signals[name]
        result: Floats = total
        return result


def _fit_range(inputs: Floats, sizes: Floats, prior: Floats, penalty: float) -> Floats:
    flat = inputs.reshape(len(inputs), -1).T
    target = sizes.reshape(-1)
    usable = np.isfinite(target) & np.isfinite(flat).all(axis=1)
    flat, target = flat[usable], target[usable]
    weights = prior
    if not len(target):
        return weights
    # A signal that was next to nothing in training must not get a weight that is huge.
    norm = np.maximum(flat.mean(axis=0), _SMALL_SIGNAL * max(float(target.mean()), 1e-9))
    flat = flat / norm
    prior = prior * norm
    weights = prior
    for _ in range(_ITERATIONS):
        scale = flat @ weights + _FLOOR
        importance = 1.0 / scale**2
        weighted = flat * importance[:, None]
        fitted = nonnegative_weights(
            weighted.T @ flat, weighted.T @ (target - _FLOOR), prior=prior, penalty=penalty
        )
        weights = 0.5 * (weights + fitted)  # damped: full steps can oscillate
    result: Floats = weights / norm
    return result
