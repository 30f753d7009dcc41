"""Processes and typed predictions against sums over all clean tokens, and the step against the exact law."""

from __future__ import annotations

import math
from typing import Any, get_args

import pytest
import torch

from sciffusion.discrete import (
    Ancestral,
    Corrupted,
    CosineSchedule,
    DenoiserCrossEntropy,
    DiscretePrediction,
    DiscreteProcess,
    LinearSchedule,
    Mask,
    Matrix,
    PureDeath,
    TokenKind,
    Uniform,
    UniformAbsorbing,
    draw_categorical,
)
from sciffusion.discrete.kernels import ordinal_rates
from sciffusion.exact import MarkovChainOracle
from sciffusion.sampling import sample, uniform_grid

PROCESSES = [Uniform(3), Mask(3), Uniform(3, CosineSchedule()), Mask(3, CosineSchedule())]


def kernel(process: DiscreteProcess, t: float, vocab_size: int = 3) -> torch.Tensor:
    """Return q_t(y | k) as a matrix of shape (clean, noisy), by pushing every clean token."""
    return process.push(torch.eye(vocab_size, dtype=torch.float64), torch.tensor(t))


@pytest.mark.parametrize("process", PROCESSES)
def test_five_functions_agree(process: DiscreteProcess) -> None:
    """Emission is a column of the kernel, and kernels to s and from s to t make the kernel to t."""
    s, t = 0.3, 0.7
    noisy = torch.arange(process.state_size)
    state = Corrupted(noisy, torch.tensor(t))
    late, early = kernel(process, t), kernel(process, s)
    torch.testing.assert_close(late.sum(-1), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(torch.exp(process.emission_log_likelihood(state)), late.T)
    step = torch.exp(process.transition_log_likelihood(state, torch.tensor(s))).T  # (earlier, noisy)
    torch.testing.assert_close(early @ step, late)


@pytest.mark.parametrize("process", PROCESSES)
def test_corruption_has_the_law_of_the_kernel(process: DiscreteProcess) -> None:
    generator = torch.Generator().manual_seed(0)
    x0 = torch.ones(40_000, dtype=torch.int64)
    noisy = process.corrupt(x0, torch.tensor(0.6), generator)
    shares = torch.bincount(noisy.x, minlength=process.state_size) / len(x0)
    torch.testing.assert_close(shares.double(), kernel(process, 0.6)[1], atol=0.01, rtol=0.0)


@pytest.mark.parametrize("process", PROCESSES)
def test_known_sites_stay_clean_at_time_zero(process: DiscreteProcess) -> None:
    x0 = torch.randint(3, (5, 7), generator=torch.Generator().manual_seed(0))
    known = torch.zeros(5, 7, dtype=torch.bool)
    known[:, ::2] = True
    noisy = process.corrupt(x0, torch.ones(5), torch.Generator().manual_seed(1), known)
    assert torch.equal(noisy.x[known], x0[known])
    assert torch.equal(noisy.t, torch.where(known, 0.0, 1.0).double())


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("t", [1e-6, 0.3, 1.0])
def test_conversions_round_trip_and_match_the_exact_posterior(process: DiscreteProcess, t: float) -> None:
    oracle = MarkovChainOracle.bench_a()
    x0 = oracle.draw(64, torch.Generator().manual_seed(0))
    noisy = process.corrupt(x0, torch.tensor(t), torch.Generator().manual_seed(1))
    state = Corrupted(noisy.x, noisy.t)
    loo, own = (oracle.predict(process, state, kind) for kind in ("loo", "denoiser"))
    converted = loo.to("denoiser", process, state)
    torch.testing.assert_close(converted.probabilities, own.probabilities)
    masked = noisy.x == process.mask_token if process.mask_token is not None else torch.ones_like(x0).bool()
    back = own.to("loo", process, state).probabilities
    torch.testing.assert_close(back[masked], loo.probabilities[masked])


def exact_posterior(
    process: DiscreteProcess, oracle: MarkovChainOracle, x: torch.Tensor, t: float
) -> torch.Tensor:
    """Return p(x_0 | x_t) over all 81 sequences by enumeration."""
    every = torch.cartesian_prod(*[torch.arange(3)] * 4)
    likelihood = kernel(process, t)[every, x].prod(-1)
    weights = likelihood * torch.exp(oracle.log_likelihood(every))
    return weights / weights.sum()


@pytest.mark.parametrize("process", PROCESSES)
def test_the_oracle_agrees_with_enumeration(process: DiscreteProcess) -> None:
    oracle = MarkovChainOracle.bench_a()
    every = torch.cartesian_prod(*[torch.arange(3)] * 4)
    x = torch.tensor([0, 2, 1, 1]) if process.mask_token is None else torch.tensor([0, 3, 1, 3])
    posterior = exact_posterior(process, oracle, x, 0.4)
    marginals = torch.stack([posterior @ (every == k).double() for k in range(3)], dim=-1)
    found = oracle.predict(process, Corrupted(x[None], torch.tensor(0.4)), "denoiser")
    torch.testing.assert_close(found.probabilities[0], marginals)


@pytest.mark.parametrize("process", PROCESSES)
def test_the_reverse_law_of_a_site_is_exact(process: DiscreteProcess) -> None:
    """p(x_s | x_t) by Bayes over all clean sequences: mixture of bridges q(x_s | x_t, k) with D."""
    oracle = MarkovChainOracle.bench_a()
    s, t = 0.35, 0.8
    x = torch.tensor([[1, 0, 2, 0]]) if process.mask_token is None else torch.tensor([[3, 0, 3, 3]])
    state = Corrupted(x, torch.tensor(t))
    own = oracle.predict(process, state, "denoiser").probabilities[0]  # (sites, clean)
    step = torch.exp(process.transition_log_likelihood(state, torch.tensor(s)))[0]  # (sites, noisy)
    bridge = step[:, None] * kernel(process, s)  # (sites, clean, noisy)
    total = bridge.sum(-1, keepdim=True)
    bridge = torch.where(total > 0.0, bridge / total, 0.0)
    mixture = (own[..., None] * bridge).sum(1)
    for kind in ("loo", "denoiser"):
        prediction = oracle.predict(process, state, kind)
        law = torch.exp(prediction.reverse_log_probabilities(process, state, torch.tensor(s)))[0]
        torch.testing.assert_close(law, mixture)


@pytest.mark.parametrize("process", PROCESSES)
def test_equal_times_of_sites_are_a_scalar_time(process: DiscreteProcess) -> None:
    oracle = MarkovChainOracle.bench_a()
    x = oracle.draw(8, torch.Generator().manual_seed(0))
    one, many = Corrupted(x, torch.tensor(0.5)), Corrupted(x, torch.full((8, 4), 0.5))
    laws = [
        oracle.predict(process, state, "loo").reverse_log_probabilities(process, state, s)
        for state, s in ((one, torch.tensor(0.2)), (many, torch.full((8, 4), 0.2)))
    ]
    torch.testing.assert_close(*laws)


def test_noisy_conditional_is_that_of_the_noisy_chain() -> None:
    process, oracle = Uniform(3), MarkovChainOracle.bench_a()
    every = torch.cartesian_prod(*[torch.arange(3)] * 4)
    clean = torch.exp(oracle.log_likelihood(every)).reshape(3, 3, 3, 3)
    noisy = torch.einsum("abcd,ax,by,cz,dw->xyzw", clean, *[kernel(process, 0.5)] * 4)
    x = torch.tensor([[2, 0, 1, 1]])
    state = Corrupted(x, torch.tensor(0.5))
    found = torch.exp(oracle.predict(process, state, "loo").noisy_conditional(process, state))[0]
    expected = torch.stack([noisy[:, 0, 1, 1], noisy[2, :, 1, 1], noisy[2, 0, :, 1], noisy[2, 0, 1, :]])
    torch.testing.assert_close(found, expected / expected.sum(-1, keepdim=True))


def test_the_bench_chain_has_its_published_entropy() -> None:
    oracle = MarkovChainOracle.bench_a()
    assert oracle.entropy() == pytest.approx(3.2814, abs=5e-5)
    every = torch.cartesian_prod(*[torch.arange(3)] * 4)
    law = oracle.log_likelihood(every)
    assert float(-(torch.exp(law) * law).sum()) == pytest.approx(oracle.entropy())


@pytest.mark.parametrize("process", PROCESSES)
def test_a_sampler_run_keeps_known_sites_and_draws_the_posterior(process: DiscreteProcess) -> None:
    """Given the second and the third token, the others follow the chain's conditional law."""
    from sciffusion.sampling import State

    oracle = MarkovChainOracle.bench_a()
    generator = torch.Generator().manual_seed(0)
    count = 20_000
    x = process.draw_prior((count, 4), generator)
    known = torch.tensor([False, True, True, False]).expand(count, 4)
    x = torch.where(known, torch.tensor([0, 2, 1, 0]), x)
    result = sample(
        oracle.denoiser(process),
        Ancestral(),
        uniform_grid(64),
        state=State(x, known=known, generator=generator),
    )
    assert bool((result.samples[:, 1:3] == torch.tensor([2, 1])).all())
    assert result.nfe == 64
    first = oracle.initial * oracle.transition[:, 2]
    shares = torch.bincount(result.samples[:, 0], minlength=3) / count
    torch.testing.assert_close(shares.double(), first / first.sum(), atol=0.015, rtol=0.0)
    shares = torch.bincount(result.samples[:, 3], minlength=3) / count
    torch.testing.assert_close(shares.double(), oracle.transition[1], atol=0.015, rtol=0.0)


def test_categorical_draws_follow_their_law_and_never_the_impossible() -> None:
    law = torch.tensor([0.0, 0.2, 0.0, 0.8, 0.0], dtype=torch.float64)
    drawn = draw_categorical(torch.log(law).expand(50_000, -1), torch.Generator().manual_seed(0))
    shares = torch.bincount(drawn, minlength=5) / len(drawn)
    torch.testing.assert_close(shares.double(), law, atol=0.01, rtol=0.0)
    assert shares[[0, 2, 4]].sum() == 0.0
    with pytest.raises(ValueError, match="at least one possible"):
        draw_categorical(torch.full((2, 3), -math.inf), torch.Generator())


@pytest.mark.parametrize("schedule", [LinearSchedule(), CosineSchedule()])
def test_schedules_invert_and_differentiate(schedule: LinearSchedule | CosineSchedule) -> None:
    t = torch.linspace(0.0, 1.0, 11, dtype=torch.float64)
    torch.testing.assert_close(schedule.time_of_keep(schedule.keep(t)), t)
    t = t[1:-1].requires_grad_()
    (slope,) = torch.autograd.grad(schedule.keep(t).sum(), t)
    torch.testing.assert_close(slope, schedule.derivative(t.detach()))
    assert float(schedule.keep(1.0)) == 0.0


def test_a_prediction_of_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="kind must be one of"):
        DiscretePrediction(torch.zeros(1, 3), "x0")  # type: ignore[arg-type]


@pytest.mark.parametrize("times", [0.5, [0.5, 0.3], [[0.5, 0.3, 0.1], [0.0, 0.3, 0.2]]])
@pytest.mark.parametrize(
    "process", [Mask(3), Uniform(3), UniformAbsorbing(3), Matrix(ordinal_rates(3)), PureDeath(2)]
)
def test_laws_are_computed_where_the_tokens_are(process: DiscreteProcess, times: Any) -> None:
    """Grids of times lie on the CPU whatever device a run is on; this one holds no data and needs none."""
    x = torch.zeros(2, 3, dtype=torch.int64, device="meta")
    t = torch.tensor(times, dtype=torch.float64)
    state = Corrupted(x, t, {"noise": x})
    for kind in get_args(TokenKind):
        prediction = DiscretePrediction(torch.zeros(2, 3, 3, device="meta"), kind)
        laws = [
            prediction.to("loo", process, state).logits,
            prediction.to("denoiser", process, state).logits,
            process.transition_log_likelihood(state, 0.5 * t),
            DenoiserCrossEntropy().site_loss(prediction, process, state, x),
        ]
        if t.ndim == 0 or not isinstance(process, PureDeath):  # which sorts by the values of its times
            laws.append(prediction.reverse_log_probabilities(process, state, 0.5 * t))
            laws.append(prediction.noisy_conditional(process, state))
        assert {law.device.type for law in laws} == {"meta"}
