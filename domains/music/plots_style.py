"""How the pictures of music look: colours, panels, axes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sciffusion.estimators.imports import optional_import
from sciffusion.training.checkpoints import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["BLUE", "FAINT", "GREEN", "INK", "VERMILION", "calm", "panels", "write_picture"]

BLUE, VERMILION, GREEN = "#0072B2", "#D55E00", "#009E73"
INK, FAINT = "#333333", "#bbbbbb"
_WIDTH = 8.4  # inches


def panels(heights: Sequence[float], ax: Any = None, *, share_time: bool = True) -> tuple[Figure, list[Axes]]:
    """Return the figure and as many Axes above each other as there are heights: those given, or new ones.

    Raises
    ------
    ValueError
        If another number of Axes was given.
    """
    if ax is not None:
        given = list(np.ravel(np.asarray(ax, dtype=object)))
        if len(given) != len(heights):
            raise ValueError(f"ax must hold {len(heights)} Axes, one a panel, got {len(given)}")
        figure: Figure = given[0].figure
        return figure, given
    pyplot = optional_import("matplotlib.pyplot", "plots")
    figure, grid = pyplot.subplots(
        len(heights), 1, figsize=(_WIDTH, sum(heights)), squeeze=False, layout="constrained",
        sharex=share_time, height_ratios=list(heights),
    )  # fmt: skip
    return figure, list(grid[:, 0])


def calm(ax: Axes) -> None:
    """Leave out what distracts."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(FAINT)
    ax.tick_params(colors=INK, labelsize=8.5)


def write_picture(path: Path, figure: Any) -> None:
    """Write a figure as a whole or not at all, in the format of the ending, and forget it."""
    content = io.BytesIO()
    figure.savefig(content, format=path.suffix[1:].lower(), dpi=130)
    optional_import("matplotlib.pyplot", "plots").close(figure)
    write_atomically(path, lambda file: file.write(content.getvalue()))
