r"""Energies of clusters of like particles: pairs in double wells, and Lennard-Jones particles in a trap.

For positions :math:`x_1, \dots, x_n` with the mean :math:`\bar x` and distances
:math:`d_{ij} = |x_i - x_j|`,

.. math:: E(x) = \sum_{i<j} u(d_{ij}) + \frac{k}{2} \sum_i |x_i - \bar x|^2,

the sum over *distinct* pairs (other codes sum over ordered pairs, which doubles the first term), the trap in
centred coordinates, so that the energy ignores where the cluster lies. The pair energies are

.. math::

    u(d) = a y + b y^2 + c y^4, \quad y = d - d_0, \qquad
    u(d) = \epsilon \left[ (r_m / d)^{12} - 2 (r_m / d)^6 \right].

With :math:`s = d^2` the force on particle i is
:math:`-\sum_j 2 u'(s_{ij}) (x_i - x_j) - k (x_i - \bar x)`. Below a smallest distance that no sampler visits,
:math:`u` is continued linearly in :math:`s`: overlapping particles have a finite energy and are pushed apart.

Systems: Köhler, Klein and Noé, *Equivariant flows: exact likelihood generative learning for symmetric
densities*, arXiv 2006.02425.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .particles_checks import check_count, check_positions

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["DoubleWell", "LennardJones", "PairSystem"]


@lru_cache(maxsize=16)
def _differences(n: int) -> NDArray[np.float64]:
    """Return the matrix (pairs, n) that takes positions to the differences of distinct pairs."""
    first, second = np.triu_indices(n, 1)
    matrix = np.zeros((len(first), n))
    matrix[np.arange(len(first)), first] = 1.0
    matrix[np.arange(len(first)), second] = -1.0
    return matrix


class PairSystem(ABC):
    """A cluster of like particles that act on each other in pairs, in a harmonic trap around their mean."""

    n: int
    dimensions: int
    oscillator: float

    @property
    @abstractmethod
    def shortest(self) -> float:
        """Distance below which the pair energy is continued linearly in the squared distance."""

    @property
    @abstractmethod
    def spacing(self) -> float:
        """Distance between neighbours on the grid from which simulations start."""

    @abstractmethod
    def pair_terms(self, squared: Tensor) -> tuple[Tensor, Tensor]:
        """Return pair energies and their derivatives, both by the squared distance."""

    def __call__(self, configurations: Tensor) -> Tensor:
        """Return the energies (batch,) of configurations (batch, n, dimensions), differentiable twice."""
        energies, _, _ = self._terms(configurations)
        return energies

    def energy_and_forces(self, configurations: Tensor) -> tuple[Tensor, Tensor]:
        """Return energies (batch,) and forces (batch, n, dimensions), without automatic derivatives.

        Fastest on the transposed view ``stored.permute(2, 1, 0)`` of positions that are stored as
        (dimensions, n, batch); the forces come as such a view.
        """
        energies, pull, centred = self._terms(configurations)
        matrix = centred.new_tensor(_differences(self.n))
        forces = -(matrix.T @ pull)
        if self.oscillator:
            forces = forces - self.oscillator * centred
        return energies, forces.permute(2, 1, 0)

    def _terms(self, configurations: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return energies (batch,), derivatives by the differences (dimensions, pairs, batch), centred x."""
        self._check(configurations)
        positions = configurations.permute(2, 1, 0)
        centred = positions - positions.mean(dim=1, keepdim=True)
        differences = centred.new_tensor(_differences(self.n)) @ centred
        squared = differences.square().sum(dim=0)
        bounded = squared.clamp(min=self.shortest**2)
        energy, slope = self.pair_terms(bounded)
        energies = (energy + slope * (squared - bounded)).sum(dim=0)
        if self.oscillator:
            energies = energies + 0.5 * self.oscillator * centred.square().sum(dim=(0, 1))
        return energies, 2.0 * slope * differences, centred

    def _check(self, configurations: Tensor) -> None:
        shape = tuple(check_positions(configurations).shape)
        if len(shape) != 3 or shape[1:] != (self.n, self.dimensions):
            raise ValueError(
                f"configurations has shape {shape}, expected (batch, {self.n}, {self.dimensions})"
            )

    def grid(self) -> NDArray[np.float64]:
        """Return n points of a square or cubic grid around the origin, nearest first, (n, dimensions)."""
        side = math.ceil(self.n ** (1.0 / self.dimensions) - 1e-9)
        axes = [np.arange(side, dtype=np.float64)] * self.dimensions
        points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, self.dimensions)
        points -= points.mean(axis=0)
        chosen = points[np.argsort((points**2).sum(axis=1), kind="stable")[: self.n]]
        grid: NDArray[np.float64] = self.spacing * (chosen - chosen.mean(axis=0))
        return grid

    def _check_numbers(self, positive: tuple[str, ...], finite: tuple[str, ...]) -> None:
        for name, low in (("n", 2), ("dimensions", 1)):
            object.__setattr__(self, name, check_count(name, getattr(self, name), low))
        for name in (*finite, "oscillator"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} is {getattr(self, name)}, expected a finite number")
        for name in positive:
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0.0):
                raise ValueError(f"{name} is {getattr(self, name)}, expected a finite number above 0")


@dataclass(frozen=True)
class DoubleWell(PairSystem):
    """Particles joined in pairs by double wells; at the defaults DW-4.

    Parameters
    ----------
    n : int >= 2
        Number of particles.
    dimensions : int >= 1
        Coordinates of each.
    a, b, c : float
        Coefficients of the pair energy; c > 0 keeps the particles together.
    offset : float
        The distance between the wells, at which y = 0.
    oscillator : float
        Strength k of the trap around the mean.

    Raises
    ------
    ValueError
        Naming the parameter that cannot be used.
    """

    n: int = 4
    dimensions: int = 2
    a: float = 0.0
    b: float = -4.0
    c: float = 0.9
    offset: float = 4.0
    oscillator: float = 0.0

    def __post_init__(self) -> None:
        """Refuse parameters without a law."""
        self._check_numbers(positive=("c",), finite=("a", "b", "offset"))

    @property
    def shortest(self) -> float:
        """Distance below which the pair energy is continued, in reduced units."""
        return 1e-3

    @property
    def spacing(self) -> float:
        """Distance between neighbours on the starting grid."""
        return 1.1

    def pair_terms(self, squared: Tensor) -> tuple[Tensor, Tensor]:
        """Return pair energies and their derivatives, both by the squared distance."""
        distance = squared.sqrt()
        y = distance - self.offset
        y2 = y.square()
        energy = y2 * (self.c * y2 + self.b)
        slope = y * (4.0 * self.c * y2 + 2.0 * self.b)
        if self.a:
            energy, slope = energy + self.a * y, slope + self.a
        return energy, 0.5 * slope / distance


@dataclass(frozen=True)
class LennardJones(PairSystem):
    """Lennard-Jones particles in a harmonic trap around their mean; at the defaults LJ-13.

    Parameters
    ----------
    n : int >= 2
        Number of particles.
    epsilon : float >= 0
        Depth of the well of a pair.
    r_min : float > 0
        Distance of the lowest pair energy.
    oscillator : float
        Strength k of the trap; without a trap (k <= 0) particles evaporate.
    dimensions : int >= 1
        Coordinates of each particle.

    Raises
    ------
    ValueError
        Naming the parameter that cannot be used.
    """

    n: int = 13
    epsilon: float = 1.0
    r_min: float = 1.0
    oscillator: float = 1.0
    dimensions: int = 3

    def __post_init__(self) -> None:
        """Refuse parameters without a law."""
        self._check_numbers(positive=("r_min",), finite=("epsilon",))
        if self.epsilon < 0.0:
            raise ValueError(f"epsilon is {self.epsilon}, expected a number of at least 0")

    @property
    def shortest(self) -> float:
        """Distance below which the pair energy, then above 1e12 epsilon, is continued."""
        return 0.1 * self.r_min

    @property
    def spacing(self) -> float:
        """Distance between neighbours on the starting grid."""
        return 1.1 * self.r_min

    def pair_terms(self, squared: Tensor) -> tuple[Tensor, Tensor]:
        """Return pair energies and their derivatives, both by the squared distance."""
        inverse = squared.reciprocal()
        sixth = (inverse * self.r_min**2) ** 3
        energy = self.epsilon * sixth * (sixth - 2.0)
        return energy, (-6.0 * self.epsilon) * sixth * (sixth - 1.0) * inverse
