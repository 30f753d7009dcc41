"""When blocks are made and with how many evaluations: rules one by one, and whole runs in simulated time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from sciffusion.domains.music.engine import LiveEngine
from sciffusion.domains.music.engine_runs import PacedRun, SimulatedClock, simulated_run
from sciffusion.domains.music.live_stream import MusicBlock
from sciffusion.domains.music.pacing import Pacer
from sciffusion.domains.music.stream_stats import BlockTimes, quantile

RATE, BLOCK = 1000, 960
B = BLOCK / RATE
Cost = Callable[[int, int], float]


class TimedTone:
    """A tone without end whose blocks say that they took the seconds of a given law of nfe and number."""

    sample_rate, block_samples = RATE, BLOCK

    def __init__(self, cost: Cost, nfe: int = 8) -> None:
        self.cost, self.nfe, self.number = cost, nfe, 0
        self.controls: Mapping[str, Any] = {}

    def step(self) -> MusicBlock:
        start = self.number * BLOCK
        samples = np.sin(0.05 * np.arange(start, start + BLOCK)).astype(np.float32)
        block = MusicBlock(self.number, samples, self.nfe, self.cost(self.nfe, self.number))
        self.number += 1
        return block

    def set(self, *, nfe: int | None = None, **controls: Any) -> None:
        self.nfe = self.nfe if nfe is None else nfe
        self.controls = {**self.controls, **controls}

    def push_midi(self, message: bytes) -> None:
        self.controls = {**self.controls, "midi": message}

    def push_audio(self, samples: Any, sample_rate: int) -> None:
        self.controls = {**self.controls, "partner": (samples, sample_rate)}

    def state_dict(self) -> dict[str, Any]:
        return {"number": self.number}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.number = state["number"]


def _stalling(share: float, chance: float, stall: float, seed: int) -> Cost:
    """Return the law of a machine: a share of a block at nfe 8, and now and then a stall, in blocks."""

    def cost(nfe: int, number: int) -> float:
        stalls = np.random.default_rng([seed, number]).random() < chance
        return B * (share * (nfe + 1) / 9 + stall * stalls)

    return cost


def _run(cost: Cost, seconds: float = 400.0, at: Any = (), **options: Any) -> PacedRun:
    engine = LiveEngine(TimedTone(cost), clock=SimulatedClock(), **options)
    return simulated_run(engine, seconds, read_seconds=0.1, at=at)


def _pacer(*times: tuple[int, float], **options: Any) -> Pacer:
    pacer = Pacer(1.0, 8, most_seconds=4.0, **options)
    for nfe, seconds in [(8, 9.0), *times]:  # the first block counts nowhere
        pacer.times.record(nfe, seconds)
    return pacer


# The model of block times


def test_times_are_carried_from_one_number_of_evaluations_to_another() -> None:
    times = BlockTimes()
    assert math.isnan(times.typical(8))
    for nfe, seconds in [(8, 5.0), (8, 0.9), (2, 0.3), (8, 0.9)]:
        times.record(nfe, seconds)
    assert times.first_seconds == 5.0
    assert times.typical(4) == pytest.approx(0.5)
    assert times.stall_seconds == pytest.approx(0.0)
    times.record(8, 1.5)
    assert times.typical(8) == pytest.approx(0.9)
    assert times.stall_seconds == pytest.approx(0.6)


def test_a_slower_machine_is_believed_after_two_blocks_and_one_stall_is_not() -> None:
    times = BlockTimes()
    for seconds in [1.0] + [0.9] * 20 + [1.8]:
        times.record(8, seconds)
    assert times.typical(8) == pytest.approx(0.9)
    times.record(2, 0.6)
    assert times.typical(8) == pytest.approx(1.8)


def test_a_single_stall_in_many_blocks_is_an_accident_and_two_are_not() -> None:
    times = BlockTimes()
    for number in range(150):
        times.record(8, 1.9 if number == 50 else 0.9)
    assert times.stall_seconds == pytest.approx(0.0)
    times.record(8, 1.7)
    assert times.stall_seconds == pytest.approx(0.8)


def test_quantiles_are_values_that_were_seen() -> None:
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile(range(50), 0.99) == 49.0
    assert math.isnan(quantile([], 0.5))


# The rules


def test_blocks_are_begun_when_the_longest_that_one_takes_is_left() -> None:
    pacer = _pacer((8, 0.45), (8, 0.45), (8, 0.75), margin_seconds=0.1, fade_seconds=0.02)
    assert pacer.start_seconds == pytest.approx(0.02 + 0.45 + 0.3 + 0.1)
    pacer.read_seconds = 0.05
    assert pacer.start_seconds == pytest.approx(0.02 + 0.45 + 0.3 + 0.1 + 2 * 0.05)
    assert pacer.prebuffer_seconds == pytest.approx(pacer.start_seconds + 1.0)
    patient = _pacer((8, 0.45), margin_seconds=0.5)
    assert patient.start_seconds == pytest.approx(0.45 + 0.5 + 0.1)
    assert _pacer((8, 0.45), prebuffer_seconds=1.3).start_seconds == pytest.approx(0.3)
    assert _pacer((8, 9.0), margin_seconds=0.0).start_seconds == 3.0


def test_evaluations_fall_to_what_still_comes_in_time() -> None:
    pacer = _pacer((8, 0.9), (8, 0.9), (8, 1.1))
    assert pacer.choose(1.11) == 8
    assert pacer.choose(1.09) == 4
    assert pacer.choose(0.6) == 2
    assert pacer.choose(0.0) == 2
    assert pacer.falls == 2
    assert _pacer((8, 0.9), (8, 0.9), adapt=False).choose(0.0) == 8
    assert _pacer((8, 0.9), (8, 0.9), lowest_nfe=3).choose(0.0) == 4


def test_evaluations_rise_by_one_step_after_patience_and_with_slack_to_spare() -> None:
    pacer = _pacer((8, 0.9), (8, 0.9), (8, 1.1), patience=3)
    assert pacer.choose(0.0) == 2
    assert [pacer.choose(1.5) for _ in range(6)] == [2, 2, 4, 4, 4, 8]
    pacer.choose(0.72)
    assert pacer.nfe == 4
    assert [pacer.choose(1.12) for _ in range(9)] == [4] * 9  # less than half the slack above 1.1
    assert [pacer.choose(fill) for fill in (1.2, 1.2, 1.0, 1.2, 1.2, 1.2)] == [4, 4, 4, 4, 4, 8]


def test_evaluations_do_not_rise_to_what_cannot_last() -> None:
    pacer = _pacer((8, 1.0), (8, 1.0), margin_seconds=0.0)
    assert pacer.choose(0.0) == 2
    assert {pacer.choose(3.0) for _ in range(40)} == {2, 4}
    # And nothing is kept ready for it.
    assert pacer.start_seconds == pytest.approx(5 / 9 + 0.1)


def test_what_is_wanted_holds_from_the_next_block_on() -> None:
    pacer = _pacer((8, 0.3), (8, 0.3))
    pacer.choose(0.0)
    pacer.want(12)
    assert pacer.wanted_nfe == 12
    assert pacer.choose(3.0) == 12
    pacer.want(1)
    assert (pacer.choose(3.0), pacer.choose(0.0)) == (1, 1)


def test_nothing_falls_before_anything_is_known_or_while_nothing_is_played() -> None:
    assert Pacer(1.0, 8, most_seconds=4.0).choose(0.0) == 8
    assert _pacer((8, 0.9), (8, 0.9)).choose(math.inf) == 8


@pytest.mark.parametrize(
    ("options", "message"),
    [({"prebuffer_seconds": 0.5}, "prebuffer_seconds must be at least a block and at most 4, got 0.5"),
     ({"prebuffer_seconds": 4.5}, "prebuffer_seconds must be at least a block"),
     ({"most_seconds": 1.5}, "capacity_seconds must be at least two blocks, got 1.5"),
     ({"margin_seconds": -1.0}, "margin_seconds must be at least 0"),
     ({"lowest_nfe": 0}, "lowest_nfe must be at least 1"),
     ({"margin_seconds": math.nan}, "margin_seconds must be at least 0")],
)  # fmt: skip
def test_numbers_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Pacer(1.0, 8, **{"most_seconds": 4.0, **options})


# Whole runs


@pytest.mark.parametrize("seed", range(3))
def test_stalls_are_survived_by_falling_and_not_without(seed: int) -> None:
    cost = _stalling(0.9, 0.1, 0.5, seed)
    adapted, fixed = _run(cost), _run(cost, adapt=False)
    assert adapted.stats.underruns == 0
    assert adapted.stats.silent_seconds == 0.0
    assert adapted.stats.falls > 0
    assert adapted.trace.nfe.max() == 8
    assert fixed.stats.underruns > 0
    assert fixed.stats.silent_seconds > 0
    assert set(fixed.trace.nfe) == {8}


def test_a_machine_with_time_to_spare_never_falls() -> None:
    run = _run(_stalling(0.3, 0.05, 0.3, 0))
    assert (run.stats.falls, run.stats.underruns) == (0, 0)
    assert set(run.trace.nfe) == {8}


def test_a_machine_too_slow_for_eight_plays_four_without_a_gap() -> None:
    slow = _run(lambda nfe, number: B * 1.3 * (nfe + 1) / 9)
    assert slow.stats.underruns == 0
    assert set(slow.trace.nfe[-1000:]) == {4}
    assert slow.stats.falls == 1  # it does not swing
    fixed = _run(lambda nfe, number: B * 1.3 * (nfe + 1) / 9, adapt=False)
    assert fixed.stats.underruns > 10
    assert fixed.stats.real_time_factor == pytest.approx(1.3, rel=0.01)


def test_a_load_that_grows_and_goes_lowers_and_raises_again() -> None:
    load = [0.4] * 100 + [0.85] * 10 + [1.2] * 90 + [0.4] * 300
    run = _run(lambda nfe, number: B * load[number] * (nfe + 1) / 9)
    assert run.stats.underruns == 0
    times = run.trace.seconds
    assert set(run.trace.nfe[times < 90]) == {8}
    assert run.trace.nfe[(times > 120) & (times < 180)].max() == 4
    assert set(run.trace.nfe[times > 350]) == {8}


def test_the_fill_stays_below_the_prebuffer_and_not_the_capacity() -> None:
    run = _run(_stalling(0.3, 0.0, 0.0, 0), prebuffer_seconds=1.6, capacity_seconds=20.0)
    assert run.stats.prebuffer_seconds == pytest.approx(1.6)
    assert 1.0 < run.trace.fill_seconds.max() <= 1.6
    assert run.stats.underruns == 0


@pytest.mark.parametrize("prebuffer", [1.3, 2.0, 3.5])
def test_changes_are_heard_between_the_start_fill_and_the_prebuffer(prebuffer: float) -> None:
    asked = [(20.0 + 4.37 * number, number) for number in range(40)]
    engine = LiveEngine(
        TimedTone(_stalling(0.2, 0.0, 0.0, 0)), clock=SimulatedClock(), prebuffer_seconds=prebuffer
    )
    changes = [(seconds, lambda value=value: engine.set(chroma=value)) for seconds, value in asked]
    run = simulated_run(engine, 220.0, read_seconds=0.02, at=changes)
    reactions = np.array(engine._reactions)
    assert run.stats.reactions == len(reactions) == 40
    assert reactions.min() >= prebuffer - B - 0.02
    assert reactions.max() <= prebuffer + 0.02
    assert np.median(reactions) == pytest.approx(prebuffer - B / 2, abs=0.15)
    assert run.stats.reaction_seconds == np.sort(reactions)[19]


def test_simulations_are_repeatable_and_need_their_clock() -> None:
    first, second = (_run(_stalling(0.9, 0.1, 0.5, 1), 60.0) for _ in range(2))
    assert np.array_equal(first.audio.samples, second.audio.samples)
    assert first.stats == second.stats
    with pytest.raises(TypeError, match="SimulatedClock"):
        simulated_run(LiveEngine(TimedTone(_stalling(0.9, 0.1, 0.5, 1))), 1.0)
