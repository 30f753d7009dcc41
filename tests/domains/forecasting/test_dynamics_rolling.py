"""Rolling forecasts with an exact denoiser have the law of the process; the times that training meets."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sciffusion.continuous import ContinuousPrediction, PointwiseDenoiser
from sciffusion.domains.forecasting.dynamics_networks import WindowNetwork
from sciffusion.domains.forecasting.dynamics_rolling import (
    PATH,
    roll_states,
    rolling_evaluations,
    window_denoiser,
    window_loss,
)
from sciffusion.exact import AutoregressiveTarget, ExactDenoiser
from sciffusion.sampling.time_maps import MixedTimes

COEFFICIENTS = torch.tensor([1.2, -0.6])
STD = 1.0 / AutoregressiveTarget(COEFFICIENTS, 1.0, 1).autocovariance(1)[0].sqrt()


class SeriesDenoiser(PointwiseDenoiser):
    """The exact denoiser of an AR(2) series of unit variance, of whatever length it is shown."""

    path = PATH

    def __init__(self) -> None:
        self.calls = 0

    def predict(
        self, x: torch.Tensor, t: torch.Tensor | float, condition: Any = None
    ) -> ContinuousPrediction:
        """Return the exact posterior mean."""
        self.calls += 1
        target = AutoregressiveTarget(COEFFICIENTS, float(STD), x.shape[1])
        return ExactDenoiser(target, PATH).predict(x, t)


@pytest.mark.parametrize("window", [1, 4])
def test_an_exact_denoiser_gives_the_predictive_law(window: int) -> None:
    n_frames, count, steps = 6, 5000, 12
    past = torch.tensor([0.9, -1.1], dtype=torch.float64)
    denoiser = SeriesDenoiser()
    paths = roll_states(
        denoiser, past.expand(count, 2), n_frames, window=window, steps_per_frame=steps,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert denoiser.calls == rolling_evaluations(n_frames, window, steps)
    target = AutoregressiveTarget(COEFFICIENTS, float(STD), 2)
    mean, covariance = target.forecast_mean(past, n_frames), target.forecast_covariance(n_frames)
    std = covariance.diagonal().sqrt()
    # Four standard errors of the draws, and one per cent for the steps.
    error = (paths.mean(0) - mean) / std
    assert error.abs().max() < 4.0 / count**0.5 + 0.01
    scaled = (paths.T.cov() - covariance) / (std[:, None] * std)
    assert scaled.abs().max() < 4.0 * (2.0 / count) ** 0.5 + 0.01


def test_without_the_needed_context_the_law_is_another() -> None:
    count, past = 2000, torch.tensor([[-1.1]], dtype=torch.float64)
    paths = roll_states(
        SeriesDenoiser(), past.expand(count, 1), 1, window=4, steps_per_frame=16,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    target = AutoregressiveTarget(COEFFICIENTS, float(STD), 2)
    correlation = target.autocovariance(2)[1]
    assert paths.mean().item() == pytest.approx(float(-1.1 * correlation), abs=0.05)
    assert paths.std().item() == pytest.approx(float((1.0 - correlation**2).sqrt()), abs=0.05)
    assert paths.std() > 1.2 * target.forecast_covariance(1).sqrt()


def _network(window: int = 3, context: int = 2, dim: int = 2) -> WindowNetwork:
    generator = torch.Generator().manual_seed(0)
    network = WindowNetwork(context, window, False, n_points=dim, width=16, depth=2, generator=generator)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return network


def test_clean_frames_stay_as_they_are() -> None:
    denoiser = window_denoiser(_network())
    x = torch.randn(4, 5, 2, generator=torch.Generator().manual_seed(1))
    times = torch.tensor([[0.0, 0.0, 0.2, 0.5, 1.0]])
    value = denoiser.predict(x, times).to("x0", PATH.coefficients(times), x).value
    assert torch.equal(value[:, :2], x[:, :2])
    assert not torch.allclose(value[:, 2:], x[:, 2:], atol=1e-3)


def test_the_network_sees_past_frames_and_the_times_of_all() -> None:
    network = _network()
    x = torch.randn(1, 5, 2, generator=torch.Generator().manual_seed(1))
    level = torch.tensor([[-5.0, -5.0, -0.4, 0.0, 0.3]])
    result = network(x, level)
    for frame in range(5):
        moved = x.clone()
        moved[:, frame] += 0.5
        assert not torch.allclose(network(moved, level), result, atol=1e-4)
    for frame in (2, 3, 4):
        other = level.clone()
        other[:, frame] += 0.2
        assert not torch.allclose(network(x, other), result, atol=1e-4)


def test_the_loss_of_an_ignorant_network_is_that_of_the_best_guess_without_looking() -> None:
    generator = torch.Generator().manual_seed(0)
    network = WindowNetwork(1, 3, False, n_points=2, width=8, depth=1, generator=generator)
    frames, noise = torch.randn(2, 20_000, 4, 2, generator=generator)
    times = MixedTimes.rolling(3, 1).sample((20_000, 4), generator).times
    # F = 0 against sin x0 - cos eps, of variance 1 whatever the times.
    assert window_loss(network, frames, times, noise, 3).item() == pytest.approx(1.0, abs=0.02)
    assert (times[:, 0] == 0.0).all()


def test_training_meets_the_times_of_sampling() -> None:
    times = MixedTimes.rolling(4, 1, 0.25).sample((4000, 5), torch.Generator().manual_seed(0)).times[:, 1:]
    rolling = (times[:, 1:] - times[:, :-1] - 0.25).abs().amax(1) < 1e-9
    boundary = ~rolling
    assert boundary.double().mean().item() == pytest.approx(0.25 * 0.75, abs=0.05)
    assert (times[boundary, -1] == 1.0).all()
