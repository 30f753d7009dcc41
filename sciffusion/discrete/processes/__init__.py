"""Processes that corrupt tokens or counts site by site."""

from sciffusion.discrete.processes.mask import Mask
from sciffusion.discrete.processes.matrix import Matrix
from sciffusion.discrete.processes.pure_death import MissingMean, PureDeath
from sciffusion.discrete.processes.uniform import Uniform
from sciffusion.discrete.processes.uniform_absorbing import UniformAbsorbing

__all__ = ["Mask", "Matrix", "MissingMean", "PureDeath", "Uniform", "UniformAbsorbing"]
