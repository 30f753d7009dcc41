r"""Products of targets: independent blocks of coordinates side by side.

Noise acts on every coordinate by itself, so the noisy law is the product of the noisy laws of the blocks;
posteriors, scores and flows are those of the blocks, and log densities add.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sciffusion.exact.target import ExactTarget

__all__ = ["ProductTarget"]


class ProductTarget(ExactTarget):
    """Independent blocks of coordinates.

    Parameters
    ----------
    factors : sequence of ExactTarget
        Laws of the blocks, in the order of their coordinates.
    """

    def __init__(self, factors: Sequence[ExactTarget]) -> None:
        if len(factors) < 1:
            raise ValueError("factors must hold at least one target, got none")
        self.factors = tuple(factors)
        self.dim = sum(factor.dim for factor in factors)

    @property
    def device(self) -> torch.device:
        """Where the target computes: where its first factor does."""
        return self.factors[0].device

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw data vectors (see `ExactTarget.draw`)."""
        return torch.cat([factor.draw(count, generator) for factor in self.factors], -1)

    def posterior_mean(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return ``E[x0 | x]`` (see `ExactTarget.posterior_mean`)."""
        blocks = zip(self.factors, self._split(x, alpha, sigma), strict=True)
        return torch.cat([factor.posterior_mean(*block) for factor, block in blocks], -1)

    def posterior_variance(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the diagonal of ``Cov(x0 | x)`` (see `ExactTarget.posterior_variance`)."""
        blocks = zip(self.factors, self._split(x, alpha, sigma), strict=True)
        return torch.cat([factor.posterior_variance(*block) for factor, block in blocks], -1)

    def posterior_covariance(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return ``Cov(x0 | x)`` (see `ExactTarget.posterior_covariance`)."""
        covariance = x.new_zeros(*x.shape, self.dim)
        start = 0
        for factor, block in zip(self.factors, self._split(x, alpha, sigma), strict=True):
            stop = start + factor.dim
            covariance[..., start:stop, start:stop] = factor.posterior_covariance(*block)
            start = stop
        return covariance

    def log_density(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the log density of noisy values (see `ExactTarget.log_density`)."""
        blocks = zip(self.factors, self._split(x, alpha, sigma), strict=True)
        return torch.stack([factor.log_density(*block) for factor, block in blocks], -1).sum(-1)

    def score(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the gradient of the log density (see `ExactTarget.score`)."""
        blocks = zip(self.factors, self._split(x, alpha, sigma), strict=True)
        return torch.cat([factor.score(*block) for factor, block in blocks], -1)

    def score_divergence(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the Laplacian of the log density (see `ExactTarget.score_divergence`)."""
        blocks = zip(self.factors, self._split(x, alpha, sigma), strict=True)
        return torch.stack([factor.score_divergence(*block) for factor, block in blocks], -1).sum(-1)

    def flow(self, x: Tensor, old: tuple[Tensor, Tensor], new: tuple[Tensor, Tensor]) -> Tensor:
        """Return the probability flow (see `ExactTarget.flow`), where every factor knows its own."""
        blocks = zip(self.factors, self._split(x, *old), self._split(x, *new), strict=True)
        moved = [
            factor.flow(block, (alpha, sigma), (new_alpha, new_sigma))
            for factor, (block, alpha, sigma), (_, new_alpha, new_sigma) in blocks
        ]
        return torch.cat(moved, -1)

    def optimal_loss(
        self, alpha: Tensor, sigma: Tensor, generator: torch.Generator | None = None, count: int = 4096
    ) -> Tensor:
        """Return the smallest mean squared error (see `ExactTarget.optimal_loss`)."""
        losses = [factor.dim * factor.optimal_loss(alpha, sigma, generator, count) for factor in self.factors]
        return torch.stack(losses).sum() / self.dim

    def _split(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Return values and levels of each block; levels that all coordinates share stay as they are."""
        sizes = [factor.dim for factor in self.factors]
        levels = [
            list(torch.split_with_sizes(level, sizes, -1)) if _per_coordinate(level) else [level] * len(sizes)
            for level in (alpha, sigma)
        ]
        return list(zip(torch.split_with_sizes(x, sizes, -1), *levels, strict=True))


def _per_coordinate(level: Tensor) -> bool:
    return level.ndim > 0 and level.shape[-1] > 1
