"""Reading patients from a CSV file, with errors that say what to mend.

Every cell is read as text first and interpreted here, so that a column means the same in the file a model is
fitted on and in the file it predicts: a column of numbers is numeric, one of true/false is 0/1, everything
else (and every column named as such) is categorical. Empty cells and NA, NaN, null, None are missing.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .targets import SurvivalTarget

__all__ = ["covariates", "covariates_for", "find_columns", "read_table", "read_target", "warn_of_identifiers"]

_MISSING = ["", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "<NA>"]
_BOOLEAN = {"true": 1.0, "false": 0.0}
_EVENT = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False}
_SHOWN = 5
_MOST_CODES = 10  # distinct numbers; a column with more holds measurements


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
        table = pd.read_csv(
            path, sep=separator, dtype=str, encoding="utf-8-sig", keep_default_na=False, header=None,
            skip_blank_lines=False, skipinitialspace=True,
        )  # fmt: skip
    except pd.errors.EmptyDataError as error:
        raise ValueError(f"the data file {str(path)!r} is empty") from error
    except UnicodeDecodeError as error:
        raise ValueError(
            f"the data file {str(path)!r} is not UTF-8 text ({error}); save it as UTF-8"
        ) from error
    except pd.errors.ParserError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"the data file {str(path)!r} is no table: {reason}") from error
    # The header is read as a row of its own: pandas would rename columns of the same name.
    names = [name.strip() for name in table.iloc[0].fillna("")]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"the data file {str(path)!r} has several columns named {', '.join(map(repr, twice))}"
        )
    rows = pd.DataFrame({name: table[place].iloc[1:].str.strip() for place, name in enumerate(names)})
    rows.index = pd.RangeIndex(2, len(table) + 1)
    rows = rows.mask(rows.isin(_MISSING)).dropna(how="all")
    if rows.empty:
        raise ValueError(f"the data file {str(path)!r} has a header but no rows")
    return rows


def find_columns(table: pd.DataFrame, names: Iterable[str], option: str) -> list[str]:
    """Return the names, after checking that all are columns of the table.

    Raises
    ------
    ValueError
        Naming the option, the first missing column and similar ones.
    """
    columns = [str(column) for column in table.columns]
    wanted = list(names)
    for name in wanted:
        if name not in columns:
            raise ValueError(f"{option}: there is no column {name!r}; {_suggestion(name, columns)}")
    return wanted


def read_target(
    table: pd.DataFrame, time: str, event: str, event_values: Sequence[str] = ()
) -> SurvivalTarget:
    """Read times and event flags.

    Parameters
    ----------
    table : DataFrame
        As `read_table` gives it.
    time, event : str
        Names of the columns.
    event_values : sequence of str
        Values of the event column that mean that the event was observed; all others then mean censored.
        Without them the column must hold 0/1 or true/false.

    Returns
    -------
    SurvivalTarget
        One entry a row.

    Raises
    ------
    ValueError
        Naming the column, the values found and the lines of the file.
    """
    find_columns(table, [time], "--time")
    find_columns(table, [event], "--event")
    if time == event:
        raise ValueError(f"--time and --event name the same column {time!r}")
    times = _numbers(table[time], f"the time column {time!r}")
    for wrong, what in ((np.isnan(times), "missing"), (np.isinf(times), "infinite"), (times < 0, "negative")):
        if wrong.any():
            raise ValueError(
                f"the time column {time!r} has {what} times in {_lines(table, wrong)}; correct or remove them"
            )
    return SurvivalTarget(times, _events(table[event], event, event_values))


def covariates(table: pd.DataFrame, categorical: Sequence[str] = ()) -> pd.DataFrame:
    """Interpret the columns of a table as covariates to fit on.

    Parameters
    ----------
    table : DataFrame
        As `read_table` gives it, without target and other columns.
    categorical : sequence of str
        Columns that are categories though they look like numbers.

    Returns
    -------
    DataFrame
        float64 columns and categoricals.

    Raises
    ------
    ValueError
        If there is no column, a column named categorical is not there, or a column of numbers holds text in
        a few cells.
    """
    find_columns(table, categorical, "--categorical")
    if table.shape[1] == 0:
        raise ValueError("there is no column left to predict from, besides time, event and dropped columns")
    columns = {}
    for name in table.columns:
        numbers = None if name in categorical else _as_numbers(table[name])
        if numbers is None and name not in categorical:
            _refuse_stray_text(table[name], name)
        columns[name] = table[name].astype("category") if numbers is None else numbers
    return pd.DataFrame(columns, index=table.index)


def covariates_for(table: pd.DataFrame, names: Sequence[str], categorical: Iterable[str]) -> pd.DataFrame:
    """Interpret a table as covariates of a fitted model; columns that it does not know are left aside.

    Parameters
    ----------
    table : DataFrame
        As `read_table` gives it.
    names : sequence of str
        Columns of the model, in its order.
    categorical : iterable of str
        Those that are categories to the model.

    Returns
    -------
    DataFrame
        In the order of `names`.

    Raises
    ------
    ValueError
        If a column is missing, or holds text where the model knows numbers.
    """
    missing = [name for name in names if name not in table.columns]
    if missing:
        known = [str(column) for column in table.columns]
        shown = ", ".join(map(repr, missing[:_SHOWN])) + (" and more" if len(missing) > _SHOWN else "")
        raise ValueError(
            f"the model needs the column{'s' if len(missing) > 1 else ''} {shown}; "
            f"{_suggestion(missing[0], known)}"
        )
    kinds = set(categorical)
    columns = {
        name: table[name].astype("category")
        if name in kinds
        else _numbers(table[name], f"the column {name!r}")
        for name in names
    }
    return pd.DataFrame(columns, index=table.index)


def warn_of_identifiers(X: pd.DataFrame) -> None:
    """Warn of columns that look like names or numbers of patients: a fit can only be misled by them."""
    for name in X.columns:
        seen = X[name].dropna()
        whole = isinstance(seen.dtype, pd.CategoricalDtype) or bool((seen % 1 == 0).all())
        text = isinstance(seen.dtype, pd.CategoricalDtype)
        named = str(name).lower() in ("id", "index") or str(name).lower().endswith(("_id", " id", "number"))
        if len(seen) > 20 and seen.nunique() == len(seen) and whole and (text or named):
            warnings.warn(
                f"the column {name!r} looks like an identifier (all its values differ); leave it out with "
                f"--drop {name}",
                UserWarning,
                stacklevel=2,
            )


def _events(column: pd.Series[str], name: str, event_values: Sequence[str]) -> NDArray[np.bool_]:
    missing = column.isna().to_numpy(dtype=np.bool_)
    if missing.any():
        raise ValueError(
            f"the event column {name!r} is empty in {_lines(column, missing)}; correct or remove these rows"
        )
    found = sorted(column.unique())
    shown = ", ".join(map(repr, found[:_SHOWN])) + (", ..." if len(found) > _SHOWN else "")
    if event_values:
        absent = [value for value in event_values if value not in found]
        if absent:
            raise ValueError(
                f"--event-value {absent[0]!r} does not occur in the event column {name!r}, found {shown}"
            )
        return column.isin(list(event_values)).to_numpy(dtype=np.bool_)
    flags = column.str.lower().map(_EVENT)
    if flags.isna().any():
        raise ValueError(
            f"the event column {name!r} must hold 0/1 or true/false (1 = event observed, 0 = censored), "
            f"found {shown}; recode it, or say with --event-value which value means the event"
        )
    return flags.to_numpy(dtype=np.bool_)


def _refuse_stray_text(column: pd.Series[str], name: str) -> None:
    """Refuse a column of measurements that a typing error would turn into one of categories."""
    present = column.dropna()
    numbers = pd.to_numeric(present, errors="coerce").dropna()
    if len(numbers) > len(present) / 2 and numbers.nunique() > _MOST_CODES:
        try:
            _numbers(column, f"the column {name!r}")
        except ValueError as error:
            raise ValueError(f"{error}; correct them, or name the column in --categorical") from None


def _as_numbers(column: pd.Series[str]) -> pd.Series[float] | None:
    """Return the column as float64, or None if it holds text."""
    lower = column.str.lower()
    if lower.dropna().isin(_BOOLEAN).all() and lower.notna().any():
        return lower.map(_BOOLEAN).astype(np.float64)
    numbers = pd.to_numeric(column, errors="coerce")
    return None if (numbers.isna() & column.notna()).any() else numbers.astype(np.float64)


def _numbers(column: pd.Series[str], what: str) -> NDArray[np.float64]:
    numbers = _as_numbers(column)
    if numbers is not None:
        return np.array(numbers, dtype=np.float64)
    wrong = (pd.to_numeric(column, errors="coerce").isna() & column.notna()).to_numpy(dtype=np.bool_)
    values = ", ".join(map(repr, column[wrong].unique()[:_SHOWN]))
    comma = " (a decimal comma? write a point)" if column[wrong].str.fullmatch(r"-?\d+,\d+").all() else ""
    raise ValueError(f"{what} must hold numbers, found {values} in {_lines(column, wrong)}{comma}")


def _suggestion(name: str, columns: Sequence[str]) -> str:
    lower = {column.lower(): column for column in columns}
    close = [lower[match] for match in get_close_matches(name.lower(), lower, n=3, cutoff=0.6)]
    if close:
        return f"did you mean {' or '.join(map(repr, close))}?"
    if len(columns) == 1 and any(mark in columns[0] for mark in (";", "\t", "|")):
        return f"the header is the single column {columns[0]!r}: give the right --separator"
    shown = ", ".join(columns[:12]) + (", ..." if len(columns) > 12 else "")
    return f"the columns are {shown}"


def _lines(table: pd.DataFrame | pd.Series[str], wrong: NDArray[np.bool_]) -> str:
    """Name the first offending lines of the file; the header is line 1."""
    lines = table.index[wrong]
    more = f", ... ({len(lines)} in all)" if len(lines) > _SHOWN else ""
    return f"line{'s' if len(lines) > 1 else ''} {', '.join(map(str, lines[:_SHOWN]))}{more}"
