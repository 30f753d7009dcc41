"""Encoding and decoding in pieces equals doing it at once, and states are plain tensors."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from sciffusion.domains.music.codec import LatentStatistics, reconstruct
from sciffusion.domains.music.light_codec import LightCodec
from sciffusion.domains.music.light_codec_network import CodecSizes, LightCodecNetwork
from sciffusion.domains.music.spectrogram import CausalSpectrogram

CHUNKS = [(7,), (1, 1, 1, 1, 1, 1, 1), (1, 4, 2), (3, 3, 1), (6, 1)]
HOP = 960


@pytest.fixture(scope="module")
def codec() -> LightCodec:
    """Return a codec of the true window and hop with random weights, whose outputs are far from constant."""
    sizes = CodecSizes(channels=5, fine=24, coarse=32, fine_blocks=2, coarse_blocks=2, head=40)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = LightCodecNetwork(sizes)
        network.unit.mean.normal_()
        network.typical.normal_(-4.0, 1.0)
    return LightCodec(network, LatentStatistics(torch.zeros(5), torch.ones(5)))


def _audio(frames: int = 7, batch: int = 3) -> Tensor:
    return 0.2 * torch.randn(batch, frames * HOP, generator=torch.Generator().manual_seed(0))


def _through_a_file(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return load(save(dict(state)))


@pytest.mark.parametrize("chunks", CHUNKS)
def test_encoding_in_pieces_equals_encoding_at_once(codec: LightCodec, chunks: tuple[int, ...]) -> None:
    audio = _audio()
    whole = codec.encode(audio)
    state, parts = codec.start_encoding(3), []
    for piece in audio.split([frames * HOP for frames in chunks], dim=1):
        latents, state = codec.encode_next(piece, _through_a_file(dict(state)))
        parts.append(latents)
    assert torch.allclose(torch.cat(parts, dim=1), whole, rtol=0.0, atol=1e-5)
    assert float(whole.std()) > 0.3


@pytest.mark.parametrize("chunks", CHUNKS)
def test_decoding_in_pieces_equals_decoding_at_once(codec: LightCodec, chunks: tuple[int, ...]) -> None:
    latents = torch.randn(3, 7, 5, generator=torch.Generator().manual_seed(1))
    whole = codec.decode(latents)
    state, parts = codec.start_decoding(3), []
    for piece in latents.split(list(chunks), dim=1):
        audio, state = codec.decode_next(piece, _through_a_file(dict(state)))
        parts.append(audio)
    joined = torch.cat(parts, dim=1)
    assert torch.allclose(joined, whole, rtol=0.0, atol=1e-5 * float(whole.abs().max()))
    assert float(whole[:, 2 * HOP :].std()) > 1e-3


def test_the_state_is_needed(codec: LightCodec) -> None:
    # The negative control: a piece from a fresh state is something else.
    latents = torch.randn(1, 6, 5, generator=torch.Generator().manual_seed(1))
    whole = codec.decode(latents)
    alone = codec.decode(latents[:, 4:])
    assert float((whole[:, 4 * HOP :] - alone).abs().max()) > 1e-2 * float(whole.abs().max())


def test_items_of_a_batch_do_not_meet(codec: LightCodec) -> None:
    audio = _audio()
    whole = codec.decode(codec.encode(audio))
    single = codec.decode(codec.encode(audio[1:2]))
    assert torch.allclose(whole[1:2], single, rtol=0.0, atol=1e-5 * float(whole.abs().max()))


def test_states_are_not_changed_in_place(codec: LightCodec) -> None:
    latents = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(1))
    _, state = codec.decode_next(latents, codec.start_decoding(2))
    copies = {name: value.clone() for name, value in state.items()}
    first, _ = codec.decode_next(latents, state)
    assert all(torch.equal(state[name], value) for name, value in copies.items())
    assert torch.equal(first, codec.decode_next(latents, state)[0])


def test_encoding_sees_no_future(codec: LightCodec) -> None:
    audio = _audio(batch=1)
    changed = audio.clone()
    changed[:, 4 * HOP :] = 0.0
    assert torch.allclose(codec.encode(audio)[:, :4], codec.encode(changed)[:, :4], rtol=0.0, atol=1e-6)
    assert not torch.allclose(codec.encode(audio)[:, 4:], codec.encode(changed)[:, 4:], atol=1e-3)


def test_the_last_frame_is_filled_with_silence(codec: LightCodec) -> None:
    audio = _audio(2, 1)[:, :1000]
    filled = torch.nn.functional.pad(audio, (0, 2 * HOP - 1000))
    assert torch.equal(codec.encode(audio), codec.encode(filled))
    assert codec.encode(audio[:, :1]).shape == (1, 1, 5)
    assert codec.encode(audio[:, :0]).shape == (1, 0, 5)
    assert codec.decode(codec.encode(audio[:, :0])).shape == (1, 0)


def test_nothing_at_once_is_nothing(codec: LightCodec) -> None:
    state = codec.start_decoding()
    audio, after = codec.decode_next(torch.zeros(1, 0, 5), state)
    assert audio.shape == (1, 0)
    assert after is state


def test_reconstruction_has_the_length_of_the_input(codec: LightCodec) -> None:
    assert codec.delay == 2048 - 480
    assert reconstruct(codec, _audio()[:, :3001]).shape == (3, 3001)


def test_the_network_may_have_another_window() -> None:
    spectrogram = CausalSpectrogram(window=128, hop=32)
    network = LightCodecNetwork(CodecSizes(bins=65, channels=3, fine=8, coarse=8, head=8))
    statistics = LatentStatistics(torch.zeros(3), torch.ones(3))
    small = LightCodec(network, statistics, sample_rate=8000, spectrogram=spectrogram)
    assert (small.hop, small.delay, small.sample_rate) == (64, 96, 8000)
    assert small.decode(small.encode(torch.zeros(2, 640))).shape == (2, 640)
    with pytest.raises(ValueError, match="bins"):
        LightCodec(network, statistics)
