r"""Log densities of noisy configurations by a network of energies.

With y = x/alpha, noise :math:`\tilde\sigma` relative to the signal, :math:`u = \log\tilde\sigma` and local
scale :math:`\ell` the model is

.. math:: \log p(y, u) = -\frac{|y|^2}{2 (1 + \tilde\sigma^2)}
   + \frac{1}{\sqrt{\tilde\sigma^2 + \ell^2}}\, E\Bigl(\frac{y}{\sqrt{1 + \tilde\sigma^2}}, \frac u4\Bigr)
   + \text{const}(u),

whose gradient is the score of the preconditioned denoiser with :math:`F = \nabla E` as its network, so that
the loss, its weights and the sampler stay as they are (a construction of this library).

A learned energy should obey the equation of diffusion, :math:`\partial_u \log p = \tilde\sigma^2
(\operatorname{div} s + |s|^2)` with :math:`s = \nabla_y \log p`, up to the constant. The penalty

.. math:: \frac{(\tilde\sigma^2 + \ell^2)^2}{\tilde\sigma^4 D} \operatorname{Var}\bigl[\partial_u \log p -
   \tilde\sigma^2 (\operatorname{div} s + |s|^2)\bigr]

over configurations at one level measures by how much it does not, in units of what the two terms vary by in
Gaussian data of standard deviation :math:`\ell`. The divergence takes two independent probes, and the
variance the product of both estimates, which is unbiased (constructions of this library). The idea of
regularising an energy by the Fokker-Planck equation at small noise is that of *Consistent Sampling and
Simulation: Molecular Dynamics with Energy-Based Diffusion Models*, arXiv 2506.17139.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sciffusion.continuous import NetworkDenoiser
from sciffusion.networks.egnn import centre

from .training import ParticleObjective

__all__ = ["EnergyDenoiser", "FokkerPlanckObjective", "log_energy", "residual_variance"]

LogDensity = Callable[[Tensor, Tensor], Tensor]


def log_energy(network: Any, local_scale: float, y: Tensor, level: Tensor) -> Tensor:
    """Return the log density up to a constant of the level, shape ``(batch,)``.

    Parameters
    ----------
    network : EquivariantEnergy
        On scaled positions.
    local_scale : float
        Of the preconditioning.
    y : Tensor of shape (batch, particles, dimensions)
        Noisy positions over the signal.
    level : Tensor
        Log of the relative noise u, a scalar or shape ``(batch,)``.
    """
    y = centre(y)
    square = torch.exp(2.0 * level)
    scale = torch.sqrt(1.0 + square)
    inside = y / (scale.reshape(-1, 1, 1) if scale.ndim else scale)
    start = -0.5 * y.square().flatten(1).sum(1) / (1.0 + square)
    found: Tensor = start + network.energy(inside, 0.25 * level) / torch.sqrt(square + local_scale**2)
    return found


class EnergyDenoiser(NetworkDenoiser):
    """The denoiser of a network of energies, which also knows log densities."""

    def log_density(self, x: Tensor, t: Tensor | float) -> Tensor:
        """Return log densities ``(batch,)`` of noisy positions, up to a constant of the time."""
        assert self.preconditioning is not None
        coefficients = self.path.coefficients(torch.as_tensor(t, dtype=torch.float64))
        level = (-coefficients.log_snr).to(x.dtype).to(x.device)
        alpha = coefficients.alpha.to(x.dtype).to(x.device)
        y = x / (alpha.reshape(-1, 1, 1) if alpha.ndim else alpha)
        with torch.no_grad():
            return log_energy(self.network, self.preconditioning.local_scale, y, level)


def residual_variance(
    log_density: LogDensity, y: Tensor, level: Tensor, local_scale: float, generator: torch.Generator
) -> Tensor:
    """Return the penalty of the module's equation, unbiased, with a graph to the parameters.

    Parameters
    ----------
    log_density : callable
        From positions and levels ``(batch,)`` to log densities ``(batch,)``, differentiable three times.
    y : Tensor of shape (batch, particles, dimensions)
        Centred noisy positions, two or more.
    level : Tensor
        Log of the relative noise, a scalar.
    local_scale : float
        The length of the equation.
    generator : torch.Generator
        Source of the probes.
    """
    with torch.enable_grad():
        y = y.detach().requires_grad_(True)
        levels = level.expand(len(y)).detach().clone().requires_grad_(True)
        total = log_density(y, levels).sum()
        score, growth = torch.autograd.grad(total, (y, levels), create_graph=True)
        square = torch.exp(2.0 * level)
        steady = growth - square * score.square().flatten(1).sum(1)
        parts = []
        for _ in range(2):
            probe = _probe(y, generator)
            (row,) = torch.autograd.grad(score, y, probe, create_graph=True)
            divergence = (row * probe).flatten(1).sum(1)
            parts.append(steady - square * divergence)
    first, second = (part - part.mean() for part in parts)
    scale = (square + local_scale**2) ** 2 / (square**2 * _dof(y))
    penalty: Tensor = scale * (first * second).sum() / (len(y) - 1)
    return penalty


def _dof(y: Tensor) -> int:
    return (y.shape[1] - 1) * y.shape[2]


def _probe(y: Tensor, generator: torch.Generator) -> Tensor:
    """Return centred probes of one length, for which isotropic Hessians give exact divergences."""
    normal = centre(torch.randn(y.shape, generator=generator, device=generator.device).to(y))
    length = normal.flatten(1).norm(dim=1).reshape(-1, 1, 1)
    scaled: Tensor = normal * (math.sqrt(_dof(y)) / length)
    return scaled


@dataclass(frozen=True)
class FokkerPlanckObjective:
    """The loss of scores plus the penalty at one level of noise a step.

    Parameters
    ----------
    inner : ParticleObjective
        Loss of scores.
    weight : float
        Of the penalty.
    rows : int
        Configurations of a batch that the penalty takes.
    """

    inner: ParticleObjective
    weight: float
    rows: int = 64

    def __call__(self, network: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
        """Return loss plus penalty (see `ParticleObjective`)."""
        loss = self.inner(network, batch, generator)
        x0, home = batch[0][: self.rows], generator.device
        if len(x0) < 2:
            return loss
        share = torch.rand((), generator=generator, device=home).to(x0)
        low, local = self.inner.noise.low, self.inner.local_scale
        level = math.log(low) + share * math.log(max(local / low, 1.0))
        noise = torch.randn(x0.shape, generator=generator, device=home).to(x0.device)
        y = x0 + torch.exp(level) * centre(noise)

        def log_density(values: Tensor, levels: Tensor) -> Tensor:
            return log_energy(network, local, values, levels)

        return loss + self.weight * residual_variance(log_density, y, level, local, generator)
