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

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from sciffusion.training.global_state import limited_threads

__all__ = ["PICTURES", "counting", "on_terminal", "refuse_outputs", "say", "session", "waiting"]

#: Endings of pictures that matplotlib draws.
PICTURES = (".png", ".svg", ".pdf")


def say(text: str) -> None:
    """Print a line of the result."""
    typer.echo(text)


def on_terminal() -> bool:
    """Say whether the error stream is a terminal, on which a bar can move."""
    return sys.stderr.isatty()


def refuse_outputs(
    paths: Sequence[Path | None],
    force: bool,
    *,
    picture: Path | None = None,
    kinds: Sequence[str] = PICTURES,
    option: str = "--picture",
) -> None:
    """Refuse, before any work, files that could not be written at the end.

    Parameters
    ----------
    paths : sequence of Path or None
        The files; None where one is not asked for.
    force : bool
        Whether those that exist may be overwritten.
    picture : Path, optional
        One more file, a picture.
    kinds : sequence of str
        Endings that a picture may have.
    option : str
        What names the picture.

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
    if picture is not None and picture.suffix.lower() not in kinds:
        raise ValueError(f"{option} must name a file ending in {', '.join(kinds)}, got {picture.name!r}")


@contextmanager
def session(threads: int) -> Iterator[None]:
    """Compute with so many threads, and print each warning once, as a line."""
    with limited_threads(threads), warnings.catch_warnings():
        warnings.simplefilter("once", UserWarning)
        warnings.showwarning = _show_warning
        yield


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
