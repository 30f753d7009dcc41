r"""Rewards that tilt a law: value, gradient and Laplacian.

A smooth reward r tilts the data's law to one in proportion to :math:`e^{r}`.  The weights of particles need
its gradient and its Laplacian, given in closed form (`AnalyticReward`) or found by differentiating twice
(`DifferentiableReward`).  Rewards without gradients belong to `sciffusion.sampling.FeynmanKacSteering`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from sciffusion.continuous.divergence import divergence
from sciffusion.sampling.driftlite.fields import Subspace, check_shape
from sciffusion.sampling.steering import checked_rewards

__all__ = ["AnalyticReward", "DifferentiableReward", "RewardValues", "SmoothReward", "as_smooth_reward"]


class RewardValues(NamedTuple):
    """Value ``(batch,)``, gradient ``(batch, ...)`` and Laplacian ``(batch,)`` of a reward."""

    value: Tensor
    gradient: Tensor
    laplacian: Tensor


class SmoothReward(Protocol):
    """A reward with gradient and Laplacian."""

    def evaluate(self, x: Tensor, subspace: Subspace, generator: torch.Generator) -> RewardValues:
        """Return value, gradient and Laplacian within the subspace at values ``(batch, ...)``."""
        ...


@dataclass(frozen=True)
class AnalyticReward:
    """A reward whose derivatives are given.

    Parameters
    ----------
    value : callable
        From values ``(batch, ...)`` to ``(batch,)``.
    gradient : callable
        To ``(batch, ...)``.
    laplacian : callable
        To ``(batch,)``: the sum of second derivatives, within the subspace where the system lives in one.
    """

    value: Callable[[Tensor], Tensor]
    gradient: Callable[[Tensor], Tensor]
    laplacian: Callable[[Tensor], Tensor]

    def evaluate(self, x: Tensor, subspace: Subspace, generator: torch.Generator) -> RewardValues:
        """Return what the functions say (see `SmoothReward.evaluate`)."""
        gradient = check_shape(self.gradient(x), x.shape, "gradient of the reward")
        laplacian = check_shape(self.laplacian(x), x.shape[:1], "laplacian of the reward")
        return RewardValues(checked_rewards(self.value(x), x.shape[0]), subspace(gradient), laplacian)


@dataclass(frozen=True)
class DifferentiableReward:
    """A reward whose derivatives are found by automatic differentiation.

    Parameters
    ----------
    function : callable
        From values ``(batch, ...)`` to ``(batch,)``, each item by itself; made of torch operations that can
        be differentiated twice (smooth activations, no ``relu``).
    n_probes : int, optional
        Hutchinson probes for the Laplacian; None for the exact one, at one backward pass a coordinate.
    """

    function: Callable[[Tensor], Tensor]
    n_probes: int | None = None

    def evaluate(self, x: Tensor, subspace: Subspace, generator: torch.Generator) -> RewardValues:
        """Differentiate the function (see `SmoothReward.evaluate`).

        Raises
        ------
        TypeError
            If the function cannot be differentiated.
        """
        kept: list[Tensor] = []

        def gradient(values: Tensor) -> Tensor:
            inside = subspace(values)
            rewards = self.function(inside)
            if not isinstance(rewards, Tensor) or not rewards.requires_grad:
                raise TypeError(
                    "DriftLite needs the gradient and the Laplacian of the reward, and this one is not a "
                    "differentiable function of the values; use FeynmanKacSteering for black-box rewards, or "
                    "give the derivatives with AnalyticReward"
                )
            kept.append(rewards.detach())
            (row,) = torch.autograd.grad(checked_shape(rewards, values).sum(), inside, create_graph=True)
            return subspace(row)

        slope, laplacian = divergence(gradient, x, n_probes=self.n_probes, generator=generator)
        return RewardValues(checked_rewards(kept[0], x.shape[0]), slope, laplacian)


def checked_shape(rewards: Tensor, x: Tensor) -> Tensor:
    """Return the rewards, or raise ``ValueError`` unless there is one an item."""
    return check_shape(rewards, x.shape[:1], "reward")


def as_smooth_reward(reward: Any) -> SmoothReward:
    """Return a reward with derivatives: itself, or a plain function made a `DifferentiableReward`.

    Raises
    ------
    TypeError
        For anything that is not callable and has no ``evaluate``.
    """
    if hasattr(reward, "evaluate"):
        smooth: SmoothReward = reward
        return smooth
    if not callable(reward):
        raise TypeError(
            f"reward must be a function, AnalyticReward or DifferentiableReward, got {type(reward).__name__}"
        )
    return DifferentiableReward(reward)
