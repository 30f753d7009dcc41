"""Two-tier gradients: unbiased for every setting, one pass of the generator, less variance for the cost."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sciffusion.continuous import RectifiedFlow
from sciffusion.exact import ExactDenoiser, GaussianTarget
from sciffusion.training import (
    ScoreDistillation,
    TimeSampler,
    TwoTierGradient,
    UniformTimes,
    WeightedTimes,
    effective_compute_multiplier,
)


def _weight(t: Tensor) -> Tensor:
    return torch.exp(-(((t - 0.7) / 0.15) ** 2)) + 0.01


def _direction(x: Tensor, times: Tensor, noise: Tensor) -> Tensor:
    return _weight(times)[..., None] * (x + times[..., None] ** 2 + noise)


SAMPLERS: dict[str, TimeSampler] = {
    "independent": UniformTimes(stratified=False),
    "stratified": UniformTimes(),
    "importance": WeightedTimes(weight=_weight, stratified=False),
    "both": WeightedTimes(weight=_weight),
}


def _gradients(outer: int, inner: int, sampler: TimeSampler, count: int) -> Tensor:
    """Estimates of the gradient for x = theta * (1, 2), with noise in the outer draws."""
    theta = torch.ones(count, 2, dtype=torch.float64, requires_grad=True)
    generator = torch.Generator().manual_seed(0)
    upstream = torch.randn(outer * count, 2, generator=generator, dtype=torch.float64)
    scale = torch.tensor([1.0, 2.0], dtype=torch.float64)
    x = theta.repeat(outer, 1) * scale + 0.3 * upstream
    estimator = TwoTierGradient(inner, sampler)
    # One surrogate for all repetitions: the sum of their means over r.
    (gradient,) = torch.autograd.grad(estimator(x, _direction, generator) * count, theta)
    return gradient


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize(("outer", "inner"), [(1, 1), (1, 8), (4, 1), (3, 2)])
def test_estimates_are_unbiased(name: str, outer: int, inner: int) -> None:
    gradients = _gradients(outer, inner, SAMPLERS[name], 4000)
    t = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    scale = torch.tensor([1.0, 2.0], dtype=torch.float64)
    exact = scale * (_weight(t)[:, None] * (scale + t[:, None] ** 2)).mean(0)
    standard_error = gradients.std(0) / len(gradients) ** 0.5
    assert bool(((gradients.mean(0) - exact).abs() < 4.0 * standard_error).all())


def test_reuse_importance_and_strata_each_lower_the_variance() -> None:
    def variance(inner: int, name: str) -> float:
        return float(_gradients(1, inner, SAMPLERS[name], 4000).var(0).sum())

    assert variance(8, "independent") < 0.3 * variance(1, "independent")
    assert variance(8, "importance") < 0.7 * variance(8, "independent")
    assert variance(8, "stratified") < 0.9 * variance(8, "independent")
    # With importance sampling the noise dominates, and strata of time are left with next to nothing.
    assert variance(8, "both") < 1.05 * variance(8, "importance")


class _Counting(torch.autograd.Function):
    """Identity that counts backward passes."""

    backwards = 0

    @staticmethod
    def forward(context: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(context: object, gradient: Tensor) -> Tensor:
        _Counting.backwards += 1
        return gradient


def test_one_backward_pass_and_none_through_the_denoiser() -> None:
    calls = []
    theta = torch.ones(3, 2, requires_grad=True)
    weight = torch.ones((), requires_grad=True)

    def direction(x: Tensor, times: Tensor, noise: Tensor) -> Tensor:
        calls.append(x.shape)
        return weight * x

    _Counting.backwards = 0
    surrogate = TwoTierGradient(16)(_Counting.apply(theta), direction, torch.Generator().manual_seed(0))
    surrogate.backward()
    assert calls == [(3, 16, 2)]
    assert _Counting.backwards == 1
    assert weight.grad is None
    torch.testing.assert_close(theta.grad, torch.ones(3, 2) / 3.0)


@pytest.mark.parametrize(("outer", "inner"), [(8, 1), (3, 8)])
def test_strata_run_over_what_is_repeated(outer: int, inner: int) -> None:
    # Over the K times of an outer draw, and over the R draws where each has one time.
    seen: list[Tensor] = []

    def direction(x: Tensor, times: Tensor, noise: Tensor) -> Tensor:
        seen.append(times)
        return x

    TwoTierGradient(inner)(torch.zeros(outer, 2), direction, torch.Generator().manual_seed(0))
    assert seen[0].shape == (outer, inner)
    strata = (8.0 * (seen[0].mT if inner == 1 else seen[0])).long().sort(-1).values
    assert strata.tolist() == [list(range(8))] * len(strata)


def test_score_distillation_vanishes_on_average_at_the_mode_and_points_away_from_it() -> None:
    # For N(0, 1) data on x_t = (1-t) x + t eps: E[eps_hat - eps] = t (1-t) x / ((1-t)^2 + t^2).
    denoiser = ExactDenoiser(GaussianTarget.isotropic(1), RectifiedFlow())
    times = torch.tensor([0.2, 0.6], dtype=torch.float64).expand(20_000, 2)
    noise = torch.randn(20_000, 2, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for x in (0.0, 1.5):
        values = torch.full((20_000, 2, 1), x, dtype=torch.float64)
        found = ScoreDistillation(denoiser, lambda t: 2.0 * t)(values, times, noise)[..., 0]
        t = times[0]
        expected = 2.0 * t * t * (1.0 - t) * x / ((1.0 - t) ** 2 + t**2)
        standard_error = found.std(0) / 20_000**0.5
        assert bool(((found.mean(0) - expected).abs() < 4.0 * standard_error).all())


def test_multiplier_is_one_for_the_reference_and_counts_variance_times_cost() -> None:
    assert effective_compute_multiplier(2.0, 3.0, 2.0, 3.0) == 1.0
    assert effective_compute_multiplier(0.5, 2.0, 4.0, 1.0) == 4.0


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="denoisings"):
        TwoTierGradient(0)
    with pytest.raises(ValueError, match="equal shapes"):
        TwoTierGradient(2)(torch.zeros(3, 2), lambda x, t, n: x.sum(-1), torch.Generator().manual_seed(0))
