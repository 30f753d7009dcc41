"""Seconds that blocks of a real stream take on a core that is shared with other work; and streams of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd

from sciffusion.domains.music import Audio, LiveMusicDiffusion, SpectralCodec
from sciffusion.domains.music.live_stream import LiveStream, MusicBlock

__all__ = ["RecordedStream", "record_times", "untrained_stream"]

#: A process that only computes, until it is ended.
BUSY = "while True: pass"
LEVELS = (8, 4, 2)


def untrained_stream(width: int, depth: int) -> LiveStream:
    """Give a stream of the default size whose network was trained for one step: time hangs on no weight."""
    noise = np.random.default_rng(0).normal(0.0, 0.1, 24_000 * 30).astype(np.float32)
    model = LiveMusicDiffusion(
        codec=SpectralCodec(24_000, 960, 32), width=width, depth=depth, max_steps=1, batch_size=1,
        random_state=0, device="cpu",
    )  # fmt: skip
    stream: LiveStream = model.fit([Audio(noise, 24_000)]).stream(seed=0)
    return stream


@contextmanager
def _busy_core(count: int) -> Iterator[None]:
    """Keep this process on one core, and that core busy with other processes."""
    pinned = hasattr(os, "sched_setaffinity")
    before = os.sched_getaffinity(0) if pinned else set()
    if pinned:
        os.sched_setaffinity(0, {max(before)})
    processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        time.sleep(0.3 if count else 0.0)
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()
        if pinned:
            os.sched_setaffinity(0, before)


def record_times(stream: LiveStream, loads: Sequence[int], blocks: int) -> pd.DataFrame:
    """Measure wall and CPU seconds of blocks at 8, 4 and 2 evaluations beside other processes.

    Evaluations take turns, so that all of them meet the same weather.
    """
    stream.set(nfe=2)
    for _ in range(9):  # the window fills
        stream.step()
    rows = []
    for load in loads:
        with _busy_core(load):
            for number in range(blocks * len(LEVELS)):
                nfe = LEVELS[number % len(LEVELS)]
                stream.set(nfe=nfe)
                cpu = time.process_time()
                block = stream.step()
                rows.append({"load": load, "nfe": nfe, "seconds": block.seconds,
                             "cpu seconds": time.process_time() - cpu})  # fmt: skip
    return pd.DataFrame(rows)


class RecordedStream:
    """Silent blocks that take the seconds that real ones took under the load of the moment.

    Parameters
    ----------
    times : mapping of (load, nfe) to ndarray
        Recorded seconds, drawn from at random.
    phases : sequence of (float, int)
        From when on (seconds, growing from 0) how many processes share the core.
    clock : callable
        Seconds.
    seed : int
        Of the draws.
    """

    sample_rate, block_samples = 1000, 960

    def __init__(
        self,
        times: Mapping[tuple[int, int], np.ndarray],
        phases: Sequence[tuple[float, int]],
        clock: Any,
        seed: int,
    ) -> None:
        self._times, self._phases, self._clock = times, phases, clock
        self._generator = np.random.default_rng(seed)
        self.nfe, self.number = 8, 0
        self.controls: Mapping[str, Any] = {}

    @property
    def load(self) -> int:
        """Processes beside the stream now."""
        return [load for since, load in self._phases if since <= self._clock()][-1]

    def step(self) -> MusicBlock:
        """Give the next block."""
        seconds = float(self._generator.choice(self._times[self.load, self.nfe]))
        self.number += 1
        return MusicBlock(self.number - 1, np.full(self.block_samples, 0.1, np.float32), self.nfe, seconds)

    def set(self, *, nfe: int | None = None, **controls: Any) -> None:
        """Change evaluations or controls."""
        self.nfe = self.nfe if nfe is None else nfe
        self.controls = {**self.controls, **controls}

    def push_midi(self, message: bytes) -> None:
        """Hear nothing."""

    def push_audio(self, samples: np.ndarray, sample_rate: int) -> None:
        """Hear nothing."""

    def state_dict(self) -> dict[str, Any]:
        """Give what the next blocks depend on, their times apart."""
        return {"number": self.number}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.number = int(state["number"])
