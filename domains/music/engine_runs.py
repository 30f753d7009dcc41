"""Streams run for a while: at once, in real time, and in simulated time.

`render_stream` takes blocks as fast as they come, as a file wants them. `paced_run` plays an engine to a
listener who reads in real time, and `simulated_run` does the same on a clock of its own, without threads: a
block takes the seconds that its stream says it took, so minutes of a slow machine pass in a moment and twice
the same way.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .audio import Audio
from .engine import LiveEngine
from .live_stream import LiveStream, MusicBlock
from .stream_stats import StreamStats

__all__ = ["PacedRun", "SimulatedClock", "StreamTrace", "paced_run", "render_stream", "simulated_run"]


class StreamTrace(NamedTuple):
    """The course of a run, one row a read.

    Parameters
    ----------
    seconds : ndarray
        Time since the run began.
    fill_seconds : ndarray
        Audio buffered after the read.
    nfe : ndarray of int
        Evaluations of the next block.
    underruns : ndarray of int
        Underruns so far.
    """

    seconds: NDArray[np.float64]
    fill_seconds: NDArray[np.float64]
    nfe: NDArray[np.int64]
    underruns: NDArray[np.int64]


class PacedRun(NamedTuple):
    """What was heard of an engine, and how it did.

    Parameters
    ----------
    audio : Audio
        All that was read, the silence before the first sound included.
    stats : StreamStats
        At the end.
    trace : StreamTrace
    """

    audio: Audio
    stats: StreamStats
    trace: StreamTrace


class SimulatedClock:
    """A clock that stands still until it is moved; give it to an engine as ``clock=``."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the seconds since the start."""
        return self.now


def render_stream(
    stream: LiveStream, seconds: float, *, on_block: Callable[[MusicBlock], None] | None = None
) -> Audio:
    """Return the next seconds of a stream, made as fast as it makes them.

    Parameters
    ----------
    stream : LiveStream
        Goes on at the end of the last block that was begun.
    seconds : float > 0
        Rounded to whole samples.
    on_block : callable, optional
        Called with every block, to show progress.

    Raises
    ------
    ValueError
        For no duration.
    """
    count = round(_checked_seconds(seconds) * stream.sample_rate)
    parts: list[NDArray[np.float32]] = []
    for _ in range(math.ceil(count / stream.block_samples)):
        block = stream.step()
        parts.append(np.asarray(block.samples, dtype=np.float32))
        if on_block is not None:
            on_block(block)
    return Audio(np.concatenate(parts)[:count], stream.sample_rate)


def paced_run(
    engine: LiveEngine,
    seconds: float,
    *,
    read_seconds: float = 0.02,
    on_read: Callable[[StreamStats], None] | None = None,
) -> PacedRun:
    """Listen to an engine in real time, from its first sound on.

    Parameters
    ----------
    engine : LiveEngine
        Started if it is not running; left running.
    seconds : float > 0
        Counted from the first sound.
    read_seconds : float, default .02
        Audio that is read at once.
    on_read : callable, optional
        Called with the statistics about once a second.

    Raises
    ------
    EngineError
        If the stream fails.
    """
    count = max(1, round(read_seconds * engine.sample_rate))
    reads = math.ceil(_checked_seconds(seconds) * engine.sample_rate / count)
    engine.start()
    record = _Record(engine)
    begun, turn = time.perf_counter(), 0
    while reads > 0:
        engine.check()
        sounded = record.read(count, time.perf_counter() - begun)
        reads -= sounded
        if on_read is not None and turn % max(1, round(engine.sample_rate / count)) == 0:
            on_read(engine.stats)
        turn += 1
        time.sleep(max(0.0, begun + turn * count / engine.sample_rate - time.perf_counter()))
    return record.result()


def simulated_run(
    engine: LiveEngine,
    seconds: float,
    *,
    read_seconds: float = 0.02,
    at: Sequence[tuple[float, Callable[[], None]]] = (),
) -> PacedRun:
    """Listen to an engine on a simulated clock, without threads.

    Parameters
    ----------
    engine : LiveEngine
        Not started, with ``clock=SimulatedClock()``. Making a block takes the simulated ``seconds`` of its
        `MusicBlock`, and nothing else takes any time.
    seconds : float > 0
        From the start, before the first sound.
    read_seconds : float, default .02
        Audio that is read at once, and the time between reads.
    at : sequence of (float, callable), default ()
        What is done at given seconds, such as a change of controls.

    Raises
    ------
    TypeError
        If the engine has another clock.
    """
    clock = engine.clock
    if not isinstance(clock, SimulatedClock):
        raise TypeError(f"engine must have clock=SimulatedClock() to be simulated, got {clock!r}")
    count = max(1, round(read_seconds * engine.sample_rate))
    engine.start(threaded=False)
    record, begun = _Record(engine), clock.now
    making: tuple[float, MusicBlock] | None = None
    events = sorted(at, key=lambda event: event[0])
    for turn in range(math.ceil(_checked_seconds(seconds) * engine.sample_rate / count)):
        read_time = begun + turn * count / engine.sample_rate
        while events and begun + events[0][0] <= read_time:
            making = _advance(engine, clock, making, begun + events[0][0])
            events.pop(0)[1]()
        making = _advance(engine, clock, making, read_time)
        record.read(count, read_time - begun)
    return record.result()


def _advance(
    engine: LiveEngine, clock: SimulatedClock, making: tuple[float, MusicBlock] | None, until: float
) -> tuple[float, MusicBlock] | None:
    """Begin and end blocks until a time; the fill falls at reads only, so a due one is begun at once."""
    producer = engine.producer
    while True:
        if making is None and producer.due_seconds() == 0.0 and clock.now <= until:
            block = producer.make(engine.needed)
            making = clock.now + block.seconds, block
        if making is None or making[0] > until:
            clock.now = until
            return making
        clock.now = making[0]
        producer.deliver(making[1])
        making = None


class _Record:
    """What was read of an engine so far."""

    def __init__(self, engine: LiveEngine) -> None:
        self._engine = engine
        self._parts: list[NDArray[np.float32]] = []
        self._rows: list[tuple[float, float, int, int]] = []

    def read(self, count: int, seconds: float) -> bool:
        """Read, and say whether the sound has begun."""
        engine = self._engine
        self._parts.append(engine.read(count))
        producer = engine.producer
        self._rows.append((seconds, producer.fill_seconds, producer.pacer.nfe, engine.underruns))
        return producer.ring.read > 0

    def result(self) -> PacedRun:
        """Return all of it."""
        columns = list(zip(*self._rows, strict=True))
        trace = StreamTrace(
            np.array(columns[0]), np.array(columns[1]), np.array(columns[2], dtype=np.int64),
            np.array(columns[3], dtype=np.int64),
        )  # fmt: skip
        audio = Audio(np.concatenate(self._parts), self._engine.sample_rate)
        return PacedRun(audio, self._engine.stats, trace)


def _checked_seconds(seconds: float) -> float:
    if not 0 < seconds < math.inf:
        raise ValueError(f"seconds must be positive and finite, got {seconds}")
    return seconds
