"""The files that a sub-command of ``sciffusion molecules`` may write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sciffusion.estimators.command_session import refuse_outputs

__all__ = ["check_outputs"]

_PICTURES = (".png", ".svg")


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
    refuse_outputs(given, force)
    if picture is not None and picture.suffix.lower() not in _PICTURES:
        raise ValueError(f"--picture must name a file ending in {', '.join(_PICTURES)}, got {picture.name!r}")
