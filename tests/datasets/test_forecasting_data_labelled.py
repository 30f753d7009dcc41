"""Series with labelled anomalies are what their cards say, or are skipped with the reason why not."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

import sciffusion.datasets as datasets
from sciffusion.datasets import (
    LabelledSeries,
    labelled_series_card,
    labelled_series_loader,
    list_labelled_series,
)
from sciffusion.datasets.__main__ import reference_page
from sciffusion.datasets.wheels import DatasetUnavailableError

# Rows to fit on, rows to judge, channels, and the anomalies in rows of the whole file minus those fitted on:
# counted from the published files and not taken from the cards.
SIZES = {
    "kdd_tsad_135": (1200, 6301, 1, [(4187 - 1200, 4199 - 1200)]),
    "ecg_diff_count": (10000, 10000, 1, [(1560, 1660), (6600, 6700), (6940, 7040)]),
    "yahoo": (400, 600, 1, [(at - 400, at - 399) for at in (431, 478, 610, 681, 718, 732, 846)]),
    "mitdb": (3750, 3750, 1, [(6936 - 3750, 7288 - 3750)]),
    "daphnet_s06r02e0": (3520, 3520, 9, []),
}


@cache
def _load(name: str) -> LabelledSeries | str:
    try:
        return labelled_series_loader(name)()
    except DatasetUnavailableError as error:
        return str(error)


def load(name: str) -> LabelledSeries:
    outcome = _load(name)
    if isinstance(outcome, str):
        pytest.skip(f"the source of {name} cannot be had: {outcome}")
    return outcome


def test_every_series_is_listed_and_public() -> None:
    table = list_labelled_series()
    assert set(table.index) == set(SIZES)
    assert set(table["loader"]) <= set(datasets.__all__)
    assert [labelled_series_loader(name).__name__ for name in table.index] == list(table["loader"])
    with pytest.raises(ValueError, match=r"yahoos.*yahoo"):
        labelled_series_card("yahoos")


@pytest.mark.parametrize("name", SIZES)
def test_a_series_is_what_its_card_says(name: str) -> None:
    data, card = load(name), labelled_series_card(name)
    assert (len(data.train), *data.test.shape, data.events) == SIZES[name]
    assert (card.n_train, card.n_test, card.n_channels) == SIZES[name][:3]
    assert card.n_events == len(SIZES[name][3])
    assert card.n_anomalous == sum(stop - start for start, stop in SIZES[name][3])
    assert data.train.shape[1] == data.test.shape[1]
    assert data.train.dtype == data.test.dtype == np.float64
    assert np.ptp(data.test, axis=0).min() > 0.0


@pytest.mark.parametrize("name", SIZES)
def test_a_card_is_complete(name: str) -> None:
    card = labelled_series_card(name)
    flat = str(card).replace("\n", "").replace(" ", "")
    texts = (card.loader, card.citation, card.licence, card.anomaly_meaning, *map(str, card.columns))
    for text in (*texts, *card.changes, *card.notes, *map(str, card.origins)):
        assert text.replace(" ", "") in flat
    assert all(re.fullmatch(r"[0-9a-f]{64}", origin.sha256) for origin in card.origins)
    assert max(map(len, str(card).splitlines())) <= 100
    assert reference_page().count(f"   * - ``{card.loader}``\n") == 1


def test_the_labelled_points_of_the_traffic_are_outliers() -> None:
    """The labels mark jumps, not changes of level, so that they can judge an anomaly score."""
    data = load("yahoo")
    values = data.test[:, 0]
    jump = np.abs(values[1:-1] - (values[:-2] + values[2:]) / 2.0)
    near = np.convolve(data.anomaly, [1, 1, 1], mode="same")[1:-1] > 0
    assert jump[data.anomaly[1:-1]].min() > 2.0 * jump[~near].max()


@pytest.mark.parametrize("name", [name for name, size in SIZES.items() if len(size[3]) and name != "yahoo"])
def test_the_period_is_that_of_the_part_to_fit_on(name: str) -> None:
    values = load(name).train[:, 0] - load(name).train[:, 0].mean()
    period = labelled_series_card(name).period
    spectrum = np.fft.rfft(values, 2 * len(values))
    correlation = np.fft.irfft(np.abs(spectrum) ** 2)[: len(values)]
    lags = np.arange(max(period // 2, 2), 3 * period // 2)
    assert lags[correlation[lags].argmax()] == pytest.approx(period, rel=0.05)


def test_parts_that_do_not_belong_together_are_refused() -> None:
    data = load("kdd_tsad_135")
    with pytest.raises(ValueError, match="boolean"):
        LabelledSeries(data.train, data.test, data.anomaly.astype(float), data.card)
    with pytest.raises(ValueError, match=r"shape \(6301,\)"):
        LabelledSeries(data.train, data.test, data.anomaly[1:], data.card)
    with pytest.raises(ValueError, match=r"6301, 1, 0, 0\), its card says \(1200, 6301, 1, 12, 1\)"):
        LabelledSeries(data.train, data.test, np.zeros(6301, dtype=bool), data.card)
    with pytest.raises(ValueError, match="test of kdd_tsad_135 holds values that are missing"):
        LabelledSeries(data.train, np.full_like(data.test, np.nan), data.anomaly, data.card)
    with pytest.raises(ValueError, match=r"\(1200, 6301, 1, 12, 1\), its card says"):
        LabelledSeries(data.train, data.test, data.anomaly, replace(data.card, n_train=1))
