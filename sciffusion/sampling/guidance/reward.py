r"""Guidance by the gradient of a differentiable reward.

With a reward r, a scale c and a schedule :math:`\gamma(t)`, the score gains

.. math::
   q = c\,\gamma(t)\,\nabla_x\, r(D(x, t)) \quad\text{("x0")} \qquad\text{or}\qquad
   q = c\,\gamma(t)\,\nabla_x\, r(x) \quad\text{("x_t")}

and the clean estimate becomes :math:`D + (\sigma^2/\alpha) q`.

What is exact and what is not: to sample the tilted density :math:`p_0(x) e^{c\,r(x)}` the score needs
:math:`\nabla_x \log E[e^{c\,r(x_0)} | x]`.  The reward at the clean estimate equals it (up to a constant) if
r is linear and the data are Gaussian; otherwise it leaves out the spread of :math:`x_0` about D and the
samples are biased.  Weighted particles remove the bias.  The form "x_t" is the exact score of
:math:`p_t(x) e^{c\,\gamma(t) r(x)}`.

Cost: one evaluation; "x0" takes one backward pass through the denoiser.

Dhariwal and Nichol, *Diffusion Models Beat GANs on Image Synthesis*, arXiv 2105.05233 (gradients of a
classifier); Bansal et al., *Universal Guidance for Diffusion Models*, arXiv 2302.07121 (at the clean
estimate).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from sciffusion.continuous.path import align, as_times
from sciffusion.sampling.guidance.base import Guidance
from sciffusion.sampling.guidance.estimate import DifferentiableEstimate, gradients

__all__ = ["RewardGuidance", "check_rewards"]


def check_rewards(rewards: Any, x: Tensor, name: str = "reward") -> Tensor:
    """Return rewards if there is one number an item and none is NaN.

    Parameters
    ----------
    rewards : Tensor
        What a reward function returned for ``x``.
    x : Tensor
        Shape ``(count, ...)``.
    name : str
        Of the function, for the message.

    Returns
    -------
    Tensor
        Shape ``(count,)``.

    Raises
    ------
    TypeError
        If no tensor was returned.
    ValueError
        For another shape, or NaN; the message names the items.
    """
    if not isinstance(rewards, Tensor):
        raise TypeError(f"{name} must return a Tensor, got {type(rewards).__name__}")
    if rewards.shape != x.shape[:1]:
        raise ValueError(
            f"{name} must return one number an item, shape {tuple(x.shape[:1])}; "
            f"got shape {tuple(rewards.shape)}"
        )
    bad = rewards.isnan().nonzero()[:, 0].tolist()
    if bad:
        raise ValueError(f"{name} returned NaN for {len(bad)} of {len(x)} items, the first being {bad[:5]}")
    return rewards


class RewardGuidance(Guidance):
    """Guidance by the gradient of a reward.

    Parameters
    ----------
    reward : callable
        From values ``(count, ...)`` to one number an item ``(count,)``, differentiable, each item by itself.
    scale : float, default 1
        Factor of the reward; negative values lower it.
    schedule : callable, optional
        From times (float64) to factors of the same shape; 1 by default.
    at : {"x0", "x_t"}, default "x0"
        Where the reward is evaluated: at the clean estimate, with the gradient taken through the denoiser, or
        at the noisy values.

    Raises
    ------
    TypeError
        For a reward or a schedule that is no function.
    ValueError
        For a scale that is not finite or an unknown place; in a run, for rewards or gradients that are NaN,
        and factors of a wrong shape or not finite.
    """

    differentiates = True

    def __init__(
        self,
        reward: Callable[[Tensor], Tensor],
        scale: float = 1.0,
        schedule: Callable[[Tensor], Tensor] | None = None,
        at: Literal["x0", "x_t"] = "x0",
    ) -> None:
        for name, given in (("reward", reward), ("schedule", schedule)):
            if not callable(given) and (given is not None or name == "reward"):
                raise TypeError(f"{name} must be a function, got {type(given).__name__}")
        if not math.isfinite(scale):
            raise ValueError(f"scale must be finite, got {scale}")
        if at not in ("x0", "x_t"):
            raise ValueError(f"at must be 'x0' or 'x_t', got {at!r}")
        self.reward = reward
        self.scale = scale
        self.schedule = schedule
        self.at = at

    def on_prediction(self, denoiser: Any, state: Any, condition: Any = None, cache: Any = None) -> Any:
        """Return the guided prediction (see `Guidance.on_prediction`)."""
        with gradients():
            estimate = DifferentiableEstimate.of(denoiser, state, condition, cache)
            place = estimate.value if self.at == "x0" else estimate.x
            slope = self._slope(place)
            change = estimate.covariance_times(slope) if self.at == "x0" else estimate.factor * slope
            return estimate.moved(align(self._strength(state.t), change) * change)

    def _slope(self, place: Tensor) -> Tensor:
        """Return the gradient of the reward at some values."""
        point = place.detach().requires_grad_(True)
        rewards = check_rewards(self.reward(point), point)
        if not rewards.requires_grad:
            raise ValueError("reward must be differentiable: its result carries no gradient")
        (slope,) = torch.autograd.grad(rewards.sum(), point)
        check_rewards(slope.reshape(len(point), -1).sum(-1), point, "the gradient of reward")
        return slope

    def _strength(self, t: Tensor) -> Tensor:
        t = as_times(t)
        if self.schedule is None:
            return self.scale * torch.ones_like(t)
        factor = torch.as_tensor(self.schedule(t), dtype=torch.float64)
        if factor.shape not in ((), t.shape) or not bool(factor.isfinite().all()):
            raise ValueError(
                f"schedule must give finite factors of the shape {tuple(t.shape)} of the times, "
                f"got shape {tuple(factor.shape)} with {int((~factor.isfinite()).sum())} not finite"
            )
        return self.scale * factor.to(t.device)
