"""Names of chords: what they ask for, and where."""

from __future__ import annotations

import numpy as np
import pytest

from sciffusion.domains.music.chords import chord_pitches, parse_chords, parse_progression


@pytest.mark.parametrize(
    ("name", "pitches"),
    [
        ("C:maj", (0, 4, 7)), ("C", (0, 4, 7)), ("A:min", (9, 0, 4)), ("Am", (9, 0, 4)),
        ("G:7", (7, 11, 2, 5)), ("G7", (7, 11, 2, 5)), ("F#:dim", (6, 9, 0)), ("Bb:maj7", (10, 2, 5, 9)),
        ("Dm7", (2, 5, 9, 0)), ("Cb", (11, 3, 6)), ("E:1", (4,)), ("N", ()),
    ],
)  # fmt: skip
def test_a_chord_is_its_pitch_classes(name: str, pitches: tuple[int, ...]) -> None:
    assert chord_pitches(name) == pitches


def test_a_progression_goes_over_and_over() -> None:
    rows = parse_chords("C*1, N*0.5 A:min*0.5", 5.0, 4.0)
    assert rows.shape == (20, 12)
    held = [tuple(np.flatnonzero(row)) if not np.isnan(row).any() else None for row in rows]
    cycle = [(0, 4, 7)] * 4 + [None] * 2 + [(0, 4, 9)] * 2
    assert held == (cycle * 3)[:20]


def test_one_chord_is_one_row_that_holds() -> None:
    rows = parse_chords("G:7", 100.0, 25.0)
    assert rows.shape == (1, 12)
    assert set(np.flatnonzero(rows)) == {7, 11, 2, 5}
    assert [chord.seconds for chord in parse_progression("C F*3")] == [2.0, 3.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there are no chords"),
        ("H:maj", "'H:maj' is no chord"),
        ("C:major", "no quality 'major'; there are maj, min"),
        ("C*x", r"NAME\*SECONDS.*'C\*x'"),
        ("C*0", r"NAME\*SECONDS"),
        ("C*nan", r"NAME\*SECONDS"),
    ],
)
def test_what_is_no_chord_is_named(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_progression(text)
