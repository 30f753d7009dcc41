"""What the comparison's numbers say, in words made from them."""

from __future__ import annotations

import numpy as np
import pandas as pd
from forecast_lineup import NETWORK_OFF, OUR_DEFAULT, REFERENCE
from forecast_summary import (
    failures,
    marked,
    mean_ranks,
    per_set,
    pooled_coverage,
    relative_to_best_peer,
)

__all__ = ["reading"]


def _places(rows: pd.DataFrame) -> str:
    ranks = mean_ranks(rows, "scrps").sort_values()
    words = ", ".join(f"{name} {rank:.2f}" for name, rank in ranks.items())
    return f"Mean rank on sCRPS over {rows['dataset'].nunique()} sets (1 is best): {words}."


def _best_per_set(rows: pd.DataFrame) -> str:
    counts = per_set(rows, "scrps").dropna(how="all").idxmin(axis=1).value_counts()
    words = ", ".join(f"{name} on {count}" for name, count in counts.items())
    several = "No model is best everywhere; on" if len(counts) > 1 else "On"
    return f"Best sCRPS: {words}. {several} a single set the order may be chance."


def _distance(rows: pd.DataFrame) -> str:
    ratio = relative_to_best_peer(rows)[OUR_DEFAULT].dropna()
    worst, best = ratio.idxmax(), ratio.idxmin()
    return (
        f"Against the best baseline of each set, which nobody knows beforehand, {OUR_DEFAULT} is between "
        f"{ratio.min():.2f} ({best}) and {ratio.max():.2f} ({worst}) times its sCRPS, "
        f"{np.exp(np.log(ratio).mean()):.2f} times in the geometric mean."
    )


def _network(rows: pd.DataFrame) -> str:
    parts = []
    for score in ("scrps", "energy", "variogram"):
        table = per_set(rows, score).dropna(subset=[OUR_DEFAULT, NETWORK_OFF])
        ratio = table[OUR_DEFAULT] / table[NETWORK_OFF]
        harmed = ", ".join(f"{name} {value:.2f}" for name, value in ratio.items() if value > 1.01) or "none"
        mean = np.exp(np.log(ratio).mean())
        parts.append(f"{score} {mean:.3f} times (worse by over 1 % on: {harmed})")
    return f"What the network adds to its own start ({NETWORK_OFF}), geometric mean: {'; '.join(parts)}."


def _coverage(rows: pd.DataFrame) -> str:
    parts = []
    both = pd.DataFrame({level: pooled_coverage(rows, level) for level in (80, 95)})
    for name, (inner, outer) in both.iterrows():
        parts.append(f"{name} {100 * inner:.0f}/{100 * outer:.0f}")
    words = f"Targets inside the 80/95 % intervals, pooled: {', '.join(parts)}."
    if OUR_DEFAULT in both.index:
        mine = rows[rows["model"] == OUR_DEFAULT].set_index("dataset")["coverage80"]
        off = (mine - 0.8).abs().idxmax()
        words += f" On single sets ours is off by up to {100 * abs(mine[off] - 0.8):.0f} points ({off})."
    return words


def _seconds(rows: pd.DataFrame) -> str:
    total = (rows["fit_cpu"] + rows["predict_cpu"]).groupby(rows["model"], sort=False).sum()
    words = ", ".join(f"{name} {seconds:.0f}" for name, seconds in total.sort_values().items())
    return f"CPU seconds over all sets, fit and forecasts: {words}."


def _limits(rows: pd.DataFrame) -> str:
    kinds = marked(rows)
    marginal = ", ".join(kinds.index[kinds == "marginals"])
    words = (
        "A set's test windows are few and next to each other in time, and its series alike, so a small "
        "difference on one set means little."
    )
    if marginal:
        words += (
            f" Marginals only: {marginal}. These energy and variogram scores are those of independent steps "
            "and say how much paths matter, not how good a model's own paths would be."
        )
    return words


def reading(rows: pd.DataFrame) -> str:
    """Give the reading as a list in Markdown."""
    present = set(rows["model"])
    lines = [_places(rows), _best_per_set(rows)]
    if OUR_DEFAULT in present and present - {OUR_DEFAULT, NETWORK_OFF}:
        lines.append(_distance(rows))
    if {OUR_DEFAULT, NETWORK_OFF} <= present:
        lines.append(_network(rows))
    lines += [_coverage(rows), _seconds(rows), _limits(rows)]
    if len(failures(rows)):
        failed = "; ".join(f"{row.model} on {name}" for name, row in failures(rows).iterrows())
        lines.append(f"Failed, and ranked last there: {failed}.")
    if REFERENCE not in present:
        lines.append(f"{REFERENCE} was not run.")
    return "\n".join(f"- {line}" for line in lines)
