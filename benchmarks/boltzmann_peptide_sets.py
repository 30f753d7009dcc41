r"""Alanine dipeptide for the benchmark: the training set at 600 K, references at 300 K, and plain dynamics.

A reference at 300 K that can be trusted needs many passages between the basins of phi, which are rare there.
It is drawn with *flattened torsions*: to the force field is added

.. math:: V(\phi, \psi) = -F_\phi(\phi) - F_\psi(\psi),

free energies of either torsion at 600 K (of a first run, cut at 28 and 12 kJ/mol and written as short Fourier
series), so that both angles diffuse freely at 300 K. Draws have the weight :math:`e^{V / kT}`, which takes
the bias away exactly. Two seeds show what is left of chance; OpenMM's own chains show that the law is right.
Sets are kept in `build/boltzmann_references`.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sciffusion.datasets import ParticleDataset, make_alanine_dipeptide
from sciffusion.datasets.alanine_dipeptide_system import (
    PHI,
    PSI,
    START,
    alanine_dipeptide_system,
    raised_masses,
)
from sciffusion.datasets.molecular_mechanics import MolecularMechanics
from sciffusion.datasets.molecular_mechanics_dynamics import BOLTZMANN, Replicas
from sciffusion.datasets.particles_cache import Arrays, cached_arrays
from sciffusion.domains.boltzmann import dihedral_angles, read_configurations

__all__ = [
    "COLD",
    "FOLDER",
    "FULL",
    "HOT",
    "QUICK",
    "Draws",
    "PeptideSizes",
    "cooled",
    "flattened",
    "from_dataset",
    "from_file",
    "openmm_set",
    "training_set",
]

FOLDER = Path("build/boltzmann_references")
HOT, COLD = 600.0, 300.0
STEP, HYDROGEN_MASS, FRICTION = 0.002, 4.0, 2.0
#: Free energies of phi and of psi: coefficients (kJ/mol) of cosine and sine of n = 1, 2, ... times the angle.
#: Any numbers are right, since weights take them away; good ones make dynamics fast and weights even.
FLATTENING = {
    PHI: ((0.8, 10.5), (6.0, -6.8), (5.0, 0.3), (2.8, -1.0), (-0.7, 1.8), (-0.5, -0.8)),
    PSI: ((-0.5, -2.4), (-3.7, 2.8), (-0.4, -1.3), (0.3, 1.1), (0.4, -0.2), (-0.1, 0.0)),
}


@dataclass(frozen=True)
class PeptideSizes:
    """How much is simulated and drawn.

    Parameters
    ----------
    training, training_columns : int
        Configurations at 600 K, one a picosecond of each chain, and chains.
    reference_columns, reference_frames, reference_thinning, burn_in : int
        Chains with flattened torsions, kept states of each, steps between and before them.
    openmm_columns, openmm_frames : int
        Chains of OpenMM and kept states of each, one a picosecond.
    draws, particles : int
        Draws of the model in all, and particles of each system that is resampled among itself.
    cooling : float
        Picoseconds of dynamics at 300 K that draws are followed for.
    compiled : bool
        Whether torch compiles the forces of long simulations.
    """

    training: int
    training_columns: int
    reference_columns: int
    reference_frames: int
    reference_thinning: int
    burn_in: int
    openmm_columns: int
    openmm_frames: int
    draws: int
    particles: int
    cooling: float
    compiled: bool


FULL = PeptideSizes(51_200, 256, 512, 75, 1000, 40_000, 4, 200, 1000, 500, 1.0, True)
QUICK = PeptideSizes(600, 16, 16, 30, 25, 500, 2, 16, 64, 32, 0.02, False)


@dataclass(frozen=True, eq=False)
class Draws:
    """Weighted configurations and what they took.

    Parameters
    ----------
    configurations : Tensor of shape (n, 22, 3)
        In nm.
    energies : ndarray of shape (n,)
        In kJ/mol.
    log_weights : ndarray of shape (n,)
        Of any normalisation.
    groups : ndarray of shape (n,)
        What is independent: the chain or the system of each row.
    cpu_seconds : float
        Of simulating or drawing them.
    """

    configurations: torch.Tensor
    energies: NDArray[np.float64]
    log_weights: NDArray[np.float64]
    groups: NDArray[np.int64]
    cpu_seconds: float

    @property
    def phi(self) -> NDArray[np.float64]:
        """First torsion in radians."""
        return dihedral_angles(self.configurations, PHI).double().numpy()

    @property
    def psi(self) -> NDArray[np.float64]:
        """Second torsion in radians."""
        return dihedral_angles(self.configurations, PSI).double().numpy()

    @property
    def torsions(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Both torsions and the log weights."""
        return self.phi, self.psi, self.log_weights

    def with_weights(self, log_weights: NDArray[np.float64], cpu_seconds: float | None = None) -> Draws:
        """Give the same configurations with other weights."""
        seconds = self.cpu_seconds if cpu_seconds is None else cpu_seconds
        return Draws(self.configurations, self.energies, log_weights, self.groups, seconds)


def from_dataset(found: ParticleDataset) -> Draws:
    """Give a set of the library as draws of equal weight."""
    x = torch.from_numpy(found.configurations)
    seconds = float(found.diagnostics["cpu_seconds"])
    return Draws(x, found.energies, np.zeros(len(x)), np.asarray(found.diagnostics["chain"]), seconds)


def from_file(path: str | Path) -> Draws:
    """Give the configurations of a file as draws of equal weight; its families are independent chains."""
    found = read_configurations(path)
    if found.energies is None or found.temperature != HOT:
        raise ValueError(f"training must hold energies at {HOT:g} K, found temperature {found.temperature}")
    x = torch.from_numpy(np.asarray(found.configurations, dtype=np.float32))
    groups = np.arange(len(x)) if found.families is None else found.families
    return Draws(x, found.energies, np.zeros(len(x)), groups, float("nan"))


def training_set(sizes: PeptideSizes, seed: int = 0, folder: Path = FOLDER) -> ParticleDataset:
    """Give configurations at 600 K, simulated or from the cache."""
    return make_alanine_dipeptide(
        sizes.training, HOT, columns=sizes.training_columns, burn_in=sizes.burn_in, compiled=sizes.compiled,
        folder=folder, random_state=seed, **_steps(sizes),
    )  # fmt: skip


def openmm_set(sizes: PeptideSizes, seed: int = 0, folder: Path = FOLDER) -> Draws:
    """Give chains of OpenMM at 300 K, simulated or from the cache."""
    count = sizes.openmm_columns * sizes.openmm_frames
    found = make_alanine_dipeptide(
        count, COLD, engine="openmm", columns=sizes.openmm_columns, burn_in=sizes.burn_in, folder=folder,
        random_state=seed, **_steps(sizes),
    )  # fmt: skip
    return from_dataset(found)


def _steps(sizes: PeptideSizes) -> dict[str, int]:
    return {"thinning": 500 if sizes.compiled else 20}


def flattened(sizes: PeptideSizes, seed: int, folder: Path = FOLDER) -> Draws:
    """Give weighted draws at 300 K from chains with flattened torsions, simulated or from the cache.

    Parameters
    ----------
    sizes : PeptideSizes
        Numbers of chains and states.
    seed : int
        Of the dynamics.
    folder : Path
        Of the cache.
    """
    names = ("reference_columns", "reference_frames", "reference_thinning", "burn_in")
    settings: dict[str, object] = {name: value for name, value in asdict(sizes).items() if name in names}
    settings |= {"compiled": sizes.compiled, "series": list(FLATTENING.values()), "seed": seed, "version": 1}
    arrays = cached_arrays(
        "alanine_dipeptide_flattened", settings, lambda: _simulate(sizes, seed), folder=folder
    )
    x = torch.from_numpy(arrays["configurations"])
    return Draws(x, arrays["energies"], arrays["log_weights"], arrays["chain"], float(arrays["cpu_seconds"]))


@lru_cache
def _plain() -> MolecularMechanics:
    """Give the force field in single precision."""
    return MolecularMechanics.from_openmm(alanine_dipeptide_system())


def _biased() -> MolecularMechanics:
    """Give the force field less the free energies of the torsions."""
    import openmm

    system = alanine_dipeptide_system()
    torsions = next(one for one in system.getForces() if isinstance(one, openmm.PeriodicTorsionForce))
    for places, terms in FLATTENING.items():
        for n, (cosine, sine) in enumerate(terms, 1):
            torsions.addTorsion(*places, n, float(np.arctan2(-sine, -cosine)), float(np.hypot(sine, cosine)))
    return MolecularMechanics.from_openmm(system)


def _replicas(
    mechanics: MolecularMechanics, start: torch.Tensor, columns: int, seed: int, step: float, compiled: bool
) -> Replicas:
    masses = raised_masses(mechanics.masses.double().numpy(), HYDROGEN_MASS)
    return Replicas(
        mechanics, start, temperatures=(COLD,), columns=columns, masses=torch.from_numpy(masses), step=step,
        friction=FRICTION, swap_every=1000, generator=torch.Generator().manual_seed(seed), compiled=compiled,
    )  # fmt: skip


def _simulate(sizes: PeptideSizes, seed: int) -> Arrays:
    started = time.process_time()
    plain = _plain()
    columns = sizes.reference_columns
    replicas = _replicas(_biased(), torch.from_numpy(START), columns, seed, STEP, sizes.compiled)
    replicas.run(sizes.burn_in)
    parts: dict[str, list[NDArray[np.float64]]] = {"configurations": [], "energies": [], "log_weights": []}
    for state in replicas.snapshots(sizes.reference_frames, sizes.reference_thinning):
        energies, _ = plain.energy_and_forces(state.positions[0])
        bias = (state.energies[0] - energies).double()
        parts["configurations"].append(state.positions[0].numpy())
        parts["energies"].append(energies.double().numpy())
        parts["log_weights"].append((bias / (BOLTZMANN * COLD)).numpy())
    arrays: Arrays = {name: np.concatenate(rows) for name, rows in parts.items()}
    arrays["chain"] = np.tile(np.arange(columns), sizes.reference_frames)
    arrays["cpu_seconds"] = np.array(time.process_time() - started)
    return arrays


def cooled(draws: Draws, picoseconds: float, seed: int = 0) -> Draws:
    """Give the draws after a little dynamics at 300 K, each on its own, with the weights they had.

    Draws that dynamics cannot follow, because atoms overlap, are left out.
    """
    started = time.process_time()
    replicas = _replicas(_plain(), draws.configurations, len(draws.energies), seed, 0.5 * STEP, False)
    replicas.run(round(picoseconds / (0.5 * STEP)))
    state = replicas.snapshot()
    seconds = draws.cpu_seconds + time.process_time() - started
    energies = state.energies[0].double().numpy()
    kept = np.isfinite(energies)
    x = state.positions[0].clone()[torch.from_numpy(kept)]
    return Draws(x, energies[kept], draws.log_weights[kept], draws.groups[kept], seconds)
