"""The course of a training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .plots_style import BLUE, VERMILION, calm, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_training"]


class _History(Protocol):
    @property
    def steps(self) -> NDArray[np.int64]: ...
    @property
    def train_loss(self) -> NDArray[np.float64]: ...
    @property
    def held_out_loss(self) -> NDArray[np.float64]: ...
    @property
    def best_step(self) -> NDArray[np.int64]: ...


def plot_training(history: _History, *, ax: Any = None) -> Figure:
    """Draw the losses of a fit over its steps, with the step whose weights were kept.

    Parameters
    ----------
    history : TrainingHistory
        ``history_`` of a fitted model.
    ax : Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, (axis,) = panels([3.0], ax)
    steps = np.asarray(history.steps)
    for values, label, colour in (
        (history.train_loss, "training windows", BLUE),
        (history.held_out_loss, "recordings kept back (averaged weights)", VERMILION),
    ):
        losses = np.asarray(values)[:, 0]
        known = np.isfinite(losses)
        if known.any():
            marker = "." if known.sum() < 60 else ""
            axis.plot(steps[known], losses[known], color=colour, label=label, marker=marker)
    kept = int(np.asarray(history.best_step)[0])
    axis.axvline(kept, color="#bbbbbb", linestyle=":", label=f"weights of step {kept} kept")
    axis.set_xlabel("step")
    axis.set_ylabel("squared error of the flow")
    axis.set_ylim(bottom=0)
    axis.legend(frameon=False, fontsize=8.5)
    calm(axis)
    return figure
