"""Drift control: annealed and tilted samples from any score function, with weights that stay even."""

from sciffusion.sampling.driftlite.fields import (
    DenoiserField,
    FunctionField,
    ScoreField,
    ScoreValues,
    Subspace,
)
from sciffusion.sampling.driftlite.potential import signal_fraction
from sciffusion.sampling.driftlite.rewards import (
    AnalyticReward,
    DifferentiableReward,
    RewardValues,
    SmoothReward,
)
from sciffusion.sampling.driftlite.sampler import DriftLiteSampler

__all__ = [
    "AnalyticReward",
    "DenoiserField",
    "DifferentiableReward",
    "DriftLiteSampler",
    "FunctionField",
    "RewardValues",
    "ScoreField",
    "ScoreValues",
    "SmoothReward",
    "Subspace",
    "signal_fraction",
]
