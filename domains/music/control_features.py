r"""What can be heard of the controls in a recording: chroma and loudness of every latent frame.

Frame f covers the samples from :math:`f H` on; what is measured is centred on its middle. **Chroma** asks for
every tempered pitch p of 50..2000 Hz, tuned to A = 440 Hz,

.. math:: P_p(f) = \Bigl| \sum_n w_p(n) \, x(n) \, e^{-2 \pi i f_p n / R} \Bigr|^2, \qquad
          f_p = 440 \cdot 2^{(p - 69) / 12} \text{ Hz},

with a Hann window :math:`w_p` of unit sum that lasts :math:`2 / ((2^{1/12} - 1) f_p)`: the spectrum of the
window is then zero a semitone above. (It is kept between 40 and 340 ms, so below about 100 Hz neighbours leak
into each other.) The chroma of a pitch class is the root of the sum of its powers over the octaves, divided
by the largest of the twelve: the level of the sound does not matter, until it is silent, where chroma is 0.

**Loudness** is the root mean square level of the 200 ms around the middle of the frame (Hann weights),
:math:`1 + \log_{10}` of it: 0 at -20 dBFS, one unit 20 dB, at least -2.

J. C. Brown, *Calculation of a constant Q spectral transform*, Journal of the Acoustical Society of America 89
(1991); T. Fujishima, *Realtime chord recognition of musical sound*, ICMC 1999 (chroma).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

__all__ = ["CHROMA", "LOWEST_LOUDNESS", "chroma", "loudness"]

#: Pitch classes.
CHROMA = 12

#: What loudness is in silence (-60 dBFS).
LOWEST_LOUDNESS = -2.0

_LOWEST_HERTZ, _HIGHEST_HERTZ = 50.0, 2000.0
_SHORTEST_WINDOW, _LONGEST_WINDOW = 0.04, 0.34
_LOUDNESS_WINDOW = 0.2
_FRAMES_AT_ONCE = 512


def chroma(audio: Tensor, sample_rate: int, hop: int) -> Tensor:
    """Return the strength of the pitch classes.

    Parameters
    ----------
    audio : Tensor of float32, shape ``(batch, samples)``
    sample_rate : int
        Samples a second.
    hop : int
        Samples a latent frame.

    Returns
    -------
    Tensor of shape ``(batch, ceil(samples / hop), 12)``
        From C on, in [0, 1], the largest 1; all 0 below -60 dBFS.
    """
    kernels, classes = (part.to(audio) for part in _pitch_kernels(sample_rate))

    def folded(pieces: Tensor) -> Tensor:
        cosines, sines = (pieces @ kernels).square().chunk(2, dim=-1)
        return torch.mm((cosines + sines).flatten(0, -2), classes).reshape(*pieces.shape[:-1], CHROMA)

    strength = _by_frame(audio, hop, len(kernels), folded).clamp_min(0.0).sqrt()
    largest = strength.amax(-1, keepdim=True)
    heard = (loudness(audio, sample_rate, hop) > LOWEST_LOUDNESS) & (largest > 0.0)
    return torch.where(heard, strength / torch.where(heard, largest, 1.0), 0.0)


def loudness(audio: Tensor, sample_rate: int, hop: int) -> Tensor:
    """Return the level, ``(batch, frames, 1)``, in units of 20 dB from -20 dBFS (see `chroma`)."""
    window = torch.hann_window(max(int(_LOUDNESS_WINDOW * sample_rate), hop), dtype=torch.float64)
    weights = (window / window.sum()).to(audio)
    power = _by_frame(audio, hop, len(weights), lambda pieces: pieces.square() @ weights[:, None])
    floor = 10.0 ** (2.0 * (LOWEST_LOUDNESS - 1.0))
    return 1.0 + 0.5 * torch.log10(power.clamp_min(floor))


@lru_cache(maxsize=8)
def _pitch_kernels(sample_rate: int) -> tuple[Tensor, Tensor]:
    """Return cosines and sines of all pitches, ``(length, 2 pitches)``, and their classes, one-hot."""
    highest = min(_HIGHEST_HERTZ, 0.45 * sample_rate)
    pitches = torch.arange(math.ceil(_pitch(_LOWEST_HERTZ)), math.floor(_pitch(highest)) + 1)
    hertz = 440.0 * 2.0 ** ((pitches.double() - 69.0) / 12.0)
    seconds = (2.0 / ((2.0 ** (1.0 / 12.0) - 1.0) * hertz)).clamp(_SHORTEST_WINDOW, _LONGEST_WINDOW)
    length = int(_LONGEST_WINDOW * sample_rate)
    time = ((torch.arange(length, dtype=torch.float64) - 0.5 * (length - 1)) / sample_rate)[:, None]
    window = torch.cos(math.pi * time / seconds).square() * (time.abs() < 0.5 * seconds)
    window = window / window.sum(0)
    angle = 2.0 * math.pi * hertz * time
    classes = torch.nn.functional.one_hot(pitches % CHROMA, CHROMA)
    return torch.cat([window * angle.cos(), window * angle.sin()], dim=1).float(), classes.float()


def _pitch(hertz: float) -> float:
    return 69.0 + 12.0 * math.log2(hertz / 440.0)


def _by_frame(audio: Tensor, hop: int, length: int, measure: Callable[[Tensor], Tensor]) -> Tensor:
    """Measure the pieces of audio that are centred on the middles of frames."""
    frames = -(-audio.shape[-1] // hop)
    before = (length - hop) // 2
    after = (frames - 1) * hop + length - before - audio.shape[-1]
    pieces = torch.nn.functional.pad(audio, (before, max(after, 0))).unfold(-1, length, hop)[:, :frames]
    starts = range(0, frames, _FRAMES_AT_ONCE)
    parts = [measure(pieces[:, start : start + _FRAMES_AT_ONCE]) for start in starts]
    return torch.cat(parts, dim=1)
