"""The two engines that simulate alanine dipeptide, with one signature."""

from __future__ import annotations

import numpy as np
import torch

from .alanine_dipeptide_system import START, alanine_dipeptide_system, import_openmm, raised_masses
from .molecular_mechanics import MolecularMechanics
from .molecular_mechanics_dynamics import Replicas
from .particles_cache import Arrays

__all__ = ["openmm_chains", "too_long", "torch_chains"]

#: Steps between proposals of exchanges.
SWAP_EVERY = 50


def too_long(step: float) -> str:
    """Say that a step (fs) is too long."""
    return f"the simulation left the finite numbers: step {step} fs is too long for these masses"


def torch_chains(
    temperatures: tuple[float, ...],
    *,
    columns: int,
    frames: int,
    thinning: int,
    burn_in: int,
    step: float,
    friction: float,
    hydrogen_mass: float,
    compiled: bool,
    seed: int,
) -> Arrays:
    """Move ladders of replicas in one batch.

    Parameters
    ----------
    temperatures : tuple of float
        The ladder (K); states of the first are kept.
    columns, frames, thinning, burn_in : int
        Ladders, kept states of each, steps between them and before the first.
    step, friction, hydrogen_mass : float
        In fs, 1/ps and dalton.
    compiled : bool
        Whether torch compiles the forces.
    seed : int
        Of all draws.

    Returns
    -------
    dict of ndarray
        ``configurations`` and ``forces`` (frames, columns, 22, 3) and ``energies`` (frames, columns) of the
        first temperature, ``all_energies`` (temperatures, frames, columns), ``swap_rates``
        (temperatures - 1,).
    """
    mechanics = MolecularMechanics.from_openmm(alanine_dipeptide_system())
    masses = raised_masses(mechanics.masses.double().numpy(), hydrogen_mass)
    replicas = Replicas(
        mechanics, torch.from_numpy(START), temperatures=temperatures, columns=columns,
        masses=torch.from_numpy(masses), step=step / 1000.0, friction=friction, swap_every=SWAP_EVERY,
        generator=torch.Generator().manual_seed(seed), compiled=compiled,
    )  # fmt: skip
    replicas.run(burn_in)
    replicas.forget_swaps()
    shape = (frames, columns)
    positions, forces = np.empty((2, *shape, *START.shape), np.float32)
    energies = np.empty((len(temperatures), *shape), np.float32)
    for frame, state in enumerate(replicas.snapshots(frames, thinning)):
        positions[frame], forces[frame] = state.positions[0].numpy(), state.forces[0].numpy()
        energies[:, frame] = state.energies.numpy()
    return {
        "configurations": positions,
        "forces": forces,
        "energies": energies[0],
        "all_energies": energies,
        "swap_rates": replicas.swaps.rates(),
    }


def openmm_chains(
    temperatures: tuple[float, ...],
    *,
    columns: int,
    frames: int,
    thinning: int,
    burn_in: int,
    step: float,
    friction: float,
    hydrogen_mass: float,
    compiled: bool,
    seed: int,
) -> Arrays:
    """Move chains one after the other with OpenMM, on one thread; as `torch_chains`, at one temperature."""
    del compiled
    openmm = import_openmm()
    system = alanine_dipeptide_system()
    masses = [system.getParticleMass(atom)._value for atom in range(len(START))]
    for atom, mass in enumerate(raised_masses(np.array(masses), hydrogen_mass)):
        system.setParticleMass(atom, float(mass))
    integrator = openmm.LangevinMiddleIntegrator(temperatures[0], friction, step / 1000.0)
    # OpenMM takes 31 bits, of which 0 would mean a seed of its own.
    seeds = 1 + np.random.SeedSequence(seed).generate_state(columns + 1) % (2**31 - 1)
    integrator.setRandomNumberSeed(int(seeds[columns]))
    platform = openmm.Platform.getPlatformByName("CPU")
    context = openmm.Context(system, integrator, platform, {"Threads": "1"})
    shape = (frames, columns)
    positions, forces = np.empty((2, *shape, *START.shape), np.float32)
    energies = np.empty(shape, np.float32)
    try:
        for column in range(columns):
            context.setPositions(START)
            context.setVelocitiesToTemperature(temperatures[0], int(seeds[column]))
            integrator.step(burn_in)
            for frame in range(frames):
                integrator.step(thinning)
                state = context.getState(getPositions=True, getEnergy=True, getForces=True)
                place = state.getPositions(asNumpy=True)._value
                positions[frame, column] = place - place.mean(axis=0)
                forces[frame, column] = state.getForces(asNumpy=True)._value
                energies[frame, column] = state.getPotentialEnergy()._value
    except openmm.OpenMMException as error:
        if "nan" not in str(error).lower():
            raise
        raise FloatingPointError(too_long(step)) from error
    return {
        "configurations": positions,
        "forces": forces,
        "energies": energies,
        "all_energies": energies[None],
        "swap_rates": np.empty(0),
    }
