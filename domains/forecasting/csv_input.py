"""Reading series from a CSV file, with errors that say what to mend.

Every cell is read as text first and interpreted by what its column is for: stamps are whole numbers or ISO
8601 dates (or of the format that is named), values and covariates are numbers, ids stay texts. Empty cells
and NA, NaN, null, None are missing. A file of one series needs no column of ids.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from sciffusion.estimators.csv_tables import MOST_SHOWN, find_columns, name_lines, read_numbers

__all__ = ["ONLY_SERIES", "SeriesColumns", "read_series"]

#: Id of the series of a file without a column of ids.
ONLY_SERIES = "series"


@dataclass(frozen=True)
class SeriesColumns:
    """Which columns of a file hold what, by the options that name them.

    Attributes
    ----------
    id_col : str
        Ids of the series; where the file has no such column and `id_optional`, it is one series.
    time_col : str
        Stamps.
    target, past, future, static : tuple of str
        Values and covariates.
    id_optional : bool
    time_format : str
        As `datetime.strptime` takes it; empty for whole numbers and ISO 8601.
    """

    id_col: str = "unique_id"
    time_col: str = "ds"
    target: tuple[str, ...] = ("y",)
    past: tuple[str, ...] = ()
    future: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    id_optional: bool = True
    time_format: str = ""
    id_type: Any = field(default=None)

    @property
    def numbers(self) -> tuple[str, ...]:
        """Columns of values and covariates."""
        return (*self.target, *self.past, *self.future, *self.static)


def read_series(table: pd.DataFrame, columns: SeriesColumns, *, without_target: bool = False) -> pd.DataFrame:
    """Interpret a table as a long frame of series.

    Parameters
    ----------
    table : DataFrame
        As `sciffusion.estimators.csv_tables.read_table` gives it.
    columns : SeriesColumns
        What to read; other columns are left out.
    without_target : bool
        Read only ids, stamps and future covariates, as for the rows ahead.

    Returns
    -------
    DataFrame
        Ids, stamps (dates or int64) and float64 columns, in the order of the rows.

    Raises
    ------
    ValueError
        Naming the option and the column, or the column, the values and the lines of the file.
    """
    options = [("--time-col", (columns.time_col,)), ("--future", columns.future)]
    numbers = columns.future if without_target else columns.numbers
    if not without_target:
        options += [("--target", columns.target), ("--past", columns.past), ("--static", columns.static)]
    alone = columns.id_optional and columns.id_col not in table.columns
    options += [] if alone else [("--id-col", (columns.id_col,))]
    for option, names in options:
        find_columns(table, names, option)
    ids = pd.Series(ONLY_SERIES, index=table.index) if alone else _ids(table[columns.id_col], columns)
    stamps = _stamps(table[columns.time_col], columns.time_format)
    return pd.DataFrame(
        {columns.id_col: ids, columns.time_col: stamps}
        | {name: read_numbers(table[name], f"the column {name!r}") for name in numbers}
    ).reset_index(drop=True)


def _ids(column: pd.Series[str], columns: SeriesColumns) -> pd.Series[Any]:
    if column.isna().any():
        raise ValueError(
            f"the id column {column.name!r} is empty in {name_lines(column, column.isna().to_numpy())}"
        )
    if columns.id_type is None:
        return column
    try:
        return column.astype(columns.id_type)
    except ValueError as error:
        raise ValueError(
            f"the id column {column.name!r} must hold whole numbers, as in the data the model was fitted on"
        ) from error


def _stamps(column: pd.Series[str], time_format: str) -> pd.Series[Any]:
    missing = column.isna().to_numpy(dtype=np.bool_)
    if missing.any():
        raise ValueError(f"the time column {column.name!r} is empty in {name_lines(column, missing)}")
    if not time_format and column.str.fullmatch(r"[+-]?\d{1,18}").all() and not _looks_like_dates(column):
        return column.astype(np.int64)
    found = pd.to_datetime(column, format=time_format or "ISO8601", errors="coerce", utc=_zoned(column))
    wrong = found.isna().to_numpy(dtype=np.bool_)
    if wrong.any():
        values = ", ".join(map(repr, column[wrong].unique()[:MOST_SHOWN]))
        expected = (
            f"dates of the format {time_format!r}" if time_format else "whole numbers or ISO 8601 dates"
        )
        remedy = "" if time_format else "; name another format with --time-format, such as %d/%m/%Y"
        raise ValueError(
            f"the time column {column.name!r} must hold {expected}, found {values} in "
            f"{name_lines(column, wrong)}{remedy}"
        )
    return found


def _looks_like_dates(column: pd.Series[str]) -> bool:
    """Say whether all of a column's whole numbers are dates such as 20240131."""
    eight = column.str.fullmatch(r"(?:19|20)\d{6}").all()
    return bool(eight and pd.to_datetime(column, format="%Y%m%d", errors="coerce").notna().all())


def _zoned(column: pd.Series[str]) -> bool:
    """Say whether the stamps tell their offset from UTC, which may change within the file."""
    return bool(column.str.contains(r"(?:Z|[+-]\d{2}:?\d{2})$").all() and column.str.contains(":").all())
