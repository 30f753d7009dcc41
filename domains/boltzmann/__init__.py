"""Boltzmann sampling: particles known at one temperature, drawn at another or in another potential."""

from __future__ import annotations

from .alpha_carbons import AlphaCarbons, load_villin, read_alpha_carbons
from .boltzmann_sample import BoltzmannSample
from .chirality import fold_mirror_images, hand_of
from .diffusion import BoltzmannDiffusion
from .distance_restraints import DistanceRestraint, RestrainedLaw, restrained_law
from .elastic_network import ElasticNetwork, ElasticNetworkScore
from .files import Configurations, read_configurations, write_configurations
from .files_xyz import write_xyz
from .metrics import (
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
from .metrics_distances import RadialDistribution
from .metrics_profiles import FreeEnergyProfile, families, free_energy_difference, free_energy_profile
from .metrics_reference import BoltzmannReference
from .plots import (
    plot_energies,
    plot_ess,
    plot_free_energy_profiles,
    plot_radial_distribution,
    plot_ramachandran,
    plot_samples,
)
from .pretrained import list_pretrained, pretrained_card
from .torsions import (
    dihedral_angles,
    in_arc,
    jensen_shannon_divergence,
    ramachandran_divergence,
    ramachandran_map,
)

__all__ = [
    "AlphaCarbons",
    "BoltzmannDiffusion",
    "BoltzmannReference",
    "BoltzmannSample",
    "Configurations",
    "DistanceRestraint",
    "ElasticNetwork",
    "ElasticNetworkScore",
    "FreeEnergyProfile",
    "RadialDistribution",
    "RestrainedLaw",
    "compare_samples",
    "delta_nll",
    "dihedral_angles",
    "effective_sample_size",
    "energy_distance_w1",
    "families",
    "fold_mirror_images",
    "free_energy_difference",
    "free_energy_profile",
    "hand_of",
    "in_arc",
    "jensen_shannon_divergence",
    "list_pretrained",
    "load_villin",
    "maximum_mean_discrepancy",
    "pair_distances",
    "plot_energies",
    "plot_ess",
    "plot_free_energy_profiles",
    "plot_radial_distribution",
    "plot_ramachandran",
    "plot_samples",
    "pretrained_card",
    "radial_distribution",
    "radial_w1",
    "ramachandran_divergence",
    "ramachandran_map",
    "read_alpha_carbons",
    "read_configurations",
    "restrained_law",
    "sliced_wasserstein",
    "weighted_resample",
    "write_configurations",
    "write_xyz",
]
