r"""Short-time spectra that can be computed and inverted piece by piece.

With a periodic Hann window :math:`w` of N samples and a hop of h samples, frame f of a signal x ends at
sample :math:`(f + 1) h` (it sees no future) and has the spectrum

.. math::
    X_f(k) = \frac{4}{N} \sum_{n=0}^{N-1} w(n)\, x\bigl((f + 1) h - N + n\bigr)\, e^{-2 \pi i k n / N},

scaled so that a sine of amplitude 1 has a peak of 1. The inverse weights every frame with the window again,
adds where frames overlap and divides by :math:`\sum_f w^2(n - f h)`, which depends on :math:`n \bmod h`
alone. A sample is complete once the last frame that holds it is, :math:`N - h` samples after it was played.

The signal is silent before its start. Pieces are whole hops; what a piece needs of its past is an explicit
tensor, and pieces put together equal the whole.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

__all__ = ["CausalSpectrogram"]


@dataclass(frozen=True)
class CausalSpectrogram:
    """Analysis and synthesis with one window and hop.

    Parameters
    ----------
    window : int
        Samples a frame, N; even.
    hop : int
        Samples between frames, h; at most half a window.
    """

    window: int = 2048
    hop: int = 480

    def __post_init__(self) -> None:
        if self.window < 4 or self.window % 2:
            raise ValueError(f"window must be an even number of samples >= 4, got {self.window}")
        if not 1 <= self.hop <= self.window // 2:
            raise ValueError(f"hop must lie in 1..{self.window // 2}, half a window, got {self.hop}")

    @property
    def bins(self) -> int:
        """Frequencies a frame, from 0 to half the sample rate."""
        return self.window // 2 + 1

    @property
    def delay(self) -> int:
        """Samples by which synthesis lags behind analysis, N - h."""
        return self.window - self.hop

    @property
    def _overlap(self) -> int:
        """Frames before a frame that share samples with it."""
        return -(-self.window // self.hop) - 1

    def start_analysis(self, batch: int, device: torch.device | str = "cpu") -> Tensor:
        """Return the samples before the first: silence, ``(batch, N - h)``."""
        return torch.zeros(batch, self.delay, device=device)

    def analyse(self, samples: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Return the spectra of the next samples, and the past of what follows.

        Parameters
        ----------
        samples : Tensor of shape ``(batch, frames * hop)``
        past : Tensor of shape ``(batch, window - hop)``
            The samples before them.

        Returns
        -------
        spectra : complex Tensor of shape ``(batch, frames, bins)``
        past : Tensor of shape ``(batch, window - hop)``
        """
        known = torch.cat([past, samples], dim=-1)
        frames = known.unfold(-1, self.window, self.hop)
        spectra = torch.fft.rfft(frames * self._hann(samples)) * (4.0 / self.window)
        return spectra, known[:, known.shape[-1] - self.delay :].clone()

    def start_synthesis(self, batch: int, device: torch.device | str = "cpu") -> Tensor:
        """Return the frames before the first: silence, ``(batch, overlapping frames, window)``."""
        return torch.zeros(batch, self._overlap, self.window, device=device)

    def synthesise(self, spectra: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Return the samples that the next spectra complete, and the past of what follows.

        Parameters
        ----------
        spectra : complex Tensor of shape ``(batch, frames, bins)``
        past : Tensor of shape ``(batch, overlapping frames, window)``
            The windowed frames before them.

        Returns
        -------
        samples : Tensor of shape ``(batch, frames * hop)``
            `delay` samples late.
        past : Tensor of shape ``(batch, overlapping frames, window)``
        """
        hann = self._hann(spectra.real)
        frames = torch.fft.irfft(spectra * (self.window / 4.0), n=self.window) * hann
        known = torch.cat([past, frames], dim=1)
        count = self._overlap + 1
        filled = pad(known, (0, count * self.hop - self.window))
        parts = filled.reshape(len(known), known.shape[1], count, self.hop)
        length = spectra.shape[1]
        # Always in the same order, so that pieces round as the whole does.
        total = parts[:, self._overlap : self._overlap + length, 0]
        for part in range(1, count):
            start = self._overlap - part
            total = total + parts[:, start : start + length, part]
        weights = pad(hann.square(), (0, count * self.hop - self.window)).reshape(count, self.hop).sum(0)
        return (total / weights).flatten(1), known[:, length:].clone()

    def _hann(self, like: Tensor) -> Tensor:
        return torch.hann_window(self.window, dtype=like.dtype, device=like.device)
