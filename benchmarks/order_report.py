"""Tables, reading and picture of `core_order.py`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from order_peers import PEER_DETERMINISTIC, PEER_STOCHASTIC
from survival_pictures import new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw", "order_table", "peer_table", "reading"]

TITLES = {
    "vp": "mixture, variance-preserving path",
    "flow": "mixture, straight path",
    "noise .01": "variance of N(0, .7²), noise 20 to .01",
    "noise 1": "variance of N(0, .7²), noise 20 to 1",
}
STYLES = {"azula REAB 2": "ks--"}
#: What the pictures show: enough to tell the orders apart, and not each of three kindred curves.
SHOWN = {
    "Euler, time": "#c1440e", "Euler, relative noise": "#e0a458", "Heun, time": "#2a6f97",
    "DPM-Solver++ 2": "#2a9d8f", "DPM-Solver++ 3": "#6a4c93", "azula xEAB 2": "#2a9d8f",
    "azula REAB 2": "#222222", "azula DDIM": "#e0a458", "ancestral, posterior": "#c1440e",
    "azula DDPM": "#c1440e", "Euler-Maruyama": "#e0a458", "stochastic Heun": "#2a6f97",
    "ER-SDE 1, default": "#8d6a9f", "ER-SDE 2, default": "#2a9d8f", "ER-SDE 3, default": "#6a4c93",
}  # fmt: skip


def order_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Give claimed order, evaluations a step, and for each problem the last error and observed order."""
    lines = {}
    for solver, own in rows.groupby("solver", sort=False):
        line: dict[str, object] = {
            "claims": int(own["claimed"].iloc[0]),
            "nfe a step": f"{(own['nfe'] / own['steps']).round().iloc[-1]:.0f}",
        }
        for problem, part in own.groupby("problem", sort=False):
            errors, steps = part["error"].to_numpy(), part["steps"].to_numpy()
            slope = np.log(errors[-2] / errors[-1]) / np.log(steps[-1] / steps[-2])
            line[f"{problem} error"], line[f"{problem} order"] = f"{errors[-1]:.2e}", float(slope)
        lines[solver] = line
    return pd.DataFrame(lines).T.rename_axis("solver")


def _orders(rows: pd.DataFrame, solver: str) -> list[float]:
    table = order_table(rows[rows["solver"] == solver])
    return [float(table[name].iloc[0]) for name in table if name.endswith(" order")]


def _words(rows: pd.DataFrame, solver: str) -> str:
    return " and ".join(f"{order:.2f}" for order in _orders(rows, solver))


def _best_second_order(rows: pd.DataFrame, problem: str) -> str:
    """Name the solver of claimed order 2 and one evaluation a step with the smallest error at most steps."""
    part = rows[(rows["problem"] == problem) & (rows["claimed"] == 2) & (rows["nfe"] == rows["steps"])]
    last = part[part["steps"] == part["steps"].max()]
    best = last.loc[last["error"].idxmin()]
    return f"{best['solver']} ({best['error']:.2g}, {TITLES[problem]})"


def reading(rows: pd.DataFrame, with_peer: bool) -> str:
    """Give what the numbers say, good and bad, in words."""
    lines = [
        "Orders are slopes between the two largest numbers of steps; errors are those at the largest.",
        f"DPM-Solver++ 3 shows {_words(rows, 'DPM-Solver++ 3')}: its first two steps are of lower order.",
        f"Euler-Maruyama shows {_words(rows, 'Euler-Maruyama')} at the two ends of the noise: down to .01 "
        "its leading errors cancel for Gaussian data. It is of weak order 1.",
        "Of the solvers of order 2 with one evaluation a step the smallest errors have "
        + " and ".join(_best_second_order(rows, problem) for problem in ("vp", "flow")) + ".",
    ]  # fmt: skip
    lines.append(
        f"ER-SDE 3 interpolates by Newton's polynomial and shows {_words(rows, 'ER-SDE 3, no noise')} "
        "without noise, on the way to 3 (its first two steps are of lower order); the published terms show "
        "2.0. With noise the weak order is 2 in the limit, and on the way there its error crosses zero: "
        f"orders of single doublings ({_words(rows, 'ER-SDE 3, power 2')} for power 2) mean little, the "
        "errors do."
    )
    if not with_peer:
        lines.append("azula was not installed: nothing is said about it.")
    else:
        lines.append(
            f"azula's REABSampler, of order 2 by its documentation, shows {_words(rows, 'azula REAB 2')}: it "
            "is first order. Its other multistep samplers have the order that they claim. Where both "
            "libraries have the same method the errors agree: see the bars."
        )
    return "\n".join(f"- {line}" for line in lines)


def peer_table(with_peer: bool) -> str:
    """Say what was run of azula."""
    names = ", ".join([*PEER_DETERMINISTIC, *PEER_STOCHASTIC])
    if not with_peer:
        return f"Not installed, so these rows are missing: {names}."
    return f"Measured in this run, with its own samplers and schedules in float64: {names}."


def draw(rows: pd.DataFrame, path: Path, label: str, note: str) -> None:
    """Draw error against evaluations, a panel for each problem; crosses are azula's same methods."""
    problems = list(rows["problem"].unique())
    figure, axes = new_figure(columns=len(problems), width=5.2, height=4.4)
    for panel, problem in zip(axes[0], problems, strict=True):
        shown = rows[(rows["problem"] == problem) & rows["solver"].isin(list(SHOWN))]
        for solver, own in shown.groupby("solver", sort=False):
            style = STYLES.get(solver, "kx" if solver.startswith("azula") else "o-")
            colour = {} if style.startswith("k") else {"color": SHOWN[solver]}
            panel.loglog(own["nfe"], own["error"], style, ms=4, lw=1.6, label=solver, **colour)
        _guides(panel, shown)
        panel.set_title(TITLES[problem], fontsize=10)
        panel.set_xlabel("network evaluations")
        panel.grid(alpha=0.3)
    axes[0, 0].set_ylabel(label)
    axes[0, -1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.suptitle(f"Error with an exact denoiser{note}")
    save_figure(figure, path)


def _guides(panel: Axes, shown: pd.DataFrame) -> None:
    """Draw what first and second order look like."""
    nfe = np.array([shown["nfe"].min(), shown["nfe"].max()], dtype=float)
    height = shown["error"].max()
    for order in (1, 2):
        line = height * (nfe / nfe[0]) ** -order
        panel.loglog(nfe, line, ":", color="#999999", lw=1)
        panel.annotate(f"order {order}", (nfe[1], line[1]), fontsize=7, color="#666666", ha="right", va="top")
