"""How a user's frame looked, so that what is given back looks the same.

`FrameFormat` remembers the columns' names, the ids' type, and where the stamps lie on their grid, their time
zone and type. `stamp_index` turns absolute steps back into stamps.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from .calendar import Grid, Integers, grid_of_frequency

__all__ = ["FrameFormat", "id_values", "stamp_index"]


@dataclass(frozen=True)
class FrameFormat:
    """Names and types of the columns of a long frame.

    Parameters
    ----------
    id_column, time_column : str
        Names of the columns of ids and stamps.
    id_dtype : str
        Type of the ids; "category" for categories.
    time_dtype : str
        Type of integer stamps.
    time_unit : {"s", "ms", "us", "ns"}
        Resolution of stamps that are dates.
    time_zone : optional
        Their time zone, as pandas takes it; None where they have none.
    period : str, optional
        Frequency of stamps that are periods; None where they are none.
    stride : int
        Distance of integer stamps.
    phase : int, optional
        Phase of the stamps within the stride, see `Grid`; None for that of the frequency's name.
    offset : int
        Nanoseconds from the day to the stamp, see `Grid`.
    """

    id_column: str = "unique_id"
    time_column: str = "ds"
    id_dtype: str = "object"
    time_dtype: str = "int64"
    time_unit: Literal["s", "ms", "us", "ns"] = "ns"
    time_zone: Any = None
    period: str | None = None
    stride: int = 1
    phase: int | None = None
    offset: int = 0

    def grid(self, frequency: str | None) -> Grid:
        """Return the grid of the stamps of a frequency."""
        grid = grid_of_frequency(self.stride if frequency is None else frequency)
        return replace(grid, phase=grid.phase if self.phase is None else self.phase, offset=self.offset)

    def on(self, grid: Grid) -> FrameFormat:
        """Return the format of stamps on a grid."""
        stride = grid.stride if grid.unit == "integer" else 1
        return replace(self, stride=stride, phase=grid.phase, offset=grid.offset)

    def plain(self) -> dict[str, Any]:
        """Return the fields as strings and numbers, from which ``FrameFormat(**fields)`` makes the format."""
        fields = asdict(replace(self, time_zone=None))
        return fields | {"time_zone": None if self.time_zone is None else str(self.time_zone)}


def stamp_index(steps: ArrayLike, frequency: str | None, frame_format: FrameFormat) -> pd.Index[Any]:
    """Return the stamps of absolute steps, read row by row into one dimension, in the type the user's had.

    Parameters
    ----------
    steps : array-like of int
        Absolute steps, of any shape.
    frequency : str or None
        Frequency of the panel.
    frame_format : FrameFormat
        Format of the user's frame.
    """
    grid = frame_format.grid(frequency)
    moments = grid.stamps(steps).reshape(-1)
    if grid.unit == "integer":
        integers: pd.Index[Any] = pd.Index(moments).astype(frame_format.time_dtype)
        return integers
    stamps = pd.DatetimeIndex(moments.astype("datetime64[ns]"))
    if frame_format.period is not None:
        return pd.PeriodIndex(stamps, freq=frame_format.period)
    return _in_zone(stamps, grid, frame_format.time_zone).as_unit(frame_format.time_unit)


def _in_zone(stamps: pd.DatetimeIndex, grid: Grid, time_zone: Any) -> pd.DatetimeIndex:
    if time_zone is None:
        return stamps
    if not grid.local:
        return stamps.tz_localize("UTC").tz_convert(time_zone)
    first = np.ones(len(stamps), dtype=bool)
    return stamps.tz_localize(time_zone, ambiguous=first, nonexistent="shift_forward")


def moments_in_utc(steps: Integers, grid: Grid, time_zone: Any) -> Integers:
    """Return the moments of steps: nanoseconds of UTC where there is a time zone, else of the grid."""
    moments = grid.stamps(steps)
    if time_zone is None or not grid.local:
        return moments
    distinct, places = np.unique(moments, return_inverse=True)
    local = _in_zone(pd.DatetimeIndex(distinct.astype("datetime64[ns]")), grid, time_zone)
    return np.asarray(local.asi8)[places].reshape(moments.shape)


def id_values(ids: Sequence[Hashable], codes: NDArray[Any], frame_format: FrameFormat) -> Any:
    """Return the ids ``ids[codes]`` in the type the user's had."""
    if frame_format.id_dtype == "category":
        return pd.Categorical.from_codes(codes, categories=pd.Index(list(ids)))
    names = np.empty(len(ids), dtype=object)
    names[:] = list(ids)
    return (
        pd.array(names[codes], dtype=frame_format.id_dtype)
        if frame_format.id_dtype != "object"
        else names[codes]
    )
