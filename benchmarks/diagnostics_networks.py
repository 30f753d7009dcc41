"""Small networks, really trained, whose faults the diagnostics are to find."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from sciffusion.continuous import (
    DenoisingObjective,
    EDMPreconditioning,
    NetworkDenoiser,
    VariancePreserving,
)

__all__ = ["PATH", "Perceptron", "train"]

PATH = VariancePreserving()
#: Range of the log signal-to-noise ratio in training: from nearly pure noise to a noise of less than .01.
LOWEST, HIGHEST = -4.5, 5.0


class Perceptron(nn.Module):
    """A perceptron of a value and of sines and cosines of its noise level.

    Parameters
    ----------
    dim, width : int
        Size of the value and of the three hidden layers.
    generator : torch.Generator
        Draws the starting weights; the output layer starts at zero.
    """

    def __init__(self, dim: int, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.tensor([0.5, 1.0, 2.0, 4.0]))
        sizes = [dim + 8, width, width, width]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            layers += [_linear(inputs, outputs, generator), nn.SiLU()]
        self.layers = nn.Sequential(*layers, _linear(width, dim, None))

    def forward(self, x: Tensor, time: Tensor, condition: Any = None) -> Tensor:
        """Evaluate on ``x`` of shape ``(count, dim)``; ``time`` is a scalar or of shape ``(count,)``."""
        angles = time[..., None] * self.frequencies.to(x.dtype)
        features = torch.cat([angles.sin(), angles.cos()], -1).expand(*x.shape[:-1], 8)
        return self.layers(torch.cat([x, features], -1))


def _linear(inputs: int, outputs: int, generator: torch.Generator | None) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    with torch.no_grad():
        layer.bias.zero_()
        layer.weight.zero_()
        if generator is not None:
            layer.weight.add_(torch.randn(layer.weight.shape, generator=generator) * (1.3 / inputs) ** 0.5)
    return layer


def train(
    draw: Callable[[int, torch.Generator], Tensor],
    dim: int,
    *,
    seed: int,
    steps: int = 3000,
    width: int = 64,
    batch: int = 512,
) -> NetworkDenoiser:
    """Train a perceptron with EDM preconditioning on batches that ``draw(count, generator)`` gives."""
    generator = torch.Generator().manual_seed(seed)
    denoiser = NetworkDenoiser(Perceptron(dim, width, generator), PATH, "x0", EDMPreconditioning())
    optimiser = torch.optim.Adam(denoiser.network.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    objective = DenoisingObjective(PATH, "edm")
    for _ in range(steps):
        x0 = draw(batch, generator).to(torch.float32)
        uniform = torch.rand(batch, generator=generator, dtype=torch.float64)
        t = PATH.time_of_log_snr(LOWEST + (HIGHEST - LOWEST) * uniform)
        loss = objective(denoiser, x0, t, torch.randn(x0.shape, generator=generator)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    denoiser.network.requires_grad_(False)
    return denoiser
