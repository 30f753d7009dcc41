r"""The network behind `DensityDiffusion` and `DiffusionAnomalyDetector`: vectors with observed coordinates.

On the trigonometric path :math:`x_t = \cos\theta\,x_0 + \sin\theta\,\varepsilon` every coordinate has a time
of its own: the observed ones are at time 0 and keep their value, the others share one time. With EDM's
preconditioning for data of unit variance (Karras et al., arXiv 2206.00364) the clean estimate is

.. math:: D(x, t) = \cos\theta\, x + \sin\theta\, F(x, t, m), \qquad
          \frac{dx}{d\theta} = -F(x, t, m),

where :math:`m` marks the observed coordinates: the network itself is the velocity of the probability flow,
finite at all times. Training on random m teaches one network the joint law and all conditional ones (the
use of per-element times for this is a construction of this library).

The network is an ensemble: for states with a leading member axis each member answers for itself, otherwise
their mean does, which is the velocity of one flow again.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ...continuous import EDMPreconditioning, NetworkDenoiser, Trigonometric
from ...networks import ConditionalMLP

__all__ = ["PATH", "VectorNetwork", "vector_denoiser"]

#: The path of both estimators; its time is the angle over a quarter turn.
PATH = Trigonometric()

_OBSERVED = -4.0  # a noise input (-log_snr / 4) below this belongs to a coordinate without noise


class VectorNetwork(nn.Module):
    """Ensemble of perceptrons of a noisy vector, its time and the mask of its observed coordinates.

    Parameters
    ----------
    n_members, dim : int
        Networks side by side, and coordinates.
    width, depth : int
        Units of a hidden layer, and hidden layers.
    masked : bool
        Whether the network is told which coordinates are observed.
    generator : torch.Generator
        Draws the starting weights.
    """

    def __init__(
        self, n_members: int, dim: int, *, width: int, depth: int, masked: bool, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.n_members, self.dim, self.masked = n_members, dim, masked
        self.perceptron = ConditionalMLP(
            n_members, dim, dim if masked else 0, dim, width=width, depth=depth, generator=generator
        )

    def forward(self, x: Tensor, noise: Tensor, condition: Any = None) -> Tensor:
        """Evaluate.

        Parameters
        ----------
        x : Tensor
            Preconditioned state, of shape ``(rows, dim)`` or ``(members, rows, dim)``.
        noise : Tensor
            Minus a quarter of the log signal-to-noise ratio, of a shape that is a prefix of that of ``x``.
        condition : object
            Not used.

        Returns
        -------
        Tensor
            Of the shape of ``x``.
        """
        level = noise.reshape(noise.shape + (1,) * (x.ndim - noise.ndim))
        observed = level < _OBSERVED
        time = torch.atan(torch.exp(4.0 * level.amax(-1))) / (0.5 * math.pi)
        if time.numel() == 1:
            time = time.reshape(())
        elif time.ndim == 1:
            time = time[None]
        mask = observed.expand(x.shape).to(x.dtype) if self.masked else x.new_zeros(1, 0)
        if x.ndim == 3:
            return self._members(x, time, mask)
        states = x.expand(self.n_members, *x.shape)
        return self._members(states, time, mask).mean(0)

    def _members(self, x: Tensor, time: Tensor, mask: Tensor) -> Tensor:
        result: Tensor = self.perceptron(x, time, mask)
        return result


def vector_denoiser(network: nn.Module) -> NetworkDenoiser:
    """Return a `VectorNetwork` as the denoiser of standardised data."""
    return NetworkDenoiser(network, PATH, "x0", EDMPreconditioning(1.0))
