"""Sets of biological sequences: promoters in DNA, peptides in amino acids."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd

from . import sequences_cards as cards
from .sequences_cards import SequenceCard
from .wheels import WheelFile, cached_file

__all__ = [
    "SequenceDataset",
    "fetch_antimicrobial_peptides",
    "fetch_lac_promoters",
    "list_sequence_sets",
    "sequence_card",
    "sequence_loader",
]

Folder = str | PathLike[str] | None

_N_BINS = 10


@dataclass(frozen=True, eq=False, repr=False)
class SequenceDataset:
    """Sequences with what is known of each.

    Parameters
    ----------
    sequences : pandas.Series of str
        Upper-case letters, one sequence a row.
    target : pandas.Series
        A number or a class a sequence, with the same index.
    card : SequenceCard
        What is known about the set.
    split : pandas.Series of str, optional
        Parts in which the file gives the set, with the same index.

    Raises
    ------
    ValueError
        If the sequences are not those that the card describes.
    """

    sequences: pd.Series[str]
    target: pd.Series[Any]
    card: SequenceCard
    split: pd.Series[str] | None = None

    def __post_init__(self) -> None:
        """Refuse another set than the card describes."""
        lengths = self.sequences.str.len()
        found = (
            len(self.sequences),
            self.sequences.nunique(),
            (int(lengths.min()), int(lengths.max())),
            "".join(sorted(set("".join(self.sequences)))),
        )
        stated = (self.card.n_sequences, self.card.n_distinct, self.card.lengths, self.card.letters)
        if found != stated:
            raise ValueError(
                f"{self.card.name} has (sequences, distinct, lengths, letters) = {found}, its card says "
                f"{stated}: the source differs from {self.card.origin}"
            )
        if len(self.target) != len(self.sequences) or self.target.isna().any():
            raise ValueError(f"{self.card.name} needs one known target a sequence")

    def __repr__(self) -> str:
        """Return name and size."""
        return f"SequenceDataset({self.card.name!r}, n={len(self.sequences)})"


def _file(card: SequenceCard, folder: Folder) -> bytes:
    origin = card.origin
    wanted = WheelFile(origin.package, origin.version, origin.member, card.size, origin.sha256)
    return cached_file(wanted, folder=folder).read_bytes()


def fetch_lac_promoters(*, folder: Folder = None) -> SequenceDataset:
    """Return 50518 variants of the lac promoter of E. coli (DNA, 75 letters) with their expression.

    Parameters
    ----------
    folder : path or None
        Cache folder; None for ``data_home()``.

    Returns
    -------
    SequenceDataset
        The target is the mean bin of the cell sorter, 0 (dark) to 9 (bright).

    Raises
    ------
    DatasetUnavailableError, DatasetIntegrityError
        If the file cannot be obtained, or is not the pinned one.
    """
    card = cards.LAC_PROMOTERS
    rows = list(csv.DictReader(gzip.decompress(_file(card, folder)).decode("ascii").splitlines()))
    counts = np.array([[int(row[f"ct_{number}"]) for number in range(_N_BINS)] for row in rows])
    bins = counts @ np.arange(_N_BINS) / counts.sum(axis=1)
    return SequenceDataset(
        pd.Series([row["x"] for row in rows], name="sequence"),
        pd.Series(bins, name="bin"),
        card,
        pd.Series([row["set"] for row in rows], name="split"),
    )


def fetch_antimicrobial_peptides(*, folder: Folder = None) -> SequenceDataset:
    """Return 5200 peptides (7 to 174 amino acids), half of them antimicrobial.

    Parameters and errors are those of `fetch_lac_promoters`; the target is "AMP" or "UniProt".
    """
    card = cards.ANTIMICROBIAL_PEPTIDES
    header, *rows = csv.reader(_file(card, folder).decode("ascii").splitlines())
    names = header[2:]
    return SequenceDataset(
        pd.Series([row[0].strip() for row in rows], name="sequence"),
        pd.Series([names[int(row[1])] for row in rows], name="kind"),
        card,
    )


def _cards() -> dict[str, SequenceCard]:
    found = [card for card in vars(cards).values() if isinstance(card, SequenceCard)]
    return {card.name: card for card in sorted(found, key=lambda card: card.name)}


def list_sequence_sets() -> pd.DataFrame:
    """Return one row for each set of sequences, loading none of them.

    Returns
    -------
    pandas.DataFrame
        Indexed by name, with the columns ``loader``, ``kind``, ``n``, ``shortest``, ``longest``, ``letters``
        (their number) and ``title``.
    """
    rows = [
        {
            "name": card.name,
            "loader": card.loader,
            "kind": card.kind,
            "n": card.n_sequences,
            "shortest": card.lengths[0],
            "longest": card.lengths[1],
            "letters": len(card.letters),
            "title": card.title,
        }
        for card in _cards().values()
    ]
    return pd.DataFrame(rows).set_index("name")


def sequence_card(name: str) -> SequenceCard:
    """Return the card of the set ``name``, without loading it.

    Raises
    ------
    ValueError
        If there is no such set; the message lists those there are.
    """
    found = _cards()
    if name not in found:
        raise ValueError(f"name is {name!r}, expected one of {', '.join(found)}")
    return found[name]


def sequence_loader(name: str) -> Callable[..., SequenceDataset]:
    """Return the function that loads the set ``name``.

    Raises
    ------
    ValueError
        If there is no such set; the message lists those there are.
    """
    loader: Callable[..., SequenceDataset] = globals()[sequence_card(name).loader]
    return loader
