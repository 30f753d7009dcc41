"""Aligned steps against the closed form for Gaussian data, quadrature and samplers."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from scipy.integrate import quad
from torch import Tensor

from sciffusion.continuous import (
    ERSDE,
    ContinuousPrediction,
    Path,
    PowerScale,
    RectifiedFlow,
    Trigonometric,
    VarianceExploding,
)
from sciffusion.exact import ExactDenoiser, GaussianTarget
from sciffusion.sampling import State, angle_grid, log_snr_grid, power_grid
from sciffusion.sampling.align_steps import align_steps, gaussian_klub, klub, refine_grid

STD = 0.5
PATH = VarianceExploding(0.002, 80.0)
#: The optimum of the closed form for ten steps (to the digits shown).
OPTIMAL = (0.0020, 0.0035, 0.0060, 0.0105, 0.0182, 0.0317, 0.0553, 0.0972, 0.1756, 0.352, 80.0)


def _levels(grid: Tensor, path: Path = PATH) -> Tensor:
    return path.coefficients(grid).noise_to_signal


def _denoiser(path: Path = PATH) -> ExactDenoiser:
    return ExactDenoiser(GaussianTarget.isotropic(1, STD), path)


def _data(rows: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return STD * torch.randn(rows, 1, generator=generator, dtype=torch.float64)


def test_closed_form_is_the_integral() -> None:
    levels = torch.tensor([0.01, 0.05, 0.3, 2.0], dtype=torch.float64)
    expected = sum(
        quad(lambda t, b=b: t**-3 * STD**4 * (1 / (STD**2 + t**2) - 1 / (STD**2 + b**2)), a, b)[0]
        for a, b in zip(levels[:-1].tolist(), levels[1:].tolist(), strict=True)
    )
    assert float(gaussian_klub(levels, STD)) == pytest.approx(expected, rel=1e-9)
    assert float(gaussian_klub(levels.flip(0), STD)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("grid", "reference"),
    [
        (log_snr_grid(PATH, 10), 11.73),
        (power_grid(PATH, 10), 46.6),
        (angle_grid(PATH, 10, data_std=STD), 790.6),
        (PATH.time_of_log_snr(-torch.tensor(OPTIMAL, dtype=torch.float64).log()).flip(0), 4.564),
    ],
    ids=["log-linear", "power", "tangent", "optimum"],
)
def test_known_grids_have_their_reference_values(grid: Tensor, reference: float) -> None:
    assert float(gaussian_klub(_levels(grid), STD)) == pytest.approx(reference, rel=1e-3)


def test_optimiser_recovers_the_optimum() -> None:
    found = align_steps(_denoiser(), _data(3000), 10, torch.Generator().manual_seed(1), n_levels=320)
    exact = float(gaussian_klub(_levels(found.grid), STD))
    # 4.564 is the least there is, so the found grid can only lie above it.
    assert 4.563 < exact < 4.60
    assert found.klub == pytest.approx(4.564, rel=0.03)
    assert found.log_linear_klub == pytest.approx(11.73, rel=0.03)
    optimum = torch.tensor(OPTIMAL, dtype=torch.float64)
    off = (_levels(found.grid).flip(0) / optimum).log().abs()
    assert float(off.max()) < 0.12


def test_grid_is_the_same_on_every_path() -> None:
    # Only the relative noise matters: the levels agree where start and end of the paths do.
    grids = []
    for path in (PATH, Trigonometric()):
        start, end = path.time_of_log_snr(-torch.tensor([20.0, 0.01], dtype=torch.float64).log()).tolist()
        found = align_steps(
            _denoiser(path),
            _data(300),
            6,
            torch.Generator().manual_seed(1),
            start=start,
            end=end,
            n_levels=64,
        )
        grids.append(_levels(found.grid, path))
    torch.testing.assert_close(*grids, rtol=1e-6, atol=1e-9)


def test_estimate_is_unbiased_also_for_an_imperfect_denoiser() -> None:
    grid = log_snr_grid(PATH, 4, start=0.8, end=0.3)
    levels = _levels(grid).flip(0)
    estimate, error = klub(_denoiser(), grid, _data(4000), torch.Generator().manual_seed(0))
    assert float(estimate) == pytest.approx(float(gaussian_klub(levels, STD)), abs=4.0 * float(error))
    # D = a x with a fixed gain: E|D(x) - D(x')|^2 = a^2 (tau'^2 - tau^2), which the martingale form misses.
    linear = _Gain()
    estimate, error = klub(linear, grid, _data(4000), torch.Generator().manual_seed(0))
    expected = sum(
        0.09 * (0.5 * b**2 * (a**-2 - b**-2) - math.log(b / a))
        for a, b in zip(levels[:-1].tolist(), levels[1:].tolist(), strict=True)
    )
    assert float(error) < 0.05 * expected
    assert float(estimate) == pytest.approx(expected, abs=4.0 * float(error))
    # For that denoiser equal steps in log noise are the best ones.
    found = align_steps(linear, _data(4000), 4, torch.Generator().manual_seed(0), start=0.8, end=0.3)
    torch.testing.assert_close(_levels(found.grid).flip(0), levels, rtol=0.06, atol=0)
    assert found.klub == pytest.approx(expected, rel=0.03)


class _Gain:
    path = PATH

    def __call__(self, state: State, condition: object = None, cache: object = None) -> ContinuousPrediction:
        return ContinuousPrediction(0.3 * state.x, "x0")


@pytest.mark.parametrize("path", [PATH, RectifiedFlow()], ids=repr)
def test_refined_grids_keep_their_points_and_halve_the_log_steps(path: Path) -> None:
    grid = log_snr_grid(path, 5, start=0.95)
    fine = refine_grid(path, grid, 4)
    torch.testing.assert_close(fine[::4], grid, rtol=0, atol=1e-12)
    assert bool((fine.diff() < 0.0).all())
    logs = path.log_snr(fine)[:17].diff()
    torch.testing.assert_close(
        logs, (path.log_snr(grid)[:5].diff() / 4).repeat_interleave(4), rtol=1e-9, atol=1e-9
    )


class _Constant:
    """Noise of a fixed value in the place of draws."""

    def __init__(self, value: float) -> None:
        self.value = value

    def draw(self, like: Tensor, generator: object, t: Tensor, t_next: Tensor) -> Tensor:
        return torch.full_like(like, self.value)


def _divergence(grid: Tensor) -> tuple[float, float]:
    """Return the divergences KL(exact, solver) of the states on the grid together and of the last one.

    The solver is the first-order one of the reverse equation, from the exact start, on Gaussian data: each of
    its steps is a gain and a noise, read off the solver itself.
    """
    denoiser, unit = _denoiser(), torch.ones(1, dtype=torch.float64)
    variances = (STD**2 + _levels(grid) ** 2).tolist()
    together, solved = 0.0, variances[0]
    for pair, (old, new) in zip(pairwise(grid), pairwise(variances), strict=True):
        state = State(x=unit, t=pair[0])
        gain, shifted = (
            float(ERSDE(1, PowerScale(2.0), _Constant(value)).step(state, pair[1], denoiser).x)
            for value in (0.0, 1.0)
        )
        noise = (shifted - gain) ** 2
        # The older state is the newer one plus independent noise.
        exact_gain, exact_noise = new / old, new - new**2 / old
        ratio = exact_noise / noise
        together += 0.5 * (ratio - 1.0 - math.log(ratio) + (gain - exact_gain) ** 2 * old / noise)
        solved = gain**2 * solved + noise
    ratio = variances[-1] / solved
    return together, 0.5 * (ratio - 1.0 - math.log(ratio))


def test_klub_is_the_divergence_of_the_solver_it_is_made_for() -> None:
    # For Gaussian data the bound is an equality on the law of the whole run; the last state's is smaller.
    found = align_steps(_denoiser(), _data(1000), 10, torch.Generator().manual_seed(0))
    grids = {"aligned": found.grid, "log-linear": log_snr_grid(PATH, 10), "power": power_grid(PATH, 10)}
    together = {}
    for name, grid in grids.items():
        together[name], last = _divergence(grid)
        assert together[name] == pytest.approx(float(gaussian_klub(_levels(grid), STD)), rel=1e-8)
        assert last < together[name]
    assert together["aligned"] < 0.5 * together["log-linear"] < 0.5 * together["power"]


def test_aligned_steps_improve_the_last_state_where_noise_ends_near_the_scale_of_the_data() -> None:
    end = float(PATH.time_of_log_snr(-torch.tensor(0.2, dtype=torch.float64).log()))
    found = align_steps(_denoiser(), _data(1000), 10, torch.Generator().manual_seed(0), end=end)
    aligned, even = (_divergence(grid)[1] for grid in (found.grid, log_snr_grid(PATH, 10, end=end)))
    assert aligned < 0.25 * even


def test_bad_use_is_refused() -> None:
    generator = torch.Generator()
    with pytest.raises(ValueError, match="strictly monotone"):
        gaussian_klub(torch.tensor([1.0, 0.5, 0.7]))
    with pytest.raises(ValueError, match="strictly monotone"):
        gaussian_klub(torch.tensor(1.0))
    with pytest.raises(ValueError, match="data_std"):
        gaussian_klub(torch.tensor([1.0, 0.5]), 0.0)
    with pytest.raises(ValueError, match="last_log_snr=-9"):
        align_steps(_denoiser(RectifiedFlow()), _data(4), 3, generator, start=0.9, last_log_snr=-9.0)
    with pytest.raises(ValueError, match="at least one row"):
        align_steps(_denoiser(), _data(4)[:0], 3, generator)
    with pytest.raises(ValueError, match="at least two rows"):
        klub(_denoiser(), torch.tensor([0.9, 0.1]), _data(4)[:1], generator)
    with pytest.raises(ValueError, match="signal at the start"):
        align_steps(_denoiser(Trigonometric()), _data(4), 3, generator, start=0.1, end=0.5)
    with pytest.raises(ValueError, match="n_levels"):
        align_steps(_denoiser(), _data(4), 30, generator, n_levels=20)
    with pytest.raises(ValueError, match="decreasing times"):
        refine_grid(PATH, torch.tensor([0.1, 0.5]))
    with pytest.raises(ValueError, match="above clean data"):
        klub(_denoiser(RectifiedFlow()), torch.tensor([0.9, 0.0]), _data(4), generator)
