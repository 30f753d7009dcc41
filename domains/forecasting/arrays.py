"""From arrays to a `Panel`: array mode, where a row is a series.

``X`` has shape (n, length) or (n, length, channels), oldest value first; NaN is missing. The last columns of
all series are the same moment. Series of unequal length may come as a list of arrays (length,) or (length,
channels), which are aligned at their ends. Targets ``y`` are the values that follow, (n, horizon) or (n,
horizon, channels). Errors are those of scikit-learn's validation where that has one.
"""

from __future__ import annotations

from dataclasses import replace
from numbers import Number
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils.validation import check_array, check_consistent_length

from .frame_columns import names_text
from .panel import Panel

__all__ = ["panel_of_array", "panel_of_other_rows", "read_targets", "refuse_columns"]

Floats = NDArray[np.float64]


def panel_of_array(
    X: Any,
    *,
    ids: Any = None,
    last_step: Any = None,
    min_length: int = 1,
    min_observed: int = 1,
    n_channels: int | None = None,
) -> Panel:
    """Return the panel of an array, or of a list of arrays, of series.

    Parameters
    ----------
    X : array-like of shape (n, length) or (n, length, channels), or list of arrays, or Panel
        The series, see the module's description. A panel is checked and returned.
    ids, last_step : optional
        See `Panel.from_array`.
    min_length : int, default=1
        Fewest rows of a series from its first observed one on.
    min_observed : int, default=1
        Fewest rows of a series with an observed value.
    n_channels : int, optional
        Channels that are expected; any by default.

    Raises
    ------
    TypeError
        If `X` is sparse.
    ValueError
        If `X` has another shape or number of channels, is empty, holds something else than real numbers,
        infinities, or a series that is too short; the series are named.
    """
    panel = X if isinstance(X, Panel) else Panel.from_array(_cube(X), ids=ids, last_step=last_step)
    if n_channels not in (None, panel.n_channels):
        text = "1 channel" if panel.n_channels == 1 else f"{panel.n_channels} channels"
        raise ValueError(f"X has {text}, expected {n_channels}")
    observed = (~np.isnan(panel.values)).any(axis=2).sum(axis=1)
    # Of a series without any value, only `min_observed` decides.
    lengths = np.where(observed > 0, panel.lengths, min_length)
    for found, fewest, what in (
        (lengths, min_length, "rows from the first observed one on"),
        (observed, min_observed, "rows with an observed value"),
    ):
        wrong = np.flatnonzero(found < fewest)
        if wrong.size:
            names = names_text(panel.ids[series] for series in wrong)
            raise ValueError(
                f"X has fewer than {fewest} {what} in series {names}, the fewest {int(found[wrong].min())}"
            )
    return panel


def refuse_columns(**arguments: Any) -> None:
    """Raise ValueError if an argument that speaks of columns of a frame is given, arrays having none."""
    given = [name for name, value in arguments.items() if value is not None and len(value)]
    if given:
        raise ValueError(f"{names_text(given)} need a long frame; X is an array, or has no column of ids")


def panel_of_other_rows(X: Any, *, framed: bool, n_channels: int | None = None) -> Panel:
    """Return the panel of an array that a fitted forecaster is asked about.

    Where the fitted series came from a frame (`framed`), the ids of the rows are no numbers, so that no row
    is taken for the series whose id is its number. Other parameters and errors are those of `panel_of_array`.
    """
    panel = panel_of_array(X, n_channels=n_channels)
    if not framed or isinstance(X, Panel):
        return panel
    return replace(panel, ids=tuple(f"row {row}" for row in panel.ids))


def read_targets(y: Any, X: Any, n_channels: int, *, horizon: int | None = None) -> Floats:
    """Return targets as float64 of shape (n, horizon, channels).

    Parameters
    ----------
    y : array-like of shape (n,), (n, horizon) or (n, horizon, channels)
        The values that follow each series; one step for one dimension.
    X : array-like
        The series, to compare the number of rows with.
    n_channels : int
        Channels of the series.
    horizon : int, optional
        Steps that are expected; any by default.

    Raises
    ------
    ValueError
        If the shape does not fit, or a target is missing or infinite.
    """
    targets = check_array(y, dtype=np.float64, allow_nd=True, ensure_2d=False, input_name="y")
    check_consistent_length(X, targets)
    if targets.ndim == 1:
        targets = targets[:, None]
    if targets.ndim == 2 and n_channels == 1:
        targets = targets[..., None]
    if targets.ndim != 3 or targets.shape[2] != n_channels or horizon not in (None, targets.shape[1]):
        steps = "horizon" if horizon is None else horizon
        raise ValueError(f"y must have shape (n, {steps}, {n_channels}), got {np.shape(y)}")
    return np.asarray(targets)


def _cube(X: Any) -> Floats:
    """Return series as float64 of shape (n, length, channels)."""
    if isinstance(X, pd.DataFrame):
        _check_wide(X)
    if isinstance(X, list | tuple) and len({np.shape(series)[:1] for series in X}) > 1:
        X = _aligned(X)
    array = check_array(X, dtype=np.float64, allow_nd=True, ensure_all_finite="allow-nan", input_name="X")
    if array.ndim > 3 or 0 in array.shape:
        raise ValueError(
            f"X must have shape (n, length) or (n, length, channels), none of them 0, got {array.shape}"
        )
    return np.asarray(array if array.ndim == 3 else array[..., None])


def _check_wide(X: pd.DataFrame) -> None:
    """Raise TypeError if a table of one series a row has columns that are no numbers, as a long frame has."""
    wrong = [name for name, kind in X.dtypes.items() if not pd.api.types.is_numeric_dtype(kind)]
    wrong = [name for name in wrong if X[name].map(lambda value: not isinstance(value, Number)).any()]
    if wrong:
        raise TypeError(
            "X as a table of one series a row must hold numbers, got other columns "
            f"{names_text(wrong)}; to take a long frame the forecaster has to be fitted to one, with the "
            "columns that id_col and time_col name"
        )


def _aligned(series: Any) -> Floats:
    """Return series of unequal length as one array, missing values before their beginnings."""
    arrays = [np.asarray(values, dtype=np.float64) for values in series]
    arrays = [array[:, None] if array.ndim == 1 else array for array in arrays]
    wrong = [number for number, array in enumerate(arrays) if array.ndim != 2 or 0 in array.shape]
    if wrong:
        raise ValueError(
            f"X holds arrays of shape other than (length,) or (length, channels), or empty ones, in series "
            f"{names_text(wrong)}"
        )
    channels = {array.shape[1] for array in arrays}
    if len(channels) > 1:
        raise ValueError(f"X holds series of different numbers of channels: {sorted(channels)}")
    lengths = np.array([len(array) for array in arrays])
    cube = np.full((len(arrays), lengths.max(), channels.pop()), np.nan)
    cube[np.arange(lengths.max()) >= lengths.max() - lengths[:, None]] = np.concatenate(arrays)
    return cube
