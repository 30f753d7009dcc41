"""Notes of MIDI files, and keys told by live messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sciffusion.domains.music.midi_input import HeldKeys, check_message, key_chroma, key_roll, read_notes

mido = pytest.importorskip("mido")


def on(pitch: int, velocity: int = 64) -> bytes:
    return bytes([0x90, pitch, velocity])


def off(pitch: int) -> bytes:
    return bytes([0x80, pitch, 0])


def pedal(value: int) -> bytes:
    return bytes([0xB0, 64, value])


def hear(*messages: bytes) -> HeldKeys:
    keys = HeldKeys()
    for message in messages:
        keys.hear(message)
        keys.next_block()
    return keys


def test_files_give_seconds_through_changes_of_tempo(tmp_path: Path) -> None:
    track = mido.MidiTrack(
        [
            mido.MetaMessage("set_tempo", tempo=500_000),
            mido.Message("note_on", note=60, velocity=64),
            mido.Message("note_on", note=60, velocity=0, time=480),
            mido.MetaMessage("set_tempo", tempo=1_000_000),
            mido.Message("note_on", note=64, velocity=64),
            mido.Message("note_on", note=40, velocity=64, channel=9),
            mido.Message("note_on", note=64, velocity=64, time=480),
            mido.Message("note_off", note=64, velocity=0, time=240),
        ]
    )
    mido.MidiFile(tracks=[track], ticks_per_beat=480).save(tmp_path / "a.mid")
    assert_allclose(
        read_notes(tmp_path / "a.mid"), [[0.0, 0.5, 60], [0.5, 1.5, 64], [1.5, 2.0, 64]], atol=1e-6
    )


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mid").write_bytes(b"RIFF no notes")
    with pytest.raises(ValueError, match="no MIDI file"):
        read_notes(tmp_path / "a.mid")
    with pytest.raises(FileNotFoundError, match="there is no MIDI file"):
        read_notes(tmp_path / "b.mid")


def test_keys_sound_while_they_are_down() -> None:
    assert hear(on(60), on(64)).pitches == (60, 64)
    assert hear(on(60), on(64), off(60)).pitches == (64,)
    assert hear(on(60), on(60, 0)).pitches == ()
    assert hear(off(60)).pitches == ()


def test_the_pedal_holds_keys_until_it_is_let_go() -> None:
    assert hear(on(60), pedal(127), off(60), on(64)).pitches == (60, 64)
    assert hear(on(60), pedal(127), off(60), on(64), pedal(0)).pitches == (64,)
    assert hear(on(60), pedal(127), pedal(0), off(60)).pitches == ()


@pytest.mark.parametrize("number", [120, 123])
def test_all_notes_off_is_obeyed(number: int) -> None:
    assert hear(on(60), pedal(127), off(60), on(62), bytes([0xB0, number, 0])).pitches == ()


def test_a_key_struck_between_two_blocks_counts_for_one() -> None:
    keys = HeldKeys()
    keys.hear(on(60))
    keys.hear(off(60))
    assert keys.pitches == (60,)
    keys.next_block()
    assert keys.pitches == ()


def test_states_go_round() -> None:
    keys = HeldKeys()
    for message in (on(60), pedal(127), off(60), on(64)):
        keys.hear(message)
    back = HeldKeys()
    back.restore(keys.state())
    back.hear(pedal(0))
    back.next_block()
    assert back.pitches == (64,)


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (b"", ValueError), (b"\x40\x40", ValueError), (b"\x90\x40", ValueError),
        (b"\x90\x40\x90", ValueError), (b"\x90\x40\x40\x40", ValueError), (b"\x90" * 300, ValueError),
        ([0x90, 60, 64], TypeError), ("note", TypeError),
    ],
)  # fmt: skip
def test_what_is_no_message_is_refused(message: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="MIDI message"):
        check_message(message)


@pytest.mark.parametrize("message", [b"\xf8", b"\xfe", b"\xc0\x05", b"\xe0\x00\x40", b"\xf0\x01\xf7"])
def test_other_messages_mean_nothing(message: bytes) -> None:
    assert hear(on(60), check_message(message)).pitches == (60,)


def test_keys_as_controls() -> None:
    assert np.flatnonzero(key_chroma([48, 60, 67])).tolist() == [0, 7]
    assert np.flatnonzero(key_roll([30, 36, 95, 96])).tolist() == [0, 59]
