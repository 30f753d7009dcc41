"""Solvers of discrete processes: one step from times t to earlier times s."""

from sciffusion.discrete.solvers.ancestral import Ancestral
from sciffusion.discrete.solvers.base import DiscreteSolver, SiteSolver, TokenState

__all__ = ["Ancestral", "DiscreteSolver", "SiteSolver", "TokenState"]
