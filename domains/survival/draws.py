"""What a recipe gives (`Draws`) and what it is given to learn with (`Train`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from sciffusion.training import TrainingHistory, TrainingOptions

__all__ = ["Draws", "Train"]

Floats = NDArray[np.float64]


class Draws(NamedTuple):
    """Generated observations.

    Attributes
    ----------
    times : ndarray of shape (rows, draws)
        Observed times, in the unit of the training times.
    event_probability : ndarray of shape (rows, draws)
        Probability that the time is that of an event (0 or 1 where the model generates flags).
    """

    times: Floats
    event_probability: Floats


class Train(Protocol):
    """How a recipe has a network trained: the estimator's own method, with its device, seed and checkpoint."""

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
