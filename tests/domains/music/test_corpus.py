"""Rendered corpora: notes that end, renders that are whole, tables by which pieces stay apart."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sciffusion.domains.music import corpus, corpus_synthesizer
from sciffusion.domains.music.audio import read_audio
from sciffusion.domains.music.corpus import render_corpus
from sciffusion.domains.music.corpus_midi import TICKS, midi_bytes, midi_seconds
from sciffusion.domains.music.corpus_scores import Score, ScoreNote, list_scores, read_score
from sciffusion.domains.music.corpus_synthesizer import (
    Synthesizer,
    find_fluidsynth,
    find_soundfont,
    render_midi,
)
from sciffusion.domains.music.corpus_table import load_corpus

mido = pytest.importorskip("mido")
pytest.importorskip("soundfile")
pytest.importorskip("soxr")

# Begins as a shell script: a first line cannot name an interpreter whose path has a space in it.
FAKE = """#!/bin/sh
''''exec "{python}" -SE "$0" "$@" #'''
import math, struct, sys, time, wave
arguments = sys.argv[1:]
out, rate = arguments[arguments.index("-F") + 1], int(arguments[arguments.index("-r") + 1])
how = {how!r}
def write(seconds, size):
    with wave.open(out, "wb") as file:
        file.setnchannels(2); file.setsampwidth(2); file.setframerate(rate)
        for place in range(int(seconds * 10)):
            file.writeframes(b"".join(
                struct.pack("<2h", *2 * [round(32767 * size * math.sin(0.1 * n))]) for n in range(rate // 10)
            ))
        if how == "trailing":
            file.writeframes(bytes(4 * 2 * rate))
if how == "fails":
    sys.exit("fluidsynth: error: no such instrument")
if how == "endless":
    with open(out, "wb") as file:
        for _ in range(2000):
            file.write(bytes(1_000_000)); time.sleep(0.02)
write(0.5, {{"silent": 0.0, "loud": 1.0}}.get(how, 0.25))
"""


def fake_fluidsynth(folder: Path, how: str = "plays") -> Path:
    path = folder / "fluidsynth"
    path.write_text(FAKE.format(python=sys.executable, how=how))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    (folder / "some.sf2").write_bytes(b"RIFF")
    return path


@pytest.fixture
def synthesizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a fluidsynth that plays half a second of one tone, and a soundfont, on this machine."""
    if os.name == "nt":
        pytest.skip("the stand-in for fluidsynth is a script with a shebang")
    folder = tmp_path / "bin"
    folder.mkdir()
    fake_fluidsynth(folder)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv(corpus_synthesizer.SOUNDFONT_VARIABLE, str(folder / "some.sf2"))
    return folder


def score_of(piece: str, pitch: int = 60) -> Score:
    notes = (ScoreNote(0.0, 1.0, pitch, 90), ScoreNote(1.0, 2.0, pitch + 4, 90))
    return Score(piece, (notes, (ScoreNote(0.0, 3.0, pitch - 12, 90),)), ((0.0, 90.0),), "C major")


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let a collection have twelve pieces, of which one cannot be read."""
    names = [f"piece{place:02d}" for place in range(12)]

    def read(path: Path) -> Score:
        if path.name == "piece03":
            raise ValueError("the score holds no notes")
        return score_of(path.name)

    monkeypatch.setattr(corpus, "list_scores", lambda collection: {name: Path(name) for name in names})
    monkeypatch.setattr(corpus, "read_score", read)
    return names


def sounding(content: bytes) -> dict[tuple[int, int], int]:
    """Return how often each note of each channel is on at the end, and check that it never is twice."""
    import io

    open_notes: dict[tuple[int, int], int] = {}
    for message in mido.merge_tracks(mido.MidiFile(file=io.BytesIO(content)).tracks):
        if message.type in ("note_on", "note_off"):
            key = (message.channel, message.note)
            on = message.type == "note_on"
            assert open_notes.get(key, 0) == (0 if on else 1)
            open_notes[key] = int(on)
    return open_notes


# -------------------------------------------------------------------- notes


def test_every_note_ends_and_none_is_struck_while_it_sounds() -> None:
    notes = (
        ScoreNote(0.0, 2.0, 60, 90),
        ScoreNote(0.0, 1.0, 60, 80),  # the same note in another voice
        ScoreNote(1.0, 3.0, 60, 90),  # struck again before it ended
        ScoreNote(4.0, 1e-6, 62, 90),  # shorter than a tick
        ScoreNote(4.0, 1.0, 64, 90),
    )
    content = midi_bytes(Score("piece", (notes,), ((0.0, 120.0),)))
    assert set(sounding(content).values()) == {0}
    assert midi_seconds(content) == pytest.approx((5.0 + 1.0) * 0.5)  # and a quarter to die away


def test_tempo_changes_programs_and_transposition_are_in_the_file() -> None:
    import io

    score = Score("piece", ((ScoreNote(0, 4, 60, 90),),) * 12, ((0.0, 60.0), (2.0, 120.0)))
    content = midi_bytes(score, program=19, transpose=-5)
    assert midi_seconds(content) == pytest.approx(2 * 1.0 + 2 * 0.5 + 0.5)
    file = mido.MidiFile(file=io.BytesIO(content))
    messages = [message for track in file.tracks for message in track]
    assert {one.note for one in messages if one.type == "note_on"} == {55}
    programs = [one for one in messages if one.type == "program_change"]
    assert [one.program for one in programs] == [19] * 12
    assert 9 not in {one.channel for one in programs}  # that of the drums
    assert file.ticks_per_beat == TICKS


def test_a_pitch_that_midi_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match=r"transposed by 24, the pitch 110 leaves"):
        midi_bytes(Score("piece", ((ScoreNote(0, 1, 110, 90),),), ((0.0, 120.0),)), transpose=24)


# -------------------------------------------------------------------- renders


def midi_and_seconds() -> tuple[bytes, float]:
    content = midi_bytes(score_of("piece"), program=0)
    return content, midi_seconds(content)


def test_a_loud_render_is_turned_down_as_a_whole(synthesizer: Path, tmp_path: Path) -> None:
    plain = Synthesizer(str(fake_fluidsynth(synthesizer)), synthesizer / "some.sf2", 8_000)
    quiet = render_midi(plain, *midi_and_seconds(), tmp_path / "quiet.wav")
    fake_fluidsynth(synthesizer, "loud")
    loud = render_midi(plain, *midi_and_seconds(), tmp_path / "loud.wav")
    assert quiet.seconds == pytest.approx(0.5, abs=0.01)
    assert quiet.gain == 0.4
    assert loud.gain == pytest.approx(0.4 * 0.98, rel=1e-3)
    soft, strong = (read_audio(tmp_path / f"{name}.wav") for name in ("quiet", "loud"))
    assert soft.samples.shape == strong.samples.shape
    assert soft.samples.shape[1] == 2
    assert np.abs(strong.samples).max() == pytest.approx(0.98, abs=1e-3)
    np.testing.assert_allclose(strong.samples / 0.98, soft.samples / 0.25, atol=1e-3)


def test_silence_after_the_last_note_is_cut_without_a_click(synthesizer: Path, tmp_path: Path) -> None:
    machine = Synthesizer(str(fake_fluidsynth(synthesizer, "trailing")), synthesizer / "some.sf2", 8_000)
    rendering = render_midi(machine, *midi_and_seconds(), tmp_path / "x.wav")
    assert rendering.seconds == pytest.approx(0.5, abs=0.01)
    assert np.abs(read_audio(tmp_path / "x.wav").samples[-2:]).max() < 0.01


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("fails", "ended with status 1: fluidsynth: error: no such instrument"),
        ("silent", "rendered silence"),
        ("endless", "did not end: it played on"),
    ],
)
def test_a_render_that_fails_leaves_no_file(
    synthesizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, message: str
) -> None:
    monkeypatch.setattr(corpus_synthesizer, "_BYTES", 1)
    machine = Synthesizer(str(fake_fluidsynth(synthesizer, how)), synthesizer / "some.sf2", 8_000)
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(RuntimeError, match=message):
        render_midi(machine, *midi_and_seconds(), folder / "x.wav")
    assert list(folder.iterdir()) == []


def test_what_is_missing_is_named_with_its_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"apt install fluidsynth fluid-soundfont-gm"):
        find_fluidsynth()
    monkeypatch.delenv(corpus_synthesizer.SOUNDFONT_VARIABLE, raising=False)
    monkeypatch.setattr(corpus_synthesizer, "_FOLDERS", (str(tmp_path),))
    with pytest.raises(FileNotFoundError, match=r"apt install .* --soundfont"):
        find_soundfont()
    with pytest.raises(FileNotFoundError, match=r"there is no soundfont 'no\.sf2'"):
        find_soundfont("no.sf2")
    (tmp_path / "mine.sf3").write_bytes(b"RIFF")
    assert find_soundfont() == tmp_path / "mine.sf3"
    (tmp_path / "FluidR3_GM.sf2").write_bytes(b"RIFF")
    assert find_soundfont() == tmp_path / "FluidR3_GM.sf2"


# -------------------------------------------------------------------- corpora


def test_a_corpus_has_a_table_split_by_piece_and_a_card(
    synthesizer: Path, pieces: list[str], tmp_path: Path
) -> None:
    told: list[Any] = []
    rendered = render_corpus(
        tmp_path / "new" / "corpus", sample_rate=8_000, styles=("organ",), transpose=(2,),
        progress=lambda *arguments: told.append(arguments),
    )  # fmt: skip
    assert [one[:2] for one in told] == [(done, 24) for done in range(1, 25)]
    reason = "ValueError: the score holds no notes"
    assert rendered.failures == {"piece03": reason, "piece03_+2": reason}
    entries = load_corpus(rendered.folder)
    assert entries == rendered.entries
    assert {entry.piece for entry in entries} == set(pieces) - {"piece03"}
    splits = {entry.piece: entry.split for entry in entries}
    assert [name for name, split in splits.items() if split != "train"] == ["piece04", "piece09"]
    assert [entry.piece for entry in load_corpus(rendered.folder, split="test")] == ["piece09"] * 2
    first, second = entries[:2]
    assert (first.style, first.tempo, first.key, first.transpose) == ("organ", 90.0, "C major", 0)
    assert (second.wav.name, second.transpose) == ("piece00_+2.organ.wav", 2)
    assert first.seconds == pytest.approx(read_audio(first.wav).seconds, rel=1e-5)
    low, high = (sorted(sounding(entry.midi.read_bytes())) for entry in (first, second))
    assert [(channel, note + 2) for channel, note in low] == high
    card = (rendered.folder / "README.md").read_text()
    assert "Do not redistribute" in card
    assert "| test | 1 | 2 | 0.0 |" in card
    assert "- piece03: ValueError: the score holds no notes" in card


def test_an_interrupted_render_goes_on_where_it_was(
    synthesizer: Path, pieces: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"sample_rate": 8_000, "limit": 3}

    def interrupt(done: int, total: int, what: str) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render_corpus(tmp_path / "corpus", **settings, progress=interrupt)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "corpus").glob("*.wav")}
    assert len(load_corpus(tmp_path / "corpus")) == len(before) == 4
    (tmp_path / "corpus" / "piece00.piano.wav").unlink()
    names: list[str] = []
    rendered = render_corpus(tmp_path / "corpus", **settings, progress=lambda *told: names.append(told[2]))
    assert names == ["piece00", "piece02"]
    assert len(rendered.entries) == 6
    for name in ("piece00.organ.wav", "piece01.organ.wav", "piece01.piano.wav"):
        assert (tmp_path / "corpus" / name).stat().st_mtime_ns == before[name]
    assert not list((tmp_path / "corpus").glob(".*"))


def test_a_folder_of_other_settings_is_refused(synthesizer: Path, pieces: list[str], tmp_path: Path) -> None:
    render_corpus(tmp_path, sample_rate=8_000, limit=1, styles=("organ",))
    with pytest.raises(ValueError, match="holds a corpus with sample_rate 8000, not 16000; give another"):
        render_corpus(tmp_path, sample_rate=16_000, limit=1, styles=("organ",))
    # Another style of the same scores is the same corpus.
    assert len(render_corpus(tmp_path, sample_rate=8_000, limit=1, styles=("piano",)).entries) == 2


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"styles": ("kazoo",)}, "styles must be some of piano.*'kazoo'"),
        ({"styles": "organ"}, "styles must be some of"),
        ({"sample_rate": 100}, r"sample_rate must lie in 8000\.\.96000"),
        ({"limit": 0}, "limit must be at least 1"),
        ({"transpose": (99,)}, "whole semitones within 24"),
        ({"gain": 0.0}, "gain must lie in"),
    ],
)
def test_wrong_arguments_are_named(
    pieces: list[str], tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        render_corpus(tmp_path / "corpus", **changed)
    assert not (tmp_path / "corpus").exists()


def test_if_every_piece_fails_the_first_reason_is_told(
    synthesizer: Path, pieces: list[str], tmp_path: Path
) -> None:
    fake_fluidsynth(synthesizer, "fails")
    with pytest.raises(ValueError, match="no piece could be rendered; the first: RuntimeError: FluidSynth"):
        render_corpus(tmp_path, sample_rate=8_000, limit=1)


def test_load_corpus_names_what_is_wrong(synthesizer: Path, pieces: list[str], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="render-corpus"):
        load_corpus(tmp_path)
    render_corpus(tmp_path, sample_rate=8_000, limit=2, styles=("organ",))
    with pytest.raises(ValueError, match="no style 'piano'; it has organ"):
        load_corpus(tmp_path, styles=["piano"])
    with pytest.raises(ValueError, match="split must be one of train, validation, test"):
        load_corpus(tmp_path, split="dev")
    with pytest.raises(ValueError, match="no sound files of the test set"):
        load_corpus(tmp_path, split="test")
    (tmp_path / "piece00.organ.wav").unlink()
    with pytest.raises(FileNotFoundError, match="is missing"):
        load_corpus(tmp_path)
    (tmp_path / "corpus.csv").write_text("piece,split\nx,nowhere\n")
    with pytest.raises(ValueError, match="damaged"):
        load_corpus(tmp_path)


# -------------------------------------------------------------------- real scores


@pytest.fixture(scope="module")
def chorales() -> dict[str, Path]:
    pytest.importorskip("music21", reason="music21, of the extra scores, is not installed")
    return list_scores("bach_chorales")


def test_pieces_in_two_formats_are_one_piece(chorales: dict[str, Path]) -> None:
    assert len(chorales) > 400
    assert list(chorales) == sorted(chorales)
    assert chorales["bwv281"].suffix == ".mxl"  # it is there as .krn, too


def test_scores_with_grace_notes_and_repeats_end(chorales: dict[str, Path]) -> None:
    score = read_score(chorales["bwv299"])  # has grace notes, and a repeated first half
    assert [len(part) for part in score.parts] == [81, 76, 78, 84]
    assert score.key == "Bb major"
    assert score.tempos == ((0.0, 120.0),)
    content = midi_bytes(score)
    assert set(sounding(content).values()) == {0}
    assert midi_seconds(content) == pytest.approx(72 * 0.5 + 0.5)


def test_unknown_collections_and_own_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no collection of scores 'bach'; there are bach_chorales"):
        list_scores("bach")
    with pytest.raises(ValueError, match="empty list"):
        list_scores([])
    with pytest.raises(FileNotFoundError, match="no score"):
        list_scores([tmp_path / "no.mxl"])
    for name in ("b.mid", "a.mid", "b.mxl"):
        (tmp_path / name).write_bytes(b"")
    assert list(list_scores([tmp_path / "b.mid", tmp_path / "a.mid"])) == ["a", "b"]
    with pytest.raises(ValueError, match="different names"):
        list_scores([tmp_path / "b.mid", tmp_path / "b.mxl"])


def test_a_real_chorale_sounds_where_its_notes_are(chorales: dict[str, Path], tmp_path: Path) -> None:
    try:
        find_fluidsynth(), find_soundfont()
    except FileNotFoundError as missing:
        pytest.skip(str(missing))
    rendered = render_corpus(
        tmp_path, collection=[chorales["bwv281"]], styles=("organ",), sample_rate=8_000, reverb=False
    )
    (entry,) = rendered.entries
    audio = read_audio(entry.wav)
    # A quarter to die away is in the notes; the silence that FluidSynth adds is not in the sound.
    assert entry.seconds == pytest.approx(midi_seconds(entry.midi.read_bytes()), abs=1.0)
    assert 0.02 < np.abs(audio.samples).max() <= 0.98
    # The first chord is F major: its pitch classes hold most of the energy up to 1 kHz.
    piece = audio.mono_at(8_000)[800:3_200]
    power = np.abs(np.fft.rfft(piece * np.hanning(len(piece)), 32_768)) ** 2
    hertz = np.fft.rfftfreq(32_768, 1 / 8_000)
    heard = (hertz > 80) & (hertz < 1_000)
    classes = np.round(12 * np.log2(hertz[heard] / 440) + 69).astype(int) % 12
    share = power[heard][np.isin(classes, [5, 9, 0])].sum() / power[heard].sum()
    assert share > 0.8
