"""Reverse equations of any strength: laws sampled, computed without drawing, and their weak orders."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sciffusion.continuous import (
    Euler,
    EulerMaruyama,
    Heun,
    NoiseStrength,
    PathCoefficients,
    RectifiedFlow,
    Solver,
    StochasticHeun,
    VariancePreserving,
    anderson_strength,
    no_strength,
    sigma_strength,
)
from sciffusion.exact import ExactDenoiser, GaussianTarget
from sciffusion.sampling import State, sample, uniform_grid
from sciffusion.testing import sampler_covariance

START, END = 0.9, 0.1


def _triple_sigma(t: Tensor, c: PathCoefficients) -> Tensor:
    return 3.0 * c.sigma


STRENGTHS: dict[str, NoiseStrength] = {
    "anderson": anderson_strength,
    "sigma": sigma_strength,
    "triple sigma": _triple_sigma,
}


def _error(make_solver: Callable[..., Solver], strength: NoiseStrength, steps: int) -> Tensor:
    """Error of the sampled covariance of a correlated series, from the exact start."""
    path, target = RectifiedFlow(), GaussianTarget.autoregressive(3, -0.7)
    start, end = (
        c.alpha**2 * target.covariance + c.sigma**2 * torch.eye(3, dtype=torch.float64)
        for c in (path.coefficients(START), path.coefficients(END))
    )
    sampled = sampler_covariance(
        lambda noise: make_solver(strength, noise),
        ExactDenoiser(target, path),
        uniform_grid(steps, START, END),
        start,
    )
    return sampled - end


@pytest.mark.parametrize("name", STRENGTHS)
@pytest.mark.parametrize(("make_solver", "order"), [(EulerMaruyama, 1), (StochasticHeun, 2)])
def test_any_strength_gives_the_exact_law_at_the_declared_weak_order(
    make_solver: Callable[..., Solver], order: int, name: str
) -> None:
    errors = [float(_error(make_solver, STRENGTHS[name], steps).abs().max()) for steps in (200, 400)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.1)
    assert errors[1] < (0.01 if order == 1 else 1e-4)


def test_a_step_is_the_equation_of_the_family() -> None:
    path, denoiser = (
        VariancePreserving(),
        ExactDenoiser(GaussianTarget.autoregressive(3, 0.5), VariancePreserving()),
    )
    x, noise = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t, h = 0.6, 0.05

    class Given:
        def draw(self, like: Tensor, generator: torch.Generator | None, t: Tensor, t_next: Tensor) -> Tensor:
            return noise

    c = path.coefficients(t)
    prediction = denoiser.predict(x, t)
    flow, score = (prediction.to(kind, c, x).value for kind in ("flow", "score"))
    w = 0.37
    expected = x - h * flow + h * w * score + math.sqrt(2.0 * h * w) * noise
    solver = EulerMaruyama(lambda t, c: torch.full_like(c.sigma, w), Given())
    state = State(x=x, t=torch.tensor(t, dtype=torch.float64))
    torch.testing.assert_close(
        solver.step(state, torch.tensor(t - h), denoiser).x, expected, rtol=1e-6, atol=1e-7
    )


@pytest.mark.parametrize(("stochastic", "plain"), [(EulerMaruyama, Euler), (StochasticHeun, Heun)])
def test_without_noise_it_is_the_flow_solver_in_time(
    stochastic: Callable[..., Solver], plain: Callable[..., Solver]
) -> None:
    denoiser = ExactDenoiser(GaussianTarget.autoregressive(3, 0.5), VariancePreserving())
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    solvers = (stochastic(no_strength), plain())
    # No generator is needed where there is no noise.
    ours, theirs = (sample(denoiser, solver, uniform_grid(12), state=State(x=x)) for solver in solvers)
    torch.testing.assert_close(ours.samples, theirs.samples, rtol=1e-11, atol=1e-12)
    assert ours.nfe == theirs.nfe


def test_anderson_strength_is_the_reverse_of_the_forward_equation() -> None:
    # For beta-rate variance-preserving noise: g^2 = beta.
    path = VariancePreserving(0.2, 8.0)
    t = torch.linspace(0.1, 1.0, 7, dtype=torch.float64)
    torch.testing.assert_close(anderson_strength(t, path.coefficients(t)), 0.5 * (0.2 + 7.8 * t))


def test_infinite_or_negative_strength_is_refused() -> None:
    denoiser = ExactDenoiser(GaussianTarget.isotropic(2), RectifiedFlow())
    state = State(x=torch.zeros(3, 2), generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="alpha = 0"):
        EulerMaruyama().step(state, torch.tensor(0.9), denoiser)
    with pytest.raises(ValueError, match="not negative"):
        EulerMaruyama(lambda t, c: -c.sigma).step(state, torch.tensor(0.9), denoiser)
    assert bool(EulerMaruyama(sigma_strength).step(state, torch.tensor(0.9), denoiser).x.isfinite().all())


def test_noise_without_a_generator_is_refused() -> None:
    denoiser = ExactDenoiser(GaussianTarget.isotropic(2), VariancePreserving())
    with pytest.raises(ValueError, match="generator"):
        sample(denoiser, EulerMaruyama(), uniform_grid(3), state=State(x=torch.zeros(3, 2)))
