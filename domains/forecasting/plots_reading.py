"""What pictures need out of the frames that the forecaster's methods return."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .plots_style import plain_times

__all__ = ["Columns", "Fan", "chosen_series", "observed", "read_fans", "series_frame"]

Floats = NDArray[np.float64]

_BOUND = re.compile(r"^(?P<model>.+)-(?P<kind>lo|hi|q)-(?P<level>[0-9.]+)$")
_LABELS = ("channel", "sample_id", "window", "cutoff", "weight")


@dataclass(frozen=True)
class Columns:
    """Names of the columns of frames."""

    id_col: str = "unique_id"
    time_col: str = "ds"
    target: str | Sequence[str] = "y"

    @property
    def targets(self) -> tuple[str, ...]:
        """Columns of the values, one a channel."""
        return (self.target,) if isinstance(self.target, str) else tuple(self.target)


@dataclass(frozen=True, eq=False)
class Fan:
    """The forecast of one channel of one series from one origin.

    Attributes
    ----------
    series : hashable
    channel : str
        Column of the values in the frame of the data.
    times : ndarray of shape (horizon,)
    median : ndarray of shape (horizon,)
    bands : dict of float to (lower, upper)
        By level in per cent.
    paths : ndarray of shape (n_samples, horizon)
        Draws; none if there are none.
    """

    series: Hashable
    channel: str
    times: NDArray[Any]
    median: Floats
    bands: dict[float, tuple[Floats, Floats]]
    paths: Floats


def series_frame(values: Any, columns: Columns, *, first: int = 0) -> pd.DataFrame:
    """Return an array of shape (n, length[, channels]) as a long frame, columns counting from `first`."""
    array = np.asarray(values, dtype=np.float64)
    array = array[None] if array.ndim == 1 else array
    array = array[..., None] if array.ndim == 2 else array
    if array.ndim != 3:
        raise ValueError(f"arrays of series must have shape (n, length[, channels]), got {np.shape(values)}")
    count, length, channels = array.shape
    names = columns.targets if len(columns.targets) == channels else tuple(f"y{c}" for c in range(channels))
    frame = {
        columns.id_col: np.repeat(np.arange(count), length),
        columns.time_col: np.tile(np.arange(first, first + length), count),
    }
    return pd.DataFrame(frame | {name: array[..., c].reshape(-1) for c, name in enumerate(names)})


def _draws_frame(draws: Any, columns: Columns, first: int) -> pd.DataFrame:
    array = np.asarray(draws, dtype=np.float64)
    if array.ndim not in (3, 4):
        raise ValueError(
            "an array must hold draws, shape (n, n_samples, horizon[, channels]) as sample(X) gives them, "
            f"got {array.shape}"
        )
    count, samples = array.shape[:2]
    table = series_frame(array.reshape(count * samples, *array.shape[2:]), columns, first=first)
    path = table[columns.id_col].to_numpy()
    return table.assign(**{columns.id_col: path // samples, "sample_id": path % samples})


def read_fans(forecast: Any, columns: Columns, levels: Sequence[float], *, first: int = 0) -> list[Fan]:
    """Return the forecasts of a frame of `predict`, `predict_quantiles` or `sample`, or of an array of draws.

    Parameters
    ----------
    forecast : DataFrame or ndarray
        Several origins are told apart by a column ``window``.
    columns : Columns
    levels : sequence of float
        Levels of the bands that are made of draws, in per cent.
    first : int
        Time of the first step of an array.

    Raises
    ------
    ValueError
        If columns are missing.
    """
    frame = forecast if isinstance(forecast, pd.DataFrame) else _draws_frame(forecast, columns, first)
    missing = [name for name in (columns.id_col, columns.time_col) if name not in frame]
    if missing:
        raise ValueError(
            f"the forecast has no column {missing[0]!r}, only {list(map(str, frame.columns))}; name it with "
            "id_col or time_col"
        )
    keys = [columns.id_col, *(name for name in ("channel", "window") if name in frame)]
    read = _fan_of_draws if "sample_id" in frame else _fan_of_summary
    fans: list[Fan] = []
    for key, rows in frame.groupby(keys, sort=False):
        named = dict(zip(keys, key, strict=True))
        fans += read(rows, named[columns.id_col], named.get("channel"), columns, levels)
    return fans


def _fan_of_draws(
    rows: pd.DataFrame, series: Hashable, channel: Any, columns: Columns, levels: Sequence[float]
) -> list[Fan]:
    ordered = rows.sort_values(["sample_id", columns.time_col], kind="stable")
    samples = ordered["sample_id"].nunique()
    length = len(ordered) // samples
    times = plain_times(ordered[columns.time_col].iloc[:length])
    weights = ordered["weight"].to_numpy(dtype=np.float64)[::length] if "weight" in ordered else None
    fans = []
    for name in _value_columns(ordered, columns):
        paths = ordered[name].to_numpy(dtype=np.float64).reshape(samples, -1)
        tails = np.array([50.0, *(50.0 + side * level / 2.0 for level in levels for side in (-1, 1))])
        median, *bounds = _quantiles(paths, tails / 100.0, weights)
        bands = dict(zip(levels, zip(bounds[::2], bounds[1::2], strict=True), strict=True))
        fans.append(Fan(series, name, times, median, bands, paths))
    return fans


def _quantiles(paths: Floats, levels: Floats, weights: Floats | None) -> Floats:
    """Return quantiles over the draws, which may have weights, of shape (levels, horizon)."""
    if weights is None:
        return np.asarray(np.quantile(paths, levels, axis=0))
    order = np.argsort(paths, axis=0)
    below = np.cumsum(weights[order], axis=0) / weights.sum()
    ordered = np.take_along_axis(paths, order, axis=0)
    places = [np.minimum((below < level).sum(axis=0), len(paths) - 1) for level in levels]
    return np.stack([np.take_along_axis(ordered, place[None], axis=0)[0] for place in places])


def _value_columns(frame: pd.DataFrame, columns: Columns) -> list[str]:
    return [str(name) for name in frame if name not in (columns.id_col, columns.time_col, *_LABELS)]


def _fan_of_summary(
    rows: pd.DataFrame, series: Hashable, channel: Any, columns: Columns, levels: Sequence[float]
) -> list[Fan]:
    ordered = rows.sort_values(columns.time_col, kind="stable")
    found = _value_columns(ordered, columns)
    bounds = {name: match for name in found if (match := _BOUND.match(str(name)))}
    models = [name for name in found if name not in bounds]
    if not models:
        raise ValueError(f"the forecast has no column of medians, only {list(map(str, rows.columns))}")
    sides: dict[float, dict[str, Floats]] = {}
    for name, match in bounds.items():
        if match["model"] != models[0]:
            continue
        level, side = _level_and_side(match["kind"], float(match["level"]))
        if side:
            sides.setdefault(level, {})[side] = ordered[name].to_numpy(dtype=np.float64)
    bands = {level: (pair["lo"], pair["hi"]) for level, pair in sides.items() if len(pair) == 2}
    name = columns.targets[0] if channel is None else str(channel)
    times = plain_times(ordered[columns.time_col])
    median = ordered[models[0]].to_numpy(dtype=np.float64)
    return [Fan(series, name, times, median, bands, np.empty((0, len(times))))]


def _level_and_side(kind: str, number: float) -> tuple[float, str]:
    """Return the level of the band that a column bounds and on which side; a quantile bounds one, too."""
    if kind != "q":
        return number, kind
    level = round(abs(2.0 * number - 100.0), 6)
    return level, "" if level == 0 else "lo" if number < 50 else "hi"


def observed(frame: pd.DataFrame | None, fan: Fan, columns: Columns) -> tuple[NDArray[Any], Floats]:
    """Return the stamps and values of a series and channel in the frame of the data, in order of time."""
    if frame is None:
        return fan.times[:0], np.empty(0)
    missing = [name for name in (columns.id_col, columns.time_col, fan.channel) if name not in frame]
    if missing:
        raise ValueError(
            f"the data have no column {missing[0]!r}, only {list(map(str, frame.columns))}; name it with "
            "id_col, time_col or target"
        )
    rows = frame[frame[columns.id_col] == fan.series]
    times = plain_times(rows[columns.time_col])
    order = np.argsort(times, kind="stable")
    values = rows[fan.channel].to_numpy(dtype=np.float64, na_value=np.nan)
    return times[order], values[order]


def chosen_series(
    found: Sequence[Hashable], wanted: Hashable | Sequence[Hashable] | None, most: int
) -> list[Hashable]:
    """Return the series to show: those named, or the first `most`.

    Raises
    ------
    ValueError
        If a series named is not there.
    """
    names = list(dict.fromkeys(found))
    if wanted is None:
        return names[:most]
    chosen = list(wanted) if isinstance(wanted, list | tuple | np.ndarray | pd.Index) else [wanted]
    unknown = [name for name in chosen if name not in names]
    if unknown:
        shown = ", ".join(map(repr, names[:8])) + (", ..." if len(names) > 8 else "")
        raise ValueError(f"there is no series {unknown[0]!r}; found {shown}")
    return chosen
