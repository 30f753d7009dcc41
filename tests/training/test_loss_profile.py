"""Losses by noise level: the exact optimum, and the excess of a denoiser that is off by a known amount."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from sciffusion.continuous import (
    ContinuousPrediction,
    DenoisingObjective,
    PointwiseDenoiser,
    PredictionKind,
    VariancePreserving,
)
from sciffusion.exact import ExactDenoiser, GaussianTarget
from sciffusion.training import loss_profile

PATH = VariancePreserving()
TARGET = GaussianTarget.autoregressive(3, 0.6)
EXACT = ExactDenoiser(TARGET, PATH)
TIMES = torch.tensor([0.1, 0.4, 0.8], dtype=torch.float64)


class _Off(PointwiseDenoiser):
    def __init__(self, kind: PredictionKind) -> None:
        self.path, self.kind = PATH, kind

    def predict(self, x: Tensor, t: Tensor | float, condition: Any = None) -> ContinuousPrediction:
        value = EXACT.predict(x, t).to("x0", PATH.coefficients(t), x).value + 0.1
        return ContinuousPrediction(value, "x0").to(self.kind, PATH.coefficients(t), x)


def test_perfect_denoiser_has_the_optimal_loss_and_no_excess() -> None:
    x0 = TARGET.draw(20_000, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    profile = loss_profile(EXACT, DenoisingObjective(PATH, "x0"), x0, TIMES, generator, perfect=EXACT)
    optimum = torch.stack([EXACT.optimal_loss(t) for t in TIMES])
    assert bool(((profile.loss - optimum).abs() < 4.0 * profile.standard_error).all())
    assert profile.excess is not None
    assert float(profile.excess.abs().max()) < 1e-20
    torch.testing.assert_close(profile.log_snr, PATH.log_snr(TIMES))


@pytest.mark.parametrize("kind", get_args(PredictionKind))
@pytest.mark.parametrize("weighting", ["x0", "eps", "v"])
def test_excess_is_the_weighted_distance_to_the_optimum(kind: PredictionKind, weighting: Any) -> None:
    x0 = TARGET.draw(50, torch.Generator().manual_seed(0))
    objective = DenoisingObjective(PATH, weighting)
    generator = torch.Generator().manual_seed(1)
    profile = loss_profile(_Off(kind), objective, x0, TIMES, generator, perfect=EXACT)
    c = PATH.coefficients(TIMES)
    weight = {
        "x0": torch.ones_like(c.alpha),
        "eps": (c.alpha / c.sigma) ** 2,
        "v": ((c.alpha**2 + c.sigma**2) / c.sigma) ** 2,
    }[weighting]
    torch.testing.assert_close(profile.excess, 0.01 * weight, rtol=1e-8, atol=0.0)


def test_excess_is_left_out_without_a_perfect_denoiser_and_bad_times_are_refused() -> None:
    x0 = TARGET.draw(5, torch.Generator().manual_seed(0))
    objective, generator = DenoisingObjective(PATH, "x0"), torch.Generator().manual_seed(1)
    assert loss_profile(EXACT, objective, x0, TIMES, generator).excess is None
    with pytest.raises(ValueError, match="times"):
        loss_profile(EXACT, objective, x0, torch.tensor([0.0]), generator)


def test_standard_error_is_the_spread_of_the_mean_loss_over_repeats() -> None:
    objective, generator = DenoisingObjective(PATH, "x0"), torch.Generator().manual_seed(1)
    profiles = [
        loss_profile(EXACT, objective, TARGET.draw(100, generator), TIMES, generator) for _ in range(200)
    ]
    spread = torch.stack([profile.loss for profile in profiles]).std(0)
    told = torch.stack([profile.standard_error for profile in profiles]).mean(0)
    torch.testing.assert_close(told, spread, rtol=0.2, atol=0.0)
