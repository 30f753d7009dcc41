r"""The law of residuals inside gaps: a bridge between known values.

Standardised residuals of consecutive missing values, :math:`z_i` at distances :math:`l_i` and :math:`r_i`
from the nearest known values to the left and right, are correlated as an autoregression of first order with
coefficient :math:`\phi` is when it is pinned at both: with :math:`q = \phi^2`,

.. math:: \operatorname{corr}(z_{i-1}, z_i) = \rho_i = \phi \sqrt{
          \frac{(1 - q^{\,l_i - 1})(1 - q^{\,r_i})}{(1 - q^{\,l_i})(1 - q^{\,r_i + 1})}} .

The bridge is a Markov chain, :math:`z_i = \rho_i z_{i-1} + \sqrt{1 - \rho_i^2}\,\varepsilon_i`, with
:math:`\rho = 0` where a gap begins, so residuals of different gaps are independent. A side without a known
value is at distance infinity. The limit :math:`\phi \to 1` is the Brownian bridge. Given its residual at
one place, a chain goes on as the bridge from there:

.. math:: z_j \mid z_i \sim N\bigl(c\,z_i,\ 1 - c^2\bigr), \qquad c = \textstyle\prod_{k=i+1}^{j} \rho_k ,

which is how a gap longer than a window is drawn in parts. A construction of this library.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .history import Floats

__all__ = ["bridge_noise", "chain_of_gaps", "distances_to_known", "estimate_persistence", "persistence"]

_GRID = np.concatenate([[0.0], np.linspace(0.05, 0.95, 19), [0.97, 0.99, 0.999]])
_LEAST = 1e-3


def distances_to_known(unknown: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return the distances to the nearest known places on the left and right, infinite where there is none.

    Parameters
    ----------
    unknown : ndarray of bool, shape (..., length)
    """
    length = unknown.shape[-1]
    place = np.arange(length, dtype=np.float64)
    last = np.maximum.accumulate(np.where(unknown, -np.inf, place), axis=-1)
    following = np.minimum.accumulate(np.where(unknown, np.inf, place)[..., ::-1], axis=-1)[..., ::-1]
    return place - last, following - place


def persistence(left: Floats, right: Floats, phi: float) -> Floats:
    """Return the correlation of each residual with the one before it.

    Parameters
    ----------
    left, right : ndarray
        Distances to the nearest known places; 0 at known ones.
    phi : float in [0, 1)
        Coefficient of the autoregression.

    Returns
    -------
    ndarray
        0 at known places and at the first of a gap.
    """
    rate = 2.0 * np.log(max(phi, _LEAST))

    def free(distance: Floats) -> Floats:
        """Variance, over the stationary one, at a distance from a known value."""
        result: Floats = -np.expm1(rate * distance)
        return result

    inside = left > 0
    safe_left, safe_right = np.where(inside, left, 1.0), np.where(inside, right, 1.0)
    ratio = free(safe_left - 1.0) / free(safe_left) * free(safe_right) / free(safe_right + 1.0)
    return np.where(inside, phi * np.sqrt(ratio), 0.0)


def chain_of_gaps(left: Floats, right: Floats, unknown: NDArray[np.bool_], phi: float) -> Floats:
    """Return the correlation of each unknown residual with the one before, 0 where that is not unknown.

    Parameters
    ----------
    left, right : ndarray of shape (..., length)
        As for `persistence`.
    unknown : ndarray of bool, shape (..., length)
    phi : float in [0, 1)
    """
    follows = np.zeros_like(unknown)
    follows[..., 1:] = unknown[..., :-1] & unknown[..., 1:]
    return np.where(follows, persistence(left, right, phi), 0.0)


def estimate_persistence(products: Floats, left: Floats, right: Floats) -> float:
    """Return the coefficient under which products of neighbouring residuals are nearest to their means.

    Parameters
    ----------
    products : ndarray of shape (pairs,)
        Products of residuals of unit variance, the second of each pair at distances `left` and `right`.
    left, right : ndarray of shape (pairs,)
    """
    if not len(products):
        return 0.5
    errors = [float(np.mean((products - persistence(left, right, phi)) ** 2)) for phi in _GRID]
    return float(_GRID[int(np.argmin(errors))])


def bridge_noise(white: Tensor, chain: Tensor) -> Tensor:
    """Run the chains of the module's text over the last axis, by a parallel scan.

    Parameters
    ----------
    white : Tensor of shape (..., length)
        Independent standard normal numbers.
    chain : Tensor
        Correlations with the residual before, 0 where a gap begins; of a shape that broadcasts to `white`.
    """
    factor = chain.to(white).expand(white.shape)
    result = torch.sqrt(1.0 - factor**2) * white
    step = 1
    while step < white.shape[-1]:
        earlier = torch.nn.functional.pad(result[..., :-step], (step, 0))
        result = result + factor * earlier
        factor = factor * torch.nn.functional.pad(factor[..., :-step], (step, 0))
        step *= 2
    return result
