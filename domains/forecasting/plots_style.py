"""How the pictures of forecasts look: colours, panels, axes of time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sciffusion.estimators.imports import optional_import

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "FAINT",
    "FORECAST",
    "INK",
    "PALETTE",
    "TRUTH",
    "band_colours",
    "calm",
    "draw_series",
    "legend_above",
    "panels",
    "plain_times",
    "time_axis",
]

#: Blue, vermilion, green, purple, orange, light blue.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
FORECAST, TRUTH = PALETTE[0], PALETTE[1]
INK, FAINT = "#333333", "#bbbbbb"

_ORDER = ("history", "observed", "series", "what happened", "what was hidden", "median", "paths")
_WIDTH, _HEIGHT = 4.6, 2.5  # inches of a panel among others
_WIDE = 7.6  # of one that has no neighbour


def panels(
    count: int, ax: Any = None, *, rows_each: int = 1, columns: int | None = None
) -> tuple[Figure, list[Axes]]:
    """Return the figure and `count` Axes: those given, or new ones in a grid.

    Parameters
    ----------
    count : int
        Axes wanted.
    ax : Axes or sequence of Axes, optional
        Where to draw.
    rows_each : int
        Axes that stand above each other for one item; they share their time and go row by row.
    columns : int, optional
        Items side by side; by default one, two or three as they are many.

    Raises
    ------
    ValueError
        If another number of Axes was given.
    """
    if ax is not None:
        given = list(ax.ravel()) if isinstance(ax, np.ndarray) else list(ax) if _several(ax) else [ax]
        if len(given) != count:
            raise ValueError(f"ax must hold {count} Axes, one a panel, got {len(given)}")
        figure: Figure = given[0].figure
        return figure, given
    pyplot = optional_import("matplotlib.pyplot", "plots")
    items = count // rows_each
    columns = columns or (1 if items == 1 else 2 if items <= 4 else 3)
    rows = math.ceil(items / columns) * rows_each
    width = _WIDTH * columns if columns > 1 else _WIDE
    size = (width, 3.6 if count == 1 else _HEIGHT * rows + 0.5)
    figure, grid = pyplot.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    chosen = [
        grid[rows_each * (item // columns) + row, item % columns]
        for item in range(items)
        for row in range(rows_each)
    ]
    for unused in set(grid.ravel()) - set(chosen):
        unused.set_axis_off()
    return figure, chosen


def _several(ax: Any) -> bool:
    return isinstance(ax, Sequence)


def band_colours(levels: Sequence[float], colour: str = FORECAST) -> dict[float, Any]:
    """Return the colour of the band of each level, the widest first and palest; none is transparent."""
    rgb = np.array(optional_import("matplotlib.colors", "plots").to_rgb(colour))
    ordered = sorted(levels, reverse=True)
    shares = np.linspace(0.17, 0.52, len(ordered)) if len(ordered) > 1 else [0.3] * len(ordered)
    return {level: tuple(1.0 - share * (1.0 - rgb)) for level, share in zip(ordered, shares, strict=True)}


def plain_times(times: Any) -> NDArray[Any]:
    """Return stamps as matplotlib draws them: dates by the clock of their zone, periods by their start."""
    series: Any = pd.Series(times)
    if series.dtype == object or isinstance(series.dtype, pd.StringDtype):
        series = pd.to_datetime(series)
    if isinstance(series.dtype, pd.PeriodDtype):
        series = series.dt.to_timestamp()
    if isinstance(series.dtype, pd.DatetimeTZDtype):
        series = series.dt.tz_localize(None)
    return np.asarray(series.to_numpy())


def draw_series(ax: Axes, times: NDArray[Any], values: NDArray[np.float64], **style: Any) -> None:
    """Draw a line with breaks where values are missing, and dots where a value has no neighbour."""
    seen = ~np.isnan(values)
    before, after = np.r_[False, seen[:-1]], np.r_[seen[1:], False]
    alone = seen & ~before & ~after
    ax.plot(times, values, **style)
    if alone.any():
        dots = {name: style[name] for name in ("color", "zorder") if name in style}
        ax.plot(times[alone], values[alone], ".", markersize=3, **dots)


def calm(ax: Axes) -> None:
    """Leave out what distracts."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(FAINT)
    ax.tick_params(colors=INK, labelsize=8.5)
    ax.set_axisbelow(True)


def time_axis(ax: Axes, times: NDArray[Any]) -> None:
    """Label an axis of dates shortly; leave one of numbers as it is."""
    dates = optional_import("matplotlib.dates", "plots")
    ticker = optional_import("matplotlib.ticker", "plots")
    if np.issubdtype(times.dtype, np.datetime64):
        locator = dates.AutoDateLocator(minticks=2, maxticks=6)
        ax.xaxis.set_major_locator(locator)
        ax.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
        ax.xaxis.get_offset_text().set_fontsize(8.5)
    else:
        ax.xaxis.set_major_locator(ticker.MaxNLocator(6, integer=True))


def _rank(label: str) -> int:
    return _ORDER.index(label) if label in _ORDER else len(_ORDER) + label.endswith("%")


def legend_above(figure: Figure, axes: Sequence[Axes], *, own: bool) -> None:
    """Name what was drawn once: above all panels of a figure of ours, else inside the first one given."""
    found: dict[str, Any] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    found = {label: found[label] for label in sorted(found, key=_rank)}
    if not found:
        return
    if own:
        columns = min(len(found), 7)
        figure.legend(
            found.values(), found.keys(), loc="outside upper center", ncols=columns, frameon=False,
            fontsize=9, handlelength=1.6, columnspacing=1.4,
        )  # fmt: skip
    else:
        columns = 2 if len(found) > 4 else 1
        axes[0].legend(found.values(), found.keys(), frameon=False, fontsize=8.5, loc="best", ncols=columns)
