"""How the pictures of particle systems look: colours, panels, lines."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sciffusion.estimators.imports import optional_import
from sciffusion.training.checkpoints import write_atomically

from .metrics_checks import Values, as_weights

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "COLOURS",
    "FAINT",
    "INK",
    "SHADE",
    "calm",
    "colours",
    "draw_density",
    "normalised",
    "panels",
    "shared_edges",
    "unit_label",
    "with_reference",
    "write_picture",
]

#: Of Okabe and Ito, which colour-blind readers can tell apart, in the order of use.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
INK, FAINT, SHADE = "#333333", "#bbbbbb", "#cfcfcf"
_REFERENCE = "reference"
_SHARE_SHOWN = 0.998  # of every law; the far tails would squeeze the rest

Floats = NDArray[np.float64]


def panels(
    count: int, ax: Any = None, *, size: tuple[float, float] = (4.4, 3.2), columns: int = 3
) -> tuple[Figure, list[Axes]]:
    """Return the figure and `count` Axes: those given, or new ones side by side.

    Raises
    ------
    ValueError
        If another number of Axes was given.
    """
    if ax is not None:
        given = list(np.asarray(ax, dtype=object).ravel())
        if len(given) != count:
            raise ValueError(f"ax must hold {count} Axes, one a panel, got {len(given)}")
        figure: Figure = given[0].figure
        return figure, given
    pyplot = optional_import("matplotlib.pyplot", "plots")
    columns = min(count, columns)
    rows = -(-count // columns)
    figure, grid = pyplot.subplots(
        rows, columns, figsize=(size[0] * columns, size[1] * rows), squeeze=False, layout="constrained"
    )
    axes = list(grid.ravel())
    for spare in axes[count:]:
        spare.remove()
    return figure, axes[:count]


def calm(ax: Axes) -> None:
    """Leave out what distracts."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(FAINT)
    ax.tick_params(colors=INK, labelsize=8.5)
    ax.xaxis.label.set_color(INK)
    ax.yaxis.label.set_color(INK)


def with_reference(named: Mapping[str, Any], reference: Any, what: str = "samples") -> dict[str, Any]:
    """Return all that is drawn, the reference first.

    Raises
    ------
    ValueError
        If that is nothing, or something else has the name of the reference.
    """
    if not named and reference is None:
        raise ValueError(f"there is nothing to draw: {what} is empty")
    if reference is not None and _REFERENCE in named:
        raise ValueError(f"one of {what} is called 'reference' though a reference is given, too")
    return ({} if reference is None else {_REFERENCE: reference}) | dict(named)


def colours(named: Mapping[str, Any]) -> list[str | None]:
    """Return a colour for each, None for the reference."""
    free = iter(COLOURS * (1 + len(named) // len(COLOURS)))
    return [None if name == _REFERENCE else next(free) for name in named]


def shared_edges(groups: Mapping[str, tuple[Floats, Floats]], bins: int | None, most: int = 60) -> Floats:
    """Return bins that all weighted groups share, without the far tails.

    There are as many as the effective number of the smallest group fills, by the rule of Rice, and some more.
    """
    low, high = [], []
    for values, weights in groups.values():
        order = values.argsort()
        cumulative = weights[order].cumsum()
        ends = np.searchsorted(cumulative, [(1 - _SHARE_SHOWN) / 2, (1 + _SHARE_SHOWN) / 2])
        low.append(values[order][ends[0]])
        high.append(values[order][min(ends[1], len(values) - 1)])
    start, end = min(low), max(high)
    if bins is None:
        effective = min(1.0 / float((weights**2).sum()) for _, weights in groups.values())
        bins = int(np.clip(3 * effective ** (1 / 3) + 4, 10, most))
    margin = 0.02 * (end - start) or 0.5
    return np.linspace(start - margin, end + margin, bins + 1)


def draw_density(
    ax: Axes, edges: Floats, density: Floats, label: str, colour: str | None, *, smooth: bool = False
) -> None:
    """Draw a histogram: filled in grey for the reference (no colour), else outlined."""
    if colour is None:
        ax.stairs(density, edges, fill=True, color=SHADE, label=label, zorder=1)
        return
    if smooth:
        ax.plot((edges[1:] + edges[:-1]) / 2, density, color=colour, linewidth=1.6, label=label, zorder=3)
    else:
        ax.stairs(density, edges, color=colour, linewidth=1.6, label=label, zorder=3)


def normalised(log_weights: Values | None, count: int) -> Floats:
    """Return weights of sum 1 as an array."""
    return np.asarray(as_weights(log_weights, count, "log_weights").cpu().numpy())


def unit_label(quantity: str, units: str | None) -> str:
    """Return the label of an axis; reduced units have no name."""
    return quantity if units in (None, "", "reduced") else f"{quantity} ({units})"


def write_picture(path: Path, figure: Any) -> None:
    """Write a figure as a whole or not at all, in the format of the ending, and forget it."""
    content = io.BytesIO()
    figure.savefig(content, format=path.suffix[1:].lower(), dpi=140)
    optional_import("matplotlib.pyplot", "plots").close(figure)
    write_atomically(path, lambda file: file.write(content.getvalue()))
