"""What a recipe gives (`Draws`) and what it is given to learn with (`Train`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from sciffusion.training import TrainingHistory, TrainingOptions

from .kaplan_meier import KaplanMeierCurves, kaplan_meier_curves

__all__ = ["Draws", "Train"]

Floats = NDArray[np.float64]


class Draws(NamedTuple):
    """Generated observations, one row a patient.

    Attributes
    ----------
    times : ndarray of shape (rows, draws)
        Observed times, in the unit of the training times.
    events : ndarray of shape (rows, draws)
        1 where the time is that of an event, 0 where it is that of censoring.
    weights : ndarray of shape (rows, draws), optional
        Weights of the draws; None if all count the same.
    """

    times: Floats
    events: Floats
    weights: Floats | None = None

    def curves(self, of: Literal["event", "censoring"] = "event") -> KaplanMeierCurves:
        """Return the Kaplan-Meier curve of every row, of the event or of the censoring time."""
        return kaplan_meier_curves(self.times, self.events, weights=self.weights, of=of)


class Train(Protocol):
    """How a recipe has a network trained: by the estimator, with its device, seed and checkpoint."""

    def __call__(
        self,
        network: nn.Module,
        objective: Callable[..., Tensor],
        data: tuple[Tensor, ...],
        *,
        options: TrainingOptions,
        held_out: Callable[[nn.Module], Tensor] | None = None,
        description: str = "",
        stream: int = 0,
    ) -> TrainingHistory:
        """Train in place."""
        ...
