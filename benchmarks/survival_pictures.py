"""Pictures of the comparison."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from survival_models import NETWORK_OFF, OUR_DEFAULT, REFERENCE
from survival_summary import mean_ranks, per_set

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_comparison", "new_figure", "save_figure"]

MARKERS = "osD^vPX*<>"
IBS_RANGE = (-25.0, 40.0)
OURS_COLOUR, OTHER_COLOUR, OFF_COLOUR = "#c1440e", "#5b7083", "#e0a458"


def new_figure(columns: int = 1, width: float = 5.0, height: float = 3.6) -> tuple[Figure, np.ndarray]:
    """Give a figure with panels side by side, drawn without a display."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    return pyplot.subplots(1, columns, figsize=(width * columns, height), layout="constrained", squeeze=False)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG and close it."""
    from matplotlib import pyplot

    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _colour(name: str) -> str:
    return {OUR_DEFAULT: OURS_COLOUR, NETWORK_OFF: OFF_COLOUR}.get(name, OTHER_COLOUR)


def _draw_ranks(rows: pd.DataFrame, path: Path, note: str) -> None:
    figure, axes = new_figure(columns=4, width=3.2)
    titles = {"ibs": "Integrated Brier score", "uno": "Uno C", "harrell": "Harrell C", "auc": "Mean AUC(t)"}
    for panel, (score, title) in zip(axes[0], titles.items(), strict=True):
        ranks = mean_ranks(rows, score).sort_values(ascending=False)
        panel.barh(ranks.index, ranks, color=[_colour(name) for name in ranks.index])
        panel.set_title(title)
        panel.set_xlabel("mean rank (1 is best)")
        for place, rank in enumerate(ranks):
            panel.text(rank, place, f" {rank:.1f}", va="center", fontsize=8)
        panel.set_xlim(0, ranks.max() * 1.15)
    figure.suptitle(f"Mean rank over {rows['dataset'].nunique()} data sets{note}")
    save_figure(figure, path)


def _draw_relative_ibs(rows: pd.DataFrame, path: Path, note: str, baseline: str) -> None:
    table = per_set(rows, "ibs")
    relative = 100 * (table.div(table[baseline], axis=0) - 1).drop(columns=[baseline])
    figure, axes = new_figure(width=8.5, height=0.42 * len(table) + 1.8)
    panel = axes[0, 0]
    offsets = np.linspace(-0.3, 0.3, relative.shape[1])
    for position, name in enumerate(relative.columns):
        colour = _colour(name) if name in (OUR_DEFAULT, NETWORK_OFF) else None
        size = 7 if name == OUR_DEFAULT else 4
        heights = np.arange(len(table)) + offsets[position]
        marker = MARKERS[position % len(MARKERS)]
        panel.plot(
            relative[name].clip(*IBS_RANGE), heights, marker, color=colour, label=name, markersize=size
        )
    panel.axvline(0, color="black", linewidth=0.8)
    panel.set_yticks(range(len(table)), list(table.index))
    panel.set_xlim(IBS_RANGE[0] - 2, IBS_RANGE[1] + 2)
    panel.set_xlabel(f"IBS relative to {baseline}, % (left is better; values outside are drawn at the edge)")
    panel.invert_yaxis()
    panel.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    panel.set_title(f"Integrated Brier score on each set{note}")
    save_figure(figure, path)


def draw_comparison(rows: pd.DataFrame, folder: Path, reduced: bool, baseline: str = "CoxPH") -> list[str]:
    """Draw mean ranks, and IBS relative to one model on each set; give the names of the files."""
    note = " (reduced run)" if reduced else ""
    drawn = []
    if rows.loc[rows["model"] != REFERENCE, "model"].nunique() > 1:
        _draw_ranks(rows, folder / "survival_ranks.png", note)
        drawn.append("survival_ranks.png")
    if baseline in set(rows["model"]) and rows["model"].nunique() > 1:
        _draw_relative_ibs(rows, folder / "survival_ibs.png", note, baseline)
        drawn.append("survival_ibs.png")
    return drawn
