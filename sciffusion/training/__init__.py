"""Training of networks: options, time samplers, averages of weights, checkpoints and the fit loop.

Importing this package does not import Lightning; the first call of `fit_network` does.
"""

from __future__ import annotations

from .checkpoints import CheckpointError
from .ema import ExponentialProfile, PowerProfile, WeightAverage
from .loop import fit_network
from .options import TrainingHistory, TrainingOptions
from .time_samplers import LogitNormal, LogNormalNoise, TimeSample, TimeSampler, UniformTimes, WeightedTimes

__all__ = [
    "CheckpointError",
    "ExponentialProfile",
    "LogNormalNoise",
    "LogitNormal",
    "PowerProfile",
    "TimeSample",
    "TimeSampler",
    "TrainingHistory",
    "TrainingOptions",
    "UniformTimes",
    "WeightAverage",
    "WeightedTimes",
    "fit_network",
]
