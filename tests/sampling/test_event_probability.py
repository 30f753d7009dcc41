"""Probabilities of events: exact on Gaussian data, against brute force on a mixture."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from sciffusion.continuous import (
    ERSDE,
    AncestralDDPM,
    PowerScale,
    PredictorCorrector,
    RectifiedFlow,
    VariancePreserving,
)
from sciffusion.exact import ExactDenoiser, GaussianMixtureTarget, GaussianTarget
from sciffusion.sampling import (
    State,
    event_probability,
    log_snr_grid,
    probability_of_samples,
    sample,
    uniform_grid,
    weighted_samples,
)
from sciffusion.sampling.guidance import EventGuidance, Guidance, RewardGuidance

PATH = VariancePreserving()
DATA = GaussianTarget.autoregressive(4, 0.9)
DENOISER = ExactDenoiser(DATA, PATH)
GRID = log_snr_grid(PATH, 100, last_log_snr=5.0)
STD = float(DATA.covariance.mean().sqrt())


def _mean(x: Tensor) -> Tensor:
    return x.mean(-1)


def _threshold(probability: float) -> float:
    return -STD * float(torch.special.ndtri(torch.tensor(probability, dtype=torch.float64)))


def _probability(event: Any, count: int = 2000, seed: int = 0, **options: Any) -> Any:
    generator = torch.Generator().manual_seed(seed)
    settings = {"shape": (count, 4), "dtype": torch.float64, **options}
    return event_probability(DENOISER, event, GRID, generator=generator, **settings)


def test_a_rare_event_is_estimated_where_monte_carlo_has_no_hit():
    event = (_mean, ">", _threshold(1e-4))
    plain = _probability(event, method="monte_carlo")
    assert (plain.probability, plain.method, plain.nfe) == (0.0, "monte_carlo", 100)
    assert plain.standard_error == pytest.approx(1.0 / 2000)  # no hit is not the certainty of none
    for seed in range(2):
        found = _probability(event, seed=seed)
        assert found.method == "importance"
        assert abs(found.probability - 1e-4) < 3.0 * found.standard_error
        assert found.standard_error < 1e-5
        assert found.effective_sample_size > 500
        assert found.nfe == 200  # 100 of them to find that there is no hit


def test_the_standard_error_is_that_of_repeated_runs():
    run = _probability((_mean, ">", _threshold(1e-3)), 20 * 200, method="importance", groups=20)
    declared = float((run.standard_error**2).mean().sqrt())
    assert float(run.probability.std()) == pytest.approx(declared, rel=0.5)
    assert abs(float(run.probability.mean()) - 1e-3) < 4.0 * declared / math.sqrt(20)


def test_a_common_event_is_counted():
    found = _probability((_mean, "<", _threshold(0.3)))
    assert found.method == "monte_carlo"
    assert abs(found.probability - 0.7) < 3.0 * found.standard_error
    assert found.standard_error == pytest.approx(math.sqrt(0.21 / 2000), rel=0.05)
    assert found.effective_sample_size == pytest.approx(1400, rel=0.05)


class Wrong(Guidance):
    """Pulls everything away from the event."""

    differentiates = True

    def on_prediction(self, denoiser: Any, state: Any, condition: Any = None, cache: Any = None) -> Any:
        prediction = denoiser(state, condition, cache)
        return replace(prediction, value=prediction.value - 0.2)


def test_any_guidance_gives_an_unbiased_estimate():
    event = (_mean, ">", _threshold(0.05))
    pull = RewardGuidance(lambda x: x.mean(-1))
    for guidance in (Wrong(), [EventGuidance(event), Wrong()], pull):
        found = _probability(event, 4000, method="importance", guidance=guidance)
        assert abs(found.probability - 0.05) < 3.0 * found.standard_error
        # Bounded weights: never much worse than plain Monte Carlo with the paths that have no guidance.
        assert found.standard_error < 1.1 * math.sqrt(0.05 / (0.1 * 4000))


def test_weights_are_the_ratio_of_path_densities():
    """One step with noise and one without: the ratio of two normal densities of the state between them."""
    grid = torch.tensor([0.8, 0.5, 0.5], dtype=torch.float64)
    start = torch.randn(8, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    guidance = EventGuidance((_mean, ">", 2.0))
    generator = torch.Generator().manual_seed(3)
    paths = weighted_samples(
        DENOISER, guidance, grid, state=State(x=start), generator=generator, defensive=0.25,
        solver=AncestralDDPM(),
    )  # fmt: skip
    first = State(x=start, t=torch.tensor(0.8, dtype=torch.float64))
    c, there = PATH.coefficients(0.8), PATH.coefficients(0.5)
    rho = (there.sigma * c.alpha / (c.sigma * there.alpha)) ** 2
    std = there.sigma * torch.sqrt(1.0 - rho)

    def log_density(estimate: Tensor) -> Tensor:
        mean = rho * there.alpha / c.alpha * start + there.alpha * (1.0 - rho) * estimate
        return -0.5 * (((paths.samples - mean) / std) ** 2).sum(-1)

    plain = log_density(DENOISER(first).value)
    guided = log_density(guidance.on_prediction(DENOISER, first).value)
    mixed = torch.logaddexp(math.log(0.25) + plain, math.log(0.75) + guided)
    torch.testing.assert_close(paths.log_weights, plain - mixed)
    assert paths.guided.tolist() == [False] * 2 + [True] * 6


def test_without_change_the_paths_are_those_of_the_plain_sampler():
    nothing = RewardGuidance(lambda x: 0.0 * x.sum(-1))
    generator = torch.Generator().manual_seed(1)
    paths = weighted_samples(DENOISER, nothing, GRID, shape=(10, 4), generator=generator)
    generator = torch.Generator().manual_seed(1)
    plain = sample(DENOISER, ERSDE(2, PowerScale(2.0)), GRID, shape=(10, 4), generator=generator)
    torch.testing.assert_close(paths.samples, plain.samples)
    torch.testing.assert_close(paths.log_weights, torch.zeros(10, dtype=torch.float64))


def test_known_sites_keep_their_values():
    """The probability is that given what is known."""
    known = torch.tensor([True, False, False, False]).expand(2000, 4)
    noise = torch.randn(2000, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    start = State(x=torch.where(known, 1.5, noise), known=known)
    given = DATA.conditional(known[0], torch.tensor([1.5], dtype=torch.float64))
    value = float(given.mean[-1] + 3.0 * given.covariance[-1, -1].sqrt())
    # AR(1) data are badly conditioned: every step counts, so a fine grid near the data.
    found = event_probability(
        DENOISER, (lambda x: x[:, -1], ">", value), uniform_grid(100), state=start,
        generator=torch.Generator().manual_seed(1), method="importance",
    )  # fmt: skip
    exact = float(torch.special.ndtr(torch.tensor(-3.0)))
    assert abs(found.probability - exact) < 3.0 * found.standard_error + 0.05 * exact
    assert found.standard_error < 0.1 * exact


def test_groups_have_a_probability_each():
    thresholds = torch.tensor([_threshold(0.3), _threshold(1e-3)], dtype=torch.float64)
    event = (_mean, ">", thresholds.repeat_interleave(1500))
    found = _probability(event, 3000, groups=2)
    assert found.method == "importance"
    exact = torch.tensor([0.3, 1e-3], dtype=torch.float64)
    assert bool(((found.probability - exact).abs() < 3.0 * found.standard_error).all())
    alone = _probability((_mean, ">", float(thresholds[0])), 3000)
    assert abs(alone.probability - 0.3) < 3.0 * alone.standard_error


def test_a_nonlinear_event_on_a_mixture_agrees_with_brute_force():
    means = torch.tensor([[-1.0, 0.0], [1.0, 0.5]])
    target = GaussianMixtureTarget.from_stds([0.4, 0.6], means, torch.tensor([[0.5, 0.5], [0.4, 0.7]]))
    event = [(lambda x: x.norm(dim=-1), ">", 2.4), (lambda x: x[:, 0] * x[:, 1], "<", 0.0)]
    brute = probability_of_samples(event, target.draw(1_000_000, torch.Generator().manual_seed(0)))
    found = event_probability(
        ExactDenoiser(target, RectifiedFlow()), event, uniform_grid(100), shape=(4000, 2),
        generator=torch.Generator().manual_seed(1), method="importance",
    )  # fmt: skip
    tolerance = 3.0 * math.hypot(found.standard_error, brute.standard_error)
    assert abs(found.probability - brute.probability) < tolerance
    assert found.standard_error < 0.15 * brute.probability


def test_noise_softens_an_event():
    x = torch.zeros(10, 1)
    found = probability_of_samples((lambda x: x[:, 0], ">", 1.0, 0.5), x)
    assert found.probability == pytest.approx(0.02275, rel=1e-3)
    assert found.standard_error == 0.0


def test_a_solver_that_draws_noise_twice_a_step_is_refused():
    solver = PredictorCorrector(AncestralDDPM(), corrections=2)
    with pytest.raises(ValueError, match="draws noise once a step, and this one drew it twice"):
        _probability((_mean, ">", 1.0), 20, solver=solver, method="importance")


def test_bad_questions_are_refused():
    with pytest.raises(ValueError, match="method must be"):
        _probability((_mean, ">", 1.0), method="quadrature")
    with pytest.raises(ValueError, match="equality has probability 0"):
        _probability((_mean, "==", 1.0), 10)
    with pytest.raises(ValueError, match="groups must split the 10"):
        _probability((_mean, ">", 1.0), 10, groups=3)
    with pytest.raises(ValueError, match="groups must split the 10 paths"):
        _probability((_mean, ">", 1.0), 10, groups=3, method="importance")
    with pytest.raises(ValueError, match=r"defensive must lie in \(0, 1\)"):
        _probability((_mean, ">", 1.0), 10, defensive=0.0, method="importance")
