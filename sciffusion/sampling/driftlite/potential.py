r"""The potential of guided particles, and what a control of their drift adds to it.

Write :math:`s` for the score of :math:`p_t`, :math:`r_t = \beta_t r` for the reward and :math:`s_q = \gamma s
+ \beta_t \nabla r` for the score of :math:`q_t \propto p_t^\gamma e^{r_t}`.  Everything is counted in
increments of the path over a step from t to t', with :math:`S^2 = \alpha^2 + \sigma^2` and its logarithmic
mean :math:`\bar S^2` over the step:

.. math::
   L = \log\frac{\alpha'}{\alpha}, \qquad
   Q = \bar S^2 \log\frac{S^2 \alpha'^2}{S'^2 \alpha^2}, \qquad
   \Delta\beta = \beta_{t'} - \beta_t,

the integrals of :math:`-f` and of :math:`g^2` (exact on variance-preserving and variance-exploding paths, of
second order on all).  They depend on the levels alone, so that a change of the clock changes nothing.  Guided
particles drift by :math:`L x + \frac12 (1 + \kappa^2) Q s_q` with noise :math:`\kappa\sqrt Q\,\xi`, and their
log weights grow by

.. math::
   G = r \Delta\beta + (1 - \gamma) d L + \tfrac Q2 \left(\beta\,\Delta r - \gamma (1 - \gamma) |s|^2\right)
     + \beta \nabla r \cdot \left(L x + \gamma Q s + \tfrac Q2 \beta \nabla r\right),

whatever the amount of noise :math:`\kappa`.  A control b added to the drift adds :math:`h(b) = \nabla\cdot b
+ s_q \cdot b` to G and leaves the law as it is; :math:`E_q h = 0`.  Controls are combinations of three fields

.. math:: b = Q \left(\theta_1 \nabla r + \theta_2 s - \theta_3 \frac{x}{\alpha^2 + \sigma^2}\right),

the last of which is the score of the start and, on variance-preserving paths, the drift of the path.

Ren, Gao, Ying, Rotskoff and Han, *DriftLite: Lightweight Drift Control for Inference-Time Scaling of
Diffusion Models*, arXiv 2509.21655, Propositions 2.1 and 3.1; the increments are a construction of this
library.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sciffusion.continuous.path import PathCoefficients, as_times
from sciffusion.sampling.driftlite.rewards import RewardValues

__all__ = ["Increments", "ParticleValues", "RewardSchedule", "Tilt", "signal_fraction"]

RewardSchedule = Callable[[PathCoefficients], Tensor]


def signal_fraction(coefficients: PathCoefficients) -> Tensor:
    r"""Return :math:`\alpha^2 / (\alpha^2 + \sigma^2)`, which rises from noise to data."""
    return coefficients.alpha**2 / (coefficients.alpha**2 + coefficients.sigma**2)


@dataclass(frozen=True)
class Increments:
    """What the path adds over one step: integrated drift ``L`` and squared diffusion ``Q``, and ``dbeta``."""

    log_signal: float
    squared_noise: float
    reward: float


@dataclass(frozen=True)
class Tilt:
    """The exponent of the annealed law and the share of the reward at one time."""

    gamma: float
    beta: float


def dot(first: Tensor, second: Tensor) -> Tensor:
    """Return the inner products of items, shape ``(batch,)``, added up in float64."""
    if first.device.type == "mps":  # has no float64
        return as_times((first * second).flatten(1).sum(1))
    return (first * second).flatten(1).sum(1, dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class ParticleValues:
    """Everything known of the particles at one time.

    Parameters
    ----------
    x, score : Tensor
        Values and score, shape ``(batch, ...)``.
    divergence, log_density : Tensor, optional
        Divergence of the score and log density, shape ``(batch,)``.
    reward : RewardValues, optional
        Reward with gradient and Laplacian.
    squared_scale : float
        ``alpha^2 + sigma^2`` at this time.
    dimension : int
        Of one item.
    """

    x: Tensor
    score: Tensor
    divergence: Tensor | None
    log_density: Tensor | None
    reward: RewardValues | None
    squared_scale: float
    dimension: int

    def target_score(self, tilt: Tilt) -> Tensor:
        """Return the score of the law aimed at, of the shape of ``x``."""
        guided = tilt.gamma * self.score
        return guided if self.reward is None else guided + tilt.beta * self.reward.gradient

    def guidance_potential(self, tilt: Tilt, step: Increments) -> Tensor:
        """Return the increments G of the log weights without control, shape ``(batch,)``."""
        gamma, noise = tilt.gamma, step.squared_noise
        potential = as_times(self.x.new_zeros(self.x.shape[0]))
        if gamma != 1.0:
            constant = (1.0 - gamma) * self.dimension * step.log_signal
            potential = constant - 0.5 * noise * gamma * (1.0 - gamma) * dot(self.score, self.score)
        if self.reward is not None:
            value, slope, laplacian = self.reward
            along = step.log_signal * dot(slope, self.x) + gamma * noise * dot(slope, self.score)
            curved = as_times(laplacian) + tilt.beta * dot(slope, slope)
            potential = potential + step.reward * as_times(value)
            potential = potential + tilt.beta * (along + 0.5 * noise * curved)
        return potential

    def fields(self) -> list[Tensor]:
        """Return the fields from which a control is made, without the factor Q."""
        fields = [] if self.reward is None else [self.reward.gradient]
        return [*fields, self.score, -self.x / self.squared_scale]

    def scalars(self) -> Tensor:
        """Return the functions whose gradients the fields are, shape ``(fields, batch)``."""
        assert self.log_density is not None
        scalars = [] if self.reward is None else [as_times(self.reward.value)]
        square = dot(self.x, self.x) / self.squared_scale
        return torch.stack([*scalars, as_times(self.log_density), -0.5 * square])

    def control_potentials(self, tilt: Tilt) -> Tensor:
        """Return ``div b + s_q . b`` of each field, shape ``(fields, batch)``."""
        target = self.target_score(tilt)
        divergences = [] if self.reward is None else [as_times(self.reward.laplacian)]
        zeros = as_times(self.x.new_zeros(self.x.shape[0]))
        # Without its divergence the score has no part in the control: any number does.
        of_score = zeros if self.divergence is None else as_times(self.divergence)
        divergences = [*divergences, of_score, zeros - self.dimension / self.squared_scale]
        pairs = zip(divergences, self.fields(), strict=True)
        return torch.stack([of_field + dot(target, field) for of_field, field in pairs])
