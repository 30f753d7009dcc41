"""Diagnostics: what a denoiser or a sampler does wrong, measured against what it should do."""

from sciffusion.diagnostics.distances import (
    energy_distance,
    maximum_mean_discrepancy,
    median_distance,
    sliced_wasserstein,
)

__all__ = ["energy_distance", "maximum_mean_discrepancy", "median_distance", "sliced_wasserstein"]
