"""Columns of a user's frame as arrays, and errors that name the series they are about."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .calendar import Grid, Integers
from .frame_format import FrameFormat

__all__ = ["SeriesKey", "Stamps", "names_text", "pandas_frame", "read_ids", "read_numbers", "read_stamps"]

_NUMBER_OBJECTS = {"integer", "floating", "mixed-integer-float", "decimal", "boolean", "empty"}


def pandas_frame(argument: str, frame: Any) -> pd.DataFrame:
    """Return a pandas frame, converting any that has a method ``to_pandas``; no index is looked at.

    Raises
    ------
    TypeError
        If it is no frame.
    ValueError
        If it has no rows, or two columns of one name.
    """
    if not isinstance(frame, pd.DataFrame) and hasattr(frame, "to_pandas"):
        frame = frame.to_pandas()
    if not isinstance(frame, pd.DataFrame):
        raise TypeError(f"{argument} must be a pandas DataFrame, got {type(frame).__name__}")
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()].unique().tolist()
        raise ValueError(f"{argument} has more than one column named {names_text(twice)}")
    if len(frame) == 0:
        raise ValueError(f"{argument} has no rows (0 sample(s)), expected at least one")
    return frame


def require_columns(argument: str, frame: pd.DataFrame, wanted: Iterable[str]) -> None:
    """Raise ValueError, listing the columns there are, if one is missing."""
    missing = [name for name in wanted if name not in frame.columns]
    if not missing:
        return
    hint = ""
    if set(missing) & set(frame.index.names):
        hint = "; the index holds what is missing, call reset_index() first"
    raise ValueError(
        f"{argument} has no column {names_text(missing)}; its columns are "
        f"{names_text(frame.columns, 20)}{hint}"
    )


def names_text(names: Iterable[Any], most: int = 5) -> str:
    """Return names for a message, the first `most` of them."""
    listed = list(names)
    text = ", ".join(repr(name) for name in listed[:most])
    return text + (f" and {len(listed) - most} more" if len(listed) > most else "")


def marked_text(columns: Sequence[str], wrong: NDArray[np.bool_]) -> str:
    """Return the names of the columns with a marked row."""
    return names_text(columns[int(place)] for place in np.unique(np.nonzero(wrong)[1]))


@dataclass(frozen=True, eq=False)
class SeriesKey:
    """Which series each row of a frame belongs to.

    Parameters
    ----------
    codes : ndarray of shape (rows,), int64
        Number of the series, in the order in which the series come first in the frame.
    names : tuple of hashable
        Their ids.
    """

    codes: Integers
    names: tuple[Hashable, ...]

    def of_rows(self, wrong: NDArray[np.bool_]) -> str:
        """Return text that names the series with a mark in a row; `wrong` has a mark a row or a value."""
        return self.of_series(np.unique(self.codes[np.nonzero(wrong)[0]]))

    def of_series(self, numbers: NDArray[Any]) -> str:
        """Return text that names series by number."""
        return f"series {names_text(self.names[number] for number in numbers)}"


def read_ids(argument: str, frame: pd.DataFrame, column: str) -> tuple[SeriesKey, str]:
    """Return the series of each row and the type of the ids; raise ValueError if an id is missing."""
    codes, names = pd.factorize(frame[column])
    if (codes < 0).any():
        rows = np.flatnonzero(codes < 0)
        raise ValueError(
            f"{column!r} of {argument} is missing in {len(rows)} rows, first at rows {rows[:5].tolist()}"
        )
    dtype = "category" if isinstance(frame[column].dtype, pd.CategoricalDtype) else str(frame[column].dtype)
    return SeriesKey(codes.astype(np.int64), tuple(names.tolist())), dtype


def read_numbers(
    argument: str, frame: pd.DataFrame, columns: Sequence[str], key: SeriesKey
) -> NDArray[np.float64]:
    """Return columns as float64 of shape (rows, columns), NaN where missing.

    Raises
    ------
    ValueError
        If a column holds no numbers, or an infinite one; the column and the series are named.
    """
    numbers = np.empty((len(frame), len(columns)))
    for place, column in enumerate(columns):
        numbers[:, place] = _numbers(argument, frame[column])
    infinite: NDArray[np.bool_] = np.isinf(numbers)
    if infinite.any():
        raise ValueError(
            f"{marked_text(columns, infinite)} of {argument} holds infinite values in "
            f"{key.of_rows(infinite)}; "
            "replace them, or mark them missing with NaN"
        )
    return numbers


def _numbers(argument: str, values: pd.Series[Any]) -> NDArray[np.float64]:
    dtype = values.dtype
    if pd.api.types.is_object_dtype(dtype):
        found = pd.api.types.infer_dtype(values, skipna=True)
        numeric = found in _NUMBER_OBJECTS
    else:
        found = str(dtype)
        numeric = pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_complex_dtype(dtype)
    if not numeric:
        remedy = (
            f"encode categories as 0/1 columns, pandas.get_dummies(df, columns=[{values.name!r}], "
            "dtype=float), and turn texts into numbers with pandas.to_numeric"
        )
        raise ValueError(f"{values.name!r} of {argument} must hold numbers, got {found}; {remedy}")
    return values.to_numpy(dtype=np.float64, na_value=np.nan)


@dataclass(frozen=True, eq=False)
class Stamps:
    """Stamps of the rows of a frame.

    Parameters
    ----------
    moments : ndarray of shape (rows,), int64
        Integers, or nanoseconds after 1970-01-01, of UTC where there is a time zone.
    wall : ndarray of shape (rows,), int64, or None
        Nanoseconds of the local clock; None for integers.
    frame_format : FrameFormat
        Their type and zone.
    """

    moments: Integers
    wall: Integers | None
    frame_format: FrameFormat

    def on(self, grid: Grid) -> Integers:
        """Return the moments that the grid counts: the local clock's or elapsed time's."""
        return self.wall if self.wall is not None and grid.local else self.moments

    def text(self, row: int) -> str:
        """Return the stamp of a row for a message."""
        return str(self.moments[row]) if self.wall is None else str(pd.Timestamp(int(self.wall[row])))


def read_stamps(argument: str, frame: pd.DataFrame, column: str) -> Stamps:
    """Return stamps: datetimes with or without a time zone, ISO 8601 texts, dates, periods or integers.

    Raises
    ------
    TypeError
        If the column holds something else.
    ValueError
        If a stamp is missing, or outside the years that nanoseconds count.
    """
    values = frame[column]
    missing = np.flatnonzero(values.isna())
    if missing.size:
        raise ValueError(
            f"{column!r} of {argument} is missing in {len(missing)} rows, first at rows "
            f"{missing[:5].tolist()}"
        )
    if pd.api.types.is_integer_dtype(values.dtype):
        moments = values.to_numpy(dtype=np.int64)
        return Stamps(moments, None, FrameFormat(time_column=column, time_dtype=str(values.dtype)))
    if isinstance(values.dtype, pd.PeriodDtype):
        start = values.dt.start_time.to_numpy().astype("datetime64[ns]").astype(np.int64)
        return Stamps(start, start, FrameFormat(time_column=column, period=_period_name(values.dtype)))
    return _dates(argument, values)


def _period_name(dtype: pd.PeriodDtype) -> str:
    """Return the name of periods, which pandas writes differently from that of the offset."""
    return str(dtype).removeprefix("period[").removesuffix("]")


def _dates(argument: str, values: pd.Series[Any]) -> Stamps:
    if not pd.api.types.is_datetime64_any_dtype(values.dtype):
        values = _parsed(argument, values)
    index = pd.DatetimeIndex(values)
    frame_format = FrameFormat(time_column=str(values.name), time_unit=index.unit, time_zone=index.tz)
    try:
        index = index.as_unit("ns")
    except pd.errors.OutOfBoundsDatetime as error:
        raise ValueError(
            f"{values.name!r} of {argument} has stamps outside the years 1678 to 2261; use integers as stamps"
        ) from error
    wall = index if index.tz is None else index.tz_localize(None)
    return Stamps(np.array(index.asi8), np.array(wall.asi8), frame_format)


def _parsed(argument: str, values: pd.Series[Any]) -> pd.Series[Any]:
    found = pd.api.types.infer_dtype(values, skipna=True)
    if found not in ("string", "date", "datetime", "datetime64"):
        raise TypeError(
            f"{values.name!r} of {argument} must hold datetimes, periods or integers, got {found} "
            f"({values.dtype})"
        )
    try:
        with warnings.catch_warnings():
            # Of offsets that differ, pandas 2 warns and pandas 3 refuses them.
            warnings.simplefilter("error", FutureWarning)
            parsed = pd.to_datetime(values, format="ISO8601" if found == "string" else None)
        return pd.Series(pd.DatetimeIndex(parsed), name=values.name)
    except (ValueError, FutureWarning) as error:
        reason = str(error).split("\n")[0]
        raise ValueError(
            f"{values.name!r} of {argument} is no column of dates, or of ISO 8601 texts, of one time zone "
            f"({reason}); convert it with pandas.to_datetime"
        ) from error
