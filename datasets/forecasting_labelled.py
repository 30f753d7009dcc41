"""Series with labelled anomalies, fetched once out of wheels: a part to fit on, and a part to judge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .forecasting_files import Folder
from .forecasting_labelled_cards import (
    DAPHNET_S06R02E0,
    ECG_DIFF_COUNT,
    KDD_TSAD_135,
    LABELLED_FILES,
    MITDB,
    YAHOO,
    LabelledSeriesCard,
)
from .wheels import cached_file

__all__ = [
    "LabelledSeries",
    "fetch_daphnet_s06r02e0",
    "fetch_ecg_diff_count",
    "fetch_kdd_tsad_135",
    "fetch_mitdb",
    "fetch_yahoo",
    "labelled_series_card",
    "labelled_series_loader",
    "list_labelled_series",
]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class LabelledSeries:
    """A series whose anomalous rows are known.

    Parameters
    ----------
    train : ndarray of shape (n_train, channels), float64
        Rows to fit on, none of them labelled as an anomaly.
    test : ndarray of shape (n_test, channels), float64
        Rows to judge; none of them belongs to ``train``.
    anomaly : ndarray of shape (n_test,), bool
        True for the rows of ``test`` that are labelled as anomalies.
    card : LabelledSeriesCard
        What is known about the series.

    Raises
    ------
    ValueError
        If the sizes or labels differ from the card's, or a value is missing.
    """

    train: Floats
    test: Floats
    anomaly: NDArray[np.bool_]
    card: LabelledSeriesCard

    def __post_init__(self) -> None:
        """Refuse another series than the card describes."""
        if self.anomaly.dtype != np.bool_ or self.anomaly.shape != self.test.shape[:1]:
            raise ValueError(
                f"anomaly must be boolean of shape {self.test.shape[:1]}, got {self.anomaly.dtype} of shape "
                f"{self.anomaly.shape}"
            )
        card = self.card
        found = (len(self.train), *self.test.shape, int(self.anomaly.sum()), len(self.events))
        stated = (card.n_train, card.n_test, card.n_channels, card.n_anomalous, card.n_events)
        if found != stated:
            raise ValueError(
                f"{card.name} has (train, test, channels, anomalous rows, events) = {found}, its card says "
                f"{stated}: the files differ from {', '.join(map(str, card.origins))}"
            )
        for name, values in (("train", self.train), ("test", self.test)):
            if not np.isfinite(values).all():
                raise ValueError(f"{name} of {card.name} holds values that are missing or infinite")

    @property
    def events(self) -> list[tuple[int, int]]:
        """First row and the row after the last of each run of anomalous rows of ``test``."""
        edges = np.flatnonzero(np.diff(np.concatenate([[False], self.anomaly, [False]])))
        return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]

    def __repr__(self) -> str:
        """Return name and size."""
        card = self.card
        return (
            f"LabelledSeries({card.name!r}, train={card.n_train}, test={card.n_test}, "
            f"channels={self.test.shape[1]}, events={card.n_events})"
        )


def _tables(name: str, folder: Folder) -> list[tuple[Floats, NDArray[np.bool_]]]:
    """Return values and labels of each file; the last column holds the labels, times are left out."""
    siblings = [file for files in LABELLED_FILES.values() for file in files]
    parts = []
    for file in LABELLED_FILES[name]:
        table = pd.read_csv(cached_file(file, folder=folder, siblings=siblings))
        values = table.iloc[:, :-1].drop(columns="timestamp", errors="ignore")
        parts.append((values.to_numpy(dtype=np.float64), table.iloc[:, -1].to_numpy() == 1))
    return parts


def _split(card: LabelledSeriesCard, folder: Folder) -> LabelledSeries:
    """Return a series of one file, whose first ``n_train`` rows are for fitting."""
    [(values, anomaly)] = _tables(card.name, folder)
    if anomaly[: card.n_train].any():
        raise ValueError(f"the first {card.n_train} rows of {card.name} hold anomalies")
    return LabelledSeries(values[: card.n_train], values[card.n_train :], anomaly[card.n_train :], card)


def fetch_kdd_tsad_135(*, folder: Folder = None) -> LabelledSeries:
    """Return an arterial pressure with one short anomaly (1200 rows to fit on, 6301 to judge).

    Parameters
    ----------
    folder : path or None
        Cache folder; None for ``data_home()``.

    Returns
    -------
    LabelledSeries
        See ``labelled_series_card("kdd_tsad_135")``.

    Raises
    ------
    DatasetUnavailableError, DatasetIntegrityError
        If a file cannot be obtained, or is not the pinned one.
    """
    return _split(KDD_TSAD_135, folder)


def fetch_ecg_diff_count(*, folder: Folder = None) -> LabelledSeries:
    """Return a simulated electrocardiogram with three anomalies (10000 rows to fit on, 10000 to judge).

    The parameters and errors are those of `fetch_kdd_tsad_135`.
    """
    (train, _), (test, anomaly) = _tables("ecg_diff_count", folder)
    return LabelledSeries(train, test, anomaly, ECG_DIFF_COUNT)


def fetch_daphnet_s06r02e0(*, folder: Folder = None) -> LabelledSeries:
    """Return the acceleration of a walking patient, 9 channels without any anomaly (3520 and 3520 rows).

    The parameters and errors are those of `fetch_kdd_tsad_135`.
    """
    return _split(DAPHNET_S06R02E0, folder)


def fetch_yahoo(*, folder: Folder = None) -> LabelledSeries:
    """Return simulated web traffic with seven outlying points (400 rows to fit on, 600 to judge).

    The parameters and errors are those of `fetch_kdd_tsad_135`.
    """
    return _split(YAHOO, folder)


def fetch_mitdb(*, folder: Folder = None) -> LabelledSeries:
    """Return an electrocardiogram with an abnormal beat (3750 rows to fit on, 3750 to judge).

    The parameters and errors are those of `fetch_kdd_tsad_135`.
    """
    return _split(MITDB, folder)


_CARDS = {card.name: card for card in (KDD_TSAD_135, ECG_DIFF_COUNT, YAHOO, MITDB, DAPHNET_S06R02E0)}


def list_labelled_series() -> pd.DataFrame:
    """Return one row for each series with labelled anomalies, loading none of them.

    Returns
    -------
    pandas.DataFrame
        Indexed by name, with the columns ``loader``, ``train``, ``test`` (rows), ``channels``, ``anomalous``
        (rows of the test part), ``events`` (runs of such rows), ``period`` (rows in a cycle) and ``title``.
    """
    rows = [
        {
            "name": card.name,
            "loader": card.loader,
            "train": card.n_train,
            "test": card.n_test,
            "channels": card.n_channels,
            "anomalous": card.n_anomalous,
            "events": card.n_events,
            "period": card.period,
            "title": card.title,
        }
        for card in _CARDS.values()
    ]
    return pd.DataFrame(rows).set_index("name")


def labelled_series_card(name: str) -> LabelledSeriesCard:
    """Return the card of the labelled series ``name``, without loading it.

    Raises
    ------
    ValueError
        If there is no such series; the message lists those there are.
    """
    if name not in _CARDS:
        raise ValueError(f"name is {name!r}, expected one of {', '.join(_CARDS)}")
    return _CARDS[name]


def labelled_series_loader(name: str) -> Callable[..., LabelledSeries]:
    """Return the function that loads the labelled series ``name``.

    Raises
    ------
    ValueError
        If there is no such series; the message lists those there are.
    """
    loader: Callable[..., LabelledSeries] = globals()[labelled_series_card(name).loader]
    return loader
