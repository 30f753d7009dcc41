"""Recordings to learn from: read one by one, checked, and encoded in batches.

What is done to a recording, and what is refused:

===============================  ==========================================================================
stereo                           the mean of the channels
another sample rate              resampled
silence throughout               refused
clipped samples                  a `ClippingWarning` that says how many
shorter than a block             refused
samples far beyond full scale    refused: full scale is [-1, 1] for floating-point numbers
===============================  ==========================================================================
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from .audio import Audio, AudioError, as_audio
from .codec import Codec
from .control_features import chroma, loudness
from .controls import ControlLayout

__all__ = [
    "ClippingWarning",
    "encode_recordings",
    "list_recordings",
    "load_recording",
    "recorded_conditions",
    "recording_name",
]

_SILENT = 1e-4
_CLIPPED, _MOST_CLIPPED = 0.999, 1e-3
_MOST_SCALE = 4.0


class ClippingWarning(UserWarning):
    """A recording is clipped: a share of its samples lies at full scale."""


def list_recordings(recordings: Any, name: str = "recordings") -> list[Any]:
    """Return recordings as a list, which a single file or `Audio` may stand for.

    Raises
    ------
    TypeError
        For anything but a sequence of recordings.
    ValueError
        If there is none, or a folder is given.
    """
    if isinstance(recordings, str | os.PathLike | Audio):
        recordings = [recordings]
    if isinstance(recordings, np.ndarray) and recordings.dtype.kind != "O":
        raise TypeError(
            f"{name} must be a list of files, Audio or arrays of samples, got one array of shape "
            f"{recordings.shape}; put it in a list, or wrap it as Audio(samples, sample_rate)"
        )
    if not isinstance(recordings, Sequence | np.ndarray):
        raise TypeError(
            f"{name} must be a list of files, Audio or arrays of samples, got {type(recordings).__name__}"
        )
    listed = list(recordings)
    if not listed:
        raise ValueError(f"{name} must hold at least one recording, got none")
    for one in listed:
        if isinstance(one, str | os.PathLike) and Path(one).is_dir():
            raise ValueError(f"{name} holds the folder {os.fspath(one)!r}; list the files in it")
    return listed


def recording_name(value: Any, number: int, name: str = "recordings") -> str:
    """Return what errors call a recording."""
    return repr(os.fspath(value)) if isinstance(value, str | os.PathLike) else f"{name}[{number}]"


def load_recording(
    value: Any, target_rate: int, *, sample_rate: int | None, name: str, shortest: int = 1
) -> NDArray[np.float32]:
    """Return the samples of a recording, one channel at ``target_rate``.

    Parameters
    ----------
    value : path-like, Audio or array-like
    target_rate : int
        Samples a second that are wanted.
    sample_rate : int, optional
        Of arrays.
    name : str
        What errors call it.
    shortest : int, default 1
        Samples, at ``target_rate``, that are needed.

    Raises
    ------
    AudioError
        For what is no audio, silence, a clip that is too short, and samples far beyond full scale.
    """
    audio = as_audio(value, sample_rate, name=name)
    _check_level(audio, name)
    samples = audio.mono_at(target_rate)
    if float(np.abs(samples).max()) < _SILENT:
        raise AudioError(f"{name} is silent throughout (its channels cancel each other)")
    if len(samples) < shortest:
        raise AudioError(
            f"{name} lasts {len(samples) / target_rate:.3g} s; a block, and so the shortest clip, lasts "
            f"{shortest / target_rate:.3g} s"
        )
    return samples


def encode_recordings(
    codec: Codec,
    samples: Iterable[NDArray[np.float32]],
    count: int,
    *,
    device: torch.device | str = "cpu",
    batch_seconds: float = 120.0,
    verbose: bool = False,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Encode recordings, several at once.

    Parameters
    ----------
    codec : Codec
        On the device.
    samples : iterable of ndarray
        One channel at the sample rate of the codec; read when they are needed.
    count : int
        How many there are, for the bar.
    device : torch.device or str
    batch_seconds : float, default 120
        Sound in a batch, silence behind shorter recordings included.
    verbose : bool
        Show a bar.

    Yields
    ------
    tuple of Tensor
        Audio ``(samples,)`` and normalised latents ``(frames, channels)`` of each, on the CPU.
    """
    bar = tqdm(total=count, disable=not verbose, desc="encoding", unit="recording")
    with bar:
        for batch in _batches(samples, int(batch_seconds * codec.sample_rate)):
            lengths = [len(one) for one in batch]
            padded = np.zeros((len(batch), max(lengths)), dtype=np.float32)
            for row, one in zip(padded, batch, strict=True):
                row[: len(one)] = one
            with torch.inference_mode():
                # Frames of a recording do not depend on what comes after it, so neither on the padding.
                latents = codec.statistics.normalise(codec.encode(torch.from_numpy(padded).to(device)))
            for one, encoded in zip(batch, latents.float().cpu(), strict=True):
                yield torch.from_numpy(one), encoded[: -(-len(one) // codec.hop)].clone()
            bar.update(len(batch))


def recorded_conditions(
    layout: ControlLayout, given: Mapping[str, Tensor], audio: Tensor, codec: Codec, frames: int
) -> Tensor:
    """Return what is known of the controls in every frame of a recording.

    Parameters
    ----------
    layout : ControlLayout
    given : mapping of str to Tensor
        Controls that were given, one row for all frames or a row a frame; unknown beyond the last one.
    audio : Tensor of shape ``(samples,)``
        Chroma and loudness are measured in it, unless they were given.
    codec : Codec
        Whose frames are meant.
    frames : int

    Returns
    -------
    Tensor of shape ``(frames, width)``
    """
    known = dict(given)
    for name, measure in (("chroma", chroma), ("loudness", loudness)):
        if name in layout.names and name not in known:
            known[name] = measure(audio[None], codec.sample_rate, codec.hop)[0]
    conditions = layout.empty(frames)
    for name, rows in known.items():
        length = frames if len(rows) == 1 else min(frames, len(rows))
        conditions[:length, layout.place(name)] = rows[:length]
    return conditions


def _batches(samples: Iterable[NDArray[np.float32]], most: int) -> Iterator[list[NDArray[np.float32]]]:
    batch: list[NDArray[np.float32]] = []
    for one in samples:
        longest = max([len(one), *map(len, batch)])
        if batch and longest * (len(batch) + 1) > most:
            yield batch
            batch = []
        batch.append(one)
    if batch:
        yield batch


def _check_level(audio: Audio, name: str) -> None:
    size = np.abs(audio.samples)
    peak = float(size.max())
    if peak < _SILENT:
        raise AudioError(f"{name} is silent throughout: its largest sample is {peak:.2g} of full scale")
    if peak > _MOST_SCALE:
        raise AudioError(
            f"{name} has samples of up to {peak:.4g}; full scale is [-1, 1], so scale it, or give integers"
        )
    flat = size >= _CLIPPED
    # Single peaks at full scale come of normalising; clipping makes runs.
    share = float((flat[1:] & flat[:-1]).mean()) if len(flat) > 1 else 0.0
    if share > _MOST_CLIPPED:
        warnings.warn(
            f"{name} is clipped: {100.0 * share:.2g} % of its samples lie at full scale", ClippingWarning,
            stacklevel=3,
        )  # fmt: skip
