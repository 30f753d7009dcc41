"""Between sktime's containers and panels: rows by an index of time, in some cases below one of series.

sktime gives series as data frames whose index holds stamps (dates, periods, integers), below one or more
levels of names where there are many series. Here such rows become a `Panel`, a panel is moved to another
end, and rows of covariates are set behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .frame_columns import names_text, read_numbers
from .frames import panel_of_frame, rows_of_frame
from .history import Floats, Integers
from .panel import Panel

__all__ = ["ending_at", "instances_of", "panel_of_rows", "positional_rows", "steps_of_index", "with_future"]

_SERIES, _TIME = "series", "time"


def instances_of(index: pd.Index[Any]) -> pd.Index[Any] | None:
    """Return the sorted names of the series of an index, None where it holds stamps alone."""
    if not isinstance(index, pd.MultiIndex):
        return None
    names: pd.Index[Any] = index.droplevel(-1).unique().sort_values()
    return names


def positional_rows(y: pd.DataFrame, X: pd.DataFrame | None) -> pd.DataFrame:
    """Return values and covariates in one frame on the index of the values, columns named y0, ... x0, ..."""
    values = y.set_axis([f"y{place}" for place in range(y.shape[1])], axis=1)
    if X is None:
        return values
    covariates = X.set_axis([f"x{place}" for place in range(X.shape[1])], axis=1)
    return pd.concat([values, covariates.reindex(values.index)], axis=1)


def panel_of_rows(rows: pd.DataFrame, *, like: Panel | None = None) -> Panel:
    """Return the panel of what `positional_rows` gave.

    Parameters
    ----------
    rows : DataFrame
        Missing rows become missing values.
    like : Panel, optional
        A panel whose grid of stamps is to be kept; otherwise it is that of the index: its frequency, or the
        one that its stamps show, or steps of 1 for integers.

    Returns
    -------
    Panel
        Series named by the text of their names (`instances_of`), covariates as known in advance.
    """
    return panel_of_frame(
        _long_frame(rows),
        id_col=_SERIES,
        time_col=_TIME,
        target=[name for name in rows.columns if name.startswith("y")],
        future=[name for name in rows.columns if name.startswith("x")],
        frequency=None if like is not None else _frequency(rows.index),
        like=like,
        gaps="fill",
    )


def steps_of_index(stamps: pd.Index[Any], panel: Panel) -> Integers:
    """Return the absolute steps of stamps on the grid of a panel.

    Raises
    ------
    ValueError
        If a stamp is off the grid.
    """
    frame = pd.DataFrame({_SERIES: panel.ids[0], _TIME: stamps})
    return rows_of_frame("the forecasting horizon", frame, panel)[1].steps


def ending_at(panel: Panel, step: int) -> Panel:
    """Return the panel with all series ending at a step: later rows left out, lacking ones missing.

    Covariates of rows ahead are left out.
    """
    lengths = np.maximum(step - (panel.last_step - panel.lengths), 1)
    length = int(lengths.max())
    column = panel.steps - (step - length + 1)
    inside = (column >= 0) & (column < length)
    series = np.broadcast_to(np.arange(panel.n_series)[:, None], column.shape)

    def moved(table: Floats) -> Floats:
        result = np.full((panel.n_series, length, table.shape[2]), np.nan)
        result[series[inside], column[inside]] = table[:, : panel.length][inside]
        return result

    return replace(
        panel,
        values=moved(panel.values),
        past=moved(panel.past),
        future=moved(panel.future),
        lengths=lengths,
        last_step=np.full(panel.n_series, step, dtype=np.int64),
    )


def with_future(panel: Panel, X: pd.DataFrame, horizon: int, needed: Sequence[int] | Integers) -> Panel:
    """Return a panel with covariates of the rows ahead.

    Parameters
    ----------
    panel : Panel
        Series that end at the same step.
    X : DataFrame
        Rows of covariates, in the order of those of the panel; rows of other stamps are not looked at.
        Missing values, and rows between the needed ones, are interpolated.
    horizon : int
        Rows ahead.
    needed : sequence of int
        Steps ahead, from 1, whose rows must be there.

    Raises
    ------
    ValueError
        If a needed row is not there, or a covariate is missing in all rows ahead of a series.
    """
    covariates = X.set_axis(list(panel.future_names), axis=1)
    frame, rows = rows_of_frame("X", _long_frame(covariates), panel)
    place = {name: number for number, name in enumerate(panel.ids)}
    series = np.array([place.get(name, -1) for name in rows.key.names])[rows.key.codes]
    ahead = rows.steps - panel.last_step[series] - 1
    used = (series >= 0) & (ahead >= 0) & (ahead < horizon)
    found = np.zeros((panel.n_series, horizon), dtype=bool)
    found[series[used], ahead[used]] = True
    lacking = ~found[:, np.asarray(needed) - 1].all(axis=1)
    if lacking.any():
        names = names_text(panel.ids[number] for number in np.flatnonzero(lacking))
        raise ValueError(f"X lacks rows of the forecasting horizon of series {names}")
    future = np.full((panel.n_series, horizon, len(panel.future_names)), np.nan)
    future[series[used], ahead[used]] = read_numbers("X", frame, panel.future_names, rows.key)[used]
    return replace(panel, future=np.concatenate([panel.future, _interpolated(panel, future)], axis=1))


def _interpolated(panel: Panel, future: Floats) -> Floats:
    """Fill what is missing of rows ahead, from the last row of the history on."""
    if not np.isnan(future).any():
        return future
    missing: NDArray[np.bool_] = np.asarray(np.isnan(future).all(axis=1))
    if missing.any():
        names = names_text(panel.ids[number] for number in np.flatnonzero(missing.any(axis=1)))
        raise ValueError(f"X has a column without any value in the rows ahead of series {names}")
    whole = np.concatenate([panel.future[:, -1:], future], axis=1)
    flat = pd.DataFrame(np.moveaxis(whole, 1, 0).reshape(whole.shape[1], -1))
    filled = flat.interpolate(limit_direction="both").to_numpy()
    shaped = filled.reshape(whole.shape[1], whole.shape[0], whole.shape[2])
    return np.moveaxis(shaped, 0, 1)[:, 1:]


def _long_frame(rows: pd.DataFrame) -> pd.DataFrame:
    index = rows.index
    if isinstance(index, pd.MultiIndex):
        codes, names = pd.factorize(index.droplevel(-1))
        texts = np.array([repr(name) for name in names], dtype=object)[codes]
        stamps: Any = index.get_level_values(-1)
    else:
        texts, stamps = np.full(len(index), repr(None), dtype=object), index
    frame = rows.reset_index(drop=True)
    frame.insert(0, _SERIES, texts)
    frame.insert(1, _TIME, stamps)
    return frame


def _frequency(index: pd.Index[Any]) -> Any:
    stamps = index.get_level_values(-1) if isinstance(index, pd.MultiIndex) else index
    if isinstance(stamps, pd.DatetimeIndex):
        return stamps.freqstr
    return None if isinstance(stamps, pd.PeriodIndex) else 1
