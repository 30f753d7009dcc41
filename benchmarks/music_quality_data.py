"""Rendered pieces for the benchmarks of music: which are for testing, and excerpts of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sciffusion.domains.music import read_audio
from sciffusion.domains.music.corpus_table import TABLE, load_corpus, split_of_place
from sciffusion.domains.music.metrics_notes import Notes, read_notes

__all__ = ["RATE", "Excerpt", "Piece", "excerpts", "halves", "read_pieces", "start_of"]

#: Samples a second of everything that is compared.
RATE = 24_000


@dataclass(frozen=True)
class Piece:
    """A rendered piece; sound and notes are read when asked for.

    Parameters
    ----------
    name, style, split : str
    wav, midi : Path
    """

    name: str
    style: str
    split: str
    wav: Path
    midi: Path

    def samples(self) -> NDArray[np.float32]:
        """Return one channel at 24 kHz, shape ``(samples,)``."""
        return read_audio(self.wav).mono_at(RATE)

    def notes(self) -> Notes:
        """Return the notes that were played."""
        return read_notes(self.midi)


class Excerpt(NamedTuple):
    """A part of a piece: its samples at 24 kHz, its notes, and where it is from."""

    samples: NDArray[np.float32]
    notes: Notes
    style: str
    piece: str
    start: float


def read_pieces(folder: Path) -> list[Piece]:
    """Return the pieces of a corpus, as `load_corpus` has them, or by the names of its files.

    Without a table, names of MIDI files in order are split as `load_corpus` splits pieces.
    """
    if (folder / TABLE).is_file():
        return [
            Piece(entry.piece, entry.style, entry.split, entry.wav, entry.midi)
            for entry in load_corpus(folder)
            if entry.transpose == 0
        ]
    found = []
    for place, midi in enumerate(sorted(folder.glob("*.mid"), key=lambda path: path.stem)):
        for wav in sorted(folder.glob(f"{midi.stem}.*.wav")):
            style = wav.name[len(midi.stem) + 1 : -len(".wav")]
            if "." not in style:
                found.append(Piece(midi.stem, style, split_of_place(place), wav, midi))
    if not found:
        raise FileNotFoundError(
            f"{folder} holds no rendered pieces: sciffusion music render-corpus makes them"
        )
    return found


def halves(pieces: Sequence[Piece]) -> tuple[list[Piece], list[Piece]]:
    """Return two disjoint halves of the test pieces, by piece: no piece is in both in any style."""
    names = sorted({piece.name for piece in pieces if piece.split == "test"})
    if len(names) < 2:
        raise ValueError(f"the corpus has {len(names)} test pieces; at least 2 are needed")
    first = set(names[::2])
    test = [piece for piece in pieces if piece.split == "test"]
    return [p for p in test if p.name in first], [p for p in test if p.name not in first]


def excerpts(pieces: Sequence[Piece], count: int, seconds: float, *, seed: int = 0) -> list[Excerpt]:
    """Return excerpts of different pieces, styles taking turns, then of the same pieces once more.

    Parameters
    ----------
    pieces : sequence of Piece
    count : int
        Excerpts; fewer where pieces are too short.
    seconds : float
        Duration; shorter pieces are left out.
    seed : int
        Of the order of the pieces and of the places.
    """
    random = np.random.default_rng(seed)
    styles = sorted({piece.style for piece in pieces})
    names = sorted({piece.name for piece in pieces})
    random.shuffle(names)
    by_name = {(piece.name, piece.style): piece for piece in pieces}
    turns = range(max(len(styles), -(-count // max(len(names), 1))))
    order = [(name, styles[(turn + i) % len(styles)]) for turn in turns for i, name in enumerate(names)]
    found: list[Excerpt] = []
    for key in order:
        if len(found) == count:
            break
        if key not in by_name:
            continue
        samples, length = by_name[key].samples(), round(seconds * RATE)
        if len(samples) < length:
            continue
        start = start_of(samples, length, random)
        notes = by_name[key].notes().between(start / RATE, (start + length) / RATE)
        found.append(Excerpt(samples[start : start + length], notes, key[1], key[0], start / RATE))
    return found


def start_of(samples: NDArray[np.float32], length: int, random: np.random.Generator) -> int:
    """Return a random place for an excerpt, away from the silence behind the last chord where possible."""
    last = len(samples) - length
    return int(random.integers(0, max(min(last, len(samples) - length - 3 * RATE), 0) + 1))
