r"""Where a step stands in the day, the week and the year, as sines and cosines.

For each cycle that the frequency resolves, with :math:`u \in [0, 1)` the place in the cycle, the features are
:math:`\sin 2\pi j u` and :math:`\cos 2\pi j u` for the harmonics :math:`j = 1, \dots, J`:

=====  ====================================  =======================================
cycle  resolved by steps                     place :math:`u`
=====  ====================================  =======================================
day    shorter than a day                    time of the day
week   shorter than a week, business days    day of the week, from Monday, and time
year   shorter than a year                   day of the year / 366, and time
=====  ====================================  =======================================
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from .calendar import DAY, Grid, Integers, grid_of_frequency

__all__ = ["calendar_feature_names", "calendar_features"]


def calendar_feature_names(frequency: Any, *, harmonics: int = 1) -> tuple[str, ...]:
    """Return the names of `calendar_features`, such as "sin1_day"; none for integers and whole years."""
    return tuple(
        f"{wave}{harmonic}_{cycle}"
        for cycle in _cycles(grid_of_frequency(frequency))
        for harmonic in range(1, harmonics + 1)
        for wave in ("sin", "cos")
    )


def calendar_features(
    steps: ArrayLike,
    frequency: Any,
    *,
    phase: int | None = None,
    offset: int = 0,
    time_zone: Any = None,
    harmonics: int = 1,
) -> NDArray[np.float64]:
    """Return where steps stand in the cycles that the frequency resolves.

    Parameters
    ----------
    steps : array-like of int
        Absolute steps, of any shape.
    frequency : None, int, str or pandas offset
        See `grid_of_frequency`.
    phase, offset : int, optional
        Where the moments lie within the stride, see `Grid`.
    time_zone : optional
        Zone whose clock tells the time of day; steps shorter than a day count UTC.
    harmonics : int, default=1
        Waves a cycle.

    Returns
    -------
    ndarray of shape (*steps.shape, k), float64
        Named by `calendar_feature_names`; k = 0 for integers and whole years.
    """
    grid = grid_of_frequency(frequency)
    grid = replace(grid, phase=grid.phase if phase is None else phase, offset=offset)
    number = np.asarray(steps, dtype=np.int64)
    cycles = _cycles(grid)
    if not cycles:
        return np.zeros((*number.shape, 0))
    moments = grid.stamps(number)
    if time_zone is not None and not grid.local:
        moments = _local(moments, time_zone)
    places = np.stack([_place(moments, cycle) for cycle in cycles], axis=-1)
    angle = 2 * np.pi * places[..., None] * np.arange(1, harmonics + 1)
    return np.stack([np.sin(angle), np.cos(angle)], axis=-1).reshape(*number.shape, -1)


def _cycles(grid: Grid) -> tuple[str, ...]:
    if grid.unit == "integer":
        return ()
    if grid.unit == "business":
        return ("week", "year") if grid.stride < 5 else ("year",)
    if grid.unit != "tick":
        return ("year",) if grid.stride % 12 else ()
    lengths = {"day": DAY, "week": 7 * DAY, "year": 365 * DAY}
    return tuple(cycle for cycle, length in lengths.items() if grid.stride < length)


def _local(moments: Integers, time_zone: Any) -> Integers:
    index = pd.DatetimeIndex(moments.reshape(-1).astype("datetime64[ns]")).tz_localize("UTC")
    wall = index.tz_convert(time_zone).tz_localize(None).as_unit("ns")
    return np.asarray(wall.asi8).reshape(moments.shape)


def _place(moments: Integers, cycle: str) -> NDArray[np.float64]:
    days = moments // DAY
    time = (moments - days * DAY) / DAY
    if cycle == "day":
        return time
    if cycle == "week":
        return ((days + 3) % 7 + time) / 7
    first = days.astype("datetime64[D]").astype("datetime64[Y]").astype("datetime64[D]").astype(np.int64)
    return (days - first + time) / 366
