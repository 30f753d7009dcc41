"""The side of the engine that makes sound: one block after the other into the ring, when they are due.

It owns no thread and no clock, so that the same code runs in the engine's thread and in a simulation: whoever
drives it asks `due_seconds`, waits that long, calls `make`, and `deliver` when the block's time is over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np

from .live_stream import LiveStream, MusicBlock
from .pacing import Pacer
from .ring_buffer import SampleRing

__all__ = ["BlockProducer"]

_MOST_CHANGES = 256


class BlockProducer:
    """Makes the blocks of a stream.

    Parameters
    ----------
    stream : LiveStream
    ring : SampleRing
        Where samples go; nothing else may write to it.
    pacer : Pacer
    clock : callable
        Seconds, from any start.

    Attributes
    ----------
    blocks : int
        Blocks delivered.
    heard_next : deque of (int, float)
        Changes on their way: the sample in which one is heard first, and when it was asked for.
    """

    def __init__(
        self, stream: LiveStream, ring: SampleRing, pacer: Pacer, clock: Callable[[], float]
    ) -> None:
        self.stream, self.ring, self.pacer, self._clock = stream, ring, pacer, clock
        self.blocks = 0
        self.heard_next: deque[tuple[int, float]] = deque()
        self._asked: deque[float] = deque()
        self._begun = clock()
        self._known_to_block: list[float] = []

    @property
    def fill_seconds(self) -> float:
        """Audio in the ring."""
        return self.ring.fill / self.stream.sample_rate

    @property
    def is_ahead(self) -> bool:
        """Whether there is so much audio that no block is due."""
        return self.fill_seconds > self.pacer.start_seconds

    def due_seconds(self) -> float:
        """Return the seconds until a block is due if the ring is played meanwhile; 0 where one is."""
        if self.ring.free < self.stream.block_samples:
            missing = (self.stream.block_samples - self.ring.free) / self.stream.sample_rate
            return max(missing, self.fill_seconds - self.pacer.start_seconds)
        return max(0.0, self.fill_seconds - self.pacer.start_seconds)

    def ask(self, seconds: float) -> None:
        """Note that a change was asked for, of which the blocks begun from now on know."""
        self._asked.append(seconds)

    def make(self, playing: bool) -> MusicBlock:
        """Make the next block, with as many evaluations as there is time for.

        Parameters
        ----------
        playing : bool
            Whether the ring is being played, so that the block is needed when it is empty.
        """
        self._begun = self._clock()
        asked = [self._asked.popleft() for _ in range(len(self._asked))]
        self._known_to_block = asked if playing else []
        nfe = self.pacer.choose(self.fill_seconds if playing else np.inf)
        if self.stream.nfe != nfe:
            self.stream.set(nfe=nfe)
        return self.stream.step()

    def deliver(self, block: MusicBlock) -> None:
        """Put a block into the ring and take its time.

        Raises
        ------
        ValueError
            For samples that are no sound, or not as many as a block has.
        """
        samples = np.asarray(block.samples, dtype=np.float32)
        if samples.shape != (self.stream.block_samples,):
            raise ValueError(
                f"block {block.number} must hold {self.stream.block_samples} samples, got {samples.shape}"
            )
        if not np.isfinite(samples).all():
            raise ValueError(f"block {block.number} holds samples that are NaN or infinite")
        self.pacer.times.record(block.nfe, self._clock() - self._begun)
        first = self.ring.written
        self.ring.write(np.clip(samples, -1.0, 1.0))
        self.blocks += 1
        if len(self.heard_next) < _MOST_CHANGES:  # nobody may be reading
            self.heard_next.extend((first, asked) for asked in self._known_to_block[-_MOST_CHANGES:])
