"""The reaction benchmark in miniature: engines on a simulated clock, and a model that does as it is told."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import music_reaction
import numpy as np
import pandas as pd
import pytest
from music_quality_data import RATE, Excerpt, Piece
from music_quality_rows import continued, played
from music_reaction import Size, main, reaction_bars
from music_reaction_following import agreements, following_rows, jam, jamming_rows
from music_reaction_partner import pairs
from music_reaction_timing import ToneStream, first_change, random_session, reactions

from sciffusion.domains.music import Audio, ControlLayout, LiveMusicDiffusion, Notes, SpectralCodec

SMALL = {"width": 16, "depth": 1, "n_heads": 2}
TINY = Size(blocks=(12,), nfes=(2,), timed=2, changes=6, prebuffers=(2.0,), steps=0, network=SMALL)


def _walk(seed: int, seconds: float) -> np.ndarray:
    """Return tones of half a second each at random pitches."""
    pitches = np.random.default_rng(seed).integers(60, 84, math.ceil(2 * seconds))
    time = np.arange(RATE // 2) / RATE
    tones = [0.2 * np.sin(2 * np.pi * 440.0 * 2.0 ** ((pitch - 69) / 12) * time) for pitch in pitches]
    return np.concatenate(tones)[: round(seconds * RATE)].astype(np.float32)


class _Echo:
    """A session that plays what it was last told, one block late or not at all."""

    sample_rate, block_samples, lead_in = RATE, 12_000, 960

    def __init__(self, deaf: bool) -> None:
        self._heard, self._deaf, self.told = np.zeros(self.block_samples, dtype=np.float32), deaf, 0
        self._left = np.zeros(self.lead_in, dtype=np.float32)

    def push_audio(self, samples: np.ndarray, sample_rate: int) -> None:
        assert sample_rate == RATE
        self.told += len(samples)
        self._heard = samples

    def step(self) -> Any:
        sound = np.concatenate([self._left, _walk(99, 0.5) if self._deaf else self._heard])
        self._left = sound[self.block_samples :]
        return type("Block", (), {"samples": sound[: self.block_samples]})()


class _Follower:
    """A model that plays what it is asked for, or something else."""

    layout_, guidance, width, depth, block = ControlLayout(), 1.0, 1, 1, 12

    def __init__(self, asked: list[np.ndarray], deaf: bool = False) -> None:
        self.codec_, self._asked, self._deaf = SpectralCodec(RATE, 960), asked, deaf

    def set_params(self, *, guidance: float) -> None:
        self.guidance = guidance

    def sample(self, seconds: float, *, controls: Any, n: int, **_: Any) -> list[Audio]:
        if controls is None or self._deaf:
            sounds = [_walk(500 + place, seconds) for place in range(n)]
        else:
            assert len(controls) == n
            assert controls[0]["chroma"].shape == (len(self._asked[0]) // 960, 12)
            lag = np.zeros(self.codec_.delay, dtype=np.float32)
            sounds = [np.concatenate([lag, one]) for one in self._asked]
        return [Audio(sound, RATE) for sound in sounds]

    def stream(self, *, seed: int, nfe: int, ahead: float, delay: float) -> _Echo:
        return _Echo(self._deaf)


def test_reactions_are_read_from_the_sound_within_what_the_engine_promises() -> None:
    times = {4: np.array([0.1, 0.12, 0.11])}
    found = reactions(ToneStream(12_000, times, 4), 10, prebuffer=1.0)
    # A block is half a second and begun when half a second is left: between .5 and 1 s, plus one read.
    assert 0.45 < found["median s"] < 1.0
    assert found["largest s"] <= 1.02
    assert found["underruns"] == 0
    later = reactions(ToneStream(12_000, times, 4), 10, prebuffer=2.0)
    assert later["median s"] == pytest.approx(found["median s"] + 1.0, abs=0.1)


def test_blocks_that_take_too_long_leave_the_player_dry() -> None:
    found = reactions(ToneStream(12_000, {1: np.array([0.9])}, 1), 4)
    assert found["underruns"] > 0


def test_streams_part_where_one_is_asked_for_something() -> None:
    sessions = [random_session(block=12, nfe=2, **SMALL) for _ in range(2)]
    found = first_change(sessions[0], sessions[1], 2, loudness=-10.0)
    assert found["before"] == 0.0
    assert 0.0 <= found["seconds"] < found["half"] <= 0.48
    same = [random_session(block=12, nfe=2, **SMALL) for _ in range(2)]
    assert math.isnan(first_change(same[0], same[1], 1)["seconds"])


def test_agreement_is_with_the_own_request() -> None:
    asked = [_walk(seed, 4.0) for seed in range(3)]
    own, other = agreements(asked, asked)
    assert own == pytest.approx(1.0, abs=1e-6)
    assert other < 0.4
    turned = [asked[1], asked[2], asked[0]]
    own, other = agreements(turned, asked)
    assert own < 0.4 < other


def test_a_model_that_follows_gains_over_other_requests_and_a_deaf_one_does_not() -> None:
    asked = [_walk(seed, 4.0) for seed in range(3)]
    rows = following_rows(_Follower(asked), asked, [(2, 1.0), (2, 2.0)])
    assert [row["row"] for row in rows][:2] == ["codec round trip", "made unasked"]
    assert rows[0]["agreement"] > 0.95
    assert abs(rows[1]["gain"]) < 0.3
    assert rows[2]["gain"] > 0.5
    deaf = following_rows(_Follower(asked, deaf=True), asked, [(2, 1.0)])
    assert abs(deaf[2]["gain"]) < 0.3


def test_a_partner_is_told_in_time_and_what_is_played_is_on_his_time_axis() -> None:
    partner = _walk(0, 4.0)
    known = jam(_Follower([]), partner, ahead=0.0, delay=0.0, nfe=2, seed=0)
    np.testing.assert_allclose(known[:-24_000], partner[:-24_000], atol=1e-6)
    ahead = jam(_Follower([]), partner, ahead=0.5, delay=0.0, nfe=2, seed=0)  # the echo is a block late
    np.testing.assert_allclose(ahead[12_000:-24_000], partner[: -24_000 - 12_000], atol=1e-6)
    assert not ahead[:11_000].any()


def test_pairs_are_the_same_pieces_in_two_styles(monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = [
        Piece(name, style, "train", Path(f"{name}.{style}"), Path())
        for name in ("a", "b", "c")
        for style in ("organ", "piano")
    ]
    lengths = {"organ": 3 * RATE, "piano": 2 * RATE}
    monkeypatch.setattr(
        Piece, "samples", lambda self: np.full(lengths[self.style], ord(self.name), np.float32)
    )
    played, heard = pairs(pieces, "train", 2, 10.0)
    assert [part[0] for part in played] == [part[0] for part in heard] == [ord("a"), ord("c")]
    assert {len(part) for part in [*played, *heard]} == {2 * RATE}
    with pytest.raises(ValueError, match="two styles"):
        pairs(pieces[::2], "train", 2, 10.0)


def test_a_reduced_run_says_so_and_lists_what_is_not_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(music_reaction, "list_pretrained", lambda: [])
    assert main(["--out", str(tmp_path), "--check"], TINY) == 0
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "REDUCED" in report
    assert "not checked: chroma is followed" in report
    assert "not checked: a partner who is known" in report
    assert {path.name for path in tmp_path.iterdir()} == {
        "report.md", "timing.csv", "change.csv", "music_reaction.png"
    }  # fmt: skip
    timing = pd.read_csv(tmp_path / "timing.csv")
    assert len(timing) == 2
    assert bool((timing["largest s"] <= timing["prebuffer s"] + 0.0205).all())


def test_bars_catch_what_falls_short() -> None:
    timing = pd.DataFrame({
        "block s": [0.96], "nfe": [8], "asked prebuffer s": [math.nan], "median s": [1.1], "largest s": [1.6],
        "prebuffer s": [1.7], "underruns": [0],
    })  # fmt: skip
    change = {"difference before": 0.0, "first heard s": 0.001}
    following = pd.DataFrame(
        {"agreement": [0.8, 0.1, 0.5], "gain": [0.6, 0.0, 0.3]},
        index=["codec round trip", "made unasked", "asked, nfe 8, guidance 1"],
    )
    jamming = pd.DataFrame({"unknown s": [0.0, 0.96], "gain": [0.2, 0.0]})
    good = reaction_bars(timing, change, following, jamming, "", "")
    assert len(good) == 8
    assert all(bar.reached for bar in good)
    timing[["median s", "largest s", "underruns"]] = [2.0, 1.8, 1]
    change = {"difference before": 1e-3, "first heard s": 0.5}
    following.loc["asked, nfe 8, guidance 1"] = [0.3, 0.1]
    jamming["gain"] = 0.05
    assert not any(bar.reached for bar in reaction_bars(timing, change, following, jamming, "", ""))


def _fitted(sounds: list[np.ndarray], controls: tuple[str, ...], given: Any = None) -> Any:
    """Return a tiny model after two steps."""
    model = LiveMusicDiffusion(
        codec=SpectralCodec(RATE, 960, 48), controls=controls, max_steps=2, random_state=0, device="cpu",
        width=16, depth=1, n_heads=2, block=12, window=3, train_blocks=4, batch_size=2, warmup_steps=1,
        validation_fraction=0.0,
    )  # fmt: skip
    return model.fit([Audio(one, RATE) for one in sounds], given)


def test_fitted_models_are_asked_continued_and_played_along_with() -> None:
    sounds = [_walk(seed, 2.0) for seed in range(3)]
    model = _fitted(sounds, ("chroma",))
    rows = following_rows(model, sounds[:2], [(1, 2.0)])
    assert len(rows) == 3
    assert all(-1.0 <= row["agreement"] <= 1.0 for row in rows)
    assert model.guidance == 1.0  # as it was
    beginning = Excerpt(sounds[0], Notes.of([], [], []), "voice", "a", 0.0)
    for made in (played(model, 2, 1.0, nfe=1), continued(model, [beginning], 1.0, nfe=1)):
        assert all(one.shape == (RATE,) for one in made)
        assert all(np.isfinite(one).all() for one in made)
    partners = [{"partner": Audio(one, RATE)} for one in sounds]
    found = jamming_rows(_fitted(sounds, ("partner",), partners), sounds[:2], [(0.48, 0.24)], 1)
    assert found[0]["unknown s"] == pytest.approx(0.24)
    assert -1.0 <= found[0]["agreement"] <= 1.0
