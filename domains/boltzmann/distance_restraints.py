r"""Restraints on the distance of two beads, and the exact law of an elastic network under them.

A restraint of strength :math:`\kappa` to a distance :math:`d_0` has the energy

.. math::
   E(x) = \frac\kappa2 \left(|\delta| - d_0\right)^2, \qquad \delta = x_i - x_j,

or, linearised along a unit vector n, :math:`\frac\kappa2 (n \cdot \delta - d_0)^2`.  It tilts a law by
:math:`e^{-E / k_B T}`.  Either depends on the positions through the three numbers :math:`\delta` alone, which
are normal if the positions are: :math:`y \sim N(m, C)` and :math:`\delta = D y` give :math:`\delta \sim N(Dm,
S)`, :math:`S = D C D^\top`, and, given :math:`\delta`, the rest does not feel the restraint.  Hence

.. math::
   Z = E\left[e^{-E(\delta) / k_B T}\right], \qquad
   E_q[y] = m + K (\bar\delta - D m), \qquad
   \operatorname{Cov}_q(y) = C + K (\bar S - S) K^\top, \qquad K = C D^\top S^{-1},

with mean :math:`\bar\delta` and covariance :math:`\bar S` of the tilted difference.  For the linearised
restraint they are the posterior of one noisy linear observation, in closed form; for the true one they are
integrals over three dimensions, taken by Gauss and Hermite's rule about the tilted law's own mean and
covariance (found by iterating).  The rule is exact for polynomials and converges geometrically for smooth
factors; `RestrainedLaw.quadrature_error` tells what more nodes change.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from sciffusion.exact import GaussianTarget
from sciffusion.sampling.driftlite import AnalyticReward
from sciffusion.sampling.driftlite.potential import RewardSchedule

from .elastic_network import ElasticNetwork

__all__ = ["DistanceRestraint", "RestrainedLaw", "restrained_law"]


@dataclass(frozen=True, eq=False)
class DistanceRestraint:
    """A harmonic restraint on the distance of two beads; a callable, so that it serves as a potential.

    Parameters
    ----------
    first, second : int
        The beads.
    distance : float
        The distance asked for, in nm, positive.
    stiffness : float
        In kJ/mol/nm^2, positive.
    direction : Tensor, optional
        Shape ``(3,)``: restrain the difference's component along it, instead of its length; kept as a unit
        vector.
    """

    first: int
    second: int
    distance: float
    stiffness: float
    direction: Tensor | None = None

    def __post_init__(self) -> None:
        for name in ("distance", "stiffness"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0.0):
                raise ValueError(f"{name} must be positive and finite, got {value}")
        if self.first == self.second:
            raise ValueError(f"first and second must differ, got {self.first} twice")
        if self.direction is not None:
            if tuple(self.direction.shape) != (3,) or not float(self.direction.norm()) > 0.0:
                raise ValueError(
                    f"direction must be a vector of three, not 0, got {tuple(self.direction.shape)}"
                )
            unit = self.direction.to(torch.float64)
            object.__setattr__(self, "direction", unit / unit.norm())

    def linearised(self, network: ElasticNetwork) -> DistanceRestraint:
        """Return the same restraint along the direction in which the network's equilibrium has the beads."""
        return replace(self, direction=network.positions[self.first] - network.positions[self.second])

    def difference(self, x: Tensor) -> Tensor:
        """Return ``x_first - x_second``, shape ``(batch, 3)``, of positions ``(batch, atoms, 3)``."""
        return x[..., self.first, :] - x[..., self.second, :]

    def length(self, difference: Tensor) -> Tensor:
        """Return what is restrained, in nm: length or component of differences ``(..., 3)``."""
        if self.direction is not None:
            return difference @ self.direction.to(difference)
        length: Tensor = torch.linalg.vector_norm(difference, dim=-1)
        return length

    def energy(self, difference: Tensor) -> Tensor:
        """Return the energy in kJ/mol of differences ``(..., 3)``, shape ``(...)``."""
        return 0.5 * self.stiffness * (self.length(difference) - self.distance) ** 2

    def __call__(self, x: Tensor) -> Tensor:
        """Return the energy in kJ/mol, shape ``(batch,)``, of positions ``(batch, atoms, 3)`` in nm."""
        return self.energy(self.difference(x))

    def reward(self, network: ElasticNetwork, thermal_energy: float) -> AnalyticReward:
        """Return the log factor ``-E / k_B T`` with its gradient, and its Laplacian off the rigid motions.

        Parameters
        ----------
        network : ElasticNetwork
            Whose space the Laplacian is taken in.
        thermal_energy : float
            ``k_B T`` of the law aimed at, in kJ/mol.
        """
        of_modes = network.difference(self.first, self.second)
        metric = of_modes @ of_modes.mT

        def gradient(x: Tensor) -> Tensor:
            pull = -self._force_law(self.difference(x))[0] / thermal_energy
            whole = torch.zeros_like(x)
            whole[:, self.first], whole[:, self.second] = pull, -pull
            return whole

        def laplacian(x: Tensor) -> Tensor:
            _, along, across, unit = self._force_law(self.difference(x))
            inside = ((unit @ metric.to(x)) * unit).sum(-1)
            curvature = along * inside + across * (metric.diagonal().sum().to(x) - inside)
            return -curvature / thermal_energy

        return AnalyticReward(lambda x: -self(x) / thermal_energy, gradient, laplacian)

    def schedule(self, thermal_energy: float) -> RewardSchedule:
        r"""Return a share of the reward for DriftLite: the restraint as seen through the noise.

        .. math:: \beta_t = \left(1 + \frac{2\kappa}{k_B T} \frac{\sigma_t^2}{\alpha_t^2}\right)^{-1}

        Noise of both beads adds :math:`2 \sigma^2 / \alpha^2` to the variance :math:`k_B T / \kappa` of the
        restraint.  The default share rises where the noise is that of data of unit variance; a restraint
        much narrower than that would then be too stiff for the steps, and the particles run away.  A
        construction of this library.

        Parameters
        ----------
        thermal_energy : float
            ``k_B T`` of the law aimed at, in kJ/mol.
        """
        stiffness = 2.0 * self.stiffness / thermal_energy
        return lambda levels: 1.0 / (1.0 + stiffness * levels.noise_to_signal**2)

    def _force_law(self, difference: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the energy's gradient, its curvatures along and across a unit vector, and that vector."""
        length = self.length(difference)
        stiffness = torch.full_like(length, self.stiffness)
        excess = self.stiffness * (length - self.distance)
        if self.direction is not None:
            unit = self.direction.to(difference).expand_as(difference)
            return excess[..., None] * unit, stiffness, torch.zeros_like(length), unit
        unit = difference / length[..., None]
        return excess[..., None] * unit, stiffness, excess / length, unit


@dataclass(frozen=True, eq=False)
class RestrainedLaw:
    """The exact law of a network's coordinates under a restraint; `restrained_law` makes it.

    Parameters
    ----------
    base : GaussianTarget
        Law of the coordinates without the restraint.
    restraint : DistanceRestraint
        The restraint.
    thermal_energy : float
        ``k_B T`` in kJ/mol.
    operator : Tensor
        From coordinates to the difference, shape ``(3, dim)``.
    log_normaliser : float
        ``log E[exp(-E / k_B T)]``.
    difference_mean, difference_covariance : Tensor
        Of the tilted difference, shapes ``(3,)`` and ``(3, 3)``.
    quadrature_error : float
        Change of the log normaliser by half as many nodes again along each axis; 0 in closed form.
    """

    base: GaussianTarget
    restraint: DistanceRestraint
    thermal_energy: float
    operator: Tensor
    log_normaliser: float
    difference_mean: Tensor
    difference_covariance: Tensor
    quadrature_error: float

    @property
    def mean(self) -> Tensor:
        """Mean of the coordinates, shape ``(dim,)``."""
        shift = self.difference_mean - self.operator @ self.base.mean
        return self.base.mean + self._gain() @ shift

    @property
    def covariance(self) -> Tensor:
        """Covariance of the coordinates, shape ``(dim, dim)``."""
        gain, change = self._gain(), self.difference_covariance - self._base_covariance()
        return self.base.covariance + gain @ change @ gain.mT

    def draw(self, count: int, generator: torch.Generator, oversampling: int = 32) -> Tensor:
        """Draw coordinates.

        Parameters
        ----------
        count : int
            Number of draws.
        generator : torch.Generator
            Source of randomness.
        oversampling : int, default 32
            Differences proposed for each draw; they are resampled by importance from the normal law of the
            tilted mean and covariance, which is near the tilted law itself.

        Returns
        -------
        Tensor
            Shape ``(count, dim)``, float64.
        """
        factor = torch.linalg.cholesky(self.difference_covariance)
        white = torch.randn(oversampling * count, 3, generator=generator, dtype=torch.float64)
        proposed = self.difference_mean + white @ factor.mT
        log_weight = self.log_unnormalised(proposed) + 0.5 * (white**2).sum(-1)
        weight = torch.exp(log_weight - log_weight.max())
        kept = proposed[torch.multinomial(weight, count, replacement=True, generator=generator)]
        free = self.base.draw(count, generator)
        moved: Tensor = free + (kept - free @ self.operator.mT) @ self._gain().mT
        return moved

    def log_unnormalised(self, difference: Tensor) -> Tensor:
        """Return the log of the base density times the factor, of differences ``(..., 3)``."""
        base = GaussianTarget.full(self._base_covariance(), self.operator @ self.base.mean)
        one, zero = difference.new_ones(()), difference.new_zeros(())
        energy = self.restraint.energy(difference)
        return base.log_density(difference, one, zero) - energy / self.thermal_energy

    def length_density(self, lengths: Tensor, nodes: int = 48) -> Tensor:
        """Return the density of the distance of the two beads.

        Parameters
        ----------
        lengths : Tensor
            Distances in nm, shape ``(points,)``, positive.
        nodes : int, default 48
            Of the rule over the sphere: Gauss and Legendre's in height, twice as many angles.

        Returns
        -------
        Tensor
            Shape ``(points,)``, in 1/nm.
        """
        height, weight = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(nodes))
        angle = torch.arange(2 * nodes, dtype=torch.float64) * math.pi / nodes
        ring = torch.sqrt(1.0 - height**2)[:, None]
        units = torch.stack(
            [ring * angle.cos(), ring * angle.sin(), height[:, None].expand(-1, 2 * nodes)], -1
        )
        density = torch.exp(self.log_unnormalised(lengths[:, None, None, None] * units))
        over_sphere: Tensor = (density.sum(-1) * weight).sum(-1) * math.pi / nodes
        return lengths**2 * over_sphere * math.exp(-self.log_normaliser)

    def _base_covariance(self) -> Tensor:
        return self.operator @ self.base.covariance @ self.operator.mT

    def _gain(self) -> Tensor:
        cross = self.operator @ self.base.covariance
        gain: Tensor = torch.linalg.solve(self._base_covariance(), cross)
        return gain.mT


def restrained_law(
    base: GaussianTarget,
    operator: Tensor,
    restraint: DistanceRestraint,
    thermal_energy: float,
    *,
    nodes: int = 24,
) -> RestrainedLaw:
    """Return the law of normal coordinates under a restraint on a linear image of them.

    Parameters
    ----------
    base : GaussianTarget
        Law of the coordinates.
    operator : Tensor
        From coordinates to the difference of the restrained beads, shape ``(3, dim)``;
        `ElasticNetwork.difference` gives it.
    restraint : DistanceRestraint
        The restraint.
    thermal_energy : float
        ``k_B T`` in kJ/mol.
    nodes : int, default 24
        Of the quadrature, along each of three axes; not used for linearised restraints.

    Returns
    -------
    RestrainedLaw
        With log normaliser, mean, covariance, draws and the density of the distance.

    Raises
    ------
    ValueError
        For an operator of another shape, or a ``thermal_energy`` that is not positive.
    """
    if tuple(operator.shape) != (3, base.dim):
        raise ValueError(f"operator must have shape (3, {base.dim}), got {tuple(operator.shape)}")
    if not (math.isfinite(thermal_energy) and thermal_energy > 0.0):
        raise ValueError(f"thermal_energy must be positive and finite, in kJ/mol, got {thermal_energy}")
    law = RestrainedLaw(
        base, restraint, thermal_energy, operator, 0.0, operator @ base.mean,
        operator @ base.covariance @ operator.mT, 0.0,
    )  # fmt: skip
    if restraint.direction is not None:
        return _observed(law, restraint.direction)
    found = _settled(law, nodes)
    finer = _settled(law, nodes + nodes // 2)
    return replace(finer, quadrature_error=abs(finer.log_normaliser - found.log_normaliser))


def _observed(law: RestrainedLaw, direction: Tensor) -> RestrainedLaw:
    """Fill in the closed form: a noisy observation of one component of the difference."""
    variance = law.thermal_energy / law.restraint.stiffness
    seen = direction[None]
    value = torch.tensor([law.restraint.distance], dtype=torch.float64)
    base = GaussianTarget.full(law.difference_covariance, law.difference_mean)
    posterior = base.observed(seen, value, math.sqrt(variance))
    evidence = float(base.log_evidence(seen, value, math.sqrt(variance)))
    return replace(
        law,
        log_normaliser=evidence + 0.5 * math.log(2.0 * math.pi * variance),
        difference_mean=posterior.mean,
        difference_covariance=posterior.covariance,
    )


def _settled(law: RestrainedLaw, nodes: int, rounds: int = 50) -> RestrainedLaw:
    """Fill in the quadrature, repeated about the mean and covariance that it finds until they stay.

    Raises
    ------
    ValueError
        Where they do not: a factor with several far maxima.
    """
    for _ in range(rounds):
        found = _quadrature(law, nodes)
        moved = (
            found.difference_mean - law.difference_mean
        ).norm() / law.difference_covariance.trace().sqrt()
        spread = (found.difference_covariance - law.difference_covariance).norm()
        law, settled = found, max(float(moved), float(spread / law.difference_covariance.norm())) < 1e-10
        if settled:
            return law
    raise ValueError(
        f"the quadrature with {nodes} nodes did not settle in {rounds} rounds; use more nodes, or ask for a "
        "distance nearer to those of the law itself"
    )


def _quadrature(law: RestrainedLaw, nodes: int) -> RestrainedLaw:
    """Return the law with moments by one rule about its present mean and covariance."""
    point, weight = (torch.from_numpy(part) for part in np.polynomial.hermite_e.hermegauss(nodes))
    white = torch.cartesian_prod(point, point, point)
    log_weight = torch.cartesian_prod(*(weight.log(),) * 3).sum(-1) - 1.5 * math.log(2.0 * math.pi)
    factor = torch.linalg.cholesky(law.difference_covariance)
    difference = law.difference_mean + white @ factor.mT
    reference = -0.5 * (white**2).sum(-1) - 1.5 * math.log(2.0 * math.pi)
    reference = reference - factor.diagonal().log().sum()
    terms = log_weight + law.log_unnormalised(difference) - reference
    share = torch.softmax(terms, 0)
    mean = share @ difference
    off = difference - mean
    covariance = (share[:, None] * off).mT @ off
    return replace(
        law, log_normaliser=float(torch.logsumexp(terms, 0)), difference_mean=mean,
        difference_covariance=covariance,
    )  # fmt: skip
