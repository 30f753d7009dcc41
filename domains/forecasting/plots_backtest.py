"""Pictures of a backtest: where the forecasts fell, how good they were, whether their intervals held."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sciffusion.estimators.imports import optional_import

from .metrics import pit_values
from .plots_forecast import plot_forecast
from .plots_reading import Columns, Fan, observed, read_fans
from .plots_style import FAINT, FORECAST, INK, PALETTE, TRUTH, calm, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_backtest", "plot_calibration"]

Floats = NDArray[np.float64]

_REPEATS = 400
_MARKERS = ("o", "D", "s", "^", "v", "P")


def plot_calibration(
    draws: Any,
    data: Any,
    *,
    bins: int = 10,
    marked: Sequence[float] = (50, 80, 95),
    id_col: str = "unique_id",
    time_col: str = "ds",
    target: str | Sequence[str] = "y",
    ax: Any = None,
) -> Figure:
    """Draw the histogram of the probability integral transform, and coverage against nominal level.

    Parameters
    ----------
    draws : DataFrame or ndarray
        Draws of a backtest (``return_draws=True``) or of `sample`; an array of shape (n, n_samples,
        horizon[, channels]).
    data : DataFrame or ndarray of shape (n, horizon[, channels])
        What happened.
    bins : int, default 10
        Of the histogram.
    marked : sequence of float, default (50, 80, 95)
        Levels in per cent whose coverage is written into the picture.
    id_col, time_col, target : str
        Columns of the frames.
    ax : sequence of two Axes, optional
        Where to draw.

    Returns
    -------
    Figure
        Two panels. Bars of calibrated forecasts are equally high and their coverage lies on the diagonal; the
        bands are those of resampling whole paths, since errors within a path go together (400 times).

    Raises
    ------
    ValueError
        If a column is missing or nothing was observed where forecasts were made.
    """
    pit = _pit(draws, data, Columns(id_col, time_col, target))
    generator = np.random.default_rng(0)
    again = generator.multinomial(len(pit), np.full(len(pit), 1.0 / len(pit)), size=_REPEATS)
    figure, (left, right) = panels(2, ax)
    _histogram(left, pit, again, bins)
    _coverage(right, pit, again, marked)
    return figure


def _pit(draws: Any, data: Any, columns: Columns) -> Floats:
    """Return the transform of every target, one row a path; NaN where nothing was observed."""
    if not isinstance(data, pd.DataFrame):
        drawn, target = np.asarray(draws, dtype=np.float64), np.asarray(data, dtype=np.float64)
        found = pit_values(target, drawn, np.random.default_rng(0)).reshape(len(target), -1)
    else:
        fans = read_fans(draws, columns, ())
        if not fans or not len(fans[0].paths):
            raise ValueError("draws must hold draws, as sample() and backtest(..., return_draws=True) give")
        truth = np.stack(_truth(fans, data, columns))
        paths = np.stack([fan.paths for fan in fans])
        found = pit_values(truth, paths, np.random.default_rng(0))
    if np.isnan(found).all():
        raise ValueError("the data hold no value at the stamps that were forecast")
    return found


def _truth(fans: list[Fan], data: pd.DataFrame, columns: Columns) -> list[Floats]:
    known: dict[tuple[Hashable, str], tuple[NDArray[Any], Floats]] = {}
    result = []
    for fan in fans:
        key = (fan.series, fan.channel)
        if key not in known:
            known[key] = observed(data, fan, columns)
        times, values = known[key]
        place = np.minimum(np.searchsorted(times, fan.times), max(len(times) - 1, 0))
        there = times[place] == fan.times if len(times) else np.zeros(len(fan.times), dtype=bool)
        result.append(np.where(there, values[place], np.nan) if len(times) else np.full(len(there), np.nan))
    return result


def _shares(hits: NDArray[np.bool_], seen: NDArray[np.bool_], again: NDArray[Any]) -> tuple[float, Floats]:
    """Return the share of hits among what was seen, and its 2.5 and 97.5 per cent points."""
    count, total = (hits & seen).sum(axis=1), seen.sum(axis=1)
    resampled = (again @ count) / np.maximum(again @ total, 1)
    return float(count.sum() / total.sum()), np.quantile(resampled, [0.025, 0.975])


def _histogram(ax: Axes, pit: Floats, again: NDArray[Any], bins: int) -> None:
    seen = ~np.isnan(pit)
    edges = np.linspace(0.0, 1.0, bins + 1)
    for lower, upper in pairwise(edges):
        inside = (pit >= lower) & ((pit < upper) if upper < 1.0 else (pit <= 1.0))
        share, ends = _shares(inside, seen, again)
        ax.bar((lower + upper) / 2, share * bins, width=0.88 / bins, color=FORECAST, alpha=0.75, zorder=2)
        ax.vlines((lower + upper) / 2, *(ends * bins), color=INK, linewidth=1.1, zorder=3)
    ax.axhline(1.0, color=TRUTH, linestyle="--", linewidth=1.2, zorder=4)
    ax.set_xlim(0, 1)
    ax.set_xlabel("where the truth fell among the draws (PIT)", fontsize=9)
    ax.set_ylabel("density", fontsize=9)
    calm(ax)


def _coverage(ax: Axes, pit: Floats, again: NDArray[Any], marked: Sequence[float]) -> None:
    seen = ~np.isnan(pit)
    depth = np.abs(2.0 * np.where(seen, pit, 0.5) - 1.0)
    levels = np.unique(np.r_[np.linspace(0.0, 1.0, 41), np.asarray(marked) / 100.0])
    found = [_shares(depth <= level, seen, again) for level in levels]
    share, ends = np.array([one[0] for one in found]), np.array([one[1] for one in found])
    ax.plot([0, 100], [0, 100], color=TRUTH, linestyle="--", linewidth=1.2, label="calibrated")
    ax.fill_between(100 * levels, 100 * ends[:, 0], 100 * ends[:, 1], color=FORECAST, alpha=0.2, linewidth=0)
    ax.plot(100 * levels, 100 * share, color=FORECAST, linewidth=1.8, label="observed")
    for level in marked:
        value = 100.0 * share[int(np.searchsorted(levels, level / 100.0))]
        ax.plot(level, value, "o", color=FORECAST, markersize=5)
        ax.annotate(
            f"{value:.0f}", (level, value), xytext=(5, -11), textcoords="offset points",
            fontsize=8.5, color=INK,
        )  # fmt: skip
    ax.set_xlim(0, 100)
    ax.set_ylim(0, 100)
    ax.set_xlabel("level of the interval, %", fontsize=9)
    ax.set_ylabel("covered, %", fontsize=9)
    ax.legend(frameon=False, fontsize=8.5, loc="upper left")
    calm(ax)


def plot_backtest(
    scores: pd.DataFrame | Mapping[str, pd.DataFrame],
    *,
    draws: pd.DataFrame | None = None,
    data: pd.DataFrame | None = None,
    series: Hashable | None = None,
    score: str = "scaled_crps",
    max_series: int = 20,
    id_col: str = "unique_id",
    time_col: str = "ds",
    target: str | Sequence[str] = "y",
    ax: Any = None,
) -> Figure:
    """Draw the scores of a backtest, of one forecaster or of several side by side.

    Parameters
    ----------
    scores : DataFrame or mapping of str to DataFrame
        What `backtest` gave, or several such tables by the name of the forecaster.
    draws, data : DataFrame, optional
        The draws of the backtest and the frame of the data: the forecasts of one series are then drawn above.
    series : id, optional
        That series; by default the one whose score is in the middle.
    score : str, default "scaled_crps"
        Column to show by series.
    max_series : int, default 20
        Series at most, those with the worst scores.
    id_col, time_col, target : str
        Columns of the frames.
    ax : sequence of Axes, optional
        Two Axes, or three with `draws`.

    Returns
    -------
    Figure
        The forecasts, if asked for; the score by series (a dot a window, a large mark for their mean); and
        the coverage of the intervals, with 95 % bars from resampling the paths.

    Raises
    ------
    ValueError
        If a column is missing, or `draws` comes without `data`.
    """
    tables = {"": scores} if isinstance(scores, pd.DataFrame) else dict(scores)
    for table in tables.values():
        missing = [name for name in (id_col, score) if name not in table]
        if missing:
            raise ValueError(
                f"the scores have no column {missing[0]!r}, only {list(map(str, table.columns))}"
            )
    if (draws is None) != (data is None):
        raise ValueError("draws and data belong together: give both or none")
    figure, axes = _layout(ax, with_fans=draws is not None, tables=len(tables))
    if draws is not None:
        first, *others = Columns(id_col, time_col, target).targets
        one = _middle(next(iter(tables.values())), id_col, score) if series is None else series
        plot_forecast(
            draws.drop(columns=others), data, series=[one], n_paths=0, id_col=id_col, time_col=time_col,
            target=first, ax=axes[0],
        )  # fmt: skip
        axes[0].set_title(str(one), loc="left", fontsize=10)
    _scores_by_series(axes[-2], tables, id_col, score, max_series)
    _coverages(axes[-1], tables)
    return figure


def _layout(ax: Any, *, with_fans: bool, tables: int) -> tuple[Figure, list[Axes]]:
    count = 3 if with_fans else 2
    if ax is not None:
        return panels(count, ax)
    pyplot = optional_import("matplotlib.pyplot", "plots")
    if not with_fans:
        figure, made = pyplot.subplots(1, 2, figsize=(9.6, 4.2), layout="constrained")
        return figure, list(made)
    figure, grid = pyplot.subplot_mosaic(
        [["fans", "fans"], ["scores", "coverage"]], figsize=(9.6, 7.0), layout="constrained"
    )
    return figure, [grid[name] for name in ("fans", "scores", "coverage")]


def _middle(table: pd.DataFrame, id_col: str, score: str) -> Hashable:
    means = table.groupby(id_col, sort=False)[score].mean().sort_values()
    chosen: Hashable = means.index[len(means) // 2]
    return chosen


def _scores_by_series(
    ax: Axes, tables: Mapping[str, pd.DataFrame], id_col: str, score: str, most: int
) -> None:
    means = {name: table.groupby(id_col, sort=False)[score].mean() for name, table in tables.items()}
    first = next(iter(means.values())).sort_values()
    shown = list(first.index[-most:])
    for place, (name, table) in enumerate(tables.items()):
        colour, shift = PALETTE[place % len(PALETTE)], 0.18 * (place - (len(tables) - 1) / 2)
        rows = np.arange(len(shown)) + shift
        if len(tables) == 1:
            for row, one in zip(rows, shown, strict=True):
                values = table.loc[table[id_col] == one, score]
                ax.plot(values, np.full(len(values), row), ".", color=colour, alpha=0.5, markersize=5)
        marker = _MARKERS[place % len(_MARKERS)]
        label = f"{name}: {table[score].mean():.3f}" if name else f"mean {table[score].mean():.3f}"
        ax.plot(means[name].reindex(shown), rows, marker, color=colour, markersize=6.5, label=label)
    ax.axvline(1.0, color=FAINT, linewidth=0.9, zorder=0)
    ax.set_yticks(range(len(shown)), [str(one) for one in shown], fontsize=8.5)
    ax.set_ylim(-0.7, len(shown) - 0.3)
    ax.set_xlim(0.0, 1.06 * float(np.nanmax([ax.get_xlim()[1], 1.0])))
    worst = "" if len(shown) == len(first) else f", the {len(shown)} worst of {len(first)} series"
    named = score.replace("_", " ").replace("crps", "CRPS").replace("mase", "MASE")
    ax.set_xlabel(f"{named}{worst} (less is better)", fontsize=9)
    ax.legend(frameon=False, fontsize=8.5, loc="best")
    calm(ax)


def _coverages(ax: Axes, tables: Mapping[str, pd.DataFrame]) -> None:
    generator = np.random.default_rng(0)
    first = next(iter(tables.values()))
    names = [name for name in first if str(name).startswith("coverage-")]
    for row, table in enumerate(tables.values()):
        weight = table["n_observed"].to_numpy(dtype=np.float64)
        again = generator.multinomial(len(table), np.full(len(table), 1.0 / len(table)), size=_REPEATS)
        for place, name in enumerate(names):
            values = np.nan_to_num(table[name].to_numpy(dtype=np.float64))
            means = (again @ (weight * values)) / np.maximum(again @ weight, 1.0)
            low, high = 100 * np.quantile(means, [0.025, 0.975])
            mean = 100 * (weight @ values) / weight.sum()
            ax.hlines(row, low, high, color=FORECAST, linewidth=2.2, alpha=0.6)
            ax.plot(mean, row, _MARKERS[place % len(_MARKERS)], color=FORECAST, markersize=7)
            ax.annotate(
                f"{mean:.0f}", (mean, row), xytext=(0, 9), textcoords="offset points", ha="center", fontsize=9
            )
    for place, name in enumerate(names):
        level = float(str(name).removeprefix("coverage-"))
        ax.axvline(level, color=TRUTH, linestyle="--", linewidth=1.2, zorder=0)
        marker = _MARKERS[place % len(_MARKERS)]
        ax.plot([], [], marker, color=FORECAST, label=f"of the {level:g} % interval")
    ax.plot([], [], color=TRUTH, linestyle="--", linewidth=1.2, label="nominal")
    ax.set_yticks(range(len(tables)), list(tables), fontsize=8.5)
    ax.set_ylim(len(tables) - 0.2, -0.8)
    ax.set_xlim(right=101)
    ax.set_xlabel("targets covered, %", fontsize=9)
    ax.legend(frameon=False, fontsize=8.5, loc="best")
    calm(ax)
