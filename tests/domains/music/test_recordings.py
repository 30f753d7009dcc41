"""Recordings are read, checked and encoded; what cannot be used is refused by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from sciffusion.domains.music.audio import Audio, AudioError, write_audio
from sciffusion.domains.music.control_features import chroma
from sciffusion.domains.music.control_input import build_layout
from sciffusion.domains.music.recordings import (
    ClippingWarning,
    encode_recordings,
    list_recordings,
    load_recording,
    recorded_conditions,
)
from sciffusion.domains.music.spectral_codec import SpectralCodec

RATE = 8000


def sine(seconds: float = 0.5, amplitude: float = 0.5, rate: int = RATE) -> Any:
    return (amplitude * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def load(value: Any, **options: Any) -> Any:
    return load_recording(value, RATE, **{"sample_rate": RATE, "name": "recordings[3]", **options})


def test_lists_of_all_kinds_are_taken(tmp_path: Path) -> None:
    one = Audio(sine(), RATE)
    assert list_recordings([one, "a.wav", sine()])[1] == "a.wav"
    assert list_recordings(one) == [one]
    assert list_recordings("a.wav") == ["a.wav"]
    with pytest.raises(TypeError, match="list of files, Audio or arrays of samples, got one array"):
        list_recordings(np.zeros((3, 100)))
    with pytest.raises(TypeError, match="got int"):
        list_recordings(3)
    with pytest.raises(ValueError, match="at least one"):
        list_recordings([])
    with pytest.raises(ValueError, match="folder"):
        list_recordings([tmp_path])


def test_channels_and_rates_are_brought_into_one_form(tmp_path: Path) -> None:
    stereo = np.stack([sine(rate=24_000), sine(rate=24_000)], axis=1)
    path = tmp_path / "a.wav"
    write_audio(path, Audio(stereo, 24_000))
    assert_allclose(load(path)[200:-200], sine()[200:-200], atol=3e-3)
    assert_array_equal(load(sine()), sine())


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(4000), r"recordings\[3\] is silent throughout"),
        (np.stack([sine(), -sine()], axis=1), r"silent throughout \(its channels cancel"),
        (sine(amplitude=30_000.0), r"recordings\[3\] has samples of up to 3e\+04; full scale"),
        (sine(0.1), r"recordings\[3\] lasts 0.1 s; a block, and so the shortest clip, lasts 0.25 s"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(samples: Any, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        load(samples, shortest=2000)


def test_clipping_is_told_with_its_share() -> None:
    with pytest.warns(ClippingWarning, match=r"recordings\[3\] is clipped: \d+ % of its samples"):
        load(np.clip(sine(amplitude=2.0), -1.0, 1.0))
    load(sine(amplitude=1.0))  # peaks at full scale are no clipping


def test_batches_encode_as_single_recordings_do() -> None:
    codec = SpectralCodec(RATE, 320, 16)
    sounds = [sine(0.3), sine(0.55, 0.1), sine(0.11)]
    found = list(encode_recordings(codec, iter(sounds), 3))
    assert len(list(encode_recordings(codec, sounds, 3, batch_seconds=0.01))) == 3
    for sound, (audio, latents) in zip(sounds, found, strict=True):
        alone = codec.statistics.normalise(codec.encode(torch.from_numpy(sound)[None]))[0]
        assert_array_equal(audio, sound)
        assert_allclose(latents, alone, atol=1e-5)


def test_conditions_are_measured_or_given() -> None:
    codec, layout = SpectralCodec(RATE, 320, 16), build_layout(("chroma", "tempo", "roll"), ("a", "b"), 16)
    audio = torch.from_numpy(sine())
    given = {"tempo": torch.tensor([[0.5]]), "roll": torch.ones(4, 60)}
    found = recorded_conditions(layout, given, audio, codec, 13)
    assert found.shape == (13, layout.width)
    assert_allclose(found[:, layout.place("chroma")], chroma(audio[None], RATE, 320)[0])
    assert found[:, layout.place("tempo")].tolist() == [[0.5]] * 13
    assert bool(found[:, layout.place("style")].isnan().all())
    roll = found[:, layout.place("roll")]
    assert bool((roll[:4] == 1.0).all() and roll[4:].isnan().all())
