"""`ParticleDataset`: configurations of a system of particles at one temperature, with energies and forces."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .particles_cards import ParticleCard

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ParticleDataset"]

#: Boltzmann's constant by the unit of energy: 1 in reduced units, in kJ/mol/K otherwise (CODATA 2018).
BOLTZMANN = {"reduced": 1.0, "kJ/mol": 0.00831446261815324}
LENGTH_UNITS = ("reduced", "nm")


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class ParticleDataset:
    """Configurations drawn from the Boltzmann law ``exp(-energy / kT)`` of a system.

    Parameters
    ----------
    configurations : ndarray of shape (n, atoms, dimensions)
        Positions, float32, in `length_unit`.
    energies : ndarray of shape (n,)
        Potential energies, float64, in `units`.
    forces : ndarray of shape (n, atoms, dimensions)
        Minus the gradient of the energy, float32, in `units` by `length_unit`.
    temperature : float > 0
        In reduced units if `units` is "reduced" (then kT = temperature), else in kelvin.
    units : {"reduced", "kJ/mol"}
        Unit of energies.
    length_unit : {"reduced", "nm"}
        Unit of lengths.
    atom_types : ndarray of shape (atoms,)
        Whole numbers; particles of one type are alike.
    bonds : ndarray of shape (b, 2)
        Pairs of bonded atoms; empty for clusters.
    names : tuple of str
        Name of each atom.
    energy : callable
        From a tensor (batch, atoms, dimensions) to energies (batch,) in `units`; differentiable twice where
        the system allows it.
    card : ParticleCard
        What is known about the set.
    diagnostics : mapping
        What the sampler says about its own convergence.

    Raises
    ------
    ValueError
        Naming the field whose shape, unit or values do not fit.
    """

    configurations: NDArray[np.float32]
    energies: NDArray[np.float64]
    forces: NDArray[np.float32]
    temperature: float
    units: str
    length_unit: str
    atom_types: NDArray[np.int64]
    bonds: NDArray[np.int64]
    names: tuple[str, ...]
    energy: Callable[[Tensor], Tensor]
    card: ParticleCard
    diagnostics: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse arrays that do not belong together."""
        self._check_units()
        self._check_arrays()
        self._check_atoms()

    def _check_units(self) -> None:
        if self.units not in BOLTZMANN:
            raise ValueError(f"units is {self.units!r}, expected one of {list(BOLTZMANN)}")
        if self.length_unit not in LENGTH_UNITS:
            raise ValueError(f"length_unit is {self.length_unit!r}, expected one of {list(LENGTH_UNITS)}")
        if not (np.isfinite(self.temperature) and self.temperature > 0.0):
            raise ValueError(f"temperature is {self.temperature}, expected a finite number above 0")

    def _check_arrays(self) -> None:
        shape = self.configurations.shape
        if len(shape) != 3:
            raise ValueError(f"configurations has shape {shape}, expected (n, atoms, dimensions)")
        expected = {"configurations": shape, "energies": shape[:1], "forces": shape}
        for name, size in expected.items():
            array = getattr(self, name)
            if array.shape != size:
                raise ValueError(f"{name} has shape {array.shape}, expected {size}")
            if not np.isfinite(array).all():
                raise ValueError(f"{name} holds NaN or infinite values, expected finite numbers")

    def _check_atoms(self) -> None:
        atoms = self.configurations.shape[1]
        if self.atom_types.shape != (atoms,) or len(self.names) != atoms:
            raise ValueError(
                f"atom_types has shape {self.atom_types.shape} and there are {len(self.names)} names, "
                f"expected one of each for the {atoms} atoms"
            )
        bonds = self.bonds
        if bonds.ndim != 2 or bonds.shape[1] != 2:
            raise ValueError(f"bonds has shape {bonds.shape}, expected (b, 2)")
        if bonds.size and (bonds.min() < 0 or bonds.max() >= atoms or (bonds[:, 0] == bonds[:, 1]).any()):
            raise ValueError(f"bonds has to join different atoms numbered 0 to {atoms - 1}")

    def __len__(self) -> int:
        return len(self.configurations)

    @property
    def n_atoms(self) -> int:
        """Number of particles of a configuration."""
        return int(self.configurations.shape[1])

    @property
    def dimensions(self) -> int:
        """Number of coordinates of a particle."""
        return int(self.configurations.shape[2])

    @property
    def kT(self) -> float:  # noqa: N802 - the field's name
        """Thermal energy in `units`."""
        return BOLTZMANN[self.units] * self.temperature

    def __repr__(self) -> str:
        """Return name, size and temperature."""
        unit = "" if self.units == "reduced" else " K"
        return (
            f"ParticleDataset({self.card.name}: {len(self)} configurations of {self.n_atoms} particles in "
            f"{self.dimensions} dimensions at temperature {self.temperature:g}{unit})"
        )
