"""Anomaly scores under the series they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .plots_reading import Columns, Fan, chosen_series, observed
from .plots_style import FORECAST, INK, PALETTE, TRUTH, calm, draw_series, legend_above, panels, time_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_anomaly"]

_LABELLED = PALETTE[4]


def plot_anomaly(
    scores: pd.DataFrame,
    data: pd.DataFrame,
    *,
    threshold: float | None = None,
    labels: Any = None,
    series: Any = None,
    max_series: int = 3,
    score_col: str = "score",
    id_col: str = "unique_id",
    time_col: str = "ds",
    target: str | Sequence[str] = "y",
    ax: Any = None,
) -> Figure:
    """Draw series, and below each its anomaly score.

    Parameters
    ----------
    scores : DataFrame
        What `anomaly_score` gave: ids, stamps and the score, higher meaning stranger.
    data : DataFrame
        The series that were scored.
    threshold : float, optional
        Drawn across the score; rows above it are marked in the series.
    labels : str, array-like of bool or sequence of (start, stop), optional
        What is known to be anomalous, shaded: a column of `data`, one value a row of it, or stretches of
        stamps, the last one included.
    series : id or list of ids, optional
        Series to show; by default the first `max_series`.
    max_series : int, default 3
        Series at most where none are named.
    score_col, id_col, time_col, target : str
        Columns of the frames; of several targets each is drawn.
    ax : sequence of Axes, optional
        Where to draw, two a series: one for its values, one for its score.

    Returns
    -------
    Figure
        With two panels a series, in the order of the series.

    Raises
    ------
    ValueError
        If a column or series is not there, or the labels do not fit.
    """
    columns = Columns(id_col, time_col, target)
    missing = [name for name in (id_col, time_col, score_col) if name not in scores]
    if missing:
        raise ValueError(
            f"the scores have no column {missing[0]!r}, only {list(map(str, scores.columns))}; name it with "
            "id_col, time_col or score_col"
        )
    names = chosen_series(list(scores[id_col].unique()), series, max_series)
    figure, axes = panels(2 * len(names), ax, rows_each=2, columns=1)
    for place, name in enumerate(names):
        above, below = axes[2 * place : 2 * place + 2]
        found = _series(scores, name, score_col, columns)
        _draw_values(above, name, found, data, columns, threshold)
        _draw_scores(below, found, threshold)
        for panel in (above, below):
            _shade(panel, _stretches(labels, data, name, columns))
            panel.set_xlim(found[0][0], found[0][-1])
            calm(panel)
            time_axis(panel, found[0])
        above.set_title(str(name), loc="left", fontsize=10)
        above.tick_params(labelbottom=False)
    legend_above(figure, axes, own=ax is None)
    return figure


def _series(
    frame: pd.DataFrame, name: Any, column: str, columns: Columns
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    nowhere = np.empty(0)
    return observed(frame, Fan(name, column, nowhere, nowhere, {}, nowhere), columns)


def _draw_values(
    ax: Axes, name: Any, found: Any, data: pd.DataFrame, columns: Columns, threshold: float | None
) -> None:
    times, scores = found
    targets = columns.targets
    for place, channel in enumerate(targets):
        at, values = _series(data, name, channel, columns)
        colour = INK if len(targets) == 1 else PALETTE[place % len(PALETTE)]
        label = "series" if len(targets) == 1 else channel
        draw_series(ax, at, values, color=colour, linewidth=1.0, label=label)
        if threshold is not None and len(targets) == 1:
            strange = np.isin(at, times[scores > threshold])
            ax.plot(at[strange], values[strange], "o", color=TRUTH, markersize=4, label="above the threshold")
    ax.set_ylabel(targets[0] if len(targets) == 1 else "values", fontsize=9)


def _draw_scores(ax: Axes, found: Any, threshold: float | None) -> None:
    times, scores = found
    seen = scores[np.isfinite(scores)]
    floor = min(0.0, float(seen.min())) if seen.size else 0.0
    ax.fill_between(times, floor, scores, color=FORECAST, alpha=0.25, linewidth=0)
    draw_series(ax, times, scores, color=FORECAST, linewidth=1.0, label="score")
    if threshold is not None:
        ax.axhline(threshold, color=TRUTH, linestyle="--", linewidth=1.1, label=f"threshold {threshold:.3g}")
    ax.set_ylabel("anomaly score", fontsize=9)


def _stretches(labels: Any, data: pd.DataFrame, name: Any, columns: Columns) -> list[tuple[Any, Any]]:
    if labels is None:
        return []
    if isinstance(labels, str):
        if labels not in data:
            raise ValueError(
                f"labels: the data have no column {labels!r}, only {list(map(str, data.columns))}"
            )
        flags = data[labels].to_numpy()
    elif (
        len(labels) and np.ndim(labels[0] if isinstance(labels, list | tuple) else np.asarray(labels)[0]) == 1
    ):
        return [(start, stop) for start, stop in labels]
    else:
        flags = np.asarray(labels)
    if len(flags) != len(data):
        raise ValueError(f"labels must hold one value a row of the data, {len(data)}, got {len(flags)}")
    times, marked = _series(data.assign(_labelled=flags.astype(np.float64)), name, "_labelled", columns)
    edges = np.diff(np.r_[False, marked > 0, False].astype(np.int8))
    begins, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return [(times[begin], times[end - 1]) for begin, end in zip(begins, ends, strict=True)]


def _shade(ax: Axes, stretches: list[tuple[Any, Any]]) -> None:
    for place, (start, stop) in enumerate(stretches):
        label = "labelled" if place == 0 else None
        # The edge keeps a stretch of one row visible.
        ax.axvspan(start, stop, facecolor=_LABELLED, edgecolor=_LABELLED, alpha=0.35, zorder=0, label=label)
