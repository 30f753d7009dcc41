"""Pitch classes of tones and notes, and the agreement of two signals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from sciffusion.domains.music.metrics_chroma import (
    audio_pitch_classes,
    chroma_agreement,
    chroma_correlation,
    chromagram,
    note_pitch_classes,
)
from sciffusion.domains.music.metrics_notes import Notes

RATE = 24_000


def tone(pitch: float, seconds: float = 1.0, rate: int = RATE) -> Tensor:
    """Return a sine at a MIDI pitch."""
    time = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    return (0.3 * torch.sin(2 * math.pi * 440.0 * 2.0 ** ((pitch - 69.0) / 12.0) * time)).float()


@pytest.mark.parametrize("rate", [8000, 24_000, 44_100])
def test_every_pitch_from_c3_to_b6_is_its_class(rate: int) -> None:
    pitches = torch.arange(48, 96)
    found = chromagram(torch.stack([tone(int(pitch), 1.0, rate) for pitch in pitches]), rate)[:, 3:8].sum(1)
    shares = found / found.sum(-1, keepdim=True)
    assert torch.equal(shares.argmax(-1), pitches % 12)
    assert float(shares.max(-1).values.min()) > 0.9


def test_a_chord_is_its_notes_and_a_quarter_tone_is_still_the_nearest() -> None:
    chord = sum(tone(pitch) for pitch in (60, 64, 67))
    shares = audio_pitch_classes(chord, RATE)
    assert set(np.argsort(shares)[-3:]) == {0, 4, 7}
    assert shares[[0, 4, 7]] == pytest.approx([1 / 3] * 3, abs=0.05)
    assert audio_pitch_classes(tone(69.4), RATE).argmax() == 9


def test_frames_are_where_they_say() -> None:
    audio = torch.cat([tone(60, 2.0), tone(66, 2.0)])
    found = chromagram(audio, RATE, frames_per_second=10.0)
    assert found.shape == (41, 12)
    assert set(found[3:18].argmax(-1).tolist()) == {0}
    assert set(found[22:38].argmax(-1).tolist()) == {6}


def test_silence_and_soft_noise_have_none() -> None:
    assert not bool(chromagram(torch.zeros(RATE), RATE).any())
    noise = 1e-4 * torch.randn(RATE, generator=torch.Generator().manual_seed(0))
    assert not audio_pitch_classes(noise, RATE).any()


def test_white_noise_has_as_much_of_a_class_as_its_semitones_are_wide() -> None:
    noise = 0.2 * torch.randn(20, RATE, generator=torch.Generator().manual_seed(0))
    widths = 2.0 ** (np.arange(12) / 12)
    assert audio_pitch_classes(noise, RATE) == pytest.approx(widths / widths.sum(), abs=0.006)


def test_note_histograms_weigh_by_duration() -> None:
    notes = [Notes.of([0.0, 1.0], [1.0, 4.0], [60, 69]), Notes.of([], [], [])]
    shares = note_pitch_classes(notes)
    assert shares[[0, 9]] == pytest.approx([0.25, 0.75])
    assert shares.sum() == pytest.approx(1.0)


def test_agreement_of_equal_transposed_and_unrelated_signals() -> None:
    pitches = np.random.default_rng(0).integers(60, 84, 40)
    melody = torch.cat([tone(int(pitch), 0.5) for pitch in pitches])
    assert chroma_agreement(melody, 0.1 * melody, RATE) == pytest.approx(1.0, abs=0.02)
    octave = torch.cat([tone(int(pitch) - 12, 0.5) for pitch in pitches])
    assert chroma_agreement(melody, octave, RATE) > 0.8
    fourth = torch.cat([tone(int(pitch) + 5, 0.5) for pitch in pitches])
    assert chroma_agreement(melody, fourth, RATE) < 0.1
    other = torch.cat([tone(int(pitch), 0.5) for pitch in pitches[::-1]])
    assert abs(chroma_agreement(melody, other, RATE)) < 0.25
    assert math.isnan(chroma_agreement(melody, torch.zeros_like(melody), RATE))


def test_correlation_is_pearsons() -> None:
    generator = torch.Generator().manual_seed(1)
    first, second = torch.rand(2, 5, 12, generator=generator)
    expected = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(first, second, strict=True)])
    assert chroma_correlation(first, second) == pytest.approx(expected, abs=1e-6)
    with pytest.raises(ValueError, match="equal shapes"):
        chroma_correlation(first, second[:, :11])


@pytest.mark.parametrize(
    ("samples", "rate", "error", "message"),
    [
        (torch.zeros(0), RATE, ValueError, "with some"),
        (torch.tensor([math.nan]), RATE, ValueError, "finite"),
        (torch.zeros(10, dtype=torch.int16), RATE, TypeError, "floating point"),
        (np.zeros(10), RATE, TypeError, "floating point"),
        (torch.zeros(10), 4000, ValueError, "at least 4069"),
    ],
)
def test_bad_audio_is_refused(samples: Tensor, rate: int, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        chromagram(samples, rate)


def test_bad_frame_rates_are_refused() -> None:
    with pytest.raises(ValueError, match="frames_per_second"):
        chromagram(torch.zeros(100), RATE, frames_per_second=0.0)
