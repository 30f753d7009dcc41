"""Reading series from a CSV file, with errors that say what to mend.

Every cell is read as text first and interpreted by what its column is for: stamps are whole numbers or ISO
8601 dates (or of the format that is named), values and covariates are numbers, ids stay texts. Empty cells
and NA, NaN, null, None are missing. A file of one series needs no column of ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["ONLY_SERIES", "SeriesColumns", "find_columns", "read_series", "read_table"]

#: Id of the series of a file without a column of ids.
ONLY_SERIES = "series"

_MISSING = ["", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "<NA>"]
_BOOLEAN = {"true": 1.0, "false": 0.0}
_SHOWN = 5


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


def read_table(path: Path, separator: str = ",") -> pd.DataFrame:
    """Read a CSV file with a header, all cells as text.

    Parameters
    ----------
    path : Path
        The file, in UTF-8.
    separator : str
        What stands between the cells.

    Returns
    -------
    DataFrame
        Stripped texts, NaN where a cell is missing, without blank lines; the index holds line numbers.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is empty, is no table, or has two columns of one name.
    """
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "does not exist"
        raise FileNotFoundError(f"the data file {str(path)!r} {what}")
    try:
        cells = pd.read_csv(
            path, sep=separator, dtype=str, encoding="utf-8-sig", keep_default_na=False, header=None,
            skip_blank_lines=False, skipinitialspace=True,
        )  # fmt: skip
    except pd.errors.EmptyDataError as error:
        raise ValueError(f"the data file {str(path)!r} is empty") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"the data file {str(path)!r} is not UTF-8 text; save it as UTF-8") from error
    except pd.errors.ParserError as error:
        raise ValueError(
            f"the data file {str(path)!r} is no table: {' '.join(str(error).split())}"
        ) from error
    # The header is read as a row of its own: pandas would rename columns of the same name.
    names = cells.iloc[0].fillna("").str.strip()
    if names.duplicated().any():
        twice = ", ".join(map(repr, names[names.duplicated()].unique()))
        raise ValueError(f"the data file {str(path)!r} has several columns named {twice}")
    rows: pd.DataFrame = cells.iloc[1:].apply(lambda column: column.str.strip())
    rows.columns = pd.Index(names.tolist())
    rows.index = pd.RangeIndex(2, len(cells) + 1)
    rows = rows.mask(rows.isin(_MISSING)).dropna(how="all")
    if rows.empty:
        raise ValueError(f"the data file {str(path)!r} has a header but no rows")
    return rows


def read_series(table: pd.DataFrame, columns: SeriesColumns, *, without_target: bool = False) -> pd.DataFrame:
    """Interpret a table as a long frame of series.

    Parameters
    ----------
    table : DataFrame
        As `read_table` gives it.
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
        {columns.id_col: ids, columns.time_col: stamps} | {name: _numbers(table[name]) for name in numbers}
    ).reset_index(drop=True)


def find_columns(table: pd.DataFrame, names: Iterable[str], option: str) -> list[str]:
    """Return the names, after checking that all are columns of the table.

    Raises
    ------
    ValueError
        Naming the option, the first missing column and similar ones.
    """
    found = [str(column) for column in table.columns]
    wanted = list(names)
    for name in wanted:
        if name not in found:
            raise ValueError(f"{option}: there is no column {name!r}; {_suggestion(name, found)}")
    return wanted


def _ids(column: pd.Series[str], columns: SeriesColumns) -> pd.Series[Any]:
    if column.isna().any():
        raise ValueError(
            f"the id column {column.name!r} is empty in {_lines(column, column.isna().to_numpy())}"
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
        raise ValueError(f"the time column {column.name!r} is empty in {_lines(column, missing)}")
    if not time_format and column.str.fullmatch(r"[+-]?\d{1,18}").all() and not _looks_like_dates(column):
        return column.astype(np.int64)
    found = pd.to_datetime(column, format=time_format or "ISO8601", errors="coerce", utc=_zoned(column))
    wrong = found.isna().to_numpy(dtype=np.bool_)
    if wrong.any():
        values = ", ".join(map(repr, column[wrong].unique()[:_SHOWN]))
        expected = (
            f"dates of the format {time_format!r}" if time_format else "whole numbers or ISO 8601 dates"
        )
        remedy = "" if time_format else "; name another format with --time-format, such as %d/%m/%Y"
        raise ValueError(
            f"the time column {column.name!r} must hold {expected}, found {values} in "
            f"{_lines(column, wrong)}{remedy}"
        )
    return found


def _looks_like_dates(column: pd.Series[str]) -> bool:
    """Say whether all of a column's whole numbers are dates such as 20240131."""
    eight = column.str.fullmatch(r"(?:19|20)\d{6}").all()
    return bool(eight and pd.to_datetime(column, format="%Y%m%d", errors="coerce").notna().all())


def _zoned(column: pd.Series[str]) -> bool:
    """Say whether the stamps tell their offset from UTC, which may change within the file."""
    return bool(column.str.contains(r"(?:Z|[+-]\d{2}:?\d{2})$").all() and column.str.contains(":").all())


def _numbers(column: pd.Series[str]) -> NDArray[np.float64]:
    lower = column.str.lower()
    if lower.notna().any() and lower.dropna().isin(_BOOLEAN).all():
        return np.asarray(lower.map(_BOOLEAN), dtype=np.float64)
    numbers = np.asarray(pd.to_numeric(column, errors="coerce"), dtype=np.float64)
    wrong = np.isnan(numbers) & column.notna().to_numpy(dtype=np.bool_)
    if wrong.any():
        values = ", ".join(map(repr, column[wrong].unique()[:_SHOWN]))
        comma = " (a decimal comma? write a point)" if column[wrong].str.fullmatch(r"-?\d+,\d+").all() else ""
        raise ValueError(
            f"the column {column.name!r} must hold numbers, found {values} in {_lines(column, wrong)}{comma}"
        )
    return numbers


def _suggestion(name: str, columns: Sequence[str]) -> str:
    if len(columns) == 1 and any(mark in columns[0] for mark in (";", "\t", "|")):
        return f"the header is the single column {columns[0]!r}: give the right --separator"
    lower = {column.lower(): column for column in columns}
    close = [lower[match] for match in get_close_matches(name.lower(), lower, n=3, cutoff=0.6)]
    if close:
        return f"did you mean {' or '.join(map(repr, close))}?"
    shown = ", ".join(columns[:12]) + (", ..." if len(columns) > 12 else "")
    return f"the columns are {shown}"


def _lines(column: pd.Series[Any], wrong: NDArray[np.bool_]) -> str:
    """Name the first offending lines of the file; the header is line 1."""
    lines = column.index[wrong]
    more = f", ... ({len(lines)} in all)" if len(lines) > _SHOWN else ""
    return f"line{'s' if len(lines) > 1 else ''} {', '.join(map(str, lines[:_SHOWN]))}{more}"
