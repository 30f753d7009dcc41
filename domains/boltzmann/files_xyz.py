"""Multi-model ``.xyz`` files, which viewers of molecules open.

Each model is a line with the number of atoms, a comment, and a line "name x y z" an atom; viewers take
lengths for Ångström. Two dimensions become three with z = 0.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sciffusion.training.checkpoints import write_atomically

__all__ = ["read_xyz", "write_xyz"]

_ELEMENT = "Ar"  # what particles without a name are shown as


def write_xyz(
    path: str | Path,
    configurations: ArrayLike,
    names: Sequence[str] | None = None,
    *,
    scale: float = 1.0,
    comments: Sequence[str] | None = None,
) -> None:
    """Write configurations as a multi-model ``.xyz`` file, as a whole or not at all.

    Parameters
    ----------
    path : path-like
        Where to.
    configurations : array-like of shape (n, atoms, dimensions)
        Of one, two or three dimensions.
    names : sequence of str, optional
        Element or name of every atom; argon by default.
    scale : float
        Factor from the unit of the configurations to Ångström: 10 for nanometres.
    comments : sequence of str, optional
        Comment line of every model.

    Raises
    ------
    ValueError
        For configurations, names or comments of wrong shapes or values.
    FileNotFoundError
        If the folder does not exist.
    """
    x = np.asarray(configurations, dtype=np.float64)
    if x.ndim != 3 or not len(x) or not 1 <= x.shape[2] <= 3 or not np.isfinite(x).all():
        raise ValueError(
            f"configurations must be finite and of shape (n, atoms, 1 to 3 dimensions), got shape {x.shape}"
        )
    atoms = [_ELEMENT] * x.shape[1] if names is None else [str(name) for name in names]
    lines = [""] * len(x) if comments is None else [str(one) for one in comments]
    if len(atoms) != x.shape[1] or any(not name or len(name.split()) != 1 for name in atoms):
        raise ValueError(f"names must be {x.shape[1]} words, one an atom, got {len(atoms)}")
    if len(lines) != len(x) or any("\n" in line for line in lines):
        raise ValueError(f"comments must be {len(x)} single lines, one a configuration")
    whole = np.zeros((*x.shape[:2], 3))
    whole[..., : x.shape[2]] = scale * x
    text = io.StringIO()
    for line, model in zip(lines, whole.tolist(), strict=True):
        text.write(f"{len(atoms)}\n{line}\n")
        text.writelines(
            f"{name} {a:.6f} {b:.6f} {c:.6f}\n" for name, (a, b, c) in zip(atoms, model, strict=True)
        )
    content = text.getvalue().encode("utf-8")
    write_atomically(path, lambda file: file.write(content))


def read_xyz(path: str | Path) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Read a multi-model ``.xyz`` file.

    Parameters
    ----------
    path : path-like
        Where from; columns after the third coordinate are ignored.

    Returns
    -------
    configurations : ndarray of shape (n, atoms, 3)
        In the file's own unit, Ångström as a rule.
    names : tuple of str
        Name of each atom, of the first model.

    Raises
    ------
    ValueError
        If the file is damaged, with the line; or its models have different atoms.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").rstrip().split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{Path(path).name!r} is no text ({error.reason} at byte {error.start})") from None
    models: list[NDArray[np.float64]] = []
    names: tuple[str, ...] = ()
    start = 0
    while start < len(lines):
        count = _count(lines[start], start + 1)
        rows = [line.split() for line in lines[start + 2 : start + 2 + count]]
        found = tuple(row[0] if row else "" for row in rows)
        if models and found != names:
            raise ValueError(f"the model that begins in line {start + 1} has other atoms than the first")
        models.append(_positions(rows, count, start + 1))
        names = found
        start += count + 2
    return np.stack(models), names


def _count(line: str, number: int) -> int:
    if not line.strip().isdigit() or int(line) < 1:
        raise ValueError(f"line {number} must be a number of atoms, got {line[:40]!r}")
    return int(line)


def _positions(rows: Sequence[Sequence[Any]], count: int, number: int) -> NDArray[np.float64]:
    try:
        if len(rows) != count:
            raise ValueError
        found = np.array([[float(word) for word in row[1:4]] for row in rows])
        if found.shape != (count, 3):
            raise ValueError
        return found
    except ValueError:
        raise ValueError(
            f"the model that begins in line {number} must have {count} lines 'name x y z' after a comment"
        ) from None
