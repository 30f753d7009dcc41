"""Streams of the command line: played in real time, changed on the way, and how they kept up."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sciffusion.training.checkpoints import write_atomically

from .audio import Audio
from .chords import parse_chords
from .cli_options import style_of
from .control_input import encode_control
from .diffusion import LiveMusicDiffusion
from .engine import LiveEngine
from .engine_runs import StreamTrace, paced_run
from .live_stream import LiveStream, MusicBlock
from .playback import PlaybackError, play
from .stream_stats import StreamStats

__all__ = [
    "MOST_CHORD_SECONDS",
    "Change",
    "StreamResult",
    "Tap",
    "play_stream",
    "prepare_changes",
    "record_stream",
    "write_stats",
]

Progress = Callable[[int, int, str], object]

MOST_CHORD_SECONDS = 600.0  # how far ahead a progression of chords is written out
_NAMES = ("chords", "loudness", "tempo", "style", "nfe")
_RELEASED = "off"


class Change(NamedTuple):
    """What `LiveStream.set` is given once so many seconds were heard."""

    seconds: float
    settings: dict[str, Any]


class Tap:
    """A stream that passes everything on and remembers its blocks.

    Parameters
    ----------
    stream : LiveStream
    keep_audio : bool
        Whether to remember their sound, too.

    Attributes
    ----------
    block_times : list of float
        Seconds that each block took.
    """

    def __init__(self, stream: LiveStream, keep_audio: bool) -> None:
        self._stream, self._keep = stream, keep_audio
        self._parts: list[NDArray[np.float32]] = []
        self.block_times: list[float] = []
        self.push_midi, self.push_audio = stream.push_midi, stream.push_audio
        self.set, self.state_dict, self.load_state_dict = (
            stream.set, stream.state_dict, stream.load_state_dict,
        )  # fmt: skip

    @property
    def sample_rate(self) -> int:
        """Samples a second."""
        return self._stream.sample_rate

    @property
    def block_samples(self) -> int:
        """Samples in a block."""
        return self._stream.block_samples

    @property
    def nfe(self) -> int:
        """Evaluations a block, from the next one on."""
        return self._stream.nfe

    @property
    def controls(self) -> Mapping[str, Any]:
        """What is set."""
        return self._stream.controls

    def step(self) -> MusicBlock:
        """Make the next block."""
        block = self._stream.step()
        self.block_times.append(block.seconds)
        if self._keep:
            self._parts.append(block.samples)
        return block

    def audio(self, seconds: float) -> Audio:
        """Return the first seconds of the stream; what underruns kept from being made is made now."""
        wanted = round(seconds * self.sample_rate)
        while len(self._parts) * self.block_samples < wanted:
            self._parts.append(self._stream.step().samples)
        return Audio(np.concatenate(self._parts)[:wanted], self.sample_rate)


class StreamResult(NamedTuple):
    """How a stream kept up.

    Parameters
    ----------
    heard_seconds : float
        Music that was heard.
    stats : StreamStats
        At the end.
    block_seconds : float
        Audio of a block.
    trace : StreamTrace or None
        Its course; None of a sound card.
    """

    heard_seconds: float
    stats: StreamStats
    block_seconds: float
    trace: StreamTrace | None

    def summary(self) -> str:
        """Return a line."""
        stats = self.stats
        kept = {0: "no underrun", 1: "1 underrun"}.get(stats.underruns, f"{stats.underruns} underruns")
        return (
            f"{self.heard_seconds:.1f} s in blocks of {self.block_seconds:.2f} s: {kept}; a block took "
            f"{stats.p50:.2f} s (median; .99 quantile {stats.p99:.2f} s) at nfe {stats.nfe} of "
            f"{stats.nfe_wanted}; real-time factor {stats.real_time_factor:.2f}."
        )


def prepare_changes(
    model: LiveMusicDiffusion, texts: Sequence[str], seconds: float | None = None
) -> list[Change]:
    """Read changes written as ``SECONDS:NAME=VALUE``, in the order of time, and try them on the model.

    Raises
    ------
    ValueError
        For one that cannot be read, or that the model cannot follow.
    """
    rate = model.codec_.sample_rate / model.codec_.hop
    end = MOST_CHORD_SECONDS if seconds is None else seconds
    changes = [_change(text, rate, end) for text in texts]
    for change in changes:
        for name, value in change.settings.items():
            if name != "nfe":
                model.layout_.place(name)
                if value is not None:
                    encode_control(model.layout_, name, value, rate)
    return sorted(changes, key=lambda change: change.seconds)


def record_stream(
    stream: LiveStream, seconds: float, changes: Sequence[Change], *, lowest_nfe: int, progress: Progress
) -> StreamResult:
    """Listen to a stream in real time without a sound card.

    Raises
    ------
    EngineError
        If the stream fails.
    """
    engine = _engine(stream, lowest_nfe)
    with engine:
        run = paced_run(engine, seconds, on_read=_follower(engine, seconds, changes, progress))
    # The engine fades out behind what was asked for.
    heard = min(seconds, run.stats.heard_seconds)
    return StreamResult(heard, run.stats, stream.block_samples / stream.sample_rate, run.trace)


def play_stream(
    stream: LiveStream,
    seconds: float | None,
    changes: Sequence[Change],
    *,
    lowest_nfe: int,
    progress: Progress,
    device: str | None = None,
    midi_port: str = "",
    sound: Any = None,
) -> StreamResult:
    """Play a stream on the sound card, until Ctrl-C where no time is given.

    Raises
    ------
    OSError
        If no sound can be played or no keyboard heard on this machine.
    EngineError
        If the stream fails.
    """
    engine = _engine(stream, lowest_nfe)
    try:
        stats = play(
            engine, device, seconds=seconds, sound=sound,
            midi_port=midi_port or None,
            on_stats=_follower(engine, seconds or math.inf, changes, progress),
        )  # fmt: skip
    except PlaybackError as error:
        raise OSError(str(error)) from error
    return StreamResult(stats.heard_seconds, stats, stream.block_samples / stream.sample_rate, None)


def write_stats(path: Path, result: StreamResult, **known: Any) -> None:
    """Write how a stream kept up as JSON; the fields are those of `StreamStats`."""
    content = {
        "seconds": result.heard_seconds, "block_seconds": result.block_seconds, **known,
        **result.stats.to_json(),
    }  # fmt: skip
    text = json.dumps(content, indent=2) + "\n"
    write_atomically(path, lambda file: file.write(text.encode("utf-8")))


def _engine(stream: LiveStream, lowest_nfe: int) -> LiveEngine:
    return LiveEngine(stream, lowest_nfe=min(lowest_nfe, stream.nfe))


def _follower(
    engine: LiveEngine, seconds: float, changes: Sequence[Change], progress: Progress
) -> Callable[[StreamStats], None]:
    """Return what looks at a run now and then: makes changes that are due, and shows how it goes."""
    waiting = list(changes)
    total = int(seconds) if seconds < math.inf else 0

    def follow(stats: StreamStats) -> None:
        while waiting and waiting[0].seconds <= stats.heard_seconds:
            # Not in the thread that listens: reading a long progression takes some milliseconds.
            Thread(target=engine.set, kwargs=waiting.pop(0).settings, daemon=True).start()
        heard = int(stats.heard_seconds)
        progress(
            heard if not total else min(heard, total), max(1, total or heard),
            f"{stats.fill_seconds:.1f} s buffered, nfe {stats.nfe}, underruns {stats.underruns}",
        )  # fmt: skip

    return follow


def _change(text: str, frame_rate: float, end: float) -> Change:
    moment, _, rest = text.partition(":")
    name, sign, value = rest.partition("=")
    try:
        seconds = float(moment)
    except ValueError:
        seconds = math.nan
    if not sign or not 0 <= seconds < math.inf or name not in _NAMES:
        raise ValueError(
            f"--at must be SECONDS:NAME=VALUE with a name of {', '.join(_NAMES)}, such as 20:style=organ, "
            f"got {text!r}"
        )
    if name == "chords" and value != _RELEASED:
        # Begins with some block after the change, so it is written a little further than to the end.
        left = min(MOST_CHORD_SECONDS, max(0.0, end - seconds) + 10.0)
        return Change(seconds, {"chroma": parse_chords(value, left, frame_rate)})
    return Change(seconds, {"chroma" if name == "chords" else name: _value(name, value)})


def _value(name: str, value: str) -> Any:
    if value == _RELEASED and name != "nfe":
        return None
    if name == "style":
        return style_of(value)
    try:
        return int(value) if name == "nfe" else float(value)
    except ValueError:
        raise ValueError(f"--at: {name} must be a number, got {value!r}") from None
