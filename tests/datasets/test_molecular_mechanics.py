"""The batched force field against OpenMM's Reference platform, against autograd, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sciffusion.datasets.alanine_dipeptide_system import START, alanine_dipeptide_system
from sciffusion.datasets.molecular_mechanics import MolecularMechanics

openmm = pytest.importorskip("openmm")


def _reference(system: Any, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    integrator = openmm.VerletIntegrator(0.001)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    energies, forces = [], []
    for one in positions:
        context.setPositions(one)
        state = context.getState(getEnergy=True, getForces=True)
        energies.append(state.getPotentialEnergy()._value)
        forces.append(state.getForces(asNumpy=True)._value)
    return np.array(energies), np.array(forces)


def _thermal(system: Any, count: int, temperature: float = 600.0) -> np.ndarray:
    """Run a little dynamics, with other seeds for other runs of OpenMM left out."""
    integrator = openmm.LangevinMiddleIntegrator(temperature, 10.0, 0.001)
    integrator.setRandomNumberSeed(7)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(START)
    context.setVelocitiesToTemperature(temperature, 3)
    found = []
    for _ in range(count):
        integrator.step(60)
        found.append(context.getState(getPositions=True).getPositions(asNumpy=True)._value)
    return np.array(found)


@pytest.fixture(scope="module")
def system() -> Any:
    return alanine_dipeptide_system()


@pytest.fixture(scope="module")
def positions(system: Any) -> np.ndarray:
    return _thermal(system, 6)


@pytest.fixture(scope="module")
def mechanics(system: Any) -> MolecularMechanics:
    return MolecularMechanics.from_openmm(system).double()


def _random_system(seed: int, atoms: int = 9) -> Any:
    """Give a molecule that does not exist: every number of the force field is drawn, phases included."""
    draw = np.random.default_rng(seed)
    system = openmm.System()
    bonds, angles = openmm.HarmonicBondForce(), openmm.HarmonicAngleForce()
    torsions, pairs = openmm.PeriodicTorsionForce(), openmm.NonbondedForce()
    solvent = openmm.GBSAOBCForce()
    solvent.setSoluteDielectric(1.7)
    solvent.setSolventDielectric(31.0)
    solvent.setSurfaceAreaEnergy(5.0)
    for _ in range(atoms):
        system.addParticle(draw.uniform(1.0, 16.0))
        charge = draw.normal()
        pairs.addParticle(charge, draw.uniform(0.1, 0.2), draw.uniform(0.0, 1.0))
        solvent.addParticle(charge + 0.1, draw.uniform(0.1, 0.2), draw.uniform(0.7, 0.9))
    for _ in range(6):
        one, two, three, four = (int(place) for place in draw.choice(atoms, 4, replace=False))
        bonds.addBond(one, two, draw.uniform(0.1, 0.2), draw.uniform(10.0, 1e4))
        angles.addAngle(one, two, three, draw.uniform(1.0, 2.5), draw.uniform(10.0, 500.0))
        for order in (1, 2, 5):
            torsions.addTorsion(one, two, three, four, order, draw.uniform(-3.0, 3.0), draw.normal())
        pairs.addException(one, four, draw.normal(), 0.15, 0.4, replace=True)
        pairs.addException(one, two, 0.0, 0.1, 0.0, replace=True)
    for force in (bonds, angles, torsions, pairs, solvent, openmm.CMMotionRemover()):
        system.addForce(force)
    return system


def test_energies_and_forces_are_those_of_openmm(
    system: Any, positions: np.ndarray, mechanics: MolecularMechanics
) -> None:
    energies, forces = _reference(system, positions)
    found_energies, found_forces = mechanics.energy_and_forces(torch.from_numpy(positions))
    np.testing.assert_allclose(found_energies.numpy(), energies, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(found_forces.numpy(), forces, rtol=1e-5, atol=1e-2)
    np.testing.assert_allclose(mechanics(torch.from_numpy(positions)).numpy(), found_energies.numpy())


@pytest.mark.parametrize("seed", range(4))
def test_any_numbers_of_a_force_field_are_read(seed: int) -> None:
    system = _random_system(seed)
    draw = np.random.default_rng(100 + seed)
    # Spheres that touch, that overlap and that swallow each other all occur.
    grid = 0.13 * np.stack(np.unravel_index(np.arange(9), (3, 3, 1)), axis=1)
    positions = grid + draw.normal(scale=0.04, size=(5, 9, 3))
    energies, forces = _reference(system, positions)
    mechanics = MolecularMechanics.from_openmm(system).double()
    found_energies, found_forces = mechanics.energy_and_forces(torch.from_numpy(positions))
    np.testing.assert_allclose(found_energies.numpy(), energies, rtol=1e-5)
    np.testing.assert_allclose(found_forces.numpy(), forces, rtol=1e-5, atol=1e-5 * np.abs(forces).max())


def test_atoms_inside_the_scaled_sphere_of_another_are_descreened_as_in_openmm() -> None:
    # A proton deep in a heavy atom's sphere: the integral begins on the far side, and a constant is added.
    system, solvent = openmm.System(), openmm.GBSAOBCForce()
    radii, scales = np.array([0.25, 0.1, 0.15]), np.array([0.95, 0.8, 0.7])
    for charge, radius, scale in zip((0.4, -0.7, 0.3), radii, scales, strict=True):
        system.addParticle(1.0)
        solvent.addParticle(charge, radius, scale)
    system.addForce(solvent)
    base = np.array([[0.0, 0.0, 0.0], [0.05, 0.0, 0.0], [0.0, 0.3, 0.0]])
    positions = base + np.random.default_rng(0).normal(scale=0.01, size=(4, 3, 3))
    apart = np.linalg.norm(positions[:, 0] - positions[:, 1], axis=1)
    reduced = radii - 0.009
    assert (scales[0] * reduced[0] - apart > reduced[1]).all()
    energies, forces = _reference(system, positions)
    mechanics = MolecularMechanics.from_openmm(system).double()
    found, slopes = mechanics.energy_and_forces(torch.from_numpy(positions))
    np.testing.assert_allclose(found.numpy(), energies, rtol=1e-5)
    np.testing.assert_allclose(slopes.numpy(), forces, rtol=1e-4, atol=1e-4 * np.abs(forces).max())


def test_written_out_forces_are_the_gradient(positions: np.ndarray, mechanics: MolecularMechanics) -> None:
    x = torch.from_numpy(positions).requires_grad_()
    (gradient,) = torch.autograd.grad(mechanics(x).sum(), x)
    _, forces = mechanics.energy_and_forces(x)
    torch.testing.assert_close(-gradient, forces, rtol=1e-9, atol=1e-7)


def test_second_derivatives_are_those_of_the_forces(
    positions: np.ndarray, mechanics: MolecularMechanics
) -> None:
    x = torch.from_numpy(positions[:2]).requires_grad_()
    probe = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
    (gradient,) = torch.autograd.grad(mechanics(x).sum(), x, create_graph=True)
    (product,) = torch.autograd.grad(gradient, x, probe)
    step = 1e-6
    ends = [mechanics.energy_and_forces(x.detach() + sign * step * probe)[1] for sign in (1.0, -1.0)]
    torch.testing.assert_close(product, -(ends[0] - ends[1]) / (2 * step), rtol=1e-5, atol=1e-1)


def test_single_precision_keeps_the_energies(positions: np.ndarray, mechanics: MolecularMechanics) -> None:
    single = MolecularMechanics.from_openmm(alanine_dipeptide_system())
    exact = mechanics(torch.from_numpy(positions))
    found = single(torch.from_numpy(positions).float())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact, rtol=0.0, atol=2e-3)


def _with(system: Any, change: str) -> Any:
    if change == "constraint":
        system.addConstraint(0, 1, 0.1)
    elif change == "force":
        system.addForce(openmm.CustomExternalForce("x"))
    elif change == "twice":
        system.addForce(openmm.HarmonicBondForce())
    else:
        for force in system.getForces():
            if isinstance(force, openmm.NonbondedForce):
                force.setNonbondedMethod(force.CutoffNonPeriodic)
    return system


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("constraint", "1 constraints.*constraints=None"),
        ("force", "CustomExternalForce"),
        ("twice", "HarmonicBondForce too many"),
        ("cutoff", "NonbondedForce has a cutoff"),
    ],
)
def test_what_is_not_read_is_refused(change: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        MolecularMechanics.from_openmm(_with(alanine_dipeptide_system(), change))


def test_another_shape_is_refused(mechanics: MolecularMechanics) -> None:
    wrong: Tensor = torch.zeros(4, 21, 3, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"\(4, 21, 3\), expected \(batch, 22, 3\)"):
        mechanics(wrong)
