"""The thirteen real sets on which forecasters are compared, and their rolling origins.

Of each series the last n_windows * horizon rows are forecast, from origins one horizon apart. A model is
fitted on the `HISTORY` rows (or fewer) before the first origin, and at a later one sees the rows since then
as well. A series whose history is
shorter than a season and a horizon is left out: the seasonal naive error, which scales the scores, is
undefined there (one of the four weekly series of M4).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["DATASETS", "HISTORY", "Histories", "RollingSet", "fill_linearly", "load", "rolling_set"]

HISTORY = 1400
"""Rows before the first origin that a model is fitted on; earlier ones are not used."""

DATASETS = (
    "electricity_hourly",
    "sf_traffic_hourly",
    "solar_hourly",
    "wind_hourly",
    "household_power_hourly",
    "appliances_energy",
    "parking",
    "wikipedia_traffic",
    "walmart_sales",
    "m4_hourly",
    "m4_daily",
    "m4_weekly",
    "m4_monthly",
)


def fill_linearly(values: np.ndarray) -> np.ndarray:
    """Fill missing values of one series between their neighbours, and those at its ends by the nearest."""
    seen = ~np.isnan(values)
    if not seen.any():
        return np.zeros_like(values)
    rows = np.arange(len(values))
    return np.interp(rows, rows[seen], values[seen])


@dataclass(frozen=True)
class Histories:
    """What a model sees at one origin.

    Attributes
    ----------
    ids : tuple of length n
        Names of the series.
    times : tuple of n arrays
        Time of every row, of its own length for each series.
    values : tuple of n float arrays
        The series up to the origin; NaN where missing.
    season_length, horizon : int
        Steps of a season, and steps to be forecast.
    """

    ids: tuple[Hashable, ...]
    times: tuple[np.ndarray, ...]
    values: tuple[np.ndarray, ...]
    season_length: int
    horizon: int

    def filled(self) -> list[np.ndarray]:
        """Give the series with missing values filled linearly, for models that cannot hold them."""
        return [fill_linearly(values) for values in self.values]

    def frame(self) -> pd.DataFrame:
        """Give the long frame `unique_id, ds, y`, missing values kept."""
        parts = [
            pd.DataFrame({"unique_id": name, "ds": times, "y": values})
            for name, times, values in zip(self.ids, self.times, self.values, strict=True)
        ]
        return pd.concat(parts, ignore_index=True)


@dataclass(frozen=True)
class RollingSet:
    """One set cut to the rows that the comparison uses.

    Attributes
    ----------
    name : str
        Short name of the set.
    whole : Histories
        At most `HISTORY` rows of history and n_windows * horizon rows to be forecast, of every series.
    n_windows : int
        Origins of each series.
    """

    name: str
    whole: Histories
    n_windows: int

    def history(self, window: int) -> Histories:
        """Give what is seen at the origin of a window, counted from 0."""
        whole = self.whole
        left_out = (self.n_windows - window) * whole.horizon
        times = tuple(times[:-left_out] for times in whole.times)
        values = tuple(values[:-left_out] for values in whole.values)
        return Histories(whole.ids, times, values, whole.season_length, whole.horizon)

    def truth(self, window: int) -> np.ndarray:
        """Give the values to be forecast in a window, shape (n, horizon); NaN where missing."""
        h = self.whole.horizon
        starts = [len(y) - (self.n_windows - window) * h for y in self.whole.values]
        return np.stack([y[start : start + h] for y, start in zip(self.whole.values, starts, strict=True)])


def rolling_set(
    name: str, frame: pd.DataFrame, season_length: int, horizon: int, n_windows: int
) -> RollingSet:
    """Cut a long frame to the rows that the comparison uses.

    Raises
    ------
    ValueError
        If no series is long enough.
    """
    kept: list[tuple[Any, np.ndarray, np.ndarray]] = []
    for series, rows in frame.groupby("unique_id", sort=False):
        if len(rows) - n_windows * horizon >= season_length + horizon:
            rows = rows.tail(HISTORY + n_windows * horizon)
            kept.append((series, rows["ds"].to_numpy(), rows["y"].to_numpy(dtype=float)))
    if not kept:
        raise ValueError(f"no series of {name!r} is long enough for {n_windows} windows of {horizon} steps")
    ids, times, values = zip(*kept, strict=True)
    return RollingSet(name, Histories(ids, times, values, season_length, horizon), n_windows)


def load(name: str) -> RollingSet:
    """Load one set by its short name."""
    from sciffusion.datasets import forecasting_loader

    data = forecasting_loader(name)()
    return rolling_set(name, data.frame, data.season_length, data.horizon, data.n_windows)
