"""Pictures of music: what they draw are the numbers they are given."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sciffusion.domains.music.audio import Audio, AudioError
from sciffusion.domains.music.engine_runs import StreamTrace
from sciffusion.domains.music.plots import plot_chroma, plot_spectrogram, plot_stream, plot_training
from sciffusion.domains.music.plots_sound import pitch_spectrogram
from sciffusion.domains.music.plots_style import write_picture

RATE = 16_000


@pytest.fixture(autouse=True)
def _agg() -> Any:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


def tones(*hertz: float, seconds: float = 1.0) -> Audio:
    """Return tones that follow each other."""
    times = np.arange(round(seconds * RATE)) / RATE
    return Audio(np.concatenate([0.5 * np.sin(2 * np.pi * one * times) for one in hertz]).astype("f4"), RATE)


def test_a_tone_stands_at_its_time_and_frequency() -> None:
    power, seconds = pitch_spectrogram(tones(220.0, 1760.0), 55.0, 7040.0)
    edges = np.geomspace(55.0, 7040.0, len(power) + 1)
    for moment, hertz in ((0.5, 220.0), (1.5, 1760.0)):
        band = power[:, np.abs(seconds - moment).argmin()].argmax()
        assert edges[band] == pytest.approx(hertz, rel=0.06)
    assert seconds[-1] == pytest.approx(2.0, abs=0.1)


def test_bands_lose_no_power_and_add_none() -> None:
    noise = Audio(np.random.default_rng(0).standard_normal(RATE).astype("f4") * 0.1, RATE)
    whole, _ = pitch_spectrogram(noise, 60.0, 8000.0)
    lower, _ = pitch_spectrogram(noise, 60.0, 1000.0)
    upper, _ = pitch_spectrogram(noise, 1000.0, 8000.0)
    np.testing.assert_allclose(whole.sum(0), lower.sum(0) + upper.sum(0), rtol=1e-6)
    assert (whole >= 0).all()


def test_the_spectrogram_has_seconds_hertz_and_notes() -> None:
    figure = plot_spectrogram(tones(440.0), notes=[[0.25, 0.75, 69], [0.0, 1.0, 0]])
    axis = figure.axes[0]
    assert axis.get_xlim() == (0.0, 1.0)
    assert axis.get_ylabel() == "Hz"
    labels = {
        text.get_text(): place for text, place in zip(axis.get_yticklabels(), axis.get_yticks(), strict=True)
    }
    assert labels["1k"] == pytest.approx(np.log2(1000))
    (lines,) = [one for one in axis.collections if hasattr(one, "get_segments")]
    segments = lines.get_segments()
    assert len(segments) == 1  # the other note is below the picture
    np.testing.assert_allclose(segments[0], [[0.25, np.log2(440)], [0.75, np.log2(440)]])
    image = axis.get_images()[0]
    levels = np.asarray(image.get_array())
    assert levels.max() == pytest.approx(0.0)
    assert image.get_clim() == (-70, 0)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"lowest": 0.0}, "0 < lowest < highest"),
        ({"highest": 9000.0}, "half the sample rate"),
        ({"decibels": 0.0}, "decibels must be above 0"),
        ({"notes": [[1, 2]]}, r"notes must have shape \(notes, 3\)"),
    ],
)
def test_wrong_ranges_are_named(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plot_spectrogram(tones(440.0), **changed)
    with pytest.raises(AudioError, match="sample rate"):
        plot_spectrogram(np.zeros(100))


def test_silence_and_very_short_sounds_are_drawn() -> None:
    plot_spectrogram(Audio(np.zeros(RATE, dtype="f4"), RATE))
    assert plot_spectrogram(Audio(np.ones(50, dtype="f4"), RATE)).axes[0].get_images()


def test_chroma_is_drawn_by_pitch_class_with_what_was_asked() -> None:
    heard = np.zeros((20, 12))
    heard[:, 7] = 1.0
    asked = np.full((20, 12), np.nan)
    asked[5:15, 4] = 1.0
    axis = plot_chroma(heard, 10.0, asked=asked).axes[0]
    image = np.asarray(axis.get_images()[0].get_array())
    assert image.shape == (12, 20)
    assert (image[7] == 1.0).all()
    (frame,) = axis.get_lines()
    assert (frame.get_xdata().min(), frame.get_xdata().max()) == (0.5, 1.5)
    assert frame.get_ydata().mean() == pytest.approx(4, abs=0.2)
    with pytest.raises(ValueError, match=r"chroma must have shape \(frames, 12\)"):
        plot_chroma(np.zeros((3, 11)), 10.0)


def test_training_shows_both_losses_and_the_weights_kept() -> None:
    history = SimpleNamespace(
        steps=np.array([0, 10, 20]), train_loss=np.array([[np.nan], [1.0], [0.5]]),
        held_out_loss=np.array([[2.0], [1.0], [1.5]]), best_step=np.array([10]),
    )  # fmt: skip
    axis = plot_training(history).axes[0]
    train, held, kept = axis.get_lines()
    np.testing.assert_array_equal(train.get_xdata(), [10, 20])
    np.testing.assert_array_equal(held.get_ydata(), [2.0, 1.0, 1.5])
    assert kept.get_label() == "weights of step 10 kept"
    history.held_out_loss[:] = np.nan
    assert len(plot_training(history).axes[0].get_lines()) == 2


def trace_of(underruns: list[int]) -> StreamTrace:
    count = len(underruns)
    return StreamTrace(
        np.arange(count) * 0.5, np.linspace(1.0, 0.2, count), np.full(count, 8), np.array(underruns)
    )


def test_a_stream_shows_fill_evaluations_and_late_blocks() -> None:
    figure = plot_stream(trace_of([0, 0, 1, 1, 2]), [0.3, 1.2, 0.4], 0.96)
    fill, nfe, blocks = figure.axes
    np.testing.assert_allclose(fill.get_lines()[0].get_ydata(), np.linspace(1.0, 0.2, 5))
    assert [line.get_xdata()[0] for line in fill.get_lines()[1:]] == [1.0, 2.0]
    assert fill.get_legend().get_texts()[0].get_text() == "underruns: 2"
    assert set(nfe.get_lines()[0].get_ydata()) == {8}
    heights = {bar.get_x() + 0.4: bar.get_height() for bar in blocks.patches}
    assert heights == pytest.approx({0.0: 0.3, 2.0: 0.4, 1.0: 1.2})
    assert blocks.patches[2].get_facecolor() != blocks.patches[0].get_facecolor()


def test_given_axes_are_used_and_counted() -> None:
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.subplots(3, 1)
    assert plot_stream(trace_of([0, 0]), [0.1], 0.96, ax=axes) is figure
    with pytest.raises(ValueError, match="ax must hold 3 Axes, one a panel, got 2"):
        plot_stream(trace_of([0, 0]), [0.1], 0.96, ax=axes[:2])
    with pytest.raises(ValueError, match="nothing to draw"):
        plot_stream(trace_of([0, 0]), [], 0.96)


def test_a_picture_is_written_in_the_format_of_its_ending(tmp_path: Path) -> None:
    for ending, begins in (("png", b"\x89PNG"), ("svg", b"<?xml")):
        path = tmp_path / f"x.{ending}"
        write_picture(path, plot_spectrogram(tones(440.0)))
        assert path.read_bytes().startswith(begins)
