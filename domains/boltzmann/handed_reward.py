r"""Rewards of one hand, for draws from the even mixture of a law and its mirror image.

Draws of the wrong hand are reflected in the end, so that a reward r of configurations must be r(Sx) for them,
S the reflection. With the triple product of unit vectors along three bonds of the centre, :math:`\chi(x)`,
positive for the hand wanted,

.. math:: \bar r(x) = w(\chi) \, r(x) + (1 - w(\chi)) \, r(Sx), \qquad
   w(\chi) = 6 u^5 - 15 u^4 + 10 u^3, \quad
   u = \tfrac12\Bigl(1 + \frac{\chi}{c}\Bigr) \text{ kept in } [0, 1],

is the same for mirror images and has two derivatives. Where :math:`|\chi| \ge c = 0.3` (0.77 at a tetrahedral
centre) it is the reward of the folded configuration exactly; only noisy configurations with a flat centre
see the mixture, as steps on the way, which weights correct for. A construction of this library.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sciffusion.sampling.driftlite import RewardValues, Subspace
from sciffusion.sampling.driftlite.rewards import DifferentiableReward, SmoothReward

__all__ = ["HandedReward"]

_FLAT = 0.3


@dataclass(frozen=True)
class HandedReward:
    """A reward that mirror images share.

    Parameters
    ----------
    inner : SmoothReward
        Of configurations of the hand wanted.
    centre : tuple of int
        The centre and three of its neighbours.
    hand : {1, -1}
        The hand wanted.
    """

    inner: SmoothReward
    centre: tuple[int, ...]
    hand: int

    def evaluate(self, x: Tensor, subspace: Subspace, generator: torch.Generator) -> RewardValues:
        """Return value, gradient and Laplacian at positions ``(batch, atoms, 3)``."""
        flip = torch.ones(x.shape[-1], dtype=x.dtype, device=x.device)
        flip[0] = -1.0
        own = self.inner.evaluate(x, subspace, generator)
        value, slope, laplacian = self.inner.evaluate(x * flip, subspace, generator)
        other = RewardValues(value, slope * flip, laplacian)
        # The share depends on differences of four atoms alone: no projection is needed.
        four = x[:, list(self.centre)]
        share, narrow, curvature = DifferentiableReward(self._share).evaluate(four, Subspace(), generator)
        wide = torch.zeros_like(x)
        wide[:, list(self.centre)] = narrow
        gain, steep = own.value - other.value, own.gradient - other.gradient
        column = share.reshape(-1, 1, 1)
        cross = 2.0 * (wide * steep).flatten(1).sum(1)
        return RewardValues(
            other.value + share * gain,
            other.gradient + column * steep + wide * gain.reshape(-1, 1, 1),
            other.laplacian + share * (own.laplacian - other.laplacian) + curvature * gain + cross,
        )

    def _share(self, four: Tensor) -> Tensor:
        """Return the share of the configuration itself, given the four atoms ``(batch, 4, 3)``."""
        arms = four[:, 1:] - four[:, :1]
        units = arms / torch.sqrt(arms.square().sum(-1, keepdim=True) + 1e-12)
        first, second, third = units.unbind(1)
        product = self.hand * (first * torch.linalg.cross(second, third)).sum(-1)
        u = (0.5 * (1.0 + product / _FLAT)).clamp(0.0, 1.0)
        share: Tensor = u**3 * (6.0 * u**2 - 15.0 * u + 10.0)
        return share
