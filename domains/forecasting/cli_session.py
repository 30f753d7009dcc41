"""What every sub-command of ``sciffusion forecast`` does around its work: threads, progress, files."""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import pandas as pd
import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from sciffusion.estimators.imports import optional_import
from sciffusion.training.checkpoints import write_atomically

from .csv_input import ONLY_SERIES

__all__ = [
    "check_outputs",
    "counting",
    "on_terminal",
    "say",
    "session",
    "waiting",
    "write_csv",
    "write_picture",
]

_PICTURES = (".png", ".svg", ".pdf")


def say(text: str) -> None:
    """Print a line of the result."""
    typer.echo(text)


def on_terminal() -> bool:
    """Say whether the error stream is a terminal, on which a bar can move."""
    return sys.stderr.isatty()


def check_outputs(paths: Sequence[Path | None], picture: Path | None, force: bool) -> None:
    """Refuse, before any work, files that could not be written at the end.

    Raises
    ------
    OSError
        If a file exists and `force` is not set, is a folder, or lies in no folder.
    ValueError
        If two are the same file, or the picture is of no kind that can be drawn.
    ImportError
        If a picture is wanted and matplotlib is not installed.
    """
    given = [path for path in (*paths, picture) if path is not None]
    if len({path.absolute() for path in given}) < len(given):
        raise ValueError("two of the files to write have the same name")
    for path in given:
        if path.is_dir():
            raise IsADirectoryError(f"{str(path)!r} is a folder; name a file in it")
        if path.exists() and not force:
            raise FileExistsError(
                f"{str(path)!r} exists already; name another file, or overwrite it with --force"
            )
        if not path.absolute().parent.is_dir():
            raise FileNotFoundError(f"the folder {str(path.parent)!r} does not exist; create it first")
    if picture is not None:
        if picture.suffix.lower() not in _PICTURES:
            raise ValueError(
                f"--plot must name a file ending in {', '.join(_PICTURES)}, got {picture.name!r}"
            )
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


@contextmanager
def session(threads: int) -> Iterator[None]:
    """Compute with so many threads, print each warning once as a line, and draw without a display."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("once", UserWarning)
            warnings.showwarning = _show_warning
            yield
    finally:
        torch.set_num_threads(before)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    typer.echo(f"Warning: {message}", err=True)


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Show that work goes on, where the error stream is a terminal."""
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        progress.add_task(what, total=None)
        yield


@contextmanager
def counting() -> Iterator[Any]:
    """Give a progress function (done, total, what): a bar, or a line each where there is no terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with Progress(*columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=1)

        def show(done: int, total: int, what: str) -> None:
            bar.update(task, completed=done, total=total, description=what)
            if not console.is_terminal:
                typer.echo(f"[{done}/{total}] {what}", err=True)

        yield show
