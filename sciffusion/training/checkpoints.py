"""Checkpoints of a running fit: atomic on disk, safe to read, and tied to the fit they belong to.

A checkpoint holds every value that the rest of the fit depends on, so that a fit which was stopped and
started again ends with the same weights as one which was not, bit for bit on one CPU. It is written by
`torch.save` and read with ``weights_only=True``: reading executes no code from the file.

The *fingerprint* is a hash of what defines the fit: options, seed, data, initial weights, device kind and the
caller's own description. A checkpoint with another fingerprint is refused rather than silently mixed in.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

__all__ = ["CheckpointError", "fingerprint", "read_checkpoint", "write_atomically", "write_checkpoint"]

_FORMAT = 1


class CheckpointError(ValueError):
    """A checkpoint cannot be read or does not belong to this fit."""


def write_atomically(path: str | os.PathLike[str], write: Callable[[IO[bytes]], object]) -> None:
    """Write a file so that a reader finds either the old content or all of the new one.

    Parameters
    ----------
    path : path-like
        Where to; the folder must exist.
    write : callable
        Called with a binary file in the same folder, which is renamed to `path` when the call succeeded and
        removed when it failed.

    Raises
    ------
    FileNotFoundError
        If the folder of `path` does not exist.
    """
    target = Path(path)
    _require_folder(target)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes private files; a model file should follow the user's umask like any other.
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _require_folder(target: Path) -> None:
    if not target.parent.is_dir():
        raise FileNotFoundError(f"cannot write {target}: create the folder {target.parent} first")


def _umask() -> int:
    current = os.umask(0o022)
    os.umask(current)
    return current


def fingerprint(values: Mapping[str, Any], tensors: Sequence[Tensor]) -> str:
    """Return a hash of JSON-able `values` and of the dtypes, shapes and contents of `tensors`."""
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    for tensor in tensors:
        content = tensor.detach().to("cpu").contiguous()
        digest.update(f"{content.dtype}{tuple(content.shape)}".encode())
        digest.update(content.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def write_checkpoint(path: str | os.PathLike[str], state: Mapping[str, Any], identity: str) -> None:
    """Write `state` (nested dicts and lists of tensors, numbers and strings) for the fit `identity`."""
    content = {"format": _FORMAT, "identity": identity, "state": dict(state)}
    write_atomically(path, lambda file: torch.save(content, file))


def read_checkpoint(path: str | os.PathLike[str], identity: str) -> dict[str, Any] | None:
    """Return the state written for the fit `identity`, or None if there is no file at `path`.

    Raises
    ------
    CheckpointError
        If the file is no checkpoint, is damaged, or belongs to another fit.
    FileNotFoundError
        If the folder of `path` does not exist, so that no checkpoint could be written either.
    """
    _require_folder(Path(path))
    if not Path(path).exists():
        return None
    remedy = "delete the file or give another `checkpoint` path to start afresh"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's guesses about foreign files; the error below says it
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{os.fspath(path)!r} is no training checkpoint or is damaged ({type(error).__name__}); {remedy}"
        ) from error
    if not isinstance(content, dict) or not {"format", "identity", "state"} <= content.keys():
        raise CheckpointError(f"{os.fspath(path)!r} is not a training checkpoint of sciffusion; {remedy}")
    if content["format"] != _FORMAT:
        raise CheckpointError(
            f"{os.fspath(path)!r} has checkpoint format {content['format']!r}, "
            f"this version reads {_FORMAT}; {remedy}"
        )
    if content["identity"] != identity:
        raise CheckpointError(
            f"{os.fspath(path)!r} belongs to another fit: its options, seed, data or initial weights differ "
            f"from those given now; {remedy}"
        )
    state: dict[str, Any] = content["state"]
    return state
