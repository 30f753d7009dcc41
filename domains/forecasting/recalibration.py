r"""Recalibration: one monotone map of the standardised residuals, fitted where no network was trained.

Draws of residuals of unit scale come out with a shape that is not quite that of the residuals observed: a
Gaussian law of the right variance is too wide in its middle and too narrow in its tails. The draws z are
therefore passed through

.. math::

   T(z) = \operatorname{sign}(z) \begin{cases}
       a\,|z|^p & |z| \le K \\ a\,K^p + s\,(|z| - K) & |z| > K \end{cases},
   \qquad K = 1.3, \quad a, s > 0, \quad p \ge 1,

the same for all series and steps ahead. T is increasing, so ranks and the dependence of steps and channels
stay as they are, and quantiles, intervals, medians and events are still read from one set of draws. Scale a
and power p minimise the quantile loss of held-out windows (levels .1 to .9 and, counted twice, .025 and
.975), and are shrunk to the identity, :math:`a = p = 1`, by a share of their logarithms; the slope s of the
tails is then the least with which the central 95 % interval covers 95 % of the values held out.

Held-out quantiles are those of Weibull's positions k/(n+1), which a fresh value falls below with just the
stated probability. The map is a construction of this library; recalibration by held-out data is that of
Kuleshov, Fenner and Ermon, *Accurate Uncertainties for Deep Learning Using Calibrated Regression*, arXiv
1807.00263.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

__all__ = ["LEVELS", "Recalibration"]

Floats = NDArray[np.float64]
_Values = TypeVar("_Values", Floats, Tensor)

#: Levels of the quantiles that a fit compares.
LEVELS: Floats = np.array([0.025, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.975])

_KNOT = 1.3
_WEIGHTS = np.array([2.0, *[1.0] * 9, 2.0])
_COVERAGE = 0.95  # of the interval between the first and the last level
_MOST_VALUES = 6000  # residuals that the loss looks at
_FEWEST_VALUES = 20
_BOUNDS = ((0.25, 2.0), (1.0, 2.0))  # of scale and power
_TAILS = np.exp(np.linspace(math.log(0.25), math.log(4.0), 81))


@dataclass(frozen=True)
class Recalibration:
    """An odd increasing map of standardised residuals.

    Attributes
    ----------
    scale, power : float
        Of the middle, at most 1.3 from 0.
    tail : float
        Slope farther out.
    """

    scale: float = 1.0
    power: float = 1.0
    tail: float = 1.0

    @property
    def is_identity(self) -> bool:
        """Whether the map changes nothing."""
        return self.scale == self.power == self.tail == 1.0

    def __call__(self, residuals: _Values) -> _Values:
        """Map residuals of any shape; gradients flow through tensors."""
        if self.is_identity:
            return residuals
        size: Any = abs(residuals)
        middle = size.clip(0.0, _KNOT)
        mapped = self.scale * middle**self.power + self.tail * (size - middle)
        sign = residuals.sign() if isinstance(residuals, Tensor) else np.sign(residuals)
        result: _Values = sign * mapped
        return result

    def inverse(self, values: Floats) -> Floats:
        """Return the residuals that are mapped to `values`."""
        size = np.abs(values)
        end = self.scale * _KNOT**self.power
        middle = (np.minimum(size, end) / self.scale) ** (1.0 / self.power)
        result: Floats = np.sign(values) * (middle + np.maximum(size - end, 0.0) / self.tail)
        return result

    @classmethod
    def fit(cls, quantiles: Floats, residuals: Floats, share: float = 1.0) -> Recalibration:
        """Fit to held-out windows.

        Parameters
        ----------
        quantiles : ndarray of shape (levels, ...)
            Quantiles of the draws at `LEVELS`, in units of the residuals; the shape may be broadcast.
        residuals : ndarray of any shape
            What was observed; NaN where nothing was.
        share : float in [0, 1], default 1
            How much of the logarithms of scale and power to keep.

        Returns
        -------
        Recalibration
            The identity where fewer than 20 values were observed.
        """
        seen = np.isfinite(residuals)
        found = residuals[seen]
        if len(found) < _FEWEST_VALUES:
            return cls()
        known = np.broadcast_to(quantiles, (len(LEVELS), *residuals.shape))[:, seen]
        scale, power = (one**share for one in _fitted_middle(known, found))
        return cls(scale, power, _fitted_tail(known, found, scale, power))


def _fitted_middle(quantiles: Floats, residuals: Floats) -> tuple[float, float]:
    """Return the scale and power with the least quantile loss."""
    every = -(-len(residuals) // _MOST_VALUES)
    looked_at, found = quantiles[:, ::every], residuals[::every]
    size, sign = np.abs(looked_at), np.sign(looked_at)
    log_size = np.log(np.maximum(size, 1e-12))
    levels, weights = LEVELS[:, None], _WEIGHTS[:, None] / max(float(np.abs(found).mean()), 1e-12)
    low, high = np.log(np.array(_BOUNDS)).T

    def loss(logarithms: Floats) -> float:
        log_scale, log_power = np.clip(logarithms, low, high)
        error = found - sign * np.exp(log_scale + math.exp(log_power) * log_size)
        return float((weights * np.maximum(levels * error, (levels - 1.0) * error)).sum(axis=0).mean())

    best = minimize(
        loss, np.array([-0.05, 0.1]), method="Nelder-Mead",
        options={"maxfev": 80, "xatol": 5e-3, "fatol": 1e-5},
    )  # fmt: skip
    scale, power = np.exp(np.clip(best.x, low, high))
    return float(scale), float(power)


def _fitted_tail(quantiles: Floats, residuals: Floats, scale: float, power: float) -> float:
    """Return the least slope of the tails with which the outermost levels cover enough."""
    lower, upper = quantiles[0], quantiles[-1]
    for tail in _TAILS:
        one = Recalibration(scale, power, float(tail))
        covered = (one(lower) <= residuals) & (residuals <= one(upper))
        if covered.mean() >= _COVERAGE:
            break
    return float(tail)
