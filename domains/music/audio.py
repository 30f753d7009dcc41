"""Audio in and out: one type, reading and writing of files, and the checks that all audio passes.

Samples are float32 in [-1, 1]; time is the first axis, channels the second, as soundfile has it. Models work
on one channel at the sample rate of their codec (`Audio.mono_at`).
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sciffusion.estimators.imports import optional_import
from sciffusion.training.checkpoints import write_atomically

__all__ = ["Audio", "AudioError", "AudioLike", "as_audio", "read_audio", "write_audio"]

LOWEST_RATE, HIGHEST_RATE = 4_000, 384_000
MOST_CHANNELS = 8


class AudioError(ValueError):
    """Audio cannot be used; the message says what was found and what is expected."""


class Audio(NamedTuple):
    """Sound and its sample rate.

    Parameters
    ----------
    samples : ndarray of float32, shape ``(samples,)`` or ``(samples, channels)``
        Full scale is [-1, 1].
    sample_rate : int
        Samples a second.
    """

    samples: NDArray[np.float32]
    sample_rate: int

    @property
    def seconds(self) -> float:
        """Duration."""
        return len(self.samples) / self.sample_rate

    def mono_at(self, sample_rate: int) -> NDArray[np.float32]:
        """Return the mean of the channels, resampled to ``sample_rate``, shape ``(samples,)``."""
        mono = self.samples if self.samples.ndim == 1 else self.samples.mean(axis=1)
        if sample_rate == self.sample_rate:
            return np.asarray(mono, dtype=np.float32)
        soxr = optional_import("soxr", "music")
        return np.asarray(soxr.resample(mono, self.sample_rate, sample_rate), dtype=np.float32)


#: A file, `Audio`, or an array of samples (whose sample rate is then told apart).
AudioLike: TypeAlias = "str | os.PathLike[str] | Audio | ArrayLike"


def as_audio(value: Any, sample_rate: int | None = None, *, name: str = "audio") -> Audio:
    """Return checked audio from a file, `Audio` or an array.

    Parameters
    ----------
    value : path-like, Audio or array-like
        Samples of shape ``(samples,)`` or ``(samples, channels)``; integers are scaled by their type's range.
    sample_rate : int, optional
        Sample rate of arrays, for which it is needed.
    name : str
        What error messages call it.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    AudioError
        For a file that is no audio, an unknown or absurd sample rate, values that are not finite, no samples,
        or a shape that is no audio.
    """
    if isinstance(value, str | os.PathLike):
        return read_audio(value)
    if isinstance(value, Audio):
        value, sample_rate = value.samples, value.sample_rate
    elif sample_rate is None:
        raise AudioError(f"{name} is an array, whose sample rate is not known: give sample_rate=")
    return Audio(_checked_samples(value, name), _checked_rate(sample_rate, name))


def read_audio(path: str | os.PathLike[str]) -> Audio:
    """Read a sound file (WAV, FLAC, OGG, MP3, ...).

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    AudioError
        If it holds no audio that can be read.
    """
    soundfile = optional_import("soundfile", "music")
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no sound file {os.fspath(path)!r}")
    try:
        samples, rate = soundfile.read(os.fspath(path), dtype="float32")
    except (RuntimeError, ValueError) as error:  # soundfile's own errors are RuntimeErrors
        raise AudioError(f"{os.fspath(path)!r} is no sound file that can be read: {error}") from error
    name = repr(os.fspath(path))
    return Audio(_checked_samples(samples, name), _checked_rate(rate, name))


def write_audio(path: str | os.PathLike[str], audio: Audio) -> None:
    """Write a sound file, whose ending names the format; 16 bits where it has them, replaced as a whole.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    ValueError
        For an ending that is no sound format.
    """
    soundfile = optional_import("soundfile", "music")
    kind = Path(path).suffix[1:].upper()
    if kind not in soundfile.available_formats():
        raise ValueError(f"{os.fspath(path)!r}: the ending must name a sound format, such as .wav or .flac")
    content = io.BytesIO()
    soundfile.write(content, np.clip(audio.samples, -1.0, 1.0), audio.sample_rate, format=kind)
    write_atomically(path, lambda file: file.write(content.getvalue()))


def _checked_rate(rate: Any, name: str) -> int:
    if isinstance(rate, bool) or not isinstance(rate, int | np.integer | float) or int(rate) != rate:
        raise AudioError(f"{name}: the sample rate must be a whole number of samples a second, got {rate!r}")
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise AudioError(
            f"{name}: the sample rate must lie in {LOWEST_RATE}..{HIGHEST_RATE} samples a second, got {rate}"
        )
    return int(rate)


def _checked_samples(value: Any, name: str) -> NDArray[np.float32]:
    samples = np.asarray(value)
    if samples.dtype.kind not in "iuf":
        raise AudioError(f"{name} must hold numbers, got dtype {samples.dtype}")
    if samples.ndim not in (1, 2) or (samples.ndim == 2 and not 1 <= samples.shape[1] <= MOST_CHANNELS):
        raise AudioError(
            f"{name} must have shape (samples,) or (samples, channels) with at most {MOST_CHANNELS} "
            f"channels, got {samples.shape}"
        )
    if len(samples) == 0:
        raise AudioError(f"{name} holds no samples")
    samples = _as_float(samples)
    if not np.isfinite(samples).all():
        raise AudioError(f"{name} holds samples that are NaN or infinite; full scale is [-1, 1]")
    return samples


def _as_float(samples: NDArray[Any]) -> NDArray[np.float32]:
    if samples.dtype.kind == "f":
        return samples.astype(np.float32)
    limits = np.iinfo(samples.dtype)
    if samples.dtype.kind == "u":
        middle = (int(limits.max) + 1) / 2
        return ((samples - middle) / middle).astype(np.float32)
    return (samples / -float(limits.min)).astype(np.float32)
