"""Noise for stochastic steps, training and starts: white, coloured, Brownian, heavy-tailed, panels."""

from sciffusion.continuous.noise.brownian import BrownianTree
from sciffusion.continuous.noise.calibration import FrequencyProgress, measure_progress
from sciffusion.continuous.noise.colored import ColoredNoise
from sciffusion.continuous.noise.operators import (
    DiagonalOperator,
    FullOperator,
    LinearOperator,
    LowRankOperator,
    ScalarOperator,
    SpectralOperator,
)
from sciffusion.continuous.noise.panel import gaussian_panel
from sciffusion.continuous.noise.source import NoiseSource, WhiteNoise
from sciffusion.continuous.noise.student import StudentNoise

__all__ = [
    "BrownianTree",
    "ColoredNoise",
    "DiagonalOperator",
    "FrequencyProgress",
    "FullOperator",
    "LinearOperator",
    "LowRankOperator",
    "NoiseSource",
    "ScalarOperator",
    "SpectralOperator",
    "StudentNoise",
    "WhiteNoise",
    "gaussian_panel",
    "measure_progress",
]
