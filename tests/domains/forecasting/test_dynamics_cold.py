"""Cold sampling with exact parts follows the true trajectory; what it costs; where it degenerates."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sciffusion.domains.forecasting.dynamics_cold import cold_sample, cold_schedule

RATE = 0.4  # radians a step


def _turned(x: Tensor, steps: float) -> Tensor:
    """Turn the plane by some steps: a dynamical system that is known at all times."""
    cosine, sine = math.cos(RATE * steps), math.sin(RATE * steps)
    return x @ torch.tensor([[cosine, sine], [-sine, cosine]], dtype=x.dtype)


def _start(count: int = 5) -> Tensor:
    return torch.randn(count, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("horizon", [1, 2, 5])
@pytest.mark.parametrize("extra_steps", [0, 3])
def test_exact_networks_reproduce_the_trajectory(horizon: int, extra_steps: int) -> None:
    start = _start()
    walk = cold_sample(
        lambda x, s: _turned(x, horizon - s),
        lambda end, s: _turned(end, s - horizon),
        start,
        horizon,
        extra_steps,
    )
    expected = torch.stack([_turned(start, step) for step in range(1, horizon + 1)], 1)
    torch.testing.assert_close(walk, expected, atol=1e-12, rtol=0.0)


def test_the_walk_is_the_written_formula() -> None:
    start = _start()

    def forecast(x: Tensor, s: float) -> Tensor:
        return 1.3 * x + s

    def interpolate(end: Tensor, s: float) -> Tensor:
        return torch.tanh(end) * s + 0.2 * start

    end = forecast(start, 0.0)
    first = interpolate(end, 1.0)
    end = forecast(first, 1.0)
    second = first - interpolate(end, 1.0) + interpolate(end, 2.0)
    third = forecast(second, 2.0)
    walk = cold_sample(forecast, interpolate, start, 3)
    torch.testing.assert_close(walk, torch.stack([first, second, third], 1), atol=1e-14, rtol=0.0)


def test_a_constant_error_of_the_interpolator_is_not_summed_up() -> None:
    start, horizon, bias = _start(), 6, 0.1
    walk = cold_sample(
        lambda x, s: _turned(start, horizon), lambda end, s: _turned(end, s - horizon) + bias, start, horizon
    )
    expected = torch.stack([_turned(start, step) for step in range(1, horizon)], 1)
    torch.testing.assert_close(walk[:, :-1], expected + bias, atol=1e-12, rtol=0.0)


@pytest.mark.parametrize(("horizon", "extra_steps"), [(1, 0), (1, 2), (4, 0), (4, 3)])
def test_calls_are_counted(horizon: int, extra_steps: int) -> None:
    calls = {"forecast": 0, "interpolate": 0}

    def forecast(x: Tensor, s: float) -> Tensor:
        calls["forecast"] += 1
        return x

    def interpolate(end: Tensor, s: float) -> Tensor:
        assert 0.0 < s < horizon
        calls["interpolate"] += 1
        return end

    assert cold_sample(forecast, interpolate, _start(), horizon, extra_steps).shape == (5, horizon, 2)
    total = horizon + extra_steps
    assert calls == {"forecast": total, "interpolate": max(2 * total - 3, 0)}


def test_one_step_is_one_call_of_the_forecaster() -> None:
    start = _start()
    walk = cold_sample(lambda x, s: 2.0 * x + s, lambda end, s: pytest.fail("not asked"), start, 1)
    assert torch.equal(walk, 2.0 * start[:, None])


def test_schedule() -> None:
    assert cold_schedule(4) == (0.0, 1.0, 2.0, 3.0)
    assert cold_schedule(2, 3) == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert cold_schedule(1) == (0.0,)
    with pytest.raises(ValueError, match="horizon=0 and extra_steps=0"):
        cold_schedule(0)
    with pytest.raises(ValueError, match="extra_steps=-1"):
        cold_schedule(3, -1)
