"""Fitted starts: exact for Gaussian data at every time, unlike the standard one."""

from __future__ import annotations

import pytest
import torch

from sciffusion.continuous import DPMSolverMultistep, GaussianStart, RectifiedFlow, VariancePreserving
from sciffusion.exact import ExactDenoiser, GaussianTarget
from sciffusion.sampling import State, sample, uniform_grid
from sciffusion.testing import assert_sampler_matches, sampler_covariance

TARGET = GaussianTarget.full(
    torch.tensor([[1.0, 0.8, 0.1], [0.8, 0.9, 0.0], [0.1, 0.0, 0.05]]), torch.tensor([1.5, -0.5, 0.3])
)
START = GaussianStart.from_moments(TARGET.mean, TARGET.covariance)


@pytest.mark.parametrize("path", [VariancePreserving(), RectifiedFlow()], ids=repr)
@pytest.mark.parametrize("t", [0.15, 0.5, 1.0])
def test_start_has_the_law_of_the_noisy_data(path: object, t: float) -> None:
    assert isinstance(path, VariancePreserving | RectifiedFlow)
    generator = torch.Generator().manual_seed(0)
    draws = START.draw(4000, path, generator, t, torch.float64)
    c = path.coefficients(t)
    noisy = c.alpha**2 * TARGET.covariance + c.sigma**2 * torch.eye(3, dtype=torch.float64)
    assert_sampler_matches(draws, GaussianTarget.full(noisy, c.alpha * TARGET.mean), generator)


def test_truncated_runs_from_the_fitted_start_have_no_truncation_error() -> None:
    # Along the exact flow from any t, where the standard start is wrong by a tenth and more.
    path, t = VariancePreserving(), 0.3
    centred = ExactDenoiser(GaussianTarget.full(TARGET.covariance), path)
    eye = torch.eye(3, dtype=torch.float64)
    flow = centred.flow_map(eye, t, 0.0)
    c = path.coefficients(t)
    assert START.basis is not None
    fitted = (START.basis * (c.alpha**2 * START.variances + c.sigma**2)) @ START.basis.mT
    torch.testing.assert_close(flow.mT @ fitted @ flow, TARGET.covariance, rtol=1e-10, atol=1e-12)
    standard = path.prior_std(t) ** 2 * eye
    assert float((flow.mT @ standard @ flow - TARGET.covariance).abs().max()) > 0.1
    # A real run of many steps gets there, too: what is left is the solver's error, not the start's.
    ran = sampler_covariance(lambda noise: DPMSolverMultistep(3), centred, uniform_grid(200, t, 0.0), fitted)
    torch.testing.assert_close(ran, TARGET.covariance, rtol=0.0, atol=2e-3)


def test_samples_from_a_truncated_run_have_the_law_of_the_data() -> None:
    path, generator = VariancePreserving(), torch.Generator().manual_seed(1)
    start = START.draw(3000, path, generator, 0.3, torch.float64)
    grid = uniform_grid(60, 0.3, 0.0)
    denoiser = ExactDenoiser(TARGET, path)
    result = sample(denoiser, DPMSolverMultistep(3), grid, state=State(x=start)).samples
    assert_sampler_matches(result, TARGET, generator)


@pytest.mark.parametrize("diagonal", [False, True])
def test_fitted_moments_are_those_of_the_sample(diagonal: bool) -> None:
    data = torch.randn(50, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    start = GaussianStart.fit(data, diagonal)
    torch.testing.assert_close(start.mean, data.mean(0))
    covariance = torch.cov(data.reshape(50, 6).mT)
    if diagonal:
        torch.testing.assert_close(start.variances, covariance.diagonal())
    else:
        assert start.basis is not None
        torch.testing.assert_close((start.basis * start.variances) @ start.basis.mT, covariance)
    draws = start.draw(4, VariancePreserving(), torch.Generator().manual_seed(0))
    assert draws.shape == (4, 2, 3)
    assert draws.dtype == torch.float32


def test_bad_starts_are_named() -> None:
    with pytest.raises(ValueError, match="at least two items"):
        GaussianStart.fit(torch.zeros(1, 3))
    with pytest.raises(ValueError, match="t must be a scalar"):
        START.draw(2, VariancePreserving(), torch.Generator(), torch.tensor([0.1, 0.2]))
    with pytest.raises(ValueError, match="variances must have shape"):
        GaussianStart(torch.zeros(3), torch.ones(2))
    with pytest.raises(ValueError, match="variances must not be negative"):
        GaussianStart(torch.zeros(2), torch.tensor([1.0, -1.0]))
    with pytest.raises(ValueError, match="basis must have shape"):
        GaussianStart(torch.zeros(2), torch.ones(2), torch.eye(3))
