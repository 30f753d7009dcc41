"""The growing record of a fit, from which the history is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .best_weights import BestWeights
from .options import TrainingHistory

__all__ = ["FitRecord"]


class FitRecord:
    """Losses between evaluations and at them.

    The running sum stays on the device of the losses: reading a loss each step would make an
    accelerator wait.
    """

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.train_loss: list[list[float]] = []
        self.held_out_loss: list[list[float]] = []
        self._sum: Tensor | None = None
        self._count = 0

    def add(self, losses: Tensor) -> None:
        """Add the losses (n_members,) of one step to the running mean."""
        losses = losses.detach()
        self._sum = losses.clone() if self._sum is None else self._sum + losses
        self._count += 1

    def close(self, step: int, held_out: Tensor | None, n_members: int) -> Tensor:
        """Enter a row for the evaluation at `step` and return its mean training losses, on the CPU."""
        if self._sum is None:
            mean = torch.full((n_members,), torch.nan, dtype=torch.float64)
        else:
            mean = self._sum.cpu().to(torch.float64) / self._count
        blank = torch.full((n_members,), torch.nan, dtype=torch.float64)
        watched = blank if held_out is None else held_out.cpu().to(torch.float64)
        self.steps.append(step)
        self.train_loss.append(mean.tolist())
        self.held_out_loss.append(watched.tolist())
        self._sum, self._count = None, 0
        return mean

    def history(self, step: int, best: BestWeights | None) -> TrainingHistory:
        """Return the history of a fit that ended at `step`."""
        n_members = len(self.train_loss[0])
        if best is None:
            best_step, best_loss = np.full(n_members, step), np.full(n_members, np.nan)
        else:
            best_step, best_loss = best.best_step.numpy().copy(), best.best_loss.numpy().copy()
        return TrainingHistory(
            steps=np.array(self.steps, dtype=np.int64),
            train_loss=np.array(self.train_loss),
            held_out_loss=np.array(self.held_out_loss),
            best_step=best_step.astype(np.int64),
            best_loss=best_loss,
            stopped_step=step,
        )

    def state_dict(self) -> dict[str, Any]:
        """Return all that `load_state_dict` needs."""
        return {
            "steps": list(self.steps),
            "train_loss": list(self.train_loss),
            "held_out_loss": list(self.held_out_loss),
            "sum": self._sum,
            "count": self._count,
        }

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Take over a state."""
        self.steps = list(state["steps"])
        self.train_loss = list(state["train_loss"])
        self.held_out_loss = list(state["held_out_loss"])
        self._sum = None if state["sum"] is None else state["sum"].to(device)
        self._count = int(state["count"])
