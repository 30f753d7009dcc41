r"""Langevin dynamics of many replicas of one molecule, with exchange between temperatures.

With :math:`c = e^{-\gamma\delta}`, one step of length :math:`\delta` (ps) at friction :math:`\gamma`
(1/ps) is

.. math::

    v \leftarrow v + \delta F(x) / m, \quad x \leftarrow x + \tfrac\delta2 v, \quad
    v \leftarrow c v + \sqrt{(1 - c^2) kT / m}\, \xi, \quad x \leftarrow x + \tfrac\delta2 v,

the LFMiddle scheme: one force evaluation, and configurations that are exact for harmonic forces at any stable
step. Lengths are nm, masses dalton, energies kJ/mol; in these units the equations have no factors.

Replicas stand on a ladder of temperatures; every few steps neighbours may change places (``replica_swaps``)
and then have their velocities rescaled.

References
----------
Zhang, Liu, Yan, Tuckerman and Liu, *Unified efficient thermostat scheme for the canonical ensemble with
holonomic or isokinetic constraints via molecular dynamics*, Journal of Physical Chemistry A 123:6056-6079,
2019.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from .molecular_mechanics import MolecularMechanics
from .replica_swaps import SwapCount, exchange

__all__ = ["BOLTZMANN", "Replicas", "Snapshot"]

#: Boltzmann's constant in kJ/mol/K.
BOLTZMANN = 0.00831446261815324

Forces = Callable[[Tensor], tuple[Tensor, Tensor | None]]


@dataclass(frozen=True)
class Snapshot:
    """State of all replicas at one moment, by temperature.

    Parameters
    ----------
    positions : Tensor of shape (temperatures, columns, atoms, 3)
        In nm, geometric centre at the origin.
    energies : Tensor of shape (temperatures, columns)
        In kJ/mol.
    forces : Tensor of shape (temperatures, columns, atoms, 3)
        In kJ/mol/nm.
    """

    positions: Tensor
    energies: Tensor
    forces: Tensor


class Replicas:
    """Replicas of a molecule in motion.

    Parameters
    ----------
    mechanics : MolecularMechanics
        The force field.
    start : Tensor of shape (atoms, 3) or (temperatures * columns, atoms, 3)
        Where all replicas start, or each (nm).
    temperatures : sequence of float
        The ladder, in kelvin; a single one means no exchange.
    columns : int
        Independent copies of the ladder.
    masses : Tensor of shape (atoms,)
        In dalton; they do not enter the law of the configurations.
    step : float
        In ps.
    friction : float
        In 1/ps.
    swap_every : int
        Steps between attempts to exchange.
    generator : torch.Generator
        All randomness.
    compiled : bool
        Whether torch compiles the forces, which takes half a minute and a C++ compiler and then runs four
        times as fast.
    """

    def __init__(
        self,
        mechanics: MolecularMechanics,
        start: Tensor,
        *,
        temperatures: tuple[float, ...],
        columns: int,
        masses: Tensor,
        step: float,
        friction: float,
        swap_every: int,
        generator: torch.Generator,
        compiled: bool = False,
    ) -> None:
        self.mechanics, self.generator = mechanics, generator
        forces: Forces = partial(mechanics.rows, gradient=True)
        self._forces: Forces = torch.compile(forces, dynamic=False) if compiled else forces
        self.step, self.swap_every = step, swap_every
        self.levels, self.columns = len(temperatures), columns
        like = mechanics.masses
        count = self.levels * columns
        self.kT = BOLTZMANN * torch.tensor(temperatures, dtype=like.dtype, device=like.device)
        kT = self.kT.repeat_interleave(columns)  # noqa: N806 - the symbol of the field
        inverse_mass = (1.0 / masses).to(like)[:, None]
        self.kick = step * inverse_mass
        self.thermal = (kT * inverse_mass).sqrt()
        self.keep = math.exp(-friction * step)
        self.noise = math.sqrt(1.0 - self.keep**2) * self.thermal
        each = (start - start.mean(-2, keepdim=True)).to(like).expand(count, -1, -1)
        self.positions = each.permute(2, 1, 0).contiguous()
        self.velocities = self._normal() * self.thermal
        self.swaps = SwapCount(self.levels)
        self._done, self._parity = 0, 0
        self._evaluate()

    def run(self, steps: int) -> None:
        """Move all replicas."""
        with torch.inference_mode():
            for _ in range(steps):
                self._move()
                self._done += 1
                if self.levels > 1 and self._done % self.swap_every == 0:
                    self._exchange()

    def forget_swaps(self) -> None:
        """Count exchanges from now on."""
        self.swaps = SwapCount(self.levels)

    def snapshots(self, count: int, every: int) -> Iterator[Snapshot]:
        """Move and yield the state after every so many steps."""
        for _ in range(count):
            self.run(every)
            yield self.snapshot()

    def snapshot(self) -> Snapshot:
        """Give the present state, and move every replica back to the origin."""
        with torch.inference_mode():
            self.positions = self.positions - self.positions.mean(1, keepdim=True)
            shape = (self.levels, self.columns, *self.positions.shape[1::-1])
            place = (2, 1, 0)
            return Snapshot(
                self.positions.permute(place).reshape(shape).clone(),
                self.energies.reshape(shape[:2]).clone(),
                -self.gradient.permute(place).reshape(shape),
            )

    def _normal(self) -> Tensor:
        like = self.positions
        return torch.randn(like.shape, generator=self.generator, dtype=like.dtype, device=like.device)

    def _evaluate(self) -> None:
        with torch.inference_mode():
            self.energies, gradient = self._forces(self.positions)
        assert gradient is not None
        self.gradient = gradient

    def _move(self) -> None:
        half = 0.5 * self.step
        self.velocities = torch.addcmul(self.velocities, self.gradient, self.kick, value=-1.0)
        self.positions = self.positions.add(self.velocities, alpha=half)
        self.velocities = self.velocities.mul_(self.keep).addcmul_(self._normal(), self.noise)
        self.positions = self.positions.add_(self.velocities, alpha=half)
        self._evaluate()

    def _exchange(self) -> None:
        """Let neighbours on the columns swap."""
        energies = self.energies.reshape(self.levels, self.columns)
        sources, accepted = exchange(energies, self.kT, self._parity, self.generator)
        self.swaps.add(self._parity, accepted)
        self._parity = 1 - self._parity
        order = (sources * self.columns + torch.arange(self.columns, device=sources.device)).flatten()
        self.positions, self.gradient = self.positions[..., order], self.gradient[..., order]
        self.energies = self.energies[order]
        # What moves with a replica is its velocity in units of the thermal one.
        self.velocities = (self.velocities / self.thermal)[..., order] * self.thermal
