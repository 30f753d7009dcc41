"""Labelled tables are what their cards say, or are skipped with the reason why they cannot be had."""

from __future__ import annotations

import re
from functools import cache
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

import sciffusion.datasets as datasets
from sciffusion.datasets import AnomalyDataset, anomaly_card, anomaly_loader, list_anomaly_tables
from sciffusion.datasets.wheels import DatasetUnavailableError, WheelFile

# Rows, columns and anomalies, counted from the published files and not taken from the cards.
SIZES = {
    "breast_cancer": (569, 30, 212),
    "digits": (1797, 64, 178),
    "phishing": (1250, 9, 548),
    "segment": (2310, 18, 330),
    "shuttle": (49097, 9, 3511),
    "wine": (178, 13, 59),
    "yeast": (2417, 103, 211),
}


@cache
def _load(name: str) -> AnomalyDataset | str:
    try:
        return anomaly_loader(name)()
    except (ImportError, DatasetUnavailableError) as error:
        return str(error)


def load(name: str) -> AnomalyDataset:
    outcome = _load(name)
    if isinstance(outcome, str):
        pytest.skip(f"the source of {name} cannot be had: {outcome}")
    return outcome


def test_every_table_is_listed_and_public() -> None:
    table = list_anomaly_tables()
    assert set(table.index) == set(SIZES)
    assert set(table["loader"]) <= set(datasets.__all__)
    assert [anomaly_loader(name).__name__ for name in table.index] == list(table["loader"])
    with pytest.raises(ValueError, match=r"shuttles.*shuttle"):
        anomaly_card("shuttles")


@pytest.mark.parametrize("name", SIZES)
def test_a_table_is_what_its_card_says(name: str) -> None:
    data, card = load(name), anomaly_card(name)
    assert (*data.X.shape, int(data.anomaly.sum())) == SIZES[name]
    assert (card.n_rows, card.n_features, card.n_anomalies) == SIZES[name]
    assert (data.X.dtypes == np.float64).all()
    assert data.anomaly.dtype == np.bool_
    for column in data.X.columns:
        assert card.describe(str(column)).meaning
        assert not np.array_equal(data.X[column], data.anomaly.astype(float))


@pytest.mark.parametrize("name", SIZES)
def test_a_card_is_complete(name: str) -> None:
    card = anomaly_card(name)
    assert re.fullmatch(r"[0-9a-f]{64}", card.origin.sha256)
    flat = " ".join(str(card).split())
    facts = (card.loader, card.citation, card.licence, card.anomaly_meaning, f"{card.anomaly_share:.1%}")
    for text in (*facts, *card.notes):
        assert text.replace(" ", "") in flat.replace(" ", "")
    assert max(map(len, str(card).splitlines())) <= 100
    with pytest.raises(KeyError, match="no such"):
        anomaly_card("shuttle").describe("no such")


@pytest.mark.parametrize("name", ["breast_cancer", "digits", "wine"])
def test_the_installed_file_is_the_one_on_the_card(name: str) -> None:
    origin = anomaly_card(name).origin
    installed = metadata.distribution(origin.package)
    if installed.version != origin.version:
        pytest.skip(f"the card describes {origin.package} {origin.version}, installed is {installed.version}")
    content = Path(str(installed.locate_file(origin.member))).read_bytes()
    file = WheelFile(origin.package, origin.version, origin.member, len(content), origin.sha256)
    assert file.verify(content, origin.member) == content


def test_another_table_than_the_cards_is_refused() -> None:
    data = load("wine")
    with pytest.raises(ValueError, match="its card says"):
        AnomalyDataset(data.X[:-1], data.anomaly[:-1], data.card)
    with pytest.raises(ValueError, match="boolean"):
        AnomalyDataset(data.X, data.anomaly.astype(float), data.card)
    with pytest.raises(ValueError, match="missing or infinite"):
        AnomalyDataset(data.X.where(data.X.min() < data.X), data.anomaly, data.card)
