r"""How sets of pieces are judged: one row of numbers a set, against the same reference.

The reference is one half of the test pieces; the other half is what real music scores. Pitch classes are
taken from the audio (peaks of its spectrum), notes from the transcription by basic-pitch, whose mistakes all
rows share; the Fréchet distances are on log-mel and CREPE-tiny embeddings of 1 s clips. *In key* turns every
piece to the rotation of its pitch classes that is nearest to the reference's mean profile before it counts
them, so that it asks for a scale and not for the keys that happen to be in the test set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from music_peers_audio import crepe_embeddings, transcribe, why_no_crepe, why_no_notes
from music_quality_data import RATE
from numpy.typing import NDArray
from torch import Tensor

from sciffusion.domains.music import Audio
from sciffusion.domains.music.embeddings import cut_clips, log_mel_embedding
from sciffusion.domains.music.metrics import (
    harmonic_histogram,
    jensen_shannon_distance,
    melodic_histogram,
)
from sciffusion.domains.music.metrics_chroma import audio_pitch_classes, chromagram
from sciffusion.domains.music.metrics_frechet import frechet_distance
from sciffusion.domains.music.metrics_memorisation import NearestPassages, nearest_passages
from sciffusion.domains.music.metrics_notes import Notes, note_scores, onset_density

__all__ = ["Judge", "Set", "hears_notes", "log_mel_clips", "mean_f1", "passages_of"]

FRAMES_PER_SECOND = 5.0
PASSAGE_SECONDS = 6.0
LEVEL = 0.05

Samples = NDArray[np.float32]


@dataclass(eq=False)
class Set:
    """Pieces of one length at 24 kHz, with what is known of them.

    Parameters
    ----------
    pieces : sequence of ndarray
    truth : sequence of Notes, optional
        The notes of each, where known.
    """

    pieces: Sequence[Samples]
    truth: Sequence[Notes] | None = None
    notes: list[Notes] | None = field(default=None, init=False)

    def tensor(self) -> Tensor:
        """Return all samples, ``(pieces, samples)``."""
        return torch.from_numpy(np.stack(self.pieces))

    def heard(self) -> list[Notes]:
        """Return the notes that basic-pitch hears, once."""
        if self.notes is None:
            self.notes = [transcribe(Audio(piece, RATE)) for piece in self.pieces]
        return self.notes


def log_mel_clips(samples: Tensor) -> Tensor:
    """Return the log-mel embeddings of the 1 s clips of pieces ``(pieces, samples)``."""
    return log_mel_embedding(cut_clips(samples, RATE), RATE)


def hears_notes() -> bool:
    """Say whether there is a transcriber."""
    return why_no_notes() is None


def mean_f1(heard: Sequence[Notes], truth: Sequence[Notes]) -> float:
    """Return the mean F1 over pieces."""
    found = [note_scores(ours, true).f1 for ours, true in zip(heard, truth, strict=True)]
    return float(np.mean(found)) if found else float("nan")


def passages_of(samples: Tensor) -> Tensor:
    """Return the chroma of passages of pieces ``(pieces, samples)`` that follow each other."""
    return torch.stack([_chroma(clip) for clip in cut_clips(samples, RATE, PASSAGE_SECONDS)])


class Judge:
    """Scores sets of pieces against the reference.

    Parameters
    ----------
    reference : Set
        Real pieces.
    training : iterable of ndarray
        Pieces that a model has been trained on, for the memorisation check.
    """

    def __init__(self, reference: Set, training: Iterable[Samples]) -> None:
        self.reference = reference
        samples = reference.tensor()
        self._embed: dict[str, Callable[[Tensor], Tensor]] = {"FD log-mel": log_mel_clips}
        self.why_not = [reason for reason in (why_no_notes(), why_no_crepe()) if reason]
        if why_no_crepe() is None:
            self._embed["FD CREPE-tiny"] = lambda audio: crepe_embeddings(cut_clips(audio, RATE), RATE)
        self._embedded = {name: embed(samples) for name, embed in self._embed.items()}
        self._classes = audio_pitch_classes(samples, RATE)
        self._profile = _own_key(samples, None)
        self._in_key = _own_key(samples, self._profile)
        shortest = round(PASSAGE_SECONDS * RATE)
        self._training = [_chroma(torch.from_numpy(p)) for p in training if len(p) >= shortest]
        self._null = self.nearest(samples)

    def nearest(self, samples: Tensor) -> NearestPassages | None:
        """Return the training passages nearest to those of pieces; None where pieces are too short."""
        if not self._training or samples.shape[-1] < round(PASSAGE_SECONDS * RATE):
            return None
        return nearest_passages(passages_of(samples), self._training)

    def score(self, judged: Set) -> dict[str, Any]:
        """Return one row."""
        samples = judged.tensor()
        row: dict[str, Any] = {
            "pitch-class JS": _distance(audio_pitch_classes(samples, RATE), self._classes),
            "in-key JS": _distance(_own_key(samples, self._profile), self._in_key),
        }
        row |= self._note_scores(judged)
        for name, embed in self._embed.items():
            row[name] = frechet_distance(embed(samples), self._embedded[name])
        row |= self._memorisation(samples)
        level = samples.square().mean().clamp_min(1e-12)
        row["level dB"] = float(10.0 * level.log10())
        return row

    def _note_scores(self, judged: Set) -> dict[str, float]:
        if not hears_notes():
            return {}
        heard, real = judged.heard(), self.reference.heard()
        seconds = [len(piece) / RATE for piece in judged.pieces]
        row = {
            "melodic JS": _distance(melodic_histogram(heard), melodic_histogram(real)),
            "harmonic JS": _distance(harmonic_histogram(heard), harmonic_histogram(real)),
            "notes a second": onset_density(heard, seconds),
        }
        if judged.truth is not None:
            row["note F1"] = mean_f1(heard, judged.truth)
        return row

    def _memorisation(self, samples: Tensor) -> dict[str, float]:
        found = self.nearest(samples)
        if found is None or self._null is None:
            return {}
        threshold = float(torch.quantile(self._null.distances, LEVEL))
        ratio = found.distances.median() / self._null.distances.median().clamp_min(1e-9)
        return {
            "nearest training ratio": float(ratio),
            "flagged copies": float((found.distances <= threshold).double().mean()),
        }


def _chroma(samples: Tensor) -> Tensor:
    return chromagram(samples, RATE, frames_per_second=FRAMES_PER_SECOND)


def _distance(found: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """Return the distance of histograms; 1, the largest, where there is nothing to count."""
    if not found.any() or not reference.any():
        return 1.0
    return jensen_shannon_distance(found, reference)


def _own_key(samples: Tensor, profile: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Return pitch classes summed over pieces, each turned to fit a profile best (its own first without)."""
    shares = [audio_pitch_classes(piece, RATE) for piece in samples]
    if profile is None:
        # Twice around: turned to the loudest class first, then to the mean of that.
        start = np.mean([np.roll(share, -int(share.argmax())) for share in shares], axis=0)
        return np.mean([_turned(share, start) for share in shares], axis=0)
    return np.asarray(np.mean([_turned(share, profile) for share in shares], axis=0))


def _turned(share: NDArray[np.float64], profile: NDArray[np.float64]) -> NDArray[np.float64]:
    return max((np.roll(share, key) for key in range(12)), key=lambda turned: float(turned @ profile))
