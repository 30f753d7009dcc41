"""Survival analysis with diffusion models: `SDPMSurvival` and the tools around it.

Curves and metrics, splitters and calibration live in modules of their own (`metrics`, `model_selection`,
`calibration`, `conformal`, `self_check`, `plots`, `report`); the names below are those that a first analysis
needs.
"""

from __future__ import annotations

from .estimator import SDPMSurvival
from .model_selection import SurvivalStratifiedKFold
from .step_functions import StepFunction
from .targets import SurvivalTarget, make_survival_target

__all__ = [
    "SDPMSurvival",
    "StepFunction",
    "SurvivalStratifiedKFold",
    "SurvivalTarget",
    "make_survival_target",
]
