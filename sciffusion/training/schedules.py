r"""Objectives that change while a network is trained.

The weights of some losses grow without bound towards small noise, which makes first updates large and blind.
Clamping the weight at a small value that rises geometrically,

.. math:: w_{\max}(n) = w_0\,(w_1 / w_0)^{\min(n / N, 1)},

lets the network learn the coarse part first.  Starts of 5 and ends of 500 are those of Wu, Zhou, Kawaguchi
and Zhang, *Fast Diffusion Model*, arXiv 2306.06991.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .plan import Objective

__all__ = ["ScheduledObjective", "WeightWarmup"]


@dataclass(frozen=True)
class WeightWarmup:
    """Upper bound of a loss weight that rises geometrically.

    Parameters
    ----------
    steps : int >= 1
        Updates until the end value is reached, which then holds.
    start, end : float > 0
        First and last bound.
    """

    steps: int
    start: float = 5.0
    end: float = 500.0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
        if not (self.start > 0.0 and self.end > 0.0):
            raise ValueError(f"start and end must be positive, got {self.start} and {self.end}")

    def at(self, step: int) -> float:
        """Return the bound of the update that leaves ``step``."""
        return float(self.start * (self.end / self.start) ** min(step / self.steps, 1.0))


class ScheduledObjective:
    """An objective for `fit_network` that depends on the step, and goes on rightly after an interruption.

    Parameters
    ----------
    make : callable
        From a step to the objective of the update that leaves it, for instance with
        ``DenoisingObjective(path, "v", maximum_weight=warmup.at(step))``.
    """

    def __init__(self, make: Callable[[int], Objective]) -> None:
        self.make = make

    def at_step(self, step: int) -> Objective:
        """Return the objective of a step."""
        return self.make(step)

    def __call__(self, network: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
        """Return the loss of a batch at step 0."""
        return self.make(0)(network, batch, generator)
