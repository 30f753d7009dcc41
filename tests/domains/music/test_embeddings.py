"""Log-mel bands of tones, and embeddings that see registers, levels and movement."""

from __future__ import annotations

import math

import pytest
import torch

from sciffusion.domains.music.embeddings import cut_clips, log_mel, log_mel_embedding

RATE = 24_000


def _sine(hertz: float, amplitude: float = 1.0) -> torch.Tensor:
    return amplitude * torch.sin(2 * math.pi * hertz * torch.arange(RATE) / RATE)


def test_the_loudest_band_is_the_one_of_the_tone() -> None:
    highest = 2595 * math.log10(1 + 10_000 / 700)
    lowest = 2595 * math.log10(1 + 30 / 700)
    for hertz in (300.0, 1000.0, 5000.0):
        mel = 2595 * math.log10(1 + hertz / 700)
        expected = (mel - lowest) / (highest - lowest) * 65 - 1
        assert abs(int(log_mel(_sine(hertz), RATE).mean(0).argmax()) - expected) <= 0.5


def test_ten_times_the_amplitude_is_two_bels_and_silence_is_the_floor() -> None:
    loud, soft = log_mel(_sine(1000.0, 0.5), RATE), log_mel(_sine(1000.0, 0.05), RATE)
    assert float(loud.max() - soft.max()) == pytest.approx(2.0, abs=1e-3)
    assert torch.equal(log_mel(torch.zeros(RATE), RATE), torch.full((loud.shape[0], 64), -10.0))


def test_a_steady_tone_has_no_spread_and_an_interrupted_one_has() -> None:
    gate = (torch.arange(RATE) // 3000 % 2).float()
    found = log_mel_embedding(torch.stack([_sine(1000.0), _sine(1000.0) * gate]), RATE)
    band = int(found[0, :64].argmax())
    assert found.shape == (2, 128)
    assert float(found[0, 64 + band]) < 0.01
    assert float(found[1, 64 + band]) > 2.0


@pytest.mark.parametrize("rate", [8000, 16_000, 48_000])
def test_no_band_is_empty_at_any_rate(rate: int) -> None:
    noise = torch.randn(rate, generator=torch.Generator().manual_seed(0))
    bands = log_mel(noise, rate).mean(0)
    assert float(bands.min()) > -8.0


def test_clips_follow_each_other() -> None:
    clips = cut_clips(torch.arange(25.0), 10, 1.0)
    assert torch.equal(clips, torch.arange(20.0).reshape(2, 10))
    batch = cut_clips(torch.arange(50.0).reshape(2, 25), 10, 1.0)
    assert torch.equal(batch[:, 0], torch.tensor([0.0, 10.0, 25.0, 35.0]))


def test_bad_audio_is_refused() -> None:
    with pytest.raises(ValueError, match="a clip"):
        cut_clips(torch.zeros(5), 10, 1.0)
    with pytest.raises(ValueError, match="at least 1032"):
        log_mel(torch.zeros(100), RATE)
    with pytest.raises(ValueError, match="finite"):
        log_mel(torch.full((RATE,), math.inf), RATE)
    with pytest.raises(TypeError, match="floating point"):
        log_mel(torch.zeros(RATE, dtype=torch.int32), RATE)
    with pytest.raises(ValueError, match="n_mels"):
        log_mel(torch.zeros(RATE), RATE, n_mels=1000)
