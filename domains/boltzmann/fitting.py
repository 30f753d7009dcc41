"""From checked configurations to a trained score model."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from sciffusion.networks.egnn import ParticleFrame, centre
from sciffusion.training import TrainingHistory, TrainingOptions
from sciffusion.training.plan import Objective

from .configurations import Floats
from .energy_model import FokkerPlanckObjective
from .score_model import ScoreModel, build_score_model, place_bumps
from .training import NoiseRange, ParticleObjective

__all__ = ["FitSettings", "ScaledSet", "held_out_loss", "scaled_set", "train_score_model"]

_EVALUATIONS = 20
_WARMUP_SHARE = 0.05
_HELD_OUT_MOST = 2048
#: Without forces: the smallest scale is guessed from how much the nearest neighbours of atoms vary.
_GUESSED_SHARE = 0.5


@dataclass(frozen=True)
class FitSettings:
    """Checked hyper-parameters of network and training."""

    width: int
    depth: int
    min_noise: float
    max_noise: float
    max_steps: int
    batch_size: int
    learning_rate: float
    validation_fraction: float
    energy_based: bool = False
    fokker_planck: float = 0.0
    variance_floor: float = 0.03

    def options(self) -> TrainingOptions:
        """Return what the training loop is told."""
        return TrainingOptions(
            max_steps=self.max_steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            warmup_steps=int(_WARMUP_SHARE * self.max_steps),
            learning_rate_schedule="cosine",
            ema_decay=0.998,
            evaluate_every=max(self.max_steps // _EVALUATIONS, 1),
            patience=None,
        )


@dataclass(frozen=True)
class ScaledSet:
    """Configurations ready for training.

    Attributes
    ----------
    positions, scores : Tensor of float32, shape (n, atoms, dimensions)
        In units of `length`; scores are None without forces.
    weights : Tensor of float32, shape (n,)
    length, local_scale : float
        Root mean square of a free coordinate, in the unit of the data; smallest scale of the density, in
        units of it.
    """

    positions: Tensor
    scores: Tensor | None
    weights: Tensor
    length: float
    local_scale: float

    def rows(self, chosen: Tensor) -> tuple[Tensor, ...]:
        """Return positions, weights and scores of some rows."""
        kept = (self.positions[chosen], self.weights[chosen])
        return kept if self.scores is None else (*kept, self.scores[chosen])


def scaled_set(
    positions: Floats, forces: Floats | None, weights: Floats, kt: float, local_scale: float | None
) -> ScaledSet:
    """Scale centred positions to unit variance and forces to scores of the scaled law.

    Parameters
    ----------
    positions, forces : ndarray of shape (n, atoms, dimensions)
        Centred, in units of the data.
    weights : ndarray of shape (n,)
        With mean 1.
    kt : float
        Thermal energy.
    local_scale : float, optional
        In the unit of the data; by default from the forces, or else guessed from the distances.
    """
    atoms = positions.shape[1]
    free = atoms / (atoms - 1.0)  # centred positions have one atom's coordinates less
    length = math.sqrt(free * float(np.average(np.square(positions).mean((1, 2)), weights=weights)))
    scores = None if forces is None else forces * (length / kt)
    if local_scale is not None:
        local = local_scale / length
    elif scores is not None:
        local = 1.0 / math.sqrt(free * float(np.average(np.square(scores).mean((1, 2)), weights=weights)))
    else:
        local = _GUESSED_SHARE * _neighbour_spread(positions[:2000] / length)
    return ScaledSet(
        torch.from_numpy(positions / length).float(),
        None if scores is None else torch.from_numpy(scores).float(),
        torch.from_numpy(weights).float(),
        length,
        min(local, 1.0),
    )


def _neighbour_spread(positions: Floats) -> float:
    """Return the smallest over the atoms of the spread of the distance to the nearest other atom."""
    distances = np.linalg.norm(positions[:, :, None] - positions[:, None], axis=-1)
    distances += np.where(np.eye(distances.shape[1], dtype=bool), np.inf, 0.0)
    spread = float(distances.min(2).std(0).min())
    return max(spread, 1e-3)


def held_out_loss(
    objective: ParticleObjective, rows: tuple[Tensor, ...], generator: torch.Generator
) -> Callable[[nn.Module], Tensor]:
    """Return the loss on rows kept back, always at the same noise."""
    count = len(rows[0])
    levels = objective.noise.sample(torch.linspace(0.0, 1.0, count, dtype=torch.float64))
    noise = centre(torch.randn(rows[0].shape, generator=generator))

    def loss(network: nn.Module) -> Tensor:
        device = next(network.parameters()).device
        return objective.at(
            network, tuple(row.to(device) for row in rows), levels.to(device), noise.to(device)
        )

    return loss


def train_score_model(
    settings: FitSettings,
    data: ScaledSet,
    frame: ParticleFrame,
    generator: torch.Generator,
    train: Callable[..., TrainingHistory],
) -> tuple[ScoreModel, TrainingHistory]:
    """Build and train a model.

    Parameters
    ----------
    settings : FitSettings
        Sizes and training.
    data : ScaledSet
        What to learn from.
    frame : ParticleFrame
        The system.
    generator : torch.Generator
        Chooses the rows kept back, and their noise; on the CPU.
    train : callable
        Trains in place, as `DiffusionEstimator._train` does.
    """
    model = build_score_model(
        frame, place_bumps(data.positions, data.local_scale), length=data.length,
        local_scale=data.local_scale, width=settings.width, depth=settings.depth,
        energy_based=settings.energy_based,
    )  # fmt: skip
    noise = NoiseRange(settings.min_noise * data.local_scale, settings.max_noise, data.local_scale)
    objective = ParticleObjective(model.denoiser, data.local_scale, noise, settings.variance_floor)
    order = torch.randperm(len(data.positions), generator=generator)
    kept_back = min(int(settings.validation_fraction * len(order)), _HELD_OUT_MOST)
    held_out = None
    if kept_back > 1:
        held_out = held_out_loss(objective, data.rows(order[:kept_back]), generator)
    loss: Objective = objective
    if settings.fokker_planck > 0.0:
        loss = FokkerPlanckObjective(objective, settings.fokker_planck)
    history = train(
        model.network, loss, data.rows(order[kept_back:]), options=settings.options(), held_out=held_out
    )
    return model, history
