"""Training the decoder further leaves latents alone and lowers the loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sciffusion.domains.music import Audio, LatentStatistics, SpectralCodec
from sciffusion.domains.music.codec_training import CodecObjective, training_rows
from sciffusion.domains.music.light_codec import LightCodec
from sciffusion.domains.music.light_codec_network import CodecSizes, LightCodecNetwork
from sciffusion.domains.music.light_codec_refinement import refine_light_codec
from sciffusion.domains.music.spectrogram import CausalSpectrogram

RATE = 8000


@pytest.fixture(scope="module")
def codec() -> LightCodec:
    """Return a codec with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sizes = CodecSizes(bins=65, channels=4, fine=16, coarse=16, fine_blocks=1, coarse_blocks=1, head=16)
        network = LightCodecNetwork(sizes)
        network.unit.mean.normal_()
    statistics = LatentStatistics(torch.zeros(4), torch.ones(4))
    return LightCodec(network, statistics, sample_rate=RATE, spectrogram=CausalSpectrogram(128, 32))


@pytest.fixture(scope="module")
def recordings() -> list[Audio]:
    """Return two tones after each other."""
    time = np.arange(RATE) / RATE
    tones = np.concatenate([0.3 * np.sin(2.0 * np.pi * hertz * time) for hertz in (500.0, 1500.0)])
    return [Audio(tones.astype(np.float32), RATE)]


def test_latents_stay_and_the_loss_falls(codec: LightCodec, recordings: list[Audio]) -> None:
    before = {name: value.clone() for name, value in codec.description()[0].items()}
    refined = refine_light_codec(codec, recordings, max_steps=30, batch_size=4, learning_rate=3e-3)
    audio = torch.from_numpy(recordings[0].samples)[None]
    assert torch.equal(refined.encode(audio), codec.encode(audio))
    assert torch.equal(refined.statistics.mean, codec.statistics.mean)
    assert all(torch.equal(value, before[name]) for name, value in codec.description()[0].items())
    rows = training_rows(recordings, RATE, codec.spectrogram)
    objective = CodecObjective(codec.spectrogram, RATE, 0.0)
    losses = [
        float(objective(one.network, (rows,), torch.Generator().manual_seed(1))) for one in (codec, refined)
    ]
    assert losses[1] < 0.7 * losses[0]


def test_only_light_codecs_are_refined(codec: LightCodec, recordings: list[Audio]) -> None:
    with pytest.raises(TypeError, match="codec must be a LightCodec, got SpectralCodec"):
        refine_light_codec(SpectralCodec(RATE, 64, 8), recordings)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="noise"):
        refine_light_codec(codec, recordings, noise=-0.1)
