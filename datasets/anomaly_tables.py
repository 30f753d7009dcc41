"""Labelled tables for anomaly detection: three that scikit-learn carries, four out of the wheel of river."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import PurePosixPath

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from . import anomaly_cards as cards
from .anomaly_cards import AnomalyCard
from .assembly import require
from .wheels import WheelFile, cached_file

__all__ = [
    "AnomalyDataset",
    "anomaly_card",
    "anomaly_loader",
    "fetch_phishing_anomalies",
    "fetch_segment_anomalies",
    "fetch_shuttle_anomalies",
    "fetch_yeast_anomalies",
    "list_anomaly_tables",
    "load_breast_cancer_anomalies",
    "load_digits_anomalies",
    "load_wine_anomalies",
]

Folder = str | PathLike[str] | None

_BYTES = {"shuttle": 346275, "yeast": 840822, "segment": 122552, "phishing": 3991}
_N_YEAST_LABELS = 14
_RARE_SHARE = 0.1


@dataclass(frozen=True, eq=False, repr=False)
class AnomalyDataset:
    """A table of numbers whose anomalous rows are known.

    Parameters
    ----------
    X : pandas.DataFrame of shape (n, d), float64
        The rows, without missing values.
    anomaly : ndarray of shape (n,), bool
        True for the rows labelled as anomalies.
    card : AnomalyCard
        What is known about the table.

    Raises
    ------
    ValueError
        If the size differs from the card's, the label is not boolean or a value is missing.
    """

    X: pd.DataFrame
    anomaly: NDArray[np.bool_]
    card: AnomalyCard

    def __post_init__(self) -> None:
        """Refuse another table than the card describes."""
        if self.anomaly.dtype != np.bool_ or self.anomaly.shape != (len(self.X),):
            raise ValueError(
                f"anomaly must be boolean of shape ({len(self.X)},), got {self.anomaly.dtype} of shape "
                f"{self.anomaly.shape}"
            )
        found = (*self.X.shape, int(self.anomaly.sum()))
        stated = (self.card.n_rows, self.card.n_features, self.card.n_anomalies)
        if found != stated:
            raise ValueError(
                f"{self.card.name} has (rows, columns, anomalies) = {found}, its card says {stated}: the "
                f"installed source differs from {self.card.origin}"
            )
        if not np.isfinite(self.X.to_numpy(dtype=np.float64)).all():
            raise ValueError(f"{self.card.name} holds values that are missing or infinite")

    def __repr__(self) -> str:
        """Return name and size."""
        share = f"{self.card.anomaly_share:.1%}"
        return f"AnomalyDataset({self.card.name!r}, n={len(self.X)}, d={self.X.shape[1]}, anomalies={share})"


def _assemble(card: AnomalyCard, X: pd.DataFrame, anomaly: ArrayLike) -> AnomalyDataset:
    data = AnomalyDataset(
        X.astype(np.float64).reset_index(drop=True), np.array(anomaly).astype(np.bool_), card
    )
    for column in X.columns:
        card.describe(str(column))
    return data


def _first_class(card: AnomalyCard) -> AnomalyDataset:
    """Return a classification set of scikit-learn with class 0 as the anomalies."""
    source = require("sklearn.datasets", "scikit-learn")
    bunch = getattr(source, f"load_{card.name}")()
    return _assemble(card, pd.DataFrame(bunch.data, columns=list(bunch.feature_names)), bunch.target == 0)


def _river(card: AnomalyCard, folder: Folder) -> pd.DataFrame:
    files = {
        other.name: WheelFile(
            other.origin.package,
            other.origin.version,
            other.origin.member,
            _BYTES[other.name],
            other.origin.sha256,
        )
        for other in (cards.SHUTTLE, cards.YEAST, cards.SEGMENT, cards.PHISHING)
    }
    path = cached_file(files[card.name], folder=folder, siblings=files.values())
    packed = "zip" if PurePosixPath(card.origin.member).suffix == ".zip" else "gzip"
    return pd.read_csv(path, compression=packed)  # type: ignore[call-overload, no-any-return, unused-ignore]


def load_breast_cancer_anomalies() -> AnomalyDataset:
    """Return the diagnostic breast cancer set (569 rows, 30 columns); malignant tumours are the anomalies.

    Raises
    ------
    ImportError
        If scikit-learn is not installed.
    """
    return _first_class(cards.BREAST_CANCER)


def load_wine_anomalies() -> AnomalyDataset:
    """Return the wine recognition set (178 rows, 13 columns); the first cultivar is the anomaly."""
    return _first_class(cards.WINE)


def load_digits_anomalies() -> AnomalyDataset:
    """Return the small handwritten digits (1797 rows, 64 columns); zeros are the anomalies."""
    return _first_class(cards.DIGITS)


def fetch_shuttle_anomalies(*, folder: Folder = None) -> AnomalyDataset:
    """Return the Statlog shuttle set (49097 rows, 9 columns) with the labels of the ODDS collection.

    Parameters
    ----------
    folder : path or None
        Cache folder; None for ``data_home()``.

    Raises
    ------
    DatasetUnavailableError, DatasetIntegrityError
        If the file cannot be obtained, or is not the pinned one.
    """
    table = _river(cards.SHUTTLE, folder)
    return _assemble(cards.SHUTTLE, table.drop(columns="anomaly"), table["anomaly"] == 1)


def fetch_yeast_anomalies(*, folder: Folder = None) -> AnomalyDataset:
    """Return the yeast gene-function set (2417 rows, 103 columns); rare categories are the anomalies.

    The parameters and errors are those of `fetch_shuttle_anomalies`.
    """
    table = _river(cards.YEAST, folder)
    labels = table[[f"Class{number}" for number in range(1, _N_YEAST_LABELS + 1)]]
    rare = labels.loc[:, labels.mean() < _RARE_SHARE]
    return _assemble(cards.YEAST, table.drop(columns=list(labels.columns)), rare.any(axis=1))


def fetch_segment_anomalies(*, folder: Folder = None) -> AnomalyDataset:
    """Return the image segmentation set (2310 rows, 18 columns); brick faces are the anomalies.

    The parameters and errors are those of `fetch_shuttle_anomalies`.
    """
    table = _river(cards.SEGMENT, folder)
    return _assemble(cards.SEGMENT, table.drop(columns="category"), table["category"] == "brickface")


def fetch_phishing_anomalies(*, folder: Folder = None) -> AnomalyDataset:
    """Return the phishing web sites (1250 rows, 9 columns); those that phish are the anomalies.

    The parameters and errors are those of `fetch_shuttle_anomalies`.
    """
    table = _river(cards.PHISHING, folder)
    return _assemble(cards.PHISHING, table.drop(columns="is_phishing"), table["is_phishing"] == 1)


def _cards() -> dict[str, AnomalyCard]:
    found = [card for card in vars(cards).values() if isinstance(card, AnomalyCard)]
    return {card.name: card for card in sorted(found, key=lambda card: card.name)}


def list_anomaly_tables() -> pd.DataFrame:
    """Return one row for each labelled table, loading none of them.

    Returns
    -------
    pandas.DataFrame
        Indexed by name, with the columns ``loader``, ``kind``, ``n``, ``features``, ``anomalies`` (rows),
        ``share`` (in (0, 1)) and ``title``.
    """
    rows = [
        {
            "name": card.name,
            "loader": card.loader,
            "kind": card.kind,
            "n": card.n_rows,
            "features": card.n_features,
            "anomalies": card.n_anomalies,
            "share": card.anomaly_share,
            "title": card.title,
        }
        for card in _cards().values()
    ]
    return pd.DataFrame(rows).set_index("name")


def anomaly_card(name: str) -> AnomalyCard:
    """Return the card of the table ``name``, without loading it.

    Raises
    ------
    ValueError
        If there is no such table; the message lists those there are.
    """
    found = _cards()
    if name not in found:
        raise ValueError(f"name is {name!r}, expected one of {', '.join(found)}")
    return found[name]


def anomaly_loader(name: str) -> Callable[..., AnomalyDataset]:
    """Return the function that loads the table ``name``.

    Raises
    ------
    ValueError
        If there is no such table; the message lists those there are.
    """
    loader: Callable[..., AnomalyDataset] = globals()[anomaly_card(name).loader]
    return loader
