r"""Curves beyond the longest observed time.

Nothing was observed there, so any answer is an assumption; the flat curve that a Kaplan-Meier estimate leaves
is one too, and a poor one, for it says that nobody has an event any more. With the longest training time
:math:`\tau`, curves are continued by a Weibull hazard,

.. math:: S(t \mid x) = S(\tau \mid x)^{(t/\tau)^k}, \qquad H(t \mid x) = H(\tau \mid x)\,(t/\tau)^k,
   \qquad t > \tau,

whose shape :math:`k` is the slope of :math:`\log H(t \mid x)` against :math:`\log t` within patients, pooled
over training patients and weighted by :math:`H`, at times from the 10th to the 95th percentile of the events.
A patient's own curve decides the level, the cohort the bend.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["continue_hazard", "continue_survival", "shape_times", "weibull_shape"]

Floats = NDArray[np.float64]

_SHARES = np.linspace(0.10, 0.95, 18)
_LEAST_HAZARD = 1e-4
_SHAPES = (0.1, 10.0)


def shape_times(event_times: Floats) -> Floats:
    """Return the positive times at which the shape is read off, ascending."""
    times = np.unique(np.quantile(event_times, _SHARES))
    return times[times > 0.0]


def weibull_shape(times: Floats, hazard: Floats) -> float:
    """Return the pooled slope of log cumulative hazard against log time.

    Parameters
    ----------
    times : ndarray of shape (n_times,)
        Positive, ascending.
    hazard : ndarray of shape (rows, n_times)
        Cumulative hazards at these times.

    Returns
    -------
    float
        Between 0.1 and 10; 1, a constant hazard, where the curves do not tell.
    """
    weight = np.where(hazard > _LEAST_HAZARD, hazard, 0.0)
    log_hazard = np.log(np.maximum(hazard, _LEAST_HAZARD))
    log_time = np.broadcast_to(np.log(times), hazard.shape)
    total = np.maximum(weight.sum(axis=1, keepdims=True), _LEAST_HAZARD)
    of_time = log_time - (weight * log_time).sum(axis=1, keepdims=True) / total
    of_hazard = log_hazard - (weight * log_hazard).sum(axis=1, keepdims=True) / total
    spread = float((weight * of_time**2).sum())
    if spread <= 0.0:
        return 1.0
    return float(np.clip((weight * of_time * of_hazard).sum() / spread, *_SHAPES))


def continue_survival(survival: Floats, at_last: Floats, times: Floats, last: float, shape: float) -> Floats:
    """Replace the values of curves beyond the last time.

    Parameters
    ----------
    survival : ndarray of shape (rows, n_times)
        Values at ``times``.
    at_last : ndarray of shape (rows, 1)
        Values at the last time.
    times : ndarray of shape (n_times,)
        Any order.
    last, shape : float
        The longest training time, > 0, and the Weibull shape.
    """
    return np.where(times > last, at_last ** _growth(times, last, shape), survival)


def continue_hazard(hazard: Floats, at_last: Floats, times: Floats, last: float, shape: float) -> Floats:
    """Replace the values of cumulative hazards beyond the last time; parameters as `continue_survival`."""
    return np.where(times > last, at_last * _growth(times, last, shape), hazard)


def _growth(times: Floats, last: float, shape: float) -> Floats:
    growth: Floats = (np.maximum(times, last) / last) ** shape
    return growth
