"""What a fit consists of, as one value that the training module is built from."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .checkpoints import fingerprint
from .options import TrainingOptions
from .posthoc import PostHocAverage

__all__ = ["FitPlan", "HeldOutLoss", "Objective"]

#: ``objective(network, batch, generator)``: mean loss of a batch, a scalar or one a member.  One that changes
#: during the fit has a method ``at_step(step)`` that gives the objective of a step (`ScheduledObjective`).
Objective = Callable[[nn.Module, tuple[Tensor, ...], torch.Generator], Tensor]

#: ``held_out(network)``: loss on rows kept back, a scalar or one a member.
HeldOutLoss = Callable[[nn.Module], Tensor]


@dataclass(frozen=True)
class FitPlan:
    """Everything that defines a fit except the network itself."""

    objective: Objective
    data: tuple[Tensor, ...]
    options: TrainingOptions
    seed: int
    held_out: HeldOutLoss | None = None
    checkpoint: str | os.PathLike[str] | None = None
    description: str = ""
    verbose: bool = False
    posthoc: PostHocAverage | None = None

    def identity(self, network: nn.Module, device: torch.device) -> str:
        """Return the fingerprint that ties a checkpoint to this fit of this freshly built network."""
        weights = network.state_dict()
        values: dict[str, Any] = {
            "options": self.options.to_dict(),
            "seed": self.seed,
            "device": device.type,
            "held_out": self.held_out is not None,
            "description": self.description,
            "weights": sorted(weights),
        }
        if self.posthoc is not None:
            values["posthoc"] = [self.posthoc.every, *self.posthoc.relative_stds]
        return fingerprint(values, [*self.data, *(weights[name] for name in sorted(weights))])
