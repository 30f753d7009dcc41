"""Discrete diffusion: Markov corruption of tokens and counts, and its reversal."""

from sciffusion.discrete.categorical import draw_categorical
from sciffusion.discrete.denoiser import DiscreteDenoiser, NetworkTokenDenoiser
from sciffusion.discrete.prediction import DiscretePrediction, NoisyTokens, TokenKind
from sciffusion.discrete.process import Corrupted, DiscreteProcess
from sciffusion.discrete.processes import Mask, Uniform
from sciffusion.discrete.schedules import CosineSchedule, KeepSchedule, LinearSchedule
from sciffusion.discrete.solvers import Ancestral, DiscreteSolver, SiteSolver

__all__ = [
    "Ancestral",
    "Corrupted",
    "CosineSchedule",
    "DiscreteDenoiser",
    "DiscretePrediction",
    "DiscreteProcess",
    "DiscreteSolver",
    "KeepSchedule",
    "LinearSchedule",
    "Mask",
    "NetworkTokenDenoiser",
    "NoisyTokens",
    "SiteSolver",
    "TokenKind",
    "Uniform",
    "draw_categorical",
]
