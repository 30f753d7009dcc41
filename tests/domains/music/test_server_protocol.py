"""The protocol: what is packed is unpacked, and nothing else passes."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest

from sciffusion.domains.music.server_protocol import (
    HEADER,
    Hello,
    Midi,
    ProtocolError,
    Report,
    Settings,
    audio_frame,
    parse_audio,
    parse_message,
)


def upward(samples: np.ndarray, rate: int = 48_000, magic: int = 0x4D53, kind: int = 1) -> bytes:
    return struct.pack("<HBBIQ", magic, 1, kind, 0, rate) + samples.astype("<f4").tobytes()


def test_a_frame_has_an_aligned_header_and_little_endian_samples() -> None:
    samples = np.array([0.5, -1.0], dtype=np.float32)
    frame = audio_frame(2**32 + 7, 2**40 + 3, samples)
    assert HEADER.size == 16
    assert HEADER.unpack_from(frame) == (0x4D53, 1, 1, 7, 2**40 + 3)
    assert frame[16:] == b"\x00\x00\x00\x3f\x00\x00\x80\xbf"


def test_heard_audio_is_what_was_sent_and_clipped_to_full_scale() -> None:
    heard = parse_audio(upward(np.array([0.25, -3.0, 1.5])), 10)
    assert heard.sample_rate == 48_000
    np.testing.assert_array_equal(heard.samples, np.array([0.25, -1.0, 1.0], dtype=np.float32))


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (b"abc", "header of 16 bytes, got 3"),
        (upward(np.zeros(4), magic=1), "must be audio"),
        (upward(np.zeros(4), kind=9), "must be audio"),
        (upward(np.zeros(0)), "1 to 10 float32 samples, got 0 bytes"),
        (upward(np.zeros(11)), "1 to 10 float32 samples, got 44 bytes"),
        (upward(np.zeros(4)) + b"x", "float32 samples, got 17 bytes"),
        (upward(np.array([0.0, np.nan])), "NaN or infinite"),
        (upward(np.array([np.inf])), "NaN or infinite"),
        (upward(np.zeros(4), rate=3), "sample rate must lie in"),
        (np.random.default_rng(0).bytes(64), "must be audio"),
    ],
)
def test_other_binary_messages_are_refused(message: bytes, words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        parse_audio(message, 10)


def test_messages_are_read() -> None:
    hello = parse_message('{"type": "hello", "version": 1, "seed": 3, "nfe": 4, "context": "a"}')
    assert hello == Hello(None, None, 0, 3, 4, "a")
    assert parse_message('{"type": "report", "played": 5}') == Report(5, 0, 0)
    assert parse_message('{"type": "midi", "data": [144, 60, 100], "id": 2}') == Midi(b"\x90\x3c\x64", 2)
    assert parse_message('{"type": "bye"}') is None
    said = parse_message('{"type": "set", "controls": {"style": "organ", "loudness": -3, "chroma": [1, 0]}}')
    assert isinstance(said, Settings)
    assert (said.controls["style"], said.controls["loudness"], said.nfe) == ("organ", -3.0, None)
    np.testing.assert_array_equal(said.controls["chroma"], np.array([1.0, 0.0], dtype=np.float32))
    released = parse_message('{"type": "set", "controls": {"chroma": null}, "nfe": 2}')
    assert isinstance(released, Settings)
    assert released.controls == {"chroma": None}
    assert released.nfe == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "must be JSON"),
        ("[" * 100_000, "must be JSON"),
        ("[1]", "JSON object, got list"),
        ("{}", "type must be one of"),
        ('{"type": ["set"]}', "type must be one of"),
        ('{"type": "nonsense"}', "got 'nonsense'"),
        ('{"type": "hello"}', "version must be 1, got None"),
        ('{"type": "hello", "version": 1, "seed": -1}', "seed must be a whole number"),
        ('{"type": "hello", "version": 1, "seed": 4294967296}', "seed must be a whole number"),
        ('{"type": "hello", "version": 1, "session": 5}', "session must be"),
        ('{"type": "hello", "version": 1, "next": true}', "next must be a whole number"),
        ('{"type": "report", "played": -1}', "played must be"),
        ('{"type": "report", "played": 1e3}', "played must be"),
        ('{"type": "report"}', "played must be"),
        ('{"type": "set", "controls": 5}', "controls must be an object"),
        ('{"type": "set", "controls": {"a": NaN}}', "must be JSON"),
        ('{"type": "set", "controls": {"a": [1, "x"]}}', "control 'a' must be a number"),
        ('{"type": "set", "controls": {"a": []}}', "control 'a' must be a number"),
        ('{"type": "set", "controls": {"a": 1e300}}', "control 'a' must be a number"),
        ('{"type": "set", "controls": {"a": {"b": 1}}}', "control 'a' must be a number"),
        ('{"type": "set", "controls": {"a": true}}', "control 'a' must be a number"),
        ('{"type": "set", "nfe": 0}', "nfe must be at least 1"),
        ('{"type": "set", "nfe": 2.5}', "nfe must be a whole number"),
        ('{"type": "midi", "data": []}', "one to three MIDI bytes"),
        ('{"type": "midi", "data": [60, 60, 60]}', "status byte"),
        ('{"type": "midi", "data": [144, 200, 3]}', "status byte"),
        ('{"type": "midi", "data": [144, 60, 100, 1]}', "one to three MIDI bytes"),
        ('{"type": "midi", "data": "x"}', "one to three MIDI bytes"),
    ],
)
def test_other_messages_are_refused_with_what_was_found(text: str, words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        parse_message(text)


def test_long_nonsense_is_not_repeated_at_length() -> None:
    with pytest.raises(ProtocolError) as error:
        parse_message(json.dumps({"type": "x" * 50_000}))
    assert len(str(error.value)) < 400
