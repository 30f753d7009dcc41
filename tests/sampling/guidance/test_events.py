"""Event guidance against exact conditional laws of Gaussian data."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from sciffusion.continuous import DPMSolverMultistep, RectifiedFlow, VarianceExploding, VariancePreserving
from sciffusion.exact import ExactDenoiser, GaussianTarget
from sciffusion.sampling import State, log_snr_grid, sample, uniform_grid
from sciffusion.sampling.guidance import Event, EventGuidance, GuidedDenoiser, as_events
from sciffusion.sampling.guidance.events import event_weights, log_indicator

PATH = VariancePreserving()
DATA = GaussianTarget.autoregressive(3, 0.8, 1.2)
DENOISER = ExactDenoiser(DATA, PATH)
ROWS = torch.tensor([[1.0, 0.0, -1.0], [0.5, 1.0, 0.0]], dtype=torch.float64)


def _function(index: int) -> Any:
    return lambda x: x @ ROWS[index].to(x)


def _state(t: float = 0.4) -> State:
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return State(x=x, t=torch.tensor(t, dtype=torch.float64))


def _guided(state: State, events: Any, denoiser: Any = DENOISER) -> Tensor:
    return GuidedDenoiser(denoiser, EventGuidance(events))(state).value


@pytest.mark.parametrize("path", [PATH, RectifiedFlow(), VarianceExploding()])
@pytest.mark.parametrize("noise", [0.0, 0.6])
def test_equalities_are_exact_for_gaussian_data(path: Any, noise: float):
    exact = DATA.observed(ROWS, torch.tensor([1.5, -0.3], dtype=torch.float64), noise)
    events = [Event(_function(0), "==", 1.5, noise), Event(_function(1), "==", -0.3, noise)]
    for t in (0.05, 0.5, 0.9):
        guided = _guided(_state(t), events, ExactDenoiser(DATA, path))
        torch.testing.assert_close(guided, ExactDenoiser(exact, path)(_state(t)).value, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("relation", "sign"), [(">", 1.0), (">=", 1.0), ("<", -1.0), ("<=", -1.0)])
@pytest.mark.parametrize("value", [-1.0, 2.0, 9.0])
def test_an_inequality_is_exact_for_gaussian_data(relation: Any, sign: float, value: float):
    """The score of the conditional law is that of the prior plus the gradient of the event's probability."""
    for t in (0.1, 0.7):
        x, c = _state(t).x.requires_grad_(True), PATH.coefficients(t)
        mean = DENOISER.predict(x, t).value
        variance = ROWS[0] @ DENOISER.posterior(x.detach(), t).covariance[0] @ ROWS[0] + 0.3**2
        z = sign * (mean @ ROWS[0] - value) / variance.sqrt()
        torch.special.log_ndtr(z).sum().backward()
        expected = mean.detach() + c.sigma**2 / c.alpha * x.grad
        torch.testing.assert_close(_guided(_state(t), (_function(0), relation, value, 0.3)), expected)


def test_an_inequality_next_to_an_equality_is_exact_for_gaussian_data():
    events = [(_function(1), ">", 1.0), (_function(0), "==", 0.5, 0.4)]
    given = DATA.observed(ROWS[:1], torch.tensor([0.5], dtype=torch.float64), 0.4)
    expected = _guided(_state(), (_function(1), ">", 1.0), ExactDenoiser(given, PATH))
    torch.testing.assert_close(_guided(_state(), events), expected)


def test_a_function_with_several_values_means_all_of_them():
    several = Event(lambda x: x @ ROWS.to(x).T, "<", torch.tensor([0.1, -0.2]))
    single = [(_function(0), "<", 0.1), (_function(1), "<", -0.2)]
    torch.testing.assert_close(_guided(_state(), several), _guided(_state(), single), rtol=1e-6, atol=1e-6)


def test_values_may_differ_between_items():
    values = torch.linspace(-1.0, 1.0, 5, dtype=torch.float64)
    guided = _guided(_state(), Event(_function(0), ">", values))
    for row in range(5):
        alone = _guided(_state(), Event(_function(0), ">", float(values[row])))
        torch.testing.assert_close(guided[row], alone[row])


def test_the_weights_are_the_derivative_of_the_log_probability():
    generator = torch.Generator().manual_seed(3)
    root = torch.randn(4, 5, 5, generator=generator, dtype=torch.float64)
    spread = root @ root.mT
    gap = torch.randn(4, 5, generator=generator, dtype=torch.float64).requires_grad_(True)
    signs = torch.tensor([0.0, 1.0, 0.0, -1.0, 1.0], dtype=torch.float64)
    equal, beyond = [0, 2], [1, 3, 4]
    block = spread[:, equal][:, :, equal]
    normal = torch.distributions.MultivariateNormal(torch.zeros(2, dtype=torch.float64), block)
    gain = torch.linalg.solve(block, spread[:, equal][:, :, beyond])
    mean = gap[:, beyond] - (gain.mT @ gap[:, equal, None])[..., 0]
    left = spread[:, beyond][:, :, beyond] - gain.mT @ spread[:, equal][:, :, beyond]
    z = signs[beyond] * mean / left.diagonal(dim1=-2, dim2=-1).sqrt()
    (normal.log_prob(gap[:, equal]).sum() + torch.special.log_ndtr(z).sum()).backward()
    usual = spread.diagonal(dim1=-2, dim2=-1)
    torch.testing.assert_close(event_weights(gap.detach(), spread, usual, signs), gap.grad)


def test_hopeless_and_certain_events_give_finite_weights():
    gap = torch.tensor([[-1e8], [-40.0], [0.0], [1e8]], dtype=torch.float64)
    one = torch.ones(4, 1, 1, dtype=torch.float64)
    weights = event_weights(gap, one, one[..., 0], torch.ones(1, dtype=torch.float64))[:, 0]
    expected = torch.tensor([1e8, 40.02493, math.sqrt(2.0 / math.pi), 0.0], dtype=torch.float64)
    torch.testing.assert_close(weights, expected, rtol=1e-6, atol=0.0)
    # A covariance that is none: the floor keeps the weight finite.
    broken = event_weights(gap, -one, one[..., 0], torch.zeros(1, dtype=torch.float64))
    assert bool(broken.isfinite().all())


def test_a_run_ends_in_the_conditional_law_of_gaussian_data():
    value = 2.0
    generator = torch.Generator().manual_seed(1)
    result = sample(
        DENOISER, DPMSolverMultistep(2), uniform_grid(100), shape=(4000, 3), generator=generator,
        guidance=EventGuidance((_function(0), ">", value)), dtype=torch.float64,
    )  # fmt: skip
    assert result.nfe == 100
    seen = result.samples @ ROWS[0]
    assert float((seen > value - 1e-3).double().mean()) > 0.995
    std = (ROWS[0] @ DATA.covariance @ ROWS[0]).sqrt()
    hazard = math.exp(-0.5 * (value / std) ** 2) / math.sqrt(2 * math.pi) / torch.special.ndtr(-value / std)
    truncated = (std**2 * (1 + value / std * hazard - hazard**2)).sqrt()
    assert float(seen.mean()) == pytest.approx(float(std * hazard), abs=0.03)
    assert float(seen.std()) == pytest.approx(float(truncated), abs=0.03)
    # Given the value of the function the rest is as before: the regression on it.
    slope = DATA.covariance @ ROWS[0] / std**2
    torch.testing.assert_close(result.samples.mean(0), slope * seen.mean(), rtol=0.0, atol=0.06)


def test_a_nonlinear_event_is_fulfilled():
    generator = torch.Generator().manual_seed(1)
    result = sample(
        DENOISER, DPMSolverMultistep(2), log_snr_grid(PATH, 60), shape=(500, 3), generator=generator,
        guidance=EventGuidance([(lambda x: (x**2).sum(-1), "==", 9.0), (lambda x: x[:, 1], ">", 0.0)]),
    )  # fmt: skip
    squares = (result.samples**2).sum(-1)
    assert float((squares - 9.0).abs().median()) < 1e-3
    assert float((result.samples[:, 1] > -0.05).double().mean()) > 0.98


def test_indicators_and_their_soft_forms():
    x = torch.tensor([[1.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    hard = [(lambda x: x[:, 0], ">", 1.5), (lambda x: x[:, 1:], "<=", 0.0)]
    assert log_indicator(hard, x).tolist() == [-math.inf, 0.0]
    soft = log_indicator([(lambda x: x[:, 0], "<", 1.0, 0.5)], x)
    assert soft.exp().tolist() == pytest.approx([0.5, 0.02275], rel=1e-3)
    with pytest.raises(ValueError, match="equality has probability 0"):
        log_indicator([(lambda x: x[:, 0], "==", 1.0)], x)


@pytest.mark.parametrize(
    ("events", "error", "message"),
    [
        ([], ValueError, "at least one event"),
        ([3], TypeError, "must be an Event or a tuple"),
        (("x", ">", 1.0), TypeError, "must be an Event or a tuple"),
        ([("x", ">", 1.0)], TypeError, "function of an event must be callable"),
        ([(_function(0), "!=", 1.0)], ValueError, "relation must be one of"),
        ([(_function(0), ">", math.nan)], ValueError, "value of an event must be finite"),
        ([(_function(0), ">", 1.0, -1.0)], ValueError, "must not be negative"),
    ],
)
def test_what_is_no_event_is_refused(events: Any, error: Any, message: str):
    with pytest.raises(error, match=message):
        as_events(events)


def test_functions_that_return_nan_are_refused_by_name():
    worst = int(DENOISER(_state()).value[:, 0].argmin())
    broken = Event(lambda x: torch.where(x[:, 0] > x[:, 0].min(), x[:, 0], torch.nan), ">", 0.0)
    with pytest.raises(ValueError, match=rf"function of an event returned NaN .* \[{worst}\]"):
        _guided(_state(), broken)
    with pytest.raises(ValueError, match="value of an event must be a number"):
        _guided(_state(), Event(_function(0), ">", torch.ones(3)))
