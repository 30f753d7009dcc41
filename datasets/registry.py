"""The list of the survival data sets: which there are, how to load one by name, and their cards."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from . import survival_fetched, survival_lifelines, survival_scikit
from . import survival_fetched_cards as fetched_cards
from . import survival_scikit_cards as scikit_cards
from .cards import DatasetCard
from .survival_dataset import SurvivalDataset

__all__ = ["dataset_card", "dataset_loader", "list_datasets"]

_SOURCES = (
    (survival_lifelines, survival_lifelines),
    (survival_scikit, scikit_cards),
    (survival_fetched, fetched_cards),
)


def _entries() -> dict[str, tuple[DatasetCard, Callable[..., SurvivalDataset]]]:
    entries = {}
    for loaders, cards in _SOURCES:
        for card in vars(cards).values():
            if isinstance(card, DatasetCard):
                entries[card.name] = (card, getattr(loaders, card.loader))
    return dict(sorted(entries.items()))


def _entry(name: str) -> tuple[DatasetCard, Callable[..., SurvivalDataset]]:
    entries = _entries()
    if name not in entries:
        raise ValueError(f"name is {name!r}, expected one of {', '.join(entries)}")
    return entries[name]


def list_datasets() -> pd.DataFrame:
    """Return one row for each data set, loading none of them.

    Returns
    -------
    pandas.DataFrame
        Indexed by name, with the columns ``loader``, ``kind`` ("load" from an installed package, "fetch" once
        over pip), ``n`` (rows), ``events``, ``censored`` (share in [0, 1]), ``time_unit`` and ``title``.
    """
    rows = [
        {
            "name": card.name,
            "loader": card.loader,
            "kind": card.kind,
            "n": card.n_rows,
            "events": card.n_events,
            "censored": card.censored_share,
            "time_unit": card.time_unit,
            "title": card.title,
        }
        for card, _ in _entries().values()
    ]
    return pd.DataFrame(rows).set_index("name")


def dataset_card(name: str) -> DatasetCard:
    """Return the card of the data set ``name``, without loading it.

    Raises
    ------
    ValueError
        If there is no such set; the message lists those there are.
    """
    return _entry(name)[0]


def dataset_loader(name: str) -> Callable[..., SurvivalDataset]:
    """Return the function that loads the data set ``name``.

    Raises
    ------
    ValueError
        If there is no such set; the message lists those there are.
    """
    return _entry(name)[1]
