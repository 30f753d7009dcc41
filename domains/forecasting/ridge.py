r"""A global ridge regression from the context to all steps ahead at once.

Each window's context :math:`c \in \mathbb{R}^L` is standardised by its own mean and deviation; with u the
standardised context (clipped at 10), further inputs e and a one,

.. math:: \hat y = \operatorname{mean}(c) + \operatorname{sd}(c)\, B^\top (u, e, 1), \qquad
          B = (X^\top X + \lambda I)^{-1} X^\top Z, \quad \lambda = \max(1, .003\,n),

where the rows of X and Z are the inputs and standardised targets of n training windows of all series. The
normal equations are sums over windows, so new windows are added exactly (`DirectRidge.updated`), and
forecasts of training windows by models that have not seen their block of time cost one solution a block.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .history import Floats

__all__ = ["DirectRidge", "Standardised", "out_of_fold", "standardise"]

_CLIP = 10.0


@dataclass(frozen=True, eq=False)
class Standardised:
    """Contexts in units of their own mean and deviation.

    Attributes
    ----------
    values : ndarray of shape (windows, length)
        Clipped at 10.
    location, scale : ndarray of shape (windows, 1)
    """

    values: Floats
    location: Floats
    scale: Floats


def standardise(context: Floats, units: Floats | float = 1.0) -> Standardised:
    """Standardise contexts without missing values.

    Parameters
    ----------
    context : ndarray of shape (windows, length)
    units : float or ndarray of shape (windows, 1), default=1
        Typical changes of the rows. A constant context has its size as deviation, but at least a unit:
        a forecast in deviations would otherwise depend on what the values are measured in.
    """
    location = context.mean(axis=1, keepdims=True)
    scale = context.std(axis=1, keepdims=True)
    flat = scale <= 1e-9 * np.abs(location) + 1e-300
    scale = np.where(flat, np.maximum(np.abs(location), units), scale)
    return Standardised(np.clip((context - location) / scale, -_CLIP, _CLIP), location, scale)


@dataclass(frozen=True, eq=False)
class DirectRidge:
    """Normal equations of the regression, and their solution.

    Attributes
    ----------
    gram : ndarray of shape (inputs, inputs)
    moments : ndarray of shape (inputs, horizon)
    count : int
        Windows in the sums.
    coefficients : ndarray of shape (inputs, horizon)
    """

    gram: Floats
    moments: Floats
    count: int
    coefficients: Floats

    @classmethod
    def fit(cls, inputs: Floats, targets: Floats) -> DirectRidge:
        """Fit to inputs of shape (windows, inputs) and standardised targets of shape (windows, horizon)."""
        clipped = np.clip(targets, -_CLIP, _CLIP)
        return cls._solved(inputs.T @ inputs, inputs.T @ clipped, len(inputs))

    @classmethod
    def _solved(cls, gram: Floats, moments: Floats, count: int) -> DirectRidge:
        penalty = max(1.0, 0.003 * count) * np.eye(len(gram))
        coefficients: Floats = np.linalg.solve(gram + penalty, moments).astype(np.float64, copy=False)
        return cls(gram, moments, count, coefficients)

    def updated(self, inputs: Floats, targets: Floats) -> DirectRidge:
        """Return the regression with more windows: the same as one fitted to all of them at once."""
        clipped = np.clip(targets, -_CLIP, _CLIP)
        return self._solved(
            self.gram + inputs.T @ inputs, self.moments + inputs.T @ clipped, self.count + len(inputs)
        )

    def without(self, inputs: Floats, targets: Floats) -> DirectRidge:
        """Return the regression without some of its windows."""
        clipped = np.clip(targets, -_CLIP, _CLIP)
        return self._solved(
            self.gram - inputs.T @ inputs, self.moments - inputs.T @ clipped, self.count - len(inputs)
        )

    def predict(self, inputs: Floats) -> Floats:
        """Return standardised forecasts of shape (windows, horizon)."""
        return inputs @ self.coefficients


def out_of_fold(
    ridge: DirectRidge, inputs: Floats, targets: Floats, fold: NDArray[np.int64], complete: NDArray[np.bool_]
) -> Floats:
    """Return forecasts of training windows by regressions fitted without their fold.

    Parameters
    ----------
    ridge : DirectRidge
        Fitted to the complete windows.
    inputs, targets : ndarray
        Of all windows, complete or not.
    fold : ndarray of shape (windows,)
    complete : ndarray of bool, shape (windows,)
        Windows that are in the sums.
    """
    forecasts = np.full((len(inputs), ridge.coefficients.shape[1]), np.nan)
    for number in np.unique(fold):
        here = fold == number
        used = here & complete
        if used.sum() < complete.sum():
            forecasts[here] = ridge.without(inputs[used], targets[used]).predict(inputs[here])
    return forecasts
