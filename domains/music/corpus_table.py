"""The table of a rendered corpus: what each sound file is, and on which side of the split its piece stands.

Pieces, not files, are split: in the order of their names every tenth (places 9, 19, ... from 0) is of the
test set and places 4, 14, ... are of the validation set, with all their styles and transpositions. The place
counts all pieces of the collection, so it stays when some are left out or fail.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from sciffusion.training.checkpoints import write_atomically

__all__ = ["SPLITS", "CorpusEntry", "load_corpus", "split_of_place", "write_table"]

SPLITS = ("train", "validation", "test")
TABLE = "corpus.csv"


class CorpusEntry(NamedTuple):
    """One sound file of a corpus.

    Parameters
    ----------
    piece : str
        Name of the score.
    style : str
        Instrument it is played on.
    wav, midi : Path
        Sound, and the notes it was made of (in the key of the sound).
    seconds : float
        Duration.
    tempo : float
        Quarter notes a minute at the beginning.
    key : str
        As "D minor", at the pitch that sounds only if `transpose` is 0; "" if not known.
    split : {"train", "validation", "test"}
    transpose : int
        Semitones up from the score.
    gain : float
        Gain of the synthesizer.
    notice : str
        Copyright that the score carries, or "".
    """

    piece: str
    style: str
    wav: Path
    midi: Path
    seconds: float
    tempo: float
    key: str
    split: str
    transpose: int = 0
    gain: float = 0.4
    notice: str = ""


def split_of_place(place: int) -> str:
    """Return the split of the piece in this place, from 0, of a collection's sorted names."""
    return {9: "test", 4: "validation"}.get(place % 10, "train")


def load_corpus(
    folder: str | os.PathLike[str],
    *,
    split: str | None = None,
    styles: Sequence[str] | None = None,
) -> list[CorpusEntry]:
    """Return the sound files of a corpus that `render_corpus` made.

    Parameters
    ----------
    folder : path-like
        Its folder.
    split : {"train", "validation", "test"}, optional
        Only this part; all by default.
    styles : sequence of str, optional
        Only these styles; all by default.

    Returns
    -------
    list of CorpusEntry
        By piece, transposition and style.

    Raises
    ------
    FileNotFoundError
        If the folder holds no table of a corpus, or a sound file named in it is missing.
    ValueError
        For an unknown split or style, a damaged table, or if nothing is left.
    """
    if split is not None and split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)} or None, got {split!r}")
    entries = read_table(Path(folder))
    known = sorted({entry.style for entry in entries})
    unknown = [style for style in styles or () if style not in known]
    if unknown:
        raise ValueError(f"the corpus has no style {unknown[0]!r}; it has {', '.join(known)}")
    found = [
        entry
        for entry in entries
        if split in (None, entry.split) and (styles is None or entry.style in styles)
    ]
    if not found:
        raise ValueError(
            f"the corpus {os.fspath(folder)!r} has no sound files of the {split or 'whole'} set; render more "
            "pieces (of ten, one is for validation and one for the test)"
        )
    for entry in found:
        if not entry.wav.is_file():
            raise FileNotFoundError(f"{str(entry.wav)!r} is missing; render the corpus again into its folder")
    return found


def read_table(folder: Path) -> list[CorpusEntry]:
    """Return all rows of a corpus's table, whether or not their files exist."""
    table = folder / TABLE
    if not table.is_file():
        raise FileNotFoundError(
            f"{str(folder)!r} holds no {TABLE}; make a corpus with `sciffusion music render-corpus`"
        )
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    try:
        return [_entry(folder, row) for row in rows]
    except (KeyError, ValueError, TypeError) as error:
        raise ValueError(f"{str(table)!r} is damaged: {type(error).__name__} {error}") from error


def write_table(folder: Path, entries: Iterable[CorpusEntry]) -> None:
    """Write the table as a whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CorpusEntry._fields)
    for entry in sorted(entries, key=lambda one: (one.piece, one.transpose, one.style)):
        cells = entry._replace(wav=Path(entry.wav.name), midi=Path(entry.midi.name))
        writer.writerow([f"{cell:.6g}" if isinstance(cell, float) else cell for cell in cells])
    write_atomically(folder / TABLE, lambda file: file.write(text.getvalue().encode("utf-8")))


def _entry(folder: Path, row: dict[str, str]) -> CorpusEntry:
    if row["split"] not in SPLITS:
        raise ValueError(f"split {row['split']!r}")
    return CorpusEntry(
        row["piece"], row["style"], folder / row["wav"], folder / row["midi"], float(row["seconds"]),
        float(row["tempo"]), row["key"], row["split"], int(row["transpose"]), float(row["gain"]),
        row["notice"],
    )  # fmt: skip
