r"""What a session made: its latest samples for those who missed some, and a digest up to any of them.

The digest at sample n is SHA-256 of the first n samples as little-endian float32. A page that has digested
what it played can ask for the digest at the same n; equal ones prove that nothing was lost, doubled or
changed between the model and the loudspeaker.
"""

from __future__ import annotations

import hashlib
from collections import deque
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Frame", "PcmHistory"]


class Frame(NamedTuple):
    """Some samples of a stream.

    Parameters
    ----------
    first : int
        Index of the first one.
    samples : ndarray of float32, shape ``(samples,)``
    """

    first: int
    samples: NDArray[np.float32]

    @property
    def end(self) -> int:
        """Index after the last sample."""
        return self.first + len(self.samples)


class _Entry(NamedTuple):
    frame: Frame
    before: Any  # the digest of all samples before the frame


class PcmHistory:
    """The samples of a stream in frames, the latest kept.

    Parameters
    ----------
    frame_samples : int >= 1
        Longest frame.
    kept_samples : int >= 1
        Samples that can still be had; rounded up to frames.
    """

    def __init__(self, frame_samples: int, kept_samples: int) -> None:
        self._frame_samples, self._kept = frame_samples, kept_samples
        self._entries: deque[_Entry] = deque()
        self._digest = hashlib.sha256()
        self._end = 0

    @property
    def end(self) -> int:
        """Samples so far."""
        return self._end

    @property
    def oldest(self) -> int:
        """Index of the oldest sample that is kept."""
        return self._entries[0].frame.first if self._entries else self._end

    def append(self, samples: NDArray[np.float32]) -> None:
        """Add the next samples."""
        samples = np.ascontiguousarray(samples, dtype="<f4")
        for start in range(0, len(samples), self._frame_samples):
            frame = Frame(self._end, samples[start : start + self._frame_samples])
            self._entries.append(_Entry(frame, self._digest.copy()))
            self._digest.update(frame.samples.tobytes())
            self._end = frame.end
        while self._entries[0].frame.end <= self._end - self._kept:
            self._entries.popleft()

    def since(self, first: int, most: int = 64) -> list[Frame]:
        """Return up to ``most`` frames from sample ``first`` on, the first one cut to begin there.

        Raises
        ------
        ValueError
            If sample ``first`` is no longer kept, or not made yet.
        """
        if not self.oldest <= first <= self._end:
            raise ValueError(f"sample {first} is not kept: {self.oldest} to {self._end} are")
        frames: list[Frame] = []
        # Whoever reads is near the end: look from there.
        for entry in reversed(self._entries):
            if entry.frame.end <= first:
                break
            frames.append(entry.frame)
        frames = frames[::-1][:most]
        if frames and frames[0].first < first:
            frames[0] = Frame(first, frames[0].samples[first - frames[0].first :])
        return frames

    def digest_at(self, sample: int) -> str:
        """Return SHA-256 of the samples before ``sample``, in hexadecimal digits.

        Raises
        ------
        ValueError
            If that is not kept, or not made yet.
        """
        if sample == self._end:
            return self._digest.hexdigest()
        if not self.oldest <= sample <= self._end:
            raise ValueError(f"the digest at sample {sample} is not kept: {self.oldest} to {self._end} are")
        for entry in reversed(self._entries):
            if entry.frame.first <= sample:
                digest = entry.before.copy()
                digest.update(entry.frame.samples[: sample - entry.frame.first].tobytes())
                return str(digest.hexdigest())
        raise AssertionError("a kept sample lies in a kept frame")
