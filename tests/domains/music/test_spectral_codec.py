"""The spectral codec: its defining sum, perfect reconstruction, kept energy, pieces against the whole."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sciffusion.domains.music.codec import Codec, reconstruct
from sciffusion.domains.music.spectral_codec import SpectralCodec


def _noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _defining_sum(samples: Tensor, hop: int) -> Tensor:
    """Return the MDCT of 2N samples as its definition says, in float64."""
    n, k = torch.arange(2 * hop, dtype=torch.float64), torch.arange(hop, dtype=torch.float64)
    window = torch.sin(math.pi / (2 * hop) * (n + 0.5))
    cosines = torch.cos(math.pi / hop * torch.outer(n + 0.5 + hop / 2, k + 0.5))
    return math.sqrt(2 / hop) * (samples.double() * window) @ cosines


def test_it_is_a_codec_of_the_stated_shapes() -> None:
    codec = SpectralCodec(8000, 80, 16)
    assert isinstance(codec, Codec)
    latents = codec.encode(_noise(3, 801))
    assert latents.shape == (3, 11, 16)
    assert codec.decode(latents).shape == (3, 880)
    assert (codec.sample_rate, codec.hop, codec.channels, codec.delay) == (8000, 80, 16, 80)
    default = SpectralCodec()
    assert (default.sample_rate, default.hop, default.channels) == (24_000, 960, 960)


@pytest.mark.parametrize("hop", [2, 6, 80])
def test_coefficients_are_the_defining_sum(hop: int) -> None:
    audio = _noise(2, 5 * hop)
    padded = torch.nn.functional.pad(audio, (hop, 0))
    expected = torch.stack([_defining_sum(padded[:, t * hop : (t + 2) * hop], hop) for t in range(5)], dim=1)
    torch.testing.assert_close(SpectralCodec(8000, hop).encode(audio).double(), expected, atol=1e-5, rtol=0)


@given(
    hop=st.integers(1, 24).map(lambda half: 2 * half), samples=st.integers(1, 200), seed=st.integers(0, 99)
)
@settings(max_examples=40, deadline=None)
def test_all_coefficients_give_the_sound_back(hop: int, samples: int, seed: int) -> None:
    audio = _noise(2, samples, seed=seed)
    torch.testing.assert_close(reconstruct(SpectralCodec(8000, hop), audio), audio, atol=3e-6, rtol=0)


def test_nothing_less_than_the_delay_aligns_the_sound() -> None:
    codec, audio = SpectralCodec(8000, 40), _noise(1, 400)
    decoded = codec.decode(codec.encode(torch.nn.functional.pad(audio, (0, 40))))
    errors = [float((decoded[:, lag : lag + 400] - audio).abs().max()) for lag in range(41)]
    assert errors[40] < 1e-5
    assert min(errors[:40]) > 0.5


def test_the_transform_keeps_energy_and_what_is_left_out_is_lost() -> None:
    audio = torch.nn.functional.pad(_noise(1, 400), (40, 40))  # silence at both ends: no frame is cut
    latents = SpectralCodec(8000, 40).encode(audio)
    torch.testing.assert_close(latents.square().sum(), audio.square().sum(), rtol=1e-5, atol=0)
    few = reconstruct(SpectralCodec(8000, 40, 15), audio)
    lost = latents[..., 15:].square().sum()
    torch.testing.assert_close((few - audio).square().sum(), lost, rtol=1e-4, atol=0)


def test_few_channels_keep_low_sounds_and_lose_high_ones() -> None:
    codec, times = SpectralCodec(8000, 80, 16), torch.arange(4000) / 8000  # keeps up to 800 Hz
    energies = []
    for hertz in (200.0, 3000.0):
        tone = torch.sin(2 * math.pi * hertz * times)[None]
        energies.append(float(reconstruct(codec, tone)[:, 400:-400].square().mean()))
    assert energies[0] == pytest.approx(0.5, rel=0.01)
    assert energies[1] < 1e-4


@given(cuts=st.lists(st.integers(0, 6), max_size=4), seed=st.integers(0, 99), channels=st.integers(1, 10))
@settings(max_examples=40, deadline=None)
def test_pieces_are_the_whole_sample_for_sample(cuts: list[int], seed: int, channels: int) -> None:
    codec, audio = SpectralCodec(8000, 10, channels), _noise(2, 60, seed=seed)
    whole = codec.encode(audio)
    sounds = codec.decode(whole)
    encoding, decoding = codec.start_encoding(2), codec.start_decoding(2)
    frames, pieces = [], []
    for start, end in pairwise([0, *sorted(cuts), 6]):
        latents, encoding = codec.encode_next(audio[:, start * 10 : end * 10], encoding)
        piece, decoding = codec.decode_next(latents, decoding)
        frames.append(latents)
        pieces.append(piece)
    assert torch.equal(torch.cat(frames, dim=1), whole)
    assert torch.equal(torch.cat(pieces, dim=1), sounds)


def test_states_are_values() -> None:
    codec = SpectralCodec(8000, 10)
    _, state = codec.encode_next(_noise(1, 20), codec.start_encoding())
    before = state["past"].clone()
    first, _ = codec.encode_next(_noise(1, 20, seed=1), state)
    again, _ = codec.encode_next(_noise(1, 20, seed=1), state)
    assert torch.equal(first, again)
    assert torch.equal(state["past"], before)


def test_the_default_size_streams_exactly() -> None:
    codec, audio = SpectralCodec(), _noise(1, 4800)
    state, pieces = codec.start_encoding(), []
    for start in range(0, 4800, 960):
        piece, state = codec.encode_next(audio[:, start : start + 960], state)
        pieces.append(piece)
    assert torch.equal(torch.cat(pieces, dim=1), codec.encode(audio))
    torch.testing.assert_close(reconstruct(codec, audio), audio, atol=1e-5, rtol=0)


def test_statistics_are_those_of_the_stated_spectrum() -> None:
    whole, part = SpectralCodec(8000, 80).statistics, SpectralCodec(8000, 80, 16).statistics
    assert float(whole.std.square().mean().sqrt()) == pytest.approx(0.1, rel=1e-5)
    torch.testing.assert_close(whole.std[:16], part.std)
    assert part.mean.abs().max() == 0
    # Coefficient 3 lies at 175 Hz, coefficient 39 at 1975 Hz.
    ratio = (1 + (1975 / 200) ** 2) / (1 + (175 / 200) ** 2)
    assert float(whole.std[3] / whole.std[39]) == pytest.approx(math.sqrt(ratio), rel=1e-5)


def test_a_description_makes_the_same_codec() -> None:
    codec = SpectralCodec(8000, 80, 16)
    tensors, values = codec.description()
    assert (tensors, values["kind"]) == ({}, "spectral")
    audio = _noise(1, 400)
    assert torch.equal(SpectralCodec.from_description(tensors, values).encode(audio), codec.encode(audio))
    assert torch.equal(codec.to("cpu").encode(audio), codec.encode(audio))


@pytest.mark.parametrize(
    ("sizes", "named"),
    [((0, 80, 16), "sample_rate"), ((8000, 81, 16), "hop"), ((8000, 0, 1), "hop"),
     ((8000, 80, 81), "channels"), ((8000, 80, 0), "channels")],
)  # fmt: skip
def test_sizes_out_of_range_are_refused(sizes: tuple[int, int, int], named: str) -> None:
    with pytest.raises(ValueError, match=f"^{named} must"):
        SpectralCodec(*sizes)


def test_what_does_not_fit_is_refused() -> None:
    codec = SpectralCodec(8000, 80, 16)
    with pytest.raises(ValueError, match="multiples of 80 samples, got 81"):
        codec.encode_next(torch.zeros(1, 81), codec.start_encoding())
    with pytest.raises(ValueError, match=r"\(batch, samples\), got torch.float32 \(80,\)"):
        codec.encode(torch.zeros(80))
    with pytest.raises(ValueError, match="floating-point"):
        codec.encode(torch.zeros(1, 80, dtype=torch.int16))
    with pytest.raises(ValueError, match="16 channels in their last axis, got 15"):
        codec.decode(torch.zeros(1, 2, 15))


def test_its_representation_builds_it_again() -> None:
    codec = SpectralCodec(8000, 80, 16)
    assert eval(repr(codec), {"SpectralCodec": SpectralCodec}).description()[1] == codec.description()[1]
