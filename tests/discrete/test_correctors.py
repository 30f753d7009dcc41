"""Correctors: what leaves the law of the process alone, what does not, and what never moves."""

from __future__ import annotations

import pytest
import torch

from sciffusion.discrete import (
    Ancestral,
    Corrected,
    Corrector,
    CTMCCorrector,
    DiscreteProcess,
    Gibbs,
    Mask,
    PureDeath,
    Uniform,
    UniformAbsorbing,
    keep_grid,
)
from sciffusion.discrete.site_choice import random_sites, site_sets
from sciffusion.exact import MarkovChainOracle, every_sequence, sampler_error
from sciffusion.sampling import State

ORACLE = MarkovChainOracle.bench_a()
UNIFORM, MASK = Uniform(3), Mask(3)


def noisy_law(process: DiscreteProcess, t: float) -> torch.Tensor:
    """Return p_t over all noisy sequences by summing over the clean ones."""
    clean, noisy = every_sequence(3, 4), every_sequence(process.state_size, 4)
    kernel = process.push(torch.eye(3, dtype=torch.float64), torch.tensor(t, dtype=torch.float64))
    likelihood = kernel[clean[:, None], noisy[None]].prod(-1)
    return torch.exp(ORACLE.log_likelihood(clean)) @ likelihood


def moved_law(process: DiscreteProcess, corrector: Corrector, t: float) -> torch.Tensor:
    """Return the law after one move that starts from p_t."""
    law, noisy = noisy_law(process, t), every_sequence(process.state_size, 4)
    denoiser = ORACLE.denoiser(process, "loo" if process.mask_token is None else "denoiser")
    state = State(noisy, t=torch.tensor(t, dtype=torch.float64))
    after = torch.zeros_like(law)
    for chosen, share in corrector.choices(state):
        sites = torch.exp(corrector.log_probabilities(state, chosen, denoiser))
        joint = torch.einsum("na,nb,nc,nd->nabcd", *sites.unbind(1)).flatten(1)
        after = after + share * (law @ joint)
    return after


def distance(first: torch.Tensor, second: torch.Tensor) -> float:
    return 0.5 * float((first - second).abs().sum())


@pytest.mark.parametrize("process", [UNIFORM, MASK])
@pytest.mark.parametrize("t", [0.1, 0.5, 0.95])
def test_one_random_site_leaves_the_law_of_the_process_as_it_is(process: DiscreteProcess, t: float) -> None:
    assert distance(moved_law(process, Gibbs(), t), noisy_law(process, t)) < 1e-12


@pytest.mark.parametrize("process", [UNIFORM, MASK])
def test_neighbours_drawn_together_change_the_law_and_distant_sites_hardly(process: DiscreteProcess) -> None:
    law = noisy_law(process, 0.2)
    close, apart = Gibbs(2, spacing=1), Gibbs(2, spacing=3)
    assert distance(moved_law(process, close, 0.2), law) > 0.01
    assert distance(moved_law(process, apart, 0.2), law) < 0.1 * distance(moved_law(process, close, 0.2), law)


def test_counts_need_leave_one_out_laws() -> None:
    """What is left of a count rules smaller ones out, and a denoiser says nothing of them."""
    process = PureDeath(2)
    assert distance(moved_law(process, Gibbs(), 0.5), noisy_law(process, 0.5)) < 1e-12
    state = State(torch.tensor([[0, 1, 2, 0]]), t=torch.tensor(0.5, dtype=torch.float64))
    with pytest.raises(ValueError, match=r'of PureDeath rule clean ones out.* kind "loo"'):
        Gibbs().log_probabilities(state, state.x > 0, ORACLE.denoiser(process, "denoiser"))
    every = State(every_sequence(3, 4), t=state.t)
    chosen = torch.ones_like(every.x, dtype=torch.bool)
    laws = [
        Gibbs().log_probabilities(every, chosen, ORACLE.denoiser(UNIFORM, k)) for k in ("loo", "denoiser")
    ]
    torch.testing.assert_close(laws[0], laws[1])


def test_biased_moves_change_the_law_and_say_so() -> None:
    law = noisy_law(UNIFORM, 0.2)
    informed = Gibbs(select="lowest_margin")
    assert informed.biased
    assert Corrected(Ancestral(), informed).biased
    assert not Gibbs(3).biased
    assert distance(moved_law(UNIFORM, informed, 0.2), law) > 0.05
    long, short = CTMCCorrector(0.1), CTMCCorrector(0.001)
    assert long.biased
    far = distance(moved_law(UNIFORM, long, 0.2), law)
    assert far > 1e-3
    # The bias falls with the square of the leap.
    assert distance(moved_law(UNIFORM, short, 0.2), law) < 1e-3 * far


def test_gibbs_of_one_site_converges_and_two_neighbours_stop_at_a_floor() -> None:
    denoiser = ORACLE.denoiser(UNIFORM)
    errors = {
        count: [
            sampler_error(ORACLE, denoiser, Corrected(Ancestral(), Gibbs(count, spacing=1)), keep_grid(steps))
            for steps in (16, 32)
        ]
        for count in (1, 2)
    }
    assert errors[1][0].nfe == 31
    assert errors[1][1].total_variation < 0.35 * errors[1][0].total_variation
    assert errors[2][1].total_variation > errors[2][0].total_variation > 0.03


@pytest.mark.parametrize("process", [UNIFORM, MASK])
def test_no_more_than_the_chosen_number_of_free_sites_moves(process: DiscreteProcess) -> None:
    x0 = ORACLE.draw(4000, torch.Generator().manual_seed(0))
    known = torch.tensor([True, False, False, True]).expand(4000, 4)
    noisy = process.corrupt(x0, torch.tensor(0.6), torch.Generator().manual_seed(1), known)
    state = State(noisy.x, t=noisy.t, known=known, generator=torch.Generator().manual_seed(2))
    after = Gibbs().correct(state, ORACLE.denoiser(process, "loo" if process is UNIFORM else "denoiser"))
    changed = after.x != noisy.x
    assert not bool(changed[:, [0, 3]].any())
    assert int(changed.sum(-1).max()) == 1
    assert bool(changed[:, 1].any())
    assert bool(changed[:, 2].any())
    assert torch.equal(after.t, noisy.t)


@pytest.mark.parametrize(("length", "count", "spacing"), [(4, 1, 4), (5, 2, 1), (6, 2, 3), (7, 3, 2)])
def test_random_sites_follow_the_probabilities_of_their_sets(length: int, count: int, spacing: int) -> None:
    sets = site_sets(length, count, spacing)
    assert sum(sets.values()) == pytest.approx(1.0)
    free = torch.ones(60_000, length, dtype=torch.bool)
    chosen = random_sites(free, count, spacing, torch.Generator().manual_seed(0))
    code = (chosen * 2 ** torch.arange(length)).sum(-1)
    shares = torch.bincount(code, minlength=2**length).double() / len(code)
    expected = torch.zeros_like(shares)
    for sites, share in sets.items():
        expected[sum(2**site for site in sites)] = share
    torch.testing.assert_close(shares, expected, atol=0.01, rtol=0.0)
    assert float(shares[expected == 0.0].sum()) == 0.0


def test_random_sites_leave_items_without_free_sites_alone() -> None:
    free = torch.tensor([[False, False, False], [False, True, False]])
    for spacing in (1, 2):
        chosen = random_sites(free, 2, spacing, torch.Generator().manual_seed(0))
        assert torch.equal(chosen, free)


def test_wrong_correctors_are_refused() -> None:
    with pytest.raises(ValueError, match="sites must be at least 1"):
        Gibbs(0)
    with pytest.raises(ValueError, match="spacing must be at least 1"):
        Gibbs(2, spacing=0)
    with pytest.raises(ValueError, match="select must be"):
        Gibbs(select="best")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="spacing applies to sites chosen at random"):
        Gibbs(2, spacing=2, select="lowest_margin")
    with pytest.raises(ValueError, match="length must be positive"):
        CTMCCorrector(0.0)
    state = State(torch.zeros(2, 4, dtype=torch.int64), t=torch.tensor(0.5), generator=torch.Generator())
    with pytest.raises(ValueError, match="use select='random'"):
        Gibbs(select="lowest_margin").correct(state, ORACLE.denoiser(MASK, "denoiser"))
    absorbing = UniformAbsorbing(3)
    with pytest.raises(TypeError, match="remembered"):
        Gibbs().correct(state, ORACLE.denoiser(absorbing, "denoiser"))
