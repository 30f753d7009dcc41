r"""Share of events among those observed at a time, without covariates: where the event head starts.

With masses :math:`m_k` of the rows observed at the k-th distinct time (weights summing to n) and
:math:`d_k` of those that are events,

.. math::
   p_k = \frac{w_k\, d_k / m_k + \kappa \bar p_k}{w_k + \kappa},
   \qquad w_k = \max(m_k - \kappa, 0), \quad \kappa = 5,

where :math:`\bar p_k` is a Gaussian kernel mean of the flags over ranks (width .05).  A time observed by a few
rows thus gets the rate of its neighbourhood, while a spike of rows (the last day of follow-up) keeps its own
rate.  The few rows must not speak for themselves: the head learns with :math:`p_k` as an input, and would read
a row's own flag from it, in its held-out rows as well.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.special import logit

__all__ = ["marginal_event_logits"]

_BINS = 400
_WIDTH = 0.05
_STRENGTH = 5.0

Floats = NDArray[np.float64]


def marginal_event_logits(upper: Floats, mass: Floats, events: Floats) -> Floats:
    """Return the logit of the event probability at each distinct time.

    Parameters
    ----------
    upper : ndarray of shape (times,)
        Distribution function of the observed times.
    mass, events : ndarray of shape (times,)
        Weight of the rows, and of the events, at each time; one row weighs 1 on average.

    Returns
    -------
    ndarray of shape (times,)
        Finite: probabilities are kept half a row away from 0 and 1.
    """
    total = mass.sum()
    middle = upper - 0.5 * mass / total
    bins = np.minimum((middle * _BINS).astype(int), _BINS - 1)
    smooth_mass = _smooth(np.bincount(bins, weights=mass, minlength=_BINS))
    smooth_events = _smooth(np.bincount(bins, weights=events, minlength=_BINS))
    # A trace of the overall rate decides where the kernel reaches nobody.
    trace = 1e-3 * total / _BINS
    neighbours = (smooth_events + trace * events.sum() / total) / (smooth_mass + trace)
    own = np.maximum(mass - _STRENGTH, 0.0)
    rate = (own * events / mass + _STRENGTH * neighbours[bins]) / (own + _STRENGTH)
    margin = 0.5 / max(total, 2.0)
    return np.asarray(logit(np.clip(rate, margin, 1.0 - margin)))


def _smooth(histogram: Floats) -> Floats:
    return np.asarray(gaussian_filter1d(histogram, _WIDTH * _BINS, mode="constant"))
