"""Boltzmann sampling: particles known at one temperature, drawn at another or in another potential."""

from __future__ import annotations

from .metrics import (
    BoltzmannReference,
    RadialDistribution,
    compare_samples,
    delta_nll,
    effective_sample_size,
    energy_distance_w1,
    maximum_mean_discrepancy,
    pair_distances,
    radial_distribution,
    radial_w1,
    sliced_wasserstein,
    weighted_resample,
)
from .metrics_profiles import FreeEnergyProfile, free_energy_difference, free_energy_profile
from .plots import (
    plot_energies,
    plot_ess,
    plot_free_energy_profiles,
    plot_radial_distribution,
    plot_ramachandran,
    plot_samples,
)

__all__ = [
    "BoltzmannReference",
    "FreeEnergyProfile",
    "RadialDistribution",
    "compare_samples",
    "delta_nll",
    "effective_sample_size",
    "energy_distance_w1",
    "free_energy_difference",
    "free_energy_profile",
    "maximum_mean_discrepancy",
    "pair_distances",
    "plot_energies",
    "plot_ess",
    "plot_free_energy_profiles",
    "plot_radial_distribution",
    "plot_ramachandran",
    "plot_samples",
    "radial_distribution",
    "radial_w1",
    "sliced_wasserstein",
    "weighted_resample",
]
