"""Trained models of particles that lie in the package (see `sciffusion.estimators.published_models`)."""

from __future__ import annotations

from pathlib import Path

from sciffusion.estimators.published_models import PublishedModels

__all__ = ["list_pretrained", "pretrained_card", "pretrained_file"]

_MODELS = PublishedModels(Path(__file__).parent / "weights", "particle systems", "BoltzmannDiffusion")


def list_pretrained() -> list[str]:
    """Return the names of the models that are published with this version."""
    return _MODELS.names()


def pretrained_file(name: str) -> Path:
    """Return the file of a published model; a ValueError lists those there are."""
    return _MODELS.file(name)


def pretrained_card(name: str) -> str:
    """Return the card of a published model: data, licence, command, measured quality."""
    return _MODELS.card(name)
