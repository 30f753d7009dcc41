"""Solvers of discrete processes: one step from times t to earlier times s."""

from sciffusion.discrete.solvers.absorbing import RenewedNoise
from sciffusion.discrete.solvers.ancestral import Ancestral
from sciffusion.discrete.solvers.base import DiscreteSolver, DrawSolver, SiteSolver, TokenState
from sciffusion.discrete.solvers.coupling import MaximalCoupling
from sciffusion.discrete.solvers.death import Births, BirthStep
from sciffusion.discrete.solvers.first_hitting import FirstHitting
from sciffusion.discrete.solvers.prediction_trapezoid import PredictionTrapezoid
from sciffusion.discrete.solvers.rates import EulerRates, TauLeaping
from sciffusion.discrete.solvers.remasking import Remasking
from sciffusion.discrete.solvers.theta_trapezoid import ThetaTrapezoid

__all__ = [
    "Ancestral",
    "BirthStep",
    "Births",
    "DiscreteSolver",
    "DrawSolver",
    "EulerRates",
    "FirstHitting",
    "MaximalCoupling",
    "PredictionTrapezoid",
    "Remasking",
    "RenewedNoise",
    "SiteSolver",
    "TauLeaping",
    "ThetaTrapezoid",
    "TokenState",
]
