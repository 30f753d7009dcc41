r"""What weights are worth, draws by weight, and the mean energy against that of a reference.

Weights :math:`W_i = e^{l_i} / \sum_j e^{l_j}` come as log weights :math:`l_i` of any normalisation; without
them all are equal.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sciffusion.sampling.smc import effective_sample_size as effective_size
from sciffusion.sampling.smc import systematic_resample

from .metrics_checks import Values, as_weights, default_generator, weighted_energies

__all__ = ["delta_nll", "effective_sample_size", "weighted_resample"]


def effective_sample_size(log_weights: Values) -> float:
    r"""Return :math:`1 / \sum_i W_i^2`, the number of equally weighted draws that are worth as much.

    Parameters
    ----------
    log_weights : array-like of shape (n,)
        Of any normalisation; -inf for draws without weight.

    Returns
    -------
    float
        Between 1 and n.

    Raises
    ------
    ValueError
        For log weights that are NaN, +inf or all -inf, or of another shape.
    """
    weights = _weights(log_weights)
    return float(effective_size(weights.log()))


def weighted_resample(
    log_weights: Values, n: int | None = None, *, generator: torch.Generator | None = None
) -> NDArray[np.int64]:
    """Draw positions in proportion to weights, systematically: one random number for all draws.

    Parameters
    ----------
    log_weights : array-like of shape (m,)
        Of any normalisation.
    n : int, optional
        Number of draws; m by default.
    generator : torch.Generator, optional
        Source of the random number; a fixed seed by default.

    Returns
    -------
    ndarray of int64, shape (n,)
        Increasing positions; position i occurs :math:`n W_i` times, rounded down or up. Indexing
        configurations with them gives unweighted ones, with repetitions.

    Raises
    ------
    ValueError
        For log weights that are NaN, +inf or all -inf, or of another shape, or n below 1.
    """
    if n is not None and n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    weights = _weights(log_weights)
    drawn = systematic_resample(weights.log(), default_generator(generator), n)
    return np.asarray(drawn.cpu().numpy(), dtype=np.int64)


def delta_nll(
    energies: Values,
    reference_energies: Values,
    *,
    kT: float = 1.0,  # noqa: N803 - the symbol of the field
    log_weights: Values | None = None,
    reference_log_weights: Values | None = None,
) -> float:
    r"""Return the mean negative log density of weighted draws less that of a reference.

    .. math:: \sum_i W_i \frac{E(x_i)}{k_B T} - \sum_j V_j \frac{E(y_j)}{k_B T}

    in nats: the normaliser of the density cancels. A law with too low energies, on wrong modes for instance,
    has a negative value: 0 does not prove that two laws are equal.

    Parameters
    ----------
    energies, reference_energies : array-like of shape (n,) and (m,)
        Energies of the target law, in any unit; or negative log densities, with ``kT=1``.
    kT : float, default 1
        Boltzmann's constant times the temperature, in the unit of the energies.
    log_weights, reference_log_weights : array-like of shape (n,) and (m,), optional
        Of any normalisation.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        For energies or weights of wrong shapes or values, or kT that is not positive.
    """
    if not (np.isfinite(kT) and kT > 0):
        raise ValueError(f"kT must be positive and finite, in the unit of the energies, got {kT}")
    x, w = weighted_energies(energies, log_weights, "")
    y, v = weighted_energies(reference_energies, reference_log_weights, "reference_")
    return (float(w @ x) - float(v @ y)) / kT


def _weights(log_weights: Values) -> Tensor:
    values = torch.as_tensor(log_weights)
    return as_weights(values, len(values) if values.ndim else 0, "log_weights")
