"""Continuous diffusion: Gaussian paths, predictions, denoisers, objectives, noise and solvers."""

from sciffusion.continuous.denoiser import (
    Denoiser,
    EDMPreconditioning,
    NetworkDenoiser,
    NoisyState,
    PointwiseDenoiser,
    Posterior,
    posterior,
)
from sciffusion.continuous.divergence import divergence
from sciffusion.continuous.noise import NoiseSource, WhiteNoise, gaussian_panel
from sciffusion.continuous.objective import DenoisingObjective, Weighting
from sciffusion.continuous.path import Path, PathCoefficients, align, as_times
from sciffusion.continuous.prediction import ContinuousPrediction, PredictionKind, conversion_coefficients
from sciffusion.continuous.schedules import (
    Cosine,
    RectifiedFlow,
    Trigonometric,
    VarianceExploding,
    VariancePreserving,
)
from sciffusion.continuous.solvers import (
    ERSDE,
    AncestralDDPM,
    ContinuousState,
    DPMSolverMultistep,
    Euler,
    Evaluation,
    Heun,
    NoiseScale,
    PowerScale,
    QuadratureScale,
    Solver,
    recommended_scale,
)

__all__ = [
    "ERSDE",
    "AncestralDDPM",
    "ContinuousPrediction",
    "ContinuousState",
    "Cosine",
    "DPMSolverMultistep",
    "Denoiser",
    "DenoisingObjective",
    "EDMPreconditioning",
    "Euler",
    "Evaluation",
    "Heun",
    "NetworkDenoiser",
    "NoiseScale",
    "NoiseSource",
    "NoisyState",
    "Path",
    "PathCoefficients",
    "PointwiseDenoiser",
    "Posterior",
    "PowerScale",
    "PredictionKind",
    "QuadratureScale",
    "RectifiedFlow",
    "Solver",
    "Trigonometric",
    "VarianceExploding",
    "VariancePreserving",
    "Weighting",
    "WhiteNoise",
    "align",
    "as_times",
    "conversion_coefficients",
    "divergence",
    "gaussian_panel",
    "posterior",
    "recommended_scale",
]
