r"""Comparison of samples, also weighted ones, with the law that they should have.

Along a direction the two-sample statistic is the largest difference of the two distribution functions.  With
weights :math:`w_i` of sum 1 that of the samples is a weighted sum of steps, and they count as
:math:`1/\sum_i w_i^2` draws (Kong's effective sample size) in Kolmogorov's limit law.
"""

from __future__ import annotations

import math

import torch
from scipy import stats
from torch import Tensor

from sciffusion.exact.target import ExactTarget

__all__ = ["assert_sampler_matches"]


def assert_sampler_matches(
    samples: Tensor,
    target: ExactTarget,
    generator: torch.Generator,
    *,
    log_weights: Tensor | None = None,
    projections: int = 8,
    significance: float = 1e-3,
) -> None:
    """Check samples against independent exact draws along every coordinate and random directions.

    On each direction the two-sample Kolmogorov-Smirnov test compares the samples with as many exact draws;
    the significance is divided among the directions (Bonferroni), so that a correct sampler fails with at
    most that probability.

    Parameters
    ----------
    samples : Tensor
        Shape ``(count, dim)``, independent.
    target : ExactTarget
        The law that they should have.
    generator : torch.Generator
        For the exact draws and the directions.
    log_weights : Tensor, optional
        Log importance weights of the samples up to a constant, shape ``(count,)``; equal by default.
    projections : int, default 8
        Number of random directions besides the coordinates.
    significance : float, default 1e-3
        Probability of refusing a correct sampler.

    Raises
    ------
    AssertionError
        Naming the worst direction and its p-value, or the first sample that is not finite.
    ValueError
        For samples of another shape, or too few for the test to refuse any; for weights of another shape, or
        that are not finite.
    """
    values = _checked(samples, target, target.dim + projections, significance)
    exact = target.draw(values.shape[0], generator)
    random = torch.randn(target.dim, projections, generator=generator, dtype=torch.float64)
    directions = torch.cat([torch.eye(target.dim, dtype=torch.float64), random / random.norm(dim=0)], dim=1)
    pairs = zip((values @ directions).mT, (exact @ directions).mT, strict=True)
    if log_weights is None:
        p_values = [float(stats.ks_2samp(ours.numpy(), theirs.numpy()).pvalue) for ours, theirs in pairs]
    else:
        weights = _normalised(log_weights, values.shape[0])
        p_values = [_weighted_p_value(ours, theirs, weights) for ours, theirs in pairs]
    worst = min(range(len(p_values)), key=p_values.__getitem__)
    if p_values[worst] * len(p_values) < significance:
        direction = directions[:, worst].tolist()
        raise AssertionError(
            f"samples differ from the target along {direction}: "
            f"p={p_values[worst]:.2g}, the smallest of {len(p_values)}"
        )


def _checked(samples: Tensor, target: ExactTarget, directions: int, significance: float) -> Tensor:
    """Return the samples in float64, after a look at their shape, number and values."""
    if samples.ndim != 2:
        raise ValueError(f"samples must have shape (count, dim), got {tuple(samples.shape)}")
    target.check_values(samples)
    # Two sets of n values that lie apart altogether have the p-value 2 / binomial(2n, n).
    count = samples.shape[0]
    if 2 * directions >= significance * math.comb(2 * min(count, 500), min(count, 500)):
        raise ValueError(
            f"samples must be more to be refused at significance {significance:g} along {directions} "
            f"directions; {count} are too few whatever they are"
        )
    wrong = torch.argwhere(~samples.isfinite().all(-1))
    if len(wrong):
        raise AssertionError(
            f"samples must be finite; {len(wrong)} of {count} hold NaN or infinite values, first number "
            f"{int(wrong[0])}: {samples[int(wrong[0])].tolist()}"
        )
    return samples.detach().to(torch.float64).cpu()


def _normalised(log_weights: Tensor, count: int) -> Tensor:
    if log_weights.shape != (count,):
        raise ValueError(f"log_weights must have shape ({count},), got {tuple(log_weights.shape)}")
    wide = log_weights.to("cpu", torch.float64)
    if bool(wide.isnan().any()) or not bool(wide.max().isfinite()):
        raise ValueError("log_weights must hold no NaN or +inf, and not only -inf")
    weights = torch.exp(wide - wide.max())
    return weights / weights.sum()


def _weighted_p_value(ours: Tensor, theirs: Tensor, weights: Tensor) -> float:
    """Return the asymptotic p-value of the largest difference of the two distribution functions."""
    values, order = torch.cat([ours, theirs]).sort()
    equal = torch.full_like(theirs, -1.0 / theirs.shape[0])
    difference = torch.cat([weights, equal])[order].cumsum(0)
    # Only after the last of equal values are both functions complete.
    last = torch.cat([values[1:] > values[:-1], torch.ones(1, dtype=torch.bool)])
    effective = 1.0 / float((weights**2).sum())
    scale = (effective * theirs.shape[0] / (effective + theirs.shape[0])) ** 0.5
    return float(stats.kstwobign.sf(scale * float(difference[last].abs().max())))
