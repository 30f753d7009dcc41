"""Steering by black-box rewards, against mixtures whose tilted law is known."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sciffusion.continuous import (
    ERSDE,
    AncestralDDPM,
    ContinuousPrediction,
    DPMSolverMultistep,
    Heun,
    PowerScale,
    VariancePreserving,
)
from sciffusion.exact import ExactDenoiser, GaussianMixtureTarget
from sciffusion.sampling import Guidance, SampleResult, State, log_snr_grid, sample
from sciffusion.sampling.smc import ParticleStep
from sciffusion.sampling.steering import FeynmanKacSteering, GaussianDraws, checked_rewards

PATH = VariancePreserving()
WEIGHTS, MEANS, STDS = [0.3, 0.7], [-1.5, 1.0], [0.4, 0.6]
TARGET = GaussianMixtureTarget.from_stds(
    WEIGHTS, torch.tensor(MEANS, dtype=torch.float64), torch.tensor(STDS, dtype=torch.float64)
)
DENOISER = ExactDenoiser(TARGET, PATH)
GRID = log_snr_grid(PATH, 40)
SYSTEMS, COUNT = 16, 500

#: Weight of the left component and mean under the law tilted by exp(-x), and log E exp(-x).
MASSES = [w * math.exp(-m + 0.5 * s**2) for w, m, s in zip(WEIGHTS, MEANS, STDS, strict=True)]
LEFT = MASSES[0] / sum(MASSES)
TILTED_MEAN = sum(q * (m - s**2) for q, m, s in zip(MASSES, MEANS, STDS, strict=True)) / sum(MASSES)
LOG_Z = math.log(sum(MASSES))


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _descent(x: Tensor) -> np.ndarray:
    """Return a reward that no gradient can pass."""
    return -x[:, 0].numpy()


def _run(particles: FeynmanKacSteering, solver: Any = None, **options: Any) -> SampleResult:
    settings = {"grid": GRID, "shape": (SYSTEMS * particles.count, 1), "generator": _generator()} | options
    grid = settings.pop("grid")
    solver = ERSDE(2) if solver is None else solver
    return sample(DENOISER, solver, grid, particles=particles, dtype=torch.float64, **settings)


def _averages(result: SampleResult, values: Tensor) -> Tensor:
    """Return the weighted average of each system."""
    assert result.log_weights is not None
    return (result.log_weights.exp() * values).reshape(SYSTEMS, -1).sum(-1)


def _assert_close(estimates: Tensor, truth: float, bias: float) -> None:
    """Check that the mean of independent systems is the truth within 4 standard errors and a known bias."""
    error = 4 * float(estimates.std()) / math.sqrt(estimates.shape[0]) + bias
    assert float(estimates.mean()) == pytest.approx(truth, abs=error)


@pytest.mark.parametrize(
    "settings",
    [
        {"potential": "difference"},
        {"potential": "max", "every": 13},
        {"potential": "sum", "every": 13},
        {"every": 0},
        {"clean": GaussianDraws(4)},
        {"every": 3, "threshold": 0.95},
    ],
)
def test_the_weighted_law_is_the_tilted_one_whatever_happens_on_the_way(settings: dict[str, Any]) -> None:
    result = _run(FeynmanKacSteering(_descent, COUNT, **settings))
    # Forty steps leave the sampler's own law, which is what is tilted, within a per cent of the target.
    _assert_close(_averages(result, result.samples[:, 0]), TILTED_MEAN, bias=0.02)
    _assert_close(_averages(result, (result.samples[:, 0] < -0.2).double()), LEFT, bias=0.02)
    assert result.log_normaliser is not None
    _assert_close(torch.exp(result.log_normaliser - LOG_Z), 1.0, bias=0.03)
    assert result.nfe == 40


@pytest.mark.parametrize("potential", ["max", "sum"])
def test_without_the_last_potential_the_law_is_another(potential: Any) -> None:
    steering = FeynmanKacSteering(_descent, COUNT, potential=potential, every=13, last_potential=False)
    averages = _averages(_run(steering), _run(steering).samples[:, 0])
    assert abs(float(averages.mean()) - TILTED_MEAN) > 10 * float(averages.std()) / math.sqrt(SYSTEMS)


def test_scale_multiplies_the_reward() -> None:
    scaled = _run(FeynmanKacSteering(lambda x: -0.5 * x[:, 0], COUNT, scale=2.0))
    plain = _run(FeynmanKacSteering(_descent, COUNT))
    assert torch.equal(scaled.samples, plain.samples)
    torch.testing.assert_close(scaled.log_normaliser, plain.log_normaliser)


def test_rewards_on_the_way_keep_more_particles_effective_than_weighing_the_end() -> None:
    ends = _run(FeynmanKacSteering(_descent, COUNT, scale=3.0, every=0)).particles
    way = _run(FeynmanKacSteering(_descent, COUNT, scale=3.0)).particles
    assert ends is not None
    assert way is not None
    assert way.ess_history[-1].mean() > 2.0 * ends.ess_history[-1].mean()


@pytest.mark.parametrize("solver", [Heun(), DPMSolverMultistep(2)])
def test_any_solver_is_steered_at_no_further_evaluations(solver: Any) -> None:
    result = _run(FeynmanKacSteering(_descent, COUNT), solver)
    _assert_close(_averages(result, result.samples[:, 0]), TILTED_MEAN, bias=0.02)
    plain = sample(DENOISER, solver, GRID, shape=(8, 1), generator=_generator())
    assert result.nfe == plain.nfe


def test_refused_samples_get_no_weight_and_may_be_refused_early() -> None:
    def reward(x: Tensor) -> Tensor:
        return torch.where(x[:, 0] < 0.0, 0.0, -math.inf)

    result = _run(FeynmanKacSteering(reward, COUNT, threshold=0.0))
    assert result.log_weights is not None
    assert bool((result.log_weights[result.samples[:, 0] >= 0.0] == -math.inf).all())
    share = float(TARGET_BELOW_ZERO)
    assert result.log_normaliser is not None
    _assert_close(result.log_normaliser.exp(), share, bias=0.01)


TARGET_BELOW_ZERO = sum(
    w * 0.5 * math.erfc(m / (s * math.sqrt(2.0))) for w, m, s in zip(WEIGHTS, MEANS, STDS, strict=True)
)


class _Push(Guidance):
    """Guidance by the gradient of -strength x, fading into the noise."""

    def __init__(self, strength: float) -> None:
        self.strength = strength

    def on_prediction(self, denoiser: Any, state: State, condition: Any = None, cache: Any = None) -> Any:
        c = PATH.coefficients(state.t)
        score = denoiser(state, condition, cache).to("score", c, state.x).value
        return ContinuousPrediction(score - self.strength * c.alpha**2, "score")


class _Tilted(Guidance):
    """The perfect guidance: the denoiser of the tilted law itself."""

    def on_prediction(self, denoiser: Any, state: State, condition: Any = None, cache: Any = None) -> Any:
        stds = torch.tensor(STDS, dtype=torch.float64)
        means = torch.tensor(MEANS, dtype=torch.float64) - stds**2
        return ExactDenoiser(GaussianMixtureTarget.from_stds(MASSES, means, stds), PATH)(state)


ABOVE_ZERO = log_snr_grid(PATH, 30, end=0.01)


@pytest.mark.parametrize("solver", [AncestralDDPM(), ERSDE(1), ERSDE(1, PowerScale(1.5))])
def test_a_guided_proposal_is_weighed_back_to_the_law_without_guidance(solver: Any) -> None:
    # Exact for every grid, however coarse: what is compared is the sampler's own law.
    weighed = _run(FeynmanKacSteering(_descent, COUNT, every=0), solver, grid=ABOVE_ZERO)
    steering = FeynmanKacSteering(_descent, COUNT, guidance_proposes=True)
    led = _run(steering, solver, grid=ABOVE_ZERO, guidance=_Push(0.7), generator=_generator(1))
    assert led.nfe == 2 * weighed.nfe == 60
    assert led.log_normaliser is not None
    assert weighed.log_normaliser is not None
    pairs = [
        (_averages(led, led.samples[:, 0]), _averages(weighed, weighed.samples[:, 0])),
        (led.log_normaliser.exp(), weighed.log_normaliser.exp()),
    ]
    for ours, theirs in pairs:
        error = math.sqrt(float(ours.var() + theirs.var()) / SYSTEMS)
        assert float(ours.mean()) == pytest.approx(float(theirs.mean()), abs=4 * error)


def test_a_perfect_proposal_leaves_almost_nothing_to_the_weights() -> None:
    steering = FeynmanKacSteering(_descent, COUNT, every=0, guidance_proposes=True, threshold=0.0)
    grid = log_snr_grid(PATH, 60, end=0.01)
    perfect = _run(steering, AncestralDDPM(), grid=grid, guidance=_Tilted()).particles
    plain = _run(steering, AncestralDDPM(), grid=grid).particles
    assert perfect is not None
    assert plain is not None
    assert float(perfect.ess_history[-1].mean()) > 0.85 * COUNT > 2.0 * float(plain.ess_history[-1].mean())


def test_guidance_that_should_propose_needs_noise_in_every_step() -> None:
    steering = FeynmanKacSteering(_descent, COUNT, guidance_proposes=True)
    with pytest.raises(ValueError, match="one evaluation a step, a noise source, no memory"):
        _run(steering, Heun(), guidance=_Push(0.7))
    with pytest.raises(ValueError, match="end the grid above t=0"):
        _run(steering, AncestralDDPM(), guidance=_Push(0.7))


def test_known_sites_are_rewarded_with_their_values() -> None:
    seen: list[Tensor] = []

    def reward(x: Tensor) -> Tensor:
        seen.append(x.clone())
        return x.sum(-1)

    pair = GaussianMixtureTarget.from_stds([1.0], torch.zeros(1, 2).double(), torch.ones(1, 2).double())
    known = torch.tensor([True, False]).expand(8, 2)
    x = torch.where(known, 3.0, torch.randn(8, 2, generator=_generator(), dtype=torch.float64))
    sample(
        ExactDenoiser(pair, PATH), AncestralDDPM(), GRID, state=State(x=x, known=known),
        particles=FeynmanKacSteering(reward, 8), generator=_generator(),
    )  # fmt: skip
    assert len(seen) == 41
    assert all(bool((values[:, 0] == 3.0).all()) for values in seen)


def test_draws_of_clean_data_are_exact_for_a_normal_law() -> None:
    x = torch.full((1, 1), 0.8, dtype=torch.float64)
    prior = GaussianMixtureTarget.from_stds([1.0], torch.zeros(1).double(), torch.full((1,), 2.0).double())
    denoiser = ExactDenoiser(prior, PATH)
    state = State(x=x, t=torch.tensor(0.3, dtype=torch.float64), generator=_generator())
    draws = GaussianDraws(40_000, data_std=2.0)(denoiser(state), state, PATH)[:, 0, 0]
    posterior = denoiser.posterior(x, 0.3)
    assert posterior.covariance is not None
    assert float(draws.mean()) == pytest.approx(float(posterior.mean), abs=0.02)
    assert float(draws.var()) == pytest.approx(float(posterior.covariance), rel=0.03)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (torch.tensor([0.0, math.nan, 1.0]), r"reward returned nan for particle 1 of the batch \(1 of 3"),
        ([0.0, 1.0, math.inf], "reward returned inf for particle 2"),
        (torch.zeros(3, 1), r"one value a particle, shape \(3,\), got shape \(3, 1\)"),
    ],
)
def test_rewards_that_cannot_be_used_are_named(values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        checked_rewards(values, 3)


@pytest.mark.parametrize(("potential", "expected"), [("sum", 7.0), ("max", 5.0), ("difference", -3.0)])
def test_rewards_met_on_the_way_follow_the_particle(potential: Any, expected: float) -> None:
    # Two draws of the clean data that agree count as one; then both particles descend from the second.
    settings = FeynmanKacSteering(
        lambda x: x[:, 0],
        2,
        potential=potential,
        clean=lambda prediction, state, path: state.x[None].repeat(2, 1, 1),
    )

    def met(rewards: list[float]) -> Tensor:
        state = State(x=torch.tensor(rewards, dtype=torch.float64)[:, None])
        step = ParticleStep(
            state, state, state, object(), SimpleNamespace(path=None), None, False, False, lambda: None
        )
        increments = run.log_increments(step)
        assert increments is not None
        return increments

    run = settings.begin(State(x=torch.zeros(2, 1, dtype=torch.float64)))
    torch.testing.assert_close(met([1.0, 5.0]), torch.tensor([1.0, 5.0], dtype=torch.float64))
    run.reorder(torch.tensor([1, 1]))
    torch.testing.assert_close(met([2.0, 2.0]), torch.tensor([expected] * 2, dtype=torch.float64))


@pytest.mark.parametrize("values", [None, ["high", "low", "low"]])
def test_rewards_that_are_no_numbers_are_refused(values: Any) -> None:
    with pytest.raises(TypeError, match="reward must return a tensor, array or list of numbers, got"):
        checked_rewards(values, 3)


@pytest.mark.parametrize("scale", [-2.0, 0.0])
def test_what_is_refused_stays_so_whatever_the_scale(scale: float) -> None:
    def reward(x: Tensor) -> Tensor:
        return torch.where(x.flatten(1)[:, 0] > 0.0, 0.0, -math.inf)

    result = _run(FeynmanKacSteering(reward, COUNT, scale=scale))
    assert result.log_weights is not None
    refused = result.samples.flatten(1)[:, 0] <= 0.0
    assert bool((result.log_weights[refused] == -math.inf).all())
    assert bool(result.log_weights[~refused].isfinite().all())
    assert 0 < int(refused.sum()) < len(refused)


def test_the_end_of_a_run_keeps_its_weights_however_high_the_threshold() -> None:
    result = _run(FeynmanKacSteering(_descent, COUNT, every=0, threshold=1.0))
    assert result.particles is not None
    assert result.log_weights is not None
    assert int(result.particles.resamplings.sum()) == 0
    weights = result.log_weights.exp().reshape(SYSTEMS, COUNT)
    assert bool((weights.amax(-1) > 2.0 * weights.amin(-1)).all())


def test_a_reward_that_refuses_everything_is_explained() -> None:
    with pytest.raises(ValueError, match=r"vanished.*collapsed"):
        _run(FeynmanKacSteering(lambda x: torch.full(x.shape[:1], -math.inf), COUNT))


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="potential must be one of"):
        FeynmanKacSteering(_descent, 4, potential="mean")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="every must be a whole number"):
        FeynmanKacSteering(_descent, 4, every=-1)
    with pytest.raises(TypeError, match="reward must be a function of clean values, got float"):
        FeynmanKacSteering(3.0, 4)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="scale must be finite"):
        FeynmanKacSteering(_descent, 4, scale=math.inf)
    with pytest.raises(ValueError, match="draws >= 1"):
        GaussianDraws(0)
