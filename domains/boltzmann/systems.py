"""The systems that the command line simulates, and their energies found again by name.

A file of configurations says of which system it is, so that energies of other draws can be computed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from sciffusion.estimators.imports import optional_import

from .files import Configurations
from .metrics_reference import EnergyFunction, energies_of

__all__ = ["SYSTEMS", "element_names", "simulate_system", "system_energy"]


class System(NamedTuple):
    """A system that can be simulated.

    Parameters
    ----------
    title : str
        In words.
    oscillator : float or None
        Strength of its trap unless another is asked for; None where there is none.
    atoms : int
        Number of atoms.
    """

    title: str
    oscillator: float | None
    atoms: int


#: By their names on the command line.
SYSTEMS = {
    "dw4": System("four particles in the plane with double wells", 0.0, 4),
    "lj13": System("thirteen Lennard-Jones particles in a trap", 1.0, 13),
    "alanine-dipeptide": System("alanine dipeptide in implicit water", None, 22),
}


def simulate_system(
    name: str, n: int, temperature: float, *, oscillator: float | None = None, seed: int | None = None
) -> tuple[Configurations, Any]:
    """Simulate a system at a temperature.

    Parameters
    ----------
    name : str
        One of `SYSTEMS`.
    n : int
        Number of configurations.
    temperature : float
        Reduced for clusters, in kelvin for the peptide.
    oscillator : float, optional
        Strength of the trap of a cluster.
    seed : int, optional
        Makes the result reproducible.

    Returns
    -------
    configurations : Configurations
        Ready to be written, with their energies in double precision; those of `dataset` are of the
        simulation, in single precision.
    dataset : ParticleDataset
        With the card and what the simulation says about its convergence.

    Raises
    ------
    ValueError
        For a system that is not known, or settings that it does not have.
    ImportError
        If the peptide's OpenMM is not installed.
    """
    system = _system(name)
    if system.oscillator is None and oscillator is not None:
        raise ValueError(f"{name} has no trap; leave the oscillator out")
    strength = system.oscillator if oscillator is None else oscillator
    dataset = _make(name, n, temperature, strength, seed)
    # Differences of large energies matter: those of the simulation, in single precision, are too coarse.
    energies = energies_of(dataset.energy, dataset.configurations).cpu().numpy()
    return Configurations(
        configurations=dataset.configurations, energies=energies, forces=dataset.forces,
        temperature=dataset.temperature, units=dataset.units, length_unit=dataset.length_unit,
        atom_types=dataset.atom_types, bonds=dataset.bonds, names=dataset.names, system=name,
        oscillator=strength,
    ), dataset  # fmt: skip


def system_energy(name: str | None, oscillator: float | None = None) -> EnergyFunction | None:
    """Return the energy function of a system, None where it is not one that is known here.

    Parameters
    ----------
    name : str or None
        As a file of configurations says it.
    oscillator : float, optional
        Strength of the trap of a cluster.

    Returns
    -------
    callable or None
        From configurations ``(batch, atoms, dimensions)`` to energies ``(batch,)``.

    Raises
    ------
    ImportError
        If the peptide's OpenMM is not installed.
    """
    if name == "alanine-dipeptide":
        return _peptide_energy()
    if name not in SYSTEMS:
        return None
    from sciffusion.datasets import DoubleWell, LennardJones

    strength = SYSTEMS[name].oscillator if oscillator is None else oscillator
    kind: Any = {"dw4": DoubleWell, "lj13": LennardJones}[name]
    found: EnergyFunction = kind(oscillator=strength)
    return found


def _peptide_energy() -> EnergyFunction:
    optional_import("openmm", "boltzmann")
    from sciffusion.datasets.alanine_dipeptide_system import alanine_dipeptide_system
    from sciffusion.datasets.molecular_mechanics import MolecularMechanics

    mechanics = MolecularMechanics.from_openmm(alanine_dipeptide_system()).double()

    def energy(configurations: Tensor) -> Tensor:
        found: Tensor = mechanics.to(configurations.device)(configurations.double())
        return found

    return energy


def element_names(content: Configurations) -> list[str] | None:
    """Return names of atoms that viewers know, None for particles of no element.

    The first letter of an atom of a peptide is its element: "CA" is a carbon and no calcium.
    """
    if content.names is None or content.length_unit == "reduced":
        return None
    return [next((letter for letter in name if letter.isalpha()), "X").upper() for name in content.names]


def _system(name: str) -> System:
    if name not in SYSTEMS:
        raise ValueError(f"there is no system {name!r}; expected one of {', '.join(SYSTEMS)}")
    return SYSTEMS[name]


def _make(name: str, n: int, temperature: float, strength: float | None, seed: int | None) -> Any:
    from sciffusion import datasets

    if name == "alanine-dipeptide":
        return datasets.make_alanine_dipeptide(n, temperature, random_state=seed)
    function = datasets.make_dw4 if name == "dw4" else datasets.make_lj13
    return function(n, temperature, oscillator=0.0 if strength is None else strength, random_state=seed)
