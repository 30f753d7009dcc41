"""Time grids: their ends, order and spacing."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sciffusion.continuous import (
    Cosine,
    DPMSolverMultistep,
    Path,
    RectifiedFlow,
    VarianceExploding,
    VariancePreserving,
)
from sciffusion.exact import ExactDenoiser, GaussianTarget
from sciffusion.sampling import State, angle_grid, log_snr_grid, power_grid, sample, uniform_grid

GRIDS = {"log_snr": log_snr_grid, "power": power_grid, "angle": angle_grid}
PATHS = [VariancePreserving(), VarianceExploding(), Cosine(), RectifiedFlow(alpha_min=0.01, sigma_min=0.01)]


@pytest.mark.parametrize("n_steps", [1, 2, 7])
@pytest.mark.parametrize("path", PATHS, ids=repr)
@pytest.mark.parametrize("name", GRIDS)
def test_grids_decrease_between_exact_ends(name: str, path: Path, n_steps: int) -> None:
    grid = GRIDS[name](path, n_steps)
    assert grid.shape == (n_steps + 1,)
    assert grid.dtype == torch.float64
    assert bool((grid.diff() < 0.0).all())
    assert (float(grid[0]), float(grid[-1])) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("name", "scale"),
    [
        ("log_snr", lambda noise: noise.log()),
        ("power", lambda noise: noise ** (1.0 / 7.0)),
        ("angle", lambda noise: torch.atan(noise)),
    ],
)
@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_grids_are_even_on_their_scale(path: Path, name: str, scale: Callable[[Tensor], Tensor]) -> None:
    grid = GRIDS[name](path, 9, start=0.95, end=0.05)
    steps = scale(path.coefficients(grid).noise_to_signal).diff()
    torch.testing.assert_close(steps, steps.mean().expand(9), rtol=1e-8, atol=0.0)


def test_grid_to_clean_data_makes_its_last_step_from_the_given_noise() -> None:
    path = VariancePreserving()
    grid = log_snr_grid(path, 10, last_log_snr=5.0)
    assert float(path.log_snr(grid[-2])) == pytest.approx(5.0, rel=1e-9)
    assert float(grid[-1]) == 0.0


def test_equal_angles_are_the_best_grid_of_first_order_steps_on_gaussian_data() -> None:
    path, std, n_steps = VarianceExploding(0.002, 80.0), 0.5, 10
    denoiser = ExactDenoiser(GaussianTarget.isotropic(1, std=std), path)
    start = torch.ones(1, 1, dtype=torch.float64)
    exact = float(denoiser.flow_map(start, 1.0, 0.0))

    def lost(grid: Tensor) -> float:
        final = sample(denoiser, DPMSolverMultistep(1), grid, state=State(x=start)).samples
        return 1.0 - float(final) / exact

    best = angle_grid(path, n_steps, data_std=std)
    ends = torch.atan(path.coefficients(best[[0, -1]]).noise_to_signal / std)
    assert lost(best) == pytest.approx(
        1.0 - math.cos(float(ends[0] - ends[1]) / n_steps) ** n_steps, rel=1e-9
    )
    for other in (log_snr_grid(path, n_steps), power_grid(path, n_steps), uniform_grid(n_steps)):
        assert lost(other) > lost(best) + 0.01
    nudged = best.clone()
    nudged[4] += 1e-3
    assert lost(nudged) > lost(best)


def test_bad_grid_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="n_steps"):
        uniform_grid(0)
    with pytest.raises(ValueError, match="end < start"):
        uniform_grid(3, 0.2, 0.5)
    with pytest.raises(ValueError, match="no signal"):
        log_snr_grid(RectifiedFlow(), 5)
    with pytest.raises(ValueError, match="last_log_snr"):
        log_snr_grid(VariancePreserving(), 5, last_log_snr=-9.0)
    with pytest.raises(ValueError, match="rho"):
        power_grid(VariancePreserving(), 5, rho=0.0)
    with pytest.raises(ValueError, match="data_std"):
        angle_grid(VariancePreserving(), 5, data_std=-1.0)
