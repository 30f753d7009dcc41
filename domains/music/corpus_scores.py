"""Scores that music21 bundles, or files of one's own, as plain notes: what a synthesizer needs and no more.

Ties are joined and repeats played as written (a piece whose repeats contradict each other is played once
through). Grace notes, which have no length of their own, and chord symbols are left out: a note without a
length would begin and never end.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from sciffusion.estimators.imports import optional_import

__all__ = ["COLLECTIONS", "Score", "ScoreNote", "list_scores", "read_score"]

#: Name of a collection: the composer under whom music21 keeps it, and how the names of its files begin.
COLLECTIONS = {
    "bach_chorales": ("bach", "bwv"),
    "beethoven": ("beethoven", ""),
    "haydn": ("haydn", ""),
    "monteverdi": ("monteverdi", ""),
    "mozart": ("mozart", ""),
    "palestrina": ("palestrina", ""),
    "ryans_mammoth": ("ryansMammoth", ""),
    "trecento": ("trecento", ""),
}

# Where a piece lies in several formats, the first of these is read.
_FORMATS = (".mxl", ".xml", ".musicxml", ".krn", ".abc", ".mid", ".midi")
_EXTRA = "scores"


class ScoreNote(NamedTuple):
    """A note.

    Parameters
    ----------
    start, length : float
        In quarter notes; ``length`` > 0.
    pitch : int
        MIDI pitch, 0..127.
    velocity : int
        1..127.
    """

    start: float
    length: float
    pitch: int
    velocity: int


class Score(NamedTuple):
    """A piece.

    Parameters
    ----------
    piece : str
        Its name, that of the file without the ending.
    parts : tuple of tuple of ScoreNote
        Notes of each part, by start.
    tempos : tuple of (float, float)
        Quarter note from which a tempo holds, and the tempo in quarter notes a minute; the first at 0.
    key : str
        As "D minor"; "" where none was found.
    notice : str
        Copyright that the score itself carries, or "".
    """

    piece: str
    parts: tuple[tuple[ScoreNote, ...], ...]
    tempos: tuple[tuple[float, float], ...]
    key: str = ""
    notice: str = ""


def list_scores(collection: str | Sequence[str | os.PathLike[str]]) -> dict[str, Path]:
    """Return the files of a collection by name of the piece, in the order of the names.

    Parameters
    ----------
    collection : str or sequence of path-like
        One of `COLLECTIONS`, or files of scores (MusicXML, kern, abc, MIDI, ...).

    Raises
    ------
    ValueError
        For an unknown collection, no files, or two files with the same name and format.
    FileNotFoundError
        If a file is missing.
    ImportError
        If music21 is not installed.
    """
    if not isinstance(collection, str):
        return _own_scores([Path(path) for path in collection])
    if collection not in COLLECTIONS:
        raise ValueError(
            f"there is no collection of scores {collection!r}; there are {', '.join(COLLECTIONS)}, or give a "
            "list of score files"
        )
    composer, prefix = COLLECTIONS[collection]
    with _quiet():
        found = optional_import("music21.corpus", _EXTRA).getComposer(composer)
    pieces: dict[str, Path] = {}
    for path in sorted(map(Path, found), key=_preference):
        if path.name.startswith(prefix):
            pieces.setdefault(path.stem, path)
    return dict(sorted(pieces.items()))


def read_score(path: Path) -> Score:
    """Read one score.

    Raises
    ------
    ValueError
        If it holds no notes, or several scores.
    """
    with _quiet():
        score = optional_import("music21.converter", _EXTRA).parse(path)
        if "Opus" in score.classes:
            raise ValueError("the file holds several scores; give one a file")
        score = _with_repeats(score).stripTies()
        parts = tuple(tuple(_notes(part)) for part in (getattr(score, "parts", None) or [score]))
        if not any(parts):
            raise ValueError("the score holds no notes with a pitch and a length")
        return Score(path.stem, parts, _tempos(score), _key(score), _notice(score))


def _own_scores(paths: list[Path]) -> dict[str, Path]:
    if not paths:
        raise ValueError("the collection is an empty list of score files")
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"there is no score {str(path)!r}")
    pieces = {path.stem: path for path in paths}
    if len(pieces) < len(paths):
        raise ValueError("score files must have different names: each piece is called by that of its file")
    return dict(sorted(pieces.items()))


def _preference(path: Path) -> tuple[int, str]:
    known = path.suffix in _FORMATS
    return (_FORMATS.index(path.suffix) if known else len(_FORMATS), str(path))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep music21's warnings about its scores to itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _with_repeats(score: Any) -> Any:
    try:
        return score.expandRepeats()
    except optional_import("music21.exceptions21", _EXTRA).Music21Exception:
        return score


def _notes(part: Any) -> Iterator[ScoreNote]:
    for element in part.flatten().notes:
        length = float(element.quarterLength)
        if length <= 0 or "ChordSymbol" in element.classes:
            continue
        velocity = min(127, max(1, round(127 * float(element.volume.cachedRealized))))
        for pitch in element.pitches:
            yield ScoreNote(float(element.offset), length, int(pitch.midi), velocity)


def _tempos(score: Any) -> tuple[tuple[float, float], ...]:
    changes: dict[float, float] = {}
    for start, _, mark in score.metronomeMarkBoundaries():
        speed = mark.getQuarterBPM()
        if speed:
            changes[float(start)] = float(speed)  # of several marks in one place the last one holds
    first = min(changes, default=0.0)
    return tuple(sorted({0.0: changes.get(first, 120.0), **changes}.items()))


def _key(score: Any) -> str:
    try:
        return str(score.analyze("key").name).replace("-", "b")
    except Exception:  # the analysis of a very short or strange piece may fail in many ways
        return ""


def _notice(score: Any) -> str:
    found = getattr(score.metadata, "copyright", None) if score.metadata is not None else None
    return " ".join(str(found).split()) if found else ""
