"""How a stream kept up with its listener: what was buffered, what a block took, and how many evaluations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sciffusion.estimators.imports import optional_import

from .engine_runs import StreamTrace
from .plots_style import BLUE, FAINT, GREEN, INK, VERMILION, calm, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_stream"]


def plot_stream(
    trace: StreamTrace,
    block_times: ArrayLike,
    block_seconds: float,
    *,
    ax: Any = None,
) -> Figure:
    """Draw a run of an engine.

    Parameters
    ----------
    trace : StreamTrace
        Course of the run, from `paced_run` or `simulated_run`.
    block_times : array-like of shape ``(blocks,)``
        Seconds that each block took.
    block_seconds : float
        Audio of a block: blocks that take longer than this cannot be kept up for long.
    ax : sequence of 3 Axes, optional
        Where to draw: audio buffered, evaluations, times of blocks.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If there is nothing to draw.
    """
    times = np.asarray(block_times, dtype=np.float64)
    if not len(trace.seconds) or not len(times):
        raise ValueError("there is nothing to draw: the run has no reads or no blocks")
    # Without given Axes the first two share their time; the third counts blocks.
    figure, (fill, nfe, blocks) = panels([1.9, 1.1, 1.9], ax, share_time=False)
    if ax is None:
        nfe.sharex(fill)
        fill.tick_params(labelbottom=False)
    _draw_fill(fill, trace)
    nfe.step(trace.seconds, trace.nfe, where="post", color=GREEN)
    nfe.set_ylim(0, max(trace.nfe.max() * 1.25, 2))
    nfe.set_ylabel("nfe\na block")
    nfe.set_xlabel("seconds since the start")
    _draw_blocks(blocks, times, block_seconds)
    for one in (fill, nfe, blocks):
        calm(one)
    return figure


def _draw_fill(axis: Axes, trace: StreamTrace) -> None:
    axis.plot(trace.seconds, trace.fill_seconds, color=BLUE, linewidth=0.9)
    axis.fill_between(trace.seconds, trace.fill_seconds, color=BLUE, alpha=0.15, linewidth=0)
    falls = np.flatnonzero(np.diff(trace.underruns) > 0) + 1
    for place, row in enumerate(falls):
        label = f"underruns: {int(trace.underruns[-1])}" if place == 0 else None
        axis.axvline(trace.seconds[row], color=VERMILION, linewidth=1.2, label=label)
    axis.set_ylim(0, max(float(trace.fill_seconds.max()), 0.1) * (1.35 if len(falls) else 1.1))
    axis.set_xlim(trace.seconds[0], trace.seconds[-1])
    axis.set_ylabel("seconds\nbuffered")
    if len(falls):
        axis.legend(frameon=False, fontsize=8.5, loc="upper right")


def _draw_blocks(axis: Axes, times: NDArray[np.float64], block_seconds: float) -> None:
    late = times > block_seconds
    numbers = np.arange(len(times))
    axis.bar(numbers[~late], times[~late], color=BLUE, width=0.8)
    axis.bar(numbers[late], times[late], color=VERMILION, width=0.8)
    axis.axhline(block_seconds, color=INK, linewidth=1.0, linestyle=":")
    axis.text(
        0.5, block_seconds, f"a block lasts {block_seconds:.2g} s", transform=axis.get_yaxis_transform(),
        ha="center", va="bottom", fontsize=8.5, color=INK,
    )  # fmt: skip
    axis.set_ylim(0, max(float(times.max()), block_seconds) * 1.18)
    axis.set_xlim(-0.6, len(times) - 0.4)
    axis.xaxis.set_major_locator(optional_import("matplotlib.ticker", "plots").MaxNLocator(integer=True))
    axis.set_xlabel("block")
    axis.set_ylabel("seconds\nto make it")
    axis.grid(axis="y", color=FAINT, linewidth=0.4)
    axis.set_axisbelow(True)
