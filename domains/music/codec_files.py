"""Codecs of any kind from their descriptions, which codec files and the files of music models hold."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from sciffusion.estimators.persistence import ModelFileError

from .codec import Codec
from .codec_storage import read_codec_description
from .encodec_codec import EncodecCodec
from .light_codec import LightCodec
from .spectral_codec import SpectralCodec

__all__ = ["codec_from_description", "load_codec"]


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


def load_codec(path: str | os.PathLike[str]) -> Codec:
    """Read a codec that `save_codec` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ModelFileError
        If the file is damaged or holds no codec.
    """
    return codec_from_description(*read_codec_description(path))


def _kinds() -> dict[str, Callable[[Mapping[str, Tensor], Mapping[str, Any]], Codec]]:
    return {
        "encodec": EncodecCodec.from_description,
        "light": LightCodec.from_description,
        "spectral": SpectralCodec.from_description,
    }
