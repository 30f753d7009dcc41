"""The light codec: it is a codec, refuses what it cannot use, and moves between devices."""

from __future__ import annotations

import pytest
import torch

from sciffusion.domains.music import Codec, LatentStatistics
from sciffusion.domains.music.light_codec import FLOOR, LightCodec, log_magnitudes
from sciffusion.domains.music.light_codec_network import CodecSizes, LightCodecNetwork, UnitLatents
from sciffusion.domains.music.spectrogram import CausalSpectrogram


@pytest.fixture(scope="module")
def codec() -> LightCodec:
    """Return a small codec with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = LightCodecNetwork(CodecSizes(bins=65, channels=3, fine=8, coarse=12, head=8))
    statistics = LatentStatistics(torch.zeros(3), torch.ones(3))
    return LightCodec(network, statistics, sample_rate=8000, spectrogram=CausalSpectrogram(128, 32))


def test_it_is_a_codec(codec: LightCodec) -> None:
    assert isinstance(codec, Codec)
    assert not codec.network.training
    assert not any(parameter.requires_grad for parameter in codec.network.parameters())


def test_levels_at_the_floor_are_silence(codec: LightCodec) -> None:
    network = LightCodecNetwork(codec.network.sizes)
    network.load_state_dict(codec.network.state_dict())
    network.typical.fill_(float(torch.log(torch.tensor(FLOOR))) - 1e-4)
    for parameter in network.spectrum_out.parameters():
        parameter.data.zero_()
    silent = LightCodec(network, codec.statistics, spectrogram=CausalSpectrogram(128, 32))
    assert torch.equal(silent.decode(torch.randn(1, 5, 3)), torch.zeros(1, 320))


@pytest.mark.parametrize("level", [0.0, 1.0, 1e4])
def test_silence_and_noise_of_any_level_stay_finite(codec: LightCodec, level: float) -> None:
    audio = level * torch.randn(2, 640, generator=torch.Generator().manual_seed(0))
    latents = codec.encode(audio)
    assert torch.isfinite(latents).all()
    assert torch.isfinite(codec.decode(latents)).all()
    assert torch.isfinite(log_magnitudes(torch.zeros(3, dtype=torch.complex64))).all()


@pytest.mark.parametrize(
    ("audio", "error", "message"),
    [
        (torch.zeros(640), ValueError, r"audio must have shape \(batch, samples\), got \(640,\)"),
        (torch.zeros(1, 2, 640), ValueError, "audio must have shape"),
        (torch.zeros(1, 640, dtype=torch.float64), TypeError, "audio must be a float32 tensor"),
        (torch.zeros(1, 640, dtype=torch.int16), TypeError, "got torch.int16"),
        ([0.0] * 640, TypeError, "got list"),
    ],
)
def test_audio_is_checked(codec: LightCodec, audio: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        codec.encode(audio)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("latents", "error", "message"),
    [
        (torch.zeros(1, 5, 4), ValueError, r"latents must have shape \(batch, frames, 3\), got \(1, 5, 4\)"),
        (torch.zeros(5, 3), ValueError, "latents must have shape"),
        (torch.zeros(1, 5, 3, dtype=torch.float16), TypeError, "float32"),
    ],
)
def test_latents_are_checked(
    codec: LightCodec, latents: torch.Tensor, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        codec.decode(latents)


def test_pieces_must_be_whole_frames_of_the_batch_of_the_state(codec: LightCodec) -> None:
    with pytest.raises(ValueError, match="whole frames of 64 samples, got 100"):
        codec.encode_next(torch.zeros(1, 100), codec.start_encoding())
    with pytest.raises(ValueError, match="batch of 2, the state is for one of 1"):
        codec.encode_next(torch.zeros(2, 64), codec.start_encoding())
    with pytest.raises(ValueError, match="batch of 2, the state is for one of 3"):
        codec.decode_next(torch.zeros(2, 1, 3), codec.start_decoding(3))


def test_moving_leaves_the_codec_where_it_is(codec: LightCodec) -> None:
    moved = codec.to("meta")
    assert moved.device.type == "meta"
    assert moved.statistics.mean.device.type == "meta"
    assert codec.device.type == "cpu"
    for state in (moved.start_encoding(2), moved.start_decoding(2)):
        assert {value.device.type for value in state.values()} == {"meta"}
    same = codec.to("cpu")
    audio = torch.ones(1, 640)
    assert torch.equal(same.encode(audio), codec.encode(audio))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_it_works_on_a_gpu(codec: LightCodec) -> None:
    audio = 0.1 * torch.randn(2, 640, generator=torch.Generator().manual_seed(0))
    moved = codec.to("cuda")
    latents = moved.encode(audio.cuda())
    assert torch.allclose(latents.cpu(), codec.encode(audio), atol=1e-3)
    assert moved.decode(latents).device.type == "cuda"


def test_latents_have_unit_scale_in_training_and_by_averages_after_it() -> None:
    unit = UnitLatents(2, momentum=0.5)
    values = 5.0 + 3.0 * torch.randn(4, 100, 2, generator=torch.Generator().manual_seed(0))
    for _ in range(20):
        made = unit(values)
    assert torch.allclose(made.mean((0, 1)), torch.zeros(2), atol=1e-5)
    assert torch.allclose(made.std((0, 1), correction=0), torch.ones(2), atol=1e-3)
    assert torch.allclose(unit.eval()(values), made, atol=1e-3)
