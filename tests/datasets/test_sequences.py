"""Sets of sequences are what their cards say, or are skipped with the reason why they cannot be had."""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import pandas as pd
import pytest

import sciffusion.datasets as datasets
from sciffusion.datasets import SequenceDataset, list_sequence_sets, sequence_card, sequence_loader
from sciffusion.datasets.wheels import DatasetUnavailableError

# Sequences, distinct ones, all letters and those of the first one, counted from the published files.
COUNTS = {
    "antimicrobial_peptides": (5200, 4642, 171133, 33),
    "lac_promoters": (50518, 50518, 3788850, 75),
}


@cache
def _load(name: str) -> SequenceDataset | str:
    try:
        return sequence_loader(name)()
    except DatasetUnavailableError as error:
        return str(error)


def load(name: str) -> SequenceDataset:
    outcome = _load(name)
    if isinstance(outcome, str):
        pytest.skip(f"the source of {name} cannot be had: {outcome}")
    return outcome


def test_every_set_is_listed_and_public() -> None:
    table = list_sequence_sets()
    assert set(table.index) == set(COUNTS)
    assert set(table["loader"]) <= set(datasets.__all__)
    assert [sequence_loader(name).__name__ for name in table.index] == list(table["loader"])
    with pytest.raises(ValueError, match=r"promoters.*lac_promoters"):
        sequence_card("promoters")


@pytest.mark.parametrize("name", COUNTS)
def test_a_set_is_what_was_published(name: str) -> None:
    data = load(name)
    lengths = data.sequences.str.len()
    found = (len(data.sequences), data.sequences.nunique(), int(lengths.sum()), int(lengths[0]))
    assert found == COUNTS[name]
    assert data.target.index.equals(data.sequences.index)


@pytest.mark.parametrize("name", COUNTS)
def test_a_card_is_complete(name: str) -> None:
    card = sequence_card(name)
    assert re.fullmatch(r"[0-9a-f]{64}", card.origin.sha256)
    flat = " ".join(str(card).split()).replace(" ", "")
    for text in (card.loader, card.citation, card.licence, card.letters, str(card.n_sequences), *card.notes):
        assert text.replace(" ", "") in flat
    assert max(map(len, str(card).splitlines())) <= 100


def test_another_set_than_the_card_describes_is_refused() -> None:
    data = load("antimicrobial_peptides")
    with pytest.raises(ValueError, match=r"5199.*card says"):
        SequenceDataset(data.sequences[1:], data.target[1:], data.card)
    with pytest.raises(ValueError, match="one known target"):
        SequenceDataset(data.sequences, data.target[1:], data.card)


def test_promoters_are_mutants_of_one_sequence_whose_expression_differs() -> None:
    data = load("lac_promoters")
    letters = np.array([list(one) for one in data.sequences])
    consensus = np.array([pd.Series(column).mode()[0] for column in letters.T])
    # The -10 box of the lac promoter and its CRP site, from the literature.
    assert "TATGTT" in "".join(consensus)
    assert "TGTGAGTTAGCTCACT" in "".join(consensus)
    changed = (letters != consensus).mean()
    assert 0.10 < changed < 0.15
    assert data.split is not None
    assert data.split.value_counts().to_dict() == {"training": 30516, "validation": 10067, "test": 9935}
    assert data.target.between(0, 9).all()
    # Substitutions in the -10 box cost expression.
    box = "".join(consensus).index("TATGTT")
    intact = (letters[:, box : box + 6] == consensus[box : box + 6]).all(axis=1)
    assert data.target[intact].mean() > data.target[~intact].mean() + 0.5


def test_antimicrobial_peptides_are_of_two_kinds_and_those_are_charged() -> None:
    data = load("antimicrobial_peptides")
    assert data.target.value_counts().to_dict() == {"AMP": 2600, "UniProt": 2600}
    assert data.sequences[data.target == "AMP"].nunique() == 2562
    assert (
        len(set(data.sequences[data.target == "AMP"]) & set(data.sequences[data.target == "UniProt"])) == 22
    )
    charge = data.sequences.map(lambda one: one.count("K") + one.count("R") - one.count("D") - one.count("E"))
    by_kind = charge.groupby(data.target).mean()
    assert by_kind["AMP"] > by_kind["UniProt"]
