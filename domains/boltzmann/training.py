r"""The loss by which the score of particles is learned, from positions and, where known, forces.

Write :math:`y = x_0 + \tilde\sigma\varepsilon` for scaled positions with noise, :math:`\varepsilon` centred.
The score of y is the conditional mean of either of two targets,

.. math:: \nabla\log p(y) = E\Bigl[-\frac{\varepsilon}{\tilde\sigma} \Big| y\Bigr]
   = E\bigl[\nabla\log p(x_0) \mid y\bigr], \qquad \nabla\log p(x_0) = \frac{f(x_0)}{k_B T},

denoising and target score matching, and so of any mixture of them (the second in De Bortoli, Hutchinson,
Wirnsberger and Doucet, *Target Score Matching*, arXiv 2402.08667).  The first is noisy at small
:math:`\tilde\sigma`, the second at large.  With weight w on the second the mean square of the target is least
at

.. math:: w = \frac{\ell^2}{\ell^2 + \tilde\sigma^2}, \qquad \ell^{-2} = \frac{E|\nabla\log p(x_0)|^2}{D},

D the number of dimensions, since the two are uncorrelated; for Gaussian data of standard deviation
:math:`\ell` the mixture is the score itself.  For data of unit variance the target of the network's raw
output has mean square :math:`1 - \ell^2` at every noise level then, and a conditional variance v of about
:math:`\tilde\sigma^2 / (\tilde\sigma^2 + \ell^2)`; the loss is divided by :math:`v + 0.03 (1 - v)`.  Without
forces (w = 0) the mean square is :math:`1 + \ell^2/\tilde\sigma^2`, which divides the loss in its place.  The
length :math:`\ell`, the closed form of w and the weighting are constructions of this library.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sciffusion.continuous import NetworkDenoiser
from sciffusion.continuous.path import align
from sciffusion.networks.egnn import centre

__all__ = ["NoiseRange", "ParticleObjective"]

_LOW_SHARE, _INNER_SHARE = 0.2, 0.65
_SPREAD = 0.75


@dataclass(frozen=True)
class NoiseRange:
    """Noise levels, relative to the signal and in units of the scaled positions.

    Most levels of training lie where structure forms: from a third of the smallest scale of the density to
    six times it or, where the law has larger scales beside stiff bonds, to three quarters of its spread.
    Above and below, the score is nearly that of a Gaussian or of the data.

    Parameters
    ----------
    low, high : float
        Smallest and largest level.
    local_scale : float
        Smallest scale of the density.
    """

    low: float
    high: float
    local_scale: float

    def sample(self, uniforms: Tensor) -> Tensor:
        """Map uniform numbers to levels; each part is spaced evenly in its logarithm."""
        low = max(self.local_scale / 3.0, self.low)
        high = max(min(max(6.0 * self.local_scale, _SPREAD), self.high), low)
        below = self.low * (low / self.low) ** (uniforms / _LOW_SHARE)
        inner = low * (high / low) ** ((uniforms - _LOW_SHARE) / _INNER_SHARE)
        rest = 1.0 - _LOW_SHARE - _INNER_SHARE
        above = high * (self.high / high) ** ((uniforms - _LOW_SHARE - _INNER_SHARE) / rest)
        return torch.where(
            uniforms < _LOW_SHARE, below, torch.where(uniforms < _LOW_SHARE + _INNER_SHARE, inner, above)
        )


@dataclass(frozen=True)
class ParticleObjective:
    """Loss of a batch of positions, weights and, perhaps, scores.

    Parameters
    ----------
    denoiser : callable
        From a network to its `NetworkDenoiser`.
    local_scale : float
        The length of the module's equations.
    noise : NoiseRange
        Levels to learn.
    variance_floor : float, default 0.03
        Least variance of a target by which a loss is divided.
    """

    denoiser: Callable[[nn.Module], NetworkDenoiser]
    local_scale: float
    noise: NoiseRange
    variance_floor: float = 0.03

    def __call__(self, network: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
        """Return the mean loss at random noise of ``(positions, weights)`` or with scores after them."""
        x0, home = batch[0], generator.device
        strata = torch.randperm(len(x0), generator=generator, device=home)
        shift = torch.rand(len(x0), generator=generator, device=home)
        levels = self.noise.sample(((strata + shift) / len(x0)).to(x0.device).double())
        noise = torch.randn(x0.shape, generator=generator, device=home).to(x0.device)
        return self.at(network, batch, levels, centre(noise))

    def at(self, network: nn.Module, batch: tuple[Tensor, ...], levels: Tensor, noise: Tensor) -> Tensor:
        """Return the mean loss at given levels ``(batch,)`` and centred noise of the positions' shape."""
        x0, weights, *scores = batch
        denoiser, local = self.denoiser(network), self.local_scale
        share = local**2 / (local**2 + levels**2) if scores else torch.zeros_like(levels)
        target = -align(1.0 - share, x0) * noise
        if scores:
            target = target + align(share * levels, x0) * scores[0]
        level = align(levels, x0)
        noisy, wanted = x0 + level * noise, x0 + level * (noise + target)
        times = denoiser.path.time_of_log_snr(-levels.log())
        state = align(denoiser.path.coefficients(times).alpha, x0) * noisy
        error = denoiser.predict(state, times).value - wanted
        raw = align(((levels**2 + 1.0) * (levels**2 + local**2)).sqrt() / levels**2, x0)
        losses = (raw * error).square().flatten(1).mean(1)
        losses = losses * self._precision(levels, bool(scores))
        return (weights * losses).sum() / weights.sum().clamp_min(1e-12)

    def _precision(self, levels: Tensor, with_scores: bool) -> Tensor:
        """Return one over the variance of the target of the network's raw output, roughly."""
        share = levels**2 / (levels**2 + self.local_scale**2)
        return 1.0 / (share + self.variance_floor * (1.0 - share)) if with_scores else share
