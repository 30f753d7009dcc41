"""Fades: no click that was not in the sound, nothing lost, silence where there is no sound."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sciffusion.domains.music.fades import FadingReader
from sciffusion.domains.music.ring_buffer import SampleRing

FADE = 16


def _tone(count: int, start: int = 0) -> NDArray[np.float32]:
    return np.cos(0.05 * np.arange(start, start + count)).astype(np.float32)


def _read(reader: FadingReader, count: int, wanted: bool = True) -> tuple[NDArray[np.float32], bool]:
    out = np.full(count, np.nan, dtype=np.float32)
    fine = reader.read_into(out, wanted)
    return out, fine


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 50), st.booleans()), max_size=40))
@settings(max_examples=100, deadline=None)
def test_no_click_whatever_happens(turns: list[tuple[int, int, bool]]) -> None:
    ring = SampleRing(200)
    reader, heard = FadingReader(ring, FADE), []
    for count, size, wanted in turns:
        written = min(count, ring.free)
        ring.write(_tone(written, ring.written))
        heard.append(_read(reader, size, wanted)[0])
    # Whatever comes next, the sound can be ended.
    heard.append(_read(reader, FADE + 1, wanted=False)[0])
    sound = np.concatenate([[0.0], *heard])
    assert np.isfinite(sound).all()
    assert sound[-1] == 0.0
    source_jump = np.abs(np.diff(_tone(1000))).max()
    assert np.abs(np.diff(sound)).max() <= source_jump + np.pi / (2 * FADE) + 1e-6


def test_full_sound_is_the_source_untouched() -> None:
    ring = SampleRing(300)
    reader = FadingReader(ring, FADE)
    ring.write(_tone(300))
    out, fine = _read(reader, 200)
    assert fine
    assert reader.gain == 1.0
    assert np.array_equal(out[FADE:], _tone(200)[FADE:])
    assert np.abs(out[:FADE]).max() < 1.0
    assert out[0] < 0.02


def test_starving_fades_over_the_last_samples_and_is_told() -> None:
    ring = SampleRing(300)
    reader = FadingReader(ring, FADE)
    ring.write(_tone(100))
    assert _read(reader, 50)[1]
    out, fine = _read(reader, 50)
    assert not fine
    assert np.array_equal(out[: 50 - FADE], _tone(100)[50 : 100 - FADE])
    assert np.all(np.abs(out[50 - FADE :]) < np.abs(_tone(100)[100 - FADE :]))
    assert out[-1] == 0.0
    assert (reader.gain, ring.fill) == (0.0, 0)
    silence, fine = _read(reader, 20)
    assert not fine
    assert not silence.any()


def test_pausing_reads_no_more_than_the_fade_and_loses_nothing() -> None:
    ring = SampleRing(400)
    reader = FadingReader(ring, FADE)
    ring.write(_tone(400))
    _read(reader, 100)
    out, fine = _read(reader, 100, wanted=False)
    assert not fine
    assert ring.read == 100 + FADE
    assert not out[FADE:].any()
    _read(reader, 100, wanted=False)
    assert ring.read == 100 + FADE
    again, _ = _read(reader, 100)
    assert np.array_equal(again[FADE:], _tone(400)[100 + 2 * FADE : 200 + FADE])


def test_a_fade_is_turned_round_where_it_is() -> None:
    ring = SampleRing(400)
    reader = FadingReader(ring, FADE)
    ring.write(np.ones(400, dtype=np.float32))
    _read(reader, 50)
    down, _ = _read(reader, 5, wanted=False)
    up, _ = _read(reader, 5)
    assert np.all(np.diff(down) < 0)
    assert np.all(np.diff(up) > 0)
    assert up[-1] == 1.0
    assert up[0] == pytest.approx(down[-2])


def test_small_reads_fade_as_large_ones() -> None:
    sounds = []
    for sizes in ([60], [1] * 60, [7] * 8 + [4]):
        ring = SampleRing(100)
        reader = FadingReader(ring, FADE)
        ring.write(np.ones(60, dtype=np.float32))
        _read(reader, 20)
        sounds.append(np.concatenate([_read(reader, size, wanted=False)[0] for size in sizes]))
    assert np.array_equal(sounds[0], sounds[1])
    assert np.array_equal(sounds[0], sounds[2])


@pytest.mark.parametrize("fade", [0, 11])
def test_fades_that_do_not_fit_are_refused(fade: int) -> None:
    with pytest.raises(ValueError, match=r"fade_samples must lie in 1..10"):
        FadingReader(SampleRing(10), fade)
