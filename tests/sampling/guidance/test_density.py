"""Density guidance: the log density of Gaussian samples goes where it is told."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from sciffusion.continuous import DPMSolverMultistep, Euler, Heun, VarianceExploding, VariancePreserving
from sciffusion.exact import ExactDenoiser, GaussianMixtureTarget, GaussianTarget
from sciffusion.sampling import State, log_snr_grid, sample, uniform_grid
from sciffusion.sampling.guidance import DensityGuidance, GuidedDenoiser
from sciffusion.sampling.guidance.density import chi_squared_quantile
from sciffusion.sampling.guidance.density_noise import DensityControlledNoise, MedianNormStart

PATH = VariancePreserving()
STD, DIM, START, END = 0.7, 20, 0.9, 0.05
DENOISER = ExactDenoiser(GaussianTarget.isotropic(DIM, STD), PATH)
RANGE = tuple(float(PATH.log_snr(t)) for t in (START, END))
GRID = log_snr_grid(PATH, 100, START, END)


def _variance(t: float) -> float:
    c = PATH.coefficients(t)
    return float(c.alpha**2 * STD**2 + c.sigma**2)


def _start(count: int = 5) -> State:
    x = torch.randn(count, DIM, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return State(x=math.sqrt(_variance(START)) * x, t=torch.tensor(START, dtype=torch.float64))


def _squares(x: torch.Tensor, t: float) -> torch.Tensor:
    return (x**2).sum(-1) / _variance(t)


@pytest.mark.parametrize("q", [0.45, 0.55])
def test_the_quantile_form_changes_the_squared_norm_as_derived(q: float):
    start = _start()
    result = sample(DENOISER, Heun(), GRID, state=start, guidance=DensityGuidance(q))
    change = _squares(result.samples, END) - _squares(start.x, START)
    normal = float(torch.special.ndtri(torch.tensor(q, dtype=torch.float64)))
    expected = -2.0 * math.sqrt(2.0 * DIM) * normal * (RANGE[1] - RANGE[0])
    torch.testing.assert_close(change, torch.full_like(change, expected), rtol=2e-3, atol=0.0)


@pytest.mark.parametrize("q", [0.05, 0.5, 0.95])
def test_a_range_takes_the_median_start_to_the_quantile_of_the_norm(q: float):
    start = _start()
    scale = (chi_squared_quantile(0.5, DIM) / _squares(start.x, START)).sqrt()
    start = State(x=start.x * scale[:, None], t=start.t)
    guidance = DensityGuidance(q, log_snr_range=RANGE)
    result = sample(DENOISER, Heun(), GRID, state=start, guidance=guidance)
    assert result.nfe == 200
    expected = torch.full((5,), chi_squared_quantile(1.0 - q, DIM), dtype=torch.float64)
    torch.testing.assert_close(_squares(result.samples, END), expected, rtol=2e-3, atol=0.0)
    # Samples of higher density than a share q of the draws have.
    draws = DENOISER.log_density(DENOISER.draw_marginal(20_000, END, torch.Generator().manual_seed(1)), END)
    share = (draws < DENOISER.log_density(result.samples, END)[0]).double().mean()
    assert float(share) == pytest.approx(q, abs=0.01)


@pytest.mark.parametrize("path", [PATH, VarianceExploding(0.02, 5.0)])
@pytest.mark.parametrize("rate", [0.0, -3.0, lambda t: 4.0 * t])
def test_the_rate_form_imposes_the_rate_on_any_law(path: Any, rate: Any):
    means = torch.tensor([[-1.0, 0.0], [1.0, 0.5]])
    target = GaussianMixtureTarget.from_stds([0.4, 0.6], means, torch.full((2, 2), 0.5))
    denoiser = ExactDenoiser(target, path)
    x = torch.tensor([[1.5, 0.4], [-1.0, 1.2]], dtype=torch.float64)
    start, grid = State(x=x), uniform_grid(60, start=0.5, end=0.3)
    result = sample(denoiser, Heun(), grid, state=start, guidance=DensityGuidance(rate=rate))
    change = denoiser.log_density(result.samples, 0.3) - denoiser.log_density(x, 0.5)
    total = -2.0 * (0.5**2 - 0.3**2) if callable(rate) else -0.2 * rate
    torch.testing.assert_close(change, torch.full_like(change, total), rtol=0.0, atol=2e-3)


def test_the_natural_rate_changes_nothing():
    """For isotropic Gaussian data the flow's own rate is known."""

    def natural(t: torch.Tensor) -> torch.Tensor:
        c = PATH.coefficients(t)
        growth = (c.alpha * c.d_alpha * STD**2 + c.sigma * c.d_sigma) / (c.alpha**2 * STD**2 + c.sigma**2)
        return -DIM * growth

    guided = GuidedDenoiser(DENOISER, DensityGuidance(rate=natural))
    torch.testing.assert_close(guided(_start()).value, DENOISER(_start()).value)
    probes = GuidedDenoiser(DENOISER, DensityGuidance(rate=natural, n_probes=1))
    state = State(x=_start().x, t=_start().t, generator=torch.Generator().manual_seed(0))
    # Signs as probes are exact for a multiple of the identity.
    torch.testing.assert_close(probes(state).value, DENOISER(_start()).value)


def _norm_change(noise: float, told: float, n_steps: int) -> torch.Tensor:
    start = _start(200)
    result = sample(
        DENOISER, DensityControlledNoise(noise), log_snr_grid(PATH, n_steps, START, END), state=start,
        guidance=DensityGuidance(0.5, noise_strength=told, n_probes=1),
        generator=torch.Generator().manual_seed(2),
    )  # fmt: skip
    return _squares(result.samples, END) / _squares(start.x, START)


def test_noise_orthogonal_to_the_score_keeps_the_norm_under_guidance_only():
    coarse, fine = _norm_change(1.0, 1.0, 100), _norm_change(1.0, 1.0, 400)
    bias = [float(change.mean()) - 1.0 for change in (coarse, fine)]
    assert abs(bias[1]) < 0.1
    assert bias[0] / bias[1] == pytest.approx(4.0, rel=0.3)  # order 1
    # The chance of single steps shrinks with the root of their length.
    assert float(coarse.std() / fine.std()) == pytest.approx(2.0, rel=0.3)
    assert float(_norm_change(1.0, 0.0, 100).mean()) > 2.0  # noise alone drives the states outwards


def test_the_start_can_be_put_to_the_median_norm():
    result = sample(
        DENOISER, Euler(), uniform_grid(1, start=1.0, end=0.999), shape=(50, DIM),
        hooks=[MedianNormStart(PATH)], generator=torch.Generator().manual_seed(0), dtype=torch.float64,
    )  # fmt: skip
    state = State(x=torch.randn(9, DIM, generator=torch.Generator().manual_seed(0)))
    started = MedianNormStart(PATH).before_run(state).x
    squares = (started**2).sum(-1)
    torch.testing.assert_close(squares, torch.full((9,), chi_squared_quantile(0.5, DIM)))
    torch.testing.assert_close(torch.cosine_similarity(started, state.x), torch.ones(9))
    assert float((result.samples**2).sum(-1).std()) < 0.1


def test_pure_data_and_single_precision_are_handled():
    x = torch.randn(4, DIM, generator=torch.Generator().manual_seed(0))
    for t in (0.0, 1.0):
        state = State(x=x, t=torch.tensor(t, dtype=torch.float64))
        value = GuidedDenoiser(DENOISER, DensityGuidance(0.9))(state).value
        assert value.dtype == torch.float32
        assert bool(value.isfinite().all())
    result = sample(
        DENOISER, DPMSolverMultistep(2), uniform_grid(50), state=State(x=x), guidance=DensityGuidance(0.51)
    )
    assert bool(result.samples.isfinite().all())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DensityGuidance(), "exactly one of"),
        (lambda: DensityGuidance(0.5, 1.0), "exactly one of"),
        (lambda: DensityGuidance(1.0), r"quantile must lie in \(0, 1\)"),
        (lambda: DensityGuidance(0.4, log_snr_range=(1.0, 0.0)), "rises from start to end"),
        (lambda: DensityGuidance(rate=1.0, log_snr_range=(0.0, 1.0)), "belongs to the quantile form"),
        (lambda: DensityGuidance(rate=float("nan")), "rate must be finite, got nan"),
        (lambda: DensityGuidance(0.5, log_snr_range=(-3.0, float("inf"))), "is finite and rises"),
        (lambda: DensityGuidance(0.4, noise_strength=-1.0), "must be finite and not negative"),
        (lambda: DensityControlledNoise(-1.0), "must not be negative"),
    ],
)
def test_bad_settings_are_refused(make: Any, message: str):
    with pytest.raises(ValueError, match=message):
        make()


def test_times_of_single_elements_are_refused():
    state = State(x=torch.zeros(2, DIM), t=torch.full((2, DIM), 0.5, dtype=torch.float64))
    with pytest.raises(ValueError, match="one time an item"):
        GuidedDenoiser(DENOISER, DensityGuidance(0.5))(state)
