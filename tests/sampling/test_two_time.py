"""Curves and the slider, on jointly normal pairs: affine maps whose error is computed, not sampled."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sciffusion.continuous.two_time import GaussianHeads, TwoTimeInterpolant, TwoTimePrediction
from sciffusion.exact import GaussianTarget
from sciffusion.sampling.two_time import follow_curve, posterior_mean_slider, restore, slider_curve

INTERPOLANT = TwoTimeInterpolant(1.3)
UNEQUAL = GaussianHeads.of_observation(
    INTERPOLANT, GaussianTarget.autoregressive(4, 0.7).covariance, torch.eye(4), noise_std=0.6
)
EQUAL = GaussianHeads.of_observation(INTERPOLANT, 2.0 * torch.eye(4), 0.5 * torch.eye(4), noise_std=0.6)
STD = float(EQUAL.variances.mean().sqrt())
Y = torch.tensor([[0.5, -1.0, 2.0, 0.1]], dtype=torch.float64)


class _Unit:
    """Counts evaluations of heads."""

    def __init__(self, heads: GaussianHeads) -> None:
        self.heads, self.interpolant, self.calls = heads, heads.interpolant, 0

    def __call__(self, *arguments: Tensor) -> TwoTimePrediction:
        self.calls += 1
        return self.heads(*arguments)


def _law(heads: GaussianHeads, curve: Tensor, order: int = 2) -> tuple[Tensor, Tensor]:
    """Return mean and gain of the answers as an affine function of the starting noise."""
    rows = torch.cat([torch.zeros(1, 4, dtype=torch.float64), torch.eye(4, dtype=torch.float64)])
    ends = follow_curve(heads, curve, Y.expand(5, 4), _Rows(rows), order=order).samples  # type: ignore[arg-type]
    return ends[0], (ends[1:] - ends[0]).mT


class _Rows:
    """Stands for a generator; `torch.randn` is told to return these rows."""

    def __init__(self, rows: Tensor) -> None:
        self.rows, self.device = rows, rows.device


@pytest.fixture(autouse=True)
def _planted(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = torch.randn

    def planted(*sizes: object, generator: object = None, **options: object) -> Tensor:
        if isinstance(generator, _Rows):
            return generator.rows
        return draw(*sizes, generator=generator, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(torch, "randn", planted)


def _bent(n_steps: int) -> Tensor:
    """Return another curve from (0, 1) to (1, 0): first mostly regression, then noise."""
    u = torch.linspace(0.0, 1.0, n_steps + 1, dtype=torch.float64)
    return torch.stack([1.0 - (1.0 - u) ** 2, 1.0 - u**2], dim=1)


@pytest.mark.parametrize("curve", ["straight", "bent"])
@pytest.mark.parametrize("order", [1, 2])
def test_every_curve_ends_in_the_posterior_with_the_order_of_the_method(curve: str, order: int) -> None:
    errors = []
    for n_steps in (256, 512):
        points = slider_curve(1.0, n_steps, STD, 1.3) if curve == "straight" else _bent(n_steps)
        mean, gain = _law(UNEQUAL, points, order)
        torch.testing.assert_close(mean, UNEQUAL.mean(Y)[0], rtol=1e-8, atol=1e-8)
        errors.append(float((gain @ gain.mT - UNEQUAL.covariance).abs().max()))
    # The second order comes with a logarithm: the ends are reached in steps of one ratio of the noise.
    assert errors[1] < (2e-3 if order == 1 else 1e-4)
    assert math.log2(errors[0] / errors[1]) > (0.9 if order == 1 else 1.3)


def test_regression_is_one_evaluation_and_exact() -> None:
    counted = _Unit(UNEQUAL)
    result = restore(counted, Y, 0.0, n_steps=16, posterior_std=STD)
    torch.testing.assert_close(result.samples, UNEQUAL.mean(Y))
    assert result.nfe == counted.calls == 1


def test_nothing_but_the_corner_is_needed_for_regression_along_the_edge() -> None:
    # With more steps along g = 0 the answer is the same: the state then tells the mean exactly.
    u = torch.linspace(0.0, 1.0, 5, dtype=torch.float64)
    along = follow_curve(UNEQUAL, torch.stack([u, torch.zeros_like(u)], 1), Y).samples
    torch.testing.assert_close(along, UNEQUAL.mean(Y))


@pytest.mark.parametrize("rho", [0.2, 0.5, 0.8, 1.0])
def test_slider_is_on_the_frontier_where_the_posterior_variances_are_equal(rho: float) -> None:
    counted = _Unit(EQUAL)
    restore(counted, Y, rho, torch.Generator().manual_seed(0), n_steps=24, posterior_std=STD)
    assert counted.calls == 24
    mean, gain = _law(EQUAL, slider_curve(rho, 200, STD, 1.3))
    trace = float(EQUAL.covariance.trace())
    bias = float((mean - EQUAL.mean(Y)[0]).square().sum())
    # An independent posterior draw is at tr(S) + tr(answer covariance); the laws share their eigenvectors.
    error = bias + trace + float((gain @ gain.mT).trace())
    distance = bias + float((torch.linalg.svdvals(gain) - EQUAL.variances.sqrt()).square().sum())
    assert error == pytest.approx((1.0 + rho**2) * trace, rel=1e-3)
    assert distance == pytest.approx((1.0 - rho) ** 2 * trace, abs=1e-3 * trace)


@pytest.mark.parametrize("rho", [0.3, 0.7])
def test_slider_has_the_stated_variances_where_they_are_unequal(rho: float) -> None:
    _, gain = _law(UNEQUAL, slider_curve(rho, 300, 0.5, 1.3))
    v = UNEQUAL.variances
    share = v / (v + 0.25 * (1.0 - rho**2) / rho**2)
    found = torch.linalg.eigvalsh(gain @ gain.mT)
    torch.testing.assert_close(found, (share * v).sort().values, rtol=5e-3, atol=1e-5)


def test_mixing_mean_and_draws_is_on_the_frontier_for_any_variances() -> None:
    count, rho = 100_000, 0.6
    truth = UNEQUAL.draw(Y.expand(count, 4), torch.Generator().manual_seed(0))
    draws = UNEQUAL.draw(Y.expand(count, 4), torch.Generator().manual_seed(1))
    answers = posterior_mean_slider(UNEQUAL.mean(Y), draws, rho)
    squared = (answers - truth).square().sum(1)
    trace = float(UNEQUAL.covariance.trace())
    assert float(squared.mean()) == pytest.approx(
        (1.0 + rho**2) * trace, abs=4.0 * float(squared.std()) / count**0.5
    )
    spread = torch.linalg.eigvalsh(answers.mT.cov()).sqrt()
    distance = float((spread - UNEQUAL.variances.sqrt()).square().sum())
    assert distance == pytest.approx((1.0 - rho) ** 2 * trace, rel=0.03)


def test_noise_not_followed_down_would_be_found() -> None:
    # Heads that take every state for its mean given y end with too little spread.
    class Forgetful(_Unit):
        def __call__(
            self, state: Tensor, r: Tensor, g: Tensor, y: Tensor, condition: object = None
        ) -> TwoTimePrediction:
            return self.heads((1.0 - r) * y + r * self.heads.mean(y), r, g, y)

    _, gain = _law(Forgetful(UNEQUAL), slider_curve(1.0, 64, STD, 1.3))  # type: ignore[arg-type]
    assert float((gain @ gain.mT - UNEQUAL.covariance).abs().max()) > 0.1


def test_runs_are_reproducible_and_keep_types() -> None:
    y = Y.float().expand(3, 4)
    first, second = (
        restore(UNEQUAL, y, 0.5, torch.Generator().manual_seed(4), posterior_std=STD) for _ in range(2)
    )
    assert first.samples.dtype == torch.float32
    assert torch.equal(first.samples, second.samples)
    assert first.nfe == 16


def test_bad_use_is_refused() -> None:
    with pytest.raises(ValueError, match=r"rho must lie in \[0, 1\]"):
        restore(UNEQUAL, Y, 1.2)
    with pytest.raises(ValueError, match=r"rho must lie in \[0, 1\]"):
        posterior_mean_slider(Y, Y, -0.1)
    with pytest.raises(ValueError, match="needs a generator"):
        restore(UNEQUAL, Y, 0.5)
    with pytest.raises(ValueError, match="g must not rise"):
        follow_curve(UNEQUAL, torch.tensor([[0.0, 0.2], [1.0, 0.5]]), Y)
    with pytest.raises(ValueError, match="start at r=0"):
        follow_curve(UNEQUAL, torch.tensor([[0.5, 0.2], [1.0, 0.0]]), Y)
    with pytest.raises(ValueError, match="must have shape"):
        follow_curve(UNEQUAL, torch.zeros(3), Y)
    with pytest.raises(ValueError, match="order must be 1 or 2"):
        follow_curve(UNEQUAL, slider_curve(0.5, 4, STD, 1.3), Y, order=3)
