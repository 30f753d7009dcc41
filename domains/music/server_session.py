"""One stream on the server: what it makes, for whom, and how far ahead.

The stream is touched by one worker thread at a time and never by the event loop: what a page says waits in
an inbox and is said to the stream right before its next block, which is when it would hold anyway. The event
loop therefore never waits for a model, nor does one session for the page of another.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .live_stream import LiveStream, MusicBlock
from .pacing import Pacer
from .server_history import Frame, PcmHistory
from .server_limits import Allowance, ServerLimits
from .server_protocol import HeardAudio, Midi, Report, Settings

__all__ = ["Session", "SessionRefused"]

LOGGER = logging.getLogger(__name__)
FRAME_SECONDS = 0.04
# What a page must have when a block comes: a report is sent ten times a second, and networks take their time.
RESERVE, MOST_AHEAD, MARGIN_BLOCKS = 0.2, 1.0, 0.25
# Reports that come late tell how long the page or the network may be away; forgotten over a minute.
REPORT_SECONDS, FORGETTING_SECONDS = 0.1, 60.0
# How long a page is taken to play on without a word.
LONGEST_GUESS = 2.0
MOST_WAITING, SHARE_BLOCKS = 512, 16
LONGEST_HEARD = 4.0
# A page's clock may run a little fast, and a page that hung for a while catches up.
PLAYING_RATE, PLAYING_BURST = 1.25, 10.0

Said = Settings | Midi | HeardAudio


class SessionRefused(Exception):  # noqa: N818 - a refusal is an answer, not an error of the program
    """There is no stream for a page; says why.

    Parameters
    ----------
    code : str
        A key of `CLOSE_CODES`.
    message : str
        For the person at the page.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class _Made(NamedTuple):
    block: MusicBlock
    problems: list[str]
    heard: list[int]


class Session:
    """A stream with what it sent, for one page at a time.

    Parameters
    ----------
    identifier : str
        Cannot be guessed: who knows it may go on with the stream.
    stream : LiveStream
    executor : Executor
        Where blocks are made.
    limits : ServerLimits
    """

    def __init__(self, identifier: str, stream: LiveStream, executor: Executor, limits: ServerLimits) -> None:
        self.identifier, self._stream, self._executor, self._limits = identifier, stream, executor, limits
        self.sample_rate, self.block_samples = stream.sample_rate, stream.block_samples
        self.frame_samples = max(round(FRAME_SECONDS * self.sample_rate), 1)
        self.history = PcmHistory(
            self.frame_samples, max(round(limits.kept_seconds * self.sample_rate), 4 * self.block_samples)
        )
        block_seconds = self.block_samples / self.sample_rate
        self.pacer = Pacer(
            block_seconds,
            stream.nfe,
            most_seconds=3 * block_seconds + MOST_AHEAD,
            margin_seconds=MARGIN_BLOCKS * block_seconds,
            fade_seconds=RESERVE,
        )
        self.controls: dict[str, Any] = dict(stream.controls)
        self.outbox: deque[dict[str, Any]] = deque(maxlen=MOST_WAITING)
        self.refusal: SessionRefused | None = None
        self._call: Callable[[bool], None] = _nobody
        now = time.monotonic()
        self.touched, self.detached_at = now, now
        self.attached = False
        self._inbox: deque[Said] = deque()
        self._heard_seconds = 0.0
        self._reported = asyncio.Event()
        self._allowance = Allowance(PLAYING_RATE * self.sample_rate, PLAYING_BURST * self.sample_rate, now)
        self._played, self._played_at, self._advancing = 0, now, False
        self._lateness = 0.0
        self._fill, self._underruns = 0, 0
        self._seconds: deque[float] = deque(maxlen=4096)
        self._nfe: deque[int] = deque(maxlen=SHARE_BLOCKS)
        self._blocks = self._mended = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to make blocks."""
        self._task = asyncio.get_running_loop().create_task(self._produce())

    def end(self, refusal: SessionRefused) -> None:
        """Make no more blocks, and say why."""
        self.refusal = self.refusal or refusal
        if self._task is not None:
            self._task.cancel()
        self._call(False)

    async def ended(self) -> None:
        """Wait until no more blocks are made."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    def attach(self, next_sample: int, call: Callable[[bool], None]) -> int:
        """Serve a page that has the samples before ``next_sample``; return where it goes on.

        ``call(False)`` is called when there is something to send or the session ended, ``call(True)`` when
        another connection takes over.
        """
        self.attached, self._call, self.touched = True, call, time.monotonic()
        return min(max(next_sample, self.history.oldest), self.history.end)

    def take_over(self) -> None:
        """Let go of the connection that is there, for another one."""
        self._call(True)
        self.detach()

    def detach(self) -> None:
        """Wait for the page to come back."""
        self.attached, self._call, self.detached_at = False, _nobody, time.monotonic()
        self._advancing = False

    def report(self, report: Report) -> None:
        """Take note of what the page has played."""
        now = time.monotonic()
        elapsed = now - self._played_at
        late = elapsed - REPORT_SECONDS if self._advancing else 0.0
        self._lateness = max(late, self._lateness * math.exp(-elapsed / FORGETTING_SECONDS))
        self.pacer.fade_seconds = RESERVE + self._lateness
        claimed = min(report.played, self.history.end) - self._played
        advance = int(self._allowance.take(claimed, now)) if claimed > 0 else 0
        self._advancing = advance > 0
        self._played, self._played_at = self._played + advance, now
        self._fill, self._underruns = report.fill, report.underruns
        if advance > 0:
            self.touched = now
        self._reported.set()

    def hear(self, said: Said) -> str | None:
        """Keep what the page says until the next block; return what is wrong with it, or None."""
        self.touched = time.monotonic()
        if isinstance(said, HeardAudio):
            self._heard_seconds += len(said.samples) / said.sample_rate
            if self._heard_seconds > LONGEST_HEARD:
                self._heard_seconds -= len(said.samples) / said.sample_rate
                return (
                    f"more than {LONGEST_HEARD:.0f} s of audio wait for the next block: the rest is dropped"
                )
        elif isinstance(said, Settings) and said.nfe is not None and said.nfe > self._limits.most_nfe:
            return f"nfe must be at most {self._limits.most_nfe}, got {said.nfe}"
        if len(self._inbox) >= MOST_WAITING:
            return f"more than {MOST_WAITING} messages wait for the next block: the rest is dropped"
        self._inbox.append(said)
        return None

    def frames(self, first: int) -> list[Frame]:
        """Return frames to send from sample ``first`` on."""
        return self.history.since(max(first, self.history.oldest))

    @property
    def needed_share(self) -> float:
        """Share of a worker's time that the stream takes at its fewest evaluations; 0 while it is paused."""
        if not self._advancing or not self._seconds:
            return 0.0
        latest = list(self._seconds)[-len(self._nfe) :]
        rates = [seconds / (nfe + 1) for seconds, nfe in zip(latest, self._nfe, strict=False)]
        least = min(self.pacer.lowest_nfe, self.pacer.wanted_nfe) + 1
        return float(np.median(rates)) * least * self.sample_rate / self.block_samples

    def statistics(self) -> dict[str, Any]:
        """Return how the session goes, as plain values."""
        seconds = np.array(self._seconds) if self._seconds else np.full(1, np.nan)
        p50, p95, p99 = (round(float(value), 5) for value in np.quantile(seconds, (0.5, 0.95, 0.99)))
        return {
            "blocks": self._blocks, "samples": self.history.end, "oldest_sample": self.history.oldest,
            "block_seconds": self.block_samples / self.sample_rate,
            "step_p50": _number(p50), "step_p95": _number(p95), "step_p99": _number(p99),
            "nfe": self.pacer.nfe, "wished_nfe": self.pacer.wanted_nfe, "nfe_falls": self.pacer.falls,
            "lead": round(self.pacer.start_seconds, 4), "played": self._played, "fill": self._fill,
            "underruns": self._underruns, "mended_blocks": self._mended, "attached": self.attached,
        }  # fmt: skip

    async def _produce(self) -> None:
        try:
            while True:
                await self._until_due()
                await self._make_block()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            LOGGER.exception("a stream failed")
            self.refusal = SessionRefused("failed", f"the model stopped: {type(error).__name__}: {error}")
            self._call(False)

    async def _until_due(self) -> None:
        """Wait until the listener is a lead away from silence."""
        while True:
            self._reported.clear()
            spare = self._ahead() - self.pacer.start_seconds
            if spare <= 0:
                return
            try:
                # A page that does not advance is waited for; one that does is extrapolated.
                await asyncio.wait_for(self._reported.wait(), spare if self._advancing else None)
            except TimeoutError:
                return

    def _ahead(self) -> float:
        """Return the seconds that the listener still has to hear."""
        played = float(self._played)
        if self._advancing:
            played += min(time.monotonic() - self._played_at, LONGEST_GUESS) * self.sample_rate
        return (self.history.end - played) / self.sample_rate

    async def _make_block(self) -> None:
        said, self._inbox, self._heard_seconds = list(self._inbox), deque(), 0.0
        for part in said:
            if isinstance(part, Settings) and part.nfe is not None:
                self.pacer.want(part.nfe)
        first, began = self.history.end, time.monotonic()
        nfe = self.pacer.choose(self._ahead() if self._played > 0 else np.inf)
        loop = asyncio.get_running_loop()
        made = await loop.run_in_executor(self._executor, self._step, said, nfe)
        # The wait for a free worker counts: it is what other sessions cost this one.
        self.pacer.times.record(nfe, time.monotonic() - began)
        self._seconds.append(made.block.seconds)
        self._nfe.append(nfe)
        self._blocks += 1
        self.history.append(self._sound(made.block.samples))
        self._tell(made, first)
        self._call(False)

    def _step(self, said: Sequence[Said], nfe: int) -> _Made:
        """Say what was said and make a block; runs in a worker."""
        problems, heard = [], []
        for part in _joined(said):
            try:
                self._say(part)
                if not isinstance(part, HeardAudio) and part.identifier is not None:
                    heard.append(part.identifier)
            except (TypeError, ValueError) as error:
                problems.append(str(error))
        if nfe != self._stream.nfe:
            self._stream.set(nfe=nfe)
        block = self._stream.step()
        self.controls = dict(self._stream.controls)
        return _Made(block, problems, heard)

    def _say(self, said: Said) -> None:
        if isinstance(said, Settings):
            if said.controls:
                self._stream.set(**said.controls)
        elif isinstance(said, Midi):
            self._stream.push_midi(said.data)
        else:
            self._stream.push_audio(said.samples, said.sample_rate)

    def _sound(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return samples that a loudspeaker can bear: a block with NaN in it is silence."""
        if np.isfinite(samples).all():
            return samples
        self._mended += 1
        self.outbox.append(
            {"type": "error", "message": "the model made a block that is no sound; it is silence"}
        )
        return np.zeros_like(samples)

    def _tell(self, made: _Made, first: int) -> None:
        for problem in made.problems:
            self.outbox.append({"type": "error", "message": problem})
        if made.heard:
            self.outbox.append({"type": "applied", "ids": made.heard, "sample": first})
        self.outbox.append({"type": "pace", "prebuffer": self.prebuffer, **self.statistics()})

    @property
    def prebuffer(self) -> int:
        """Samples that a page should have before it plays: never more than is made ahead."""
        return round(self.pacer.start_seconds * self.sample_rate)


def _joined(said: Sequence[Said]) -> list[Said]:
    """Return what was said with audio that belongs together in one piece."""
    joined: list[Said] = []
    for part in said:
        last = joined[-1] if joined else None
        if not isinstance(part, HeardAudio) or not isinstance(last, HeardAudio):
            joined.append(part)
        elif part.sample_rate == last.sample_rate:
            joined[-1] = HeardAudio(np.concatenate([last.samples, part.samples]), part.sample_rate)
        else:
            joined.append(part)
    return joined


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value


def _nobody(elsewhere: bool) -> None:
    """Call no one."""
