"""Notes: from MIDI files to piano rolls, and from live MIDI messages to the keys that sound.

A piano roll has one row a latent frame and one column for each of the 60 pitches from `LOWEST_PITCH` on (C2
to B6). Notes are rows (start, end, pitch) with times in seconds.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sciffusion.estimators.imports import optional_import

__all__ = [
    "LOWEST_PITCH",
    "PITCHES",
    "HeldKeys",
    "check_message",
    "key_chroma",
    "key_roll",
    "notes_to_roll",
    "read_notes",
]

LOWEST_PITCH, PITCHES = 36, 60

_DRUMS = 9
_NOTE_OFF, _NOTE_ON, _CONTROL = 0x80, 0x90, 0xB0
_SUSTAIN, _SOUND_OFF, _RESET, _NOTES_OFF = 64, 120, 121, 123
_LENGTHS = {0x80: 3, 0x90: 3, 0xA0: 3, 0xB0: 3, 0xC0: 2, 0xD0: 2, 0xE0: 3}
_SYSTEM = 0xF0


def read_notes(path: str | os.PathLike[str]) -> NDArray[np.float64]:
    """Read the notes of a MIDI file, drums left out.

    Returns
    -------
    ndarray of shape ``(notes, 3)``
        Start and end in seconds, and pitch.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no MIDI file.
    """
    mido = optional_import("mido", "music")
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no MIDI file {os.fspath(path)!r}")
    try:
        return _paired(mido.MidiFile(os.fspath(path)))
    except (OSError, EOFError, ValueError, KeyError, IndexError) as error:
        raise ValueError(f"{os.fspath(path)!r} is no MIDI file that can be read: {error}") from error


def notes_to_roll(notes: NDArray[Any], frames: int, frame_rate: float) -> Tensor:
    """Return the piano roll of notes.

    Parameters
    ----------
    notes : ndarray of shape ``(notes, 3)``
        Start and end in seconds, and MIDI pitch; pitches outside the roll are left out.
    frames : int
        Frames of the roll.
    frame_rate : float
        Frames a second.

    Returns
    -------
    Tensor of shape ``(frames, 60)``
        1 in the frame of a note's start and in those after it whose middle it reaches, else 0.

    Raises
    ------
    ValueError
        For notes that end before they start, or begin before 0.
    """
    notes = np.asarray(notes, dtype=np.float64).reshape(-1, 3)
    if not (np.isfinite(notes).all() and (notes[:, 1] >= notes[:, 0]).all() and (notes[:, 0] >= 0).all()):
        raise ValueError("notes must be rows (start, end, pitch) with 0 <= start <= end in seconds")
    roll = torch.zeros(frames, PITCHES)
    first = np.floor(notes[:, 0] * frame_rate).astype(int)
    last = np.maximum(np.ceil(notes[:, 1] * frame_rate - 0.5).astype(int), first + 1)
    for start, end, pitch in zip(first, last, notes[:, 2].astype(int), strict=True):
        if 0 <= pitch - LOWEST_PITCH < PITCHES:
            roll[start:end, pitch - LOWEST_PITCH] = 1.0
    return roll


def key_roll(pitches: Iterable[int]) -> Tensor:
    """Return one frame of a piano roll, ``(60,)``, of keys."""
    roll = torch.zeros(PITCHES)
    for pitch in pitches:
        if 0 <= pitch - LOWEST_PITCH < PITCHES:
            roll[pitch - LOWEST_PITCH] = 1.0
    return roll


def key_chroma(pitches: Iterable[int]) -> Tensor:
    """Return the chroma, ``(12,)``, of keys: 1 for their pitch classes."""
    chroma = torch.zeros(12)
    for pitch in pitches:
        chroma[pitch % 12] = 1.0
    return chroma


class HeldKeys:
    """The keys that sound, told by MIDI messages.

    A key sounds while it is down or the sustain pedal holds it. One that was struck and let go between two
    blocks counts for the next block: `next_block` forgets it.
    """

    def __init__(self) -> None:
        self._down: set[int] = set()
        self._sustained: set[int] = set()
        self._struck: set[int] = set()
        self._pedal = False

    @property
    def pitches(self) -> tuple[int, ...]:
        """MIDI pitches that sound, in order."""
        return tuple(sorted(self._down | self._sustained | self._struck))

    def hear(self, message: bytes) -> None:
        """Take in a message (see `check_message`)."""
        kind, first, second = message[0] & 0xF0, message[1] if len(message) > 1 else 0, message[-1]
        if kind == _NOTE_ON and second > 0:
            self._down.add(first)
            self._struck.add(first)
        elif kind in (_NOTE_ON, _NOTE_OFF):
            if first in self._down and self._pedal:
                self._sustained.add(first)
            self._down.discard(first)
        elif kind == _CONTROL:
            self._control(first, second)

    def next_block(self) -> None:
        """Forget keys that were struck and let go."""
        self._struck.clear()

    def state(self) -> dict[str, Any]:
        """Return all there is to know, as values for JSON."""
        return {
            "down": sorted(self._down), "sustained": sorted(self._sustained), "struck": sorted(self._struck),
            "pedal": self._pedal,
        }  # fmt: skip

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        self._down, self._sustained = set(state["down"]), set(state["sustained"])
        self._struck, self._pedal = set(state["struck"]), bool(state["pedal"])

    def _control(self, number: int, value: int) -> None:
        if number == _SUSTAIN:
            self._pedal = value >= 64
            if not self._pedal:
                self._sustained.clear()
        elif number in (_SOUND_OFF, _NOTES_OFF):
            self._down.clear()
            self._sustained.clear()
            self._struck.clear()
        elif number == _RESET:
            self._pedal = False
            self._sustained.clear()


def check_message(message: Any) -> bytes:
    """Return a MIDI message as bytes.

    Raises
    ------
    TypeError
        If it is no bytes.
    ValueError
        If it is no whole message; system messages (clock, sensing) are allowed, and mean nothing here.
    """
    if not isinstance(message, bytes | bytearray | memoryview):
        raise TypeError(f"a MIDI message must be bytes, got {type(message).__name__}")
    content = bytes(message)
    if not 1 <= len(content) <= 256 or content[0] < 0x80:
        raise ValueError(
            f"a MIDI message must begin with a status byte, got {content[:8].hex(' ') or 'none'}"
        )
    if content[0] >= _SYSTEM:
        return content
    expected = _LENGTHS[content[0] & 0xF0]
    if len(content) != expected or any(byte > 127 for byte in content[1:]):
        raise ValueError(
            f"a MIDI message of status {content[0]:#x} must have {expected - 1} data bytes in 0..127, got "
            f"{content[1:9].hex(' ') or 'none'}"
        )
    return content


def _paired(midi: Any) -> NDArray[np.float64]:
    """Pair starts and ends of notes; one that is struck again ends first, one without end ends the file."""
    now, begun = 0.0, dict[tuple[int, int], float]()
    notes: list[tuple[float, float, int]] = []
    for message in midi:
        now += message.time
        if message.type not in ("note_on", "note_off") or message.channel == _DRUMS:
            continue
        key = (message.channel, message.note)
        if key in begun:
            notes.append((begun.pop(key), now, message.note))
        if message.type == "note_on" and message.velocity > 0:
            begun[key] = now
    notes += [(start, now, pitch) for (_, pitch), start in begun.items()]
    return np.array(sorted(notes), dtype=np.float64).reshape(-1, 3)
