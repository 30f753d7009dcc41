r"""Lists of notes: what they are, reading them from MIDI files, their agreement, intervals and density.

A note list is three arrays of one length: onset and end in seconds and pitch as a MIDI number (69 is A4,
440 Hz; fractions are parts of a semitone).

- *Agreement.* A found note may be paired with a true one when their onsets differ by at most 50 ms and their
  pitches by at most half a semitone (50 cents); each note is paired at most once, as many pairs as possible
  are made. With P pairs, precision is P over found notes, recall P over true notes, F1 their harmonic mean.
  This is the transcription score without offsets of Bay, Ehmann and Downie, *Evaluation of multiple-F0
  estimation and tracking systems*, ISMIR 2009, as ``mir_eval.transcription`` computes it (Raffel et al.,
  ISMIR 2014).
- *Melodic intervals.* The top voice is the highest pitch sounding after every onset at which it changes or
  is struck anew; its intervals are differences of neighbouring pitches, in semitones, upwards positive.
- *Harmonic intervals.* At every onset, the differences above the lowest sounding pitch.
- *Onset density.* Notes a second.

Sets of pieces are compared by histograms of these (`metrics`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from . import midi_input

__all__ = [
    "NoteScores",
    "Notes",
    "harmonic_intervals",
    "melodic_intervals",
    "note_scores",
    "onset_density",
    "read_notes",
]

FloatArray = NDArray[np.float64]

ONSET_TOLERANCE = 0.05
PITCH_TOLERANCE = 0.5
#: Onsets closer than this many seconds are one chord.
CHORD_TOLERANCE = 0.04
#: mir_eval rounds distances to this many digits before it compares them.
_DIGITS = 4


class Notes(NamedTuple):
    """Onsets and ends in seconds and pitches as MIDI numbers, each of shape ``(notes,)``, sorted by onset."""

    onsets: FloatArray
    ends: FloatArray
    pitches: FloatArray

    @classmethod
    def of(cls, onsets: ArrayLike, ends: ArrayLike, pitches: ArrayLike) -> Notes:
        """Return checked notes, sorted by onset and then pitch.

        Raises
        ------
        ValueError
            For arrays of other shapes or different lengths, values that are not finite, times below 0, or
            notes that end before they begin.
        """
        arrays = [np.asarray(values, dtype=np.float64) for values in (onsets, ends, pitches)]
        if any(array.ndim != 1 for array in arrays) or len({len(array) for array in arrays}) > 1:
            shapes = ", ".join(str(array.shape) for array in arrays)
            raise ValueError(f"onsets, ends and pitches must be one-dimensional of one length, got {shapes}")
        if not all(np.isfinite(array).all() for array in arrays):
            raise ValueError("onsets, ends and pitches must be finite")
        start, end, pitch = arrays
        if (start < 0.0).any() or (end < start).any():
            raise ValueError("onsets must be at least 0 and no note may end before it begins")
        order = np.lexsort((pitch, start))
        return cls(start[order], end[order], pitch[order])

    def between(self, start: float, stop: float) -> Notes:
        """Return the notes whose onset lies in ``[start, stop)``, times counted from ``start``."""
        kept = (self.onsets >= start) & (self.onsets < stop)
        return Notes(self.onsets[kept] - start, np.minimum(self.ends[kept], stop) - start, self.pitches[kept])


class NoteScores(NamedTuple):
    """Precision, recall and F1 of found notes, each in [0, 1]."""

    precision: float
    recall: float
    f1: float


def read_notes(path: str | os.PathLike[str]) -> Notes:
    """Read the notes of a MIDI file, all tracks and channels but percussion (channel 10).

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no MIDI file.
    """
    rows = midi_input.read_notes(path)
    return Notes.of(rows[:, 0], rows[:, 1], rows[:, 2])


def note_scores(
    found: Notes,
    true: Notes,
    *,
    onset_tolerance: float = ONSET_TOLERANCE,
    pitch_tolerance: float = PITCH_TOLERANCE,
) -> NoteScores:
    """Return how well found notes agree with true ones by onset and pitch.

    Parameters
    ----------
    found, true : Notes
    onset_tolerance : float
        Seconds by which onsets may differ.
    pitch_tolerance : float
        Semitones by which pitches may differ.

    Returns
    -------
    NoteScores
        All 0 where a list is empty.

    Raises
    ------
    ValueError
        For a tolerance that is not positive.
    """
    if not (onset_tolerance > 0.0 and pitch_tolerance > 0.0):
        raise ValueError(f"tolerances must be positive, got {onset_tolerance} s, {pitch_tolerance} semitones")
    if len(found.onsets) == 0 or len(true.onsets) == 0:
        return NoteScores(0.0, 0.0, 0.0)
    apart = np.abs(found.onsets[:, None] - true.onsets).round(_DIGITS)
    detuned = np.abs(found.pitches[:, None] - true.pitches)
    allowed = csr_array((apart <= onset_tolerance) & (detuned <= pitch_tolerance))
    pairs = int((maximum_bipartite_matching(allowed, perm_type="column") >= 0).sum())
    precision, recall = pairs / len(found.onsets), pairs / len(true.onsets)
    return NoteScores(precision, recall, 2.0 * pairs / (len(found.onsets) + len(true.onsets)))


def melodic_intervals(notes: Notes) -> FloatArray:
    """Return the steps of the top voice in semitones, shape ``(steps,)``; 0 is a repeated note."""
    moments, sounding, struck = _chords(notes)
    if len(moments) == 0:
        return np.zeros(0)
    top = np.where(sounding, notes.pitches, -np.inf).max(axis=1)
    anew = np.where(struck, notes.pitches, -np.inf).max(axis=1) >= top
    return np.diff(top[anew | (np.diff(top, prepend=np.nan) != 0.0)])


def harmonic_intervals(notes: Notes) -> FloatArray:
    """Return the intervals above the lowest sounding pitch at every onset, in semitones, shape ``(m,)``."""
    _, sounding, _ = _chords(notes)
    if sounding.size == 0:
        return np.zeros(0)
    lowest = np.where(sounding, notes.pitches, np.inf).min(axis=1)
    above = notes.pitches - lowest[:, None]
    return np.asarray(above[sounding & (above > 0.0)])


def onset_density(notes: Sequence[Notes], seconds: Sequence[float]) -> float:
    """Return the notes a second over pieces of the given durations.

    Raises
    ------
    ValueError
        Without pieces, for unequal numbers of both, or a duration that is not positive.
    """
    if len(notes) != len(seconds) or len(notes) == 0 or not all(value > 0.0 for value in seconds):
        raise ValueError(
            f"notes and seconds must be of one length above 0 and seconds positive, got {len(notes)} pieces "
            f"and {list(seconds)} s"
        )
    return sum(len(piece.onsets) for piece in notes) / sum(seconds)


def _chords(notes: Notes) -> tuple[FloatArray, NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the moments of onset, and which notes sound and which are struck there, ``(moments, notes)``."""
    starts = np.unique(notes.onsets)
    if len(starts) == 0:
        return starts, np.zeros((0, 0), dtype=bool), np.zeros((0, 0), dtype=bool)
    moments = starts[np.diff(starts, prepend=-np.inf) > CHORD_TOLERANCE]
    chord = np.searchsorted(moments, notes.onsets, side="right") - 1
    struck = chord == np.arange(len(moments))[:, None]
    held = (moments[:, None] >= notes.onsets) & (moments[:, None] + CHORD_TOLERANCE < notes.ends)
    return moments, struck | held, struck
