"""Simulated arrays kept on disk, found again by every setting that decides them.

The name of a file is the name of the set with the start of the SHA-256 of its settings as sorted JSON; the
settings lie in the file too and are compared when it is read. Files are NumPy archives without pickled
objects, written under another name and moved into place. A file that cannot be read, that is damaged or that
holds other settings is simulated anew.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .wheels import data_home

__all__ = ["Arrays", "cached_arrays"]

Arrays = dict[str, NDArray[Any]]

#: The first two arrays of a file. Of an archive that is cut at its end the rest of the names tells.
_SETTINGS, _NAMES = "settings_json", "names_json"


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

    Raises
    ------
    OSError
        If the folder cannot be made: before anything is simulated.

    Warns
    -----
    UserWarning
        If the file cannot be written; the arrays are returned all the same.
    """
    words = json.dumps(dict(settings), sort_keys=True)
    digest = hashlib.sha256(words.encode()).hexdigest()[:16]
    location = data_home(folder) / "particles" / f"{name}-{digest}.npz"
    found = _read(location, words)
    if found is not None:
        return found
    location.parent.mkdir(parents=True, exist_ok=True)
    arrays = simulate()
    try:
        _write(location, words, arrays)
    except OSError as error:
        warnings.warn(
            f"{name} could not be kept in {location.parent} and will be simulated again: {error}",
            UserWarning,
            stacklevel=2,
        )
    return arrays


def _read(location: Path, words: str) -> Arrays | None:
    """Return the arrays of a file made with these settings, None where there is none."""
    try:
        content = io.BytesIO(location.read_bytes())
        with zipfile.ZipFile(content) as archive:
            if archive.testzip() is not None:  # NumPy does not compare the checksums of all it reads
                return None
        content.seek(0)
        with np.load(content, allow_pickle=False) as archive:
            if str(archive[_SETTINGS]) != words:
                return None
            found = {key: archive[key] for key in archive.files if key != _SETTINGS}
    # What damage does to the headers of an archive shows as any of these.
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile):
        return None
    names = found.pop(_NAMES, None)  # files of before have none
    whole = len(found) > 0 if names is None else json.loads(str(names)) == list(found)
    return found if whole else None


def _write(location: Path, words: str, arrays: Arrays) -> None:
    """Write so that a reader sees the whole file or none."""
    content = io.BytesIO()
    first = {_SETTINGS: np.array(words), _NAMES: np.array(json.dumps(list(arrays)))}
    np.savez(content, allow_pickle=False, **first, **arrays)
    descriptor, name = tempfile.mkstemp(dir=location.parent, prefix=location.name, suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content.getbuffer())
        os.replace(name, location)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
