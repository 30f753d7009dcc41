"""The energy of a molecule in a force field, for thousands of configurations at once, differentiable twice.

:class:`MolecularMechanics` reads the parameters of an OpenMM ``System`` and computes the same energy with
torch: harmonic bonds and angles and periodic torsions (``molecular_mechanics_bonded``), charges and
Lennard-Jones of all pairs with their exceptions, and the generalised Born solvent of Onufriev, Bashford and
Case with its surface term (``molecular_mechanics_pairs``). There is no cutoff and there are no constraints.
Lengths are nm, energies kJ/mol.

It serves three ends: energies of many configurations, potentials whose second derivatives are needed, and
simulations of many replicas of a small molecule, where one batch costs much less than its parts
(``molecular_mechanics_dynamics``).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .molecular_mechanics_bonded import Angles, Bonds, Torsions
from .molecular_mechanics_pairs import Pairs, Solvent
from .particles_checks import check_positions

__all__ = ["MolecularMechanics"]

_IGNORED = ("CMMotionRemover",)
_READ = ("HarmonicBondForce", "HarmonicAngleForce", "PeriodicTorsionForce", "NonbondedForce", "GBSAOBCForce")


class MolecularMechanics(nn.Module):
    """Energy of a molecule in a force field.

    Made by :meth:`from_openmm`. As a module it moves between devices and precisions with ``.to``.

    Parameters
    ----------
    masses : Tensor of shape (atoms,)
        Masses (dalton); no energy depends on them.
    terms : sequence of Module
        Each maps positions (3, atoms, batch) and whether a gradient is wanted to energies and gradients.
    """

    masses: Tensor

    def __init__(self, masses: Tensor, terms: list[nn.Module]) -> None:
        super().__init__()
        self.register_buffer("masses", masses)
        self.terms = nn.ModuleList(terms)

    @property
    def atoms(self) -> int:
        """Number of atoms."""
        return len(self.masses)

    @classmethod
    def from_openmm(cls, system: Any) -> MolecularMechanics:
        """Read the parameters of an ``openmm.System``.

        Parameters
        ----------
        system : openmm.System
            With harmonic bonds, harmonic angles, periodic torsions, a NonbondedForce without cutoff and a
            GBSAOBCForce without cutoff, at most one of each; removal of the centre of mass's motion is
            ignored.

        Returns
        -------
        MolecularMechanics
            In single precision; ``.double()`` gives double precision.

        Raises
        ------
        ValueError
            If the system has a force, a cutoff, an offset or a constraint that is not read here; the message
            says which.
        """
        forces = _forces_of(system)
        atoms = system.getNumParticles()
        masses = [system.getParticleMass(place)._value for place in range(atoms)]
        readers = {
            "HarmonicBondForce": _bonds,
            "HarmonicAngleForce": _angles,
            "PeriodicTorsionForce": _torsions,
        }
        terms: list[nn.Module] = [
            readers[name](force, atoms) for name, force in forces.items() if name in readers
        ]
        if "NonbondedForce" in forces or "GBSAOBCForce" in forces:
            terms.append(_pairs(forces.get("NonbondedForce"), forces.get("GBSAOBCForce"), atoms))
        return cls(torch.tensor(masses, dtype=torch.float64), terms).float()

    def forward(self, positions: Tensor) -> Tensor:
        """Give the energies of configurations, in a form that can be differentiated any number of times.

        Parameters
        ----------
        positions : Tensor of shape (batch, atoms, 3)
            In nm.

        Returns
        -------
        Tensor of shape (batch,)
            Energies in kJ/mol.

        Raises
        ------
        ValueError
            If the shape is another one.
        """
        self._check(positions)
        energy, _ = self.rows(positions.permute(2, 1, 0), gradient=False)
        return energy

    def energy_and_forces(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Give energies (batch,) and forces (batch, atoms, 3) in kJ/mol/nm, by written-out gradients.

        Three times cheaper than differentiating :meth:`forward`; the parameter and the error are its.
        """
        self._check(positions)
        with torch.no_grad():
            energy, gradient = self.rows(positions.permute(2, 1, 0).contiguous(), gradient=True)
        assert gradient is not None
        return energy, -gradient.permute(2, 1, 0).contiguous()

    def rows(self, positions: Tensor, *, gradient: bool) -> tuple[Tensor, Tensor | None]:
        """Give energies (batch,) and, if asked, gradients (3, atoms, batch) at positions of that shape."""
        found = [term(positions, gradient) for term in self.terms]
        energy = torch.stack([value for value, _ in found]).sum(0)
        if not gradient:
            return energy, None
        return energy, torch.stack([slope for _, slope in found]).sum(0)

    def _check(self, positions: Tensor) -> None:
        check_positions(positions)
        if positions.ndim != 3 or tuple(positions.shape[1:]) != (self.atoms, 3):
            raise ValueError(
                f"positions has shape {tuple(positions.shape)}, expected (batch, {self.atoms}, 3) in nm"
            )


def _forces_of(system: Any) -> dict[str, Any]:
    """Give the forces of a system by name, or refuse the system."""
    if system.getNumConstraints():
        raise ValueError(
            f"system has {system.getNumConstraints()} constraints, expected none: create it with "
            "constraints=None and rigidWater=False"
        )
    forces: dict[str, Any] = {}
    for force in system.getForces():
        name = type(force).__name__
        if name in _IGNORED:
            continue
        if name not in _READ or name in forces:
            raise ValueError(f"system has a {name} too many, expected at most one each of {', '.join(_READ)}")
        if name in ("NonbondedForce", "GBSAOBCForce") and force.getNonbondedMethod() != force.NoCutoff:
            raise ValueError(f"the {name} has a cutoff, expected nonbondedMethod=NoCutoff")
        forces[name] = force
    nonbonded = forces.get("NonbondedForce")
    if nonbonded is not None:
        offsets = nonbonded.getNumParticleParameterOffsets() + nonbonded.getNumExceptionParameterOffsets()
        if offsets:
            raise ValueError(f"the NonbondedForce has {offsets} parameter offsets, expected none")
    return forces


def _plain(values: Any) -> list[float]:
    """Give numbers without their units; OpenMM keeps nm, kJ/mol, radians and e inside."""
    return [getattr(value, "_value", value) for value in values]


def _table(rows: list[list[float]], places: int, columns: int) -> tuple[Tensor, Tensor]:
    table = np.array(rows, dtype=np.float64).reshape(len(rows), places + columns)
    return torch.tensor(table[:, :places].astype(np.int64)), torch.tensor(table[:, places:])


def _bonds(force: Any, atoms: int) -> nn.Module:
    rows = [_plain(force.getBondParameters(place)) for place in range(force.getNumBonds())]
    places, values = _table(rows, 2, 2)
    return Bonds(places, values[:, 0], values[:, 1], atoms)


def _angles(force: Any, atoms: int) -> nn.Module:
    rows = [_plain(force.getAngleParameters(place)) for place in range(force.getNumAngles())]
    places, values = _table(rows, 3, 2)
    return Angles(places, values[:, 0], values[:, 1], atoms)


def _torsions(force: Any, atoms: int) -> nn.Module:
    rows = [_plain(force.getTorsionParameters(place)) for place in range(force.getNumTorsions())]
    places, values = _table(rows, 4, 3)
    return Torsions(places, values[:, 0].long(), values[:, 1], values[:, 2], atoms)


def _pairs(nonbonded: Any | None, solvent: Any | None, atoms: int) -> nn.Module:
    first, second = torch.triu_indices(atoms, atoms, 1)
    charge, sigma, depth = np.zeros((3, atoms, atoms))
    if nonbonded is not None:
        own = np.array([_plain(nonbonded.getParticleParameters(place)) for place in range(atoms)])
        charge = own[:, None, 0] * own[None, :, 0]
        sigma = 0.5 * (own[:, None, 1] + own[None, :, 1])
        depth = np.sqrt(own[:, None, 2] * own[None, :, 2])
        for place in range(nonbonded.getNumExceptions()):
            one, other, *values = _plain(nonbonded.getExceptionParameters(place))
            for row, column in ((int(one), int(other)), (int(other), int(one))):
                charge[row, column], sigma[row, column], depth[row, column] = values
    at = (first.numpy(), second.numpy())
    products, diameters, depths = (torch.tensor(table[at]) for table in (charge, sigma, depth))
    implicit = _solvent(solvent, first, second, atoms)
    return Pairs(first, second, products, diameters, depths, atoms, implicit)


def _solvent(force: Any | None, first: Tensor, second: Tensor, atoms: int) -> Solvent | None:
    if force is None:
        return None
    rows = np.array([_plain(force.getParticleParameters(place)) for place in range(atoms)])
    charges, radii, scales = torch.tensor(rows.T.copy())
    return Solvent(
        charges,
        radii,
        scales,
        first,
        second,
        solute=force.getSoluteDielectric(),
        solvent=force.getSolventDielectric(),
        surface=_plain([force.getSurfaceAreaEnergy()])[0],
    )
