r"""Names of chords, and what they ask of the control "chroma".

A chord is a root (C, F#, Bb, ...), a colon and a quality, as in the notation of C. Harte and others,
*Symbolic Representation of Musical Chords: A Proposed Syntax for Text Annotations*, ISMIR 2005, whose
qualities are here those of the table below; the short forms of lead sheets (Am, G7, Cmaj7) are understood,
too. ``N`` asks for nothing. A progression is chords with their seconds, ``C:maj*4 A:min*4 F*2 G7*2``, 2 s
where none are given.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["QUALITIES", "Chord", "chord_pitches", "parse_chords", "parse_progression"]

#: Semitones above the root.
QUALITIES = {
    "maj": (0, 4, 7),
    "min": (0, 3, 7),
    "dim": (0, 3, 6),
    "aug": (0, 4, 8),
    "sus2": (0, 2, 7),
    "sus4": (0, 5, 7),
    "5": (0, 7),
    "1": (0,),
    "6": (0, 4, 7, 9),
    "min6": (0, 3, 7, 9),
    "7": (0, 4, 7, 10),
    "maj7": (0, 4, 7, 11),
    "min7": (0, 3, 7, 10),
    "dim7": (0, 3, 6, 9),
    "hdim7": (0, 3, 6, 10),
    "9": (0, 4, 7, 10, 2),
}
_SHORT = {"": "maj", "m": "min", "m7": "min7", "m6": "min6", "M7": "maj7", "+": "aug", "o": "dim"}
_ROOTS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_NOTHING = "N"
_SECONDS = 2.0


class Chord(NamedTuple):
    """A chord of a progression.

    Parameters
    ----------
    pitches : tuple of int
        Pitch classes from C = 0, the root first; none asks for nothing.
    seconds : float
        How long it lasts.
    """

    pitches: tuple[int, ...]
    seconds: float


def chord_pitches(name: str) -> tuple[int, ...]:
    """Return the pitch classes of a chord, the root first; of ``N`` none.

    Raises
    ------
    ValueError
        For a name that is no chord, with those that are.
    """
    if name == _NOTHING:
        return ()
    found = re.fullmatch(r"([A-G])([#b]*)(:?)(.*)", name)
    if found is None:
        raise ValueError(f"{name!r} is no chord; write one as C:maj, F#:min, Bb:7 or Am, or N for nothing")
    letter, shifts, colon, rest = found.groups()
    quality = rest if colon or rest in QUALITIES else _SHORT.get(rest, rest)
    if quality not in QUALITIES:
        raise ValueError(f"{name!r}: there is no quality {rest!r}; there are {', '.join(QUALITIES)}")
    root = _ROOTS[letter] + shifts.count("#") - shifts.count("b")
    return tuple((root + step) % 12 for step in QUALITIES[quality])


def parse_progression(text: str) -> list[Chord]:
    """Return the chords of a progression.

    Raises
    ------
    ValueError
        If there is none, or for a name or duration that cannot be read.
    """
    chords = []
    for part in text.replace(",", " ").split():
        name, star, duration = part.partition("*")
        try:
            seconds = float(duration) if star else _SECONDS
        except ValueError:
            seconds = math.nan
        if not 0 < seconds < math.inf:
            raise ValueError(f"a chord is NAME or NAME*SECONDS, such as C:maj*4, got {part!r}")
        chords.append(Chord(chord_pitches(name), seconds))
    if not chords:
        raise ValueError("there are no chords; write them as C:maj*4 A:min*4")
    return chords


def parse_chords(text: str, seconds: float, frame_rate: float) -> NDArray[np.float32]:
    """Return what a progression asks for, over and over.

    Parameters
    ----------
    text : str
        The progression.
    seconds : float
        How long it goes on.
    frame_rate : float
        Latent frames a second.

    Returns
    -------
    ndarray of float32, shape ``(frames, 12)``
        1 for the pitch classes of the chord, else 0; NaN where nothing is asked for. A single chord is one
        row, which holds.
    """
    chords = parse_progression(text)
    if len(chords) == 1:
        return _rows(chords)
    ends = np.cumsum([chord.seconds for chord in chords])
    middles = (np.arange(math.ceil(seconds * frame_rate)) + 0.5) / frame_rate
    places = np.searchsorted(ends, middles % ends[-1], side="right")
    rows: NDArray[np.float32] = _rows(chords)[np.minimum(places, len(chords) - 1)]
    return rows


def _rows(chords: list[Chord]) -> NDArray[np.float32]:
    rows = np.zeros((len(chords), 12), dtype=np.float32)
    for row, chord in zip(rows, chords, strict=True):
        row[list(chord.pitches)] = 1.0
        if not chord.pitches:
            row[:] = np.nan
    return rows
