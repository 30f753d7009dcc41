"""Score sources: the learned model, and score functions from outside, in one form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from sciffusion.continuous.path import Path
from sciffusion.estimators.validation import check_integer, check_number
from sciffusion.networks.egnn import centre
from sciffusion.sampling.driftlite import DenoiserField, FunctionField, Subspace

from .draws import ChunkedField, ScoreSource
from .score_model import PATH, ScoreModel

__all__ = ["learned_source", "outside_source"]

#: Bytes that a pair of atoms and a unit of width need with gradients on, a layer.
_BYTES_A_PAIR = 4 * 6


def learned_source(
    model: ScoreModel, shape: tuple[int, int], ends: tuple[float, float], n_probes: int | None
) -> ScoreSource:
    """Return the source of a trained model."""
    atoms, dimensions = shape
    dof = (atoms - 1) * dimensions
    field = DenoiserField(model.denoiser(), None, n_probes, Subspace(centre, dof))
    network = model.network
    pairs = atoms * (atoms - 1) // 2 + atoms
    passes = 3 if model.energy_based else 1  # energies are differentiated once more
    bytes_per_item = passes * _BYTES_A_PAIR * pairs * network.width * (len(network.layers) + 1)
    return ScoreSource(
        ChunkedField(field, bytes_per_item), PATH, shape, model.length, ends, centre, dof, model.local_scale,
        unit_variance=True,
    )  # fmt: skip


def outside_source(
    score: Callable[[Tensor, Tensor], Tensor],
    path: Path,
    shape: tuple[int, int],
    ends: tuple[float, float],
    *,
    divergence: Callable[[Tensor, Tensor], Tensor] | None,
    log_density: Callable[[Tensor, Tensor], Tensor] | None,
    project: Callable[[Tensor], Tensor] | None,
    effective_dim: int | None,
    n_probes: int | None,
    local_scale: float | None,
) -> ScoreSource:
    """Return the source of a score function of the noisy law."""
    if not callable(score):
        raise TypeError(f"score must be a function of positions and time, got {type(score).__name__}")
    if not isinstance(path, Path):
        raise TypeError(f"path must be a Path of sciffusion.continuous, got {type(path).__name__}")
    high = check_number("max_noise", ends[0], low=0.0, open_low=True)
    low = check_number("min_noise", ends[1], low=0.0, high=high, open_low=True, open_high=True)
    for name, function in (("divergence", divergence), ("log_density", log_density), ("project", project)):
        if function is not None and not callable(function):
            raise TypeError(f"{name} must be a function, got {type(function).__name__}")
    if n_probes is not None:
        check_integer("n_probes", n_probes, low=1)
    if effective_dim is not None:
        check_integer("effective_dim", effective_dim, low=1, high=shape[0] * shape[1])
    if local_scale is not None:
        local_scale = check_number("local_scale", local_scale, low=0.0, open_low=True)
    if (project is None) != (effective_dim is None):
        raise ValueError("give project and effective_dim together: the projection and its dimension")
    atoms, dimensions = shape
    projection = centre if project is None else project
    dof = (atoms - 1) * dimensions if effective_dim is None else effective_dim
    checked: Any = score
    field = FunctionField(checked, divergence, log_density, n_probes, Subspace(projection, dof))
    return ScoreSource(field, path, shape, 1.0, (high, low), projection, dof, local_scale)
