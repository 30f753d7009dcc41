"""Shifted processes against the plain path on u = x - mean, the published update and exact posteriors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sciffusion.continuous import (
    ERSDE,
    AncestralDDPM,
    ContinuousPrediction,
    DenoisingObjective,
    DPMSolverMultistep,
    EDMPreconditioning,
    Euler,
    Heun,
    NetworkDenoiser,
    Path,
    PointwiseDenoiser,
    Solver,
    VariancePreserving,
)
from sciffusion.continuous.prediction import PredictionKind
from sciffusion.continuous.shifted import MeanReverting, OrnsteinUhlenbeckVarianceExploding, Shifted
from sciffusion.continuous.start import GaussianStart, start_divergence
from sciffusion.exact import ExactDenoiser, GaussianMixtureTarget, GaussianTarget
from sciffusion.sampling import State, log_snr_grid, sample, uniform_grid
from sciffusion.testing import assert_path_laws, assert_sampler_matches

PATHS: list[Path] = [
    MeanReverting(),
    MeanReverting(0.0, 4.0, stationary_std=0.2),
    OrnsteinUhlenbeckVarianceExploding(),
    OrnsteinUhlenbeckVarianceExploding(0.0, 0.01, 3.0),
]
SOLVERS: list[Solver] = [
    Euler(),
    Heun("noise_to_signal"),
    DPMSolverMultistep(3),
    ERSDE(2),
    AncestralDDPM(),
]
KINDS: list[PredictionKind] = ["x0", "eps", "v", "flow", "score"]


def _randn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class _OfX(PointwiseDenoiser):
    """The exact denoiser of x on a shifted process, written for x itself, in any kind."""

    def __init__(self, law_of_u: ExactDenoiser, mean: Tensor, kind: PredictionKind = "x0") -> None:
        self.law_of_u, self.mean, self.kind, self.path = law_of_u, mean, kind, law_of_u.path

    def predict(self, x: Tensor, t: Tensor | float, condition: Any = None) -> ContinuousPrediction:
        u = x - self.mean
        prediction = self.law_of_u.predict(u, t)
        if self.kind == "x0":
            return ContinuousPrediction(prediction.value + self.mean, "x0")
        return prediction.to(self.kind, self.path.coefficients(t), u)


def _mixture(path: Path) -> ExactDenoiser:
    centres = torch.tensor([[-1.5, 0.5], [1.0, 1.0]], dtype=torch.float64)
    return ExactDenoiser(
        GaussianMixtureTarget.from_stds([0.3, 0.7], centres, torch.full_like(centres, 0.4)), path
    )


@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_mean_reverting_paths_obey_the_laws_of_paths(path: Path) -> None:
    assert_path_laws(path)


def test_mean_reverting_path_is_the_variance_preserving_one_with_scaled_noise() -> None:
    t = torch.linspace(0.0, 1.0, 11, dtype=torch.float64)
    ours, theirs = (
        path.coefficients(t) for path in (MeanReverting(0.05, 10.0, 0.3), VariancePreserving(0.1, 20.0))
    )
    torch.testing.assert_close(ours.alpha, theirs.alpha, rtol=1e-14, atol=0.0)
    torch.testing.assert_close(ours.sigma, 0.3 * theirs.sigma, rtol=1e-14, atol=0.0)


def test_speech_path_has_the_published_levels() -> None:
    t = torch.tensor([0.03, 0.5, 1.0], dtype=torch.float64)
    c = OrnsteinUhlenbeckVarianceExploding().coefficients(t)
    log_k = torch.log(torch.tensor(10.0, dtype=torch.float64))
    variance = 0.05**2 * (10.0 ** (2.0 * t) - torch.exp(-3.0 * t)) * log_k / (1.5 + log_k)
    torch.testing.assert_close(c.alpha, torch.exp(-1.5 * t))
    torch.testing.assert_close(c.sigma**2, variance)
    assert float(c.alpha[-1]) == pytest.approx(0.2231, abs=1e-4)
    # The equation's own diffusion, sigma_min k^t sqrt(2 log k).
    torch.testing.assert_close(c.squared_diffusion, 2.0 * log_k * (0.05 * 10.0**t) ** 2)


@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_first_order_step_is_the_published_mean_reverting_update(path: Path) -> None:
    mean, x = _randn(0, 5, 2), _randn(1, 5, 2)
    process, denoiser = Shifted(path, mean), _OfX(_mixture(path), mean)
    t, t_next = (torch.tensor(value, dtype=torch.float64) for value in (0.8, 0.5))
    step = DPMSolverMultistep(1).step(State(x=process.centre(x), t=t), t_next, process.centred(denoiser))
    c, n = path.coefficients(t), path.coefficients(t_next)
    clean = denoiser.predict(x, t).value
    ratio = n.sigma / c.sigma
    width = n.log_snr - c.log_snr
    expected = (
        ratio * x - n.alpha * torch.expm1(-width) * clean + (1.0 - ratio + c.alpha * ratio - n.alpha) * mean
    )
    torch.testing.assert_close(process.restore(step.x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: type(solver).__name__)
def test_a_run_on_x_is_the_plain_run_on_u(solver: Solver, kind: PredictionKind) -> None:
    path = MeanReverting()
    y, start = 3.0 + _randn(0, 6, 2), _randn(1, 6, 2)
    process = Shifted(path, lambda condition: condition)
    denoiser = process.centred(_OfX(_mixture(path), y, kind))
    grid, runs = uniform_grid(6, 0.95, 0.05), []
    for model, condition in ((denoiser, y), (_mixture(path), None)):
        generator = torch.Generator().manual_seed(2)
        runs.append(
            sample(model, solver, grid, state=State(x=start), condition=condition, generator=generator)
        )
    # Numbers around 3 lose a digit when the mean is added and taken away.
    torch.testing.assert_close(runs[0].samples, runs[1].samples, rtol=1e-10, atol=1e-11)
    assert runs[0].nfe == runs[1].nfe


@pytest.mark.parametrize("kind", KINDS)
def test_objectives_see_the_plain_path(kind: PredictionKind) -> None:
    path = OrnsteinUhlenbeckVarianceExploding()
    y, x0, noise = _randn(0, 6, 2), _randn(1, 6, 2), _randn(2, 6, 2)
    process, times = Shifted(path, y), torch.linspace(0.1, 1.0, 6, dtype=torch.float64)
    objective = DenoisingObjective(path, "v")
    ours = objective(process.centred(_OfX(_mixture(path), y, kind)), process.centre(x0), times, noise)
    torch.testing.assert_close(ours, objective(_mixture(path), x0 - y, times, noise))
    u = path.marginal(x0 - y, times, noise)
    torch.testing.assert_close(process.marginal(x0, times, noise), y + u)


def test_networks_of_u_need_no_wrapper() -> None:
    seen: list[Tensor] = []

    def network(u: Tensor, time: Tensor, condition: Any) -> Tensor:
        seen.append(condition)
        return 0.1 * u

    path, y = MeanReverting(), 100.0 + _randn(0, 4, 3)
    process = Shifted(path, lambda condition: condition)
    denoiser = NetworkDenoiser(network, path, preconditioning=EDMPreconditioning(0.5))
    generator = torch.Generator().manual_seed(0)
    result = sample(
        denoiser, Heun(), uniform_grid(5), shape=(4, 3), condition=y, generator=generator, dtype=y.dtype
    )
    restored = process.restore(result.samples, y)
    assert float((restored - y).abs().max()) < 5.0
    assert all(condition is y for condition in seen)


def _restoration() -> tuple[Tensor, GaussianTarget]:
    """Return a blurred and noisy AR(1) series and the exact law of the series given it."""
    prior = GaussianTarget.autoregressive(5, 0.8)
    blur = torch.eye(5, dtype=torch.float64) + 0.5 * torch.eye(5, dtype=torch.float64).roll(1, 0)
    y = blur @ prior.draw(1, torch.Generator().manual_seed(3))[0] + 0.3 * _randn(4, 5)
    gain = torch.linalg.solve(
        blur @ prior.covariance @ blur.mT + 0.09 * torch.eye(5, dtype=torch.float64), blur @ prior.covariance
    ).mT
    covariance = prior.covariance - gain @ blur @ prior.covariance
    return y, GaussianTarget.full(0.5 * (covariance + covariance.mT), gain @ y)


def test_restoration_has_the_exact_posterior() -> None:
    y, exact = _restoration()
    path = MeanReverting()
    law_of_u = ExactDenoiser(GaussianTarget.full(exact.covariance, exact.mean - y), path)
    process = Shifted(path, y)
    generator = torch.Generator().manual_seed(0)
    result = sample(
        process.centred(_OfX(law_of_u, y)), DPMSolverMultistep(2), log_snr_grid(path, 60),
        shape=(3000, 5), generator=generator, dtype=torch.float64,
    )  # fmt: skip
    assert_sampler_matches(process.restore(result.samples), exact, generator)


def test_start_in_pure_noise_is_wrong_by_what_the_path_keeps_of_the_signal() -> None:
    path = OrnsteinUhlenbeckVarianceExploding()
    mean, std = 0.8, 0.3
    denoiser = ExactDenoiser(GaussianTarget.isotropic(1, std, mean), path)
    c = path.coefficients(1.0)
    spread = torch.sqrt(c.alpha**2 * std**2 + c.sigma**2)
    # Start at 0 and at one standard deviation of the noise: mean and standard deviation of the result.
    start = torch.stack([torch.zeros_like(c.sigma), c.sigma])[:, None]
    ends = sample(denoiser, Heun(), uniform_grid(800), state=State(x=start)).samples[:, 0]
    offset = mean - float(ends[0])
    assert offset == pytest.approx(float(std / spread * c.alpha * mean), rel=2e-3)
    assert offset > 0.1
    assert float(ends[1] - ends[0]) == pytest.approx(float(std * c.sigma / spread), rel=2e-3)
    # The divergence of two Gaussian laws at the end is the one at the start: the flow is invertible.
    m, s = float(std / spread * c.alpha * mean) / float(std * c.sigma / spread), float(spread / c.sigma)
    expected = 0.5 * (s**2 + m**2 - 1.0) - torch.log(torch.tensor(s))
    assert float(start_divergence(path, mean, std**2)) == pytest.approx(float(expected), rel=1e-6)
    assert float(start_divergence(path, 0.0, std**2, spread)) == pytest.approx(0.0, abs=1e-14)


def test_rate_that_starts_at_zero_reaches_clean_data() -> None:
    path = MeanReverting(0.0, 4.0)
    assert float(path.time_of_log_snr(path.log_snr(0.0))) == 0.0
    assert float(path.time_of_log_snr(path.log_snr(0.3))) == pytest.approx(0.3)


def test_start_fitted_to_gaussian_data_has_the_marginal_law() -> None:
    path, target = OrnsteinUhlenbeckVarianceExploding(), GaussianTarget.autoregressive(3, 0.7, std=2.0)
    data = target.draw(4000, torch.Generator().manual_seed(0)) + 1.5
    centred = data - data.mean(0)
    sample_covariance = centred.mT @ centred / 3999
    c = path.coefficients(1.0)
    law = GaussianTarget.full(
        c.alpha**2 * sample_covariance + c.sigma**2 * torch.eye(3, dtype=torch.float64),
        c.alpha * data.mean(0),
    )
    generator = torch.Generator().manual_seed(1)
    start = GaussianStart.fit(data).draw(3000, path, generator, dtype=torch.float64)
    assert_sampler_matches(start, law, generator)


def test_mistakes_with_shifted_processes_are_named() -> None:
    process = Shifted(MeanReverting(), torch.zeros(3))
    with pytest.raises(ValueError, match=r"mean of shape \(3,\) does not broadcast .* \(4, 2\)"):
        process.centre(torch.zeros(4, 2))
    # A denoiser of x whose path were the shifted one would be stepped without the mean.
    wrong = NetworkDenoiser(lambda x, time, condition: x, process)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"Shifted\.centred"):
        sample(wrong, Euler(), uniform_grid(2), state=State(x=torch.zeros(4, 3)))
    for call, name in (
        (lambda: MeanReverting(2.0, 1.0), "rate_min"),
        (lambda: MeanReverting(stationary_std=0.0), "stationary_std"),
        (lambda: OrnsteinUhlenbeckVarianceExploding(sigma_min=0.6), "sigma_min"),
        (lambda: OrnsteinUhlenbeckVarianceExploding(-1.0), "stiffness"),
    ):
        with pytest.raises(ValueError, match=name):
            call()
