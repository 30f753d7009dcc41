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
from sciffusion.sampling.driftlite import DriftLiteSampler

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
        ({"start": torch.zeros(3, 2)}, r"start must return shape \(12, 2\)"),
        ({"count": 1}, "count must be at least 2"),
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


def test_scores_of_a_wrong_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"score must return shape \(12, 2\), got \(12,\)"):
        _run(DriftLiteSampler.from_score(lambda x, t: -x[:, 0], PATH, control="none"))
    sampler = DriftLiteSampler.from_score(lambda x, t: -x, PATH, divergence=lambda x, t: -x)
    with pytest.raises(ValueError, match=r"divergence must return shape \(12,\)"):
        _run(sampler)
