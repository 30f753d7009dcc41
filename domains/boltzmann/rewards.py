"""Rewards of configurations, and potentials made rewards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sciffusion.sampling.driftlite import DifferentiableReward, RewardValues, Subspace
from sciffusion.sampling.driftlite.rewards import SmoothReward, as_smooth_reward

__all__ = ["combined_reward"]


@dataclass(frozen=True)
class _Potential:
    """Minus a potential over kT."""

    inner: SmoothReward
    kt: float

    def evaluate(self, x: Tensor, subspace: Subspace, generator: torch.Generator) -> RewardValues:
        """Return value, gradient and Laplacian."""
        return RewardValues(*(-part / self.kt for part in self.inner.evaluate(x, subspace, generator)))


@dataclass(frozen=True)
class _Sum:
    """The sum of two rewards."""

    first: SmoothReward
    second: SmoothReward

    def evaluate(self, x: Tensor, subspace: Subspace, generator: torch.Generator) -> RewardValues:
        """Return value, gradient and Laplacian."""
        one = self.first.evaluate(x, subspace, generator)
        other = self.second.evaluate(x, subspace, generator)
        return RewardValues(*(a + b for a, b in zip(one, other, strict=True)))


def combined_reward(
    reward: Any, potential: Callable[[Tensor], Tensor] | Any, kt: float, n_probes: int | None = None
) -> SmoothReward | None:
    """Return a reward plus minus a potential over kT; None where neither is given.

    Parameters
    ----------
    reward, potential : callable or smooth reward, optional
        The two.
    kt : float
        Thermal energy, in the unit of the potential.
    n_probes : int, optional
        Probes for Laplacians of plain functions; exact without, at one backward pass a coordinate.

    Raises
    ------
    TypeError
        For anything that is no function and has no derivatives of its own.
    """
    if potential is not None and not callable(potential) and not hasattr(potential, "evaluate"):
        raise TypeError(f"potential must be a function of positions, got {type(potential).__name__}")
    parts = [] if reward is None else [_smooth(reward, n_probes)]
    if potential is not None:
        parts.append(_Potential(_smooth(potential, n_probes), kt))
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else _Sum(*parts)


def _smooth(function: Any, n_probes: int | None) -> SmoothReward:
    """Return a reward with derivatives; those of plain functions are found with so many probes."""
    known = as_smooth_reward(function)
    return known if known is function else DifferentiableReward(function, n_probes)
