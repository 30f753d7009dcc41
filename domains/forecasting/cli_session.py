"""The files that a sub-command of ``sciffusion forecast`` may write, and how it writes them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from sciffusion.estimators.command_session import refuse_outputs
from sciffusion.estimators.imports import optional_import
from sciffusion.training.checkpoints import write_atomically

from .csv_input import ONLY_SERIES

__all__ = ["check_outputs", "write_csv", "write_picture"]


def check_outputs(paths: Sequence[Path | None], picture: Path | None, force: bool) -> None:
    """Refuse, before any work, files that could not be written, and pictures without matplotlib.

    See `refuse_outputs` for what is raised; an ImportError if matplotlib is missing.
    """
    refuse_outputs(paths, force, picture=picture, option="--plot")
    if picture is not None:
        optional_import("matplotlib", "plots")


def write_csv(path: Path, frame: pd.DataFrame, separator: str) -> None:
    """Write a table as a whole or not at all."""
    text = frame.to_csv(index=False, sep=separator, float_format="%.6g", lineterminator="\n")
    write_atomically(path, lambda file: file.write(text.encode("utf-8")))


def write_picture(path: Path, figure: Any) -> None:
    """Write a figure as a whole or not at all, and forget it; a series without a name gets no title."""
    for ax in figure.axes:
        if ax.get_title(loc="left") == ONLY_SERIES:
            ax.set_title("", loc="left")
        if [text.get_text() for text in ax.get_yticklabels()] == [ONLY_SERIES]:
            ax.set_yticks([])
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix[1:].lower(), dpi=150)
    optional_import("matplotlib.pyplot", "plots").close(figure)
    write_atomically(path, lambda file: file.write(buffer.getvalue()))
