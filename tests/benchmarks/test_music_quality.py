"""The quality benchmark in miniature: sung tones in place of pieces, a model that sings new ones."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import music_quality
import music_quality_scores
import numpy as np
import pandas as pd
import pytest
from music_quality import Size, main
from music_quality_bars import quality_bars
from music_quality_data import RATE, Piece, excerpts, halves, read_pieces
from music_quality_rows import shuffled

from sciffusion.domains.music import Audio, ControlLayout, SpectralCodec, write_audio
from sciffusion.domains.music.metrics_notes import Notes

TINY = Size(
    count=3,
    reference=3,
    judged=2,
    seconds=6.0,
    prompt=2.0,
    nfes=(1,),
    gated=1,
    streams=2,
    minutes=0.2,
    window=4.0,
)


def _melody(seed: int, seconds: float) -> Notes:
    random = np.random.default_rng(seed)
    onsets = np.arange(0.0, seconds - 0.4, 0.5)
    pitches = 60 + np.array([0, 2, 4, 5, 7, 9, 11, 12])[random.integers(0, 8, len(onsets))]
    return Notes.of(onsets, onsets + 0.45, pitches)


def _sing(notes: Notes, seconds: float) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    samples = np.zeros_like(time)
    for onset, end, pitch in zip(*notes, strict=True):
        begin, stop = round(onset * RATE), round(end * RATE)
        age = time[begin:stop] - onset
        hertz = 440.0 * 2.0 ** ((pitch - 69.0) / 12.0)
        tone = sum(np.sin(2 * math.pi * hertz * k * age) / k**1.5 for k in range(1, 6))
        samples[begin:stop] += tone * np.exp(-2.0 * age)
    return (0.15 * samples).astype(np.float32)


@dataclass(frozen=True)
class _Sung(Piece):
    """A piece without files."""

    seed: int = 0

    def samples(self) -> np.ndarray:
        return _sing(self.notes(), 7.0)

    def notes(self) -> Notes:
        return _melody(self.seed, 7.0)


class _Singer:
    """A model that makes melodies of the same kind, or nothing but noise."""

    layout_ = ControlLayout()

    def __init__(self, good: bool = True) -> None:
        self.codec_, self._good = SpectralCodec(RATE, 960, 480), good

    def _one(self, seed: int, seconds: float) -> Audio:
        if self._good:
            return Audio(_sing(_melody(seed, seconds), seconds), RATE)
        noise = 0.3 * np.random.default_rng(seed).standard_normal(round(seconds * RATE))
        return Audio(noise.astype(np.float32), RATE)

    def sample(self, seconds: float, *, n: int, **_: Any) -> list[Audio]:
        return [self._one(5000 + place, seconds) for place in range(n)]

    def continue_audio(self, audio: Audio, seconds: float, *, seed: int, **_: Any) -> Audio:
        assert audio.seconds == 2.0
        return self._one(6000 + seed, seconds)


PIECES = [
    _Sung(f"{split}{number}", "voice", split, Path(), Path(), seed=100 * place + number)
    for place, (split, count) in enumerate((("train", 5), ("test", 6), ("validation", 1)))
    for number in range(count)
]


def _hear(audio: Audio) -> Notes:
    """Return the loudest pitch of every half second, which is all that these pieces have."""
    slots = audio.samples[: len(audio.samples) // 12_000 * 12_000].reshape(-1, 12_000)
    spectrum = np.abs(np.fft.rfft(slots, 65_536))
    pitches = np.round(
        69.0 + 12.0 * np.log2(spectrum[:, 500:1500].argmax(1) + 500) - 12.0 * np.log2(440.0 * 65_536 / RATE)
    )
    loud = np.sqrt(np.mean(slots**2, axis=1)) > 1e-3
    onsets = 0.5 * np.flatnonzero(loud)
    return Notes.of(onsets, onsets + 0.4, pitches[loud])


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    _replace_networks(monkeypatch)
    for draw in ("draw_scores", "draw_spectrograms"):  # the fixture `out` draws
        monkeypatch.setattr(music_quality, draw, lambda *_: None)


def _replace_networks(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(music_quality_scores, "why_no_crepe", lambda: "left out of this test")
    patch.setattr(music_quality_scores, "why_no_notes", lambda: None)
    patch.setattr(music_quality_scores, "transcribe", _hear)


def _run(folder: Path, model: Any, *words: str, size: Size = TINY) -> int:
    return main(["--out", str(folder), *words], size, pieces=PIECES, model=model)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny run with a good model."""
    folder = tmp_path_factory.mktemp("music_quality")
    with pytest.MonkeyPatch.context() as patch:
        _replace_networks(patch)
        assert _run(folder, _Singer()) == 0
    return folder


def test_a_reduced_run_says_so_and_writes_everything(out: Path) -> None:
    report = (out / "report.md").read_text(encoding="utf-8")
    assert "REDUCED" in report
    assert "left out of this test" in report
    tables = {"quality.csv", "codec.csv", "drift.csv", "rows.csv"}
    assert {"report.md", "music_quality.png", "spectrograms.png", *tables} <= {
        path.name for path in out.iterdir()
    }


def test_rows_are_ordered_as_they_must_be(out: Path) -> None:
    table = pd.read_csv(out / "quality.csv", index_col="row")
    assert list(table.index) == [
        "real, other half", "codec round trip", "copies of training pieces", "real moments in random order",
        "white noise", "noise through the codec", "made, nfe 1", "continued, nfe 1",
    ]  # fmt: skip
    distance = table["FD log-mel"]
    assert distance["white noise"] > 5 * distance["made, nfe 1"]
    assert distance["noise through the codec"] > 2 * distance["made, nfe 1"]
    assert table.loc["copies of training pieces", "nearest training ratio"] < 0.5
    assert table.loc["copies of training pieces", "flagged copies"] == 1.0
    assert table.loc["made, nfe 1", "nearest training ratio"] > 0.8
    assert table.loc["real, other half", "note F1"] > 0.4
    assert table.loc["made, nfe 1", "melodic JS"] < table.loc["white noise", "melodic JS"]
    assert len(pd.read_csv(out / "drift.csv")) == 3


def test_noise_for_a_model_misses_the_gates_and_baselines_are_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(TINY, count=2, streams=0)
    assert _run(tmp_path, _Singer(good=False), "--check", size=small) == 1
    said = capsys.readouterr().out
    assert "MISSED: made, nfe 1: FD log-mel within a third of the way from the codec to white noise" in said
    assert "reached: the measure: copies that are flagged" in said
    before = pd.read_csv(tmp_path / "quality.csv")
    monkeypatch.setattr(music_quality_scores.Judge, "score", lambda *_: pytest.fail("judged again"))
    assert _run(tmp_path, _Singer(good=False), "--check", "--resume", size=small) == 1
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "quality.csv"), before)
    with pytest.raises(ValueError, match="resume"):
        _run(tmp_path, _Singer(good=False), "--resume", size=replace(small, count=3))


def test_without_a_model_its_gates_are_not_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(music_quality, "list_pretrained", lambda: [])
    monkeypatch.setattr(music_quality_scores, "why_no_notes", lambda: "no transcriber either")
    main(["--out", str(tmp_path), "--check"], TINY, pieces=PIECES, codec=SpectralCodec(RATE, 960, 480))
    said = capsys.readouterr().out
    assert "not checked: made: FD log-mel within a third" in said
    assert "not checked: codec: note F1" in said
    assert "no transcriber either" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_gates_catch_what_falls_short() -> None:
    rows = {
        "real, other half": [1.0, 0.1, 0.05, 1.0], "codec round trip": [2.0, 0.1, 0.05, 1.0],
        "copies of training pieces": [1.0, 0.1, 1.0, 0.2], "white noise": [50.0, 0.4, 0.0, 1.4],
        "noise through the codec": [20.0, 0.4, 0.0, 1.4], "made, nfe 8": [8.0, 0.15, 0.05, 1.0],
    }  # fmt: skip
    columns = ["FD log-mel", "pitch-class JS", "flagged copies", "nearest training ratio"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    codec = pd.DataFrame({"real": [0.8], "codec": [0.75]}, index=["piano"])
    good = quality_bars(table, codec, 0.1, ("made, nfe 8",), None)
    assert len(good) == 8
    assert all(bar.reached for bar in good)
    table.loc["made, nfe 8"] = [8.1, 0.21, 0.2, 0.5]  # the limits are 8, .2, .15 and .8
    codec["codec"] = 0.7
    missed = [bar.name for bar in quality_bars(table, codec, 0.1, ("made, nfe 8",), None) if not bar.reached]
    assert len(missed) == 5


def test_halves_share_no_piece_and_excerpts_know_their_notes() -> None:
    first, second = halves(PIECES)
    assert not {piece.name for piece in first} & {piece.name for piece in second}
    assert {piece.split for piece in [*first, *second]} == {"test"}
    found = excerpts(first, 5, 3.0, seed=0)
    assert len(found) == 5
    assert len({one.piece for one in found[:3]}) == 3
    assert not np.array_equal(found[0].samples, found[3].samples)  # another place of the same piece
    for one in found:
        assert one.samples.shape == (3 * RATE,)
        assert 0.0 <= one.notes.onsets.min() < 1.0
        assert one.notes.onsets.max() < 3.0
    assert excerpts(first, 10, 60.0) == []
    with pytest.raises(ValueError, match="at least 2"):
        halves(PIECES[:6])


def test_a_folder_of_files_is_read_by_name_and_split_by_place(tmp_path: Path) -> None:
    for place in range(10):
        (tmp_path / f"piece{place}.1.mid").write_bytes(b"")
        write_audio(tmp_path / f"piece{place}.1.organ.wav", Audio(np.zeros(480, dtype=np.float32), 48_000))
    found = read_pieces(tmp_path)
    assert [piece.split for piece in found] == ["train"] * 4 + ["validation"] + ["train"] * 4 + ["test"]
    assert {piece.style for piece in found} == {"organ"}
    assert found[0].samples().shape == (240,)
    with pytest.raises(FileNotFoundError, match="no rendered pieces"):
        read_pieces(tmp_path / "none")


def test_random_order_keeps_all_moments() -> None:
    pieces = [np.arange(3 * RATE, dtype=np.float32) + 10 * RATE * place for place in range(2)]
    mixed = shuffled(pieces, 0.5)
    assert not np.array_equal(mixed[0], pieces[0])
    np.testing.assert_array_equal(np.sort(np.concatenate(mixed)), np.sort(np.concatenate(pieces)))
