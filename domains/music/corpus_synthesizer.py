"""FluidSynth, a program of its own, makes sound of MIDI files with a soundfont of the machine.

Both are installed by whoever renders; nothing of them comes with this library, and a render carries the
terms of its soundfont. A render is stopped once it takes far longer, or grows far larger, than its MIDI file
can explain: FluidSynth plays on for as long as any note sounds.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .audio import Audio, read_audio, write_audio

__all__ = ["PROGRAMS", "Synthesizer", "find_fluidsynth", "find_soundfont", "render_midi"]

#: General MIDI programs, from 0, of the styles.
PROGRAMS = {
    "piano": 0,
    "harpsichord": 6,
    "celesta": 8,
    "vibraphone": 11,
    "organ": 19,
    "accordion": 21,
    "guitar": 24,
    "harp": 46,
    "strings": 48,
    "choir": 52,
    "brass": 61,
    "clarinet": 71,
    "flute": 73,
    "pad": 89,
}

SOUNDFONT_VARIABLE = "SCIFFUSION_SOUNDFONT"
_FOLDERS = (
    "/usr/share/sounds/sf2",  # Debian, Ubuntu
    "/usr/share/soundfonts",  # Fedora, Arch
    "/usr/local/share/soundfonts",
    "/opt/homebrew/share/soundfonts",  # Homebrew
    "/opt/homebrew/share/fluid-synth/sf2",
    "/usr/local/share/fluid-synth/sf2",
    "~/.local/share/soundfonts",
    "~/Library/Audio/Sounds/Banks",
    "C:/soundfonts",
)
_NAMES = ("FluidR3_GM.sf2", "default-GM.sf2", "default.sf2", "TimGM6mb.sf2")
_REMEDY = (
    "install the packages fluidsynth and fluid-soundfont-gm (Debian, Ubuntu: apt install fluidsynth "
    "fluid-soundfont-gm; Fedora: dnf install fluidsynth fluid-soundfont-gm; macOS: brew install fluid-synth)"
)
_LOUDEST = 0.98  # of full scale; a louder render is turned down as a whole
_SILENT = 1e-4
_BYTES = 8  # two channels of 32-bit floating-point numbers


class Synthesizer(NamedTuple):
    """What a render depends on besides its notes.

    Parameters
    ----------
    executable : str
        FluidSynth.
    soundfont : Path
        General MIDI soundfont (.sf2, .sf3).
    sample_rate : int
        Samples a second.
    gain : float
        FluidSynth's master gain; .4 leaves chorales about 10 dB below full scale.
    reverb : bool
        Whether FluidSynth's room is heard.
    """

    executable: str
    soundfont: Path
    sample_rate: int = 24_000
    gain: float = 0.4
    reverb: bool = True

    def settings(self) -> dict[str, object]:
        """Return what makes two renders comparable, as plain values."""
        return {
            "sample_rate": self.sample_rate,
            "gain": self.gain,
            "reverb": self.reverb,
            "soundfont": self.soundfont.name,
        }


class Rendering(NamedTuple):
    """A finished render: its duration in seconds, and the gain it was made with."""

    seconds: float
    gain: float


def find_fluidsynth() -> str:
    """Return the path of FluidSynth.

    Raises
    ------
    FileNotFoundError
        If it is not installed, with the packages that bring it.
    """
    found = shutil.which("fluidsynth")
    if found is None:
        raise FileNotFoundError(f"rendering scores needs the program fluidsynth, not found here: {_REMEDY}")
    return found


def find_soundfont(given: str | os.PathLike[str] | None = None) -> Path:
    """Return a General MIDI soundfont of this machine.

    Parameters
    ----------
    given : path-like, optional
        The one to use; else the environment variable ``SCIFFUSION_SOUNDFONT`` or the usual places.

    Raises
    ------
    FileNotFoundError
        If there is none, with the package that brings one.
    """
    named = given if given is not None else os.environ.get(SOUNDFONT_VARIABLE)
    if named is not None:
        if not Path(named).is_file():
            raise FileNotFoundError(f"there is no soundfont {os.fspath(named)!r}")
        return Path(named)
    folders = [Path(folder).expanduser() for folder in _FOLDERS]
    for path in (folder / name for name in _NAMES for folder in folders):
        if path.is_file():
            return path
    for folder in folders:
        for path in sorted([*folder.glob("*.sf2"), *folder.glob("*.sf3")]):
            return path
    raise FileNotFoundError(
        f"rendering scores needs a General MIDI soundfont, and none was found: {_REMEDY}; or name one with "
        f"the option --soundfont or the environment variable {SOUNDFONT_VARIABLE}"
    )


def render_midi(synthesizer: Synthesizer, midi: bytes, seconds: float, out: Path) -> Rendering:
    """Render a MIDI file to a sound file with two channels, which appears as a whole or not at all.

    Parameters
    ----------
    synthesizer : Synthesizer
    midi : bytes
        Content of the MIDI file.
    seconds : float
        How long it plays.
    out : Path
        The sound file.

    Raises
    ------
    RuntimeError
        If FluidSynth fails, does not end, or renders silence.
    """
    with tempfile.TemporaryDirectory(prefix=".render-", dir=out.parent) as name:
        source, raw = Path(name) / "score.mid", Path(name) / "render.wav"
        source.write_bytes(midi)
        _run(synthesizer, source, raw, seconds)
        samples, rate = read_audio(raw)
    loudest = float(np.abs(samples).max())
    if loudest < _SILENT:
        raise RuntimeError("FluidSynth rendered silence; does the soundfont have the instrument?")
    scale = min(1.0, _LOUDEST / loudest)
    samples = _without_silent_end(samples, loudest, rate) * np.float32(scale)
    write_audio(out, Audio(samples, rate))
    return Rendering(len(samples) / rate, synthesizer.gain * scale)


def _without_silent_end(samples: NDArray[np.float32], loudest: float, rate: int) -> NDArray[np.float32]:
    """Cut the seconds that FluidSynth adds after the last note died away (60 dB below the loudest)."""
    heard = np.flatnonzero(np.abs(samples).max(axis=1) > 1e-3 * loudest)
    kept = samples[: int(heard[-1]) + 1].copy()
    fade = min(len(kept), rate // 50)
    kept[-fade:] *= np.linspace(1.0, 0.0, fade, dtype=np.float32)[:, None]
    return kept


def _run(synthesizer: Synthesizer, source: Path, raw: Path, seconds: float) -> None:
    command = [
        synthesizer.executable, "-n", "-i", "-q", "-g", str(synthesizer.gain),
        "-R", str(int(synthesizer.reverb)), "-C", "0", "-r", str(synthesizer.sample_rate),
        "-T", "wav", "-O", "float", "-F", str(raw), str(synthesizer.soundfont), str(source),
    ]  # fmt: skip
    most_bytes = (seconds + 30.0) * synthesizer.sample_rate * _BYTES
    deadline = time.monotonic() + 60.0 + 5.0 * seconds
    log = raw.with_suffix(".log")
    with log.open("wb") as messages:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=messages
        )
        try:
            _watch(process, raw, most_bytes, deadline)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if process.returncode != 0 or not raw.is_file():
        said = log.read_text(errors="replace").strip().splitlines()
        why = f": {said[-1]}" if said else ""
        raise RuntimeError(f"FluidSynth ended with status {process.returncode}{why}")


def _watch(process: subprocess.Popen[bytes], raw: Path, most_bytes: float, deadline: float) -> None:
    while True:
        try:
            process.wait(timeout=0.2)
            return
        except subprocess.TimeoutExpired:
            if raw.is_file() and raw.stat().st_size > most_bytes:
                raise RuntimeError("FluidSynth did not end: it played on after the last note") from None
            if time.monotonic() > deadline:
                raise RuntimeError("FluidSynth did not end in time") from None
