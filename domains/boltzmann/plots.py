"""Pictures of particle systems: distances, energies, torsions, free energies, and what weights did.

Every function draws on given matplotlib Axes (or makes some) and returns the Figure. Colours are those of
Okabe and Ito, which colour-blind readers can tell apart; a reference is grey. matplotlib is of the extra
``plots`` and is imported when a function is called.
"""

from __future__ import annotations

from .plots_distributions import plot_energies, plot_radial_distribution
from .plots_particles import plot_ess, plot_samples
from .plots_torsions import plot_free_energy_profiles, plot_ramachandran

__all__ = [
    "plot_energies",
    "plot_ess",
    "plot_free_energy_profiles",
    "plot_radial_distribution",
    "plot_ramachandran",
    "plot_samples",
]
