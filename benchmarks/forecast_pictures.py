"""Picture of the comparison: mean ranks, sCRPS of each set against the ridge, coverage."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from forecast_lineup import NETWORK_OFF, OUR_DEFAULT, REFERENCE
from forecast_summary import mean_ranks, per_set, pooled_coverage, ranked_models

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_comparison"]

MARKERS = "osD^vPX*<>"
OURS_COLOUR, OFF_COLOUR, OTHER_COLOUR = "#c1440e", "#e0a458", "#5b7083"
RATIO_RANGE = (0.4, 2.5)


def _colour(name: str) -> str:
    return {OUR_DEFAULT: OURS_COLOUR, NETWORK_OFF: OFF_COLOUR}.get(name, OTHER_COLOUR)


def _draw_ranks(panel: Axes, rows: pd.DataFrame) -> None:
    ranks = mean_ranks(rows, "scrps").sort_values(ascending=False)
    panel.barh(ranks.index, ranks, color=[_colour(name) for name in ranks.index])
    for place, rank in enumerate(ranks):
        panel.text(rank, place, f" {rank:.2f}", va="center", fontsize=8)
    panel.set_xlim(0, ranks.max() * 1.15)
    panel.set_xlabel("mean rank on scaled CRPS (1 is best)")
    panel.set_title("Ranks")


def _draw_ratios(panel: Axes, rows: pd.DataFrame) -> None:
    table = per_set(rows, "scrps")
    baseline = REFERENCE if REFERENCE in table else table.columns[0]
    ratio = table.div(table[baseline], axis=0).drop(columns=[baseline]).clip(*RATIO_RANGE)
    heights = np.arange(len(ratio))[::-1]
    for position, name in enumerate(ratio.columns):
        own = name in (OUR_DEFAULT, NETWORK_OFF)
        panel.plot(
            ratio[name],
            heights + 0.05 * (position - len(ratio.columns) / 2),
            MARKERS[position % len(MARKERS)],
            color=_colour(name) if own else None,
            markersize=8 if name == OUR_DEFAULT else 4.5,
            alpha=1.0 if own else 0.75,
            label=name,
            zorder=3 if own else 2,
        )
    panel.axvline(1.0, color="black", linewidth=0.8)
    panel.set_xscale("log")
    ticks = [0.4, 0.5, 0.7, 1.0, 1.5, 2.5]
    panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    panel.minorticks_off()
    panel.set_yticks(heights, list(ratio.index))
    panel.grid(axis="y", alpha=0.25)
    panel.set_xlabel(f"scaled CRPS over {baseline}'s (clipped)")
    panel.set_title("Each set")
    panel.legend(fontsize=7, loc="lower left", bbox_to_anchor=(1.0, 0.0), frameon=False)


def _draw_coverage(panel: Axes, rows: pd.DataFrame) -> None:
    names = list(mean_ranks(rows, "scrps").sort_values(ascending=False).index)
    heights = np.arange(len(names))
    for level, marker in ((80, "o"), (95, "s")):
        share = 100 * pooled_coverage(rows, level)[names]
        panel.axvspan(level - 3, level + 3, color="#dfe6e0", zorder=0)
        panel.scatter(share, heights, marker=marker, c=[_colour(name) for name in names])
    panel.set_yticks(heights, names)
    panel.set_xlabel("targets inside, pooled (band: 3 points)")
    panel.set_title("Coverage of 80 % (dots), 95 % (squares)")


def draw_comparison(rows: pd.DataFrame, folder: Path, reduced: bool) -> list[str]:
    """Draw the picture and give its file name in a list; none where no model was run on all sets."""
    from survival_pictures import new_figure, save_figure

    if not ranked_models(rows):
        return []
    figure, axes = new_figure(columns=3, width=5.2, height=0.33 * rows["dataset"].nunique() + 1.9)
    _draw_ranks(axes[0, 0], rows)
    _draw_ratios(axes[0, 1], rows)
    _draw_coverage(axes[0, 2], rows)
    note = " (reduced run)" if reduced else ""
    figure.suptitle(f"Forecasters on {rows['dataset'].nunique()} real sets, rolling origin{note}")
    save_figure(figure, folder / "forecast_compare.png")
    return ["forecast_compare.png"]
