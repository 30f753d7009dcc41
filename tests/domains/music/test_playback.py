"""Playback on devices that are not there: what the loudspeaker gets, and what is said when it is missing."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import mido
import numpy as np
import pytest

from sciffusion.domains.music import playback
from sciffusion.domains.music.engine import EngineError, LiveEngine
from sciffusion.domains.music.live_stream import MusicBlock
from sciffusion.domains.music.playback import MidiInput, PlaybackError, play


class Ramp:
    """Blocks of 20 ms whose samples count up; ends in an error where asked to."""

    sample_rate, block_samples = 8000, 160

    def __init__(self, fail_at: int = -1) -> None:
        self.nfe, self.number, self.fail_at = 8, 0, fail_at
        self.controls: dict[str, Any] = {}
        self.heard: list[bytes] = []

    def step(self) -> MusicBlock:
        if self.number == self.fail_at:
            raise ValueError("out of tune")
        samples = np.arange(160 * self.number, 160 * (self.number + 1)) / 2**20 + 0.25
        self.number += 1
        return MusicBlock(self.number - 1, samples.astype(np.float32), 8, 0.0)

    def set(self, *, nfe: int | None = None, **controls: Any) -> None:
        self.controls.update(controls)

    def push_midi(self, message: bytes) -> None:
        self.heard.append(message)

    def push_audio(self, samples: Any, sample_rate: int) -> None:
        self.controls["partner"] = samples

    def state_dict(self) -> dict[str, Any]:
        return {"number": self.number}

    def load_state_dict(self, state: Any) -> None:
        self.number = state["number"]


class FakeSound:
    """What sounddevice offers, with a thread that calls back as a device would."""

    def __init__(self) -> None:
        self.heard: list[np.ndarray] = []
        self.options: dict[str, Any] = {}
        self.closed = False

    def OutputStream(self, **options: Any) -> FakeSound:  # noqa: N802
        self.options = options
        return self

    def __enter__(self) -> FakeSound:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._call_back)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join(5.0)
        self.closed = True

    def _call_back(self) -> None:
        size, rate = self.options["blocksize"], self.options["samplerate"]
        while not self._stop.wait(size / rate):
            out = np.full((size, 1), np.nan, dtype=np.float32)
            self.options["callback"](out, size, None, None)
            self.heard.append(out[:, 0].copy())


class FakeMidi:
    """What mido offers: a port with messages that are waiting."""

    def __init__(self, messages: list[mido.Message]) -> None:
        self.messages, self.closed, self.name = messages, False, ""

    def open_input(self, name: str | None) -> FakeMidi:
        self.name = name or ""
        return self

    def iter_pending(self) -> Iterator[mido.Message]:
        while self.messages:
            yield self.messages.pop(0)

    def close(self) -> None:
        self.closed = True


def _engine(**options: Any) -> LiveEngine:
    return LiveEngine(Ramp(**options), prebuffer_seconds=0.3, capacity_seconds=1.0)


def test_the_device_hears_the_stream_and_is_closed() -> None:
    sound, told = FakeSound(), []
    engine = _engine()
    stats = play(engine, "speaker", seconds=0.2, read_seconds=0.01, sound=sound, on_stats=told.append)
    heard = np.concatenate(sound.heard)
    assert np.isfinite(heard).all()
    playing = heard[heard > 0.25][64:-64]
    assert len(playing) > 400
    if stats.underruns == 0:
        assert np.allclose(np.diff(playing), 1 / 2**20, atol=1e-7)
    assert heard[-1] == 0.0
    assert sound.closed
    assert not engine.running
    assert {name: sound.options[name] for name in ("samplerate", "channels", "dtype", "device")} == {
        "samplerate": 8000, "channels": 1, "dtype": "float32", "device": "speaker"
    }  # fmt: skip
    assert sound.options["blocksize"] == 80
    assert told
    assert stats.blocks > 0


def test_a_failing_stream_is_told_after_the_device_is_closed() -> None:
    sound = FakeSound()
    with pytest.raises(EngineError, match="out of tune"):
        play(_engine(fail_at=3), seconds=5.0, read_seconds=0.01, sound=sound)
    assert sound.closed


def test_an_interrupt_ends_the_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(playback, "_listen", interrupt)
    sound, engine = FakeSound(), _engine()
    play(engine, read_seconds=0.01, sound=sound)
    assert sound.closed
    assert not engine.running


def test_a_device_that_cannot_be_opened_is_named() -> None:
    def refuse(**options: Any) -> None:
        raise RuntimeError("Invalid device")

    with pytest.raises(PlaybackError, match="output device 'nowhere' cannot be opened: Invalid device"):
        play(_engine(), "nowhere", sound=SimpleNamespace(OutputStream=refuse))


def test_a_missing_portaudio_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(module: str, extra: str) -> None:
        raise OSError("PortAudio library not found")

    monkeypatch.setattr(playback, "optional_import", broken)
    with pytest.raises(PlaybackError, match=r"PortAudio.*libportaudio2.*sciffusion music serve"):
        play(_engine())


def test_a_missing_sounddevice_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(ImportError, match=r"sciffusion\[music\]"):
        play(_engine())


def test_notes_of_a_keyboard_reach_the_stream_and_nothing_else_does() -> None:
    on, off = mido.Message("note_on", note=60, velocity=70), mido.Message("note_off", note=60)
    silence = mido.Message("control_change", control=123)
    others = [mido.Message("clock"), mido.Message("control_change", control=7), mido.Message("pitchwheel")]
    midi, stream = FakeMidi([on, *others, off, silence]), Ramp()
    with MidiInput(stream, "keys", backend=midi):
        deadline = time.monotonic() + 10.0
        while len(stream.heard) < 3 and time.monotonic() < deadline:
            time.sleep(0.005)
    assert stream.heard == [bytes([0x90, 60, 70]), bytes([0x80, 60, 64]), bytes([0xB0, 123, 0])]
    assert midi.name == "keys"
    assert midi.closed


def test_playing_with_a_keyboard_steers_the_engine() -> None:
    midi = FakeMidi([mido.Message("note_on", note=60)])
    engine = _engine()
    play(engine, seconds=0.1, read_seconds=0.01, sound=FakeSound(), midi=midi, midi_port="keys")
    assert len(engine.stream.heard) == 1  # type: ignore[attr-defined]
    assert midi.closed


def test_a_message_that_the_stream_refuses_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(message: bytes) -> None:
        raise ValueError("this model hears no notes")

    engine = _engine()
    monkeypatch.setattr(engine.stream, "push_midi", refuse)
    midi = FakeMidi([mido.Message("note_on", note=60)])
    with pytest.raises(PlaybackError, match="refused a MIDI message: this model hears no notes"):
        play(engine, seconds=20.0, read_seconds=0.01, sound=FakeSound(), midi=midi, midi_port="keys")
    assert midi.closed
    assert not engine.running


def test_what_is_missing_for_midi_is_named() -> None:
    def no_backend(name: str | None) -> None:
        raise ModuleNotFoundError("No module named 'rtmidi'")

    def no_port(name: str | None) -> None:
        raise OSError("unknown port")

    with pytest.raises(PlaybackError, match="python-rtmidi"):
        MidiInput(Ramp(), backend=SimpleNamespace(open_input=no_backend))
    with pytest.raises(PlaybackError, match="no MIDI input 'keys': unknown port"):
        MidiInput(Ramp(), "keys", backend=SimpleNamespace(open_input=no_port))
