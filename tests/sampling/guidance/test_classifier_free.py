"""Guidance by differences, against mixtures and normal laws whose conditional laws are known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sciffusion.continuous import (
    ContinuousPrediction,
    DPMSolverMultistep,
    Euler,
    PointwiseDenoiser,
    RectifiedFlow,
    VariancePreserving,
)
from sciffusion.exact import ExactDenoiser, GaussianMixtureTarget, GaussianTarget
from sciffusion.sampling import State, sample, uniform_grid
from sciffusion.sampling.guidance import AutoGuidance, ClassifierFreeGuidance, GuidedDenoiser

PATH = VariancePreserving()
PRIOR = GaussianMixtureTarget.from_stds(
    [0.3, 0.7], torch.tensor([[-1.0, 0.5], [1.0, 0.0]]), torch.tensor([[0.4, 0.7], [0.6, 0.3]])
)
OPERATOR, READING = torch.tensor([[1.0, 1.0]], dtype=torch.float64), torch.tensor([0.4], dtype=torch.float64)
POSTERIOR = PRIOR.observed(OPERATOR, READING, 0.8)


class Conditional(PointwiseDenoiser):
    """The exact denoiser of a prior and, for condition "y", of the posterior; notes its conditions."""

    def __init__(self, prior: Any, posterior: Any, kind: Any = "x0") -> None:
        self.path = PATH
        self.parts = {None: ExactDenoiser(prior, PATH), "y": ExactDenoiser(posterior, PATH)}
        self.kind = kind
        self.asked: list[Any] = []

    def predict(self, x: Tensor, t: Tensor | float, condition: Any = None) -> ContinuousPrediction:
        self.asked.append(condition)
        return self.parts[condition].predict(x, t).to(self.kind, PATH.coefficients(t), x)


def _state(t: float | Tensor) -> State:
    x = torch.randn(6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return State(x=x, t=torch.as_tensor(t, dtype=torch.float64))


@pytest.mark.parametrize("kind", ["x0", "eps", "v", "flow", "score"])
@pytest.mark.parametrize("scale", [0.0, 1.0, 2.5])
def test_the_guided_score_is_that_of_the_tilted_noisy_density(kind: Any, scale: float):
    denoiser = Conditional(PRIOR, POSTERIOR, kind)
    guided = GuidedDenoiser(denoiser, ClassifierFreeGuidance(scale))
    for t in (0.1, 0.6):
        x = _state(t).x.requires_grad_(True)
        conditional, prior = denoiser.parts["y"], denoiser.parts[None]
        tilted = scale * conditional.log_density(x, t) + (1.0 - scale) * prior.log_density(x, t)
        (expected,) = torch.autograd.grad(tilted.sum(), x)
        c = PATH.coefficients(t)
        score = guided(_state(t), "y").to("score", c, _state(t).x).value
        torch.testing.assert_close(score, expected, rtol=1e-7, atol=1e-7)


def test_outside_the_interval_one_plain_evaluation_is_made():
    denoiser = Conditional(PRIOR, POSTERIOR)
    guidance = ClassifierFreeGuidance(3.0, interval=(0.25, 0.5))
    for t, conditions in ((0.2, ["y"]), (0.25, ["y", None]), (0.5, ["y", None]), (0.6, ["y"])):
        denoiser.asked.clear()
        value = GuidedDenoiser(denoiser, guidance)(_state(t), "y").value
        assert denoiser.asked == conditions
        assert torch.equal(value, denoiser(_state(t), "y").value) == (len(conditions) == 1)
    grid = uniform_grid(8)  # times 1, .875, ... at evaluations; .5, .375 and .25 lie inside
    result = sample(denoiser, Euler(), grid, state=_state(1.0), condition="y", guidance=guidance)
    assert result.nfe == 8 + 3


def test_each_element_follows_its_own_time():
    denoiser = Conditional(
        GaussianTarget.isotropic(2), GaussianTarget.isotropic(2).observed(OPERATOR, READING, 0.5)
    )
    guidance = ClassifierFreeGuidance(3.0, interval=(0.25, 0.5))
    t = torch.tensor([[0.1, 0.4]], dtype=torch.float64).expand(6, 2)
    guided = GuidedDenoiser(denoiser, guidance)(_state(t), "y").value
    plain, reference = denoiser(_state(t), "y").value, denoiser(_state(t)).value
    torch.testing.assert_close(guided[:, 0], plain[:, 0])
    torch.testing.assert_close(guided[:, 1], (3.0 * plain - 2.0 * reference)[:, 1])


def test_the_unconditional_condition_can_be_named():
    denoiser = Conditional(PRIOR, POSTERIOR)
    guidance = ClassifierFreeGuidance(2.0, unconditional="y")
    value = GuidedDenoiser(denoiser, guidance)(_state(0.4), None).value
    expected = 2.0 * denoiser(_state(0.4), None).value - denoiser(_state(0.4), "y").value
    torch.testing.assert_close(value, expected)


def test_autoguidance_moves_away_from_the_weaker_model():
    strong, weak = ExactDenoiser(POSTERIOR, PATH), ExactDenoiser(PRIOR, PATH)
    guided = GuidedDenoiser(strong, AutoGuidance(weak, 2.0, (0.0, 0.5)))
    expected = 2.0 * strong(_state(0.4)).value - weak(_state(0.4)).value
    torch.testing.assert_close(guided(_state(0.4)).value, expected)
    assert torch.equal(guided(_state(0.6)).value, strong(_state(0.6)).value)
    result = sample(strong, Euler(), uniform_grid(8), state=_state(1.0), guidance=AutoGuidance(weak, 2.0))
    assert result.nfe == 8


def test_samples_are_biased_against_the_tilted_density_however_small_the_steps():
    """Data N(0, 1), a reading 1 with noise variance v = 1, scale w = 3.

    The tilted density has mean 3/4 and variance v / (v + w) = 1/4.  The flow shrinks the spread by the
    power w of what the conditional flow does, to the variance (v / (1 + v))^w = 1/8, and its mean is 1.
    """
    one = torch.ones(1, 1, dtype=torch.float64)
    prior = GaussianTarget.isotropic(1)
    denoiser = Conditional(prior, prior.observed(one, torch.ones(1), 1.0))
    # On Gaussian data the map is affine: where it takes -1 and 1 gives mean and spread without any draw.
    start = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    spreads = []
    for n_steps in (100, 400):
        result = sample(
            denoiser, DPMSolverMultistep(2), uniform_grid(n_steps), state=State(x=start), condition="y",
            guidance=ClassifierFreeGuidance(3.0),
        )  # fmt: skip
        low, high = result.samples[:, 0].tolist()
        spreads.append((0.5 * (low + high), (0.5 * (high - low)) ** 2))
    assert spreads[0] == pytest.approx(spreads[1], abs=2e-3)
    mean, variance = spreads[1]
    assert mean == pytest.approx(1.0, abs=0.01)
    assert variance == pytest.approx(1.0 / 8.0, rel=2e-3)


def test_a_weaker_model_on_another_path_is_refused():
    data = GaussianTarget.isotropic(2)
    guided = GuidedDenoiser(
        ExactDenoiser(data, VariancePreserving()), AutoGuidance(ExactDenoiser(data, RectifiedFlow()), 2.0)
    )
    with pytest.raises(ValueError, match="weaker_denoiser must be on the path"):
        guided(State(x=torch.zeros(3, 2), t=torch.tensor(0.5, dtype=torch.float64)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ClassifierFreeGuidance(float("nan")), "scale must be finite"),
        (lambda: ClassifierFreeGuidance(2.0, (0.5, 0.2)), "interval must be"),
        (lambda: AutoGuidance(None, 2.0, (0.0, 1.2)), "interval must be"),
    ],
)
def test_bad_settings_are_refused(make: Any, message: str):
    with pytest.raises(ValueError, match=message):
        make()
