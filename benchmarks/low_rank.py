"""Low-rank data: a plane in many dimensions, and networks that predict x0, eps or v on it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pandas as pd
import torch
from reporting import RowFile
from torch import Tensor, nn

from sciffusion.continuous import DenoisingObjective, DPMSolverMultistep, NetworkDenoiser, RectifiedFlow
from sciffusion.sampling import log_snr_grid, sample
from sciffusion.training import LogitNormal, TrainingOptions, fit_network

__all__ = ["KINDS", "WIDTHS", "energy_distance", "low_rank_table", "make_embedding"]

KINDS = ("x0", "eps", "v")
WIDTHS = (2, 32, 512)
CENTRES = torch.tensor([[-1.0, -0.5], [1.0, -0.5], [0.0, 1.0]])
SPREAD = 0.15
STEPS = 1000
POINTS = 2000
NFE = 40


class _Network(nn.Module):
    """Five layers of 256 units on the values and the time."""

    def __init__(self, dim: int, seed: int) -> None:
        super().__init__()
        sizes = [dim + 1, 256, 256, 256, 256]
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(256, dim))
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                bound = parameter.shape[-1] ** -0.5
                parameter.uniform_(-bound, bound, generator=generator)

    def forward(self, x: Tensor, time: Tensor, condition: object = None) -> Tensor:
        time = time.reshape(time.shape + (1,) * (x.ndim - time.ndim)).expand(*x.shape[:-1], 1)
        return self.layers(torch.cat([x, time], dim=-1))


def _plane(count: int, generator: torch.Generator) -> Tensor:
    label = torch.randint(len(CENTRES), (count,), generator=generator)
    return CENTRES[label] + SPREAD * torch.randn(count, 2, generator=generator)


def make_embedding(dim: int, seed: int = 0) -> Tensor:
    """Give two random orthonormal rows of length ``dim``."""
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(dim, 2, generator=generator)).Q.mT.contiguous()


def energy_distance(first: Tensor, second: Tensor) -> float:
    """Give the energy distance of two samples, 0 for equal laws."""
    across = torch.cdist(first, second).mean()
    within = [torch.cdist(x, x).sum() / (len(x) * (len(x) - 1)) for x in (first, second)]
    return float(2.0 * across - within[0] - within[1])


def _generated(dim: int, kind: str, steps: int, embedding: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    data = _plane(20_000, generator) @ embedding
    path = RectifiedFlow()
    network = _Network(dim, seed=2)
    denoiser = NetworkDenoiser(network, path, kind)  # type: ignore[arg-type]
    # One loss for all: the squared error of v, whatever is predicted.
    objective, times = DenoisingObjective(path, "v", maximum_weight=400.0), LogitNormal(scale=1.0)

    def loss(net: nn.Module, batch: tuple[Tensor, ...], source: torch.Generator) -> Tensor:
        (x0,) = batch
        t = times.sample(len(x0), source).times
        noise = torch.randn(x0.shape, generator=source)
        return objective(denoiser, x0, t, noise).mean()

    options = TrainingOptions(
        max_steps=steps, batch_size=256, learning_rate=1e-3, learning_rate_schedule="cosine",
        ema_relative_std=0.05, patience=None, evaluate_every=500,
    )  # fmt: skip
    fit_network(network, loss, (data,), options=options, seed=3)
    grid = log_snr_grid(path, NFE, start=0.995, last_log_snr=4.0)
    return sample(denoiser, DPMSolverMultistep(2), grid, shape=(POINTS, dim), generator=generator).samples


def low_rank_table(
    path: Path, resume: bool = False, widths: Sequence[int] = WIDTHS, steps: int = STEPS
) -> pd.DataFrame:
    """Train each kind in each dimension and give its errors; every row is written as it comes."""
    rows = RowFile(path, ("D", "predicts"), {"steps": steps}, resume)
    truth = _plane(POINTS, torch.Generator().manual_seed(4))
    for dim in widths:
        embedding = make_embedding(dim)
        for kind in KINDS:
            if (dim, kind) in rows:
                continue
            samples = _generated(dim, kind, steps, embedding)
            inside = samples @ embedding.mT
            outside = (samples - inside @ embedding).square().sum(1).mean().sqrt()
            energy = energy_distance(inside, truth)
            rows.add({"D": dim, "predicts": kind, "energy": energy, "outside": float(outside)})
    return rows.frame()
