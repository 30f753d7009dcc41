"""What DriftLite refuses: rewards, scores, grids and settings that cannot be used."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sciffusion.continuous import VariancePreserving
from sciffusion.exact import ExactDenoiser, GaussianTarget
from sciffusion.sampling import SampleResult, log_snr_grid
from sciffusion.sampling.driftlite import AnalyticReward, DriftLiteSampler

PATH = VariancePreserving()
DENOISER = ExactDenoiser(GaussianTarget.isotropic(2, std=0.5), PATH)
GRID = log_snr_grid(PATH, 4, end=0.01)


def _reward(x: Tensor) -> Tensor:
    return -0.5 * (x**2).sum(-1)


def _without_centre(x: Tensor) -> Tensor:
    return x - x.mean(1, keepdim=True)


def _run(sampler: DriftLiteSampler, **options: Any) -> SampleResult:
    settings = {"grid": GRID, "count": 6, "shape": (2,), "systems": 2, "dtype": torch.float64}
    settings |= {"generator": torch.Generator().manual_seed(0)} | options
    return sampler.sample(settings.pop("grid"), **settings)


def test_rewards_without_derivatives_are_sent_to_steering() -> None:
    sampler = DriftLiteSampler.from_denoiser(DENOISER)
    with pytest.raises(TypeError, match="use FeynmanKacSteering for black-box rewards"):
        _run(sampler, reward=lambda x: np.asarray(x.detach()).sum(-1))
    with pytest.raises(TypeError, match="use FeynmanKacSteering for black-box rewards"):
        _run(sampler, reward=lambda x: (x[:, 0] > 0).double())
    with pytest.raises(TypeError, match="reward must be a function"):
        _run(sampler, reward=3.0)


def test_rewards_that_are_not_numbers_name_the_particle() -> None:
    def reward(x: Tensor) -> Tensor:
        broken = torch.zeros(x.shape[0], dtype=x.dtype)
        broken[4] = math.nan
        return _reward(x) + broken

    sampler = DriftLiteSampler.from_denoiser(DENOISER)
    with pytest.raises(ValueError, match="reward returned nan for particle 4 of the batch"):
        _run(sampler, reward=reward)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gamma": 0.0}, "gamma must be positive"),
        ({"grid": torch.linspace(0.0, 1.0, 5).double()}, "grid"),
        ({"grid": torch.linspace(1.0, 0.0, 5).double()}, "stop above that where sigma is 0"),
        ({"grid": GRID[:, None].expand(5, 3)}, "grid must be a vector"),
        ({"grid": torch.tensor([0.9, 0.5, 0.5, 0.1])}, r"grid\[1\] = grid\[2\] = 0.5"),
        ({"start": torch.zeros(3, 2)}, r"start must have shape \(12, 2\)"),
        ({"start": torch.full((12, 2), math.nan)}, "start is not finite for particle 0 of the batch"),
        ({"count": 1}, "count must be at least 2"),
        ({"count": 2.5}, "count must be at least 2, a whole number, got 2.5"),
        ({"systems": 0}, "systems must be at least 1"),
        ({"reward": _reward, "reward_schedule": lambda c: torch.ones_like(c.alpha)}, "reward_schedule"),
        ({"reward": lambda x: _reward(x)[:, None]}, r"reward must return shape \(12,\)"),
    ],
)
def test_bad_runs_are_refused(options: dict[str, Any], message: str) -> None:
    sampler = DriftLiteSampler.from_denoiser(DENOISER)
    with pytest.raises(ValueError, match=message):
        _run(sampler, **options)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"control": "best"}, "control must be one of"),
        ({"weights": "right"}, "weights must be one of"),
        ({"control": "ecg"}, "needs log densities"),
        ({"threshold": 1.2}, "threshold must lie in"),
        ({"noise_scale": -1.0}, "noise_scale must be finite"),
        ({"bound": 0.0}, "bound must be positive"),
        ({"project": _without_centre}, "give project and effective_dim together"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DriftLiteSampler.from_score(lambda x, t: -x, PATH, **settings)


def _broken(values: Tensor) -> Tensor:
    """Return values that are not numbers for particle 5, without a trace in the gradient of the others."""
    return torch.where(
        (torch.arange(len(values)) == 5).reshape(-1, *(1,) * (values.ndim - 1)), math.nan, values
    )


@pytest.mark.parametrize("settings", [{}, {"control": "none", "weights": "none"}])
def test_scores_that_are_not_numbers_name_the_particle(settings: dict[str, Any]) -> None:
    broken = DriftLiteSampler.from_score(lambda x, t: _broken(-x), PATH, **settings)
    with pytest.raises(ValueError, match="the score is not finite for particle 5 of the batch"):
        _run(broken, gamma=2.0)


def test_divergences_and_log_densities_that_are_not_numbers_name_the_particle() -> None:
    functions = {"divergence": lambda x, t: -2.0 * torch.ones(len(x)), "log_density": lambda x, t: _reward(x)}
    for name, words in (("divergence", "the divergence of the score"), ("log_density", "the log density")):
        given = functions | {name: lambda x, t: _broken(x[:, 0])}
        sampler = DriftLiteSampler.from_score(lambda x, t: -x, PATH, control="ecg", **given)
        with pytest.raises(ValueError, match=f"{words} is not finite for particle 5 of the batch"):
            _run(sampler)


@pytest.mark.parametrize("control", ["vcg", "none"])
def test_rewards_that_refuse_are_sent_to_steering(control: Any) -> None:
    sampler = DriftLiteSampler.from_denoiser(DENOISER, control=control)
    with pytest.raises(ValueError, match="use FeynmanKacSteering for rewards of -inf"):
        _run(sampler, reward=lambda x: torch.where(x[:, 0] > 0.0, _reward(x), -math.inf))


def test_derivatives_of_rewards_that_are_not_numbers_name_the_particle() -> None:
    sampler = DriftLiteSampler.from_denoiser(DENOISER)
    parts = {"gradient": lambda x: -x, "laplacian": lambda x: -2.0 * torch.ones(len(x))}
    for name, words in (("gradient", "gradient"), ("laplacian", "Laplacian")):
        right = parts[name]
        given = parts | {name: lambda x, right=right: _broken(right(x))}
        with pytest.raises(ValueError, match=f"the {words} of the reward is not finite for particle 5"):
            _run(sampler, reward=AnalyticReward(_reward, **given))


def test_what_is_no_tensor_or_generator_is_refused() -> None:
    sampler = DriftLiteSampler.from_denoiser(DENOISER)
    for options, message in (
        ({"generator": None}, "generator must be a torch.Generator, got NoneType"),
        ({"start": np.zeros((12, 2))}, "start must be a floating-point Tensor, got ndarray"),
        ({"start": torch.zeros(12, 2, dtype=torch.long)}, "got torch.int64"),
    ):
        with pytest.raises(TypeError, match=message):
            _run(sampler, **options)
    numpy_score = DriftLiteSampler.from_score(lambda x, t: -x.detach().numpy(), PATH)
    with pytest.raises(TypeError, match=r"score must return a Tensor of shape \(12, 2\), got ndarray"):
        _run(numpy_score)


def test_scores_of_a_wrong_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"score must return shape \(12, 2\), got \(12,\)"):
        _run(DriftLiteSampler.from_score(lambda x, t: -x[:, 0], PATH, control="none"))
    sampler = DriftLiteSampler.from_score(lambda x, t: -x, PATH, divergence=lambda x, t: -x)
    with pytest.raises(ValueError, match=r"divergence must return shape \(12,\)"):
        _run(sampler)
