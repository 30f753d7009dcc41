"""Steering of tokens: weighted runs against the exactly propagated law of the sampler, tilted."""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sciffusion.continuous import VariancePreserving
from sciffusion.discrete import Ancestral, DiscretePrediction, DiscreteProcess, Mask, Uniform
from sciffusion.exact import MarkovChainOracle
from sciffusion.sampling import SampleResult, State, sample, uniform_grid
from sciffusion.sampling.discrete_steering import (
    GuardedReward,
    TokenArgmax,
    TokenDraws,
    TokenSteering,
    transition_log_probability,
)
from sciffusion.sampling.guidance import DiscreteClassifier, DiscreteClassifierFree
from sciffusion.sampling.guidance.transition import TiltedTransition
from sciffusion.sampling.smc import ParticleStep

ORACLE = MarkovChainOracle.bench_a()
EVERY = torch.cartesian_prod(*[torch.arange(3)] * 4)
PLACES = torch.tensor([27, 9, 3, 1])
#: A reward without structure: what a black box may look like.
TABLE = torch.randn(81, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
SYSTEMS, COUNT, STEPS = 96, 32, 6
PROCESSES = [Mask(3), Uniform(3)]


def reward(x: Tensor) -> np.ndarray:
    """Return a reward that no gradient can pass; it wants clean tokens of an integer type."""
    assert x.dtype == torch.int64
    assert int(x.max()) < 3
    return TABLE[(x * PLACES).sum(-1)].numpy()


@cache
def sampler_law(process: DiscreteProcess) -> Tensor:
    """Return the exact law over clean sequences of the ancestral sampler without guidance."""
    x = torch.cartesian_prod(*[torch.arange(process.state_size)] * 4)
    law = torch.full((len(x),), 1.0 / len(x), dtype=torch.float64)
    if process.mask_token is not None:
        law = (x == process.mask_token).all(-1).double()
    denoiser = ORACLE.denoiser(process)
    for now, after in pairwise(uniform_grid(STEPS)):
        state = State(x[law > 0.0], now)
        sites = torch.exp(denoiser(state).reverse_log_probabilities(process, state, after))
        law = law[law > 0.0] @ torch.stack([sites[:, site, x[:, site]] for site in range(4)]).prod(0)
    return law[(x < 3).all(-1)]


def run(process: DiscreteProcess, particles: TokenSteering, seed: int = 0, **options: Any) -> SampleResult:
    settings = {"shape": (SYSTEMS * particles.count, 4)} | options
    return sample(
        ORACLE.denoiser(process), Ancestral(), uniform_grid(STEPS), particles=particles,
        generator=torch.Generator().manual_seed(seed), **settings,
    )  # fmt: skip


def assert_unbiased(result: SampleResult, expected: Tensor) -> None:
    """Check every cell of the weighted law with its normaliser, which particles estimate without bias."""
    assert result.log_weights is not None
    assert result.log_normaliser is not None
    weights = result.log_weights.exp().reshape(SYSTEMS, -1) * result.log_normaliser.exp()[:, None]
    place = (result.samples * PLACES).sum(-1).reshape(SYSTEMS, -1)
    cells = torch.zeros(SYSTEMS, 81, dtype=torch.float64).scatter_add(1, place, weights)
    groups = torch.cat([cells @ (EVERY[:, site, None] == token).double()
                        for site in range(4) for token in range(3)], dim=1)  # fmt: skip
    truth = torch.stack([expected[EVERY[:, site] == token].sum() for site in range(4) for token in range(3)])
    # The average over systems of a rarer cell is too skew for a score.
    likely = expected > 0.04 * expected.sum()
    found, wanted = torch.cat([cells[:, likely], groups], 1), torch.cat([expected[likely], truth])
    error = found.std(0) / math.sqrt(SYSTEMS)
    score = (found.mean(0) - wanted) / error
    # Some twenty dependent scores: 4 standard errors are passed by chance once in a thousand times.
    assert float(score.abs().max()) < 4.0
    assert float(error[likely.sum() :].mean() / truth.mean()) < 0.1, "the test has no power"


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"potential": "max", "every": 2},
        {"potential": "sum", "every": 3, "threshold": 0.9},
        {"every": 0},
        {"clean": TokenArgmax(), "threshold": 1.0},
    ],
)
def test_the_weighted_law_is_the_samplers_law_tilted(
    process: DiscreteProcess, settings: dict[str, Any]
) -> None:
    result = run(process, TokenSteering(reward, COUNT, scale=1.2, **settings))
    assert_unbiased(result, sampler_law(process) * torch.exp(1.2 * TABLE))
    assert result.nfe == STEPS


def classifier(process: DiscreteProcess) -> Any:
    """Return a smooth log weight of noisy tokens that knows something of the reward and not all."""
    weights = torch.linspace(-1.0, 1.0, process.state_size)

    def log_weight(x: Tensor, times: Tensor) -> Tensor:
        onehot = x if x.dtype.is_floating_point else torch.nn.functional.one_hot(x, process.state_size)
        return (onehot * weights).sum((-1, -2)) * (1.0 - times[:, 0])

    return log_weight


class _Conditioned:
    """The exact denoiser, which a condition makes another one."""

    def __init__(self, process: DiscreteProcess) -> None:
        self.path, self._plain = process, ORACLE.denoiser(process)

    def __call__(self, state: Any, condition: Any = None, cache: Any = None) -> DiscretePrediction:
        prediction = self._plain(state)
        shift = torch.tensor([0.0, 0.0, 1.0]) if condition is None else torch.zeros(3)
        return DiscretePrediction(prediction.logits + shift, prediction.kind)


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("mode", ["exact", "first_order", "free"])
def test_guidance_that_proposes_is_weighed_back(process: DiscreteProcess, mode: Any) -> None:
    guidance: Any = (
        DiscreteClassifierFree(2.0) if mode == "free" else DiscreteClassifier(classifier(process), mode)
    )
    steering = TokenSteering(reward, COUNT, guidance_proposes=True)
    result = sample(
        _Conditioned(process), Ancestral(), uniform_grid(STEPS), particles=steering, guidance=guidance,
        condition="c", shape=(SYSTEMS * COUNT, 4), generator=torch.Generator().manual_seed(1),
    )  # fmt: skip
    assert_unbiased(result, sampler_law(process) * torch.exp(TABLE))
    # What guidance remembers need not be evaluated again.
    assert result.nfe == STEPS * guidance.nfe


def test_without_weighing_the_guided_law_is_another() -> None:
    process = Uniform(3)
    steering = TokenSteering(reward, COUNT)
    result = run(process, steering, guidance=DiscreteClassifier(classifier(process)))
    with pytest.raises(AssertionError, match="assert"):
        assert_unbiased(result, sampler_law(process) * torch.exp(TABLE))


def test_a_proposal_that_knows_the_reward_leaves_less_to_the_weights() -> None:
    process = Mask(3)

    def hopeful(x: Tensor, times: Tensor) -> Tensor:
        return (x == 2).sum(-1).double()  # half the scale: neighbours of a 2 are seldom another one

    settings: dict[str, Any] = {"scale": 2.0, "every": 0, "threshold": 0.0, "guidance_proposes": True}
    steering = TokenSteering(lambda x: (x == 2).sum(-1), COUNT, **settings)
    led = run(process, steering, guidance=DiscreteClassifier(hopeful)).particles
    plain = run(process, steering).particles
    assert led is not None
    assert plain is not None
    assert float(led.ess_history[-1].mean()) > 1.5 * float(plain.ess_history[-1].mean())


@pytest.mark.parametrize("process", PROCESSES)
def test_clean_tokens_on_the_way_follow_the_denoiser_and_keep_known_sites(process: DiscreteProcess) -> None:
    x0 = torch.tensor([[2, 1, 0, 0]])
    known = torch.tensor([[False, True, False, False]])
    noisy = process.corrupt(x0, torch.tensor(0.6), torch.Generator().manual_seed(5), known)
    state = State(noisy.x, noisy.t, known=known, generator=torch.Generator().manual_seed(0))
    prediction = ORACLE.denoiser(process)(state)
    law = prediction.to("denoiser", process, state).probabilities[0]
    drawn = TokenDraws(3000)(prediction, state, process)
    assert drawn.shape == (3000, 1, 4)
    shares = torch.stack([(drawn[:, 0] == token).double().mean(0) for token in range(3)], dim=-1)
    torch.testing.assert_close(shares, law, atol=0.03, rtol=0.0)
    assert bool((drawn[..., 1] == 1).all())
    assert torch.equal(TokenArgmax()(prediction, state, process)[0, 0], law.argmax(-1))


def test_rewards_on_the_way_keep_more_particles_effective_than_weighing_the_end() -> None:
    def score(x: Tensor) -> Tensor:
        return (x == 2).sum(-1)

    ends, way = (
        run(Mask(3), TokenSteering(score, COUNT, scale=2.0, every=every)).particles for every in (0, 1)
    )
    assert ends is not None
    assert way is not None
    assert float(way.ess_history[-1].mean()) > 1.5 * float(ends.ess_history[-1].mean())


def fails_for(tokens: list[int]) -> Any:
    def fragile(x: Tensor) -> Tensor:
        if bool((x == torch.tensor(tokens)).all(-1).any()):
            raise RuntimeError("no such molecule")
        return TABLE[(x * PLACES).sum(-1)]

    return fragile


def test_a_reward_that_raises_names_the_item_and_the_value() -> None:
    steering = TokenSteering(fails_for([0, 0, 0, 0]), COUNT)
    with pytest.raises(ValueError, match=r"RuntimeError \(no such molecule\) for item \d+: \[0, 0, 0, 0\]"):
        run(Mask(3), steering)
    guarded = GuardedReward(fails_for([0, 2, 0, 1]), describe=lambda x: "".join("CNO"[k] for k in x))
    with pytest.raises(ValueError, match="for item 1: COCN; on_error="):
        guarded(torch.tensor([[0, 0, 0, 0], [0, 2, 0, 1]]))


def test_the_run_goes_on_with_weight_zero_only_if_asked() -> None:
    steering = TokenSteering(fails_for([0, 1, 0, 2]), COUNT, on_error="zero")
    result = run(Mask(3), steering)
    expected = sampler_law(Mask(3)) * torch.exp(TABLE)
    expected[int((torch.tensor([0, 1, 0, 2]) * PLACES).sum())] = 0.0
    assert_unbiased(result, expected)
    assert len(steering.failures) > 0
    item, error = steering.failures[0]
    assert item == "[0, 1, 0, 2]"
    assert isinstance(error, RuntimeError)
    run(Mask(3), TokenSteering(reward, COUNT, on_error="zero"))
    before = len(steering.failures)
    run(Mask(3), steering)
    assert len(steering.failures) == before  # those of the last run alone


def test_a_reward_that_raises_for_the_batch_alone_is_explained_or_asked_item_by_item() -> None:
    def single(x: Tensor) -> float:
        if len(x) > 1:
            raise TypeError("one at a time")
        return float(x.sum())

    with pytest.raises(ValueError, match="though for none of them alone"):
        GuardedReward(single)(torch.ones(2, 3).long())
    assert GuardedReward(single, "zero")(torch.tensor([[1, 2], [3, 4]])).tolist() == [3.0, 7.0]


def test_other_solvers_and_settings_are_refused() -> None:
    class TwoStage(Ancestral):
        nfe = 2

    state = State(torch.zeros(2, 4).long())
    step = ParticleStep(state, state, state, None, None, TwoStage(), False, True, lambda: None)
    with pytest.raises(ValueError, match=r"draws every site from one prediction .* got TwoStage"):
        transition_log_probability(step, None)
    with pytest.raises(ValueError, match="on_error must be one of"):
        TokenSteering(reward, 4, on_error="skip")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="reward must be a function of clean tokens, got int"):
        TokenSteering(3, 4)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="draws must be at least 1"):
        TokenDraws(0)
    with pytest.raises(ValueError, match="TokenDraws needs a generator"):
        TokenDraws()(None, state, VariancePreserving())
    with pytest.raises(ValueError, match="reward returned nan for particle 0"):
        run(Mask(3), TokenSteering(lambda x: torch.full((len(x),), math.nan), COUNT))


def test_the_ratio_of_a_site_that_only_guidance_would_draw_is_weight_zero() -> None:
    process = Uniform(3)
    drawn = State(torch.tensor([[1, 0, 0, 0], [0, 0, 0, 0]]), torch.tensor(0.5, dtype=torch.float64))
    before = State(torch.zeros(2, 4).long(), torch.tensor(0.5, dtype=torch.float64))

    class Model:
        path = process

    plain = DiscretePrediction(torch.zeros(2, 4, 3), "loo")  # a step of no length stays where it is
    guided = TiltedTransition(plain, torch.zeros(2, 4, 3))
    step = ParticleStep(before, drawn, drawn, guided, Model(), Ancestral(), False, True, lambda: plain)
    assert transition_log_probability(step, plain).tolist() == [-math.inf, 0.0]


def test_what_a_denoiser_says_of_known_sites_weighs_nothing() -> None:
    class Unsure:
        path = Uniform(3)

        def __call__(self, state: Any, condition: Any = None, cache: Any = None) -> DiscretePrediction:
            logits = torch.zeros(*state.x.shape, 3)
            logits[..., 0] = -torch.inf  # also where it is known
            return DiscretePrediction(logits, "loo")

    known = torch.tensor([True, False, False]).expand(8, 3)
    generator = torch.Generator().manual_seed(0)
    x = torch.where(known, 0, Uniform(3).draw_prior((8, 3), generator))
    result = sample(
        Unsure(), Ancestral(), uniform_grid(3), state=State(x, known=known, generator=generator),
        guidance=DiscreteClassifier(lambda x, t: 0.3 * (x == 1).sum(-1).double()),
        particles=TokenSteering(lambda x: (x == 1).sum(-1).double(), 4, guidance_proposes=True),
    )  # fmt: skip
    assert result.log_weights is not None
    assert bool(result.log_weights.isfinite().all())
    assert bool((result.samples[:, 0] == 0).all())
