"""The peers that judge audio: known tones are heard as their notes, and embeddings tell tones apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from music_peers_audio import crepe_embeddings, transcribe, why_no_crepe, why_no_notes

from sciffusion.domains.music import Audio
from sciffusion.domains.music.metrics_notes import Notes, note_scores

RATE = 24_000


def _plucked(notes: Notes, seconds: float) -> Audio:
    """Return tones with five overtones that begin at once and die away."""
    time = np.arange(int(seconds * RATE)) / RATE
    samples = np.zeros_like(time)
    for onset, end, pitch in zip(*notes, strict=True):
        age = time - onset
        sounding = (age >= 0) & (time < end)
        hertz = 440.0 * 2.0 ** ((pitch - 69.0) / 12.0)
        tone = sum(np.sin(2 * np.pi * hertz * k * age) / k**1.5 for k in range(1, 6))
        samples += np.where(sounding, tone * np.exp(-2.0 * age.clip(0)), 0.0)
    return Audio((0.15 * samples).astype(np.float32), RATE)


@pytest.fixture(scope="module")
def melody() -> Notes:
    onsets = np.arange(0.5, 5.5, 0.5)
    return Notes.of(onsets, onsets + 0.45, [60, 64, 67, 72, 71, 67, 65, 62, 59, 60])


@pytest.mark.skipif(why_no_notes() is not None, reason=str(why_no_notes()))
def test_a_known_melody_is_heard(melody: Notes) -> None:
    found = transcribe(_plucked(melody, 6.0))
    assert note_scores(found, melody).f1 > 0.8
    late = Notes.of(melody.onsets + 0.2, melody.ends + 0.2, melody.pitches)
    assert note_scores(found, late).f1 < 0.2  # the times are right, not only the pitches


@pytest.mark.skipif(why_no_notes() is not None, reason=str(why_no_notes()))
def test_silence_and_moments_have_no_notes() -> None:
    assert len(transcribe(Audio(np.zeros(RATE, dtype=np.float32), RATE)).onsets) == 0
    assert len(transcribe(Audio(np.ones(100, dtype=np.float32), RATE)).onsets) == 0


@pytest.mark.skipif(why_no_crepe() is not None, reason=str(why_no_crepe()))
def test_embeddings_tell_pitches_apart_and_not_levels(melody: Notes) -> None:
    time = torch.arange(RATE // 2) / RATE
    clips = torch.stack([torch.sin(2 * torch.pi * hertz * time) for hertz in (220.0, 220.0, 330.0)])
    clips[1] *= 0.3
    found = crepe_embeddings(clips, RATE)
    assert found.shape == (3, 256)
    level, pitch = (found[1] - found[0]).norm(), (found[2] - found[0]).norm()
    assert float(level) < 1e-3 * float(pitch)
