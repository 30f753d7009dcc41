"""The file format of codecs: weights and a description, read without executing anything in them.

A codec file is a model file of this library (`sciffusion.estimators.persistence`) whose class is ``Codec``.
Which codec it holds, its ``kind`` says (`codec_files`).
"""

from __future__ import annotations

import os
from typing import Any

from torch import Tensor

from sciffusion.estimators.persistence import (
    ModelContent,
    ModelFileError,
    read_model_file,
    write_model_file,
)

from .codec import Codec

__all__ = ["read_codec_description", "save_codec"]

_CLASS = "Codec"


def save_codec(codec: Codec, path: str | os.PathLike[str]) -> None:
    """Write a codec to a file, replaced only once it is complete.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    """
    tensors, values = codec.description()
    write_model_file(path, ModelContent(_CLASS, {}, tensors, values))


def read_codec_description(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what the `description` of a saved codec gave.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ModelFileError
        If the file is damaged or holds no codec.
    """
    content = read_model_file(path)
    if content.class_name != _CLASS:
        raise ModelFileError(
            f"{os.fspath(path)!r} holds a {content.class_name}, not a codec; load it with "
            f"{content.class_name}.load"
        )
    return content.tensors, content.fitted
