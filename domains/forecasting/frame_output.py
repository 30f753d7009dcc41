r"""From arrays back to long frames, with the ids, stamps and column names of the user's frame.

==================  ==========================================================================================
frame               columns
==================  ==========================================================================================
`forecast_frame`    id, time, [``channel``,] ``Model``, ``Model-lo-80``, ``Model-hi-80``, ``Model-q-10``, ...
`draws_frame`       id, time, ``sample_id``, one column a channel, named as the target columns
`values_frame`      the user's own rows and columns, with missing targets filled or columns added
==================  ==========================================================================================

A forecast of several channels has a row a channel, named in ``channel``, so that the names of the models'
columns do not depend on the channels; a draw is one joint path, so its channels stand side by side as in the
frame that was fitted. Rows are ordered by series as they came, then stamp (within a draw), then channel.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from .calendar import Integers
from .frame_format import id_values, stamp_index
from .frames import rows_of_frame
from .panel import Panel
from .static_columns import series_places

__all__ = ["draws_frame", "forecast_frame", "values_frame"]

Interval = tuple[ArrayLike, ArrayLike]


def forecast_frame(
    panel: Panel,
    values: ArrayLike,
    *,
    name: str = "Model",
    intervals: Mapping[float, Interval] | None = None,
    quantiles: Mapping[float, ArrayLike] | None = None,
    steps: Integers | None = None,
) -> pd.DataFrame:
    """Return a forecast as a long frame.

    Parameters
    ----------
    panel : Panel
        The series that were forecast.
    values : array-like of shape (n, horizon) or (n, horizon, channels)
        Point forecast.
    name : str, default="Model"
        Its column, and the beginning of the names of the others.
    intervals : mapping of float to (lower, upper), optional
        Bounds of the shape of `values` for each level in per cent, e.g. ``{80: (lower, upper)}``.
    quantiles : mapping of float to array, optional
        Quantiles of the shape of `values` for each level in (0, 1); 0.1 becomes the column ``Model-q-10``.
    steps : ndarray of shape (n, horizon), int64, optional
        Absolute steps of the values; by default those that follow the panel.

    Raises
    ------
    ValueError
        If a shape does not fit.
    """
    point = _cube(panel, "values", values, steps)
    columns = {name: point}
    for level, (lower, upper) in (intervals or {}).items():
        columns[f"{name}-lo-{level:g}"] = _cube(panel, f"lower bound of level {level:g}", lower, steps)
        columns[f"{name}-hi-{level:g}"] = _cube(panel, f"upper bound of level {level:g}", upper, steps)
    for level, values_of_level in (quantiles or {}).items():
        columns[f"{name}-q-{round(100 * level, 10):g}"] = _cube(
            panel, f"quantile {level:g}", values_of_level, steps
        )
    for column, cube in columns.items():
        if cube.shape != point.shape:
            raise ValueError(
                f"column {column!r} has shape {cube.shape}, expected that of values, {point.shape}"
            )
    where = panel.steps_after(point.shape[1]) if steps is None else steps
    frame = _labels(panel, where, 1, panel.n_channels)
    if panel.n_channels > 1:
        frame["channel"] = np.tile(np.array(panel.channel_names, dtype=object), where.size)
    return frame.assign(**{column: cube.reshape(-1) for column, cube in columns.items()})


def draws_frame(
    panel: Panel, draws: ArrayLike, *, steps: Integers | None = None, first_sample: int = 0
) -> pd.DataFrame:
    """Return joint paths as a long frame with a row a series, draw and stamp.

    Parameters
    ----------
    panel : Panel
        The series that were forecast.
    draws : array-like of shape (n, n_samples, horizon, channels)
        Paths; of shape (n, n_samples, horizon) for one channel too.
    steps : ndarray of shape (n, horizon), int64, optional
        Absolute steps of the values; by default those that follow the panel.
    first_sample : int, default=0
        Number of the first draw in ``sample_id``.

    Raises
    ------
    ValueError
        If the shape does not fit.
    """
    paths = np.asarray(draws)
    paths = paths[..., None] if paths.ndim == 3 else paths
    if paths.ndim != 4 or (paths.shape[0], paths.shape[3]) != (panel.n_series, panel.n_channels):
        raise ValueError(
            f"draws must have shape ({panel.n_series}, n_samples, horizon, {panel.n_channels}), got "
            f"{np.shape(draws)}"
        )
    count, samples, horizon, _ = paths.shape
    where = panel.steps_after(horizon) if steps is None else steps
    _check_steps(panel, where, horizon)
    frame = _labels(panel, where, samples, 1)
    frame["sample_id"] = np.tile(np.repeat(np.arange(samples) + first_sample, horizon), count)
    for place, channel in enumerate(panel.channel_names):
        frame[channel] = paths[..., place].reshape(-1)
    return frame


def values_frame(
    df: Any,
    panel: Panel,
    values: ArrayLike | None = None,
    *,
    columns: Mapping[str, ArrayLike] | None = None,
) -> pd.DataFrame:
    """Return the user's frame, rows, order and index kept, with missing targets filled and columns added.

    Parameters
    ----------
    df : pandas.DataFrame
        Frame that `panel` was made of, or some of its rows; rows for gaps have to be in it to be filled.
    panel : Panel
        Its panel.
    values : array-like of shape (n, length[, channels]), optional
        A value for every row of the panel; observed targets are not replaced. By default none is filled.
    columns : mapping of str to array-like, optional
        Further columns: of shape (n, length), such as scores, or (n, length, channels), such as bounds; with
        several channels the names of the latter get ``-channel`` appended.

    Raises
    ------
    ValueError
        If a shape does not fit, or `df` holds a row that the panel does not.
    """
    frame, rows = rows_of_frame("df", df, panel)
    series = series_places(panel, rows.key)[rows.key.codes]
    place = panel.length - 1 - (panel.last_step[series] - rows.steps)
    outside = (series < 0) | (place < 0) | (place >= panel.length)
    if outside.any():
        raise ValueError(f"df holds rows that the panel does not, in {rows.key.of_rows(outside)}")
    result = frame.copy()
    if values is not None:
        cube = _cube(panel, "values", values, panel.steps)[series, place]
        for channel, column in enumerate(panel.channel_names):
            result[column] = (
                _filled(result[column], cube[:, channel]) if column in result else cube[:, channel]
            )
    for name, extra in (columns or {}).items():
        table = np.asarray(extra)
        if table.shape == panel.values.shape[:2]:
            result[name] = table[series, place]
            continue
        found = _cube(panel, name, table, panel.steps)[series, place]
        for channel, column in enumerate(panel.channel_names):
            result[name if panel.n_channels == 1 else f"{name}-{column}"] = found[:, channel]
    return result


def _filled(old: pd.Series[Any], new: NDArray[Any]) -> NDArray[Any]:
    numbers = old.to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isnan(numbers), new, numbers)


def _cube(panel: Panel, name: str, values: ArrayLike, steps: Integers | None) -> NDArray[Any]:
    cube = np.asarray(values)
    cube = cube[..., None] if cube.ndim == 2 else cube
    if cube.ndim != 3 or (cube.shape[0], cube.shape[2]) != (panel.n_series, panel.n_channels):
        raise ValueError(
            f"{name} must have shape ({panel.n_series}, horizon, {panel.n_channels}), got {np.shape(values)}"
        )
    if steps is not None:
        _check_steps(panel, steps, cube.shape[1])
    return cube


def _check_steps(panel: Panel, steps: Integers, horizon: int) -> None:
    if steps.shape != (panel.n_series, horizon):
        raise ValueError(f"steps must have shape ({panel.n_series}, {horizon}), got {steps.shape}")


def _labels(panel: Panel, steps: Integers, samples: int, channels: int) -> pd.DataFrame:
    """Return the columns of ids and stamps for `samples` paths of `channels` rows a stamp."""
    count, horizon = steps.shape
    codes = np.repeat(np.arange(count), samples * horizon * channels)
    order = np.arange(count * horizon).reshape(count, 1, horizon, 1)
    stamps = stamp_index(steps, panel.frequency, panel.frame_format)
    places = np.broadcast_to(order, (count, samples, horizon, channels)).reshape(-1)
    return pd.DataFrame(
        {
            panel.frame_format.id_column: id_values(panel.ids, codes, panel.frame_format),
            panel.frame_format.time_column: stamps.take(places),
        }
    )
