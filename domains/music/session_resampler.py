r"""Sample rates changed piece by piece, with an explicit state.

A band-limited signal at rate R, read at the times of another rate R',

.. math:: y_k = c \sum_j x_j \, h\bigl(c \, (k R / R' - j)\bigr), \qquad
          h(u) = \operatorname{sinc}(u) \cos^2\Bigl(\frac{\pi u}{2 Z}\Bigr) \text{ for } |u| < Z,

with c = .95 min(1, R'/R), so that nothing above half of either rate passes, and Z = 24 zero crossings. Places
are rational numbers and kept as integers, so pieces put together equal the whole however long they are.

J. O. Smith and P. Gossett, *A flexible sampling-rate conversion method*, ICASSP 1984.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["StreamResampler"]

_CROSSINGS = 24
_BAND = 0.95


class StreamResampler:
    """Changes the sample rate of a signal that comes in pieces.

    Parameters
    ----------
    source, target : int
        Samples a second.
    """

    def __init__(self, source: int, target: int) -> None:
        divisor = math.gcd(source, target)
        self.source, self.target = source, target
        self._step, self._unit = source // divisor, target // divisor
        self._scale = _BAND * min(1.0, target / source)
        self._reach = math.ceil(_CROSSINGS / self._scale)
        self._tail = torch.zeros(self._reach)
        self._first, self._made = -self._reach, 0

    def push(self, samples: Tensor) -> Tensor:
        """Return the samples at the new rate that the pieces so far determine.

        Parameters
        ----------
        samples : Tensor of float32, shape ``(samples,)``
        """
        if self.source == self.target:
            return samples
        known = torch.cat([self._tail, samples])
        end = self._first + len(known) - self._reach
        count = max(-(-end * self._unit // self._step), self._made)
        order = torch.arange(self._made, count)
        whole = order * self._step // self._unit
        rest = (order * self._step % self._unit).double() / self._unit
        taps = torch.arange(1 - self._reach, self._reach + 1)
        kernel = self._kernel(rest[:, None] - taps).float()
        out = (known[whole[:, None] + taps - self._first] * kernel).sum(-1)
        keep = max(count * self._step // self._unit - self._reach - self._first, 0)
        self._tail, self._first, self._made = known[keep:].clone(), self._first + keep, count
        return out

    def state(self) -> tuple[Tensor, dict[str, int]]:
        """Return the samples that are still needed, and places."""
        return self._tail.clone(), {
            "source": self.source, "target": self.target, "first": self._first, "made": self._made
        }  # fmt: skip

    @classmethod
    def restored(cls, tail: Tensor, places: Mapping[str, Any]) -> StreamResampler:
        """Return the resampler that `state` described."""
        resampler = cls(int(places["source"]), int(places["target"]))
        resampler._tail = tail.clone()
        resampler._first, resampler._made = int(places["first"]), int(places["made"])
        return resampler

    def _kernel(self, distance: Tensor) -> Tensor:
        place = self._scale * distance
        window = torch.cos(math.pi * place / (2 * _CROSSINGS)).square() * (place.abs() < _CROSSINGS)
        return self._scale * torch.sinc(place) * window
