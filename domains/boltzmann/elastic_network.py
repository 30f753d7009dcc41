r"""The anisotropic network model of a protein: springs between near residues, and its exact Gaussian law.

Beads at positions :math:`r_i` are joined by springs of one strength k wherever their equilibrium distance
:math:`d_{ij} = |r_i^0 - r_j^0|` is below a cut-off,

.. math::
   U(x) = \frac k2 \sum_{i<j,\ d_{ij} < c} \left(|x_i - x_j| - d_{ij}\right)^2
   \approx \frac12 (x - r^0)^\top H (x - r^0), \qquad
   H_{ij} = -k\, n_{ij} n_{ij}^\top, \quad H_{ii} = -\sum_{j \ne i} H_{ij},

with :math:`n_{ij}` the unit vectors of the springs.  The Hessian H has six eigenvalues 0, the rigid motions;
in the space V of the others, with eigenvalues :math:`\lambda_m` and eigenvectors :math:`b_m`, the Boltzmann
law at temperature T is normal:

.. math::
   p(x) \propto e^{-\frac12 (x - r^0)^\top H (x - r^0) / k_B T}, \qquad
   x = \sum_m y_m b_m, \quad y_m \sim N\!\left(b_m^\top r^0,\ k_B T / \lambda_m\right).

Centred equilibrium positions lie in V themselves, for no rigid motion about them changes their length.  So
positions, not only displacements, live in a linear space of dimension :math:`3n - 6`, orthogonal to the rigid
motions: the ``project`` and ``effective_dim`` of `sciffusion.sampling.driftlite`.  Seen through a Gaussian
path the law stays normal, and score, divergence and log density are known exactly.

Units: nm, kJ/mol, kelvin; springs in kJ/mol/nm^2; :math:`k_B = 0.00831446` kJ/mol/K.

Atilgan, Durell, Jernigan, Demirel, Keskin and Bahar, *Anisotropy of Fluctuation Dynamics of Proteins with an
Elastic Network Model*, Biophysical Journal 80, 505-515 (2001).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sciffusion.continuous.path import Path
from sciffusion.exact import ExactDenoiser, GaussianTarget

from .units import thermal_energy

__all__ = ["ElasticNetwork", "ElasticNetworkScore"]

_RIGID = 6


class ElasticNetwork:
    r"""The anisotropic network model of beads in three dimensions.

    Parameters
    ----------
    positions : Tensor
        Equilibrium positions, shape ``(atoms, 3)``, in nm; kept with their centre at 0.
    cutoff : float, default 1.3
        Beads closer than this are joined, in nm.
    spring : float, default 250
        Strength of a spring, in kJ/mol/nm^2.  With the default cut-off it gives the alpha carbons of a small
        protein the fluctuations of .09 nm (B-factors near 20 square angstrom) that crystals show at 300 K.

    Attributes
    ----------
    positions : Tensor
        Centred equilibrium positions, float64.
    pairs : Tensor
        Joined beads, int64 of shape ``(springs, 2)``.
    hessian : Tensor
        Float64 of shape ``(3 atoms, 3 atoms)``, in kJ/mol/nm^2.
    stiffness : Tensor
        Its eigenvalues but for the six zeros, rising, shape ``(3 atoms - 6,)``.
    modes : Tensor
        Their eigenvectors as columns, shape ``(3 atoms, 3 atoms - 6)``.
    rigid : Tensor
        An orthonormal basis of the rigid motions, shape ``(3 atoms, 6)``.

    Raises
    ------
    ValueError
        For positions of another shape or not finite, a cut-off or spring that is not positive, beads that
        coincide, or a network that can move by more than the six rigid motions.
    """

    def __init__(self, positions: Tensor, *, cutoff: float = 1.3, spring: float = 250.0) -> None:
        places = _checked_positions(positions)
        for name, value, unit in (("cutoff", cutoff, "nm"), ("spring", spring, "kJ/mol/nm^2")):
            if not (math.isfinite(value) and value > 0.0):
                raise ValueError(f"{name} must be positive and finite, in {unit}, got {value}")
        self.cutoff, self.spring = float(cutoff), float(spring)
        self.positions = places - places.mean(0)
        self.pairs = _near_pairs(self.positions, self.cutoff)
        self.hessian = self._hessian()
        values, vectors = self._eigenspaces()
        self.stiffness, self.rigid, self.modes = values[_RIGID:], vectors[:, :_RIGID], vectors[:, _RIGID:]

    @property
    def n_atoms(self) -> int:
        """Number of beads."""
        return self.positions.shape[0]

    @property
    def effective_dim(self) -> int:
        """Dimension of the space orthogonal to the rigid motions, ``3 atoms - 6``."""
        return self.stiffness.shape[0]

    def energy(self, x: Tensor) -> Tensor:
        """Return the energy of the springs, not linearised, in kJ/mol.

        Parameters
        ----------
        x : Tensor
            Positions, shape ``(batch, atoms, 3)``, in nm.

        Returns
        -------
        Tensor
            Shape ``(batch,)``.
        """
        first, second = self.pairs.to(x.device).unbind(1)
        rest = torch.linalg.vector_norm(self.positions[first] - self.positions[second], dim=-1).to(x)
        lengths: Tensor = torch.linalg.vector_norm(x[:, first] - x[:, second], dim=-1)
        energy: Tensor = 0.5 * self.spring * ((lengths - rest) ** 2).sum(-1)
        return energy

    def harmonic_energy(self, x: Tensor) -> Tensor:
        """Return the energy to second order about the equilibrium (arguments as for `energy`)."""
        moved = (x - self.positions.to(x)).flatten(1)
        return 0.5 * ((moved @ self.hessian.to(x)) * moved).sum(-1)

    def to_modes(self, x: Tensor) -> Tensor:
        """Return coordinates ``(batch, 3 atoms - 6)`` along the modes of positions ``(batch, atoms, 3)``."""
        return x.flatten(-2) @ self.modes.to(x)

    def from_modes(self, y: Tensor) -> Tensor:
        """Return the positions ``(batch, atoms, 3)`` of coordinates along the modes."""
        return (y @ self.modes.to(y).mT).reshape(*y.shape[:-1], self.n_atoms, 3)

    def project(self, x: Tensor) -> Tensor:
        """Take the rigid motions out of positions or vectors ``(batch, atoms, 3)``."""
        flat, rigid = x.flatten(-2), self.rigid.to(x)
        return (flat - (flat @ rigid) @ rigid.mT).reshape(x.shape)

    def law(self, temperature: float) -> GaussianTarget:
        """Return the Boltzmann law of the coordinates along the modes.

        Parameters
        ----------
        temperature : float
            In kelvin.

        Returns
        -------
        GaussianTarget
            Of dimension ``3 atoms - 6``, with independent coordinates.
        """
        return GaussianTarget(
            self.to_modes(self.positions), thermal_energy(temperature, "kJ/mol") / self.stiffness
        )

    def fluctuations(self, covariance: Tensor) -> Tensor:
        r"""Return the mean squared displacement of every bead for a covariance of the coordinates.

        Parameters
        ----------
        covariance : Tensor
            Of the coordinates along the modes, shape ``(3 atoms - 6, 3 atoms - 6)``.

        Returns
        -------
        Tensor
            Shape ``(atoms,)``, in nm^2; times :math:`8 \pi^2 / 3` they are B-factors.
        """
        spread = ((self.modes @ covariance) * self.modes).sum(-1)
        return spread.reshape(self.n_atoms, 3).sum(-1)

    def difference(self, first: int, second: int) -> Tensor:
        """Return the matrix ``(3, 3 atoms - 6)`` from coordinates to the vector ``x_first - x_second``.

        Raises
        ------
        ValueError
            Unless both are beads of the network, and different.
        """
        for name, value in (("first", first), ("second", second)):
            if not 0 <= value < self.n_atoms:
                raise ValueError(f"{name} must be a bead from 0 to {self.n_atoms - 1}, got {value}")
        if first == second:
            raise ValueError(f"first and second must differ, got {first} twice")
        rows = self.modes.reshape(self.n_atoms, 3, self.effective_dim)
        return rows[first] - rows[second]

    def score(self, temperature: float, path: Path) -> ElasticNetworkScore:
        """Return the exact score of the law at a temperature, seen through a path."""
        return ElasticNetworkScore(self, ExactDenoiser(self.law(temperature), path))

    def _hessian(self) -> Tensor:
        first, second = self.pairs.unbind(1)
        along = self.positions[first] - self.positions[second]
        along = along / torch.linalg.vector_norm(along, dim=-1, keepdim=True)
        # Each spring adds k c c^T, where c holds its unit vector at one end and the opposite at the other.
        springs = torch.arange(len(self.pairs))
        stretch = torch.zeros(len(self.pairs), self.n_atoms, 3, dtype=torch.float64)
        stretch[springs, first], stretch[springs, second] = along, -along
        return self.spring * stretch.flatten(1).mT @ stretch.flatten(1)

    def _eigenspaces(self) -> tuple[Tensor, Tensor]:
        values, vectors = torch.linalg.eigh(self.hessian)
        floppy = int((values < 1e-9 * values[-1]).sum())
        if floppy != _RIGID:
            raise ValueError(
                f"the network must be held but for its 6 rigid motions, got {floppy} free ones with "
                f"cutoff={self.cutoff} nm; use a larger cutoff"
            )
        return values, vectors


@dataclass(frozen=True, eq=False)
class ElasticNetworkScore:
    """The score of a network's law seen through a path, as a sampler of outside models wants it.

    ``score(x, t)`` takes positions ``(batch, atoms, 3)`` and a time and returns the gradient of the log
    density within the space orthogonal to the rigid motions, of the shape of ``x``.

    Parameters
    ----------
    network : ElasticNetwork
        The network.
    denoiser : ExactDenoiser
        Of its coordinates along the modes.
    """

    network: ElasticNetwork
    denoiser: ExactDenoiser

    @property
    def path(self) -> Path:
        """The path on which the score holds."""
        return self.denoiser.path

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """Return the score, of the shape of ``x``, in 1/nm."""
        return self.network.from_modes(self.denoiser.score(self.network.to_modes(x), t))

    def divergence(self, x: Tensor, t: Tensor) -> Tensor:
        """Return the divergence of the score within the space, shape ``(batch,)``, in 1/nm^2."""
        return self.denoiser.score_divergence(self.network.to_modes(x), t)

    def log_density(self, x: Tensor, t: Tensor) -> Tensor:
        """Return the log density within the space, shape ``(batch,)``."""
        return self.denoiser.log_density(self.network.to_modes(x), t)


def _checked_positions(positions: Tensor) -> Tensor:
    if not isinstance(positions, Tensor):
        raise TypeError(f"positions must be a Tensor of shape (atoms, 3), got {type(positions).__name__}")
    if positions.ndim != 2 or positions.shape[0] < 3 or positions.shape[1] != 3:
        raise ValueError(
            f"positions must have shape (atoms, 3) with at least three atoms, got {tuple(positions.shape)}"
        )
    wide = positions.to(torch.float64)
    if not bool(wide.isfinite().all()):
        raise ValueError("positions must be finite")
    return wide


def _near_pairs(positions: Tensor, cutoff: float) -> Tensor:
    distances: Tensor = torch.linalg.vector_norm(positions[:, None] - positions, dim=-1)
    upper = torch.ones_like(distances, dtype=torch.bool).triu(1)
    clash = upper & (distances < 1e-6)
    if bool(clash.any()):
        first, second = clash.nonzero()[0].tolist()
        raise ValueError(f"positions must differ, got beads {first} and {second} at the same place")
    return (upper & (distances < cutoff)).nonzero()
