"""Solvers of masked processes alone: remasking and first hitting."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sciffusion.discrete import (
    Ancestral,
    DiscretePrediction,
    FirstHitting,
    LinearSchedule,
    Mask,
    PredictionTrapezoid,
    PureDeath,
    Remasking,
    Uniform,
    keep_grid,
    loop_grid,
)
from sciffusion.exact import MarkovChainOracle, every_sequence, propagate_tokens, sampler_error
from sciffusion.sampling import State, TraceRecorder, sample

ORACLE, MASK = MarkovChainOracle.bench_a(), Mask(3)
DENOISER = ORACLE.denoiser(MASK, "denoiser")


def masked_start(count: int, length: int = 4, seed: int = 0) -> State:
    x = torch.full((count, length), 3)
    return State(x, generator=torch.Generator().manual_seed(seed))


def marginal_masked(solver: Remasking, steps: int) -> torch.Tensor:
    """Return the share of masked sites after each step, from a propagated law on parts of the grid."""
    grid = keep_grid(8)
    shares = []
    for end in range(1, steps + 1):
        law = propagate_tokens(DENOISER, solver, grid[: end + 1], 4)
        shares.append(((law.sequences == 3).double().mean(-1) * law.probabilities).sum())
    return torch.stack(shares)


@pytest.mark.parametrize("solver", [Remasking("cap", 0.3), Remasking("rescale", 0.7), Remasking("cap", 1.0)])
def test_the_share_of_masks_is_that_of_the_process(solver: Remasking) -> None:
    expected = 1.0 - LinearSchedule().keep(keep_grid(8)[1:7])
    torch.testing.assert_close(marginal_masked(solver, 6), expected)


@pytest.mark.parametrize("schedule", ["cap", "rescale"])
def test_without_remasking_it_is_the_ancestral_step(schedule: Any) -> None:
    for solver in (Remasking(schedule, 0.0), Remasking(schedule, 0.5, t_switch=0.0)):
        law = propagate_tokens(DENOISER, solver, keep_grid(3), 4).probabilities
        torch.testing.assert_close(
            law, propagate_tokens(DENOISER, Ancestral(), keep_grid(3), 4).probabilities
        )


def test_remasking_slows_an_exact_denoiser_down() -> None:
    plain, slow = (
        sampler_error(ORACLE, DENOISER, s, keep_grid(32)) for s in (Ancestral(), Remasking("rescale", 0.2))
    )
    assert slow.total_variation > 1.3 * plain.total_variation


def test_a_loop_repairs_what_was_drawn_together() -> None:
    grid = loop_grid(2, 24, 2, keep=0.6)
    plain = sampler_error(ORACLE, DENOISER, Ancestral(), torch.cat([grid[:3], grid[-2:]]))
    looped = sampler_error(ORACLE, DENOISER, Remasking("loop", 0.1), grid)
    assert looped.total_variation < 0.8 * plain.total_variation
    assert looped.nfe == 28


def test_confidences_survive_the_run_and_unlikely_tokens_go_first() -> None:
    result = sample(DENOISER, Remasking("confidence"), keep_grid(8), state=masked_start(256))
    (confidence,) = result.state.history
    assert confidence.shape == (256, 4)
    assert bool(((confidence > 0.0) & (confidence <= 1.0)).all())
    state = State(
        torch.tensor([[0, 1, 2, 3]]).expand(40_000, 4),
        t=torch.tensor(0.5, dtype=torch.float64),
        history=(torch.tensor([[0.05, 0.95, 0.5, 1.0]], dtype=torch.float64).expand(40_000, 4),),
        generator=torch.Generator().manual_seed(0),
    )
    after = Remasking("confidence").step(state, torch.tensor(0.4, dtype=torch.float64), DENOISER)
    gone = (after.x == 3)[:, :3].double().mean(0)
    expected = torch.softmax(-torch.tensor([0.05, 0.95, 0.5], dtype=torch.float64), 0) * 0.8
    torch.testing.assert_close(gone, expected, atol=0.01, rtol=0.0)
    stays = after.x[:, :3] != 3
    assert torch.equal(after.history[0][:, :3][stays], state.history[0][:, :3][stays])


def test_first_hitting_draws_the_exact_law_with_one_evaluation_a_site() -> None:
    count = 40_000
    result = sample(DENOISER, FirstHitting(), keep_grid(4), state=masked_start(count))
    assert result.nfe == 4
    place = (result.samples * 3 ** torch.arange(3, -1, -1)).sum(-1)
    expected = torch.exp(ORACLE.log_likelihood(every_sequence(3, 4))) * count
    seen = torch.bincount(place, minlength=81).double()
    assert float(((seen - expected) ** 2 / expected).sum()) < 80.0 + 4.5 * 160.0**0.5


def test_every_item_has_the_hitting_times_of_the_process() -> None:
    """With L masks the k-th reveal happens at the k-th largest of L uniform times."""
    count = 20_000
    recorder = TraceRecorder(lambda state: state.t.expand(count).clone(), name="t")
    sample(DENOISER, FirstHitting(), keep_grid(4), state=masked_start(count), hooks=[recorder])
    times = torch.stack(recorder.trace()["t"][1:4])
    means = torch.tensor([4.0, 3.0, 2.0], dtype=torch.float64) / 5.0
    torch.testing.assert_close(times.mean(1), means, atol=0.01, rtol=0.0)
    assert bool((times[1:] < times[:-1]).all())
    share = float((times[0] < 0.5).double().mean())
    assert share == pytest.approx(0.5**4, abs=0.01)


def test_items_with_different_known_sites_finish_together_and_exactly() -> None:
    count = 20_000
    known = torch.zeros(count, 4, dtype=torch.bool)
    known[:, 1] = True
    known[count // 2 :, 2] = True
    x = torch.where(known, torch.tensor([0, 2, 1, 0]), 3)
    state = State(x, known=known, generator=torch.Generator().manual_seed(0))
    result = sample(DENOISER, FirstHitting(), keep_grid(3), state=state)
    assert torch.equal(result.samples[known], x[known])
    assert int(result.samples.max()) < 3
    last = result.samples[count // 2 :, 3]
    shares = torch.bincount(last, minlength=3).double() / len(last)
    torch.testing.assert_close(shares, ORACLE.transition[1], atol=0.015, rtol=0.0)


def test_nothing_is_left_to_wait_for_after_the_last_mask() -> None:
    x, t = torch.tensor([[0, 3, 1, 2], [3, 3, 1, 2]]), torch.tensor(0.8, dtype=torch.float64)
    state = State(x, t=t, generator=torch.Generator().manual_seed(0))
    after = FirstHitting().step(state, torch.tensor(0.5, dtype=torch.float64), DENOISER)
    assert (after.x == 3).sum(-1).tolist() == [0, 1]
    assert float(after.t[0]) == 0.0
    assert 0.0 < float(after.t[1]) < 0.8


def test_with_fewer_steps_the_last_one_reveals_the_rest() -> None:
    result = sample(DENOISER, FirstHitting(), keep_grid(2), state=masked_start(500))
    assert result.nfe == 2
    assert int(result.samples.max()) < 3


def test_solvers_of_masks_refuse_other_processes() -> None:
    denoiser = ORACLE.denoiser(Uniform(3))
    x = torch.zeros(2, 4, dtype=torch.int64)
    for solver in (Remasking(), FirstHitting()):
        with pytest.raises(TypeError, match="mask token"):
            sample(denoiser, solver, keep_grid(2), state=State(x, generator=torch.Generator()))


def test_impossible_tokens_are_never_extrapolated_into_a_step() -> None:
    """A denoiser that rules tokens out entirely leaves the trapezoid something to draw."""

    class Certain:
        path = MASK

        def __call__(self, state: Any, condition: Any = None, cache: Any = None) -> DiscretePrediction:
            other = (state.x == 3).sum(-1) % 3
            law = torch.nn.functional.one_hot(other[..., None].expand(state.x.shape), 3).double()
            own = torch.nn.functional.one_hot(state.x.clamp_max(2), 3).double()
            return DiscretePrediction(torch.log(torch.where((state.x == 3)[..., None], law, own)), "denoiser")

    result = sample(Certain(), PredictionTrapezoid(), keep_grid(5), state=masked_start(500))
    assert int(result.samples.max()) < 3


def test_known_sites_take_no_share_of_the_remasking() -> None:
    times = torch.tensor([[0.0, 0.5, 0.5]], dtype=torch.float64)
    state = State(torch.tensor([[1, 2, 3]]), t=times)
    oracle = MarkovChainOracle(ORACLE.initial, ORACLE.transition, 3)
    run = Remasking("confidence").draws(state, 0.5 * times, oracle.denoiser(MASK))
    law = torch.exp(next(run))
    # Of the two revealed sites one may be masked: it has all of (1 - a_s) / a_t.
    expected = torch.tensor([0.0, 0.25 / 0.5], dtype=torch.float64)
    torch.testing.assert_close(law[0, :2, 3], expected)


def test_extrapolations_that_the_state_does_not_allow_are_left_out() -> None:
    """Of counts that were said to be large, and now to be 0 most likely, not even the present ones remain."""

    class Turning:
        path = PureDeath(2)

        def __call__(self, state: Any, condition: Any = None, cache: Any = None) -> DiscretePrediction:
            large, small = torch.tensor([[0.0, 0.5, 0.5], [0.8, 0.1, 0.1]], dtype=torch.float64)
            law = torch.where((state.x == 0)[..., None], large, small)
            return DiscretePrediction(torch.log(law), "loo")

    start = State(torch.zeros(200, 2, dtype=torch.int64), generator=torch.Generator().manual_seed(0))
    result = sample(Turning(), PredictionTrapezoid(scale="probability"), keep_grid(3), state=start)
    assert int(result.samples.min()) > 0
