"""Langevin corrections: their recursion on Gaussian data, their bias, and what they repair."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sciffusion.continuous import (
    ColoredNoise,
    DiagonalOperator,
    DPMSolverMultistep,
    Euler,
    NoiseSource,
    PredictorCorrector,
    VarianceExploding,
)
from sciffusion.exact import ExactDenoiser, GaussianTarget
from sciffusion.sampling import State, log_snr_grid, sample, uniform_grid
from sciffusion.testing import sampler_covariance

STD = 0.7
PATH = VarianceExploding(0.01, 20.0)
DENOISER = ExactDenoiser(GaussianTarget.isotropic(1, std=STD), PATH)


def _variance(t: float) -> float:
    return STD**2 + float(PATH.coefficients(t).sigma) ** 2


def _final_variance(snr: float | None, grid: Tensor, start: float) -> float:
    def make(noise: NoiseSource) -> DPMSolverMultistep | PredictorCorrector:
        predictor = DPMSolverMultistep(1)
        return predictor if snr is None else PredictorCorrector(predictor, snr, noise=noise)

    return float(sampler_covariance(make, DENOISER, grid, torch.full((1, 1), start, dtype=torch.float64)))


def test_one_step_is_the_langevin_recursion_of_the_variance() -> None:
    snr, grid = 0.4, torch.tensor([0.8, 0.5], dtype=torch.float64)
    predicted = _final_variance(None, grid, _variance(0.8))
    sigma = float(PATH.coefficients(0.5).sigma)
    delta = 2.0 * (snr * sigma) ** 2
    expected = (1.0 - delta / _variance(0.5)) ** 2 * predicted + 2.0 * delta
    assert _final_variance(snr, grid, _variance(0.8)) == pytest.approx(expected, rel=1e-12)


def test_many_corrections_settle_at_the_biased_variance() -> None:
    snr, t = 0.5, 0.7
    solver = PredictorCorrector(Euler(), snr, corrections=400)
    generator = torch.Generator().manual_seed(0)
    x = torch.zeros(20_000, 1, dtype=torch.float64)
    grid = torch.tensor([0.7001, t], dtype=torch.float64)
    result = sample(DENOISER, solver, grid, state=State(x=x), generator=generator)
    delta = 2.0 * (snr * float(PATH.coefficients(t).sigma)) ** 2
    settled = _variance(t) / (1.0 - 0.5 * delta / _variance(t))
    assert float(result.samples.var()) == pytest.approx(settled, rel=0.04)
    assert result.nfe == 401


def test_corrections_repair_a_wrong_start_and_their_bias_vanishes_towards_the_data() -> None:
    grid = log_snr_grid(PATH, 100, end=0.0)
    wrong = 0.25 * _variance(1.0)
    plain, corrected = (_final_variance(snr, grid, wrong) / _variance(0.0) for snr in (None, 0.3))
    assert plain < 0.3
    assert corrected == pytest.approx(1.0, abs=0.06)
    # From the exact start, shorter steps and a small ratio leave no bias in the end.
    fine = _final_variance(0.1, log_snr_grid(PATH, 800, end=0.0), _variance(1.0)) / _variance(0.0)
    assert fine == pytest.approx(1.0, abs=0.01)


def test_elements_that_stand_still_are_not_corrected() -> None:
    denoiser = ExactDenoiser(GaussianTarget.isotropic(2, std=STD), PATH)
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    grid = torch.tensor([[0.6] * 5, [0.6, 0.6, 0.5, 0.4, 0.3]], dtype=torch.float64)
    solver, generator = PredictorCorrector(Euler(), 0.3), torch.Generator().manual_seed(1)
    moved = sample(denoiser, solver, grid, state=State(x=x), generator=generator).samples
    assert torch.equal(moved[:2], x[:2])
    assert bool((moved[2:] != x[2:]).all())


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="snr"):
        PredictorCorrector(Euler(), 1.5)
    with pytest.raises(ValueError, match="corrections"):
        PredictorCorrector(Euler(), corrections=0)
    with pytest.raises(ValueError, match="PredictorCorrector cannot match its drift"):
        PredictorCorrector(Euler(), noise=ColoredNoise(DiagonalOperator(torch.ones(1))))
    with pytest.raises(ValueError, match="generator"):
        sample(DENOISER, PredictorCorrector(Euler()), uniform_grid(2), state=State(x=torch.zeros(2, 1)))
