"""Laws sampled by stochastic solvers, computed without drawing: linear samplers on Gaussian data."""

from __future__ import annotations

import math
from typing import Literal

import pytest
import torch

from sciffusion.continuous import (
    ERSDE,
    AncestralDDPM,
    ColoredNoise,
    Cosine,
    DiagonalOperator,
    NoiseScale,
    NoiseSource,
    Path,
    PowerScale,
    QuadratureScale,
    Solver,
    VarianceExploding,
    VariancePreserving,
    WhiteNoise,
    recommended_scale,
)
from sciffusion.exact import ExactDenoiser, GaussianMixtureTarget, GaussianTarget
from sciffusion.sampling import State, log_snr_grid, sample, uniform_grid
from sciffusion.testing import assert_sampler_matches, sampler_covariance


def _variance_error(order: int, scale: NoiseScale, steps: int) -> float:
    """Relative error of the sampled variance of N(0, .7^2) data, from noise 20 and the exact start to .01."""
    path = VarianceExploding(0.01, 20.0)
    denoiser = ExactDenoiser(GaussianTarget.isotropic(1, std=0.7), path)
    variance = sampler_covariance(
        lambda noise: ERSDE(order, scale, noise),
        denoiser,
        uniform_grid(steps),
        torch.full((1, 1), 0.7**2 + 20.0**2, dtype=torch.float64),
    )
    return abs(float(variance) / (0.7**2 + 0.01**2) - 1.0)


# Measured independently of this library.
@pytest.mark.parametrize(
    ("order", "power", "error", "slope"),
    [
        (1, 1.0, 2.34e-2, 1.00),
        (1, 1.5, 3.49e-2, 0.99),
        (1, 2.0, 4.60e-2, 0.99),
        (2, 1.0, 4.8e-4, 2.01),
        (2, 1.5, 5.0e-4, 2.02),
        (2, 2.0, 4.1e-4, 2.03),
    ],
)
def test_weak_order_matches_the_reference(order: int, power: float, error: float, slope: float) -> None:
    errors = [_variance_error(order, PowerScale(power), steps) for steps in (160, 320, 640)]
    assert errors[0] == pytest.approx(error, rel=0.012)
    assert math.log2(errors[1] / errors[2]) == pytest.approx(slope, abs=0.01)


def test_recommended_scale_has_the_declared_weak_order() -> None:
    for order in (1, 2):
        errors = [_variance_error(order, recommended_scale(), steps) for steps in (160, 320)]
        assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.05)


def test_third_order_term_reduces_the_error() -> None:
    assert _variance_error(3, PowerScale(2.0), 160) < 0.7 * _variance_error(2, PowerScale(2.0), 160)
    for scale in (PowerScale(1.0), recommended_scale()):
        coarse, fine = (_variance_error(3, scale, steps) for steps in (160, 320))
        assert coarse < 0.1 * _variance_error(2, scale, 160)
        assert math.log2(coarse / fine) > 2.7


@pytest.mark.parametrize("make", [ERSDE, AncestralDDPM])
def test_noise_that_wants_another_drift_is_refused(make: type[ERSDE] | type[AncestralDDPM]) -> None:
    colour = DiagonalOperator(torch.tensor([0.5, 1.5], dtype=torch.float64))
    with pytest.raises(ValueError, match="cannot match its drift to coloured noise"):
        make(noise=ColoredNoise(colour))
    assert make(noise=ColoredNoise(colour, match_drift=False)).noise is not None


@pytest.mark.parametrize("power", [1.0, 1.5, 2.0, 2.5])
def test_quadrature_agrees_with_closed_integrals(power: float) -> None:
    old = torch.tensor([10.0, 0.5, 0.02], dtype=torch.float64)
    new = torch.tensor([6.0, 0.3, 0.015], dtype=torch.float64)
    closed, numeric = PowerScale(power), QuadratureScale(lambda noise: noise ** (power - 1.0))
    torch.testing.assert_close(numeric.decay(new, old), closed.decay(new, old), rtol=1e-12, atol=0.0)
    for ours, theirs in zip(numeric.integrals(new, old), closed.integrals(new, old), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=0.0)


SAMPLERS = {
    "power 1": lambda noise: ERSDE(2, PowerScale(1.0), noise),
    "power 1.5": lambda noise: ERSDE(2, PowerScale(1.5), noise),
    "power 2.5": lambda noise: ERSDE(3, PowerScale(2.5), noise),
    "recommended": lambda noise: ERSDE(2, None, noise),
    "posterior": lambda noise: AncestralDDPM("posterior", noise),
    "upper": lambda noise: AncestralDDPM("upper", noise),
}


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("path", [VariancePreserving(), Cosine(alpha_min=0.01)], ids=repr)
def test_any_amount_of_noise_gives_the_same_correlated_law(name: str, path: Path) -> None:
    target = GaussianTarget.autoregressive(3, -0.7)
    end = 0.02
    c, c_end = path.coefficients(1.0), path.coefficients(end)
    eye = torch.eye(3, dtype=torch.float64)
    start = c.alpha**2 * target.covariance + c.sigma**2 * eye
    exact = c_end.alpha**2 * target.covariance + c_end.sigma**2 * eye
    coarse, fine = (
        sampler_covariance(
            SAMPLERS[name], ExactDenoiser(target, path), log_snr_grid(path, steps, end=end), start
        )
        for steps in (50, 100)
    )
    assert float((fine - exact).abs().max()) < 0.6 * float((coarse - exact).abs().max())
    # The limit of many steps, extrapolated from the order (3 counts as 2, for its start-up steps).
    order = min(SAMPLERS[name](WhiteNoise()).order, 2)
    limit = fine + (fine - coarse) / (2**order - 1)
    assert float((limit - exact).abs().max()) < 0.01


def test_ancestral_sampling_is_the_first_order_extended_solver_of_power_two() -> None:
    denoiser = ExactDenoiser(GaussianTarget.autoregressive(3, 0.6), Cosine())
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def run(solver: Solver) -> torch.Tensor:
        generator = torch.Generator().manual_seed(1)
        return sample(denoiser, solver, uniform_grid(10), state=State(x=x), generator=generator).samples

    torch.testing.assert_close(run(AncestralDDPM()), run(ERSDE(1, PowerScale(2.0))), rtol=1e-10, atol=1e-12)


class _Constant:
    """A noise source that returns given noise whatever the step."""

    def __init__(self, noise: torch.Tensor) -> None:
        self.noise = noise

    def draw(
        self, like: torch.Tensor, generator: torch.Generator | None, t: torch.Tensor, t_next: torch.Tensor
    ) -> torch.Tensor:
        return self.noise


def test_ancestral_sampling_is_the_discrete_recursion_in_predicted_noise() -> None:
    # y <- (y - beta / sqrt(1 - abar) eps) / sqrt(a) + sqrt((1 - abar') / (1 - abar) beta) xi.
    points = 21
    path = Cosine(shift=0.005, alpha_min=0.0)
    denoiser = ExactDenoiser(GaussianTarget.isotropic(2, std=0.6), path)
    noise: NoiseSource = _Constant(torch.tensor([[0.3, -1.2]], dtype=torch.float64))
    x = torch.tensor([[0.5, -0.8]], dtype=torch.float64)
    grid = uniform_grid(points - 1, start=(points - 1) / points)
    result = sample(denoiser, AncestralDDPM(noise=noise), grid, state=State(x=x)).samples
    abar = path.coefficients(torch.arange(points, dtype=torch.float64) / points).alpha ** 2
    for k in range(points - 1, 0, -1):
        a = abar[k] / abar[k - 1]
        c = path.coefficients(k / points)
        eps = denoiser.predict(x, k / points).to("eps", c, x).value
        mean = (x - (1 - a) / torch.sqrt(1 - abar[k]) * eps) / torch.sqrt(a)
        x = mean + torch.sqrt((1 - abar[k - 1]) / (1 - abar[k]) * (1 - a)) * noise.draw(x, None, a, a)
    torch.testing.assert_close(result, x, rtol=1e-9, atol=1e-11)


def test_known_coordinates_turn_a_sampler_into_a_conditional_one() -> None:
    # Held at time 0, the first and last value of an AR(1) series condition the ones between.
    target, path = GaussianTarget.autoregressive(4, 0.8), VariancePreserving()
    known = torch.tensor([True, False, False, True])
    values = torch.tensor([1.5, -0.5], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4000, 4, generator=generator, dtype=torch.float64)
    x[:, known] = values
    state = State(x=x, known=known.expand(4000, 4), generator=generator)
    result = sample(ExactDenoiser(target, path), ERSDE(2), uniform_grid(60), state=state).samples
    assert torch.equal(result[:, known], values.expand(4000, 2))
    assert_sampler_matches(result[:, ~known], target.conditional(known, values), generator)


def test_stochastic_solver_samples_a_mixture_in_the_plane() -> None:
    centres = torch.tensor([[-1.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    target = GaussianMixtureTarget.from_stds([0.4, 0.6], centres, torch.full_like(centres, 0.3))
    path = VariancePreserving()
    generator = torch.Generator().manual_seed(3)
    grid = log_snr_grid(path, 60)
    result = sample(
        ExactDenoiser(target, path), ERSDE(2), grid, shape=(4000, 2), generator=generator, dtype=torch.float64
    )
    assert_sampler_matches(result.samples, target, generator)
    assert result.nfe == 60


@pytest.mark.parametrize("variance", ["posterior", "upper"])
def test_ancestral_variances_are_those_of_the_two_steps(variance: Literal["posterior", "upper"]) -> None:
    path, t, t_next = VariancePreserving(), 0.7, 0.4
    denoiser = ExactDenoiser(GaussianTarget.isotropic(1), path)
    grid, start = torch.tensor([t, t_next], dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)

    def make(noise: NoiseSource) -> AncestralDDPM:
        return AncestralDDPM(variance, noise)

    found = float(sampler_covariance(make, denoiser, grid, start))
    old, new = path.coefficients(t), path.coefficients(t_next)
    step = old.sigma**2 - (new.sigma * old.alpha / new.alpha) ** 2
    expected = step if variance == "upper" else step * (new.sigma / old.sigma) ** 2
    assert found == pytest.approx(float(expected), rel=1e-10)


def test_noise_scale_without_a_process_is_refused() -> None:
    # A reduced scale that falls with the noise asks for noise of negative variance.
    denoiser = ExactDenoiser(GaussianTarget.isotropic(1), VariancePreserving())
    solver, start = ERSDE(1, QuadratureScale(lambda noise: 1.0 / noise)), State(x=torch.zeros(2, 1))
    with pytest.raises(ValueError, match=r"scale must not fall.* got a ratio of"):
        sample(denoiser, solver, uniform_grid(3), state=start)
