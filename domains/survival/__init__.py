"""Survival analysis with diffusion models: `SDPMSurvival` and the tools around it."""

from __future__ import annotations

from .estimator import SDPMSurvival
from .targets import make_survival_target

__all__ = ["SDPMSurvival", "make_survival_target"]
