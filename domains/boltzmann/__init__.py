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

__all__ = [
    "BoltzmannReference",
    "RadialDistribution",
    "compare_samples",
    "delta_nll",
    "effective_sample_size",
    "energy_distance_w1",
    "maximum_mean_discrepancy",
    "pair_distances",
    "radial_distribution",
    "radial_w1",
    "sliced_wasserstein",
    "weighted_resample",
]
