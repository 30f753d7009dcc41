"""How a live stream keeps up: seconds a block, evaluations, and how soon it answers."""

from __future__ import annotations

import time
from collections import deque
from typing import NamedTuple

import numpy as np

__all__ = ["SessionStats", "StatsRecord"]

_KEPT = 2000  # blocks over which percentiles go


class SessionStats(NamedTuple):
    """What has happened in a session since it was made or restored.

    Parameters
    ----------
    blocks : int
        Blocks made.
    p50, p95, p99 : float
        Percentiles of the wall seconds a block took, over the last 2000; NaN before the first.
    nfe : float
        Mean network evaluations a block, over the same blocks.
    real_time_factor : float
        Seconds of computing a second of audio; below 1 is real time.
    reaction_blocks : int or None
        Blocks from the last change of a control to the first block that was made under it: 0 where it was
        the next one to be begun, and 1 where another one was under way. None before the first change.
    reaction_seconds : float or None
        Wall seconds from that change until this block was finished.
    """

    blocks: int
    p50: float
    p95: float
    p99: float
    nfe: float
    real_time_factor: float
    reaction_blocks: int | None
    reaction_seconds: float | None


class StatsRecord:
    """Collects what `SessionStats` says.

    Parameters
    ----------
    block_seconds : float
        Audio in a block.
    """

    def __init__(self, block_seconds: float) -> None:
        self._block_seconds = block_seconds
        self._seconds: deque[float] = deque(maxlen=_KEPT)
        self._nfe: deque[int] = deque(maxlen=_KEPT)
        self._blocks = 0
        self._reaction: tuple[int, float] | None = None

    def block(self, seconds: float, nfe: int) -> None:
        """Count a block."""
        self._blocks += 1
        self._seconds.append(seconds)
        self._nfe.append(nfe)

    def reacted(self, blocks: int, since: float) -> None:
        """Count the answer to a change that was made at ``since`` of `time.perf_counter`."""
        self._reaction = (blocks, time.perf_counter() - since)

    def report(self) -> SessionStats:
        """Return what has been collected."""
        seconds = np.array(self._seconds) if self._seconds else np.array([np.nan])
        p50, p95, p99 = (float(value) for value in np.percentile(seconds, [50, 95, 99]))
        nfe = float(np.mean(self._nfe)) if self._nfe else float("nan")
        blocks, since = (None, None) if self._reaction is None else self._reaction
        factor = float(seconds.mean()) / self._block_seconds
        return SessionStats(self._blocks, p50, p95, p99, nfe, factor, blocks, since)
