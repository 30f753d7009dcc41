"""What is measured of draws of alanine dipeptide at 300 K, and the draws of a model."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch
from boltzmann_peptide_sets import COLD, HOT, Draws, PeptideSizes

from sciffusion.datasets.alanine_dipeptide_system import CHIRAL_CENTRE, alanine_dipeptide_system
from sciffusion.datasets.molecular_mechanics import MolecularMechanics
from sciffusion.datasets.molecular_mechanics_dynamics import BOLTZMANN
from sciffusion.domains.boltzmann import (
    FreeEnergyProfile,
    effective_sample_size,
    energy_distance_w1,
    fold_mirror_images,
    free_energy_difference,
    free_energy_profile,
    in_arc,
    jensen_shannon_divergence,
    ramachandran_divergence,
    ramachandran_map,
    weighted_resample,
)

__all__ = [
    "BASIN",
    "KT_COLD",
    "METHODS",
    "ModelDraws",
    "PeptideModel",
    "draw_model",
    "measure_draws",
    "part",
    "profile_of",
    "reweighted",
    "squared",
]

#: The basin of left-handed helices: phi from 0 upwards to 126 degrees, where its density is least.
BASIN = (0.0, 2.2)
METHODS: dict[str, dict[str, Any]] = {
    "pure guidance": {"control": "guidance"},
    "G-SMC": {"control": "none"},
    "VCG-SMC": {"control": "vcg"},
}
KT_COLD, KT_HOT = BOLTZMANN * COLD, BOLTZMANN * HOT


class PeptideModel(Protocol):
    """What is asked of a model."""

    def sample(self, n: int, **settings: Any) -> Any:
        """Draw configurations with log weights."""
        ...


@dataclass(frozen=True, eq=False)
class ModelDraws:
    """Draws of a model and what they say of themselves.

    Parameters
    ----------
    draws : Draws
        Of one hand, with their weights.
    mirrored : float
        Share that had the other hand.
    least_ess : float
        Smallest effective sample size on the way over the number of particles; NaN without weights.
    """

    draws: Draws
    mirrored: float
    least_ess: float


def draw_model(
    model: PeptideModel, method: str, sizes: PeptideSizes, temperature: float = COLD, seed: int = 0
) -> ModelDraws:
    """Draw from a model at a temperature and reflect what has the wrong hand.

    Parameters
    ----------
    model : PeptideModel
        Trained at 600 K.
    method : str
        One of `METHODS`.
    sizes : PeptideSizes
        Numbers of draws and particles.
    temperature : float
        In kelvin.
    seed : int
        Of the draws.
    """
    started = time.process_time()
    found = model.sample(
        sizes.draws, temperature=temperature, particles=sizes.particles, random_state=seed, **METHODS[method]
    )
    seconds = time.process_time() - started
    x = torch.as_tensor(np.asarray(found.configurations), dtype=torch.float32)
    folded = fold_mirror_images(x, CHIRAL_CENTRE)
    log_weights = np.asarray(found.log_weights, dtype=np.float64)
    groups = np.arange(len(x)) // sizes.particles
    draws = Draws(folded.configurations, energies_of(folded.configurations), log_weights, groups, seconds)
    ess = np.asarray(found.ess, dtype=np.float64)
    mirrored = folded.share if found.reflected_share is None else float(found.reflected_share)
    return ModelDraws(draws, mirrored, float(ess.min()) if ess.size else float("nan"))


@lru_cache
def _mechanics() -> MolecularMechanics:
    return MolecularMechanics.from_openmm(alanine_dipeptide_system()).double()


def energies_of(configurations: torch.Tensor, batch: int = 4096) -> np.ndarray:
    """Give energies (kJ/mol) in double precision: of poor draws single precision would overflow."""
    mechanics = _mechanics()
    with torch.inference_mode():
        parts = [mechanics(part.double()) for part in configurations.split(batch)]
    return torch.cat(parts).numpy()


def reweighted(hot: Draws) -> Draws:
    """Give draws at 600 K the weights that make them draws at 300 K."""
    return hot.with_weights(-(1.0 / KT_COLD - 1.0 / KT_HOT) * hot.energies)


def measure_draws(draws: Draws, reference: Draws) -> dict[str, float]:
    """Give one row: how far weighted draws are from the reference.

    Parameters
    ----------
    draws : Draws
        To be judged.
    reference : Draws
        At 300 K.
    """
    finite = np.isfinite(draws.energies)
    weights = np.where(finite, draws.log_weights, -np.inf)
    inside = in_arc(draws.phi, *BASIN)
    difference, error = free_energy_difference(
        inside, ~inside, kT=KT_COLD, log_weights=weights, groups=draws.groups
    )
    energies = np.where(finite, draws.energies, 0.0)
    return {
        "draws": len(energies),
        "js": ramachandran_divergence((draws.phi, draws.psi, weights), reference.torsions),
        "delta_f": difference,
        "delta_f_error": error,
        "energy_w1": energy_distance_w1(
            energies, reference.energies, log_weights=weights, reference_log_weights=reference.log_weights
        ),
        "ess": effective_sample_size(weights),
        "cpu_seconds": draws.cpu_seconds,
    }


def squared(hot: Draws, reference: Draws) -> float:
    """Give the divergence of the map at 600 K raised to the power 600 / 300, as if energy were all."""
    table = ramachandran_map(hot.phi, hot.psi, log_weights=hot.log_weights) ** (HOT / COLD)
    phi, psi, log_weights = reference.torsions
    return jensen_shannon_divergence(table, ramachandran_map(phi, psi, log_weights=log_weights))


def profile_of(draws: Draws, bins: int = 60) -> FreeEnergyProfile:
    """Give the free energy along phi at 300 K in kJ/mol, with errors over independent groups."""
    return free_energy_profile(
        draws.phi, kT=KT_COLD, log_weights=draws.log_weights, groups=draws.groups, bins=bins,
        range=(-np.pi, np.pi),
    )  # fmt: skip


def part(draws: Draws, count: int, seed: int = 0) -> Draws:
    """Give so many rows of a set, drawn by their weights with least repetition, as draws of equal weight."""
    rows = weighted_resample(draws.log_weights, count, generator=torch.Generator().manual_seed(seed))
    x, equal = draws.configurations[rows], np.zeros(count)
    return Draws(x, draws.energies[rows], equal, draws.groups[rows], draws.cpu_seconds)
