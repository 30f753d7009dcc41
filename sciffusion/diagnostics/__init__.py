"""Diagnostics: what a denoiser or a sampler does wrong, measured against what it should do."""

from sciffusion.diagnostics.calibration import (
    RankCalibration,
    RegionCoverage,
    rank_calibration,
    region_coverage,
)
from sciffusion.diagnostics.conservativity import Asymmetry, jacobian_asymmetry
from sciffusion.diagnostics.convergence import (
    Agreement,
    DenoiserDistance,
    denoiser_distance,
    sample_agreement,
)
from sciffusion.diagnostics.distances import (
    distance_floor,
    energy_distance,
    maximum_mean_discrepancy,
    median_distance,
    sliced_wasserstein,
)
from sciffusion.diagnostics.hallucination import (
    CleanEstimateVariance,
    HallucinationVariance,
    hallucination_variance,
)
from sciffusion.diagnostics.intrinsic_dimension import (
    IntrinsicDimension,
    density_dimension,
    flow_dimension,
    normal_bundle_dimension,
)
from sciffusion.diagnostics.latent_recovery import (
    LatentRecovery,
    latent_recovery,
    principal_directions,
    subspace_overlap,
)
from sciffusion.diagnostics.linear_theory import same_noise_cosine, spike_overlap
from sciffusion.diagnostics.memorisation import Memorisation, memorisation
from sciffusion.diagnostics.ode_sde_gap import (
    EnergyTest,
    FokkerPlanckResidual,
    energy_test,
    fokker_planck_residual,
    ode_sde_gap,
)
from sciffusion.diagnostics.posterior_spread import PosteriorSpread, SpreadTolerance, posterior_spread
from sciffusion.diagnostics.spectra import SpectrumRatio, spectrum_ratio

__all__ = [
    "Agreement",
    "Asymmetry",
    "CleanEstimateVariance",
    "DenoiserDistance",
    "EnergyTest",
    "FokkerPlanckResidual",
    "HallucinationVariance",
    "IntrinsicDimension",
    "LatentRecovery",
    "Memorisation",
    "PosteriorSpread",
    "RankCalibration",
    "RegionCoverage",
    "SpectrumRatio",
    "SpreadTolerance",
    "denoiser_distance",
    "density_dimension",
    "distance_floor",
    "energy_distance",
    "energy_test",
    "flow_dimension",
    "fokker_planck_residual",
    "hallucination_variance",
    "jacobian_asymmetry",
    "latent_recovery",
    "maximum_mean_discrepancy",
    "median_distance",
    "memorisation",
    "normal_bundle_dimension",
    "ode_sde_gap",
    "posterior_spread",
    "principal_directions",
    "rank_calibration",
    "region_coverage",
    "same_noise_cosine",
    "sample_agreement",
    "sliced_wasserstein",
    "spectrum_ratio",
    "spike_overlap",
    "subspace_overlap",
]
