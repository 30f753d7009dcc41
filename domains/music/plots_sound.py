r"""Spectrograms by pitch, and chroma, of audio.

A spectrogram shows the power spectrum of Hann windows of 85 ms (long enough for semitones from about 200 Hz
up), summed over bands of a third of a semitone, in decibels of its loudest point. The axis of frequency is
logarithmic: octaves are equally high, and a tone with its overtones has the same shape wherever it lies.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .audio import Audio, as_audio
from .midi_input import read_notes
from .plots_style import INK, calm, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["pitch_spectrogram", "plot_chroma", "plot_spectrogram"]

PITCH_NAMES = ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")

_BANDS = 36  # an octave
_WINDOW_SECONDS = 0.085
_MOST_FRAMES = 1600  # of a picture
_TICKS = (50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000)
_FINE_TICKS = (50, 70, 100, 150, 200, 300, 400, 500, 700, 1000, 1500, 2000, 3000, 4000, 5000, 7000, 10_000)


def pitch_spectrogram(
    audio: Audio, lowest: float, highest: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the power in logarithmic bands.

    Parameters
    ----------
    audio : Audio
    lowest, highest : float
        Hertz.

    Returns
    -------
    power : ndarray of shape ``(bands, frames)``
        From the lowest band on.
    seconds : ndarray of shape ``(frames,)``
        Middles of the frames.
    """
    rate = audio.sample_rate
    samples = audio.mono_at(rate)
    window = min(round(_WINDOW_SECONDS * rate), len(samples))
    hop = max(window // 4, (len(samples) - window) // _MOST_FRAMES, 1)
    frames = np.lib.stride_tricks.sliding_window_view(samples, window)[::hop]
    size = 1 << (2 * window - 1).bit_length()
    spectrum = np.abs(np.fft.rfft(frames * np.hanning(window), size, axis=1)) ** 2
    hertz = np.fft.rfftfreq(size, 1 / rate)
    count = max(1, round(_BANDS * np.log2(highest / lowest)))
    edges = np.geomspace(lowest, highest, count + 1)
    # Bands narrower than the grid of frequencies take what lies between its points.
    below = np.concatenate([np.zeros((len(frames), 1)), np.cumsum(spectrum, axis=1)], axis=1)
    places = np.clip(edges / hertz[1] + 0.5, 0, below.shape[1] - 1)
    whole = places.astype(int)
    part = places - whole
    upper = np.minimum(whole + 1, below.shape[1] - 1)
    until = below[:, whole] * (1 - part) + below[:, upper] * part
    return np.diff(until, axis=1).T, (np.arange(len(frames)) * hop + window / 2) / rate


def plot_spectrogram(
    audio: Any,
    *,
    sample_rate: int | None = None,
    notes: str | os.PathLike[str] | ArrayLike | None = None,
    lowest: float = 55.0,
    highest: float | None = None,
    decibels: float = 70.0,
    ax: Any = None,
) -> Figure:
    """Draw a spectrogram over seconds and hertz.

    Parameters
    ----------
    audio : path-like, Audio or array-like
        Sound; of arrays the sample rate is needed.
    sample_rate : int, optional
        Of an array.
    notes : MIDI file, or array-like of shape ``(notes, 3)``, optional
        Start and end in seconds and MIDI pitch, drawn at the height of the fundamental.
    lowest, highest : float
        Hertz shown; up to 8000 Hz or half the sample rate by default.
    decibels : float > 0
        Range of levels, down from the loudest.
    ax : Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    AudioError
        For what is no audio.
    ValueError
        For a range of frequencies or levels that is empty.
    ImportError
        If matplotlib is not installed.
    """
    sound = as_audio(audio, sample_rate)
    top = min(8000.0, sound.sample_rate / 2) if highest is None else highest
    if not 0 < lowest < top <= sound.sample_rate / 2:
        raise ValueError(
            "lowest and highest must be hertz with 0 < lowest < highest <= half the sample rate "
            f"({sound.sample_rate / 2:g}), got {lowest:g} and {top:g}"
        )
    if not decibels > 0:
        raise ValueError(f"decibels must be above 0, got {decibels}")
    figure, (axis,) = panels([3.2], ax)
    power, _ = pitch_spectrogram(sound, lowest, top)
    loudest = max(float(power.max()), 1e-20)
    levels = 10 * np.log10(np.maximum(power / loudest, 1e-20))
    image = axis.imshow(
        levels, origin="lower", aspect="auto", cmap="magma", vmin=-decibels, vmax=0, interpolation="nearest",
        extent=(0.0, sound.seconds, np.log2(lowest), np.log2(top)),
    )  # fmt: skip
    if notes is not None:
        _draw_notes(axis, _notes(notes), lowest, top)
    _hertz_axis(axis, lowest, top)
    axis.set_xlim(0, sound.seconds)
    axis.set_xlabel("seconds")
    if ax is None:
        bar = figure.colorbar(image, ax=axis, pad=0.01)
        bar.set_label("dB of the loudest", fontsize=9)
        bar.outline.set_visible(False)
    return figure


def plot_chroma(
    chroma: ArrayLike, frame_rate: float, *, asked: ArrayLike | None = None, ax: Any = None
) -> Figure:
    """Draw the strength of the twelve pitch classes over seconds.

    Parameters
    ----------
    chroma : array-like of shape ``(frames, 12)``
        What is heard, in [0, 1].
    frame_rate : float
        Frames a second.
    asked : array-like of shape ``(frames, 12)``, optional
        What was asked for: pitch classes above one half are framed. NaN is nothing.
    ax : Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        For other shapes.
    """
    heard = _chroma_rows("chroma", chroma)
    figure, (axis,) = panels([2.4], ax)
    extent = (0.0, len(heard) / frame_rate, -0.5, 11.5)
    image = axis.imshow(
        heard.T, origin="lower", aspect="auto", cmap="Blues", vmin=0, vmax=1, extent=extent,
        interpolation="nearest",
    )  # fmt: skip
    if asked is not None:
        _frame_asked(axis, _chroma_rows("asked", asked), frame_rate)
    axis.set_yticks(range(12), PITCH_NAMES)
    axis.set_xlim(0, extent[1])
    axis.set_xlabel("seconds")
    calm(axis)
    if ax is None:
        bar = figure.colorbar(image, ax=axis, pad=0.01)
        bar.set_label("strength", fontsize=9)
        bar.outline.set_visible(False)
    return figure


def _notes(notes: Any) -> NDArray[np.float64]:
    if isinstance(notes, str | os.PathLike):
        return read_notes(notes)
    found = np.asarray(notes, dtype=np.float64)
    if found.ndim != 2 or found.shape[1] != 3:
        raise ValueError(f"notes must have shape (notes, 3): start, end, pitch; got {found.shape}")
    return found


def _draw_notes(axis: Axes, notes: NDArray[np.float64], lowest: float, top: float) -> None:
    heights = np.log2(440.0) + (notes[:, 2] - 69) / 12
    shown = (heights >= np.log2(lowest)) & (heights <= np.log2(top))
    axis.hlines(heights[shown], notes[shown, 0], notes[shown, 1], color="#7fffd4", linewidth=1.0, alpha=0.9)


def _hertz_axis(axis: Axes, lowest: float, top: float) -> None:
    ticks = [tick for tick in _TICKS if lowest <= tick <= top]
    if len(ticks) < 3:
        ticks = [tick for tick in _FINE_TICKS if lowest <= tick <= top]
    labels = [f"{tick / 1000:g}k" if tick >= 1000 else str(tick) for tick in ticks]
    axis.set_yticks(np.log2(ticks) if ticks else [], labels)
    axis.set_ylim(np.log2(lowest), np.log2(top))
    axis.set_ylabel("Hz")
    calm(axis)


def _chroma_rows(name: str, values: ArrayLike) -> NDArray[np.float64]:
    rows = np.asarray(values, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] != 12 or not len(rows):
        raise ValueError(f"{name} must have shape (frames, 12), got {rows.shape}")
    return rows


def _frame_asked(axis: Axes, asked: NDArray[np.float64], frame_rate: float) -> None:
    """Draw the outline of every stretch in which a pitch class was asked for."""
    for pitch in range(12):
        on = np.r_[False, np.nan_to_num(asked[:, pitch]) > 0.5, False].astype(np.int8)
        for start, stop in zip(
            np.flatnonzero(np.diff(on) == 1), np.flatnonzero(np.diff(on) == -1), strict=True
        ):
            left, right = start / frame_rate, stop / frame_rate
            axis.plot(
                [left, right, right, left, left], pitch + np.array([-0.45, -0.45, 0.45, 0.45, -0.45]),
                color=INK, linewidth=1.1, solid_joinstyle="miter",
            )  # fmt: skip
