r"""Clusters drawn from their Boltzmann law: DW-4 and LJ-13.

Configurations come from Langevin dynamics with replica exchange (see `replica_exchange`) on a ladder of
temperatures that begins at the one asked for: chains that are caught at a low temperature are freed at a high
one. The law :math:`e^{-E(x) / T}` is the same for clusters that are turned, mirrored or renumbered, but
dynamics visits these copies slowly; kept states are therefore turned and mirrored by a uniform random
orthogonal matrix and renumbered by a uniform random permutation, which changes neither law nor energies.
"""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .particles_cache import Arrays, cached_arrays
from .particles_cards import DW4, LJ13, ParticleCard
from .particles_checks import check_count, check_number, check_numbers, check_seed
from .particles_dataset import ParticleDataset
from .particles_systems import DoubleWell, LennardJones

if TYPE_CHECKING:
    from .replica_exchange import ExchangeSettings, ReplicaTrajectories

__all__ = ["make_dw4", "make_lj13", "temperature_ladder", "turned_and_renumbered"]

RandomState = int | np.random.RandomState | None
FloatArray = NDArray[np.float32]

#: Part of the key of the cache: to be raised by whoever changes what a seed gives.
VERSION = 1
DW4_LADDER = (1.0, 1.5, 2.0)
LJ13_LADDER = (0.4, 0.47, 0.55, 0.65, 0.78, 0.95, 1.2, 1.5, 2.0)
#: The least ratio of neighbours when a temperature is put into a ladder, and the greatest below its rungs.
CLOSEST, EXTENSION = 1.08, 1.17
#: Fewer states than this in a chain tell nothing about its convergence.
FEWEST_FRAMES = 64
WARNING_R_HAT = 1.1


def make_dw4(
    n: int = 2000,
    temperature: float = 1.0,
    *,
    oscillator: float = 0.0,
    temperatures: Sequence[float] | None = None,
    columns: int = 32,
    thinning: int = 100,
    burn_in: int = 2000,
    shuffle: bool = True,
    cache: bool = True,
    folder: str | os.PathLike[str] | None = None,
    random_state: RandomState = None,
) -> ParticleDataset:
    r"""Draw four particles in the plane that are joined in pairs by double wells (DW-4).

    .. math:: E(x) = \sum_{i<j} (-4 y_{ij}^2 + 0.9 y_{ij}^4) + \tfrac k2 \sum_i |x_i - \bar x|^2,
       \qquad y_{ij} = |x_i - x_j| - 4 .

    Parameters
    ----------
    n : int >= 1
        Number of configurations.
    temperature : float > 0
        In reduced units. Mean energies are about -22.5 at 1, -20.8 at 1.5 and -19.4 at 2.
    oscillator : float >= 0
        Strength k of a harmonic trap around the centre of mass.
    temperatures : sequence of float, optional
        Ladder for the exchange, rising, with `temperature` in it; by default from `temperature` to 2.
    columns : int >= 2
        Independent chains at each temperature.
    thinning : int >= 1
        Steps of 0.01 from one kept state to the next.
    burn_in : int >= 0
        Steps before the first.
    shuffle : bool
        Turn, mirror and renumber the configurations and mix their order at random, which the law allows; if
        False rows are as simulated, all chains of a frame after each other.
    cache : bool
        Keep the set on disk and find it again; only where `random_state` is an integer.
    folder : path or None
        Cache folder, see :func:`data_home`.
    random_state : int, RandomState or None
        Seed of all draws.

    Returns
    -------
    ParticleDataset
        In reduced units, centres of mass at the origin. `diagnostics` holds ``temperatures``, and over them
        ``swap_rates`` (between neighbours), ``r_hat`` and ``mean_energies``; ``effective_size``, the number
        of independent draws whose mean energy would have this set's error; ``cpu_seconds`` of the simulation.

    Raises
    ------
    ValueError, TypeError, FloatingPointError
        Naming the argument that cannot be used; if the simulation diverged.

    Warns
    -----
    UserWarning
        If R-hat of the energy at `temperature` is above 1.1.

    Notes
    -----
    At least 64 states of each chain are simulated, also for small `n`. The defaults take about a second.
    """
    system = DoubleWell(oscillator=check_number("oscillator", oscillator, positive=False))
    ladder = _ladder(temperature, temperatures, DW4_LADDER)
    plan = _Plan("dw4", n, float(temperature), ladder, columns, thinning, burn_in, 20, shuffle)
    return _make(system, DW4, plan, random_state, cache, folder)


def make_lj13(
    n: int = 2000,
    temperature: float = 1.0,
    *,
    oscillator: float = 1.0,
    temperatures: Sequence[float] | None = None,
    columns: int = 32,
    thinning: int = 100,
    burn_in: int = 4000,
    shuffle: bool = True,
    cache: bool = True,
    folder: str | os.PathLike[str] | None = None,
    random_state: RandomState = None,
) -> ParticleDataset:
    r"""Draw thirteen Lennard-Jones particles in a harmonic trap (LJ-13).

    .. math:: E(x) = \sum_{i<j} (d_{ij}^{-12} - 2 d_{ij}^{-6}) + \tfrac k2 \sum_i |x_i - \bar x|^2,
       \qquad d_{ij} = |x_i - x_j| .

    Parameters
    ----------
    n : int >= 1
        Number of configurations.
    temperature : float > 0
        In reduced units. Mean energies are about -24.6 at 0.4, 0.5 at 1 and 31 at 2.
    oscillator : float > 0
        Strength k of the trap around the centre of mass.
    temperatures : sequence of float, optional
        Ladder for the exchange, rising, with `temperature` in it; by default from `temperature` to 2, with up
        to nine rungs. With four rungs from 0.4 to 2 one exchange in twenty is accepted, far too few.
    columns, thinning, burn_in, shuffle, cache, folder, random_state
        As in :func:`make_dw4`.

    Returns
    -------
    ParticleDataset
        As of :func:`make_dw4`.

    Raises
    ------
    ValueError, TypeError, FloatingPointError
        As of :func:`make_dw4`.

    Warns
    -----
    UserWarning
        If R-hat of the energy at `temperature` is above 1.1.

    Notes
    -----
    The defaults take about four seconds at temperature 0.4, less where the ladder is shorter.
    """
    strength = check_number("oscillator", oscillator, positive=False)
    if not strength > 0.0:
        raise ValueError(
            f"oscillator is {oscillator}, expected a number above 0: particles evaporate without"
        )
    system = LennardJones(oscillator=strength)
    ladder = _ladder(temperature, temperatures, LJ13_LADDER)
    plan = _Plan("lj13", n, float(temperature), ladder, columns, thinning, burn_in, 10, shuffle)
    return _make(system, LJ13, plan, random_state, cache, folder)


def temperature_ladder(temperature: float, rungs: Sequence[float]) -> tuple[float, ...]:
    """Return the ladder that begins at a temperature and goes on by those rungs that are well above it.

    Below the lowest rung the ladder is extended by factors of at most 1.17.

    Raises
    ------
    ValueError
        If the temperature is not a finite number above 0.
    """
    temperature = check_number("temperature", temperature)
    above = [float(rung) for rung in rungs if rung >= CLOSEST * temperature]
    gap = math.log(above[0] / temperature) if above and temperature < rungs[0] else 0.0
    steps = max(1, math.ceil(gap / math.log(EXTENSION)))
    added = [temperature * math.exp(gap * step / steps) for step in range(1, steps)]
    return (temperature, *added, *above)


def _ladder(temperature: float, given: Sequence[float] | None, rungs: Sequence[float]) -> tuple[float, ...]:
    check_number("temperature", temperature)
    return temperature_ladder(temperature, rungs) if given is None else check_numbers("temperatures", given)


def turned_and_renumbered(
    configurations: FloatArray, forces: FloatArray, generator: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Apply a random symmetry of like particles to each configuration (n, atoms, dimensions) and its forces.

    A uniform orthogonal matrix, mirror images among them, and a uniform permutation of the particles.
    """
    batch, atoms, dimensions = configurations.shape
    turns, upper = np.linalg.qr(generator.standard_normal((batch, dimensions, dimensions)))
    turns *= np.sign(np.diagonal(upper, axis1=1, axis2=2))[:, None, :]  # makes the law uniform
    orders = generator.random((batch, atoms)).argsort(axis=1)[:, :, None]
    moved = [np.take_along_axis(array @ turns, orders, axis=1) for array in (configurations, forces)]
    return moved[0].astype(np.float32), moved[1].astype(np.float32)


@dataclass(frozen=True)
class _Plan:
    """Everything that decides a set besides the system and the seed."""

    name: str
    n: int
    temperature: float
    temperatures: tuple[float, ...]
    columns: int
    thinning: int
    burn_in: int
    swap_every: int
    shuffle: bool

    def __post_init__(self) -> None:
        for name, low in {"n": 1, "columns": 2, "thinning": 1, "burn_in": 0}.items():
            object.__setattr__(self, name, check_count(name, getattr(self, name), low))
        if self.temperature not in self.temperatures:
            raise ValueError(
                f"temperatures is {list(self.temperatures)}, expected temperature = {self.temperature} in it"
            )

    def settings(self) -> ExchangeSettings:
        from .replica_exchange import ExchangeSettings

        frames = max(FEWEST_FRAMES, math.ceil(self.n / self.columns))
        return ExchangeSettings(
            self.temperatures, self.columns, frames, self.thinning, self.burn_in, self.swap_every
        )


def _make(
    system: DoubleWell | LennardJones,
    card: ParticleCard,
    plan: _Plan,
    random_state: RandomState,
    cache: bool,
    folder: str | os.PathLike[str] | None,
) -> ParticleDataset:
    settings = plan.settings()
    seed, chosen = check_seed(random_state)
    key = {**asdict(plan), "system": asdict(system), "seed": seed, "version": VERSION}

    def simulate() -> Arrays:
        return _simulate(system, plan, settings, seed)

    kept = cache and chosen
    arrays = cached_arrays(plan.name, key, simulate, folder=folder) if kept else simulate()
    fields = ("configurations", "energies", "forces")
    diagnostics: dict[str, object] = {name: value for name, value in arrays.items() if name not in fields}
    diagnostics |= {name: float(arrays[name]) for name in ("effective_size", "cpu_seconds")}
    _warn_of_chains(plan, arrays["r_hat"])
    return ParticleDataset(
        configurations=arrays["configurations"],
        energies=arrays["energies"],
        forces=arrays["forces"],
        temperature=plan.temperature,
        units="reduced",
        length_unit="reduced",
        atom_types=np.zeros(system.n, dtype=np.int64),
        bonds=np.zeros((0, 2), dtype=np.int64),
        names=tuple(f"P{number}" for number in range(1, system.n + 1)),
        energy=system,
        card=card,
        diagnostics=diagnostics,
    )


def _simulate(
    system: DoubleWell | LennardJones, plan: _Plan, settings: ExchangeSettings, seed: int
) -> Arrays:
    import torch

    from .replica_exchange import run_replica_exchange

    place, start = plan.temperatures.index(plan.temperature), time.process_time()
    found = run_replica_exchange(
        system, settings, keep=[place], generator=torch.Generator().manual_seed(seed)
    )
    seconds = np.array(time.process_time() - start)
    return {
        **_rows(system, plan, found, place, seed),
        **_diagnostics(plan, found, place),
        "cpu_seconds": seconds,
    }


def _rows(
    system: DoubleWell | LennardJones, plan: _Plan, found: ReplicaTrajectories, place: int, seed: int
) -> Arrays:
    size = (-1, system.n, system.dimensions)
    configurations, forces = found.configurations[0].reshape(size), found.forces[0].reshape(size)
    energies = found.energies[place].reshape(-1).astype(np.float64)
    if plan.shuffle:
        generator = np.random.default_rng(seed)
        chosen = generator.permutation(len(energies))[: plan.n]
        configurations, forces = turned_and_renumbered(configurations[chosen], forces[chosen], generator)
        energies = energies[chosen]
    return {
        "configurations": configurations[: plan.n],
        "energies": energies[: plan.n],
        "forces": forces[: plan.n],
    }


def _diagnostics(plan: _Plan, found: ReplicaTrajectories, place: int) -> Arrays:
    from .chain_diagnostics import effective_rows

    return {
        "temperatures": np.array(found.temperatures),
        "swap_rates": found.swap_rates,
        "r_hat": found.r_hat,
        "mean_energies": found.energies.mean(axis=(1, 2), dtype=np.float64),
        "effective_size": np.array(effective_rows(found.energies[place], plan.n)),
    }


def _warn_of_chains(plan: _Plan, r_hat: NDArray[np.float64]) -> None:
    worst = float(r_hat[plan.temperatures.index(plan.temperature)])
    if worst > WARNING_R_HAT:
        warnings.warn(
            f"R-hat of the energy at temperature {plan.temperature:g} is {worst:.3f}, above {WARNING_R_HAT}: "
            "the chains do not agree yet. Remedy: longer chains (thinning, n), a longer burn_in, or a ladder "
            "with more temperatures",
            UserWarning,
            stacklevel=4,
        )
