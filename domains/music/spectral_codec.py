r"""A codec that needs no training: the modified discrete cosine transform (MDCT).

A frame of hop N reads the 2N samples of the hop before it and its own, :math:`x_0, \ldots, x_{2N-1}`:

.. math:: X_k = \sqrt{2/N} \sum_{n=0}^{2N-1} w_n x_n \cos\frac{\pi}{N}
    \Big(n + \frac12 + \frac N2\Big)\Big(k + \frac12\Big), \qquad k = 0, \ldots, N - 1,

with the sine window :math:`w_n = \sin(\pi (n + \frac12) / 2N)`, which satisfies the condition of Princen and
Bradley, :math:`w_n^2 + w_{n+N}^2 = 1`. The map is then orthonormal: all coefficients keep the energy of the
sound, and the transposed map, added up over the frames that overlap, gives it back without a rest. A hop is
whole once the frame after it has come, so decoding lags by N samples.

Coefficient k stands for the frequencies around :math:`(k + \frac12) R / 2N` at sample rate R. A codec of
fewer channels than N keeps the lowest C of them and loses what lies above :math:`C R / 2N`; the energy lost
is that of the coefficients left out.

Nothing is fitted. The statistics are those of a sound of -20 dBFS (root mean square .1) without mean whose
power falls with the square of the frequency above 200 Hz, as that of much music does:

.. math:: \mathrm{std}_k^2 = 0.01 \, N s_k \Big/ \sum_{j<N} s_j, \qquad
    s_k = \frac{1}{1 + (f_k / 200\,\mathrm{Hz})^2}.

J. P. Princen and A. B. Bradley, *Analysis/synthesis filter bank design based on time domain aliasing
cancellation*, IEEE Transactions on Acoustics, Speech, and Signal Processing 34 (1986). The fixed statistics
are a construction of this library.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .codec import CodecState, LatentStatistics

__all__ = ["SpectralCodec"]

_LEVEL = 0.1
_CORNER_HERTZ = 200.0


class SpectralCodec:
    """MDCT coefficients as latents; exact with all of them, and without training.

    Parameters
    ----------
    sample_rate : int, default 24000
        Samples a second.
    hop : int, default 960
        Samples a frame; even.
    channels : int, optional
        Coefficients a frame that are kept, from the lowest frequency on; all of them (``hop``) by default,
        with which reconstruction is perfect. What lies above ``channels * sample_rate / (2 * hop)`` Hz is
        lost.
    device : torch.device or str, default "cpu"
        Where states and statistics lie.

    Raises
    ------
    ValueError
        For a size that is out of range.
    """

    def __init__(
        self,
        sample_rate: int = 24_000,
        hop: int = 960,
        channels: int | None = None,
        *,
        device: torch.device | str = "cpu",
    ) -> None:
        channels = hop if channels is None else channels
        if sample_rate < 1:
            raise ValueError(f"sample_rate must be at least 1 sample a second, got {sample_rate}")
        if hop < 2 or hop % 2:
            raise ValueError(f"hop must be an even number of samples, got {hop}")
        if not 1 <= channels <= hop:
            raise ValueError(f"channels must lie in 1..hop = {hop}, got {channels}")
        self._sample_rate, self._hop, self._channels = int(sample_rate), int(hop), int(channels)
        self._device = torch.device(device)
        phases = torch.arange(2 * hop, dtype=torch.float64) + 0.5
        self._window = torch.sin(phases * (math.pi / (2 * hop))).float().to(self._device)
        turns = (torch.arange(hop // 2, dtype=torch.float64) * 8 + 1) * (-math.pi / (8 * hop))
        self._turns = torch.polar(torch.ones_like(turns), turns).to(self._device, torch.complex64)
        self._statistics = _fixed_statistics(self._sample_rate, self._hop, self._channels, self._device)

    def __repr__(self) -> str:
        sizes = f"{self._sample_rate}, {self._hop}, {self._channels}"
        return f"SpectralCodec({sizes}, device={str(self._device)!r})"

    @property
    def sample_rate(self) -> int:
        """Samples a second."""
        return self._sample_rate

    @property
    def hop(self) -> int:
        """Samples a frame."""
        return self._hop

    @property
    def channels(self) -> int:
        """Coefficients a frame that are kept."""
        return self._channels

    @property
    def delay(self) -> int:
        """Samples by which decoded audio lags: one hop."""
        return self._hop

    @property
    def statistics(self) -> LatentStatistics:
        """Mean 0 and the standard deviations of the module's text."""
        return self._statistics

    def encode(self, audio: Tensor) -> Tensor:
        """Return coefficients ``(batch, ceil(samples / hop), channels)`` of audio ``(batch, samples)``."""
        _check_axes("audio", audio, 2)
        padded = torch.nn.functional.pad(audio, (0, -audio.shape[-1] % self._hop))
        latents, _ = self.encode_next(padded, self.start_encoding(len(audio)))
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """Return audio ``(batch, frames * hop)``, `delay` samples late."""
        _check_axes("latents", latents, 3)
        audio, _ = self.decode_next(latents, self.start_decoding(len(latents)))
        return audio

    def start_encoding(self, batch: int = 1) -> CodecState:
        """Return the state before the first sample: the hop of silence before it."""
        return {"past": torch.zeros(batch, self._hop, device=self._device)}

    def encode_next(self, audio: Tensor, state: CodecState) -> tuple[Tensor, CodecState]:
        """Return the coefficients of the next samples, a multiple of ``hop``, and the state after them.

        Raises
        ------
        ValueError
            For samples that are no whole frames.
        """
        _check_axes("audio", audio, 2)
        if audio.shape[-1] % self._hop:
            raise ValueError(
                f"audio is encoded piece by piece in multiples of {self._hop} samples, got {audio.shape[-1]}"
            )
        hops = torch.cat([state["past"].to(audio), audio], dim=-1)
        hops = hops.reshape(len(hops), -1, self._hop)
        folded = self._folded(torch.cat([hops[:, :-1], hops[:, 1:]], dim=-1))
        return self._cosines(folded)[..., : self._channels], {"past": hops[:, -1]}

    def start_decoding(self, batch: int = 1) -> CodecState:
        """Return the state before the first frame: nothing that overlaps with it."""
        return {"overlap": torch.zeros(batch, self._hop, device=self._device)}

    def decode_next(self, latents: Tensor, state: CodecState) -> tuple[Tensor, CodecState]:
        """Return the audio of the next frames, ``(batch, frames * hop)``, and the state after them.

        Raises
        ------
        ValueError
            For latents of another number of channels.
        """
        _check_axes("latents", latents, 3)
        if latents.shape[-1] != self._channels:
            raise ValueError(
                f"latents must have {self._channels} channels in their last axis, got {latents.shape[-1]}"
            )
        full = torch.nn.functional.pad(latents, (0, self._hop - self._channels))
        early, late = self._unfolded(self._cosines(full)).chunk(2, dim=-1)
        tails = torch.cat([state["overlap"].to(latents)[:, None], late], dim=1)
        return (tails[:, :-1] + early).flatten(1), {"overlap": tails[:, -1]}

    def to(self, device: torch.device | str) -> SpectralCodec:
        """Return the codec on a device."""
        return SpectralCodec(self._sample_rate, self._hop, self._channels, device=device)

    def description(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return no weights, and the sizes."""
        sizes = {"sample_rate": self._sample_rate, "hop": self._hop, "channels": self._channels}
        return {}, {"kind": "spectral", **sizes}

    @classmethod
    def from_description(cls, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> SpectralCodec:
        """Return the codec that `description` describes."""
        return cls(int(values["sample_rate"]), int(values["hop"]), int(values["channels"]))

    def _folded(self, samples: Tensor) -> Tensor:
        """Return N numbers whose DCT-IV is the MDCT of 2N samples: the cosines mirror the rest on them."""
        a, b, c, d = (samples * self._window.to(samples)).chunk(4, dim=-1)
        return torch.cat([-c.flip(-1) - d, a - b.flip(-1)], dim=-1)

    def _unfolded(self, folded: Tensor) -> Tensor:
        """Return the transpose of `_folded`: 2N samples with aliases, windowed."""
        first, second = folded.chunk(2, dim=-1)
        aliased = torch.cat([second, -second.flip(-1), -first.flip(-1), -first], dim=-1)
        return aliased * self._window.to(folded)

    def _cosines(self, values: Tensor) -> Tensor:
        r"""Return the orthonormal DCT-IV of the last axis, its own inverse, by a Fourier transform of N/2.

        With :math:`c_n = e^{-i \pi (n + 1/8) / N}` the result is
        :math:`y_{2k} - i y_{N-1-2k} = \sqrt{2/N} \, c_k \sum_{n<N/2} c_n (x_{2n} + i x_{N-1-2n})
        e^{-4 \pi i n k / N}`. Rows do not depend on each other, so pieces give the very numbers of the whole.
        """
        if values.numel() == 0:  # not every Fourier transform takes no rows
            return values
        turns = self._turns.to(values.device)
        pairs = torch.complex(values[..., 0::2].contiguous(), values[..., 1::2].flip(-1).contiguous())
        spectrum = torch.fft.fft(pairs * turns) * (turns * math.sqrt(2.0 / self._hop))
        return torch.stack([spectrum.real, -spectrum.imag.flip(-1)], dim=-1).flatten(-2)


def _fixed_statistics(sample_rate: int, hop: int, channels: int, device: torch.device) -> LatentStatistics:
    frequencies = (torch.arange(hop, dtype=torch.float64) + 0.5) * (sample_rate / (2 * hop))
    power = 1.0 / (1.0 + (frequencies / _CORNER_HERTZ) ** 2)
    std = _LEVEL * (hop * power / power.sum()).sqrt()
    return LatentStatistics(torch.zeros(channels, device=device), std[:channels].float().to(device))


def _check_axes(name: str, value: Tensor, axes: int) -> None:
    meaning = {2: "(batch, samples)", 3: "(batch, frames, channels)"}[axes]
    if value.ndim != axes or not value.dtype.is_floating_point:
        raise ValueError(
            f"{name} must be floating-point with shape {meaning}, got {value.dtype} {tuple(value.shape)}"
        )
