r"""Embeddings of clips for Fréchet distances and neighbours, without any trained network.

The power spectrum of frames of 43 ms is summed by triangular filters evenly spaced on the mel scale,
:math:`m = 2595 \log_{10} (1 + f / 700)`, from 30 Hz to 10 kHz or half the sample rate. Of the logarithm to
base 10 of each filter's power, floored at -100 dB of a full-scale sine, the mean and standard deviation over
the frames of a clip are its embedding: how much there is of every register, and how much it moves.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["cut_clips", "log_mel", "log_mel_embedding"]

LOWEST_HERTZ, HIGHEST_HERTZ = 30.0, 10_000.0
WINDOW_SECONDS, HOP_SECONDS = 0.043, 0.0107
POWER_FLOOR = 1e-10


def cut_clips(samples: Tensor, sample_rate: int, seconds: float = 1.0) -> Tensor:
    """Return audio cut into clips, without what is left at its end.

    Parameters
    ----------
    samples : Tensor
        Shape ``(samples,)``, or ``(batch, samples)`` whose clips follow each other.
    sample_rate : int
        Samples a second.
    seconds : float
        Duration of a clip.

    Returns
    -------
    Tensor of shape ``(clips, clip samples)``

    Raises
    ------
    ValueError
        If there is no whole clip.
    """
    length = round(seconds * sample_rate)
    if samples.ndim not in (1, 2) or length < 1 or samples.shape[-1] < length:
        raise ValueError(
            f"samples must have shape (samples,) or (batch, samples) with at least {seconds} s, a clip, got "
            f"{tuple(samples.shape)} at {sample_rate} samples a second"
        )
    count = samples.shape[-1] // length
    return samples[..., : count * length].reshape(-1, length)


def log_mel(samples: Tensor, sample_rate: int, *, n_mels: int = 64) -> Tensor:
    """Return log10 of the power in mel bands, ``(..., frames, n_mels)``, of audio ``(..., samples)``.

    Raises
    ------
    TypeError
        For anything but floating point numbers.
    ValueError
        For audio shorter than a window of 43 ms, values that are not finite, or more bands than the spectrum
        can tell apart.
    """
    if not isinstance(samples, Tensor) or not samples.is_floating_point():
        found = samples.dtype if isinstance(samples, Tensor) else type(samples).__name__
        raise TypeError(f"samples must be a tensor of floating point numbers, got {found}")
    window, hop = round(WINDOW_SECONDS * sample_rate), round(HOP_SECONDS * sample_rate)
    if samples.ndim < 1 or samples.shape[-1] < window:
        raise ValueError(
            f"samples must have shape (..., samples) with at least {window}, got {tuple(samples.shape)}"
        )
    if not bool(samples.isfinite().all()):
        raise ValueError("samples must be finite; full scale is [-1, 1]")
    filters = _mel_filters(window, sample_rate, n_mels).to(samples)
    hann = torch.hann_window(window, dtype=samples.dtype, device=samples.device)
    flat = samples.detach().reshape(-1, samples.shape[-1])
    spectrum = torch.stft(flat, window, hop, window=hann, center=False, return_complex=True)
    power = (spectrum.abs() * (2.0 / hann.sum())).square().mT @ filters.mT
    return power.clamp_min(POWER_FLOOR).log10().reshape(*samples.shape[:-1], -1, n_mels)


def log_mel_embedding(clips: Tensor, sample_rate: int, *, n_mels: int = 64) -> Tensor:
    """Return the embedding of clips: mean and standard deviation over time of log-mel bands, in bels.

    Parameters
    ----------
    clips : Tensor
        Shape ``(clips, samples)``; `cut_clips` makes them.
    sample_rate : int
        Samples a second.
    n_mels : int
        Bands.

    Returns
    -------
    Tensor of shape ``(clips, 2 n_mels)``
    """
    bands = log_mel(clips, sample_rate, n_mels=n_mels)
    return torch.cat([bands.mean(-2), bands.std(-2, correction=0)], dim=-1)


def _mel_filters(window: int, sample_rate: int, n_mels: int) -> Tensor:
    """Return triangles over the bins of a spectrum, ``(n_mels, bins)``, each with a peak of 1."""
    highest = min(HIGHEST_HERTZ, sample_rate / 2.0)
    mels = torch.linspace(_mel(LOWEST_HERTZ), _mel(highest), n_mels + 2, dtype=torch.float64)
    corners = 700.0 * (10.0 ** (mels / 2595.0) - 1.0)
    hertz = torch.arange(window // 2 + 1, dtype=torch.float64) * sample_rate / window
    width = sample_rate / window
    # In the bass a triangle may fall between two bins: none is narrower than a bin on either side.
    rising = (hertz - corners[1:-1, None]) / (corners[1:-1] - corners[:-2]).clamp_min(width)[:, None]
    falling = (corners[1:-1, None] - hertz) / (corners[2:] - corners[1:-1]).clamp_min(width)[:, None]
    filters = (1.0 + torch.minimum(rising, falling)).clamp_min(0.0)
    if n_mels < 1 or n_mels > len(hertz) // 2:
        raise ValueError(f"n_mels must lie in 1..{len(hertz) // 2} at this sample rate, got {n_mels}")
    return filters


def _mel(hertz: float) -> float:
    return 2595.0 * math.log10(1.0 + hertz / 700.0)
