"""Discrete diffusion: Markov corruption of tokens and counts, and its reversal."""

from sciffusion.discrete.categorical import draw_categorical
from sciffusion.discrete.correctors import Corrected, Corrector, CTMCCorrector, Gibbs
from sciffusion.discrete.death_objective import BlackoutLoss, DeathELBO
from sciffusion.discrete.denoiser import DiscreteDenoiser, NetworkTokenDenoiser
from sciffusion.discrete.generic_objective import GenericELBO
from sciffusion.discrete.grids import keep_grid, loop_grid
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
from sciffusion.discrete.processes import Mask, Matrix, MissingMean, PureDeath, Uniform, UniformAbsorbing
from sciffusion.discrete.schedules import CosineSchedule, KeepSchedule, LinearSchedule
from sciffusion.discrete.solvers import (
    Ancestral,
    Births,
    BirthStep,
    DiscreteSolver,
    DrawSolver,
    EulerRates,
    FirstHitting,
    MaximalCoupling,
    PredictionTrapezoid,
    Remasking,
    RenewedNoise,
    SiteSolver,
    TauLeaping,
    ThetaTrapezoid,
)

__all__ = [
    "AbsorbingUniformLoss",
    "Ancestral",
    "BirthStep",
    "Births",
    "BlackoutLoss",
    "CTMCCorrector",
    "Corrected",
    "Corrector",
    "Corrupted",
    "CosineSchedule",
    "DeathELBO",
    "DenoiserCrossEntropy",
    "DiscreteDenoiser",
    "DiscreteObjective",
    "DiscretePrediction",
    "DiscreteProcess",
    "DiscreteSolver",
    "DrawSolver",
    "EulerRates",
    "FirstHitting",
    "GenericELBO",
    "Gibbs",
    "KeepSchedule",
    "LinearSchedule",
    "Mask",
    "MaskELBO",
    "Matrix",
    "MaximalCoupling",
    "MaximalCouplingLoss",
    "MissingMean",
    "NetworkTokenDenoiser",
    "NoisyTokens",
    "PredictionTrapezoid",
    "PureDeath",
    "Remasking",
    "RenewedNoise",
    "SiteSolver",
    "TauLeaping",
    "ThetaTrapezoid",
    "TokenKind",
    "Uniform",
    "UniformAbsorbing",
    "UniformELBO",
    "draw_categorical",
    "keep_grid",
    "loop_grid",
]
