"""A live stream on this machine's loudspeaker, and a MIDI keyboard that steers it.

Sound goes through sounddevice (PortAudio), whose callback reads the engine and does nothing else. Messages of
a keyboard come through mido, whose ports need a backend of their own (python-rtmidi). Both are looked for
when they are needed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Protocol

from sciffusion.estimators.imports import optional_import

from .engine import LiveEngine
from .stream_stats import StreamStats

__all__ = ["MidiInput", "PlaybackError", "play"]

ALL_NOTES_OFF = 123


class PlaybackError(RuntimeError):
    """No sound can be played, or no keyboard heard, on this machine; the message says what is missing."""


class _MidiSink(Protocol):
    def push_midi(self, message: bytes) -> None: ...


def play(
    engine: LiveEngine,
    device: int | str | None = None,
    *,
    seconds: float | None = None,
    read_seconds: float = 0.02,
    midi_port: str | None = None,
    on_stats: Callable[[StreamStats], None] | None = None,
    sound: Any = None,
    midi: Any = None,
) -> StreamStats:
    """Play an engine until it is interrupted (Ctrl-C), fails, or a time is over.

    Parameters
    ----------
    engine : LiveEngine
        Started if it is not running, and stopped at the end.
    device : int or str, optional
        Output device as sounddevice names it; the system's default one by default.
    seconds : float, optional
        How long, from the first sound on; without end by default.
    read_seconds : float, default .02
        Audio that the device asks for at once.
    midi_port : str, optional
        MIDI input that steers the stream (see `MidiInput`); none by default.
    on_stats : callable, optional
        Called with the statistics about twice a second.
    sound, midi : module, optional
        What offers ``OutputStream`` as sounddevice does, and ``open_input`` as mido does; those by default.

    Returns
    -------
    StreamStats
        At the end.

    Raises
    ------
    PlaybackError
        If PortAudio or the device is missing.
    EngineError
        If the stream fails; its sound is faded out first.
    """
    backend = _sounddevice() if sound is None else sound
    with ExitStack() as stack:
        checks = [engine.check]
        if midi_port is not None:
            checks.append(stack.enter_context(MidiInput(engine, midi_port, backend=midi)).check)
        output = stack.enter_context(_open_output(backend, engine, device, read_seconds))
        try:
            engine.start()
            _listen(engine, seconds, on_stats, checks)
        except KeyboardInterrupt:
            pass  # how a listener stops
        finally:
            engine.stop()
            # The fade is read by the device only after it was asked for.
            time.sleep(2 * read_seconds + float(getattr(output, "latency", 0.0)))
    return engine.stats


class MidiInput:
    """Hands the notes of a MIDI input to an engine or a stream; a context manager.

    Parameters
    ----------
    target : LiveEngine or LiveStream
        Hears note on, note off and all notes off; other messages are left out.
    port : str, optional
        Name of the input; the system's first one by default.
    backend : module, optional
        What offers ``open_input`` as mido does; mido by default.

    Raises
    ------
    PlaybackError
        If mido's own backend or the port is missing.
    """

    def __init__(self, target: _MidiSink, port: str | None = None, *, backend: Any = None) -> None:
        backend = optional_import("mido", "music") if backend is None else backend
        try:
            self._port = backend.open_input(port)
        except ImportError as error:
            raise PlaybackError(
                "MIDI input needs a backend of mido: run pip install python-rtmidi"
            ) from error
        except OSError as error:
            raise PlaybackError(f"there is no MIDI input {port!r}: {error}") from error
        self._target, self._stop = target, threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._hear, name="music-midi", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise `PlaybackError` if the target refused a message, after which nothing is heard any more."""
        if self._error is not None:
            raise PlaybackError(f"the stream refused a MIDI message: {self._error}") from self._error

    def close(self) -> None:
        """Stop hearing and close the port."""
        self._stop.set()
        self._thread.join(5.0)
        self._port.close()

    def __enter__(self) -> MidiInput:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _hear(self) -> None:
        try:
            while not self._stop.wait(0.002):
                for message in self._port.iter_pending():
                    if _is_note(message):
                        self._target.push_midi(bytes(message.bytes()))
        except Exception as error:
            self._error = error


def _is_note(message: Any) -> bool:
    if message.type == "control_change":
        return bool(message.control == ALL_NOTES_OFF)
    return message.type in ("note_on", "note_off")


def _sounddevice() -> Any:
    try:
        return optional_import("sounddevice", "music")
    except OSError as error:
        raise PlaybackError(
            f"sounddevice is installed, but PortAudio, which it plays through, is not ({error}): install the "
            "system package, such as libportaudio2 on Debian, or listen in a browser with "
            "`sciffusion music serve`"
        ) from error


def _open_output(backend: Any, engine: LiveEngine, device: int | str | None, read_seconds: float) -> Any:
    def fill(out: Any, frames: int, when: Any, status: Any) -> None:
        engine.read_into(out[:, 0])

    try:
        return backend.OutputStream(
            samplerate=engine.sample_rate, channels=1, dtype="float32", device=device, callback=fill,
            blocksize=round(read_seconds * engine.sample_rate),
        )  # fmt: skip
    except Exception as error:  # PortAudio's own kind of error is known only where PortAudio is
        raise PlaybackError(f"the output device {device!r} cannot be opened: {error}") from error


def _listen(
    engine: LiveEngine,
    seconds: float | None,
    on_stats: Callable[[StreamStats], None] | None,
    checks: Sequence[Callable[[], None]],
) -> None:
    """Wait while the device plays."""
    begun: float | None = None
    told = -1
    while True:
        for check in checks:
            check()
        stats = engine.stats
        now = time.monotonic()
        if begun is None and stats.heard_seconds > 0:
            begun = now
        elapsed = 0.0 if begun is None else now - begun
        if on_stats is not None and int(2 * elapsed) > told:
            told = int(2 * elapsed)
            on_stats(stats)
        if seconds is not None and elapsed >= seconds:
            return
        time.sleep(0.01 if seconds is not None else 0.05)
