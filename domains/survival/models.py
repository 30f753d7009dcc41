"""What the estimator asks of a recipe's model, and which model belongs to which recipe."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sciffusion.training import TrainingHistory

from .draws import Draws, Train
from .paper_diffusion import PaperDiffusion
from .rank_diffusion import RankDiffusion
from .settings import Settings

__all__ = ["SurvivalModel", "build_model"]


class SurvivalModel(Protocol):
    """A recipe's model: what learns p(time, event | covariates) and draws from it."""

    noise_dim: int
    fewest_draws: int

    def fit(
        self,
        features: NDArray[np.float32],
        times: NDArray[np.float64],
        events: NDArray[np.bool_],
        weights: NDArray[np.float64],
        generator: torch.Generator,
        train: Train,
    ) -> dict[str, TrainingHistory]:
        """Learn."""
        ...

    def draw(
        self,
        features: NDArray[np.float32],
        start: Tensor,
        nfe: int,
        device: torch.device,
        generator: torch.Generator,
    ) -> Draws:
        """Generate draws for curves.

        The starting noise has the shape ``(members, 1 or rows, draws of a member, noise_dim)``.
        """
        ...

    def observe(
        self,
        features: NDArray[np.float32],
        start: Tensor,
        nfe: int,
        device: torch.device,
        generator: torch.Generator,
    ) -> Draws:
        """Generate independent observations, all of the same weight."""
        ...

    def networks(self) -> dict[str, nn.Module]:
        """Return the networks by name."""
        ...

    def to_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return tensors and JSON-able values."""
        ...

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Take up what `to_state` returned."""
        ...


def build_model(settings: Settings) -> SurvivalModel:
    """Build the unfitted model of a recipe."""
    return PaperDiffusion(settings) if settings.recipe == "paper" else RankDiffusion(settings)
