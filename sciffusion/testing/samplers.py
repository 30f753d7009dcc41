"""Comparison of samples with the law that they should have."""

from __future__ import annotations

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
    projections : int, default 8
        Number of random directions besides the coordinates.
    significance : float, default 1e-3
        Probability of refusing a correct sampler.

    Raises
    ------
    AssertionError
        Naming the worst direction and its p-value.
    """
    target.check_values(samples)
    values = samples.reshape(-1, target.dim).to(torch.float64).cpu()
    exact = target.draw(values.shape[0], generator)
    random = torch.randn(target.dim, projections, generator=generator, dtype=torch.float64)
    directions = torch.cat([torch.eye(target.dim, dtype=torch.float64), random / random.norm(dim=0)], dim=1)
    pairs = zip((values @ directions).mT.numpy(), (exact @ directions).mT.numpy(), strict=True)
    p_values = [float(stats.ks_2samp(ours, theirs).pvalue) for ours, theirs in pairs]
    worst = min(range(len(p_values)), key=p_values.__getitem__)
    if p_values[worst] * len(p_values) < significance:
        direction = directions[:, worst].tolist()
        raise AssertionError(
            f"samples differ from the target along {direction}: "
            f"p={p_values[worst]:.2g}, the smallest of {len(p_values)}"
        )
