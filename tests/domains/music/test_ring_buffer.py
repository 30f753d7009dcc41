"""The ring of samples against a deque, and across two threads."""

from __future__ import annotations

import threading
import time
from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sciffusion.domains.music.ring_buffer import RingOverflowError, SampleRing


class RingAgainstDeque(RuleBasedStateMachine):
    """Any order of writes and reads gives what a bounded queue gives."""

    @initialize(capacity=st.integers(1, 12))
    def start(self, capacity: int) -> None:
        self.ring, self.model, self.next = SampleRing(capacity), deque[float](), 0

    @rule(count=st.integers(0, 14))
    def write(self, count: int) -> None:
        samples = np.arange(self.next, self.next + count, dtype=np.float32)
        if count > self.ring.capacity - len(self.model):
            with pytest.raises(RingOverflowError, match=f"{count} samples do not fit"):
                self.ring.write(samples)
            return
        self.ring.write(samples)
        self.model.extend(samples.tolist())
        self.next += count

    @rule(count=st.integers(0, 14))
    def read(self, count: int) -> None:
        out = np.full(count, -1.0, dtype=np.float32)
        moved = self.ring.read_into(out)
        assert moved == min(count, len(self.model))
        expected = [self.model.popleft() for _ in range(moved)] + [-1.0] * (count - moved)
        assert out.tolist() == expected

    @invariant()
    def counts_agree(self) -> None:
        assert self.ring.fill == len(self.model)
        assert self.ring.free == self.ring.capacity - len(self.model)
        assert self.ring.written == self.next
        assert self.ring.read == self.next - len(self.model)


RingAgainstDeque.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestRingAgainstDeque = RingAgainstDeque.TestCase


@given(
    capacity=st.integers(1, 64),
    pieces=st.lists(st.integers(0, 64), min_size=1, max_size=20),
    reads=st.lists(st.integers(1, 64), min_size=1, max_size=20),
)
@settings(max_examples=20, deadline=None)
def test_two_threads_lose_and_repeat_nothing(capacity: int, pieces: list[int], reads: list[int]) -> None:
    ring, stop = SampleRing(capacity), threading.Event()
    pieces = [min(piece, capacity) for piece in pieces]
    total = sum(pieces)

    def write() -> None:
        start = 0
        for piece in pieces:
            while ring.free < piece and not stop.is_set():
                stop.wait(1e-5)
            if stop.is_set():
                return
            ring.write(np.arange(start, start + piece, dtype=np.float32))
            start += piece

    writer = threading.Thread(target=write)
    writer.start()
    heard: list[float] = []
    turn, deadline = 0, time.monotonic() + 20.0
    while len(heard) < total and time.monotonic() < deadline:
        out = np.empty(reads[turn % len(reads)], dtype=np.float32)
        moved = ring.read_into(out)
        heard += out[:moved].tolist()
        turn += 1
        if moved == 0:
            stop.wait(1e-5)  # let the writer run
    stop.set()
    writer.join(5.0)
    assert not writer.is_alive()
    assert heard == list(range(total))


def test_memory_is_allocated_once_and_nothing_of_the_caller_is_kept() -> None:
    ring = SampleRing(4)
    slots, samples = ring._slots, np.ones(4, dtype=np.float32)
    ring.write(samples)
    samples[:] = 7.0
    out = np.zeros(4, dtype=np.float32)
    assert ring.read_into(out) == 4
    assert out.tolist() == [1.0] * 4
    ring.write(samples[:3])
    assert ring._slots is slots


def test_a_refused_write_changes_nothing() -> None:
    ring = SampleRing(3)
    ring.write(np.array([1, 2], dtype=np.float32))
    with pytest.raises(RingOverflowError, match="2 samples do not fit: 1 of 3 slots are free"):
        ring.write(np.array([3, 4], dtype=np.float32))
    out = np.zeros(3, dtype=np.float32)
    assert ring.read_into(out) == 2
    assert out.tolist() == [1.0, 2.0, 0.0]


def test_a_ring_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="capacity must be at least 1 sample, got 0"):
        SampleRing(0)
