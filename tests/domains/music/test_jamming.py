"""Another player's sound: resampled and encoded piece by piece, and put where it belongs in the stream."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import Tensor

from sciffusion.domains.music.jamming import PartnerTrack
from sciffusion.domains.music.session_resampler import StreamResampler
from sciffusion.domains.music.spectral_codec import SpectralCodec

RATE, HOP, BLOCK = 8000, 320, 4
CODEC = SpectralCodec(RATE, HOP, 8)


def sine(rate: int, hertz: float = 440.0, seconds: float = 0.5) -> Any:
    return np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate).astype(np.float32)


def noise(samples: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(0.0, 0.1, samples).astype(np.float32)


def track(**options: Any) -> PartnerTrack:
    return PartnerTrack(CODEC, **{"gap": 2 * BLOCK * HOP, **options})


def latents(samples: Any) -> Tensor:
    return CODEC.statistics.normalise(CODEC.encode(torch.from_numpy(samples)[None]))[0]


# ---------------------------------------------------------------- sample rates


@pytest.mark.parametrize(("source", "target"), [(48_000, 24_000), (44_100, 24_000), (16_000, 24_000)])
def test_sines_keep_their_frequency(source: int, target: int) -> None:
    found = StreamResampler(source, target).push(torch.from_numpy(sine(source))).numpy()
    expected = sine(target)
    assert abs(len(found) - len(expected)) < 60
    assert_allclose(found[100:], expected[100 : len(found)], atol=2e-3)


def test_what_the_new_rate_cannot_hold_is_gone() -> None:
    found = StreamResampler(48_000, 24_000).push(torch.from_numpy(sine(48_000, 15_000.0)))
    assert float(found[200:].abs().max()) < 0.01


@pytest.mark.parametrize("source", [44_100, 11_025, 24_000])
def test_pieces_put_together_equal_the_whole(source: int) -> None:
    signal = torch.from_numpy(noise(6000))
    whole = StreamResampler(source, 24_000).push(signal)
    resampler, parts = StreamResampler(source, 24_000), []
    for part in signal.split([1, 0, 7, 500, 3000, 2492]):
        resampler = StreamResampler.restored(*resampler.state())
        parts.append(resampler.push(part))
    assert_allclose(torch.cat(parts), whole, atol=1e-6)


# ---------------------------------------------------------------- places


def test_sound_is_placed_where_the_stream_is() -> None:
    found, sound = track(), noise(10 * HOP)
    found.hear(sound, RATE, made=3 * BLOCK * HOP)
    start = 3 * BLOCK
    assert_allclose(found.frames(start, start + 10), latents(sound), atol=1e-5)
    assert bool(found.frames(0, start).isnan().all())
    assert bool(found.frames(start + 10, start + 14).isnan().all())


@pytest.mark.parametrize("shift", [5 * HOP, -2 * HOP, 100])
def test_delay_moves_it_and_so_does_being_ahead(shift: int) -> None:
    found, sound = track(shift=shift), noise(10 * HOP)
    found.hear(sound, RATE, made=20 * HOP)
    place = 20 * HOP + shift
    silence = np.zeros(place % HOP, dtype=np.float32)
    expected = latents(np.concatenate([silence, sound])[: 10 * HOP])
    assert_allclose(found.frames(place // HOP, place // HOP + 10), expected, atol=1e-5)


def test_pieces_follow_each_other_whatever_was_made_between() -> None:
    found, sound = track(), noise(12 * HOP)
    for made, part in zip((0, 0, 4, 8), np.split(sound, [70, 900, 2000]), strict=True):
        found.hear(part, RATE, made=made * HOP)
    assert_allclose(found.frames(0, 12), latents(sound), atol=1e-5)


def test_a_player_who_pauses_is_placed_anew() -> None:
    found, first, second = track(), noise(4 * HOP), noise(4 * HOP, 1)
    found.hear(first, RATE, made=0)
    found.hear(second, RATE, made=40 * HOP)
    assert_allclose(found.frames(0, 4), latents(first), atol=1e-5)
    assert bool(found.frames(4, 40).isnan().all())
    assert_allclose(found.frames(40, 44), latents(second), atol=1e-5)


def test_old_frames_are_forgotten_and_endless_sound_is_not_kept() -> None:
    found = track()
    found.hear(noise(10 * HOP), RATE, made=0)
    known = found.frames(6, 10)
    found.forget(6)
    assert bool(found.frames(0, 6).isnan().all())
    assert_array_equal(found.frames(6, 10), known)
    found.forget(100)
    assert bool(found.frames(0, 200).isnan().all())
    for _ in range(30):
        found.hear(noise(5 * RATE), RATE, made=0)
    assert len(found.state()[0]["latents"]) < 70 * RATE / HOP


def test_states_go_round_in_the_middle_of_a_frame() -> None:
    sound = noise(12 * HOP)
    found, back = track(shift=17), track()
    found.hear(sound[:1234], 11_025, made=5 * HOP)
    back.restore(*found.state())
    for one in (found, back):
        one.hear(sound[1234:], 11_025, made=9 * HOP)
    assert_array_equal(found.frames(0, 30), back.frames(0, 30))
    assert int(found.frames(0, 30).isnan().logical_not().any(1).sum()) > 6
