r"""A live stream played without gaps: a thread makes blocks, a ring holds them, an audio callback reads them.

::

    set, push_midi, push_audio          pause, resume, stop
              |                                 |
              v                                 v
    stream.step() --> producer thread --> SampleRing --> read_into (audio callback, web socket, file)
                           ^                    |
                           +------- fill -------+

`LiveEngine.read_into` runs no model, takes no lock, waits for nothing and allocates nothing of its size. Its
sound starts once the producer is ahead, is faded out over some milliseconds when it runs dry (an underrun,
which is counted) and faded in when the producer is ahead again. When to make blocks, how far ahead and with
how many evaluations is said in `pacing`; a change of a control is heard after between S and S + B seconds,
where S is the fill at which blocks are begun and B a block, and the measured reaction times are among the
statistics.

Threads: one calls `read` or `read_into`; any may call the rest.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .engine_producer import BlockProducer
from .fades import FadingReader
from .live_stream import LiveStream
from .pacing import Pacer
from .ring_buffer import SampleRing
from .stream_stats import StreamStats, quantile

__all__ = ["EngineError", "LiveEngine"]


class EngineError(RuntimeError):
    """The stream failed, or does not stop; the message says how, and the cause is attached."""


class LiveEngine:
    """Plays a live stream in real time.

    Parameters
    ----------
    stream : LiveStream
        The engine's own from now on: its ``step`` is called by the engine alone, and controls go through the
        engine.
    prebuffer_seconds : float, optional
        The most audio that is made ahead of what is heard, at least a block; None measures it: one block, and
        the longest that one takes, with a margin (see `pacing`).
    capacity_seconds : float, optional
        Size of the ring, which bounds the prebuffer; four blocks by default.
    lowest_nfe : int, default 2
        The fewest evaluations a block to which it falls before it stops.
    adapt : bool, default True
        Whether the evaluations may fall at all.
    margin_seconds : float, optional
        Stall that is allowed for before one was seen; half a block by default.
    fade_seconds : float, default .008
        Length of fades.
    clock : callable, optional
        Seconds from any start; `time.perf_counter` by default. A simulation gives its own.

    Raises
    ------
    ValueError
        For a number that is out of range.
    """

    def __init__(
        self,
        stream: LiveStream,
        *,
        prebuffer_seconds: float | None = None,
        capacity_seconds: float | None = None,
        lowest_nfe: int = 2,
        adapt: bool = True,
        margin_seconds: float | None = None,
        fade_seconds: float = 0.008,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        block_seconds = stream.block_samples / stream.sample_rate
        capacity = 4 * block_seconds if capacity_seconds is None else capacity_seconds
        if prebuffer_seconds is not None and capacity_seconds is None:
            capacity = max(capacity, prebuffer_seconds)
        pacer = Pacer(
            block_seconds, stream.nfe, most_seconds=capacity, lowest_nfe=lowest_nfe, adapt=adapt,
            prebuffer_seconds=prebuffer_seconds, margin_seconds=margin_seconds, fade_seconds=fade_seconds,
        )  # fmt: skip
        ring = SampleRing(math.ceil(capacity * stream.sample_rate) + 1)
        self.stream, self.clock = stream, clock
        self.producer = BlockProducer(stream, ring, pacer, clock)
        self._reader = FadingReader(ring, max(1, round(fade_seconds * stream.sample_rate)))
        self._between = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        self._told = False
        self._started = self._paused = self._open = self._sounded = False
        self._underruns = self._silent = self._largest_read = 0
        self._reactions: deque[float] = deque(maxlen=256)
        self._reaction_count = 0

    @property
    def sample_rate(self) -> int:
        """Samples a second."""
        return self.stream.sample_rate

    @property
    def running(self) -> bool:
        """Whether blocks are being made."""
        return self._started and self._error is None

    @property
    def paused(self) -> bool:
        """Whether the sound is held."""
        return self._paused

    @property
    def needed(self) -> bool:
        """Whether blocks are needed by a certain time: sound began, and is not held."""
        return self._sounded and not self._paused

    @property
    def error(self) -> Exception | None:
        """What made the stream fail, if something did."""
        return self._error

    @property
    def underruns(self) -> int:
        """Times that the sound was faded out because no more of it was ready."""
        return self._underruns

    @property
    def available(self) -> int:
        """Samples that a read would give now without an underrun; for players that fetch and do not wait."""
        ready = self._is_wanted and (self._open or self._may_open())
        return self._reader.available if ready else 0

    @property
    def stats(self) -> StreamStats:
        """How the stream is doing."""
        pacer, ring, rate = self.producer.pacer, self.producer.ring, self.sample_rate
        seconds, reactions = pacer.times.seconds, list(self._reactions)
        mean = float(np.mean(seconds)) if seconds else math.nan
        return StreamStats(
            blocks=self.producer.blocks,
            heard_seconds=ring.read / rate,
            p50=quantile(seconds, 0.5),
            p95=quantile(seconds, 0.95),
            p99=quantile(seconds, 0.99),
            first_block_seconds=pacer.times.first_seconds,
            fill_seconds=ring.fill / rate,
            prebuffer_seconds=pacer.prebuffer_seconds,
            underruns=self._underruns,
            silent_seconds=self._silent / rate,
            nfe=pacer.nfe,
            nfe_wanted=pacer.wanted_nfe,
            falls=pacer.falls,
            reactions=self._reaction_count,
            reaction_seconds=quantile(reactions, 0.5),
            reaction_p95=quantile(reactions, 0.95),
            real_time_factor=mean / pacer.block_seconds,
        )

    def start(self, *, threaded: bool = True) -> LiveEngine:
        """Begin to make blocks; does nothing when they are being made.

        Parameters
        ----------
        threaded : bool, default True
            False starts no thread: whoever calls drives `producer` (as `simulated_run` does).

        Raises
        ------
        EngineError
            If the stream has failed.
        """
        self.check()
        if self._error is not None:
            raise EngineError("the stream has failed; a new engine is needed") from self._error
        if self._thread is not None and not self._started:
            raise EngineError("the block that was being made when the engine was stopped has not ended yet")
        if not self._started:
            self._started = True
            self._wake.clear()
            if threaded:
                self._thread = threading.Thread(target=self._produce, name="music-producer", daemon=True)
                self._thread.start()
        return self

    def stop(self, timeout: float = 30.0) -> None:
        """Fade out and end the thread, after the block that it is making; `start` goes on from there.

        Raises
        ------
        EngineError
            If the stream had failed and nobody was told so far, or if the block takes longer than ``timeout``
            seconds.
        """
        self._started = False
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout)
            if self._thread.is_alive():
                raise EngineError(f"the block that is being made did not end within {timeout:g} s")
            self._thread = None
        self.check()

    def pause(self) -> None:
        """Fade out and hold the sound; at most the prebuffer is made meanwhile."""
        self._paused = True

    def resume(self) -> None:
        """Fade in where `pause` stopped."""
        self._paused = False

    def check(self) -> None:
        """Raise what made the stream fail, once.

        Raises
        ------
        EngineError
            If it failed and nobody was told so far.
        """
        if self._error is not None and not self._told:
            self._told = True
            raise EngineError(
                f"the stream failed at block {self.producer.blocks}: "
                f"{type(self._error).__name__}: {self._error}"
            ) from self._error

    def set(self, *, nfe: int | None = None, **controls: Any) -> None:
        """Change controls, or the evaluations a block that are wanted (see `LiveStream.set`)."""
        if nfe is not None:
            self.producer.pacer.want(nfe)
        if controls:
            now = self.clock()
            self.stream.set(**controls)
            self._asked_at(now)

    def push_midi(self, message: bytes) -> None:
        """Hand a MIDI message to the stream."""
        now = self.clock()
        self.stream.push_midi(message)
        self._asked_at(now)

    def push_audio(self, samples: NDArray[np.float32], sample_rate: int) -> None:
        """Hand another player's sound to the stream."""
        self.stream.push_audio(samples, sample_rate)

    @contextmanager
    def between_blocks(self) -> Iterator[LiveStream]:
        """Hold the producer between two blocks and give the stream, to take or load its state."""
        with self._between:
            yield self.stream

    def read(self, count: int) -> NDArray[np.float32]:
        """Return the next samples, silence where there are none (see `read_into`)."""
        out = np.empty(count, dtype=np.float32)
        self.read_into(out)
        return out

    def read_into(self, out: NDArray[np.float32]) -> None:
        """Fill an array with the next samples; never waits, never raises what the stream does.

        Parameters
        ----------
        out : ndarray of float32, shape ``(n,)``
            Sound, or silence before the first sound, in pauses, after underruns and after the end.
        """
        if len(out) > self._largest_read:
            self._largest_read = len(out)
            self.producer.pacer.read_seconds = len(out) / self.sample_rate
        if not self._open and self._may_open():
            self._open = self._sounded = True
        before = self.producer.ring.read
        wanted = self._open and self._is_wanted
        fine = self._reader.read_into(out, wanted)
        if wanted and not fine:
            self._open = False
            self._underruns += self.running
        heard = self.producer.ring.read
        if self.running and self.needed:
            self._silent += len(out) - (heard - before)
        self._note_reactions(heard)

    def __enter__(self) -> LiveEngine:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._told = True  # one error at a time
        self.stop()

    @property
    def _is_wanted(self) -> bool:
        """Whether what is buffered is to be heard; after a failure the rest of it is."""
        return self._started and not self._paused

    def _may_open(self) -> bool:
        """Whether sound may begin: the producer is ahead."""
        return self._started and self.producer.is_ahead and self._reader.available > 0

    def _asked_at(self, seconds: float) -> None:
        if self.needed:
            self.producer.ask(seconds)

    def _note_reactions(self, heard: int) -> None:
        """Take the time of the changes whose first sample was just read."""
        coming = self.producer.heard_next
        if self._paused:
            coming.clear()
        while coming and coming[0][0] < heard:
            _, asked = coming.popleft()
            self._reactions.append(self.clock() - asked)
            self._reaction_count += 1

    def _produce(self) -> None:
        """Make blocks until told to stop; the body of the thread."""
        producer = self.producer
        longest = min(0.02, 0.1 * producer.pacer.block_seconds)
        try:
            while self._started:
                due = producer.due_seconds()
                if due > 0:
                    # The reader wakes nobody, as it takes no lock; so the fill is looked at often.
                    self._wake.wait(min(due, longest))
                    self._wake.clear()
                    continue
                with self._between:
                    producer.deliver(producer.make(self.needed))
        except Exception as error:
            self._error = error
