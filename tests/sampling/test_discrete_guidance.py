"""Guidance of tokens against sums over all sequences of a small chain."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from sciffusion.discrete import (
    Ancestral,
    Corrupted,
    CosineSchedule,
    DiscretePrediction,
    DiscreteProcess,
    Mask,
    Uniform,
)
from sciffusion.exact import MarkovChainOracle
from sciffusion.sampling import GuidedDenoiser, State, sample, uniform_grid
from sciffusion.sampling.guidance import DiscreteClassifier, DiscreteClassifierFree
from sciffusion.sampling.guidance.transition import mixed_laws, unguided_prediction

ORACLE = MarkovChainOracle.bench_a()
EVERY = torch.cartesian_prod(*[torch.arange(3)] * 4)
LAW = torch.exp(ORACLE.log_likelihood(EVERY))
#: Probability of a class given the clean sequence: a soft count of token 2, and never for a leading 1.
CLASS = torch.sigmoid(2.0 * (EVERY == 2).sum(-1).double() - 3.0) * (EVERY[:, 0] != 1)
CONDITIONAL = LAW * CLASS / (LAW * CLASS).sum()
PROCESSES = [Mask(3), Uniform(3), Mask(3, CosineSchedule()), Uniform(3, CosineSchedule())]
NOW, NEXT = torch.tensor(0.7, dtype=torch.float64), torch.tensor(0.4, dtype=torch.float64)


class TableDenoiser:
    """The exact denoiser of a law over all sequences, another one for each condition."""

    def __init__(self, process: DiscreteProcess, laws: dict[Any, Tensor], kind: str = "loo") -> None:
        self.path, self.laws, self.kind, self.calls = process, laws, kind, 0

    def __call__(self, state: Any, condition: Any = None, cache: Any = None) -> DiscretePrediction:
        self.calls += 1
        seen = likelihoods(self.path, state)  # (items, sequences, sites)
        without_own = [seen[..., [m for m in range(4) if m != site]].prod(-1) for site in range(4)]
        loo = torch.stack(
            [(self.laws[condition] * weights) @ (EVERY[:, site, None] == torch.arange(3)).double()
             for site, weights in enumerate(without_own)], dim=1
        )  # fmt: skip
        prediction = DiscretePrediction(torch.log(loo), "loo")
        return prediction.to(self.kind, self.path, state)  # type: ignore[arg-type]


def likelihoods(process: DiscreteProcess, state: Any) -> Tensor:
    """Return q_t(x_t^l | x_0^l) for every clean sequence, shape (items, sequences, sites)."""
    emission = torch.exp(process.emission_log_likelihood(state))
    return torch.stack([emission[:, site, EVERY[:, site]] for site in range(4)], dim=-1)


def noisy_sequences(process: DiscreteProcess) -> Tensor:
    return torch.cartesian_prod(*[torch.arange(process.state_size)] * 4)


def class_probability(process: DiscreteProcess, x: Tensor, times: Tensor) -> Tensor:
    """Return p(c | x_t), by enumeration; for masks times say nothing, and 1 rules revealed tokens out."""
    times = times.clamp_max(0.99) if process.mask_token is not None else times
    weights = likelihoods(process, Corrupted(x, times)).prod(-1) * LAW
    return (weights @ CLASS) / weights.sum(-1)


def reachable(process: DiscreteProcess) -> Tensor:
    """Return the noisy sequences from which the class can still be reached."""
    x = noisy_sequences(process)
    return x[class_probability(process, x, NOW) > 0.0]


def classifier(process: DiscreteProcess) -> Any:
    return lambda x, times: torch.log(class_probability(process, x, times))


def conditional_reverse_law(process: DiscreteProcess, x: Tensor) -> Tensor:
    """Return p(x_s^l | x_t, c) by Bayes over all clean sequences, shape (items, sites, tokens)."""
    state = Corrupted(x, NOW)
    posterior = likelihoods(process, state).prod(-1) * CONDITIONAL
    step = torch.exp(process.transition_log_likelihood(state, NEXT))
    bridge = step[:, :, None] * process.push(torch.eye(3, dtype=torch.float64), NEXT)
    bridge = torch.nan_to_num(bridge / bridge.sum(-1, keepdim=True))
    law = torch.zeros_like(bridge[:, :, 0])
    for site in range(4):
        marginal = posterior @ (EVERY[:, site, None] == torch.arange(3)).double()
        law[:, site] = (marginal[..., None] * bridge[:, site]).sum(1) / posterior.sum(-1, keepdim=True)
    return law


def sampler_law(denoiser: Any, n_steps: int) -> Tensor:
    """Return the exact law over clean sequences of an ancestral sampler, all states in one batch."""
    process, grid = denoiser.path, uniform_grid(n_steps)
    x = noisy_sequences(process)
    law = torch.full((len(x),), 1.0 / len(x), dtype=torch.float64)
    if process.mask_token is not None:
        law = (x == process.mask_token).all(-1).double()
    for now, after in pairwise(grid):
        state = State(x[law > 0.0], now)
        sites = torch.exp(denoiser(state).reverse_log_probabilities(process, state, after))
        law = law[law > 0.0] @ torch.stack([sites[:, site, x[:, site]] for site in range(4)]).prod(0)
    clean = (x < 3).all(-1)
    assert float(law[clean].sum()) == pytest.approx(1.0)
    return law[clean]


def distance(law: Tensor, other: Tensor) -> float:
    return 0.5 * float((law - other).abs().sum())


def both(process: DiscreteProcess, kind: str = "loo") -> TableDenoiser:
    return TableDenoiser(process, {None: LAW, "c": CONDITIONAL}, kind)


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("kind", ["loo", "denoiser"])
def test_scales_of_nought_and_one_are_the_two_models_at_one_evaluation(
    process: DiscreteProcess, kind: str
) -> None:
    denoiser = both(process, kind)
    state = Corrupted(reachable(process), NOW)
    for scale, condition in ((0.0, None), (1.0, "c")):
        guidance = DiscreteClassifierFree(scale)
        before = denoiser.calls
        found = guidance.on_prediction(denoiser, state, "c")
        assert guidance.nfe == denoiser.calls - before == 1
        expected = denoiser(state, condition).reverse_log_probabilities(process, state, NEXT)
        torch.testing.assert_close(found.reverse_log_probabilities(process, state, NEXT), expected)


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("scale", [0.5, 2.5, -1.0])
def test_the_guided_step_is_the_blend_that_the_family_asks_for(
    process: DiscreteProcess, scale: float
) -> None:
    denoiser, x = both(process), reachable(process)
    state = Corrupted(x, NOW)
    found = torch.exp(
        DiscreteClassifierFree(scale)
        .on_prediction(denoiser, state, "c")
        .reverse_log_probabilities(process, state, NEXT)
    )
    one, other = (
        torch.exp(denoiser(state, c).reverse_log_probabilities(process, state, NEXT)) for c in ("c", None)
    )
    possible = (one > 0.0) & (other > 0.0)
    mixed = torch.where(possible, one**scale * other ** (1.0 - scale), 0.0)
    if process.mask_token is None:
        torch.testing.assert_close(found, mixed / mixed.sum(-1, keepdim=True))
        return
    # A masked site stays masked as often as without guidance; what is revealed is blended.
    torch.testing.assert_close(found[..., 3], other[..., 3])
    masked = x == 3
    revealed = mixed[..., :3] / mixed[..., :3].sum(-1, keepdim=True)
    torch.testing.assert_close((found[..., :3] / (1.0 - found[..., 3:]))[masked], revealed[masked])
    kept = found[~masked].gather(-1, x[~masked][:, None])
    assert bool((kept == 1.0).all())


def test_blended_clean_tokens_are_another_law_for_uniform_noise_which_any_solver_can_use() -> None:
    process = Uniform(3)
    denoiser, state = both(process), Corrupted(reachable(process), NOW)
    clean = DiscreteClassifierFree(2.0, blend="clean").on_prediction(denoiser, state, "c")
    first, second = (denoiser(state, c).probabilities for c in ("c", None))
    blended = torch.nan_to_num(first**2 / second)
    torch.testing.assert_close(clean.probabilities, blended / blended.sum(-1, keepdim=True))
    step = DiscreteClassifierFree(2.0).on_prediction(denoiser, state, "c")
    laws = [part.reverse_log_probabilities(process, state, NEXT).exp() for part in (clean, step)]
    assert float((laws[0] - laws[1]).abs().max()) > 0.01
    for refused in (lambda: step.to("loo", process, state), lambda: step.probabilities):
        with pytest.raises(TypeError, match="knows the reverse law of a step and no"):
            refused()


def test_blends_of_masks_agree_up_to_the_share_that_is_revealed() -> None:
    process = Mask(3)
    denoiser, state = both(process), Corrupted(reachable(process), NOW)
    laws = [
        DiscreteClassifierFree(2.0, blend=blend)
        .on_prediction(denoiser, state, "c")
        .reverse_log_probabilities(process, state, torch.zeros((), dtype=torch.float64))
        for blend in ("clean", "step")
    ]
    torch.testing.assert_close(*[law.exp() for law in laws])  # at s = 0 nothing stays masked


def test_guidance_acts_inside_its_interval_site_by_site() -> None:
    process = Uniform(3)
    denoiser, x = both(process), reachable(process)
    times = torch.tensor([0.2, 0.7, 0.7, 0.2], dtype=torch.float64).expand(x.shape)
    state, s = Corrupted(x, times), torch.full(x.shape, 0.1, dtype=torch.float64)
    part, whole, plain = (
        DiscreteClassifierFree(scale, interval=interval)
        .on_prediction(denoiser, state, "c")
        .reverse_log_probabilities(process, state, s)
        for scale, interval in ((3.0, (0.5, 1.0)), (3.0, (0.0, 1.0)), (1.0, (0.0, 1.0)))
    )
    torch.testing.assert_close(part[:, 1:3], whole[:, 1:3])
    torch.testing.assert_close(part[:, [0, 3]], plain[:, [0, 3]])
    before = denoiser.calls
    DiscreteClassifierFree(3.0, interval=(0.0, 0.1)).on_prediction(denoiser, state, "c")
    assert denoiser.calls == before + 1


def test_a_token_that_one_law_rules_out_stays_out_for_any_weight() -> None:
    first = torch.log(torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64))
    second = torch.log(torch.tensor([0.2, 0.0, 0.8], dtype=torch.float64))
    for weight in (3.0, 0.5, -1.0):
        mixed = mixed_laws(first, second, torch.tensor(weight, dtype=torch.float64)).exp()
        torch.testing.assert_close(mixed, torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64))
    torch.testing.assert_close(mixed_laws(first, second, torch.ones(()).double()), first)
    torch.testing.assert_close(mixed_laws(first, second, torch.zeros(()).double()), second)


@pytest.mark.parametrize("process", PROCESSES[:2])
def test_a_guided_run_draws_the_guided_law(process: DiscreteProcess) -> None:
    """The driver's samples against exact propagation of the guided steps."""
    guidance, count = DiscreteClassifierFree(2.0), 4_000
    guided = GuidedDenoiser(both(process), guidance)
    law = sampler_law(lambda_denoiser(guided, "c"), 6)
    result = sample(
        both(process), Ancestral(), uniform_grid(6), shape=(count, 4), condition="c", guidance=guidance,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert result.nfe == 12
    place = (result.samples * torch.tensor([27, 9, 3, 1])).sum(-1)
    shares = torch.bincount(place, minlength=81).double() / count
    # The expected distance of shares of 81 cells is about half the sum of sqrt(2 p / (pi n)).
    expected = 0.5 * float((torch.sqrt(2.0 * law * (1.0 - law) / (math.pi * count))).sum())
    assert distance(shares, law) < 1.5 * expected
    assert distance(law, CONDITIONAL) > 5.0 * expected


class lambda_denoiser:  # noqa: N801 - a function with a path
    def __init__(self, guided: Any, condition: Any) -> None:
        self.path, self._guided, self._condition = guided.path, guided, condition

    def __call__(self, state: Any) -> Any:
        return self._guided(state, self._condition)


@pytest.mark.parametrize("process", PROCESSES)
def test_an_exact_classifier_tilts_every_site_as_enumerated(process: DiscreteProcess) -> None:
    denoiser, x = both(process), reachable(process)
    state = Corrupted(x, NOW)
    guided = DiscreteClassifier(classifier(process), scale=1.5).on_prediction(denoiser, state)
    found = torch.exp(guided.reverse_log_probabilities(process, state, NEXT))
    plain = torch.exp(denoiser(state).reverse_log_probabilities(process, state, NEXT))
    for site in range(4):
        for token in range(process.state_size):
            changed = x.clone()
            changed[:, site] = token
            plain[:, site, token] *= torch.nan_to_num(class_probability(process, changed, NOW)) ** 1.5
    torch.testing.assert_close(found, plain / plain.sum(-1, keepdim=True))


@pytest.mark.parametrize("process", [PROCESSES[0], PROCESSES[2]])
def test_for_masks_bayes_rule_holds_at_every_site(process: DiscreteProcess) -> None:
    state = Corrupted(reachable(process), NOW)
    guided = DiscreteClassifier(classifier(process)).on_prediction(both(process), state)
    found = torch.exp(guided.reverse_log_probabilities(process, state, NEXT))
    torch.testing.assert_close(found, conditional_reverse_law(process, state.x))


@pytest.mark.parametrize("process", PROCESSES[:2])
def test_classifier_guidance_converges_to_the_conditional_law(process: DiscreteProcess) -> None:
    guided = GuidedDenoiser(both(process), DiscreteClassifier(classifier(process)))
    errors = [distance(sampler_law(guided, steps), CONDITIONAL) for steps in (8, 16, 32)]
    plain = sampler_law(both(process), 32)
    assert errors[2] < 0.62 * errors[1] < 0.62**2 * errors[0]
    assert errors[2] < 3.0 * distance(plain, LAW) < 0.033
    assert distance(plain, CONDITIONAL) > 0.2


@pytest.mark.parametrize("process", PROCESSES[:2])
def test_the_first_order_is_exact_for_a_linear_classifier_and_not_for_others(
    process: DiscreteProcess,
) -> None:
    weights = torch.randn(4, process.state_size, generator=torch.Generator().manual_seed(0)).double()

    def linear(x: Tensor, times: Tensor) -> Tensor:
        onehot = x if x.dtype.is_floating_point else torch.nn.functional.one_hot(x, process.state_size)
        return times.mean(-1) * (onehot * weights).sum((-1, -2))

    def square(x: Tensor, times: Tensor) -> Tensor:
        return -0.1 * linear(x, times) ** 2

    state = Corrupted(noisy_sequences(process)[::5], NOW)
    laws = {
        (function, mode): DiscreteClassifier(function, mode, 2.0, dtype=torch.float64)
        .on_prediction(both(process), state)
        .reverse_log_probabilities(process, state, NEXT)
        .exp()
        for function in (linear, square)
        for mode in ("exact", "first_order")
    }
    torch.testing.assert_close(laws[linear, "exact"], laws[linear, "first_order"])
    assert float((laws[square, "exact"] - laws[square, "first_order"]).abs().max()) > 0.05


def test_chunks_bound_the_calls_and_change_nothing() -> None:
    process = Uniform(3)
    state, rows = Corrupted(noisy_sequences(process), NOW), []

    def counting(x: Tensor, times: Tensor) -> Tensor:
        rows.append(len(x))
        return classifier(process)(x, times)

    laws = [
        DiscreteClassifier(counting, chunk=chunk)
        .on_prediction(both(process), state)
        .reverse_log_probabilities(process, state, NEXT)
        for chunk in (10_000, 50)
    ]
    torch.testing.assert_close(*laws)
    assert rows[:2] == [81, 81 * 4 * 2]
    assert max(rows[2:]) == 50
    assert sum(rows[2:]) == 81 * 9


def test_sites_that_cannot_change_are_left_out() -> None:
    process, seen = Mask(3), []

    def watching(x: Tensor, times: Tensor) -> Tensor:
        seen.append(x)
        return (x == 2).sum(-1).double()

    x = torch.tensor([[3, 0, 3, 3], [1, 1, 2, 0]])
    known = torch.tensor([[True, False, False, False], [False] * 4])
    x = torch.where(known, 0, x)
    times = torch.where(known, 0.0, NOW)
    state = Corrupted(x, times)
    guided = DiscreteClassifier(watching).on_prediction(both(process), state)
    assert len(seen[1]) == 2 * 3  # two masked sites of the first item
    assert bool((seen[1][:, :2] == x[0, :2]).all())
    law = guided.reverse_log_probabilities(process, state, torch.where(known, 0.0, NEXT)).exp()
    settled = torch.nn.functional.one_hot(x, 4).double()
    torch.testing.assert_close(law[1], settled[1])
    torch.testing.assert_close(law[0, :2], settled[0, :2])


def test_known_sites_and_guidance_go_together_in_a_run() -> None:
    process, generator = Uniform(3), torch.Generator().manual_seed(1)
    known = torch.tensor([True, False, False, True]).expand(200, 4)
    x = torch.where(known, torch.tensor([2, 0, 0, 0]), process.draw_prior((200, 4), generator))
    for guidance in (
        DiscreteClassifier(classifier(process)),
        DiscreteClassifier(lambda x, t: x[..., 2].sum(-1), "first_order", 5.0),
        DiscreteClassifierFree(3.0),
    ):
        result = sample(
            both(process), Ancestral(), uniform_grid(4), state=State(x, known=known, generator=generator),
            guidance=guidance, condition="c" if guidance.nfe == 2 else None,
        )  # fmt: skip
        assert bool((result.samples[:, 0] == 2).all())
        assert bool((result.samples[:, 3] == 0).all())


def test_a_site_without_a_possible_token_is_left_as_it_was() -> None:
    process = Uniform(3)
    state = Corrupted(torch.tensor([[0, 0, 0, 0]]), NOW)
    guided = DiscreteClassifier(lambda x, t: torch.full((len(x),), -math.inf)).on_prediction(
        both(process), state
    )
    torch.testing.assert_close(
        guided.reverse_log_probabilities(process, state, NEXT),
        both(process)(state).reverse_log_probabilities(process, state, NEXT),
    )


def test_guided_predictions_remember_the_model_beneath() -> None:
    process = Mask(3)
    denoiser, state = both(process), Corrupted(reachable(process), NOW)
    inner = GuidedDenoiser(
        denoiser, [DiscreteClassifierFree(2.0), DiscreteClassifier(classifier(process), scale=0.5)]
    )(state, "c")
    found = unguided_prediction(inner)
    torch.testing.assert_close(found.probabilities, denoiser(state, "c").probabilities)
    assert unguided_prediction(found) is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DiscreteClassifierFree(math.nan), "scale must be finite"),
        (lambda: DiscreteClassifierFree(1.0, interval=(0.6, 0.5)), "interval must be"),
        (lambda: DiscreteClassifierFree(1.0, blend="x0"), "blend must be one of"),  # type: ignore[arg-type]
        (lambda: DiscreteClassifier(torch.sum, "second"), "mode must be one of"),  # type: ignore[arg-type]
        (lambda: DiscreteClassifier(torch.sum, scale=-1.0), "scale must be finite and not negative"),
        (lambda: DiscreteClassifier(torch.sum, chunk=0), "chunk must be at least 1"),
    ],
)
def test_bad_settings_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda x, t: [0.0] * len(x), TypeError, "log_classifier must return a Tensor, got list"),
        (lambda x, t: torch.zeros(len(x), 2), ValueError, "one number an item, shape"),
        (
            lambda x, t: torch.where(x[:, 1] == 2, math.nan, 0.0),
            ValueError,
            r"the first being \[0, 2, 0, 0\]",
        ),
    ],
)
def test_bad_classifiers_are_named(function: Any, error: type[Exception], message: str) -> None:
    state = Corrupted(torch.tensor([[1, 1, 1, 1], [0, 2, 0, 0]]), NOW)
    with pytest.raises(error, match=message):
        DiscreteClassifier(function).on_prediction(both(Uniform(3)), state)
    with pytest.raises(TypeError, match="log_classifier must be a function, got float"):
        DiscreteClassifier(3.0)  # type: ignore[arg-type]
