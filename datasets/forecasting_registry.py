"""The list of the sets of time series: which there are, how to load one by name, and their cards."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from . import forecasting_panels as panels
from . import forecasting_panels_cards as panels_cards
from . import forecasting_records as records
from . import forecasting_records_cards as records_cards
from . import forecasting_sensors as sensors
from . import forecasting_sensors_cards as sensors_cards
from . import forecasting_weather as weather
from . import forecasting_weather_cards as weather_cards
from .forecasting_cards import ForecastingCard
from .forecasting_dataset import ForecastingDataset

__all__ = ["forecasting_card", "forecasting_loader", "list_forecasting_datasets"]

_SOURCES = (
    (sensors, sensors_cards),
    (panels, panels_cards),
    (weather, weather_cards),
    (records, records_cards),
)


def _entries() -> dict[str, tuple[ForecastingCard, Callable[..., ForecastingDataset]]]:
    entries = {}
    for loaders, cards in _SOURCES:
        for card in vars(cards).values():
            if isinstance(card, ForecastingCard):
                entries[card.name] = (card, getattr(loaders, card.loader))
    return entries


def _entry(name: str) -> tuple[ForecastingCard, Callable[..., ForecastingDataset]]:
    entries = _entries()
    if name not in entries:
        raise ValueError(f"name is {name!r}, expected one of {', '.join(entries)}")
    return entries[name]


def list_forecasting_datasets() -> pd.DataFrame:
    """Return one row for each set of series, loading none of them.

    Returns
    -------
    pandas.DataFrame
        Indexed by name, with the columns ``loader``, ``series`` (how many), ``shortest`` and ``longest``
        (rows), ``missing`` (share of the rows, in [0, 1)), ``frequency``, ``season_length``, ``horizon``,
        ``n_windows``, ``held_back`` (no choice of this library was made on it) and ``title``. Sets that are
        not held back come first.
    """
    rows = [
        {
            "name": card.name,
            "loader": card.loader,
            "series": card.n_series,
            "shortest": card.shortest,
            "longest": card.longest,
            "missing": card.missing_share,
            "frequency": card.frequency,
            "season_length": card.season_length,
            "horizon": card.horizon,
            "n_windows": card.n_windows,
            "held_back": card.held_back,
            "title": card.title,
        }
        for card, _ in _entries().values()
    ]
    return pd.DataFrame(rows).set_index("name")


def forecasting_card(name: str) -> ForecastingCard:
    """Return the card of the set ``name``, without loading it.

    Raises
    ------
    ValueError
        If there is no such set; the message lists those there are.
    """
    return _entry(name)[0]


def forecasting_loader(name: str) -> Callable[..., ForecastingDataset]:
    """Return the function that loads the set ``name``.

    Raises
    ------
    ValueError
        If there is no such set; the message lists those there are.
    """
    return _entry(name)[1]
