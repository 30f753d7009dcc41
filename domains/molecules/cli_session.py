"""What every sub-command of ``sciffusion molecules`` does around its work: threads, progress, files."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import torch
import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

__all__ = ["check_outputs", "on_terminal", "say", "session", "waiting"]

_PICTURES = (".png", ".svg")


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
    if picture is not None and picture.suffix.lower() not in _PICTURES:
        raise ValueError(f"--picture must name a file ending in {', '.join(_PICTURES)}, got {picture.name!r}")


@contextmanager
def session(threads: int) -> Iterator[None]:
    """Compute with so many threads, and print each warning once, as a line."""
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
