r"""Langevin dynamics at many temperatures at once, with exchange of replicas between neighbours.

*BAOAB*, one step of length :math:`h` with mass 1 and friction :math:`\gamma`:

.. math::

    v \leftarrow v + \tfrac h2 F, \quad x \leftarrow x + \tfrac h2 v, \quad
    v \leftarrow e^{-\gamma h} v + \sqrt{1 - e^{-2 \gamma h}} \sqrt T z, \quad
    x \leftarrow x + \tfrac h2 v, \quad v \leftarrow v + \tfrac h2 F .

Centre of mass and its velocity are 0: start and noise are projected, and forces between pairs keep it so. In
a harmonic well the positions have the exact law at every :math:`h`.

*Exchange.* Each *column* has one replica at every temperature of a ladder, and columns are independent of
each other. After every `swap_every` steps neighbours propose to change places (see `replica_swaps`);
velocities are rescaled by :math:`\sqrt{T_\text{new} / T_\text{old}}`.

Source: Leimkuhler and Matthews, *Rational construction of stochastic numerical methods for molecular
sampling*, arXiv 1203.5428.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .chain_diagnostics import split_r_hat
from .particles_checks import check_count, check_number, check_numbers
from .replica_swaps import SwapCount, exchange

__all__ = [
    "ExchangeSettings",
    "ReplicaTrajectories",
    "SimulatedSystem",
    "run_replica_exchange",
]

FloatArray = NDArray[np.float32]


class SimulatedSystem(Protocol):
    """What the simulation asks of a system: forces by hand and a place to start."""

    @property
    def n(self) -> int:
        """Number of particles."""
        ...

    @property
    def dimensions(self) -> int:
        """Coordinates of each."""
        ...

    def energy_and_forces(self, configurations: Tensor) -> tuple[Tensor, Tensor]:
        """Return energies (batch,) and forces (batch, n, dimensions)."""
        ...

    def grid(self) -> NDArray[np.float64]:
        """Return positions (n, dimensions) to start from."""
        ...


@dataclass(frozen=True)
class ExchangeSettings:
    """Length and steps of a simulation.

    Parameters
    ----------
    temperatures : sequence of float
        The ladder, rising strictly, all above 0.
    columns : int >= 1
        Independent ladders, all in one batch.
    frames : int >= 4
        States kept of every column and temperature.
    thinning : int >= 1
        Steps from one kept state to the next.
    burn_in : int >= 0
        Steps before the first.
    swap_every : int >= 1
        Steps from one proposal of exchanges to the next.
    step : float > 0
        Length h of a step in reduced time.
    friction : float > 0
        In units of inverse time.

    Raises
    ------
    ValueError
        Naming the setting that cannot be used.
    """

    temperatures: Sequence[float]
    columns: int = 32
    frames: int = 100
    thinning: int = 20
    burn_in: int = 2000
    swap_every: int = 10
    step: float = 0.01
    friction: float = 1.0

    def __post_init__(self) -> None:
        """Refuse settings that cannot be used."""
        lows = {"columns": 1, "frames": 4, "thinning": 1, "burn_in": 0, "swap_every": 1}
        for name, low in lows.items():
            object.__setattr__(self, name, check_count(name, getattr(self, name), low))
        for name in ("step", "friction"):
            check_number(name, getattr(self, name))
        ladder = list(check_numbers("temperatures", self.temperatures))
        rising = all(low < high for low, high in pairwise(ladder))
        if not ladder or not rising or not (ladder[0] > 0.0 and math.isfinite(ladder[-1])):
            raise ValueError(f"temperatures is {ladder}, expected finite numbers above 0, rising strictly")


@dataclass(frozen=True, eq=False)
class ReplicaTrajectories:
    """Kept states of a simulation with exchange.

    Parameters
    ----------
    temperatures : tuple of float
        The ladder.
    kept : tuple of int
        Places in the ladder whose states were kept.
    configurations, forces : ndarray of shape (kept, frames, columns, n, dimensions)
        Float32, centre of mass at the origin.
    energies : ndarray of shape (temperatures, frames, columns)
        Float32, of every temperature.
    swap_rates : ndarray of shape (temperatures - 1,)
        Share of accepted exchanges between neighbours, after the burn-in; NaN where none was proposed.
    """

    temperatures: tuple[float, ...]
    kept: tuple[int, ...]
    configurations: FloatArray
    forces: FloatArray
    energies: FloatArray
    swap_rates: NDArray[np.float64]

    @property
    def r_hat(self) -> NDArray[np.float64]:
        """Split R-hat of the energy at every temperature."""
        return np.array([split_r_hat(series) for series in self.energies])


class _Simulation:
    """States of all temperatures and columns, stored as (dimensions, n, temperatures * columns)."""

    def __init__(
        self, system: SimulatedSystem, settings: ExchangeSettings, generator: torch.Generator
    ) -> None:
        self.system, self.settings, self.generator = system, settings, generator
        ladder = torch.tensor(list(settings.temperatures), device=generator.device)
        self.shape = (len(ladder), settings.columns)
        self.ladder = ladder
        self.spread = ladder.sqrt().repeat_interleave(settings.columns)
        grid = torch.tensor(system.grid().T.copy(), dtype=ladder.dtype, device=generator.device)
        self.positions = grid[:, :, None] + 0.05 * self._noise()
        self.velocities = self.spread * self._noise()
        self._update_forces()

    def _noise(self) -> Tensor:
        """Draw standard normal numbers with the mean of each configuration removed."""
        batch = self.shape[0] * self.shape[1]
        size = (self.system.dimensions, self.system.n, batch)
        noise = torch.randn(size, generator=self.generator, device=self.ladder.device)
        return noise.sub_(noise.mean(dim=1, keepdim=True))

    def _update_forces(self) -> None:
        energies, forces = self.system.energy_and_forces(self.positions.permute(2, 1, 0))
        self.energies, self.forces = energies, forces.permute(2, 1, 0)

    def advance(self, steps: int) -> None:
        """Make so many steps at constant temperatures."""
        half, friction = 0.5 * self.settings.step, self.settings.friction
        keep = math.exp(-friction * self.settings.step)
        noise_scale = math.sqrt(-math.expm1(-2.0 * friction * self.settings.step)) * self.spread
        for _ in range(steps):
            self.velocities.add_(self.forces, alpha=half)
            self.positions.add_(self.velocities, alpha=half)
            self.velocities.mul_(keep).addcmul_(self._noise(), noise_scale)
            self.positions.add_(self.velocities, alpha=half)
            self._update_forces()
            self.velocities.add_(self.forces, alpha=half)

    def swap(self, parity: int) -> Tensor:
        """Propose exchanges; return which were accepted, (temperatures - 1, columns)."""
        temperatures, columns = self.shape
        energies = self.energies.reshape(temperatures, columns)
        sources, accepted = exchange(energies, self.ladder, parity, self.generator)
        order = (sources * columns + torch.arange(columns, device=sources.device)).reshape(-1)
        rescale = self.spread / self.spread[order]
        self.positions, self.forces = self.positions[..., order], self.forces[..., order]
        self.velocities, self.energies = self.velocities[..., order] * rescale, self.energies[order]
        return accepted

    def recentre(self) -> None:
        """Take out what rounding has moved the centre of mass."""
        self.positions.sub_(self.positions.mean(dim=1, keepdim=True))
        self.velocities.sub_(self.velocities.mean(dim=1, keepdim=True))

    def rows(self, values: Tensor, kept: Sequence[int]) -> FloatArray:
        """Return kept positions or forces as (kept, columns, n, dimensions)."""
        split = values.permute(2, 1, 0).reshape(*self.shape, self.system.n, self.system.dimensions)
        return split[list(kept)].float().cpu().numpy()


class _Record:
    """The kept states as they come."""

    def __init__(self, system: SimulatedSystem, settings: ExchangeSettings, kept: tuple[int, ...]) -> None:
        self.settings, self.kept, self.frame = settings, kept, 0
        shape = (len(kept), settings.frames, settings.columns, system.n, system.dimensions)
        self.positions, self.forces = np.empty(shape, np.float32), np.empty(shape, np.float32)
        self.energies = np.empty((len(settings.temperatures), settings.frames, settings.columns), np.float32)

    def add(self, simulation: _Simulation) -> None:
        self.positions[:, self.frame] = simulation.rows(simulation.positions, self.kept)
        self.forces[:, self.frame] = simulation.rows(simulation.forces, self.kept)
        self.energies[:, self.frame] = simulation.energies.reshape(simulation.shape).cpu().numpy()
        self.frame += 1

    def trajectories(self, swap_rates: NDArray[np.float64]) -> ReplicaTrajectories:
        if not np.isfinite(self.energies).all():
            raise FloatingPointError(
                "the simulation left the finite numbers: "
                f"step {self.settings.step} is too long for this system"
            )
        ladder = tuple(float(temperature) for temperature in self.settings.temperatures)
        return ReplicaTrajectories(ladder, self.kept, self.positions, self.forces, self.energies, swap_rates)


def _segments(settings: ExchangeSettings) -> Iterator[tuple[int, bool, bool]]:
    """Yield (steps, whether an exchange follows, whether a state is kept then) until all frames are there."""
    total = settings.burn_in + settings.frames * settings.thinning
    done = 0
    while done < total:
        to_swap = settings.swap_every - done % settings.swap_every
        past = done - settings.burn_in
        to_frame = -past if past < 0 else settings.thinning - past % settings.thinning
        steps = min(to_swap, to_frame)
        done += steps
        framed = done > settings.burn_in and (done - settings.burn_in) % settings.thinning == 0
        yield steps, steps == to_swap, framed


def run_replica_exchange(
    system: SimulatedSystem,
    settings: ExchangeSettings,
    *,
    keep: Sequence[int] | None = None,
    generator: torch.Generator,
) -> ReplicaTrajectories:
    """Simulate all temperatures with exchange, from a grid with a jitter of 0.05.

    Parameters
    ----------
    system : SimulatedSystem
        Energies, forces and the grid.
    settings : ExchangeSettings
        Ladder, lengths and steps.
    keep : sequence of int or None
        Places in the ladder whose states are kept; None keeps all.
    generator : torch.Generator
        Of all draws; its device is that of the simulation.

    Returns
    -------
    ReplicaTrajectories
        Kept states, energies of all temperatures, rates of exchange and R-hat.

    Raises
    ------
    FloatingPointError
        If the dynamics left the finite numbers, as with too long a step.
    """
    places = tuple(range(len(settings.temperatures))) if keep is None else tuple(keep)
    record = _Record(system, settings, places)
    swaps, parity, after_burn_in = SwapCount(len(settings.temperatures)), 0, -settings.burn_in
    with torch.inference_mode():
        simulation = _Simulation(system, settings, generator)
        for steps, swapped, framed in _segments(settings):
            simulation.advance(steps)
            after_burn_in += steps
            if swapped and len(settings.temperatures) > 1:
                swaps.add(parity, simulation.swap(parity), after_burn_in > 0)
                parity = 1 - parity
            if framed:
                simulation.recentre()
                record.add(simulation)
    return record.trajectories(swaps.rates())
