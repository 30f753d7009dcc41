"""Training of networks: options, time samplers, averages of weights, checkpoints and the fit loop.

Importing this package does not import Lightning; the first call of `fit_network` does.
"""

from __future__ import annotations

from .adaptive_times import AdaptiveTimes
from .checkpoints import CheckpointError
from .combination import CheckpointCombination, combine_checkpoints
from .ema import ExponentialProfile, PowerProfile, WeightAverage
from .fixed_point import FixedPointDistillation
from .loop import fit_network
from .loss_profile import LossProfile, loss_profile
from .options import TrainingHistory, TrainingOptions
from .posthoc import PostHocAverage, Snapshot, posthoc_coefficients
from .schedules import ScheduledObjective, WeightWarmup
from .time_samplers import LogitNormal, LogNormalNoise, TimeSample, TimeSampler, UniformTimes, WeightedTimes
from .two_tier import ScoreDistillation, TwoTierGradient, effective_compute_multiplier

__all__ = [
    "AdaptiveTimes",
    "CheckpointCombination",
    "CheckpointError",
    "ExponentialProfile",
    "FixedPointDistillation",
    "LogNormalNoise",
    "LogitNormal",
    "LossProfile",
    "PostHocAverage",
    "PowerProfile",
    "ScheduledObjective",
    "ScoreDistillation",
    "Snapshot",
    "TimeSample",
    "TimeSampler",
    "TrainingHistory",
    "TrainingOptions",
    "TwoTierGradient",
    "UniformTimes",
    "WeightAverage",
    "WeightWarmup",
    "WeightedTimes",
    "combine_checkpoints",
    "effective_compute_multiplier",
    "fit_network",
    "loss_profile",
    "posthoc_coefficients",
]
