"""Drafted steps give the same tokens in fewer evaluations; drafts of another law leave the target's law."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from sciffusion.continuous import Euler
from sciffusion.discrete import Ancestral, DiscretePrediction, Mask, NetworkTokenDenoiser, Uniform
from sciffusion.exact import MarkovChainOracle
from sciffusion.networks import BlockTokenTransformer, TokenTransformer
from sciffusion.sampling import (
    BlockCausalGenerator,
    GreedyReveal,
    State,
    StepNoise,
    sample,
    speculative_sample,
    speculative_tokens,
    step_generator,
    uniform_grid,
)

VOCAB, SITES, ITEMS = 4, 12, 5


def oracle(length: int = SITES, seed: int = 0) -> MarkovChainOracle:
    return MarkovChainOracle.random(VOCAB, length, torch.Generator().manual_seed(seed))


def random_parameters(network: torch.nn.Module) -> Any:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0.0, 0.3, generator=generator)
    return network.double().eval().requires_grad_(False)


def plain(denoiser: Any, solver: Any, grid: Tensor, seed: int, state: State) -> Tensor:
    return sample(denoiser, solver, grid, state=state, hooks=[StepNoise(seed)]).samples


def masks(items: int = ITEMS, sites: int = SITES) -> State:
    return State(x=torch.full((items, sites), VOCAB))


@pytest.mark.parametrize("draft", [1, 2, 5, 40])
@pytest.mark.parametrize("solver", [GreedyReveal(), Ancestral()])
def test_output_is_that_of_the_plain_run(solver: Any, draft: int) -> None:
    denoiser, grid = oracle().denoiser(Mask(VOCAB), "denoiser"), uniform_grid(SITES)
    result = speculative_sample(denoiser, solver, grid, draft=draft, seed=3, state=masks())
    assert torch.equal(result.samples, plain(denoiser, solver, grid, 3, masks()))
    assert int(result.samples.max()) < VOCAB
    if draft == 1:
        assert result.nfe == SITES
        assert float(result.accepted.max()) == 1.0
    else:
        assert result.nfe < SITES
        assert result.evaluated == 1 + (result.nfe - 1) * draft
        assert float(result.accepted.max()) <= draft


@pytest.mark.parametrize("solver", [GreedyReveal(), Ancestral()])
def test_output_is_that_of_the_plain_run_for_a_network(solver: Any) -> None:
    network = random_parameters(
        TokenTransformer(VOCAB + 1, VOCAB, width=16, depth=2, n_heads=2, n_conditions=1)
    )
    denoiser, grid = NetworkTokenDenoiser(network, Mask(VOCAB), "denoiser"), uniform_grid(SITES)
    condition = torch.linspace(-1.0, 1.0, ITEMS)[:, None]
    result = speculative_sample(denoiser, solver, grid, seed=1, state=masks(), condition=condition)
    reference = sample(
        denoiser, solver, grid, state=masks(), condition=condition, hooks=[StepNoise(1)]
    ).samples
    assert torch.equal(result.samples, reference)
    # The slowest item decides how many evaluations the batch takes.
    assert result.nfe <= SITES
    assert float(result.accepted.mean()) > 1.0


def test_a_sure_denoiser_is_verified_at_full_depth() -> None:
    """Where tokens do not depend on each other, every draft is right: 1 + ceil(11 / 4) evaluations."""
    sure = MarkovChainOracle(torch.tensor([0.1, 0.6, 0.3]), torch.tensor([[0.1, 0.6, 0.3]] * 3), SITES)
    denoiser = sure.denoiser(Mask(3), "denoiser")
    state = State(x=torch.full((ITEMS, SITES), 3))
    result = speculative_sample(denoiser, GreedyReveal(), uniform_grid(SITES), draft=4, state=state)
    assert torch.equal(result.samples, torch.ones(ITEMS, SITES, dtype=torch.int64))
    assert result.nfe == 4
    assert torch.equal(result.accepted, torch.full((ITEMS,), 11 / 3, dtype=torch.float64))


@pytest.mark.parametrize("solver", [GreedyReveal(), Ancestral()])
def test_a_second_denoiser_may_draft(solver: Any) -> None:
    """Drafts of the denoiser itself are all right; those of another chain change the cost alone."""
    chain, other, grid = oracle(), oracle(seed=1), uniform_grid(SITES)
    denoiser, wrong = (of.denoiser(Mask(VOCAB), "denoiser") for of in (chain, other))
    reference = plain(denoiser, solver, grid, 3, masks())
    right, poor = (
        speculative_sample(denoiser, solver, grid, draft=4, seed=3, state=masks(), drafter=drafter)
        for drafter in (denoiser, wrong)
    )
    assert torch.equal(right.samples, reference)
    assert torch.equal(poor.samples, reference)
    assert right.nfe == 4
    assert poor.nfe > 4


def test_known_sites_stay_and_are_seen() -> None:
    chain, process = oracle(), Mask(VOCAB)
    known = torch.zeros(ITEMS, SITES, dtype=torch.bool)
    known[:, ::3] = True
    tokens = chain.draw(ITEMS, torch.Generator().manual_seed(2))
    state = State(x=torch.where(known, tokens, VOCAB), known=known)
    denoiser, grid = chain.denoiser(process, "denoiser"), uniform_grid(6)
    for solver in (GreedyReveal(), Ancestral()):
        result = speculative_sample(denoiser, solver, grid, state=state, seed=4)
        assert torch.equal(result.samples, plain(denoiser, solver, grid, 4, state))
        assert torch.equal(result.samples[known], tokens[known])


def test_uniform_noise_may_be_drafted_too() -> None:
    process = Uniform(VOCAB)
    denoiser, grid = oracle().denoiser(process), uniform_grid(10)
    start = State(x=process.draw_prior((ITEMS, SITES), step_generator(5, 0, 0)))
    result = speculative_sample(denoiser, Ancestral(), grid, seed=5, shape=(ITEMS, SITES))
    assert torch.equal(result.samples, plain(denoiser, Ancestral(), grid, 5, start))


@pytest.mark.parametrize("solver", [GreedyReveal(), Ancestral()])
def test_blocks_with_drafts_are_those_without(solver: Any) -> None:
    network = random_parameters(
        BlockTokenTransformer(
            VOCAB + 1, VOCAB, block=6, window=3, width=16, depth=2, n_heads=2, n_conditions=1
        )
    )
    denoiser = NetworkTokenDenoiser(network, Mask(VOCAB), "denoiser")
    options: dict[str, Any] = {"seed": 2, "condition": torch.linspace(-1.0, 1.0, ITEMS)[:, None]}
    prompt = torch.randint(VOCAB, (ITEMS, 8), generator=torch.Generator().manual_seed(0))
    step_by_step, drafted = (
        BlockCausalGenerator(denoiser, solver, uniform_grid(6), draft=draft).generate(
            ITEMS, 5, prompt=prompt, **options
        )
        for draft in (1, 4)
    )
    assert torch.equal(drafted.samples, step_by_step.samples)
    assert drafted.nfe < step_by_step.nfe == 5 * (6 + 1)


def test_a_law_that_rules_everything_out_is_refused_as_in_a_plain_run() -> None:
    class Nothing:
        path = Mask(VOCAB)

        def __call__(self, state: Any, condition: Any = None, cache: Any = None) -> DiscretePrediction:
            return DiscretePrediction(torch.full((*state.x.shape, VOCAB), -torch.inf), "denoiser")

    for run in (lambda: speculative_sample(Nothing(), Ancestral(), uniform_grid(3), state=masks()),
                lambda: plain(Nothing(), Ancestral(), uniform_grid(3), 0, masks())):  # fmt: skip
        with pytest.raises(ValueError, match="at least one possible category"):
            run()


def test_what_cannot_be_drafted_is_refused() -> None:
    denoiser = oracle().denoiser(Mask(VOCAB), "denoiser")
    with pytest.raises(TypeError, match="draw every site once"):
        speculative_sample(denoiser, Euler(), uniform_grid(3), state=masks())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="draft must be at least 1"):
        speculative_sample(denoiser, Ancestral(), uniform_grid(3), state=masks(), draft=0)
    with pytest.raises(ValueError, match="exactly one"):
        speculative_sample(denoiser, Ancestral(), uniform_grid(3))
    with pytest.raises(ValueError, match="one time a step"):
        speculative_sample(denoiser, Ancestral(), uniform_grid(3)[:, None], state=masks())
    with pytest.raises(TypeError, match="no mask token"):
        speculative_sample(oracle().denoiser(Uniform(VOCAB)), GreedyReveal(), uniform_grid(3), shape=(2, 12))


class ChainTarget:
    """The chain as an autoregressive model that counts its evaluations."""

    def __init__(self, chain: MarkovChainOracle) -> None:
        self.chain, self.calls = chain, 0

    def __call__(self, tokens: Tensor) -> Tensor:
        self.calls += 1
        first = torch.log(self.chain.initial).expand(len(tokens), 1, -1)
        return torch.cat([first, torch.log(self.chain.transition)[tokens[:, :-1]]], dim=1)


def outcome_counts(tokens: Tensor) -> Tensor:
    """Count each of the sequences of three of three tokens."""
    return torch.bincount(tokens @ torch.tensor([9, 3, 1]), minlength=27)


@pytest.mark.parametrize("draft", [1, 2, 3, 5])
def test_verified_drafts_have_the_targets_law(draft: int) -> None:
    """Drafts of another chain, of all 27 sequences: chi-square against the target's law."""
    initial, rows = torch.tensor([0.5, 0.2, 0.3]), torch.tensor([[7.0, 2, 1], [1, 2, 7], [4, 4, 2]])
    chain = MarkovChainOracle(initial, rows, 3)
    other = MarkovChainOracle(initial.flip(0), rows.T, 3).denoiser(Mask(3), "denoiser")
    target = ChainTarget(chain)
    made = speculative_tokens(
        target, other, 20_000, 3, draft=draft, generator=torch.Generator().manual_seed(1)
    )
    every = torch.cartesian_prod(*[torch.arange(3)] * 3)
    expected = torch.exp(chain.log_likelihood(every))
    assert chisquare(outcome_counts(made.samples).numpy(), 20_000 * expected.numpy()).pvalue > 1e-3
    assert made.target_nfe == target.calls == made.draft_nfe
    assert 0.3 < made.accepted < 0.9
    # The test sees the difference: unverified drafts do not have this law.
    drafts = sample(
        other, Ancestral(), uniform_grid(1), shape=(20_000, 3), generator=torch.Generator().manual_seed(1)
    )
    assert chisquare(outcome_counts(drafts.samples).numpy(), 20_000 * expected.numpy()).pvalue < 1e-6


def test_drafts_of_the_targets_own_law_are_all_accepted() -> None:
    """Independent sites: 12 of them, five (four drafts and one more) an evaluation."""
    rows = torch.tensor([[0.1, 0.6, 0.3]] * 3)
    chain = MarkovChainOracle(rows[0], rows, SITES)
    target = ChainTarget(chain)
    made = speculative_tokens(
        target, chain.denoiser(Mask(3), "denoiser"), 50, SITES, generator=torch.Generator().manual_seed(0)
    )
    assert made.accepted == 1.0
    assert made.target_nfe == 3


def test_prompts_of_verified_drafts_are_kept() -> None:
    chain = oracle()
    prompt = chain.draw(ITEMS, torch.Generator().manual_seed(0))[:, :5]
    made = speculative_tokens(
        ChainTarget(chain), chain.denoiser(Mask(VOCAB), "denoiser"), ITEMS, SITES, prompt=prompt,
        generator=torch.Generator().manual_seed(1),
    )  # fmt: skip
    assert torch.equal(made.samples[:, :5], prompt)
    assert int(made.samples.max()) < VOCAB
    with pytest.raises(ValueError, match="prompt must have shape"):
        speculative_tokens(
            ChainTarget(chain), chain.denoiser(Mask(VOCAB), "denoiser"), 2, SITES, prompt=prompt,
            generator=torch.Generator().manual_seed(1),
        )  # fmt: skip
    with pytest.raises(TypeError, match="mask token"):
        speculative_tokens(
            ChainTarget(chain), chain.denoiser(Uniform(VOCAB)), 2, SITES, generator=torch.Generator()
        )
