"""The target, the learned flow maps and the samplers of `core_few_step.py`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn

from sciffusion.continuous import (
    ConsistencyModel,
    ConsistencyObjective,
    DPMSolverMultistep,
    Euler,
    Heun,
    Solver,
    TrajectoryModel,
    TrajectoryObjective,
    Trigonometric,
)
from sciffusion.exact import ExactDenoiser, GaussianMixtureTarget
from sciffusion.networks import TwoTimeMLP
from sciffusion.sampling import State, few_step_sample, log_snr_grid, sample, uniform_grid
from sciffusion.training import LogNormalNoise, TrainingOptions, fit_network

__all__ = [
    "BIASED",
    "LEARNED",
    "PATH",
    "SOLVERS",
    "START",
    "TARGET",
    "TEACHER",
    "data_std",
    "fit",
    "jump",
    "solve",
    "starts",
]  # fmt: skip

PATH, START, WIDTH, BATCH, ROWS = Trigonometric(), 0.99, 64, 512, 20_000
_ANGLES = torch.arange(6, dtype=torch.float64) * (math.pi / 3.0)
_CENTRES = 1.5 * torch.stack([_ANGLES.cos(), _ANGLES.sin()], dim=1)
TARGET = GaussianMixtureTarget.from_stds(
    [1.0, 1.0, 1.0, 2.0, 2.0, 3.0], _CENTRES, torch.full_like(_CENTRES, 0.25)
)
TEACHER = ExactDenoiser(TARGET, PATH)
BIASED = "sCM from data, normalised by item"
LEARNED = ("sCM distilled", "sCM from data", "CTM distilled", BIASED)
SOLVERS: dict[str, Callable[[], Solver]] = {
    "Euler": Euler,
    "Heun": Heun,
    "DPM-Solver++ 2M": DPMSolverMultistep,
}


@cache
def data_std() -> float:
    """Give the standard deviation of the data, over all coordinates."""
    return float(TARGET.draw(ROWS, torch.Generator().manual_seed(0)).std())


def _objective(name: str, updates: int) -> tuple[type[nn.Module], Callable[..., Tensor]]:
    # Wider than the source's proposal, for one jump starts at noise 60 times the data.
    location = 0.0 if name.startswith("CTM") else -0.5
    times = LogNormalNoise(time_of_log_snr=PATH.time_of_log_snr, location=location, scale=1.6)
    if name == "CTM distilled":
        return TrajectoryModel, TrajectoryObjective(times, TEACHER)
    warmup = updates // 4
    if name == "sCM distilled":
        return ConsistencyModel, ConsistencyObjective(times, TEACHER, warmup)
    return ConsistencyModel, ConsistencyObjective(
        times, None, warmup, normalisation="item" if name == BIASED else "batch"
    )


def fit(name: str, updates: int, seed: int) -> tuple[nn.Module, float]:
    """Train one flow map and give it with its CPU seconds."""
    generator = torch.Generator().manual_seed(100 + seed)
    n_times = 2 if name.startswith("CTM") else 1
    network = TwoTimeMLP(2, width=WIDTH, depth=4, n_times=n_times, generator=generator)
    kind, objective = _objective(name, updates)
    model = kind(network, PATH, data_std())
    rows = TARGET.draw(ROWS, torch.Generator().manual_seed(200 + seed)).float()
    options = TrainingOptions(
        max_steps=updates, batch_size=BATCH, learning_rate=1e-3, learning_rate_schedule="cosine",
        ema_relative_std=0.05, warmup_steps=50, patience=None, evaluate_every=updates, threads=1,
    )  # fmt: skip
    began = time.process_time()
    fit_network(model, objective, (rows,), options=options, seed=seed)
    return model, time.process_time() - began


def starts(count: int, seed: int) -> Tensor:
    """Draw states at the starting time, from their exact law."""
    return TEACHER.draw_marginal(count, START, torch.Generator().manual_seed(300 + seed))


def jump(model: nn.Module, n_steps: int, gamma: float, count: int, seed: int) -> Tensor:
    """Sample by equally spaced jumps."""
    result = few_step_sample(
        model, uniform_grid(n_steps, START), state=State(x=starts(count, seed).float()), gamma=gamma,
        generator=torch.Generator().manual_seed(400 + seed),
    )  # fmt: skip
    assert result.nfe == n_steps
    return result.samples.double()


def solve(name: str, spacing: str, nfe: int, count: int, seed: int) -> Tensor | None:
    """Sample with the exact denoiser and a solver within ``nfe`` evaluations; None where none fits."""
    solver = SOLVERS[name]()
    # Heun's last step, to clean data, takes one evaluation only.
    steps = (nfe + 1) // 2 if name == "Heun" else nfe
    if spacing == "log":
        if steps < 2:
            return None
        grid = log_snr_grid(PATH, steps, START, last_log_snr=3.0)
    else:
        grid = uniform_grid(steps, START)
    result = sample(TEACHER, solver, grid, state=State(x=starts(count, seed)))
    assert result.nfe <= nfe
    return result.samples
