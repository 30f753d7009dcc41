"""Simulated arrays kept on disk, found again by every setting that decides them.

The name of a file is the name of the set with the start of the SHA-256 of its settings as sorted JSON; the
settings lie in the file too and are compared when it is read. Files are NumPy archives without pickled
objects, written under another name and moved into place. A file that cannot be read or that holds other
settings is simulated anew.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .wheels import data_home

__all__ = ["Arrays", "cached_arrays"]

Arrays = dict[str, NDArray[Any]]

_SETTINGS = "settings_json"


def cached_arrays(
    name: str,
    settings: Mapping[str, object],
    simulate: Callable[[], Arrays],
    *,
    folder: str | os.PathLike[str] | None = None,
) -> Arrays:
    """Return the arrays of a simulation, from the cache or simulated and then kept.

    Parameters
    ----------
    name : str
        Name of the set, the first part of the file's name.
    settings : mapping of str to what JSON can hold
        Everything that decides the arrays, the version of the method included.
    simulate : callable
        Makes the arrays.
    folder : path or None
        Cache folder, see :func:`data_home`; files lie in its folder ``particles``.
    """
    words = json.dumps(dict(settings), sort_keys=True)
    digest = hashlib.sha256(words.encode()).hexdigest()[:16]
    location = data_home(folder) / "particles" / f"{name}-{digest}.npz"
    found = _read(location, words)
    if found is not None:
        return found
    arrays = simulate()
    _write(location, words, arrays)
    return arrays


def _read(location: Path, words: str) -> Arrays | None:
    """Return the arrays of a file made with these settings, None where there is none."""
    try:
        content = io.BytesIO(location.read_bytes())
        with np.load(content, allow_pickle=False) as archive:
            if str(archive[_SETTINGS]) != words:
                return None
            return {key: archive[key] for key in archive.files if key != _SETTINGS}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _write(location: Path, words: str, arrays: Arrays) -> None:
    """Write so that a reader sees the whole file or none."""
    location.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **{_SETTINGS: np.array(words)}, **arrays)
    descriptor, name = tempfile.mkstemp(dir=location.parent, prefix=location.name, suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content.getbuffer())
        os.replace(name, location)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
