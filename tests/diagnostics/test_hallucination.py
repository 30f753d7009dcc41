"""Variance of clean estimates: its value for known estimates, and smoothed scores whose bridges it finds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from sciffusion.continuous import (
    AncestralDDPM,
    ContinuousPrediction,
    DPMSolverMultistep,
    PointwiseDenoiser,
    VariancePreserving,
    align,
)
from sciffusion.diagnostics import CleanEstimateVariance, hallucination_variance
from sciffusion.sampling import State, sample, uniform_grid

PATH = VariancePreserving()


class Scripted(PointwiseDenoiser):
    """Predicts a fixed multiple of the time, whatever the state."""

    path = PATH

    def __init__(self, slopes: Tensor) -> None:
        self.slopes = slopes

    def predict(self, x: Tensor, t: Tensor | float, condition: Any = None) -> ContinuousPrediction:
        estimate = ContinuousPrediction(self.slopes * float(torch.as_tensor(t)), "x0")
        return estimate.to("eps", PATH.coefficients(t), x)


class Smoothed(PointwiseDenoiser):
    """Two narrow modes whose responsibilities are those of a larger noise, as a smooth network's would be."""

    path = PATH

    def __init__(self, smoothing: float) -> None:
        self.modes = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])
        self.std, self.smoothing = 0.03, smoothing

    def predict(self, x: Tensor, t: Tensor | float, condition: Any = None) -> ContinuousPrediction:
        c = PATH.coefficients(t)
        alpha, sigma = align(c.alpha, x), align(c.sigma, x)
        total = (alpha * self.std) ** 2 + sigma**2
        off = x[..., None, :] - alpha[..., None] * self.modes
        wide = total + (alpha * self.smoothing) ** 2
        share = torch.softmax(-0.5 * off.square().sum(-1) / wide, -1)
        means = self.modes + (alpha * self.std**2 / total)[..., None] * off
        return ContinuousPrediction((share[..., None] * means).sum(-2), "x0")


def test_variance_of_known_estimates_in_a_window() -> None:
    slopes = torch.tensor([[1.0, 0.0], [2.0, 4.0], [0.0, 0.0]])
    hook = CleanEstimateVariance(PATH, window=(0.2, 0.45))
    state = State(x=torch.zeros(3, 2))
    result = sample(Scripted(slopes), DPMSolverMultistep(1), uniform_grid(10), state=state, hooks=(hook,))
    # Evaluations at .4, .3 and .2, whose variance is .01 for a slope of 1.
    expected = 0.01 * slopes.square().mean(-1)
    found = result.trace["clean_estimate_variance"]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-9)
    again = sample(Scripted(slopes), DPMSolverMultistep(1), uniform_grid(10), state=state, hooks=(hook,))
    assert torch.equal(again.trace["clean_estimate_variance"], found)


@pytest.mark.parametrize("solver", [AncestralDDPM(), DPMSolverMultistep(2)], ids=["sde", "ode"])
def test_bridges_of_a_smoothed_score_have_the_larger_variance(
    solver: AncestralDDPM | DPMSolverMultistep,
) -> None:
    generator = torch.Generator().manual_seed(0)
    found = hallucination_variance(
        Smoothed(0.65), solver, uniform_grid(200), shape=(2000, 2), generator=generator, quantile=0.9
    )
    off = (found.samples[:, 0].abs() - 1.0).abs()
    bridges, good = off > 0.25, off < 0.15
    assert 5 < int(bridges.sum()) < 400
    assert int(good.sum()) > 1000
    clear = bridges | good
    assert roc_auc_score(bridges[clear].numpy(), found.variance[clear].numpy()) > 0.9
    assert int(found.suspect.sum()) == 200
    assert bool((found.variance[found.suspect] > found.threshold).all())
    # The exact score of the same modes makes no bridge.
    exact = hallucination_variance(
        Smoothed(0.0), solver, uniform_grid(200), shape=(500, 2), generator=generator
    )
    assert float((exact.samples[:, 0].abs() - 1.0).abs().max()) < 0.25


def test_the_run_is_not_changed() -> None:
    generator = torch.Generator().manual_seed(0)
    state = State(x=torch.randn(5, 2, generator=generator))
    solver, grid = AncestralDDPM(), uniform_grid(40)
    plain = sample(Smoothed(0.2), solver, grid, state=state, generator=torch.Generator().manual_seed(1))
    watched = hallucination_variance(
        Smoothed(0.2), solver, grid, state=replace(state), generator=torch.Generator().manual_seed(1)
    )
    assert torch.equal(plain.samples, watched.samples)


def test_bad_windows_are_refused() -> None:
    with pytest.raises(ValueError, match="window"):
        CleanEstimateVariance(PATH, window=(0.5, 0.2))
    options = {"shape": (4, 2), "generator": torch.Generator().manual_seed(0)}
    with pytest.raises(RuntimeError, match="holds 1 evaluations"):
        hallucination_variance(
            Smoothed(0.2), AncestralDDPM(), uniform_grid(10), window=(0.05, 0.15), **options
        )
    with pytest.raises(ValueError, match="quantile"):
        hallucination_variance(Smoothed(0.2), AncestralDDPM(), uniform_grid(10), quantile=1.0, **options)
