"""Reward guidance: exact tilts, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sciffusion.continuous import DPMSolverMultistep, RectifiedFlow, VariancePreserving
from sciffusion.exact import ExactDenoiser, GaussianTarget
from sciffusion.sampling import State, sample, uniform_grid
from sciffusion.sampling.guidance import GuidedDenoiser, RewardGuidance

PATH = VariancePreserving()
DATA = GaussianTarget.autoregressive(3, -0.6, 1.4)
SLOPE = torch.tensor([0.5, -1.0, 0.2], dtype=torch.float64)


def _state(t: float = 0.4) -> State:
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return State(x=x, t=torch.tensor(t, dtype=torch.float64))


def _linear(x: Tensor) -> Tensor:
    return x @ SLOPE.to(x)


@pytest.mark.parametrize("path", [PATH, RectifiedFlow()])
def test_a_linear_reward_tilts_gaussian_data_exactly(path: Any):
    tilted = GaussianTarget.full(DATA.covariance, DATA.mean + 1.5 * DATA.covariance @ SLOPE)
    guided = GuidedDenoiser(ExactDenoiser(DATA, path), RewardGuidance(_linear, 1.5))
    for t in (0.05, 0.5, 0.95):
        torch.testing.assert_close(guided(_state(t)).value, ExactDenoiser(tilted, path)(_state(t)).value)


def test_a_run_ends_in_the_tilted_law():
    tilted_mean = DATA.covariance @ SLOPE
    # The flow keeps what starts at the mean of the tilted noisy values at their mean.
    start = State(x=PATH.coefficients(1.0).alpha * tilted_mean[None])
    denoiser = ExactDenoiser(DATA, PATH)
    result = sample(
        denoiser, DPMSolverMultistep(2), uniform_grid(100), state=start, guidance=RewardGuidance(_linear)
    )
    torch.testing.assert_close(result.samples[0], tilted_mean, rtol=0.0, atol=1e-6)


def test_a_reward_of_the_noisy_values_tilts_their_density():
    denoiser = ExactDenoiser(DATA, PATH)
    state, c = _state(), PATH.coefficients(0.4)
    guidance = RewardGuidance(lambda x: -0.5 * (x**2).sum(-1), 2.0, lambda t: 1.0 - t, at="x_t")
    value = GuidedDenoiser(denoiser, guidance)(state)
    score = value.to("score", c, state.x).value
    torch.testing.assert_close(score, denoiser.score(state.x, 0.4) - 2.0 * 0.6 * state.x)


def test_a_schedule_scales_the_change():
    denoiser, state = ExactDenoiser(DATA, PATH), _state(0.3)
    plain = denoiser(state).value
    whole = GuidedDenoiser(denoiser, RewardGuidance(_linear))(state).value - plain
    part = GuidedDenoiser(denoiser, RewardGuidance(_linear, 1.0, lambda t: t**2))(state).value - plain
    torch.testing.assert_close(part, 0.09 * whole)


def test_rewards_that_are_nan_are_refused_by_name():
    denoiser, state = ExactDenoiser(DATA, PATH), _state()
    third = denoiser(state).value[2, 0]

    def broken(x: Tensor) -> Tensor:
        return torch.where(x[:, 0] == third, torch.nan, x[:, 0])

    with pytest.raises(ValueError, match=r"reward returned NaN for 1 of 5 items, the first being \[2\]"):
        GuidedDenoiser(denoiser, RewardGuidance(broken))(state)

    def steep(x: Tensor) -> Tensor:  # finite, with a gradient that is not
        return torch.sqrt((x[:, 0] - third) ** 2)

    with pytest.raises(ValueError, match=r"gradient of reward returned NaN .*\[2\]"):
        GuidedDenoiser(denoiser, RewardGuidance(steep))(state)


@pytest.mark.parametrize(
    ("reward", "error", "message"),
    [
        (lambda x: x, ValueError, "one number an item"),
        (lambda x: 3.0, TypeError, "must return a Tensor, got float"),
        (lambda x: x.detach()[:, 0], ValueError, "must be differentiable"),
    ],
)
def test_rewards_of_another_form_are_refused(reward: Any, error: Any, message: str):
    with pytest.raises(error, match=message):
        GuidedDenoiser(ExactDenoiser(DATA, PATH), RewardGuidance(reward))(_state())


@pytest.mark.parametrize("schedule", [lambda t: t * torch.nan, lambda t: torch.ones(7)])
def test_schedules_that_give_no_factors_are_refused(schedule: Any):
    guidance = RewardGuidance(_linear, schedule=schedule)
    with pytest.raises(ValueError, match="schedule must give finite factors of the shape"):
        GuidedDenoiser(ExactDenoiser(DATA, PATH), guidance)(_state())


def test_a_schedule_may_give_a_plain_number():
    halved, plain = RewardGuidance(_linear, schedule=lambda t: 0.5), RewardGuidance(_linear, 0.5)
    denoiser = ExactDenoiser(DATA, PATH)
    expected = GuidedDenoiser(denoiser, plain)(_state()).value
    torch.testing.assert_close(GuidedDenoiser(denoiser, halved)(_state()).value, expected)


def test_bad_settings_are_refused():
    with pytest.raises(TypeError, match="reward must be a function, got NoneType"):
        RewardGuidance(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="schedule must be a function, got float"):
        RewardGuidance(_linear, schedule=1.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="scale must be finite"):
        RewardGuidance(_linear, float("inf"))
    with pytest.raises(ValueError, match="at must be"):
        RewardGuidance(_linear, at="x1")  # type: ignore[arg-type]
