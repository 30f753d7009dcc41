"""Solvers: one step of a reverse process from a time to a smaller one."""

from sciffusion.continuous.solvers.base import ContinuousState, Evaluation, Solver
from sciffusion.continuous.solvers.deterministic import Euler, Heun
from sciffusion.continuous.solvers.extended import (
    ERSDE,
    NoiseScale,
    PowerScale,
    QuadratureScale,
    recommended_scale,
)
from sciffusion.continuous.solvers.langevin import PredictorCorrector
from sciffusion.continuous.solvers.multistep import DPMSolverMultistep
from sciffusion.continuous.solvers.reverse import (
    EulerMaruyama,
    NoiseStrength,
    StochasticHeun,
    anderson_strength,
    no_strength,
    sigma_strength,
)
from sciffusion.continuous.solvers.stochastic import AncestralDDPM

__all__ = [
    "ERSDE",
    "AncestralDDPM",
    "ContinuousState",
    "DPMSolverMultistep",
    "Euler",
    "EulerMaruyama",
    "Evaluation",
    "Heun",
    "NoiseScale",
    "NoiseStrength",
    "PowerScale",
    "PredictorCorrector",
    "QuadratureScale",
    "Solver",
    "StochasticHeun",
    "anderson_strength",
    "no_strength",
    "recommended_scale",
    "sigma_strength",
]
