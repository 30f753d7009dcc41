r"""Simulated music for machines without scores or a synthesizer: chords of tones with overtones.

A recording is a progression of triads of one major key, each a second or two long, in four voices. A tone of
frequency f with attack a and decay d is

.. math:: s(t) = \min(1, t / a) \, e^{-t / d} \sum_{k=1}^{6} k^{-1.2} \sin(2 \pi k f t),

released over 30 ms at its end. Nobody would take it for an instrument; it has what a model of music must
learn: pitches that stand in relations, onsets, and parts that move together.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .audio import Audio

__all__ = ["simulated_music"]

_PARTIALS = 6
_DEGREES = ((0, 4, 7), (2, 5, 9), (4, 7, 11), (5, 9, 0), (7, 11, 2), (9, 0, 4))  # triads of C major
_WEIGHTS = np.array([0.26, 0.12, 0.06, 0.2, 0.22, 0.14])
_ATTACK, _DECAY, _RELEASE = 0.02, 1.6, 0.03
_PEAK = 0.5


def simulated_music(count: int, seconds: float, sample_rate: int = 24_000, *, seed: int = 0) -> list[Audio]:
    """Return simulated recordings.

    Parameters
    ----------
    count : int
        Recordings, each in a key of its own.
    seconds : float
        Length of each.
    sample_rate : int
        Samples a second.
    seed : int
        Of keys, chords and their lengths.
    """
    generator = np.random.default_rng(seed)
    return [Audio(_recording(seconds, sample_rate, generator), sample_rate) for _ in range(count)]


def _recording(seconds: float, rate: int, generator: np.random.Generator) -> NDArray[np.float32]:
    samples = np.zeros(round(seconds * rate))
    key = int(generator.integers(12))
    start = 0.0
    while start < seconds:
        length = float(generator.choice([1.0, 1.5, 2.0]))
        triad = _DEGREES[generator.choice(len(_DEGREES), p=_WEIGHTS)]
        first = round(start * rate)
        for pitch in _voices(triad, key):
            tone = _tone(440.0 * 2 ** ((pitch - 69) / 12), length, rate)[: len(samples) - first]
            samples[first : first + len(tone)] += tone
        start += length
    scaled: NDArray[np.float32] = (samples * (_PEAK / np.abs(samples).max())).astype(np.float32)
    return scaled


def _voices(triad: tuple[int, ...], key: int) -> list[int]:
    """Return MIDI pitches: the root in the bass, and the triad above it in close position."""
    classes = [(pitch + key) % 12 for pitch in triad]
    return [36 + classes[0], *(55 + (pitch - 55) % 12 for pitch in classes)]


def _tone(hertz: float, seconds: float, rate: int) -> NDArray[np.float64]:
    times = np.arange(round(seconds * rate)) / rate
    count = min(_PARTIALS, int(0.5 * rate / hertz))
    orders = np.arange(1, count + 1)[:, None]
    partials = (orders**-1.2 * np.sin(2 * np.pi * orders * hertz * times)).sum(0)
    envelope = np.minimum(1.0, times / _ATTACK) * np.exp(-times / _DECAY)
    return np.asarray(partials * envelope * np.minimum(1.0, (seconds - times) / _RELEASE))
