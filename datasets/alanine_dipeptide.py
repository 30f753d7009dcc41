r"""Alanine dipeptide drawn from its Boltzmann law at a temperature.

Two engines move the same molecule (``alanine_dipeptide_system``) by the same scheme: ``"torch"`` moves many
replicas in one batch and exchanges them between temperatures, ``"openmm"`` moves one chain after the other at
one temperature. The first is much faster for a molecule of this size and finds the rare basin
:math:`\phi > 0`, which single chains at 300 K enter about once in ten nanoseconds; the second is an
independent check of it.
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from .alanine_dipeptide_card import alanine_dipeptide_card
from .alanine_dipeptide_system import (
    ATOM_NAMES,
    ATOM_TYPES,
    BONDS,
    PHI,
    alanine_dipeptide_system,
    import_openmm,
)
from .chain_diagnostics import effective_rows, split_r_hat
from .particles_cache import Arrays, cached_arrays
from .particles_checks import check_count, check_number, check_positions, check_seed
from .particles_dataset import ParticleDataset

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from .molecular_mechanics import MolecularMechanics

__all__ = ["make_alanine_dipeptide"]

RandomState = int | np.random.RandomState | None

#: Part of the key of the cache: to be raised by whoever changes what a seed gives.
VERSION = 1
#: Up to this temperature (K) ladders go, by factors of at most RATIO.
HOTTEST, RATIO = 600.0, 1.19
FEWEST_FRAMES = 8
FIELDS = ("configurations", "energies", "forces")


def make_alanine_dipeptide(
    n: int = 2000,
    temperature: float = 300.0,
    *,
    engine: Literal["torch", "openmm"] = "torch",
    columns: int = 32,
    thinning: int = 500,
    burn_in: int = 50_000,
    step: float = 2.0,
    friction: float = 2.0,
    hydrogen_mass: float = 4.0,
    compiled: bool = False,
    shuffle: bool = True,
    cache: bool = True,
    folder: str | os.PathLike[str] | None = None,
    random_state: RandomState = None,
) -> ParticleDataset:
    """Draw configurations of alanine dipeptide in implicit water.

    Parameters
    ----------
    n : int >= 1
        Number of configurations.
    temperature : float
        In kelvin, above 0. Below 600 K the torch engine exchanges with a ladder up to 600 K.
    engine : {"torch", "openmm"}
        What simulates: replicas in one batch, or chains one after the other on OpenMM's platform "CPU".
    columns : int >= 2
        Independent ladders, or chains.
    thinning : int >= 1
        Steps from one kept state of a chain to the next; the default is a picosecond.
    burn_in : int >= 0
        Steps before the first; the default is 100 ps.
    step : float > 0
        In femtoseconds. No bias of the mean energy is found up to 2 fs (error 0.3 kJ/mol at 600 K).
    friction : float > 0
        In 1/ps.
    hydrogen_mass : float > 0
        In dalton.
    compiled : bool
        Whether torch compiles the forces of its engine: four times as fast, after half a minute, with a C++
        compiler.
    shuffle : bool
        Mix the order of the rows; if False rows are as simulated, all chains of a frame after each other.
    cache : bool
        Keep the set on disk and find it again; only where `random_state` is an integer.
    folder : path or None
        Cache folder, see :func:`data_home`.
    random_state : int, RandomState or None
        Seed of all draws.

    Returns
    -------
    ParticleDataset
        In kJ/mol and nm. `diagnostics` holds ``chain`` (n,), the chain of each row, which makes errors of
        means honest; ``temperatures`` and over them ``swap_rates`` (between neighbours), ``r_hat`` and
        ``mean_energies``; ``r_hat_phi`` of the sign of phi at `temperature`; ``effective_size``, the number
        of independent draws whose mean energy would have this set's error; ``cpu_seconds``.

    Raises
    ------
    ImportError
        If OpenMM is not installed.
    ValueError, TypeError, FloatingPointError
        Naming the argument that cannot be used; if the simulation diverged.

    Notes
    -----
    One core makes about 70 000 steps of a replica in a second with the torch engine (250 000 compiled).
    """
    plan = _Plan(
        n, temperature, engine, columns, thinning, burn_in, step, friction, hydrogen_mass, compiled, shuffle,
    )  # fmt: skip
    openmm = import_openmm()
    seed, chosen = check_seed(random_state)
    key = {**asdict(plan), "seed": seed, "version": VERSION, "openmm": openmm.__version__}

    def simulate() -> Arrays:
        return _simulate(plan, seed)

    kept = cache and chosen
    arrays = cached_arrays("alanine_dipeptide", key, simulate, folder=folder) if kept else simulate()
    return _dataset(plan, arrays, openmm.__version__)


@dataclass(frozen=True)
class _Plan:
    """Everything that decides a set besides the seed."""

    n: int
    temperature: float
    engine: str
    columns: int
    thinning: int
    burn_in: int
    step: float
    friction: float
    hydrogen_mass: float
    compiled: bool
    shuffle: bool

    def __post_init__(self) -> None:
        for name, low in {"n": 1, "columns": 2, "thinning": 1, "burn_in": 0}.items():
            object.__setattr__(self, name, check_count(name, getattr(self, name), low))
        for name in ("temperature", "step", "friction", "hydrogen_mass"):
            object.__setattr__(self, name, check_number(name, getattr(self, name)))
        if self.engine not in ("torch", "openmm"):
            raise ValueError(f"engine is {self.engine!r}, expected 'torch' or 'openmm'")

    @property
    def frames(self) -> int:
        """States kept of each chain."""
        return max(FEWEST_FRAMES, math.ceil(self.n / self.columns))

    @property
    def temperatures(self) -> tuple[float, ...]:
        """The ladder, from the temperature asked for."""
        if self.engine == "openmm" or self.temperature >= HOTTEST / RATIO**0.5:
            return (self.temperature,)
        gap = math.log(HOTTEST / self.temperature)
        steps = max(1, math.ceil(gap / math.log(RATIO) - 1e-6))
        return tuple(self.temperature * math.exp(gap * place / steps) for place in range(steps + 1))


def _simulate(plan: _Plan, seed: int) -> Arrays:
    from .alanine_dipeptide_chains import openmm_chains, too_long, torch_chains

    started = time.process_time()
    engine = torch_chains if plan.engine == "torch" else openmm_chains
    chains = engine(
        plan.temperatures, columns=plan.columns, frames=plan.frames, thinning=plan.thinning,
        burn_in=plan.burn_in, step=plan.step, friction=plan.friction, hydrogen_mass=plan.hydrogen_mass,
        compiled=plan.compiled, seed=seed,
    )  # fmt: skip
    seconds = time.process_time() - started
    if not np.isfinite(chains["all_energies"]).all():
        raise FloatingPointError(too_long(plan.step))
    energies = chains["all_energies"]
    positive = _dihedral(chains["configurations"].astype(np.float64), PHI) > 0.0
    return {
        **_rows(plan, chains, seed),
        "temperatures": np.array(plan.temperatures),
        "swap_rates": chains["swap_rates"],
        "r_hat": np.array([split_r_hat(series) for series in energies]),
        "r_hat_phi": np.array(split_r_hat(positive.astype(np.float64))),
        "mean_energies": energies.mean(axis=(1, 2), dtype=np.float64),
        "effective_size": np.array(effective_rows(energies[0], plan.n)),
        "cpu_seconds": np.array(seconds),
    }


def _rows(plan: _Plan, chains: Arrays, seed: int) -> Arrays:
    """Flatten (frames, columns, ...) and keep as many rows as were asked for."""
    count = plan.frames * plan.columns
    order = np.random.default_rng(seed).permutation(count) if plan.shuffle else np.arange(count)
    chosen = order[: plan.n]
    parts = {name: chains[name].reshape(count, *chains[name].shape[2:])[chosen] for name in FIELDS}
    parts["energies"] = parts["energies"].astype(np.float64)
    return parts | {"chain": np.tile(np.arange(plan.columns), plan.frames)[chosen]}


def _dihedral(positions: NDArray[np.float64], places: tuple[int, ...]) -> NDArray[np.float64]:
    one, two, three, four = (positions[..., place, :] for place in places)
    first, axis, last = two - one, three - two, four - three
    left, right = np.cross(first, axis), np.cross(axis, last)
    sine = np.linalg.norm(axis, axis=-1) * (first * right).sum(-1)
    angles: NDArray[np.float64] = np.arctan2(sine, (left * right).sum(-1))
    return angles


def _dataset(plan: _Plan, arrays: Arrays, version: str) -> ParticleDataset:
    diagnostics: dict[str, object] = {name: value for name, value in arrays.items() if name not in FIELDS}
    diagnostics |= {name: float(arrays[name]) for name in ("r_hat_phi", "effective_size", "cpu_seconds")}
    length = plan.frames * plan.columns * plan.thinning * plan.step * 1e-6
    return ParticleDataset(
        configurations=arrays["configurations"],
        energies=arrays["energies"],
        forces=arrays["forces"],
        temperature=plan.temperature,
        units="kJ/mol",
        length_unit="nm",
        atom_types=ATOM_TYPES,
        bonds=BONDS,
        names=ATOM_NAMES,
        energy=_Energy(),
        card=alanine_dipeptide_card(plan.engine, plan.temperature, plan.step, length, plan.columns, version),
        diagnostics=diagnostics,
    )


class _Energy:
    """The energy, whose tables are made at the first call and kept for each device and precision."""

    def __init__(self) -> None:
        self._made: dict[Any, MolecularMechanics] = {}

    def __call__(self, configurations: Tensor) -> Tensor:
        check_positions(configurations)
        key = (configurations.device, configurations.dtype)
        if key not in self._made:
            self._made[key] = _mechanics(*key)
        energies: Tensor = self._made[key](configurations)
        return energies


def _mechanics(device: torch.device, dtype: torch.dtype) -> MolecularMechanics:
    """Give the force field, with tables through which gradients pass wherever it is asked for first."""
    import torch

    from .molecular_mechanics import MolecularMechanics

    with torch.inference_mode(False):
        return MolecularMechanics.from_openmm(alanine_dipeptide_system()).to(device=device, dtype=dtype)
