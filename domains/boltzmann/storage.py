"""Score models as tensors and plain values, and back."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sciffusion.networks.egnn import ParticleFrame
from sciffusion.networks.quadruples import Quadruples

from .fitting import FitSettings
from .score_model import ScoreModel, build_score_model

__all__ = ["restored_model", "stored_model"]

_PREFIX = "network."


def stored_model(model: ScoreModel, frame: ParticleFrame) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return tensors and values from which `restored_model` makes the same model."""
    tensors = {f"{_PREFIX}{name}": value for name, value in model.network.state_dict().items()}
    return tensors, {
        "kinds": list(frame.kinds),
        "pair_kinds": list(frame.pair_kinds),
        "length": model.length,
        "local_scale": model.local_scale,
        "chiral": None if frame.chiral is None else list(frame.chiral),
        "quadruples": None if frame.quadruples is None else _stored_quadruples(frame.quadruples),
    }


def _stored_quadruples(quadruples: Quadruples) -> dict[str, Any]:
    edges = [[list(edge) for edge in three] for three in quadruples.edges]
    return {"edges": edges, "kinds": list(quadruples.kinds), "signed": list(quadruples.signed)}


def _restored_quadruples(values: dict[str, Any] | None, weights: dict[str, Tensor]) -> Quadruples | None:
    if values is None:
        return None
    edges: Any = tuple(tuple((int(a), int(b)) for a, b in three) for three in values["edges"])
    measured = (weights[f"quadruples.{name}"] for name in ("means", "stds", "squares"))
    return Quadruples(edges, tuple(values["kinds"]), tuple(values["signed"]), *measured)


def restored_model(
    tensors: dict[str, Tensor], values: dict[str, Any], settings: FitSettings
) -> tuple[ScoreModel, ParticleFrame]:
    """Return the model and the frame that were stored."""
    weights = {name.removeprefix(_PREFIX): value for name, value in tensors.items()}
    frame = ParticleFrame(
        tuple(values["kinds"]), tuple(values["pair_kinds"]), weights["pair_means"], weights["pair_stds"],
        None if values.get("chiral") is None else tuple(values["chiral"]),
        _restored_quadruples(values.get("quadruples"), weights),
    )  # fmt: skip
    model = build_score_model(
        frame, weights["bumps"], length=float(values["length"]), local_scale=float(values["local_scale"]),
        width=settings.width, depth=settings.depth, energy_based=settings.energy_based,
    )  # fmt: skip
    model.network.load_state_dict(weights)
    model.network.eval()
    return model, frame
