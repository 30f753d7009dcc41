"""Chroma and loudness of known sounds; controls as users give them, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor

from sciffusion.domains.music.control_features import chroma, loudness
from sciffusion.domains.music.control_input import build_layout, check_given, encode_control

RATE, HOP = 24_000, 960
MIDDLE = slice(6, -6)  # frames whose windows lie within the sound


def notes(pitches: list[float], seconds: float = 1.0, amplitude: float = 0.1, rate: int = RATE) -> Tensor:
    """Return a sum of sines of MIDI pitches, ``(1, samples)``."""
    time = torch.arange(int(seconds * rate), dtype=torch.float64) / rate
    tones = [torch.sin(2 * torch.pi * 440.0 * 2 ** ((pitch - 69) / 12) * time) for pitch in pitches]
    return (amplitude * torch.stack(tones).sum(0)).float()[None]


# ---------------------------------------------------------------- what is heard


@pytest.mark.parametrize("pitch", [45, 57, 60, 66, 71, 81, 93])
def test_a_sine_has_one_pitch_class(pitch: int) -> None:
    """The spectrum of the window is zero a semitone away, so all other classes are empty."""
    found = chroma(notes([pitch]), RATE, HOP)[0, MIDDLE]
    expected = torch.nn.functional.one_hot(torch.tensor(pitch % 12), 12).float()
    assert_allclose(found, expected.expand(len(found), 12), atol=0.03)


def test_octaves_fold_onto_each_other() -> None:
    low, high, both = (chroma(notes(p), RATE, HOP)[0, MIDDLE] for p in ([52], [76], [52, 76]))
    assert_allclose(low, high, atol=0.03)
    assert_allclose(both, low, atol=0.03)


def test_a_triad_gives_its_three_notes() -> None:
    found = chroma(notes([60, 64, 67]), RATE, HOP)[0, MIDDLE].mean(0)
    assert_allclose(found[[0, 4, 7]], 1.0, atol=0.06)
    assert float(found[[1, 2, 3, 5, 6, 8, 9, 10, 11]].max()) < 0.06


def test_strengths_are_amplitudes() -> None:
    sound = notes([60], amplitude=0.1) + notes([67], amplitude=0.05)
    found = chroma(sound, RATE, HOP)[0, MIDDLE].mean(0)
    assert_allclose(found[[0, 7]], [1.0, 0.5], atol=0.02)


def test_level_does_not_matter_to_chroma_until_silence() -> None:
    sound = notes([60, 63, 70])
    assert_allclose(chroma(0.05 * sound, RATE, HOP), chroma(sound, RATE, HOP), atol=1e-4)
    assert not bool(chroma(1e-6 * sound, RATE, HOP).any())
    assert not bool(chroma(torch.zeros(2, 5000), RATE, HOP).any())


def test_chroma_says_when_a_note_sounds() -> None:
    sound = torch.cat([notes([60]), notes([66])], dim=1)
    found = chroma(sound, RATE, HOP)[0]
    assert found.shape == (50, 12)
    assert_allclose(found[6:18, 0], 1.0, atol=0.02)
    assert_allclose(found[31:44, 6], 1.0, atol=0.02)
    assert float(found[31:44, 0].max()) < 0.03


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_other_rates_and_batches_agree(rate: int) -> None:
    found = chroma(torch.cat([notes([60, 64], rate=rate), notes([61], rate=rate)]), rate, rate // 25)
    assert found.shape[0] == 2
    assert found[0, MIDDLE].mean(0).topk(2).indices.sort().values.tolist() == [0, 4]
    assert found[1, MIDDLE].mean(0).argmax() == 1


def test_frames_cover_all_samples() -> None:
    for samples in (1, HOP - 1, HOP, HOP + 1, 5 * HOP):
        sound = notes([60])[:, :samples]
        assert chroma(sound, RATE, HOP).shape == (1, -(-samples // HOP), 12)
        assert loudness(sound, RATE, HOP).shape == (1, -(-samples // HOP), 1)


@pytest.mark.parametrize(("decibels", "expected"), [(-20.0, 0.0), (-40.0, -1.0), (-6.0, 0.7), (-90.0, -2.0)])
def test_loudness_is_the_level_in_units_of_twenty_decibels(decibels: float, expected: float) -> None:
    amplitude = 2**0.5 * 10 ** (decibels / 20)
    found = loudness(notes([81], amplitude=amplitude), RATE, HOP)[0, MIDDLE]
    assert_allclose(found, expected, atol=2e-3)


# ---------------------------------------------------------------- what is given

LAYOUT = build_layout(["tempo", "chroma", "roll", "loudness", "partner"], ["organ", "piano"], 5)


def encoded(name: str, value: Any) -> Any:
    return encode_control(LAYOUT, name, value, 25.0)


def test_layouts_have_one_order() -> None:
    assert LAYOUT.names == ("chroma", "loudness", "roll", "tempo", "style", "partner")
    assert LAYOUT.width == 12 + 1 + 60 + 1 + 2 + 5
    assert build_layout((), (), 3).width == 0
    for wrong, error, message in (
        (("loud",), ValueError, "controls must be of chroma"), (("tempo", "tempo"), ValueError, "twice"),
        ("tempo", TypeError, "sequence of names"), (("style",), ValueError, "tags"),
    ):  # fmt: skip
        with pytest.raises(error, match=message):
            build_layout(wrong, (), 3)


def test_values_become_what_the_model_reads() -> None:
    assert encoded("tempo", 120).tolist() == [[0.0]]
    assert_allclose(encoded("tempo", [60.0, 240.0]), [[-1.0], [1.0]])
    assert_allclose(encoded("loudness", -20), [[0.0]])
    assert_allclose(encoded("loudness", [-40.0, -200.0, np.nan]), [[-1.0], [-2.0], [np.nan]])
    assert encoded("style", "piano").tolist() == [[0.0, 1.0]]
    assert_allclose(encoded("style", {"organ": 1, "piano": 3}), [[0.25, 0.75]])
    assert_allclose(encoded("style", np.array([[1.0, 0.0], [0.0, 1.0]])), np.eye(2))
    assert encoded("chroma", "C E G").nonzero()[:, 1].tolist() == [0, 4, 7]
    assert encoded("chroma", "Bb, F#").nonzero()[:, 1].tolist() == [6, 10]
    assert encoded("chroma", np.zeros(12)).shape == (1, 12)
    assert encoded("roll", np.zeros((7, 60))).shape == (7, 60)


def test_notes_become_a_roll_aligned_to_frames() -> None:
    roll = encoded("roll", [[0.0, 0.2, 60], [0.2, 0.4, 64], [0.2, 0.21, 67], [0.3, 0.4, 20]])
    assert roll.shape == (10, 60)
    assert roll[:, 60 - 36].tolist() == [1.0] * 5 + [0.0] * 5
    assert roll[:, 64 - 36].tolist() == [0.0] * 5 + [1.0] * 5
    assert roll[:, 67 - 36].nonzero().flatten().tolist() == [5]
    assert int(roll.sum()) == 11


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("tempo", 5, ValueError, "beats a minute in 20..400, got 5"), ("tempo", "fast", TypeError, "numbers"),
        ("loudness", 3.0, ValueError, "at most 0"), ("chroma", [0.5] * 11, ValueError, "12 numbers"),
        ("chroma", [2.0] * 12, ValueError, "in 0..1, got 2"), ("chroma", "C H", ValueError, "'H'"),
        ("chroma", 0.5, ValueError, "12 numbers"), ("roll", np.zeros((0, 3)), ValueError, "no notes"),
        ("roll", np.zeros(59), ValueError, "60 numbers"), ("style", "jazz", ValueError, "'organ', 'piano'"),
        ("style", {"organ": -1}, ValueError, "weight"), ("style", {"organ": 0}, ValueError, "above 0"),
        ("roll", [[1.0, 0.5, 60]], ValueError, "start <= end"),
        ("pitch", 3, ValueError, "no control 'pitch'"),
    ],
)  # fmt: skip
def test_wrong_values_are_refused(name: str, value: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        encoded(name, value)


def test_given_controls_are_checked_by_name() -> None:
    assert check_given({"tempo": 90, "style": None}, LAYOUT, "controls") == {"tempo": 90}
    assert check_given(None, LAYOUT, "controls") == {}
    with pytest.raises(TypeError, match=r"controls\[2\] must be a mapping"):
        check_given([1], LAYOUT, "controls[2]")
    with pytest.raises(ValueError, match="no control 'loud'"):
        check_given({"loud": 1}, LAYOUT, "controls")
