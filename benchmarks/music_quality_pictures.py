"""Pictures of music_quality.py: scores by row, drift, and spectrograms of examples."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from music_quality_data import RATE
from numpy.typing import NDArray
from survival_pictures import new_figure, save_figure

from sciffusion.domains.music.embeddings import log_mel

__all__ = ["draw_scores", "draw_spectrograms"]

MADE, REAL, FLOOR = "#c1440e", "#5b7083", "#b9b4a8"
SHOWN_SECONDS = 10.0


def draw_scores(table: pd.DataFrame, drift: pd.DataFrame, path: Path, note: str) -> None:
    """Draw the Fréchet distances and the pitch-class distance of every row, and the drift if there is one."""
    columns = [name for name in (*table.columns[table.columns.str.startswith("FD")], "pitch-class JS")]
    figure, axes = new_figure(columns=len(columns) + (not drift.empty), width=4.4, height=3.8)
    colours = [_colour(name) for name in table.index]
    for number, (panel, column) in enumerate(zip(axes[0], columns, strict=False)):
        panel.barh(table.index, table[column], color=colours)
        panel.invert_yaxis()
        panel.set(xlabel=column, xscale="log" if column.startswith("FD") else "linear")
        if number:
            panel.set_yticklabels([])
    if not drift.empty:
        panel = axes[0, -1]
        panel.plot(drift["minutes"], drift["FD log-mel"], "o-", color=MADE)
        panel.set(xlabel="minutes into the stream", ylabel="FD log-mel of that window", ylim=(0, None))
    figure.suptitle(f"Test pieces against what was made{note}")
    save_figure(figure, path)


def draw_spectrograms(examples: Mapping[str, NDArray[np.float32]], path: Path) -> None:
    """Draw log-mel spectrograms of examples at 24 kHz, all on one scale."""
    from matplotlib import pyplot

    names, across = list(examples), 2
    rows = -(-len(names) // across)
    new_figure()  # chooses the backend
    pyplot.close("all")
    figure, axes = pyplot.subplots(
        rows, across, figsize=(11, 2.1 * rows), layout="constrained", squeeze=False, sharex=True, sharey=True
    )
    bands = {name: _bands(examples[name]) for name in names}
    loudest = max(float(band.max()) for band in bands.values())
    for panel, name in zip(axes.flat, names, strict=False):
        shown = panel.imshow(
            bands[name].T, origin="lower", aspect="auto", cmap="magma", vmin=loudest - 70.0, vmax=loudest,
            extent=(0.0, min(SHOWN_SECONDS, len(examples[name]) / RATE), 0, bands[name].shape[1]),
        )  # fmt: skip
        panel.set_title(name, fontsize=9)
    for panel in axes.flat[len(names) :]:
        panel.set_visible(False)
    for panel in axes[-1]:
        panel.set_xlabel("seconds")
    figure.supylabel("mel band, 30 Hz to 10 kHz")
    figure.colorbar(shown, ax=axes, label="dB", shrink=0.8)
    save_figure(figure, path)


def _bands(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    part = torch.from_numpy(samples[: round(SHOWN_SECONDS * RATE)])
    return 10.0 * log_mel(part, RATE, n_mels=96).numpy()


def _colour(row: str) -> str:
    if row.startswith(("made", "continued")):
        return MADE
    return REAL if row.startswith(("real", "codec", "copies")) else FLOOR
