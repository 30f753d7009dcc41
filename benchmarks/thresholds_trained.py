"""Small trained denoisers on spiked data, one pair of disjoint training sets for every size.

All networks are members of one ensemble of perceptrons, so the whole curve is one training run. They are
trained for a fixed number of steps without early stopping: what a network makes of too few points is shown
and not hidden.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from sciffusion.continuous import (
    ContinuousPrediction,
    DenoisingObjective,
    DPMSolverMultistep,
    NetworkDenoiser,
    PointwiseDenoiser,
    Trigonometric,
)
from sciffusion.diagnostics import principal_directions, sample_agreement
from sciffusion.networks import ConditionalMLP
from sciffusion.sampling import State, sample, uniform_grid

__all__ = ["spiked", "trained_curve"]

PATH = Trigonometric()


def spiked(count: int, dim: int, strength: float, generator: torch.Generator) -> Tensor:
    """Draw white data with a latent of the given variance along the first axis."""
    x = torch.randn(count, dim, generator=generator, dtype=torch.float64)
    x[:, 0] += math.sqrt(strength) * torch.randn(count, generator=generator, dtype=torch.float64)
    return x


class _Member(PointwiseDenoiser):
    """One network of the ensemble."""

    def __init__(self, ensemble: NetworkDenoiser, index: int, members: int) -> None:
        self.ensemble, self.index, self.members, self.path = ensemble, index, members, ensemble.path

    def predict(self, x: Tensor, t: Tensor | float, condition: Any = None) -> ContinuousPrediction:
        every = self.ensemble.predict(x.expand(self.members, *x.shape), t)
        return ContinuousPrediction(every.value[self.index], every.kind)


def _train(
    data: Sequence[Tensor], steps: int, generator: torch.Generator, batch: int = 128
) -> NetworkDenoiser:
    members, dim = len(data), data[0].shape[1]
    network = ConditionalMLP(members, dim, 0, dim, width=64, depth=2, generator=generator)
    nothing = torch.zeros(1, 0)
    denoiser = NetworkDenoiser(lambda x, t, c: network(x, t, nothing), PATH, "v")
    sizes = torch.tensor([[rows.shape[0]] for rows in data])
    rows = torch.nn.utils.rnn.pad_sequence([part.to(torch.float32) for part in data], batch_first=True)
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    objective = DenoisingObjective(PATH)
    for _ in range(steps):
        index = (torch.rand(members, batch, generator=generator) * sizes).long()
        x0 = rows[torch.arange(members)[:, None], index]
        t = torch.rand(members, batch, generator=generator)
        loss = objective(denoiser, x0, t, torch.randn(x0.shape, generator=generator)).mean((1, 2)).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return denoiser


def trained_curve(
    ratios: Sequence[float],
    *,
    dim: int = 20,
    strength: float = 3.0,
    pairs: int = 2,
    steps: int = 2000,
    n_samples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Train pairs of networks on disjoint halves and give agreement and squared overlap for every size."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [(ratio, pair) for ratio in ratios for pair in range(pairs)]
    data = [
        spiked(max(2, round(ratio * dim)), dim, strength, generator) for ratio, _ in sizes for _ in range(2)
    ]
    ensemble = _train(data, steps, generator)
    grid = uniform_grid(30)
    start = torch.randn(1, n_samples, dim, generator=generator).expand(len(data), -1, -1)
    with torch.no_grad():
        samples = sample(ensemble, DPMSolverMultistep(2), grid, state=State(x=start)).samples
    rows = []
    for place, (ratio, pair) in enumerate(sizes):
        models = [_Member(ensemble, 2 * place + side, len(data)) for side in range(2)]
        agreement = sample_agreement(
            *models, DPMSolverMultistep(2), grid, shape=(200, dim), generator=generator
        )
        for side in range(2):
            generated, points = samples[2 * place + side].to(torch.float64), data[2 * place + side]
            rows.append(
                {
                    "steps": steps,
                    "n/d": ratio,
                    "pair": pair,
                    "cosine": agreement.cosine,
                    "overlap^2": _squared_overlap(generated),
                    "overlap^2 of its data": _squared_overlap(points),
                }
            )
    return pd.DataFrame(rows)


def _squared_overlap(samples: Tensor) -> float:
    """Give the squared overlap of the first principal direction with the planted one, the first axis."""
    return float(principal_directions(samples, 1)[0, 0] ** 2)
