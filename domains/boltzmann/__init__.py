"""Boltzmann sampling: particles known at one temperature, drawn at another or in another potential."""

from __future__ import annotations

from .metrics import BoltzmannReference
from .metrics_profiles import FreeEnergyProfile, free_energy_difference, free_energy_profile

__all__ = [
    "BoltzmannReference",
    "FreeEnergyProfile",
    "free_energy_difference",
    "free_energy_profile",
]
