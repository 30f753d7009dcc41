"""How the pictures of molecules look: colours, panels, histograms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sciffusion.estimators.imports import optional_import

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["INK", "draw_histogram", "effective_size", "histogram_edges", "panels"]

INK = "#333333"
_COLOURS = {"before": "#9a9a9a", "after": "#0072B2", "expected": "#D55E00"}
_MOST_BINS = 36
_SHARE_SHOWN = 0.998

Floats = NDArray[np.float64]


def panels(count: int, ax: Any = None) -> tuple[Figure, list[Axes]]:
    """Return the figure and `count` Axes: those given, or new ones side by side, four a row at most.

    Raises
    ------
    ValueError
        If another number of Axes was given.
    """
    if ax is not None:
        given = list(np.asarray(ax, dtype=object).ravel())
        if len(given) != count:
            raise ValueError(f"ax must hold {count} Axes, one a property, got {len(given)}")
        figure: Figure = given[0].figure
        return figure, given
    pyplot = optional_import("matplotlib.pyplot", "plots")
    columns = min(count, 4) if count != 5 else 3
    rows = -(-count // columns)
    size = (max(2.7 * columns, 4.5), 2.3 * rows + 0.5)
    figure, grid = pyplot.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    axes = list(grid.ravel())
    for spare in axes[count:]:
        spare.remove()
    for one in axes[:count]:
        one.spines[["top", "right", "left"]].set_visible(False)
    return figure, axes[:count]


def histogram_edges(values: Sequence[Floats], whole_numbers: bool) -> Floats:
    """Return bins that all groups share: one a whole number, or equal ones without the far tails.

    There are as many as the smallest group fills, by the rule of Rice, and some more.
    """
    pooled = np.concatenate(list(values))
    if whole_numbers:
        return np.arange(pooled.min() - 0.5, pooled.max() + 1.0)
    low, high = np.quantile(pooled, [(1 - _SHARE_SHOWN) / 2, (1 + _SHARE_SHOWN) / 2])
    n_bins = int(np.clip(2 * min(map(len, values)) ** (1 / 3) + 4, 8, _MOST_BINS))
    return np.linspace(low, high if high > low else low + 1.0, n_bins + 1)


def draw_histogram(
    ax: Axes, values: Floats, weights: Floats | None, edges: Floats, label: str, style: str
) -> None:
    """Draw one group as a density: filled before the tilt, outlined after it, a line where expected."""
    density, _ = np.histogram(values, bins=edges, weights=weights)
    shares = density / ((np.ones(len(values)) if weights is None else weights).sum() * np.diff(edges))
    colour = _COLOURS[style]
    if style == "before":
        ax.stairs(shares, edges, fill=True, color=colour, alpha=0.45, label=label)
    elif style == "after":
        ax.stairs(shares, edges, fill=True, color=colour, alpha=0.28)
        ax.stairs(shares, edges, color=colour, linewidth=1.4, label=label)
    else:
        middles = (edges[1:] + edges[:-1]) / 2
        ax.plot(middles, shares, color=colour, linewidth=1.5, linestyle="--", label=label)


def effective_size(weights: Floats) -> float:
    r"""Return :math:`(\sum_i w_i)^2 / \sum_i w_i^2`, the number of equal draws worth as much."""
    return float(weights.sum() ** 2 / (weights**2).sum())
