"""Fan charts: the history, the median, bands, some of the paths, and what happened."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .plots_reading import Columns, Fan, chosen_series, observed, read_fans, series_frame
from .plots_style import (
    FAINT,
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

__all__ = ["draw_fan", "plot_forecast"]


def plot_forecast(
    forecast: Any,
    history: Any = None,
    *,
    truth: Any = None,
    draws: Any = None,
    levels: Sequence[float] = (50, 80, 95),
    n_paths: int = 4,
    series: Any = None,
    max_series: int = 6,
    last: int | None = None,
    id_col: str = "unique_id",
    time_col: str = "ds",
    target: str | Sequence[str] = "y",
    ax: Any = None,
) -> Figure:
    """Draw forecasts as fan charts, one panel a series and channel.

    Parameters
    ----------
    forecast : DataFrame or ndarray
        What `predict`, `predict_quantiles` or `sample` gave. Quantiles of opposite levels bound a band. For
        arrays: draws of shape (n, n_samples, horizon[, channels]).
    history : DataFrame or ndarray of shape (n, length[, channels]), optional
        Frame of the data. Its rows from the first forecast stamp on are drawn as what happened.
    truth : DataFrame or ndarray of shape (n, horizon[, channels]), optional
        What happened, where it is not in `history`.
    draws : DataFrame, optional
        Of `sample`, to draw paths over the bands of another frame.
    levels : sequence of float, default (50, 80, 95)
        Levels in per cent of the bands of draws; other frames bring theirs.
    n_paths : int, default 4
        Paths to draw; 0 for none.
    series : id or list of ids, optional
        Series to show; by default the first `max_series`.
    max_series : int, default 6
        Series at most where none are named.
    last : int, optional
        Rows of the history to show; by default three times the horizon.
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
        If a column or series is not there, or `ax` has another number of Axes than there are panels.
    """
    columns = Columns(id_col, time_col, target)
    length = (
        0 if history is None or isinstance(history, pd.DataFrame) else np.shape(np.atleast_2d(history))[1]
    )
    fans = read_fans(forecast, columns, levels, first=length)
    with_paths = fans if draws is None else read_fans(draws, columns, levels)
    data = _joined(history, truth, columns, length)
    names = chosen_series([fan.series for fan in fans], series, max_series)
    groups = _groups(fans, names)
    figure, axes = panels(len(groups), ax)
    titled = len(groups) > 1 or ax is None
    for panel, group in zip(axes, groups, strict=True):
        for number, fan in enumerate(group):
            draw_fan(panel, fan, paths=_paths(with_paths, fan, n_paths), label=number == 0)
        _draw_data(panel, group, data, columns, last)
        if titled:
            panel.set_title(_title(group[0], fans), loc="left", fontsize=10)
        if len(groups) == 1:
            panel.set_ylabel(group[0].channel, fontsize=9)
        calm(panel)
        time_axis(panel, group[0].times)
    legend_above(figure, axes, own=ax is None)
    _say_how_many(figure, fans, names, own=ax is None and series is None)
    return figure


def draw_fan(ax: Axes, fan: Fan, *, paths: Any = (), label: bool = True) -> None:
    """Draw bands, paths and median of one forecast; a single step ahead gets some width."""
    single = len(fan.times) == 1
    for level, colour in band_colours(list(fan.bands)).items():
        lower, upper = fan.bands[level]
        name = f"{level:g} %" if label else "_"
        if single:
            ax.vlines(fan.times, lower, upper, label=name, color=colour, linewidth=9, zorder=1)
        else:
            ax.fill_between(fan.times, lower, upper, label=name, color=colour, linewidth=0, zorder=1)
    for place, path in enumerate(paths):
        name = "paths" if label and place == 0 else "_"
        ax.plot(fan.times, path, color=FORECAST, linewidth=0.6, alpha=0.8, label=name)
    ends = {"marker": "o", "markersize": 4} if single else {}
    ax.plot(fan.times, fan.median, color=FORECAST, linewidth=1.7, label="median" if label else None, **ends)  # type: ignore[arg-type]


def _joined(history: Any, truth: Any, columns: Columns, length: int) -> pd.DataFrame | None:
    parts = []
    for values, first in ((history, 0), (truth, length)):
        if values is not None:
            frame = isinstance(values, pd.DataFrame)
            parts.append(values if frame else series_frame(values, columns, first=first))
    return pd.concat(parts, ignore_index=True) if parts else None


def _groups(fans: list[Fan], names: list[Hashable]) -> list[list[Fan]]:
    """Return the forecasts of each panel: a series and channel, from one or several origins."""
    groups: dict[tuple[Hashable, str], list[Fan]] = {}
    for fan in fans:
        groups.setdefault((fan.series, fan.channel), []).append(fan)
    place = {name: number for number, name in enumerate(names)}
    keys = sorted((key for key in groups if key[0] in place), key=lambda key: place[key[0]])
    return [groups[key] for key in keys]


def _paths(fans: list[Fan], fan: Fan, count: int) -> Any:
    """Return some paths of the same forecast, spread over the draws so that no antithetic pair is shown."""
    for one in fans:
        same = (one.series, one.channel, len(one.times)) == (fan.series, fan.channel, len(fan.times))
        if same and one.times[0] == fan.times[0]:
            return one.paths[: max(1, len(one.paths) // 2)][:count]
    return ()


def _draw_data(ax: Axes, group: list[Fan], data: Any, columns: Columns, last: int | None) -> None:
    times, values = observed(data, group[0], columns)
    if not len(times):
        return
    begin, horizon = group[0].times[0], len(group[0].times)
    end = max(fan.times[-1] for fan in group)
    shown = 3 * horizon if last is None else last
    first = max(int(np.searchsorted(times, begin)) - shown, 0)
    past = slice(first, int(np.searchsorted(times, begin)))
    ahead = slice(max(past.stop - 1, 0), int(np.searchsorted(times, end, side="right")))
    draw_series(ax, times[past], values[past], color=INK, linewidth=1.1, label="history")
    if np.isfinite(values[past.stop : ahead.stop]).any():
        draw_series(ax, times[ahead], values[ahead], color=TRUTH, linewidth=1.3, label="what happened")
    for fan in group:
        ax.axvline(fan.times[0], color=FAINT, linewidth=0.8, zorder=0)


def _title(fan: Fan, fans: list[Fan]) -> str:
    several = len({one.channel for one in fans}) > 1
    return f"{fan.series}: {fan.channel}" if several else str(fan.series)


def _say_how_many(figure: Figure, fans: list[Fan], names: list[Hashable], *, own: bool) -> None:
    total = len({fan.series for fan in fans})
    if own and len(names) < total:
        figure.supxlabel(f"{len(names)} of {total} series", fontsize=9, color=INK)
