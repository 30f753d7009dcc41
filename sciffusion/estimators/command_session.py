"""What every sub-command does around its work: threads, warnings, progress, and files it may write.

Imports typer and rich, so only the command line imports it.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

__all__ = ["counting", "on_terminal", "refuse_outputs", "say", "session", "waiting"]


def say(text: str) -> None:
    """Print a line of the result."""
    typer.echo(text)


def on_terminal() -> bool:
    """Say whether the error stream is a terminal, on which a bar can move."""
    return sys.stderr.isatty()


def refuse_outputs(paths: Sequence[Path], force: bool) -> None:
    """Refuse, before any work, files that could not be written at the end.

    Parameters
    ----------
    paths : sequence of Path
        The files.
    force : bool
        Whether those that exist may be overwritten.

    Raises
    ------
    OSError
        If a file exists and `force` is not set, is a folder, or lies in no folder.
    """
    for path in paths:
        if path.is_dir():
            raise IsADirectoryError(f"{str(path)!r} is a folder; name a file in it")
        if path.exists() and not force:
            raise FileExistsError(
                f"{str(path)!r} exists already; name another file, or overwrite it with --force"
            )
        if not path.absolute().parent.is_dir():
            raise FileNotFoundError(f"the folder {str(path.parent)!r} does not exist; create it first")


@contextmanager
def session(threads: int) -> Iterator[None]:
    """Compute with so many threads, and print each warning once, as a line."""
    # The networks are small: more threads help only where rows are many, and cost where cores are busy.
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
