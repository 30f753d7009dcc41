"""Discrete Feynman-Kac tilts: the identity on small chains of rates, and weighted runs against exact laws."""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from sciffusion.discrete import Ancestral, DiscreteProcess, Mask, Uniform
from sciffusion.exact import MarkovChainOracle
from sciffusion.sampling import SampleResult, State, sample, uniform_grid
from sciffusion.sampling.discrete_tilt import DiscreteTilt, log_weight_rate, tilted_rates

ORACLE = MarkovChainOracle.bench_a()
EVERY = torch.cartesian_prod(*[torch.arange(3)] * 4)
PLACES = torch.tensor([27, 9, 3, 1])
SYSTEMS, COUNT, STEPS = 96, 32, 6
PROCESSES = [Mask(3), Uniform(3)]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_rates(states: int) -> Tensor:
    rates = torch.exp(random(states, states)) * (1.0 - torch.eye(states, dtype=torch.float64))
    return rates - torch.diag(rates.sum(-1))


def test_tilted_rates_and_weights_together_follow_the_tilted_law() -> None:
    """The product rule for p w, against jumps at the tilted rates and growth by the weights."""
    rates, law, slopes = random_rates(6), torch.softmax(random(6, seed=1), -1), random(6, seed=2)
    weights = torch.exp(random(6, seed=3))
    change = weights * (law @ rates) + law * weights * slopes
    target = law * weights
    growth = log_weight_rate(rates, torch.log(weights), slopes)
    moved = target @ tilted_rates(rates, torch.log(weights)) + target * growth
    assert float((moved - change).abs().max()) < 1e-14
    # Neither the rates nor the weights alone do.
    assert float((target @ tilted_rates(rates, torch.log(weights)) - change).abs().max()) > 0.1


def test_the_weight_stays_constant_for_the_doob_transform_alone() -> None:
    rates, remaining, final = random_rates(6), 0.7, torch.exp(random(6, seed=4))

    def log_expectation(time: float) -> Tensor:
        return torch.log(torch.linalg.matrix_exp(rates * (remaining - time)) @ final)

    # In reverse time h obeys dh/dt = -R h, so its log has the slope -(R h) / h.
    now = log_expectation(0.2)
    slopes = -(rates @ torch.exp(now)) / torch.exp(now)
    assert float(log_weight_rate(rates, now, slopes).abs().max()) < 1e-12
    other = torch.log(final)
    assert float(log_weight_rate(rates, other, torch.zeros(6)).abs().max()) > 0.1


def test_increments_of_small_steps_are_the_rate_times_their_length() -> None:
    """A step's weight for a particle that stays, from tilted laws of one site, against the formula."""
    rates, start, slope = random_rates(5), random(5, seed=5), random(5, seed=6)
    errors = []
    for step in (1e-3, 5e-4):
        law = torch.linalg.matrix_exp(rates * step)
        proposal = law * torch.exp(start)
        proposal = proposal / proposal.sum(-1, keepdim=True)
        increment = slope * step + torch.log(law.diagonal()) - torch.log(proposal.diagonal())
        expected = log_weight_rate(rates, start, slope) * step
        errors.append(float((increment - expected).abs().max()))
    assert errors[0] < 1e-3 * float(log_weight_rate(rates, start, slope).abs().max())
    assert errors[1] == pytest.approx(0.25 * errors[0], rel=0.05)


def tilt_of(process: DiscreteProcess, clean: Tensor) -> Any:
    """Return a weight that is the table's for clean tokens, and on the way a poor guess of it."""
    mask = process.mask_token

    def log_tilt(x: Tensor, times: Tensor) -> Tensor:
        guess = torch.where(x == mask, 0, x) if mask is not None else x
        value = clean[(guess * PLACES).sum(-1)]
        share = 1.0 - times.mean(-1)
        return torch.where(times.amax(-1) == 0.0, value, 0.3 * share * value + share)

    return log_tilt


CLEAN = random(81, seed=3)


@cache
def sampler_law(process: DiscreteProcess, steps: int = STEPS) -> Tensor:
    """Return the exact law over clean sequences of the ancestral sampler without guidance."""
    x = torch.cartesian_prod(*[torch.arange(process.state_size)] * 4)
    law = torch.full((len(x),), 1.0 / len(x), dtype=torch.float64)
    if process.mask_token is not None:
        law = (x == process.mask_token).all(-1).double()
    denoiser = ORACLE.denoiser(process)
    for now, after in pairwise(uniform_grid(steps)):
        state = State(x[law > 0.0], now)
        sites = torch.exp(denoiser(state).reverse_log_probabilities(process, state, after))
        law = law[law > 0.0] @ torch.stack([sites[:, site, x[:, site]] for site in range(4)]).prod(0)
    return law[(x < 3).all(-1)]


def run(process: DiscreteProcess, tilt: DiscreteTilt, **options: Any) -> SampleResult:
    return sample(
        ORACLE.denoiser(process), Ancestral(), uniform_grid(STEPS), shape=(SYSTEMS * COUNT, 4),
        particles=tilt, generator=torch.Generator().manual_seed(0), **options,
    )  # fmt: skip


def assert_unbiased(result: SampleResult, expected: Tensor) -> None:
    """Check the weighted law with its normaliser, which particles estimate without bias."""
    assert result.log_weights is not None
    assert result.log_normaliser is not None
    weights = result.log_weights.exp().reshape(SYSTEMS, -1) * result.log_normaliser.exp()[:, None]
    tokens = result.samples.reshape(SYSTEMS, -1, 4)
    found = [(weights * (tokens[..., site] == token)).sum(-1) for site in range(4) for token in range(3)]
    truth = torch.stack([expected[EVERY[:, site] == token].sum() for site in range(4) for token in range(3)])
    cells = torch.stack(found, dim=1)
    error = cells.std(0) / math.sqrt(SYSTEMS)
    assert float(((cells.mean(0) - truth) / error).abs().max()) < 4.0
    assert float((error / truth).mean()) < 0.1, "the test has no power"


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("proposal", ["exact", "exact, half", "none"])
@pytest.mark.parametrize("threshold", [1.0, 0.0])
def test_weighted_samples_follow_the_samplers_law_times_the_tilt(
    process: DiscreteProcess, proposal: str, threshold: float
) -> None:
    tilt = DiscreteTilt(tilt_of(process, CLEAN), COUNT, threshold=threshold)
    scale = 0.5 if "half" in proposal else 1.0
    guidance = () if proposal == "none" else tilt.proposal(scale=scale, chunk=1000)
    result = run(process, tilt, guidance=guidance)
    assert_unbiased(result, sampler_law(process) * torch.exp(CLEAN))
    assert result.nfe == STEPS


def test_the_first_order_proposes_at_the_same_weights() -> None:
    process = Uniform(3)

    def linear(x: Tensor, times: Tensor) -> Tensor:
        onehot = x if x.dtype.is_floating_point else torch.nn.functional.one_hot(x, 3)
        share = 1.0 - times.mean(-1)
        return share * (onehot * torch.tensor([0.0, 0.5, 1.0])).sum((-1, -2))

    tilt = DiscreteTilt(linear, COUNT)
    result = run(process, tilt, guidance=tilt.proposal("first_order"))
    value = (torch.tensor([0.0, 0.5, 1.0])[EVERY]).sum(-1)
    assert_unbiased(result, sampler_law(process) * torch.exp(value))


def test_the_start_is_weighed_too() -> None:
    """A weight that is not constant on noise would otherwise be paid out without having been paid in."""
    process = Uniform(3)
    tilt = DiscreteTilt(lambda x, t: 0.5 * (x == 1).sum(-1).double(), COUNT)
    result = run(process, tilt, guidance=tilt.proposal())
    assert_unbiased(result, sampler_law(process) * torch.exp(0.5 * (EVERY == 1).sum(-1)))
    assert result.ess_history is not None
    assert len(result.ess_history) == STEPS + 1


def test_the_models_own_expectation_keeps_the_weights_even() -> None:
    """With h(x) = E[exp(r) | x] the weights tell only of what steps neglect, and less in smaller steps."""
    process = Mask(3)
    reward = 2.0 * (EVERY[:, 0] == 1).double() + (EVERY[:, 2] == 2)

    def expectation(x: Tensor, times: Tensor) -> Tensor:
        weights = ((x[:, None] == EVERY) | (x[:, None] == 3)).all(-1) * torch.exp(
            ORACLE.log_likelihood(EVERY)
        )
        return torch.log((weights @ torch.exp(reward)) / weights.sum(-1))

    shares = []
    for steps in (3, 12):
        tilt = DiscreteTilt(expectation, COUNT, threshold=0.0)
        result = sample(
            ORACLE.denoiser(process), Ancestral(), uniform_grid(steps), shape=(SYSTEMS * COUNT, 4),
            particles=tilt, guidance=tilt.proposal(), generator=torch.Generator().manual_seed(0),
        )  # fmt: skip
        assert result.ess_history is not None
        shares.append(float(result.ess_history[-1].mean()) / COUNT)
    assert shares[1] > max(shares[0], 0.95)


def test_refused_noise_is_lost_and_named_if_it_is_all() -> None:
    process = Uniform(3)
    tilt = DiscreteTilt(lambda x, t: torch.where(x[:, 0] == 2, -math.inf, 0.0), COUNT, threshold=0.0)
    result = run(process, tilt)
    assert result.log_weights is not None
    alive = result.log_weights > -math.inf
    assert bool((result.samples[alive, 0] != 2).all())
    assert 0.1 < float(alive.double().mean()) < 0.6
    with pytest.raises(ValueError, match=r"vanished.*collapsed"):
        run(process, DiscreteTilt(lambda x, t: torch.full((len(x),), -math.inf), COUNT))


def test_bad_tilts_are_named() -> None:
    with pytest.raises(TypeError, match="log_tilt must be a function, got int"):
        DiscreteTilt(3, 4)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="log_tilt must return one number an item"):
        run(Mask(3), DiscreteTilt(lambda x, t: x.double(), COUNT))
    with pytest.raises(ValueError, match="log_tilt must return finite log probabilities"):
        run(Mask(3), DiscreteTilt(lambda x, t: torch.full((len(x),), math.nan), COUNT))
