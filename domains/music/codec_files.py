"""Codecs in files: weights and a description, read without executing anything in them.

A codec file is a model file of this library (`sciffusion.estimators.persistence`) whose class is ``Codec``.
Model files of music models hold the same description of their codec.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from sciffusion.estimators.persistence import (
    ModelContent,
    ModelFileError,
    read_model_file,
    write_model_file,
)

from .codec import Codec
from .encodec_codec import EncodecCodec
from .light_codec import LightCodec
from .spectral_codec import SpectralCodec

__all__ = ["codec_from_description", "load_codec", "save_codec"]

_CLASS = "Codec"


def codec_from_description(tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> Codec:
    """Rebuild a codec from what its `description` gave.

    Parameters
    ----------
    tensors : mapping of str to Tensor
    values : mapping of str to Any
        ``kind`` names the codec.

    Raises
    ------
    ModelFileError
        For a kind that this library does not know, or a description that does not fit it.
    """
    kind = values.get("kind")
    build = _kinds().get(str(kind))
    if build is None:
        known = ", ".join(sorted(_kinds()))
        raise ModelFileError(f"a codec of kind {kind!r} cannot be rebuilt; this version knows {known}")
    try:
        return build(tensors, values)
    except (KeyError, TypeError, RuntimeError, ValueError) as error:
        raise ModelFileError(f"the description of a codec of kind {kind!r} does not fit: {error}") from error


def save_codec(codec: Codec, path: str | os.PathLike[str]) -> None:
    """Write a codec to a file, replaced only once it is complete.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    """
    tensors, values = codec.description()
    write_model_file(path, ModelContent(_CLASS, {}, tensors, values))


def load_codec(path: str | os.PathLike[str]) -> Codec:
    """Read a codec that `save_codec` wrote.

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
    return codec_from_description(content.tensors, content.fitted)


def _kinds() -> dict[str, Callable[[Mapping[str, Tensor], Mapping[str, Any]], Codec]]:
    return {
        "encodec": EncodecCodec.from_description,
        "light": LightCodec.from_description,
        "spectral": SpectralCodec.from_description,
    }
