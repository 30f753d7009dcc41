"""A ring of samples between one thread that makes sound and one that plays it.

The ring holds at most ``capacity`` samples, all of its memory allocated at the start. Two counters only ever
grow: how many samples were written, and how many were read. Sample number n lies in slot n mod capacity, and
the ring holds those from ``read`` to ``written``. The writer alone moves the one, after the samples are in
place; the reader alone moves the other, after it has copied them. So neither needs a lock, and neither can
wait for the other: the reader may be an audio callback. (Reading and writing an integer attribute is atomic
in Python, and the counters are never reset.)

There is one writer and one reader; more of either need a lock of their own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["RingOverflowError", "SampleRing"]


class RingOverflowError(ValueError):
    """More samples were written than there is room for; none of them was taken."""


class SampleRing:
    """Samples on their way from one thread to another, first in, first out.

    Parameters
    ----------
    capacity : int >= 1
        The most samples that it holds.

    Raises
    ------
    ValueError
        For a capacity below 1.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1 sample, got {capacity}")
        self._slots = np.zeros(int(capacity), dtype=np.float32)
        self._written = 0
        self._read = 0

    @property
    def capacity(self) -> int:
        """The most samples that it holds."""
        return len(self._slots)

    @property
    def written(self) -> int:
        """Samples written since the start."""
        return self._written

    @property
    def read(self) -> int:
        """Samples read since the start."""
        return self._read

    @property
    def fill(self) -> int:
        """Samples that can be read now; the reader may see more of them later, never fewer."""
        return self._written - self._read

    @property
    def free(self) -> int:
        """Samples that can be written now; the writer may see more room later, never less."""
        return self.capacity - self.fill

    def write(self, samples: NDArray[np.float32]) -> None:
        """Add samples, all of them or none; for the writer's thread.

        Parameters
        ----------
        samples : ndarray of shape ``(n,)``

        Raises
        ------
        RingOverflowError
            If there is no room for all of them.
        """
        count, free = len(samples), self.free
        if count > free:
            raise RingOverflowError(
                f"{count} samples do not fit: {free} of {self.capacity} slots are free; wait for the reader"
            )
        start = self._written % self.capacity
        first = min(count, self.capacity - start)
        self._slots[start : start + first] = samples[:first]
        self._slots[: count - first] = samples[first:]
        self._written += count  # from here on the reader sees them

    def read_into(self, out: NDArray[np.float32]) -> int:
        """Move the oldest samples into the beginning of an array; for the reader's thread.

        Parameters
        ----------
        out : ndarray of float32, shape ``(n,)``
            Filled as far as samples go; the rest stays as it is. Nothing is allocated.

        Returns
        -------
        int
            Samples that were moved; fewer than ``n`` is an underflow.
        """
        count = min(len(out), self.fill)
        start = self._read % self.capacity
        first = min(count, self.capacity - start)
        out[:first] = self._slots[start : start + first]
        out[first:count] = self._slots[: count - first]
        self._read += count  # from here on the writer may use their slots
        return count
