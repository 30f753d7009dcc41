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


def test_weighted_samples_of_the_right_law_pass_and_wrong_weights_are_refused() -> None:
    generator = torch.Generator().manual_seed(0)
    target, proposal = GaussianTarget.isotropic(2, std=1.0), GaussianTarget.isotropic(2, std=1.4, mean=0.2)
    x = proposal.draw(6000, generator)
    one, zero = torch.ones(()).to(x), torch.zeros(()).to(x)
    log_weights = target.log_density(x, one, zero) - proposal.log_density(x, one, zero)
    assert_sampler_matches(x, target, generator, log_weights=log_weights + 100.0)
    for wrong in (torch.zeros_like(log_weights), 0.2 * log_weights, 2.0 * log_weights):
        with pytest.raises(AssertionError, match="samples differ"):
            assert_sampler_matches(x, target, generator, log_weights=wrong)


def test_equal_weights_give_the_unweighted_test() -> None:
    generator = torch.Generator().manual_seed(0)
    other = GaussianTarget.isotropic(1, mean=0.06)
    x = other.draw(3000, generator)
    messages = []
    for weights in (None, torch.zeros(3000)):
        with pytest.raises(AssertionError) as caught:
            assert_sampler_matches(
                x, GaussianTarget.isotropic(1), torch.Generator().manual_seed(1), log_weights=weights,
                significance=1.0,
            )  # fmt: skip
        messages.append(float(str(caught.value).split("p=")[1].split(",")[0]))
    assert messages[0] == pytest.approx(messages[1], rel=0.1)


def test_weighted_samples_are_refused_at_the_stated_rate() -> None:
    # With significance .2 about a fifth of correct runs is refused, and no more.
    target, proposal = GaussianTarget.isotropic(1), GaussianTarget.isotropic(1, std=1.3)
    refused = 0
    for seed in range(200):
        generator = torch.Generator().manual_seed(seed)
        x = proposal.draw(500, generator)
        one, zero = torch.ones(()).to(x), torch.zeros(()).to(x)
        log_weights = target.log_density(x, one, zero) - proposal.log_density(x, one, zero)
        try:
            assert_sampler_matches(
                x, target, generator, log_weights=log_weights, projections=0, significance=0.2
            )
        except AssertionError:
            refused += 1
    # Binomial(200, .2): 62 is exceeded once in 10,000 runs.
    assert 5 < refused <= 62


def test_bad_weights_are_named() -> None:
    x, generator = torch.zeros(30, 1), torch.Generator()
    for weights, words in (
        (torch.zeros(2), "shape"),
        (torch.full((30,), float("nan")), "no NaN"),
        (torch.full((30,), -float("inf")), "not only -inf"),
    ):
        with pytest.raises(ValueError, match=words):
            assert_sampler_matches(x, GaussianTarget.isotropic(1), generator, log_weights=weights)


@pytest.mark.parametrize(("value", "share"), [(torch.nan, 1.0), (torch.nan, 0.001), (-torch.inf, 0.001)])
def test_samples_that_are_not_finite_are_refused(value: float, share: float) -> None:
    target, generator = GaussianTarget.isotropic(2), torch.Generator().manual_seed(3)
    samples = target.draw(2000, generator)
    samples[-int(2000 * share) :, 1] = value
    first = 2000 - int(2000 * share)
    with pytest.raises(AssertionError, match=rf"{2000 - first} of 2000 hold NaN.*first number {first}: "):
        assert_sampler_matches(samples, target, generator)


def test_samples_that_no_test_could_refuse_are_not_accepted() -> None:
    target, generator = GaussianTarget.isotropic(2), torch.Generator().manual_seed(4)
    far = target.draw(20, generator) + 100.0
    for count in (0, 3, 8):
        with pytest.raises(ValueError, match=f"10 directions; {count} are too few"):
            assert_sampler_matches(far[:count], target, generator)
    for count in (9, 20):
        with pytest.raises(AssertionError, match="differ"):
            assert_sampler_matches(far[:count], target, generator)
    with pytest.raises(ValueError, match=r"shape \(count, dim\), got \(2,\)"):
        assert_sampler_matches(far[0], target, generator)
