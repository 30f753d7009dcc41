"""The public assertions refuse what breaks the law they state."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from sciffusion.continuous import (
    DPMSolverMultistep,
    Euler,
    Path,
    PathCoefficients,
    RectifiedFlow,
    VariancePreserving,
    align,
)
from sciffusion.exact import ExactDenoiser, GaussianTarget
from sciffusion.sampling import uniform_grid
from sciffusion.testing import (
    OrderMeasurement,
    assert_path_laws,
    assert_sampler_matches,
    assert_solver_laws,
    sampler_covariance,
)


@dataclass(frozen=True)
class _Broken(RectifiedFlow):
    """A straight path with one coefficient replaced."""

    name: str = ""
    factor: float = 1.0

    def coefficients(self, t: Tensor | float) -> PathCoefficients:
        c = super().coefficients(t)
        return replace(c, **{self.name: self.factor * getattr(c, self.name)})


@pytest.mark.parametrize(
    ("name", "factor", "law"),
    [
        ("d_alpha", 1.01, "d_alpha is the derivative"),
        ("d_sigma", -1.0, "d_sigma is the derivative"),
        ("alpha", 0.99, "alpha is 1 at t=0"),
        ("sigma", -1.0, "sigma must increase"),
    ],
)
def test_wrong_coefficients_are_refused(name: str, factor: float, law: str) -> None:
    with pytest.raises(AssertionError, match=law):
        assert_path_laws(_Broken(name=name, factor=factor))


def test_wrong_inverse_and_marginal_are_refused() -> None:
    class Inverse(RectifiedFlow):
        def time_of_log_snr(self, log_snr: Tensor | float) -> Tensor:
            return super().time_of_log_snr(log_snr) ** 1.001

    class Marginal(RectifiedFlow):
        def marginal(self, x0: Tensor, t: Tensor | float, noise: Tensor) -> Tensor:
            return super().marginal(x0, t, 1.001 * noise)

    with pytest.raises(AssertionError, match="inverts log_snr"):
        assert_path_laws(Inverse())
    with pytest.raises(AssertionError, match="marginal is"):
        assert_path_laws(Marginal())


class _Remembering(Euler):
    """Keeps its own count of steps, and lets it change the result."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0

    def step(self, state: Any, t_next: Tensor, denoiser: Any) -> Any:
        self.steps += 1
        after = super().step(state, t_next, denoiser)
        return replace(after, x=after.x * (1.0 + 1e-9 * self.steps))


class _Thawing(Euler):
    """Moves elements whose time does not change."""

    def step(self, state: Any, t_next: Tensor, denoiser: Any) -> Any:
        after = super().step(state, t_next, denoiser)
        return replace(after, x=torch.where(after.t.any(), after.x + 1e-9, after.x))


class _Noisy(Euler):
    """Does not end in the clean estimate."""

    def step(self, state: Any, t_next: Tensor, denoiser: Any) -> Any:
        after = super().step(state, t_next, denoiser)
        finished = ((state.t != t_next) & (t_next == 0.0)).to(torch.float64)
        return replace(after, x=after.x * align(1.0 + 1e-3 * finished, after.x))


class _OneTime(Euler):
    """Treats the first item's time as everybody's, with another rounding."""

    def step(self, state: Any, t_next: Tensor, denoiser: Any) -> Any:
        after = super().step(state, t_next, denoiser)
        return after if t_next.ndim == 0 else replace(after, x=after.x * (1.0 + 1e-15))


@pytest.mark.parametrize(
    ("solver", "law"),
    [
        (_Remembering(), "pure"),
        (_Thawing(), "keep their value"),
        (_Noisy(), "clean"),
        (_OneTime(), "bitwise"),
    ],
)
def test_lawless_solvers_are_refused(solver: Euler, law: str) -> None:
    with pytest.raises(AssertionError, match=law):
        assert_solver_laws(solver)


@pytest.mark.parametrize(
    "other",
    [
        GaussianTarget.isotropic(2, std=1.1),
        GaussianTarget.isotropic(2, mean=0.1),
        GaussianTarget.autoregressive(2, 0.3),
    ],
)
def test_samples_of_another_law_are_refused(other: GaussianTarget) -> None:
    generator = torch.Generator().manual_seed(0)
    samples = other.draw(8000, generator)
    assert_sampler_matches(samples, other, generator)
    with pytest.raises(AssertionError, match="samples differ"):
        assert_sampler_matches(samples, GaussianTarget.isotropic(2), generator)


def test_sampler_covariance_of_a_deterministic_run_is_the_squared_factor() -> None:
    path: Path = VariancePreserving()
    denoiser = ExactDenoiser(GaussianTarget.isotropic(2, std=0.5), path)
    grid, start = uniform_grid(400, 1.0, 0.05), torch.eye(2, dtype=torch.float64)
    covariance = sampler_covariance(lambda noise: DPMSolverMultistep(2), denoiser, grid, start)
    factor = float(denoiser.flow_map(torch.ones(1, 2, dtype=torch.float64), 1.0, 0.05)[0, 0])
    torch.testing.assert_close(covariance, factor**2 * start, rtol=1e-3, atol=1e-12)


def test_orders_are_slopes_of_the_errors() -> None:
    measured = OrderMeasurement((10, 20, 60), (1.0, 0.25, 0.25 / 27.0))
    assert measured.orders == pytest.approx((2.0, 3.0), rel=1e-5)
