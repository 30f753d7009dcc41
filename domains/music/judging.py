r"""What a model makes, beside recordings that it has not learnt, and beside what bounds it.

The held-out recordings are split into two halves A and B by file (by time if there is one file), of which
excerpts from their middles are taken. Everything is compared with A: B itself (as near as recordings come to
each other), B after encoding and decoding (what a perfect model of the latents would come to), the model's
pieces, and white noise of the level of B, all of one length.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .codec import reconstruct
from .diffusion import LiveMusicDiffusion
from .embeddings import cut_clips, log_mel_embedding
from .metrics import jensen_shannon_distance
from .metrics_chroma import audio_pitch_classes
from .metrics_frechet import frechet_distance
from .metrics_memorisation import music_memorisation
from .recordings import load_recording

__all__ = ["MEANINGS", "judge"]

#: What each measure says.
MEANINGS = {
    "pitch classes": "Jensen-Shannon distance of pitch-class histograms, 0..1",
    "log-mel": "Fréchet distance of log-mel embeddings of 1 s clips",
    "flow loss": "error of the flow on the recordings, with their controls",
    "memorisation": "distance to training passages over that of recordings: near 1 is no copying",
    "flagged": "share of passages as near to training as the nearest 5 % of recordings",
}

_PASSAGE_SECONDS = 8.0


class _Halves(NamedTuple):
    first: Tensor
    second: Tensor


def judge(
    model: LiveMusicDiffusion,
    recordings: Sequence[str | os.PathLike[str]],
    controls: Sequence[Mapping[str, Any]] | None = None,
    *,
    training: Sequence[str | os.PathLike[str]] | None = None,
    pieces: int = 16,
    seconds: float = 20.0,
    seed: int = 0,
    nfe: int | None = None,
) -> pd.DataFrame:
    """Compare a model with recordings.

    Parameters
    ----------
    model : LiveMusicDiffusion
        Fitted.
    recordings : sequence of path-like
        Not learnt by the model.
    controls : sequence of mapping, optional
        What is known of each, for the flow loss.
    training : sequence of path-like, optional
        What was learnt, to look for copies.
    pieces, seconds : int, float
        How much the model makes, without controls or prompt.
    seed : int
        Of the pieces.
    nfe : int, optional
        Evaluations a block.

    Returns
    -------
    DataFrame
        A row a measure (`MEANINGS`), columns ``model``, ``codec``, ``recordings`` and ``noise``; NaN where a
        measure means nothing.

    Raises
    ------
    ValueError
        If recordings last less than 8 s in all, or a training list is empty.
    """
    if training is not None and not len(training):
        raise ValueError("training must hold at least one recording, got none")
    rate = model.codec_.sample_rate
    real = [_samples(path, rate) for path in recordings]
    made = torch.from_numpy(
        np.stack([one.samples for one in model.sample(seconds, n=pieces, seed=seed, nfe=nfe)])
    )
    halves = _halves(real, made.numel())
    length = min(len(halves.first), len(halves.second), made.numel())
    if length < 4 * rate:
        raise ValueError(
            f"recordings must last at least 8 s in all to be compared in halves, got {length / rate:.1f} s"
        )
    other = halves.second[:length]
    with torch.inference_mode():
        coded = reconstruct(model.codec_, other[None].to(model.codec_.statistics.mean.device))[0].cpu()
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(length, generator=generator) * other.square().mean().sqrt()
    groups = {
        "model": made.flatten()[:length],
        "codec": coded,
        "recordings": other,
        "noise": noise.clamp(-1, 1),
    }
    found = pd.DataFrame(np.nan, index=pd.Index([], dtype=object), columns=list(groups))
    found.loc["pitch classes"] = _pitch_class_distances(groups, halves.first[:length], rate)
    found.loc["log-mel"] = _embedding_distances(groups, halves.first[:length], rate)
    found.loc["flow loss", "model"] = -model.score(list(recordings), controls)
    if training is not None:
        _add_memorisation(found, made, real, [_samples(path, rate) for path in training], rate)
    return found


def _samples(path: str | os.PathLike[str], rate: int) -> Tensor:
    return torch.from_numpy(load_recording(path, rate, sample_rate=None, name=repr(os.fspath(path))))


def _halves(real: Sequence[Tensor], most: int) -> _Halves:
    """Return about as many samples of each half as are needed, equally much of every recording."""
    if len(real) == 1:
        first, second = real[0].tensor_split(2)
        return _Halves(first, second)
    halves = [list(real[0::2]), list(real[1::2])]
    return _Halves(*(torch.cat([_middle(one, -(-most // len(half))) for one in half]) for half in halves))


def _middle(samples: Tensor, most: int) -> Tensor:
    start = max(0, (len(samples) - most) // 2)
    return samples[start : start + most]


def _pitch_class_distances(groups: Mapping[str, Tensor], reference: Tensor, rate: int) -> list[float]:
    wanted = audio_pitch_classes(reference, rate)
    found = [audio_pitch_classes(one, rate) for one in groups.values()]
    # A group without any pitch is as far away as can be.
    return [jensen_shannon_distance(one, wanted) if one.sum() > 0 else 1.0 for one in found]


def _embedding_distances(groups: Mapping[str, Tensor], reference: Tensor, rate: int) -> list[float]:
    wanted = log_mel_embedding(cut_clips(reference, rate), rate)
    return [
        frechet_distance(log_mel_embedding(cut_clips(one, rate), rate), wanted) for one in groups.values()
    ]


def _add_memorisation(
    found: pd.DataFrame, made: Tensor, real: Sequence[Tensor], training: Sequence[Tensor], rate: int
) -> None:
    longest = [made.shape[-1], max(map(len, real)), max(map(len, training))]
    passage = min(_PASSAGE_SECONDS, min(longest) / rate)
    enough = round(passage * rate)
    held = [cut_clips(one, rate, passage) for one in real if len(one) >= enough]
    learnt = [one for one in training if len(one) >= enough]
    result = music_memorisation(cut_clips(made, rate, passage), learnt, torch.cat(held), rate)
    found.loc["memorisation", "model"] = result.ratio
    found.loc["flagged", "model"] = result.flagged
