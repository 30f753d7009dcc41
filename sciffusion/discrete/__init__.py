"""Discrete diffusion: Markov corruption of tokens and counts, and its reversal."""

from sciffusion.discrete.categorical import draw_categorical
from sciffusion.discrete.denoiser import DiscreteDenoiser, NetworkTokenDenoiser
from sciffusion.discrete.generic_objective import GenericELBO
from sciffusion.discrete.objective import (
    AbsorbingUniformLoss,
    DenoiserCrossEntropy,
    DiscreteObjective,
    MaskELBO,
    MaximalCouplingLoss,
    UniformELBO,
)
from sciffusion.discrete.prediction import DiscretePrediction, NoisyTokens, TokenKind
from sciffusion.discrete.process import Corrupted, DiscreteProcess
from sciffusion.discrete.processes import Mask, Uniform
from sciffusion.discrete.schedules import CosineSchedule, KeepSchedule, LinearSchedule
from sciffusion.discrete.solvers import Ancestral, DiscreteSolver, SiteSolver

__all__ = [
    "AbsorbingUniformLoss",
    "Ancestral",
    "Corrupted",
    "CosineSchedule",
    "DenoiserCrossEntropy",
    "DiscreteDenoiser",
    "DiscreteObjective",
    "DiscretePrediction",
    "DiscreteProcess",
    "DiscreteSolver",
    "GenericELBO",
    "KeepSchedule",
    "LinearSchedule",
    "Mask",
    "MaskELBO",
    "MaximalCouplingLoss",
    "NetworkTokenDenoiser",
    "NoisyTokens",
    "SiteSolver",
    "TokenKind",
    "Uniform",
    "UniformELBO",
    "draw_categorical",
]
