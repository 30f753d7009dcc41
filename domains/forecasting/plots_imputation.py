"""Gaps filled: what was observed, bands where nothing was, and some of the joint draws."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .plots_reading import Columns, Fan, chosen_series, observed, read_fans
from .plots_style import (
    FORECAST,
    INK,
    TRUTH,
    band_colours,
    calm,
    draw_series,
    legend_above,
    panels,
    time_axis,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_imputation"]

Floats = NDArray[np.float64]

_ROWS_BESIDE = 24


@dataclass(frozen=True, eq=False)
class _Filled:
    """One channel of one series, row by row of its data."""

    series: Hashable
    channel: str
    times: NDArray[Any]
    values: Floats
    median: Floats
    bands: dict[float, tuple[Floats, Floats]]
    paths: Floats

    @property
    def missing(self) -> NDArray[np.bool_]:
        return np.isnan(self.values)

    def cut(self, rows: slice) -> _Filled:
        bands = {level: (lower[rows], upper[rows]) for level, (lower, upper) in self.bands.items()}
        times, values, median = self.times[rows], self.values[rows], self.median[rows]
        return _Filled(self.series, self.channel, times, values, median, bands, self.paths[:, rows])


def plot_imputation(
    imputed: pd.DataFrame,
    data: pd.DataFrame,
    *,
    truth: pd.DataFrame | None = None,
    draws: pd.DataFrame | None = None,
    levels: Sequence[float] = (50, 80, 95),
    n_paths: int = 4,
    series: Any = None,
    max_series: int = 4,
    start: Any = None,
    stop: Any = None,
    id_col: str = "unique_id",
    time_col: str = "ds",
    target: str | Sequence[str] = "y",
    ax: Any = None,
) -> Figure:
    """Draw the gaps of series and what they are filled with, one panel a series and channel.

    Parameters
    ----------
    imputed : DataFrame
        What `impute` gave: draws (with ``sample_id``), or values with or without bounds (``y-lo-80``, ...).
    data : DataFrame
        The frame with the gaps: NaN, or rows left out.
    truth : DataFrame, optional
        The values behind the gaps, where they are known.
    draws : DataFrame, optional
        Draws to take paths from where `imputed` holds none.
    levels : sequence of float, default (50, 80, 95)
        Levels in per cent of the bands of draws.
    n_paths : int, default 4
        Draws to show; 0 for none.
    series : id or list of ids, optional
        Series to show; by default the first `max_series` that have gaps. Of their channels those with gaps.
    max_series : int, default 4
        Series at most where none are named.
    start, stop : stamps, optional
        First and last row to show; by default those around the longest gap.
    id_col, time_col, target : str
        Columns of the frames.
    ax : Axes or sequence of Axes, optional
        Where to draw, one a panel.

    Returns
    -------
    Figure
        Its panels in the order of series and channels.

    Raises
    ------
    ValueError
        If a column or series is not there, or no series has a gap.
    """
    columns = Columns(id_col, time_col, target)
    filled = [_filled(fan, data, columns) for fan in _fans(imputed, columns, levels)]
    holed = [one.series for one in filled if one.missing.any()]
    if not holed and series is None:
        raise ValueError("no series of the data has a gap")
    names = chosen_series([one.series for one in filled] if series is not None else holed, series, max_series)
    mine = [one for name in names for one in filled if one.series == name]
    shown = [one for one in mine if one.missing.any()] or mine
    paths = {} if draws is None else {
        (fan.series, fan.channel): _filled(fan, data, columns).paths for fan in _fans(draws, columns, levels)
    }  # fmt: skip
    figure, axes = panels(len(shown), ax, columns=1 if len(shown) < 3 else None)
    for panel, one in zip(axes, shown, strict=True):
        rows = _rows_to_show(one, start, stop)
        lines = paths.get((one.series, one.channel), one.paths)[:n_paths, rows]
        _draw_filled(panel, one.cut(rows), lines)
        _draw_truth(panel, one, truth, columns, rows)
        several = len({other.channel for other in shown}) > 1
        panel.set_title(
            f"{one.series}: {one.channel}" if several else str(one.series), loc="left", fontsize=10
        )
        calm(panel)
        time_axis(panel, one.times)
    legend_above(figure, axes, own=ax is None)
    return figure


def _fans(imputed: pd.DataFrame, columns: Columns, levels: Sequence[float]) -> list[Fan]:
    if "sample_id" in imputed:
        names = [columns.id_col, columns.time_col, "sample_id", *columns.targets]
        return read_fans(imputed[names], columns, levels)
    fans: list[Fan] = []
    for channel in columns.targets:
        bounds = [name for name in imputed if str(name).startswith((f"{channel}-lo-", f"{channel}-hi-"))]
        part = imputed[[columns.id_col, columns.time_col, channel, *bounds]]
        fans += read_fans(part, Columns(columns.id_col, columns.time_col, channel), levels)
    return fans


def _filled(fan: Fan, data: pd.DataFrame, columns: Columns) -> _Filled:
    """Return a series on the stamps of its data and of its imputed values."""
    at, seen = observed(data, fan, columns)
    times = np.union1d(at, fan.times)
    values = _placed(times, at, seen)
    spread = {
        level: (_within(times, values, fan.times, lower), _within(times, values, fan.times, upper))
        for level, (lower, upper) in fan.bands.items()
    }
    paths = [_within(times, values, fan.times, path) for path in fan.paths[: max(1, len(fan.paths) // 2)]]
    median = _within(times, values, fan.times, fan.median)
    return _Filled(
        fan.series, fan.channel, times, values, median, spread,
        np.array(paths).reshape(len(paths), len(times)),
    )  # fmt: skip


def _placed(times: NDArray[Any], at: NDArray[Any], values: Floats) -> Floats:
    result = np.full(len(times), np.nan)
    result[np.searchsorted(times, at)] = values
    return result


def _within(times: NDArray[Any], values: Floats, at: NDArray[Any], filling: Floats) -> Floats:
    """Return a filling where values are missing, and the values elsewhere, so that bands start at them."""
    return np.where(np.isnan(values), _placed(times, at, filling), values)


def _rows_to_show(one: _Filled, start: Any, stop: Any) -> slice:
    if start is not None or stop is not None:
        kind = one.times.dtype.type
        first = 0 if start is None else int(np.searchsorted(one.times, kind(start)))
        last = len(one.times) if stop is None else int(np.searchsorted(one.times, kind(stop), side="right"))
        return slice(first, last)
    edges = np.diff(np.r_[False, one.missing, False].astype(np.int8))
    begins, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    if not len(begins):
        return slice(0, len(one.times))
    longest = int((ends - begins).argmax())
    beside = max(_ROWS_BESIDE, 2 * int(ends[longest] - begins[longest]))
    return slice(max(int(begins[longest]) - beside, 0), int(ends[longest]) + beside)


def _draw_filled(ax: Axes, one: _Filled, paths: Floats) -> None:
    gap = one.missing
    touched = gap | np.r_[gap[1:], False] | np.r_[False, gap[:-1]]
    for level, colour in band_colours(list(one.bands)).items():
        lower, upper = one.bands[level]
        shade = {"color": colour, "linewidth": 0, "zorder": 1, "label": f"{level:g} %"}
        ax.fill_between(one.times, lower, upper, where=touched.tolist(), **shade)
    for place, path in enumerate(paths):
        line = np.where(touched, path, np.nan)
        label = "paths" if place == 0 else None
        ax.plot(one.times, line, color=FORECAST, linewidth=0.6, alpha=0.8, label=label)
    median = np.where(touched, one.median, np.nan)
    ax.plot(one.times, median, color=FORECAST, linewidth=1.7, label="median")
    draw_series(ax, one.times, one.values, color=INK, linewidth=1.1, label="observed")


def _draw_truth(ax: Axes, one: _Filled, truth: pd.DataFrame | None, columns: Columns, rows: slice) -> None:
    if truth is None:
        return
    like = Fan(one.series, one.channel, one.times, one.median, {}, one.paths)
    at, values = observed(truth, like, columns)
    inside = np.isin(at, one.times[rows][one.missing[rows]])
    if inside.any():
        ax.plot(at[inside], values[inside], ".", color=TRUTH, markersize=5, label="what was hidden", zorder=4)
