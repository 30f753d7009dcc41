"""Covariates that do not change: one value a series, from the long frame or from a table of the series."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .calendar import Integers
from .frame_columns import SeriesKey, marked_text, names_text, read_ids, read_numbers, require_columns
from .panel import Panel

__all__ = ["read_static"]

Floats = NDArray[np.float64]


def read_static(
    frame: pd.DataFrame,
    table: pd.DataFrame | None,
    id_column: str,
    columns: tuple[str, ...],
    key: SeriesKey,
    like: Panel | None,
) -> Floats:
    """Return the static covariates of every series, shape (series, columns).

    A column is taken from `table` if it is there, else from `frame`, where it must be constant within a
    series, else from the panel `like`, for the series that it knows.

    Raises
    ------
    ValueError
        If a column or a series' value is missing, or the value changes within a series; the series are named.
    """
    static = np.empty((len(key.names), len(columns)))
    in_table = [] if table is None else [name for name in columns if name in table.columns]
    in_frame = [name for name in columns if name not in in_table and name in frame.columns]
    known = [name for name in columns if name not in in_table and name not in in_frame]
    if known and like is None:
        require_columns("df", frame, known)
    if table is not None and in_table:
        static[:, _places(columns, in_table)] = _of_table(table, id_column, in_table, key)
    if in_frame:
        static[:, _places(columns, in_frame)] = _of_frame(frame, in_frame, key)
    if known and like is not None:
        static[:, _places(columns, known)] = _of_panel(like, known, key)
    bare: NDArray[np.bool_] = np.isnan(static)
    if bare.any():
        raise ValueError(
            f"static covariate {marked_text(columns, bare)} is missing for "
            f"{key.of_series(np.unique(np.nonzero(bare)[0]))}"
        )
    return static


def _places(columns: tuple[str, ...], some: list[str]) -> list[int]:
    return [columns.index(name) for name in some]


def _of_table(table: pd.DataFrame, id_column: str, columns: list[str], key: SeriesKey) -> Floats:
    require_columns("static_df", table, [id_column])
    table_key, _ = read_ids("static_df", table, id_column)
    counts = np.bincount(table_key.codes)
    if (counts > 1).any():
        raise ValueError(
            f"static_df has more than one row of {table_key.of_series(np.flatnonzero(counts > 1))}"
        )
    numbers = read_numbers("static_df", table, columns, table_key)
    rows = pd.Index(list(table_key.names), tupleize_cols=False).get_indexer(
        pd.Index(list(key.names), tupleize_cols=False)
    )
    if (rows < 0).any():
        raise ValueError(f"static_df has no row of {key.of_series(np.flatnonzero(rows < 0))}")
    return numbers[rows]


def _of_frame(frame: pd.DataFrame, columns: list[str], key: SeriesKey) -> Floats:
    numbers = read_numbers("df", frame, columns, key)
    first = np.empty(len(key.names), dtype=np.int64)
    first[key.codes[::-1]] = np.arange(len(frame))[::-1]
    values = numbers[first]
    changed = (numbers != values[key.codes]) & ~np.isnan(values[key.codes])
    if changed.any():
        raise ValueError(
            f"static covariate {marked_text(columns, changed)} changes within {key.of_rows(changed)}; "
            "declare it as a past or future covariate"
        )
    return values


def _of_panel(like: Panel, columns: list[str], key: SeriesKey) -> Floats:
    rows = series_places(like, key)
    if (rows < 0).any():
        new = key.of_series(np.flatnonzero(rows < 0))
        raise ValueError(f"static covariates {names_text(columns)} are needed for {new}, not known before")
    return like.static[rows][:, [like.static_names.index(name) for name in columns]]


def series_places(panel: Panel, key: SeriesKey) -> Integers:
    """Return the place in a panel of each series of a key; -1 for those that it does not hold."""
    places = {name: place for place, name in enumerate(panel.ids)}
    return np.array([places.get(name, -1) for name in key.names], dtype=np.int64)
