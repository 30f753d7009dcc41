r"""Silence without clicks: sound from a ring, faded out before it runs dry and in when it is back.

The gain follows :math:`g_p = \sin^2(\pi p / 2F)`, p rising by one a sample while sound is wanted and falling
by one while it is not, between 0 (silence, in which nothing is read) and F (full). A fade that is turned
round goes on from where it is. As a step of p changes the gain by at most :math:`\pi / 2F`, neighbouring
samples differ by at most

.. math:: |y_{n+1} - y_n| \le \max_m |x_{m+1} - x_m| + \frac{\pi}{2F} \max_m |x_m| ,

so there is no click that was not in the sound.

For the sound to be faded when it runs dry, its last F samples must still be there: while the gain is not
falling, every read leaves at least F samples in the ring. A read that cannot do so plays what is beyond them,
and fades out over the F (it *starves*).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .ring_buffer import SampleRing

__all__ = ["FadingReader"]


class FadingReader:
    """Reads a ring with fades; for the thread that plays.

    Parameters
    ----------
    ring : SampleRing
    fade_samples : int >= 1
        F, the samples from full sound to silence.

    Raises
    ------
    ValueError
        For a fade that is shorter than a sample, or does not fit into the ring.
    """

    def __init__(self, ring: SampleRing, fade_samples: int) -> None:
        if not 1 <= fade_samples <= ring.capacity:
            raise ValueError(
                f"fade_samples must lie in 1..{ring.capacity} (what the ring holds), got {fade_samples}"
            )
        self.ring, self.fade_samples = ring, int(fade_samples)
        phases = np.arange(fade_samples + 1) / fade_samples
        self._gains = (np.sin(0.5 * np.pi * phases) ** 2).astype(np.float32)
        self._phase = 0

    @property
    def gain(self) -> float:
        """Gain of the last sample, in [0, 1]."""
        return float(self._gains[self._phase])

    @property
    def available(self) -> int:
        """Samples that can be read without starving."""
        return max(0, self.ring.fill - self.fade_samples)

    def read_into(self, out: NDArray[np.float32], wanted: bool) -> bool:
        """Fill an array with sound or silence.

        Parameters
        ----------
        out : ndarray of float32, shape ``(n,)``
            All of it is filled; nothing of its size is allocated.
        wanted : bool
            Whether sound is to be heard, or to be faded out.

        Returns
        -------
        bool
            Whether sound was wanted and there was enough of it; False where it is being faded out, too.
        """
        if wanted and self.available >= len(out):
            self._rise(out)
            return True
        full = self.available if wanted else 0
        self._rise(out[:full])
        self._fall(out[full:])
        return False

    def _rise(self, out: NDArray[np.float32]) -> None:
        """Play, with a gain that rises until it is full."""
        self.ring.read_into(out)
        steps = min(len(out), self.fade_samples - self._phase)
        out[:steps] *= self._gains[self._phase + 1 : self._phase + 1 + steps]
        self._phase += steps

    def _fall(self, out: NDArray[np.float32]) -> None:
        """Play with a gain that falls until there is silence."""
        steps = min(len(out), self._phase)
        moved = self.ring.read_into(out[:steps])
        out[:moved] *= self._gains[self._phase - moved : self._phase][::-1]
        out[moved:] = 0.0
        self._phase -= steps
