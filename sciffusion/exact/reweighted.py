r"""Annealed and tilted mixtures: weighted exact samples and the log normaliser.

For a Gaussian mixture :math:`p = \sum_k w_k N(m_k, C_k)`, an exponent :math:`\gamma > 0` and a quadratic
tilt :math:`r(x) = -|x - m|^2 / (2 s^2)`,

.. math:: q(x) = \frac1Z p(x)^\gamma e^{r(x)}, \qquad Z = \int p^\gamma e^r .

Where components hardly overlap :math:`p^\gamma \approx \sum_k w_k^\gamma N(m_k, C_k)^\gamma`, whose product
with the tilt is again a mixture of normal laws: in the eigenspaces of :math:`C_k`

.. math::
   v_k' = \left(\frac{\gamma}{v_k} + \frac{1}{s^2}\right)^{-1}, \qquad
   m_k' = m_k + \frac{v_k'}{s^2} (m - m_k),

.. math::
   \log M_k = \gamma \log w_k - \frac{\gamma}{2} \sum \log 2\pi v_k + \frac12 \sum \log 2\pi v_k'
   - \frac{1}{2} \left|m - m_k\right|^2_{(C_k/\gamma + s^2 I)^{-1}} .

The mixture :math:`\sum_k (M_k / M) N(m_k', C_k')` with :math:`M = \sum_k M_k` is the proposal.  The
importance weights :math:`\omega = p^\gamma e^r / \sum_k (M_k / M) N(m_k', C_k')` correct what overlaps, their
mean is Z, and with :math:`\gamma = 1` all of them equal :math:`Z = M`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from sciffusion.exact.gaussian import GaussianTarget
from sciffusion.exact.mixture import GaussianMixtureTarget

__all__ = ["LogNormaliser", "QuadraticTilt", "ReweightedMixture", "reweighted_mixture"]

_ONE, _ZERO = torch.ones((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class QuadraticTilt:
    """The reward ``r(x) = -|x - centre|^2 / (2 std^2)``; a callable, so that it serves as a reward.

    Parameters
    ----------
    centre : Tensor
        Shape ``(dim,)``.
    std : float
        Positive.
    """

    centre: Tensor
    std: float

    def __post_init__(self) -> None:
        if self.centre.ndim != 1:
            raise ValueError(f"centre must be a vector, got shape {tuple(self.centre.shape)}")
        if not self.std > 0.0:
            raise ValueError(f"std must be positive, got {self.std}")

    def __call__(self, x: Tensor) -> Tensor:
        """Return the reward of values of shape ``(..., dim)``, of shape ``(...)``."""
        return -0.5 * ((x - self.centre.to(x)) ** 2).sum(-1) / self.std**2


class LogNormaliser(NamedTuple):
    """An importance-sampled log normaliser.

    Parameters
    ----------
    value : float
        ``log Z``.
    standard_error : float
        Of ``value``, by the delta method.
    relative_ess : float
        Effective sample size of the proposal divided by the number of draws: 1 if it is exact.
    """

    value: float
    standard_error: float
    relative_ess: float


@dataclass(frozen=True, eq=False)
class ReweightedMixture:
    """The law ``q`` proportional to ``p^exponent exp(tilt)``; `reweighted_mixture` makes it.

    Parameters
    ----------
    target : GaussianMixtureTarget
        The mixture p.
    exponent : float
        Power of its density.
    tilt : QuadraticTilt or None
        Log factor.
    proposal : GaussianMixtureTarget
        Law from which is drawn.
    log_mass : float
        Log of the proposal's mass M: ``log Z`` itself where the components do not overlap.
    """

    target: GaussianMixtureTarget
    exponent: float
    tilt: QuadraticTilt | None
    proposal: GaussianMixtureTarget
    log_mass: float

    def log_unnormalised(self, x: Tensor) -> Tensor:
        """Return ``exponent log p(x) + r(x)`` of values of shape ``(..., dim)``."""
        log_density = self.exponent * self.target.log_density(x, _ONE.to(x), _ZERO.to(x))
        return log_density if self.tilt is None else log_density + self.tilt(x)

    def draw_weighted(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw from the proposal.

        Parameters
        ----------
        count : int
            Number of draws.
        generator : torch.Generator
            Source of randomness.

        Returns
        -------
        x : Tensor
            Shape ``(count, dim)``, float64.
        log_weight : Tensor
            Shape ``(count,)``; the mean of the weights is Z.
        """
        x = self.proposal.draw(count, generator)
        return x, self.log_unnormalised(x) - self.proposal.log_density(x, _ONE.to(x), _ZERO.to(x))

    def draw(self, count: int, generator: torch.Generator, oversampling: int = 4) -> Tensor:
        """Draw by importance resampling.

        Parameters
        ----------
        count : int
            Number of draws wanted.
        generator : torch.Generator
            Source of randomness.
        oversampling : int, default 4
            Proposals for each draw; the law of the draws tends to q as this grows, and is q itself where the
            proposal is.

        Returns
        -------
        Tensor
            Shape ``(count, dim)``, float64.
        """
        if oversampling < 1:
            raise ValueError(f"oversampling must be at least 1, got {oversampling}")
        x, log_weight = self.draw_weighted(oversampling * count, generator)
        kept = _systematic(torch.exp(log_weight - log_weight.max()), count, generator)
        order = torch.randperm(count, generator=generator, device=generator.device).to(kept.device)
        return x[kept[order]]

    def log_normaliser(self, generator: torch.Generator, count: int = 16_384) -> LogNormaliser:
        """Return ``log Z`` with its standard error and the efficiency of the proposal."""
        _, log_weight = self.draw_weighted(count, generator)
        top = log_weight.max()
        weight = torch.exp(log_weight - top)
        mean = weight.mean()
        return LogNormaliser(
            float(top + mean.log()),
            float(weight.std() / mean / math.sqrt(count)),
            float(mean**2 / (weight**2).mean()),
        )


def _systematic(weight: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return ``count`` indices by systematic resampling."""
    start = torch.rand((), generator=generator, dtype=torch.float64, device=generator.device)
    places = (
        torch.arange(count, dtype=torch.float64, device=weight.device) + start.to(weight.device)
    ) / count
    share = weight.cumsum(0) / weight.sum()
    return torch.searchsorted(share, places.to(weight.device)).clamp_max(weight.shape[0] - 1)


def reweighted_mixture(
    target: GaussianMixtureTarget, exponent: float = 1.0, tilt: QuadraticTilt | None = None
) -> ReweightedMixture:
    """Return the law proportional to ``p^exponent exp(tilt)`` of a mixture p.

    Parameters
    ----------
    target : GaussianMixtureTarget
        The mixture; every component must have a density.
    exponent : float, default 1
        Positive; above 1 sharpens (an inverse temperature).
    tilt : QuadraticTilt, optional
        Log factor; none by default.

    Returns
    -------
    ReweightedMixture
        With exact draws, weights and log normaliser.

    Raises
    ------
    ValueError
        For an exponent that is not positive, a tilt of another dimension, or components without a density.
    """
    if not exponent > 0.0:
        raise ValueError(f"exponent must be positive, got {exponent}")
    if tilt is not None and tilt.centre.shape != (target.dim,):
        raise ValueError(f"tilt must have a centre of shape ({target.dim},), got {tuple(tilt.centre.shape)}")
    if not all(bool((part.laws.spaces.variances > 0.0).all()) for part in target.components):
        raise ValueError("every component of target must have positive variances")
    parts = [
        _reweighted(component, weight, exponent, tilt)
        for component, weight in zip(target.components, target.weights, strict=True)
    ]
    log_masses = torch.stack([log_mass for _, log_mass in parts])
    log_mass = torch.logsumexp(log_masses, 0)
    kept = [k for k, share in enumerate(torch.exp(log_masses - log_mass)) if float(share) > 0.0]
    weights = torch.exp(log_masses - log_mass)[kept]
    proposal = GaussianMixtureTarget(weights, [parts[k][0] for k in kept])
    return ReweightedMixture(target, exponent, tilt, proposal, float(log_mass))


def _reweighted(
    component: GaussianTarget, weight: Tensor, exponent: float, tilt: QuadraticTilt | None
) -> tuple[GaussianTarget, Tensor]:
    """Return the component of the proposal and its log mass."""
    spaces, mean = component.laws.spaces, component.mean
    variances, count = spaces.variances, spaces.multiplicity
    precision = 0.0 if tilt is None else tilt.std**-2
    narrowed = 1.0 / (exponent / variances + precision)
    log_mass = exponent * weight.log() - 0.5 * exponent * (count * torch.log(2.0 * math.pi * variances)).sum()
    log_mass = log_mass + 0.5 * (count * torch.log(2.0 * math.pi * narrowed)).sum()
    if tilt is not None:
        gap = tilt.centre.to(mean) - mean
        mean = mean + spaces.apply(precision * narrowed, gap)
        spread = variances / exponent + tilt.std**2
        log_mass = log_mass - 0.5 * spaces.squared_norm(1.0 / spread, gap)
    return GaussianTarget.of_spaces(mean, spaces.replaced(narrowed)), log_mass
