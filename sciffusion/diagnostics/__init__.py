"""Diagnostics: what a denoiser or a sampler does wrong, measured against what it should do."""

from sciffusion.diagnostics.convergence import (
    Agreement,
    DenoiserDistance,
    denoiser_distance,
    sample_agreement,
)
from sciffusion.diagnostics.distances import (
    energy_distance,
    maximum_mean_discrepancy,
    median_distance,
    sliced_wasserstein,
)
from sciffusion.diagnostics.latent_recovery import (
    LatentRecovery,
    latent_recovery,
    principal_directions,
    subspace_overlap,
)
from sciffusion.diagnostics.linear_theory import same_noise_cosine, spike_overlap
from sciffusion.diagnostics.memorisation import Memorisation, memorisation
from sciffusion.diagnostics.spectra import SpectrumRatio, spectrum_ratio

__all__ = [
    "Agreement",
    "DenoiserDistance",
    "LatentRecovery",
    "Memorisation",
    "SpectrumRatio",
    "denoiser_distance",
    "energy_distance",
    "latent_recovery",
    "maximum_mean_discrepancy",
    "median_distance",
    "memorisation",
    "principal_directions",
    "same_noise_cosine",
    "sample_agreement",
    "sliced_wasserstein",
    "spectrum_ratio",
    "spike_overlap",
    "subspace_overlap",
]
