r"""What is measured while music is streamed: times of blocks, fill, underruns, reaction.

*Block time* is what one block took to make. The model of it is

.. math:: T(K) = u (K + 1) + \text{stall},

u the time of one evaluation and K + 1 the evaluations of a block, the one that writes it into the cache
included; u is the median of T / (K + 1) over the last blocks, or the smaller of the last two where that is
more (so that a machine that has become slower is believed after two blocks, and one stall is not); what is
left of each block is a stall. The model is a construction of this library: it carries times from one number
of evaluations to another, which is all that is asked of it.

*Real-time factor* is compute over audio time: below 1 a stream can be heard without end.

*Reaction time* is that from a change of a control to the first sample of the first block that was begun after
it, as that sample is handed to the player. What the player itself buffers (tens of milliseconds) comes on
top.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

__all__ = ["BlockTimes", "StreamStats", "quantile"]


def quantile(values: Iterable[float], q: float) -> float:
    """Return the smallest value that a fraction ``q`` of the values do not exceed; NaN of none.

    The quantile is one of the values, so the .99 quantile of fewer than 100 values is the largest.
    """
    known = np.fromiter(values, dtype=np.float64)
    return float(np.quantile(known, q, method="inverted_cdf")) if len(known) else math.nan


class BlockTimes:
    """Seconds of the last blocks, and what they say of the next one.

    One thread records; any thread may ask.

    Parameters
    ----------
    window : int, default 256
        Blocks that are remembered.

    Attributes
    ----------
    count : int
        Blocks recorded.
    first_seconds : float
        Time of the first block, NaN before it. Compilation and first allocations make it unlike the others,
        so it counts nowhere else.
    stall_seconds : float
        Largest stall but one of the blocks that are remembered, or the largest of fewer than 100: a single
        one may be an accident. NaN of no blocks.
    """

    def __init__(self, window: int = 256) -> None:
        self._blocks: deque[tuple[int, float]] = deque(maxlen=window)
        self.count = 0
        self.first_seconds = self.stall_seconds = self._unit_seconds = math.nan

    def record(self, nfe: int, seconds: float) -> None:
        """Remember a block of ``nfe`` evaluations."""
        self.count += 1
        if self.count == 1:
            self.first_seconds = seconds
            return
        self._blocks.append((nfe, seconds))
        counts, times = np.array(self._blocks).T
        rates = times / (counts + 1)
        self._unit_seconds = max(quantile(rates, 0.5), float(rates[-2:].min()))
        stalls = np.sort(times - self._unit_seconds * (counts + 1))
        self.stall_seconds = max(0.0, float(stalls[-1 if len(stalls) < 100 else -2]))

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known yet: not more than the first block was made."""
        return not self._blocks

    @property
    def seconds(self) -> list[float]:
        """Times of the blocks that are remembered, oldest first."""
        return [seconds for _, seconds in list(self._blocks)]

    def typical(self, nfe: int) -> float:
        """Return the seconds that a block of ``nfe`` evaluations takes without stalls; NaN of no blocks."""
        return self._unit_seconds * (nfe + 1)


class StreamStats(NamedTuple):
    """How a stream is doing.

    Parameters
    ----------
    blocks : int
        Blocks made.
    heard_seconds : float
        Audio handed to the player.
    p50, p95, p99 : float
        Quantiles of the seconds of the last blocks, the first block of all left out; NaN before the second.
    first_block_seconds : float
        Seconds of the first block.
    fill_seconds : float
        Audio that is made and not heard yet.
    prebuffer_seconds : float
        The most audio that the producer works ahead.
    underruns : int
        Times that the sound was faded out because no more of it was ready.
    silent_seconds : float
        Silence played because of that.
    nfe, nfe_wanted : int
        Evaluations of the next block, and what was asked for.
    falls : int
        Times that the evaluations were lowered to keep up.
    reactions : int
        Changes of controls that were heard.
    reaction_seconds, reaction_p95 : float
        Median and .95 quantile of the last reaction times; NaN before the first.
    real_time_factor : float
        Mean of compute over audio time of the last blocks.
    """

    blocks: int
    heard_seconds: float
    p50: float
    p95: float
    p99: float
    first_block_seconds: float
    fill_seconds: float
    prebuffer_seconds: float
    underruns: int
    silent_seconds: float
    nfe: int
    nfe_wanted: int
    falls: int
    reactions: int
    reaction_seconds: float
    reaction_p95: float
    real_time_factor: float

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold: None for NaN."""
        return {name: None if value != value else value for name, value in self._asdict().items()}
