"""The engine in threads: exact sound, fades, pauses, failures, and no thread left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sciffusion.domains.music.engine import EngineError, LiveEngine
from sciffusion.domains.music.engine_runs import SimulatedClock, paced_run, render_stream, simulated_run
from sciffusion.domains.music.live_stream import MusicBlock
from sciffusion.domains.music.stream_stats import StreamStats

RATE, BLOCK = 8000, 160
FADE = 64  # .008 s


def _tone(count: int, start: int = 0) -> NDArray[np.float32]:
    return (0.5 * np.cos(0.05 * np.arange(start, start + count))).astype(np.float32)


class Tone:
    """A tone without end, in blocks of 20 ms; what happens in a step can be told."""

    sample_rate, block_samples = RATE, BLOCK

    def __init__(self, in_step: Callable[[int], None] = lambda number: None, seconds: float = 0.0) -> None:
        self.nfe, self.number, self.in_step, self.seconds = 8, 0, in_step, seconds
        self.controls: dict[str, Any] = {}

    def step(self) -> MusicBlock:
        self.in_step(self.number)
        block = MusicBlock(self.number, _tone(BLOCK, self.number * BLOCK), self.nfe, self.seconds)
        self.number += 1
        return block

    def set(self, *, nfe: int | None = None, **controls: Any) -> None:
        self.nfe = self.nfe if nfe is None else nfe
        self.controls.update(controls)

    def push_midi(self, message: bytes) -> None:
        self.controls["midi"] = message

    def push_audio(self, samples: NDArray[np.float32], sample_rate: int) -> None:
        self.controls["partner"] = (samples, sample_rate)

    def state_dict(self) -> dict[str, Any]:
        return {"number": self.number}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.number = state["number"]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    deadline = time.monotonic() + 5.0
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20.0
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not happen"
        time.sleep(0.002)


def _simulated(stream: Tone, **options: Any) -> LiveEngine:
    return LiveEngine(stream, clock=SimulatedClock(), **options)


def test_what_is_heard_is_the_stream_after_a_fade() -> None:
    engine = _simulated(Tone())
    sound = simulated_run(engine, 1.0, read_seconds=0.005).audio.samples
    # Nothing takes time here, so the sound begins at once.
    assert np.array_equal(sound[FADE:], _tone(8000)[FADE:])
    assert np.all(np.abs(sound[: FADE - 1]) < np.abs(_tone(FADE - 1)))
    assert abs(float(sound[0])) < 1e-3
    assert engine.stats.underruns == 0


def test_a_gap_is_faded_counted_and_made_up_for_without_a_click() -> None:
    # Block number 20 takes a fifth of a second, ten times its length.
    stream = Tone()
    step = stream.step
    stream.step = lambda: step()._replace(seconds=0.2 if stream.number == 21 else 0.001)  # type: ignore[method-assign]
    engine = _simulated(stream)
    sound = simulated_run(engine, 1.5, read_seconds=0.005).audio.samples
    stats = engine.stats
    assert stats.underruns == 1
    assert 0.1 < stats.silent_seconds < 0.2
    jump = np.abs(np.diff(_tone(1000))).max() + 0.5 * np.pi / (2 * FADE)
    assert np.abs(np.diff(np.concatenate([[0.0], sound]))).max() <= jump + 1e-6
    # No sample of the stream is lost or played twice: without silence it is the tone, but for the fades.
    heard = sound[np.flatnonzero(sound)[0] :]
    silent = np.flatnonzero((heard[:-1] == 0.0) & (heard[1:] == 0.0))
    resumed = int(silent[-1]) + 2
    played = heard[resumed + FADE :]
    position = int(silent[0])
    matches = [k for k in range(position - 5, position + 10)
               if np.allclose(played, _tone(len(played), k + FADE), atol=1e-6)]  # fmt: skip
    assert len(matches) == 1


def test_reads_give_as_much_as_is_available_without_a_fade() -> None:
    with LiveEngine(Tone(), prebuffer_seconds=0.06) as engine:
        _until(lambda: engine.available > 0)
        count = engine.available
        sound = engine.read(count)
        assert np.array_equal(sound[FADE:], _tone(count)[FADE:])
        assert engine.underruns == 0


def test_before_the_start_and_after_the_stop_there_is_silence() -> None:
    engine = LiveEngine(Tone(), prebuffer_seconds=0.04)
    assert not engine.read(100).any()
    assert engine.available == 0
    engine.start()
    _until(lambda: engine.available > 150)
    assert np.array_equal(engine.read(150)[FADE:], _tone(150)[FADE:])
    engine.stop()
    last = engine.read(200)
    assert np.abs(last[: FADE // 2]).max() > 0
    assert not last[FADE:].any()
    assert (engine.available, engine.running, engine.underruns) == (0, False, 0)


def test_a_stopped_engine_goes_on_where_it_was() -> None:
    engine = LiveEngine(Tone(), prebuffer_seconds=0.08)
    engine.start()
    _until(lambda: engine.available > 200)
    engine.read(200)
    engine.stop()
    engine.read(200)
    with engine:
        _until(lambda: engine.available > 200)
        assert np.array_equal(engine.read(200)[FADE:], _tone(200, 200 + FADE)[FADE:])


def test_pauses_hold_the_sound_and_count_as_no_underrun() -> None:
    clock = SimulatedClock()
    engine = LiveEngine(Tone(seconds=0.002), clock=clock)
    run = simulated_run(engine, 1.5, read_seconds=0.005, at=[(0.5, engine.pause), (1.0, engine.resume)])
    sound = run.audio.samples
    assert not sound[4000 + FADE : 8000].any()
    assert np.abs(sound[8000 + FADE :]).max() > 0.4
    assert (run.stats.underruns, run.stats.silent_seconds) == (0, 0.0)
    # The tone goes on after the last sample of the fade.
    start = 4000 - 40 + FADE
    assert np.allclose(sound[8000 + FADE :], _tone(4000 - FADE, start + FADE), atol=1e-6)


def test_a_failing_stream_ends_in_faded_silence_and_tells_why() -> None:
    def fail(number: int) -> None:
        if number == 4:
            raise ZeroDivisionError("the model broke")

    engine = LiveEngine(Tone(fail), prebuffer_seconds=0.08).start()
    parts = []
    deadline = time.monotonic() + 20.0
    while (engine.running or engine.producer.ring.fill > 0) and time.monotonic() < deadline:
        parts.append(engine.read(20))
        time.sleep(0.001)
    sound = np.concatenate([*parts, engine.read(100)])
    assert sound[-100:].tolist() == [0.0] * 100
    jump = np.abs(np.diff(_tone(1000))).max() + 0.5 * np.pi / (2 * FADE)
    assert np.abs(np.diff(sound)).max() <= jump + 1e-6
    assert np.count_nonzero(sound) > 3 * BLOCK
    assert engine.underruns == 0
    with pytest.raises(EngineError, match="failed at block 4: ZeroDivisionError: the model broke") as caught:
        engine.check()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    engine.stop()  # told once
    with pytest.raises(EngineError, match="a new engine is needed"):
        engine.start()


@pytest.mark.parametrize(
    ("samples", "message"),
    [(np.zeros(BLOCK - 1), "block 0 must hold 160 samples"), (np.full(BLOCK, np.nan), "NaN or infinite")],
)
def test_blocks_that_are_no_sound_are_refused(samples: NDArray[np.float64], message: str) -> None:
    stream = Tone()
    stream.step = lambda: MusicBlock(0, samples.astype(np.float32), 8, 0.0)  # type: ignore[method-assign]
    engine = LiveEngine(stream).start()
    _until(lambda: not engine.running)
    with pytest.raises(EngineError, match=message):
        engine.stop()


def test_too_loud_samples_are_clipped() -> None:
    stream = Tone()
    stream.step = lambda: MusicBlock(0, np.full(BLOCK, -3.0, np.float32), 8, 0.0)  # type: ignore[method-assign]
    engine = _simulated(stream)
    simulated_run(engine, 0.2)
    assert set(engine.read(100).tolist()) == {-1.0}


def test_a_step_that_hangs_is_said_and_the_reader_is_not_held_up() -> None:
    gate = threading.Event()
    engine = LiveEngine(Tone(lambda number: gate.wait(20.0) if number else None))  # type: ignore[arg-type,return-value]
    engine.start()
    _until(lambda: engine.stats.blocks == 1)
    begun = time.perf_counter()
    engine.read(160)
    assert time.perf_counter() - begun < 5.0
    with pytest.raises(EngineError, match=r"did not end within 0\.05 s"):
        engine.stop(timeout=0.05)
    with pytest.raises(EngineError, match="has not ended yet"):
        engine.start()
    gate.set()
    engine.stop()
    engine.start().stop()


def test_controls_reach_the_stream_and_evaluations_the_pacer() -> None:
    stream = Tone()
    engine = _simulated(stream)
    engine.set(nfe=4, chroma=3)
    engine.push_midi(b"\x90\x3c\x40")
    engine.push_audio(np.zeros(3, np.float32), 8000)
    assert (stream.controls["chroma"], stream.controls["midi"]) == (3, b"\x90\x3c\x40")
    assert stream.controls["partner"][1] == 8000
    assert engine.stats.nfe_wanted == 4
    simulated_run(engine, 0.2)
    assert stream.nfe == engine.stats.nfe == 4
    assert engine.stats.reactions == 0  # nothing was playing when they changed
    with pytest.raises(ValueError, match="nfe must be at least 1, got 0"):
        engine.set(nfe=0)


def test_between_blocks_the_stream_stands_still() -> None:
    engine = LiveEngine(Tone(lambda number: time.sleep(0.002)), prebuffer_seconds=0.08).start()
    _until(lambda: engine.stats.blocks > 1)
    with engine.between_blocks() as stream:
        before = stream.state_dict()
        engine.read(320)
        time.sleep(0.03)
        assert stream.state_dict() == before
        stream.load_state_dict({"number": 1000})
    _until(lambda: engine.stream.state_dict()["number"] > 1000)
    engine.stop()


def test_the_callback_allocates_nothing_of_its_size() -> None:
    import tracemalloc

    engine = _simulated(Tone(), capacity_seconds=40.0, prebuffer_seconds=39.0)
    simulated_run(engine, 1.0)
    out = np.empty(100_000, dtype=np.float32)  # 400 kB
    engine.read_into(out[:10])
    tracemalloc.start()
    engine.read_into(out)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20_000
    assert np.abs(out).max() > 0.4


def test_rendering_gives_blocks_end_to_end() -> None:
    stream, seen = Tone(), []
    audio = render_stream(stream, 0.05, on_block=lambda block: seen.append(block.number))
    assert audio.sample_rate == RATE
    assert np.array_equal(audio.samples, _tone(400))
    assert seen == [0, 1, 2]
    with pytest.raises(ValueError, match="seconds must be positive and finite, got 0"):
        render_stream(stream, 0)


def test_a_paced_run_listens_in_real_time() -> None:
    told: list[StreamStats] = []
    engine = LiveEngine(Tone(), prebuffer_seconds=0.2, capacity_seconds=1.0)
    begun = time.perf_counter()
    run = paced_run(engine, 0.3, on_read=told.append)
    elapsed = time.perf_counter() - begun
    engine.stop()
    assert elapsed >= 0.27
    assert run.stats.heard_seconds == pytest.approx(0.3, abs=0.05)
    first = int(np.flatnonzero(run.audio.samples)[0]) // 160 * 160
    heard = run.audio.samples[first:]
    assert run.stats.underruns > 0 or np.array_equal(heard[FADE:], _tone(len(heard))[FADE:])
    assert len(run.trace.seconds) == len(run.audio.samples) // 160
    assert told[0].blocks >= 0


def test_statistics_fit_into_json() -> None:
    engine = _simulated(Tone())
    before = engine.stats.to_json()
    assert before["p50"] is None
    assert (before["nfe"], before["underruns"]) == (8, 0)
    simulated_run(engine, 0.5)
    after = engine.stats
    assert after.to_json()["p50"] == 0.0
    assert after.heard_seconds == pytest.approx(0.48, abs=0.03)
    assert after.real_time_factor == 0.0


def test_a_pause_is_no_reaction_time(sine_stream: type) -> None:
    engine = LiveEngine(sine_stream()).start(threaded=False)
    for _ in range(4):
        engine.producer.deliver(engine.producer.make(False))
    assert engine.read(4_800).any()
    engine.set(style="organ")
    engine.producer.deliver(engine.producer.make(True))
    assert len(engine.producer.heard_next) == 1
    engine.pause()
    engine.read(480)
    engine.resume()
    engine.read(4 * 4_800)
    assert engine.stats.reactions == 0
