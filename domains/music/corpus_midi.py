"""Notes of a score as a MIDI file in which every note that begins also ends.

Each part has a channel of its own, so that voices in unison do not end each other's notes; channel 10 is left
to drums, as General MIDI has it.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from sciffusion.estimators.imports import optional_import

from .corpus_scores import Score, ScoreNote

__all__ = ["TICKS", "midi_bytes", "midi_seconds"]

#: Ticks a quarter note.
TICKS = 480

_CHANNELS = tuple(channel for channel in range(16) if channel != 9)
_RING_OUT = TICKS  # silence after the last note, in which it dies away


def midi_bytes(score: Score, *, program: int | None = None, transpose: int = 0) -> bytes:
    """Return a score as the content of a MIDI file.

    Parameters
    ----------
    score : Score
    program : int in 0..127, optional
        General MIDI program of all parts, from 0.
    transpose : int
        Semitones up.

    Raises
    ------
    ValueError
        If a transposed note leaves MIDI's range.
    """
    mido = optional_import("mido", "music")
    file = mido.MidiFile(type=1, ticks_per_beat=TICKS)
    events = [
        (_tick(start), mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(speed)))
        for start, speed in score.tempos
    ]
    file.tracks.append(_track(mido, events, 0))
    end = max(_tick(note.start + note.length) for part in score.parts for note in part) + _RING_OUT
    for place, part in enumerate(score.parts):
        channel = _CHANNELS[place % len(_CHANNELS)]
        events = _note_events(mido, part, channel, transpose)
        if program is not None:
            events.insert(0, (0, mido.Message("program_change", channel=channel, program=program)))
        file.tracks.append(_track(mido, events, end))
    content = io.BytesIO()
    file.save(file=content)
    return content.getvalue()


def midi_seconds(content: bytes) -> float:
    """Return how long the content of a MIDI file plays, in seconds."""
    return float(optional_import("mido", "music").MidiFile(file=io.BytesIO(content)).length)


def _tick(quarters: float) -> int:
    return round(quarters * TICKS)


def _track(mido: Any, events: Sequence[tuple[int, Any]], end: int) -> Any:
    track = mido.MidiTrack()
    before = 0
    for tick, message in events:
        track.append(message.copy(time=tick - before))
        before = tick
    track.append(mido.MetaMessage("end_of_track", time=max(0, end - before)))
    return track


def _note_events(mido: Any, part: Sequence[ScoreNote], channel: int, transpose: int) -> list[tuple[int, Any]]:
    """Return on and off of every note in the order of time; a note ends before its pitch begins anew."""
    ends: dict[tuple[int, int], tuple[int, int]] = {}
    for note in part:
        start, stop = _tick(note.start), _tick(note.start + note.length)
        pitch = note.pitch + transpose
        if not 0 <= pitch <= 127:
            raise ValueError(f"transposed by {transpose}, the pitch {note.pitch} leaves MIDI's range 0..127")
        known = ends.get((pitch, start), (0, 0))
        ends[pitch, start] = max(known, (max(stop, start + 1), note.velocity))
    events: list[tuple[int, int, int, int]] = []
    ordered = sorted(ends)
    for (pitch, start), following in zip(ordered, [*ordered[1:], (-1, 0)], strict=True):
        stop, velocity = ends[pitch, start]
        if following[0] == pitch:
            stop = min(stop, following[1])
        events += [(start, 1, pitch, velocity), (stop, 0, pitch, 0)]
    return [
        (tick, mido.Message("note_on" if on else "note_off", channel=channel, note=pitch, velocity=velocity))
        for tick, on, pitch, velocity in sorted(events)
    ]
