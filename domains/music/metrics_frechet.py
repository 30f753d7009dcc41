r"""Fréchet distance between embeddings: how far two sets of clips are apart as Gaussians.

With mean :math:`\mu` and covariance :math:`C` of the embeddings of each set,

.. math::
    d^2 = |\mu_1 - \mu_2|^2 + \operatorname{tr} C_1 + \operatorname{tr} C_2
          - 2 \operatorname{tr} (C_1 C_2)^{1/2},

the squared 2-Wasserstein distance of the two Gaussians (Dowson and Landau, *The Fréchet distance between
multivariate normal distributions*, Journal of Multivariate Analysis 12, 1982). The last trace is the sum of
the singular values of :math:`C_1^{1/2} C_2^{1/2}`, whose roots come from symmetric eigenvalue problems: real
and stable where a covariance has no full rank, unlike the root of the product.

Between finite samples of one law the value is not 0 but falls like 1 / n. Values are comparable at equal n;
`frechet_limit` fits :math:`d^2(n) = d^2(\infty) + a / n` over subsets and gives the limit (Chong and Forsyth,
*Effectively Unbiased FID and Inception Score and Where to Find Them*, arXiv:1911.07023; for audio: Gui,
Gamper, Braun and Emmanouilidou, *Adapting Fréchet Audio Distance for Generative Music Evaluation*,
arXiv:2311.01616).

The embedding belongs to the name of a number: none of these is the "FAD" on VGGish.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sciffusion.diagnostics.checks import as_samples, check_same_dim

__all__ = ["GaussianFit", "frechet_distance", "frechet_limit", "gaussian_frechet_distance"]


@dataclass(frozen=True, eq=False)
class GaussianFit:
    """Mean ``(dim,)`` and covariance ``(dim, dim)`` of embeddings."""

    mean: Tensor
    covariance: Tensor

    @classmethod
    def of(cls, embeddings: Tensor) -> GaussianFit:
        """Return the fit to embeddings, shape ``(count, dim)``, count at least 2."""
        values = as_samples(embeddings, "embeddings", least=2)
        centred = values - values.mean(0)
        return cls(values.mean(0), centred.mT @ centred / (len(values) - 1))


def gaussian_frechet_distance(first: GaussianFit, second: GaussianFit) -> float:
    """Return the squared Fréchet distance between two Gaussians, in squared units of the embedding.

    Raises
    ------
    ValueError
        For unequal dimensions.
    """
    if first.mean.shape != second.mean.shape:
        raise ValueError(
            f"both Gaussians must have one dimension, got {tuple(first.mean.shape)} and "
            f"{tuple(second.mean.shape)}"
        )
    shift = (first.mean - second.mean).square().sum()
    traces = first.covariance.trace() + second.covariance.trace()
    cross = torch.linalg.svdvals(_root(first.covariance) @ _root(second.covariance)).sum()
    return float((shift + traces - 2.0 * cross).clamp_min(0.0))


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """Return the squared Fréchet distance between two sets of embeddings.

    Parameters
    ----------
    first, second : Tensor
        Shapes ``(n, dim)`` and ``(m, dim)``, at least 2 each. The value is biased upwards by what the sizes
        are; compare values of equal sizes, or use `frechet_limit`.

    Returns
    -------
    float
        At least 0.

    Raises
    ------
    ValueError
        For wrong shapes, unequal dimensions or values that are not finite.
    """
    x, y = as_samples(first, "first", least=2), as_samples(second, "second", least=2)
    check_same_dim(first=x, second=y)
    return gaussian_frechet_distance(GaussianFit.of(x), GaussianFit.of(y.to(x.device)))


def frechet_limit(
    first: Tensor, second: Tensor, *, generator: torch.Generator, n_sizes: int = 8, n_repeats: int = 4
) -> float:
    """Return the squared Fréchet distance extrapolated to samples without end.

    Subsets of both sets, of the same share of each, between a fourth and the whole, are compared, and a line
    in 1 / n is fitted. The result may be slightly negative for equal laws.

    Parameters
    ----------
    first, second : Tensor
        Shapes ``(n, dim)`` and ``(m, dim)``, at least 8 each. A fourth of either should exceed the dimension:
        below it the bias is no line in 1 / n.
    generator : torch.Generator
        Draws the subsets.
    n_sizes : int >= 2
        Sizes of subsets.
    n_repeats : int >= 1
        Subsets a size.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        For wrong shapes, too few samples or sizes.
    """
    x, y = as_samples(first, "first", least=8), as_samples(second, "second", least=8)
    check_same_dim(first=x, second=y)
    if n_sizes < 2 or n_repeats < 1:
        raise ValueError(
            f"n_sizes must be at least 2 and n_repeats at least 1, got {n_sizes} and {n_repeats}"
        )
    # Even steps in 1 / share, so that the line is fitted evenly.
    shares = 1.0 / torch.linspace(1.0, 4.0, n_sizes, dtype=torch.float64).repeat_interleave(n_repeats)
    values = [
        frechet_distance(_subset(x, float(share), generator), _subset(y, float(share), generator))
        for share in shares
    ]
    design = torch.stack([torch.ones_like(shares), 1.0 / shares], 1)
    fit = torch.linalg.lstsq(design, torch.tensor(values, dtype=torch.float64)[:, None]).solution
    return float(fit[0, 0])


def _subset(values: Tensor, share: float, generator: torch.Generator) -> Tensor:
    order = torch.randperm(len(values), generator=generator, device=generator.device)
    return values[order[: max(2, round(share * len(values)))].to(values.device)]


def _root(covariance: Tensor) -> Tensor:
    """Return the symmetric root of a covariance, eigenvalues below 0 by rounding taken as 0."""
    values, vectors = torch.linalg.eigh(0.5 * (covariance + covariance.mT))
    root: Tensor = (vectors * values.clamp_min(0.0).sqrt()) @ vectors.mT
    return root
