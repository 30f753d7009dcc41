"""Reading patients from a CSV file, with errors that say what to mend.

Every cell is read as text first and interpreted here, so that a column means the same in the file a model is
fitted on and in the file it predicts: a column of numbers is numeric, one of true/false is 0/1, everything
else (and every column named as such) is categorical. Empty cells and NA, NaN, null, None are missing.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sciffusion.estimators.csv_tables import (
    MOST_SHOWN,
    as_numbers,
    find_columns,
    name_lines,
    read_numbers,
    suggest_column,
)

from .targets import SurvivalTarget

__all__ = ["covariates", "covariates_for", "read_target", "warn_of_identifiers"]

_EVENT = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False}
_MOST_CODES = 10  # distinct numbers; a column with more holds measurements


def read_target(
    table: pd.DataFrame, time: str, event: str, event_values: Sequence[str] = ()
) -> SurvivalTarget:
    """Read times and event flags.

    Parameters
    ----------
    table : DataFrame
        As `sciffusion.estimators.csv_tables.read_table` gives it.
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
    times = read_numbers(table[time], f"the time column {time!r}")
    for wrong, what in ((np.isnan(times), "missing"), (np.isinf(times), "infinite"), (times < 0, "negative")):
        if wrong.any():
            raise ValueError(
                f"the time column {time!r} has {what} times in {name_lines(table, wrong)}; correct or remove "
                "them"
            )
    return SurvivalTarget(times, _events(table[event], event, event_values))


def covariates(table: pd.DataFrame, categorical: Sequence[str] = ()) -> pd.DataFrame:
    """Interpret the columns of a table as covariates to fit on.

    Parameters
    ----------
    table : DataFrame
        As `sciffusion.estimators.csv_tables.read_table` gives it, without target and other columns.
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
        numbers = None if name in categorical else as_numbers(table[name])
        if numbers is None and name not in categorical:
            _refuse_stray_text(table[name], name)
        columns[name] = table[name].astype("category") if numbers is None else numbers
    return pd.DataFrame(columns, index=table.index)


def covariates_for(table: pd.DataFrame, names: Sequence[str], categorical: Iterable[str]) -> pd.DataFrame:
    """Interpret a table as covariates of a fitted model; columns that it does not know are left aside.

    Parameters
    ----------
    table : DataFrame
        As `sciffusion.estimators.csv_tables.read_table` gives it.
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
        shown = ", ".join(map(repr, missing[:MOST_SHOWN])) + (
            " and more" if len(missing) > MOST_SHOWN else ""
        )
        raise ValueError(
            f"the model needs the column{'s' if len(missing) > 1 else ''} {shown}; "
            f"{suggest_column(missing[0], known)}"
        )
    kinds = set(categorical)
    columns = {
        name: table[name].astype("category")
        if name in kinds
        else read_numbers(table[name], f"the column {name!r}")
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
            f"the event column {name!r} is empty in {name_lines(column, missing)}; correct or remove these "
            "rows"
        )
    found = sorted(column.unique())
    shown = ", ".join(map(repr, found[:MOST_SHOWN])) + (", ..." if len(found) > MOST_SHOWN else "")
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
            read_numbers(column, f"the column {name!r}")
        except ValueError as error:
            raise ValueError(f"{error}; correct them, or name the column in --categorical") from None
