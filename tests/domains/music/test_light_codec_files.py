"""Codecs in files: the same codec comes back, and damaged or foreign files are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from sciffusion.domains.music import Codec, LatentStatistics
from sciffusion.domains.music.codec_files import codec_from_description, load_codec
from sciffusion.domains.music.codec_storage import save_codec
from sciffusion.domains.music.light_codec import LightCodec
from sciffusion.domains.music.light_codec_network import CodecSizes, LightCodecNetwork
from sciffusion.domains.music.spectral_codec import SpectralCodec
from sciffusion.domains.music.spectrogram import CausalSpectrogram
from sciffusion.estimators.persistence import ModelContent, ModelFileError, write_model_file


@pytest.fixture(scope="module")
def codec() -> LightCodec:
    """Return a small codec with random weights and statistics."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = LightCodecNetwork(CodecSizes(bins=65, channels=3, fine=8, coarse=12, head=8))
        network.unit.mean.normal_()
        statistics = LatentStatistics(torch.randn(3), torch.rand(3) + 0.5)
    return LightCodec(network, statistics, sample_rate=8000, spectrogram=CausalSpectrogram(128, 32))


def _same(first: Codec, second: Codec) -> bool:
    audio = 0.1 * torch.randn(2, 640, generator=torch.Generator().manual_seed(0))
    latents = first.encode(audio)
    return torch.equal(latents, second.encode(audio)) and torch.equal(
        first.decode(latents), second.decode(latents)
    )


def test_a_saved_codec_comes_back_bit_for_bit(codec: LightCodec, tmp_path: Path) -> None:
    path = tmp_path / "codec.safetensors"
    codec.save(path)
    again = LightCodec.load(path)
    assert _same(codec, again)
    assert (again.sample_rate, again.hop, again.channels, again.delay) == (8000, 64, 3, 96)
    assert torch.equal(again.statistics.mean, codec.statistics.mean)
    assert torch.equal(again.statistics.std, codec.statistics.std)
    assert [file.name for file in tmp_path.iterdir()] == ["codec.safetensors"]


def test_a_description_is_enough(codec: LightCodec) -> None:
    tensors, values = codec.description()
    again = codec_from_description(tensors, json.loads(json.dumps(values)))
    assert isinstance(again, LightCodec)
    assert isinstance(again, Codec)
    assert _same(codec, again)


def test_an_unknown_kind_is_named(codec: LightCodec) -> None:
    tensors, values = codec.description()
    with pytest.raises(ModelFileError, match="of kind 'other'"):
        codec_from_description(tensors, {**values, "kind": "other"})
    with pytest.raises(ModelFileError, match="of kind None"):
        codec_from_description({}, {})


def test_descriptions_that_do_not_fit_are_refused(codec: LightCodec) -> None:
    tensors, values = codec.description()
    with pytest.raises(ModelFileError, match="does not fit"):
        codec_from_description({}, values)
    with pytest.raises(ModelFileError, match="does not fit"):
        codec_from_description(tensors, {"kind": "light"})
    with pytest.raises(ModelFileError, match="does not fit"):
        codec_from_description(tensors, {**values, "sizes": {**values["sizes"], "channels": 4}})


def test_files_that_hold_no_codec_are_refused(codec: LightCodec, tmp_path: Path) -> None:
    path = tmp_path / "codec.safetensors"
    with pytest.raises(FileNotFoundError):
        load_codec(path)
    write_model_file(path, ModelContent("Something", {}, {}, {}))
    with pytest.raises(ModelFileError, match="holds a Something, not a codec"):
        LightCodec.load(path)
    save_codec(codec, path)
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ModelFileError, match="damaged"):
        LightCodec.load(path)
    with pytest.raises(FileNotFoundError):
        codec.save(tmp_path / "missing" / "codec.safetensors")


def test_a_codec_without_training_is_stored_too(codec: LightCodec, tmp_path: Path) -> None:
    path = tmp_path / "codec.safetensors"
    spectral = SpectralCodec(8000, 64, 16)
    save_codec(spectral, path)
    again = load_codec(path)
    assert isinstance(again, SpectralCodec)
    assert _same(spectral, again)
    with pytest.raises(ModelFileError, match="codec of another kind, 'spectral'"):
        LightCodec.load(path)
