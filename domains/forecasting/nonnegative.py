"""Least squares with weights that are not negative, from sums over rows."""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls

from .history import Floats

__all__ = ["nonnegative_weights"]

_JITTER = 1e-10


def nonnegative_weights(gram: Floats, moments: Floats, *, prior: Floats, penalty: float) -> Floats:
    r"""Return the minimiser over :math:`w \ge 0` of a penalised quadratic.

    .. math:: w^\top G w - 2 b^\top w + \lambda \sum_k G_{kk}' (w_k - p_k)^2

    with :math:`G'_{kk}` the mean of the diagonal of G, so that the penalty does not depend on units.

    Parameters
    ----------
    gram : ndarray of shape (k, k)
        Sums of products of the inputs, :math:`G`.
    moments : ndarray of shape (k,)
        Sums of products of inputs and target, b.
    prior : ndarray of shape (k,)
        Weights to shrink to, p.
    penalty : float >= 0
        Strength :math:`\lambda`.
    """
    size = len(gram)
    typical = max(float(np.trace(gram)) / size, 1e-300)
    strength = (penalty + _JITTER) * typical
    factor = np.linalg.cholesky(gram + strength * np.eye(size))
    target = np.linalg.solve(factor, moments + strength * prior)
    weights: Floats = nnls(factor.T, target, maxiter=50 * size)[0]
    return weights
