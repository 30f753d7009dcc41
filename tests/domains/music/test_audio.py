"""Audio keeps its samples through types, channels, rates and files; what is none is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from sciffusion.domains.music.audio import Audio, AudioError, as_audio, read_audio, write_audio
from sciffusion.domains.music.codec import Codec, LatentStatistics, reconstruct
from sciffusion.domains.music.controls import Control, ControlLayout
from sciffusion.domains.music.spectral_codec import SpectralCodec


def sine(hertz: float = 440.0, seconds: float = 0.5, rate: int = 8000) -> Any:
    return np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate).astype(np.float32)


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [("int16", -32768, 32767), ("int32", -(2**31), 2**31 - 1), ("uint8", 0, 255)],
)
def test_integers_are_scaled_by_their_range(kind: str, low: int, high: int) -> None:
    found = as_audio(np.array([low, high], dtype=kind), 8000).samples
    assert found[0] == -1.0
    assert 0.99 < found[1] <= 1.0


def test_channels_are_folded_and_rates_changed() -> None:
    left, right = sine(), sine(660.0)
    both = Audio(np.stack([left, right], axis=1), 8000)
    assert_allclose(both.mono_at(8000), (left + right) / 2, atol=1e-7)
    assert both.seconds == 0.5
    up = Audio(sine(rate=8000), 8000).mono_at(24_000)
    assert len(up) == 12_000
    assert_allclose(up[500:-500], sine(rate=24_000)[500:-500], atol=2e-3)


@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_files_go_round(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    stereo = np.stack([sine(), 0.5 * sine(330.0)], axis=1) * 0.9
    write_audio(path, Audio(stereo, 11_025))
    back = read_audio(path)
    assert back.sample_rate == 11_025
    assert_allclose(back.samples, stereo, atol=1e-4)
    assert_array_equal(as_audio(str(path)).samples, back.samples)


def test_what_is_no_audio_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "notes.wav"
    text.write_text("no sound at all")
    with pytest.raises(AudioError, match=r"notes\.wav.*no sound file"):
        read_audio(text)
    with pytest.raises(FileNotFoundError, match="there is no sound file"):
        read_audio(tmp_path / "none.wav")
    with pytest.raises(ValueError, match="ending"):
        write_audio(tmp_path / "a.txt", Audio(sine(), 8000))


@pytest.mark.parametrize(
    ("value", "rate", "message"),
    [
        (np.zeros(10), None, "sample_rate="), (np.zeros(0), 8000, "no samples"),
        (np.array([0.0, np.nan]), 8000, "NaN"), (np.zeros((2, 3, 4)), 8000, "shape"),
        (np.zeros((10, 9)), 8000, "channels"), (np.zeros(10), 100, "4000"), (np.zeros(10), 8000.5, "whole"),
        (np.zeros(10), "8000", "whole"), (np.array(["a"]), 8000, "numbers"), (np.zeros(10), True, "whole"),
    ],
)  # fmt: skip
def test_wrong_arrays_are_refused(value: Any, rate: Any, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        as_audio(value, rate, name="mine")


# ---------------------------------------------------------------- codecs and statistics


def test_statistics_normalise_and_undo_it() -> None:
    latents = torch.randn(3, 50, 4, generator=torch.Generator().manual_seed(0)) * 2.0 + 3.0
    latents[..., 3] = 1.5
    statistics = LatentStatistics.of(latents)
    flat = statistics.normalise(latents).reshape(-1, 4)
    assert_allclose(flat.mean(0), 0.0, atol=1e-5)
    assert_allclose(flat[:, :3].std(0, correction=0), 1.0, atol=1e-5)
    assert_allclose(statistics.denormalise(statistics.normalise(latents)), latents, atol=1e-5)
    assert bool(statistics.normalise(latents).isfinite().all())


def test_reconstruction_lies_on_the_axis_of_the_input() -> None:
    codec = SpectralCodec(8000, 64)
    assert isinstance(codec, Codec)
    audio = torch.from_numpy(sine())[None, :1000]
    found = reconstruct(codec, audio)
    assert found.shape == audio.shape
    assert_allclose(found, audio, atol=1e-5)


# ---------------------------------------------------------------- layouts


def test_layouts_place_controls_one_after_the_other() -> None:
    layout = ControlLayout((Control("chroma", 12), Control("tempo", 1), Control("style", 2)), ("a", "b"))
    assert (layout.width, layout.names) == (15, ("chroma", "tempo", "style"))
    assert [layout.place(name) for name in layout.names] == [slice(0, 12), slice(12, 13), slice(13, 15)]
    filled = layout.fill(3, {"tempo": 0.5, "style": torch.tensor([[1.0, 0.0]])})
    assert bool(filled[:, :12].isnan().all())
    assert filled[:, 12:].tolist() == [[0.5, 1.0, 0.0]] * 3
    with pytest.raises(ValueError, match="no control 'loud'; it has chroma, tempo, style"):
        layout.place("loud")
    with pytest.raises(ValueError, match="broadcast"):
        layout.fill(3, {"chroma": torch.zeros(5)})
    with pytest.raises(ValueError, match="name of its own"):
        ControlLayout((Control("a", 1), Control("a", 2)))
    with pytest.raises(ValueError, match="width"):
        ControlLayout((Control("a", 0),))
