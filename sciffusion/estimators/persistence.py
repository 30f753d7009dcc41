r"""Model files: one file, readable without executing anything in it, written as a whole or not at all.

A model file is a safetensors file. Its tensors are the weights (names starting with ``fitted.``) and the
numerical arrays of the description; its metadata hold the description as JSON under the key ``sciffusion``
and, under ``sha256``, a hash of the description and of all tensors:

==================  ======================================================================
``format``          version of this layout, an integer; files of a newer one are refused
``library``         version of sciffusion that wrote the file
``class``           name of the estimator's class
``parameters``      constructor parameters
``fitted``          fitted values that are no tensors
==================  ======================================================================

The class is never imported by a name in the file: it is looked up among the estimators of this library that
have been imported (`REGISTRY`).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from ..training.checkpoints import write_atomically
from .json_codec import Decoder, Encoder

__all__ = [
    "FORMAT_VERSION",
    "REGISTRY",
    "ModelContent",
    "ModelFileError",
    "read_model_file",
    "write_model_file",
]

#: Version of the layout that this library writes, and the newest that it reads.
FORMAT_VERSION = 1

#: Estimators that files may name, by the name of their class; filled when their classes are defined.
REGISTRY: dict[str, type] = {}

_FITTED = "fitted."
_MAGIC = {
    b"PK\x03\x04": "a zip archive, such as torch.save writes, which can hold a pickle",
    b"\x80": "a Python pickle (as joblib.dump, pickle.dump or an old torch.save write)",
    b"\x1f\x8b": "a gzip-compressed file",
    b"\x89HDF": "an HDF5 file",
}


class ModelFileError(ValueError):
    """A model file cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class ModelContent:
    """What a model file holds.

    Attributes
    ----------
    class_name : str
        Name of the estimator's class.
    parameters : dict
        Constructor parameters.
    tensors : dict of str to Tensor
        Fitted tensors, on the CPU.
    fitted : dict
        Fitted values that are no tensors.
    """

    class_name: str
    parameters: dict[str, Any]
    tensors: dict[str, Tensor]
    fitted: dict[str, Any]


def write_model_file(path: str | os.PathLike[str], content: ModelContent) -> None:
    """Write `content` to `path`, replacing a file that is there only once the new one is complete.

    Raises
    ------
    NotStorableError
        If a parameter or fitted value cannot be stored.
    FileNotFoundError
        If the folder does not exist.
    """
    encoder = Encoder()
    description = {
        "format": FORMAT_VERSION,
        "library": _library_version(),
        "class": content.class_name,
        "parameters": encoder.encode(content.parameters),
        "fitted": encoder.encode(content.fitted),
    }
    text = json.dumps(description, allow_nan=False)
    tensors = {**{_FITTED + name: value for name, value in content.tensors.items()}, **encoder.tensors}
    # Copies, because tensors that share memory cannot be told apart in a file.
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    metadata = {"sciffusion": text, "sha256": _checksum(text, tensors)}
    blob = safetensors_bytes(tensors, metadata)
    write_atomically(path, lambda file: file.write(blob))


def read_model_file(path: str | os.PathLike[str]) -> ModelContent:
    """Read and check a model file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ModelFileError
        If the file is no model file, damaged, or of a newer format.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no model file {os.fspath(path)!r}")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            if "sciffusion" not in metadata:
                raise ModelFileError(
                    f"{os.fspath(path)!r} is a safetensors file, but not one that an estimator's save() wrote"
                )
            description = _description(path, metadata["sciffusion"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, RuntimeError) as error:
        raise ModelFileError(_diagnosis(path, error)) from error
    if metadata.get("sha256") != _checksum(metadata["sciffusion"], tensors):
        raise ModelFileError(
            f"{os.fspath(path)!r} is damaged: its checksum does not match; copy the file again or save the "
            "model again"
        )
    return _content(path, description, tensors)


def _content(
    path: str | os.PathLike[str], description: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> ModelContent:
    decoder = Decoder(tensors)
    fitted = {name[len(_FITTED) :]: value for name, value in tensors.items() if name.startswith(_FITTED)}
    try:
        return ModelContent(
            class_name=str(description["class"]),
            parameters=decoder.decode(description["parameters"]),
            tensors=fitted,
            fitted=decoder.decode(description["fitted"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(f"{os.fspath(path)!r} has a malformed description ({error})") from error


def _description(path: str | os.PathLike[str], text: str) -> dict[str, Any]:
    try:
        description = json.loads(text)
        found = description["format"]
        newer = found > FORMAT_VERSION
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ModelFileError(f"{os.fspath(path)!r} has no readable description; it is damaged") from error
    if newer:
        raise ModelFileError(
            f"{os.fspath(path)!r} has model format {found}, written by sciffusion "
            f"{description.get('library', 'of a newer version')}; this version ({_library_version()}) reads "
            f"up to format {FORMAT_VERSION}: upgrade with pip install -U sciffusion"
        )
    return dict(description)


def _diagnosis(path: str | os.PathLike[str], error: Exception) -> str:
    with Path(path).open("rb") as file:
        content = file.read(16)
    start = f"{os.fspath(path)!r} is not a sciffusion model file: "
    remedy = "; load a file that an estimator's save() wrote"
    if not content:
        return f"{start}it is empty{remedy}"
    if content[8:9] == b"{":  # a safetensors header follows its length
        return f"{os.fspath(path)!r} is truncated or damaged ({error}): copy it again or save the model again"
    for magic, kind in _MAGIC.items():
        if content.startswith(magic):
            return f"{start}it looks like {kind}, and is not opened, as that could execute code{remedy}"
    return f"{start}it has another format or is damaged ({error}){remedy}"


def _checksum(text: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name}|{value.dtype}|{tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _library_version() -> str:
    try:
        return version("sciffusion")
    except PackageNotFoundError:
        return "unknown"
