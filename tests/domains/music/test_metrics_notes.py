"""Note lists: agreement against mir_eval, intervals and density of known chords, MIDI files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sciffusion.domains.music.metrics_notes import (
    Notes,
    harmonic_intervals,
    melodic_intervals,
    note_scores,
    onset_density,
    read_notes,
)

mido = pytest.importorskip("mido")


def _random_notes(random: np.random.Generator, count: int) -> Notes:
    onsets = random.uniform(0.0, 3.0, count)
    return Notes.of(onsets, onsets + 0.3, random.integers(60, 64, count))


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_those_of_mir_eval(seed: int) -> None:
    mir_eval = pytest.importorskip("mir_eval")
    random = np.random.default_rng(seed)
    # Crowded enough that the nearest partner is often taken and a matching is needed.
    found, true = _random_notes(random, 60), _random_notes(random, 50)

    def arguments(notes: Notes) -> tuple[np.ndarray, np.ndarray]:
        return np.stack([notes.onsets, notes.ends], 1), 440.0 * 2.0 ** ((notes.pitches - 69.0) / 12.0)

    expected = mir_eval.transcription.precision_recall_f1_overlap(
        *arguments(true), *arguments(found), offset_ratio=None
    )[:3]
    assert note_scores(found, true) == pytest.approx(expected, abs=1e-12)


def test_one_true_note_pays_for_one_found_note() -> None:
    true = Notes.of([1.0], [2.0], [60])
    found = Notes.of([0.98, 1.02], [2.0, 2.0], [60, 60])
    assert note_scores(found, true) == pytest.approx((0.5, 1.0, 2 / 3))
    assert note_scores(true, true) == (1.0, 1.0, 1.0)


def test_tolerances_are_kept() -> None:
    true = Notes.of([1.0], [2.0], [60])
    assert note_scores(Notes.of([1.05], [2.0], [60.4]), true).f1 == 1.0
    assert note_scores(Notes.of([1.06], [2.0], [60]), true).f1 == 0.0
    assert note_scores(Notes.of([1.0], [2.0], [60.6]), true).f1 == 0.0
    assert note_scores(Notes.of([], [], []), true) == (0.0, 0.0, 0.0)


def test_intervals_of_a_known_passage() -> None:
    # C major, then the top voice goes G4 A4 A4 (struck again) F4 over a held C3.
    onsets = [0.0, 0.0, 0.0, 1.0, 2.0, 3.0]
    ends = [4.0, 1.0, 1.0, 2.0, 3.0, 4.0]
    notes = Notes.of(onsets, ends, [48, 64, 67, 69, 69, 65])
    np.testing.assert_array_equal(melodic_intervals(notes), [2.0, 0.0, -4.0])
    np.testing.assert_array_equal(np.sort(harmonic_intervals(notes)), [16.0, 17.0, 19.0, 21.0, 21.0])


def test_a_moving_bass_under_a_held_top_is_no_melody() -> None:
    notes = Notes.of([0.0, 0.0, 1.0], [2.0, 1.0, 2.0], [72, 60, 55])
    assert len(melodic_intervals(notes)) == 0
    np.testing.assert_array_equal(np.sort(harmonic_intervals(notes)), [12.0, 17.0])


def test_chords_rolled_within_forty_milliseconds_are_one() -> None:
    notes = Notes.of([0.0, 0.02, 1.0, 1.03], [1.0, 1.0, 2.0, 2.0], [60, 64, 62, 65])
    np.testing.assert_array_equal(melodic_intervals(notes), [1.0])
    np.testing.assert_array_equal(harmonic_intervals(notes), [4.0, 3.0])


def test_density_counts_notes_over_all_seconds() -> None:
    pieces = [Notes.of([0.0, 1.0], [1.0, 2.0], [60, 61]), Notes.of([], [], [])]
    assert onset_density(pieces, [2.0, 2.0]) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="seconds positive"):
        onset_density(pieces, [2.0, 0.0])


def test_a_window_keeps_its_own_onsets() -> None:
    part = Notes.of([0.5, 1.0, 1.9, 2.0], [3.0, 1.5, 3.0, 2.5], [60, 61, 62, 63]).between(1.0, 2.0)
    np.testing.assert_allclose(part.onsets, [0.0, 0.9])
    np.testing.assert_allclose(part.ends, [0.5, 1.0])
    np.testing.assert_allclose(part.pitches, [61, 62])


def test_midi_files_are_read_in_seconds(tmp_path: Path) -> None:
    file = mido.MidiFile(ticks_per_beat=100)
    track = mido.MidiTrack()
    file.tracks.append(track)
    track.append(mido.MetaMessage("set_tempo", tempo=1_000_000, time=0))  # one beat a second
    track.append(mido.Message("note_on", note=60, velocity=64, time=100))
    track.append(mido.Message("note_on", note=38, velocity=64, channel=9, time=0))  # a drum
    track.append(mido.Message("note_on", note=60, velocity=0, time=50))  # running status: an end
    track.append(mido.MetaMessage("set_tempo", tempo=500_000, time=0))
    track.append(mido.Message("note_on", note=67, velocity=64, time=100))
    track.append(mido.MetaMessage("end_of_track", time=200))
    file.save(tmp_path / "notes.mid")
    notes = read_notes(tmp_path / "notes.mid")
    np.testing.assert_allclose(notes.onsets, [1.0, 2.0])
    np.testing.assert_allclose(notes.ends, [1.5, 3.0])
    np.testing.assert_allclose(notes.pitches, [60, 67])


def test_what_is_no_midi_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no MIDI file"):
        read_notes(tmp_path / "none.mid")
    (tmp_path / "text.mid").write_text("not music")
    with pytest.raises(ValueError, match="no MIDI file that can be read"):
        read_notes(tmp_path / "text.mid")


@pytest.mark.parametrize(
    ("onsets", "ends", "pitches", "message"),
    [
        ([0.0, 1.0], [1.0], [60], "one length"),
        ([[0.0]], [[1.0]], [[60]], "one-dimensional"),
        ([np.nan], [1.0], [60], "finite"),
        ([-1.0], [1.0], [60], "at least 0"),
        ([1.0], [0.5], [60], "end before"),
    ],
)
def test_bad_notes_are_refused(onsets: list, ends: list, pitches: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Notes.of(onsets, ends, pitches)


def test_bad_tolerances_are_refused() -> None:
    notes = Notes.of([0.0], [1.0], [60])
    with pytest.raises(ValueError, match="tolerances must be positive"):
        note_scores(notes, notes, onset_tolerance=0.0)
