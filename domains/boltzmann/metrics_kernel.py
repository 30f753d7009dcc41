r"""Maximum mean discrepancy and sliced Wasserstein distance of weighted configurations.

With vectors :math:`x_i` of weights :math:`w_i` and vectors :math:`y_j` of the reference of weights
:math:`v_j` (see `sciffusion.domains.boltzmann.metrics_features`),

.. math::
   \text{MMD} = \bigl(w^\top K w - 2 w^\top K v + v^\top K v\bigr)^{1/2}, \qquad
   k(x, y) = \tfrac15 \sum_{c \in \{1/4, 1/2, 1, 2, 4\}} e^{-|x - y|^2 / 2 (c m)^2}

with m the median distance of the reference (Gretton, Borgwardt, Rasch, Schoelkopf and Smola, *A Kernel
Two-Sample Test*, JMLR 13, 2012). Weights enter exactly; nothing is resampled. It is the statistic of
`sciffusion.diagnostics.distances` for these five bandwidths, of which each exponential is the fourth power of
the next: one exponential a pair and squares, several times faster for the numbers of draws that are usual
here. Pairs are visited in blocks. The sliced Wasserstein distance, the root of the mean squared difference of
quantile functions over 256 fixed directions, is taken from there.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sciffusion.diagnostics.distances import median_distance
from sciffusion.diagnostics.distances import sliced_wasserstein as sliced_distance

from .metrics_checks import Values, as_configurations, as_weights, check_same_system, default_generator
from .metrics_distances import AtomTypes
from .metrics_features import Features, Symmetries, VectorChoice

__all__ = ["KernelReference", "maximum_mean_discrepancy", "sliced_wasserstein"]

_WIDEST, _BANDWIDTHS = 4.0, 5  # in median distances; each is half of the one before
_BLOCK = 2_000_000  # pairs at once


class KernelReference:
    """The reference of a maximum mean discrepancy: what does not depend on the samples is computed once.

    Parameters
    ----------
    vectors : Tensor of shape (m, features)
        Vectors of the reference, float64.
    weights : Tensor of shape (m,)
        Of sum 1.

    Raises
    ------
    ValueError
        If the vectors of the reference are all equal: there is no bandwidth then.
    """

    def __init__(self, vectors: Tensor, weights: Tensor) -> None:
        median = median_distance(vectors)
        if not median > 0.0:
            raise ValueError("the median distance of the reference is 0: its configurations are all equal")
        self._centre = (weights[:, None] * vectors).sum(0)
        self._vectors = vectors - self._centre
        self._weights = weights
        self._rate = 0.5 / (_WIDEST * median) ** 2
        self._within = self._mean_kernel(self._vectors, self._vectors, weights, weights)

    def discrepancy(self, vectors: Tensor, weights: Tensor) -> float:
        """Return the discrepancy of vectors ``(n, features)`` with weights of sum 1."""
        x = vectors - self._centre
        own = self._mean_kernel(x, x, weights, weights)
        across = self._mean_kernel(x, self._vectors, weights, self._weights)
        return math.sqrt(max(own - 2.0 * across + self._within, 0.0))

    def _mean_kernel(self, x: Tensor, y: Tensor, w: Tensor, v: Tensor) -> float:
        lengths = y.square().sum(1)
        rows = max(1, _BLOCK // len(y))
        total = 0.0
        for block, share in zip(torch.split(x, rows), torch.split(w, rows), strict=True):
            squared = torch.addmm(lengths[None], block, y.T, alpha=-2.0).add_(block.square().sum(1)[:, None])
            total += float(share @ (self._kernel(squared) @ v))
        return total

    def _kernel(self, squared: Tensor) -> Tensor:
        """Return the kernel of squared distances, which are overwritten."""
        factor = squared.clamp_(min=0.0).mul_(-self._rate).exp_()
        total = factor.clone()
        for _ in range(_BANDWIDTHS - 1):
            total += factor.square_().square_()  # half the bandwidth
        return total.div_(_BANDWIDTHS)


def maximum_mean_discrepancy(
    configurations: Values,
    reference: Values,
    *,
    log_weights: Values | None = None,
    reference_log_weights: Values | None = None,
    features: Features = "coordinates",
    symmetries: Symmetries = "particles",
    atom_types: AtomTypes = None,
    generator: torch.Generator | None = None,
) -> float:
    """Return the maximum mean discrepancy between weighted configurations and a reference.

    Parameters
    ----------
    configurations, reference : array-like of shape (n, atoms, dimensions) and (m, atoms, dimensions)
        Both in one unit of length, at least two of the reference.
    log_weights, reference_log_weights : array-like of shape (n,) and (m,), optional
        Of any normalisation.
    features, symmetries, atom_types
        In which vectors, see `feature_vectors`.
    generator : torch.Generator, optional
        Draws the symmetries of both; a fixed seed by default.

    Returns
    -------
    float
        The root of the biased statistic, between 0 and the root of 2. It is positive between two samples of
        one law: compare it with that of two parts of the reference.

    Raises
    ------
    ValueError
        For arguments of wrong shapes or values.
    """
    choice = VectorChoice(features, symmetries, atom_types)
    x, y, w, v = _compared(choice, configurations, reference, log_weights, reference_log_weights, generator)
    return KernelReference(y, v).discrepancy(x, w)


def sliced_wasserstein(
    configurations: Values,
    reference: Values,
    *,
    log_weights: Values | None = None,
    reference_log_weights: Values | None = None,
    features: Features = "coordinates",
    symmetries: Symmetries = "particles",
    atom_types: AtomTypes = None,
    n_projections: int = 256,
    generator: torch.Generator | None = None,
) -> float:
    """Return the sliced Wasserstein distance between weighted configurations and a reference.

    Parameters
    ----------
    configurations, reference : array-like of shape (n, atoms, dimensions) and (m, atoms, dimensions)
        Both in one unit of length, in which the result is.
    log_weights, reference_log_weights : array-like of shape (n,) and (m,), optional
        Of any normalisation; exact quantile functions of the weighted samples are compared.
    features, symmetries, atom_types
        In which vectors, see `feature_vectors`.
    n_projections : int
        Number of directions, always the same ones.
    generator : torch.Generator, optional
        Draws the symmetries of both; a fixed seed by default.

    Returns
    -------
    float
        The root of the mean squared difference of the quantile functions.

    Raises
    ------
    ValueError
        For arguments of wrong shapes or values.
    """
    choice = VectorChoice(features, symmetries, atom_types)
    x, y, w, v = _compared(choice, configurations, reference, log_weights, reference_log_weights, generator)
    return float(sliced_distance(x, y, first_weights=w, second_weights=v, n_projections=n_projections))


def _compared(
    choice: VectorChoice,
    configurations: Values,
    reference: Values,
    log_weights: Values | None,
    reference_log_weights: Values | None,
    generator: torch.Generator | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the vectors of both samples, on one device, and their weights."""
    x = as_configurations(configurations, "configurations")
    y = as_configurations(reference, "reference", least=2).to(x.device)
    check_same_system(x, y)
    w = as_weights(log_weights, len(x), "log_weights", x.device)
    v = as_weights(reference_log_weights, len(y), "reference_log_weights", x.device)
    source = default_generator(generator)
    return choice.vectors(x, source), choice.vectors(y, source), w, v
