r"""Pitch classes of audio and of notes, and how far two signals agree on them.

The spectrum of a frame of about a third of a second is reduced to its peaks, each a local maximum whose
frequency f is interpolated by a parabola through the logarithms of three bins. A peak in the four octaves
from C3 to B6 adds its magnitude to the pitch class

.. math:: c = \operatorname{round}(12 \log_2 (f / 440)) + 9 \mod 12, \qquad C = 0, \dots, A = 9, B = 11.

Peaks 60 dB below full scale do not count, so silence has no pitch class. Overtones count where they lie: the
third harmonic of C is a G. Only peaks are used because a bin of the Fourier transform is wider than a
semitone in the bass (construction of this library; the idea of pitch class profiles is Fujishima's, *Realtime
Chord Recognition of Musical Sound*, ICMC 1999).

Agreement of two signals is the mean over frames of the Pearson correlation of their twelve numbers: 1 for
equal, 0 for unrelated, negative for complementary ones. Frames in which either is silent do not count.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .metrics_notes import Notes

__all__ = [
    "PITCH_CLASSES",
    "audio_pitch_classes",
    "chroma_agreement",
    "chroma_correlation",
    "chromagram",
    "note_pitch_classes",
]

PITCH_CLASSES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
# A quarter tone below C3 and below C7: whole octaves, so that no class has more room than another.
LOWEST_HERTZ, HIGHEST_HERTZ = 127.14, 2034.3
FRAME_SECONDS = 1 / 3
QUIETEST = 1e-3
# Less variance among twelve numbers than this is no preference for any pitch class.
_FLAT = 1e-12


def chromagram(samples: Tensor, sample_rate: int, *, frames_per_second: float = 10.0) -> Tensor:
    """Return the strength of the pitch classes over time.

    Parameters
    ----------
    samples : Tensor
        Shape ``(..., samples)``, full scale [-1, 1].
    sample_rate : int
        Samples a second, at least 4069.
    frames_per_second : float
        Frame i is centred at ``i / frames_per_second`` (to the nearest sample of the hop).

    Returns
    -------
    Tensor of shape ``(..., frames, 12)``
        Sums of the amplitudes of peaks, C first.

    Raises
    ------
    ValueError
        For no samples, values that are not finite, or rates that are too low.
    """
    audio = _checked(samples, sample_rate)
    if not 0.0 < frames_per_second <= sample_rate:
        raise ValueError(f"frames_per_second must lie in 0 to {sample_rate}, got {frames_per_second}")
    window = 2 ** round(np.log2(FRAME_SECONDS * sample_rate))
    hop = max(1, round(sample_rate / frames_per_second))
    hann = torch.hann_window(window, dtype=audio.dtype, device=audio.device)
    flat = audio.reshape(-1, audio.shape[-1])
    spectrum = torch.stft(flat, window, hop, window=hann, pad_mode="constant", return_complex=True)
    chroma = _fold((spectrum.abs() * (2.0 / hann.sum())).mT, sample_rate / window)
    return chroma.reshape(*audio.shape[:-1], *chroma.shape[-2:])


def audio_pitch_classes(samples: Tensor, sample_rate: int) -> NDArray[np.float64]:
    """Return the share of each pitch class in audio, shape ``(12,)``, sum 1 (0 for silence).

    Parameters
    ----------
    samples : Tensor
        Shape ``(..., samples)``; all leading axes are summed, every frame by its loudness.
    sample_rate : int
        Samples a second.
    """
    total = chromagram(samples, sample_rate).double().reshape(-1, 12).sum(0).cpu().numpy()
    return np.asarray(total / max(total.sum(), 1e-300))


def note_pitch_classes(pieces: Sequence[Notes]) -> NDArray[np.float64]:
    """Return the share of each pitch class in note lists by duration, shape ``(12,)``, sum 1 (0 if none)."""
    total = np.zeros(12)
    for notes in pieces:
        classes = np.round(notes.pitches).astype(int) % 12
        total += np.bincount(classes, weights=notes.ends - notes.onsets, minlength=12)
    return np.asarray(total / max(total.sum(), 1e-300))


def chroma_agreement(
    first: Tensor, second: Tensor, sample_rate: int, *, frames_per_second: float = 10.0
) -> float:
    """Return how far two signals agree on the pitch classes at every moment.

    Parameters
    ----------
    first, second : Tensor
        Shape ``(samples,)`` or ``(batch, samples)``, alike; the longer is cut to the shorter.
    sample_rate : int
        Samples a second, of both.
    frames_per_second : float
        Of the comparison.

    Returns
    -------
    float
        In [-1, 1]; NaN where there is no frame with both.
    """
    length = min(first.shape[-1], second.shape[-1])
    found = [
        chromagram(part[..., :length], sample_rate, frames_per_second=frames_per_second)
        for part in (first, second)
    ]
    return chroma_correlation(*found)


def chroma_correlation(first: Tensor, second: Tensor) -> float:
    """Return the mean Pearson correlation of chroma frames, ``(..., frames, 12)`` each.

    Raises
    ------
    ValueError
        For unequal shapes or a last axis that is not 12.
    """
    if first.shape != second.shape or first.ndim < 2 or first.shape[-1] != 12:
        raise ValueError(
            f"chroma must have equal shapes (..., frames, 12), got {tuple(first.shape)} and "
            f"{tuple(second.shape)}"
        )
    centred = [part.double() - part.double().mean(-1, keepdim=True) for part in (first, second)]
    squares = [part.square().sum(-1) for part in centred]
    heard = (squares[0] > _FLAT) & (squares[1] > _FLAT)
    values = (centred[0] * centred[1]).sum(-1)[heard] / (squares[0] * squares[1])[heard].sqrt()
    return float(values.mean()) if len(values) else float("nan")


def _checked(samples: Tensor, sample_rate: int) -> Tensor:
    if not isinstance(samples, Tensor) or not samples.is_floating_point():
        found = samples.dtype if isinstance(samples, Tensor) else type(samples).__name__
        raise TypeError(f"samples must be a tensor of floating point numbers, got {found}")
    if samples.ndim < 1 or samples.shape[-1] == 0:
        raise ValueError(f"samples must have shape (..., samples) with some, got {tuple(samples.shape)}")
    if not bool(samples.isfinite().all()):
        raise ValueError("samples must be finite; full scale is [-1, 1]")
    if sample_rate < 2 * HIGHEST_HERTZ:
        raise ValueError(
            f"sample_rate must be at least {2 * HIGHEST_HERTZ:.0f} for chroma, got {sample_rate}"
        )
    return samples.detach()


def _fold(magnitudes: Tensor, hertz_a_bin: float) -> Tensor:
    """Return the sums of peaks by pitch class, ``(batch, frames, 12)``, of magnitudes ``(..., bins)``."""
    lowest = max(1, int(LOWEST_HERTZ / hertz_a_bin))
    highest = min(magnitudes.shape[-1] - 1, int(HIGHEST_HERTZ / hertz_a_bin) + 2)
    middle = magnitudes[..., lowest:highest]
    left, right = magnitudes[..., lowest - 1 : highest - 1], magnitudes[..., lowest + 1 : highest + 1]
    logs = [part.clamp_min(1e-12).log() for part in (left, middle, right)]
    bend = (logs[0] - 2.0 * logs[1] + logs[2]).clamp_max(-1e-6)
    shift = (0.5 * (logs[0] - logs[2]) / bend).clamp(-0.5, 0.5)
    bins = torch.arange(lowest, highest, dtype=magnitudes.dtype, device=magnitudes.device)
    hertz = (bins + shift) * hertz_a_bin
    peak = (middle > left) & (middle >= right) & (middle > QUIETEST)
    peak &= (hertz >= LOWEST_HERTZ) & (hertz < HIGHEST_HERTZ)
    classes = (12.0 * torch.log2(hertz / 440.0)).round().long().add(9).remainder(12)
    empty = magnitudes.new_zeros(*magnitudes.shape[:-1], 12)
    return empty.scatter_add(-1, classes, torch.where(peak, middle, 0.0))
