"""States of sessions: tensors, and one string of JSON that names the model they belong to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

__all__ = ["pack_state", "plain_value", "unpack_state"]

_FORMAT = 1
_PARTS = ("run", "control", "partner")


def plain_value(value: Any) -> Any:
    """Return a control's value as numbers, strings, lists and dictionaries, which JSON can hold."""
    if isinstance(value, Mapping):
        return {str(name): plain_value(part) for name, part in value.items()}
    if isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, list | tuple) and all(isinstance(part, int | float) for part in value):
        return list(value)
    if isinstance(value, Tensor | np.ndarray | np.generic | list | tuple):
        return np.asarray(value).tolist()
    return str(value)


def pack_state(tensors: Mapping[str, Tensor], values: Mapping[str, Any], model: str) -> dict[str, Any]:
    """Return a state (see `unpack_state`)."""
    description = json.dumps({"format": _FORMAT, "model": model, **values})
    return {**{name: part.contiguous() for name, part in tensors.items()}, "description": description}


def unpack_state(state: Mapping[str, Any], model: str) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Return the tensors of a state by part, and its values.

    Raises
    ------
    ValueError
        If it is no state of a session, of a newer format, or of another model.
    """
    text = state.get("description") if isinstance(state, Mapping) else None
    try:
        values = json.loads(text) if isinstance(text, str) else None
    except json.JSONDecodeError:
        values = None
    if not isinstance(values, dict) or "format" not in values:
        raise ValueError("this is no state of a session: a mapping that state_dict returned is expected")
    if values["format"] != _FORMAT:
        raise ValueError(f"the state has format {values['format']}, this version reads format {_FORMAT}")
    if values.get("model") != model:
        raise ValueError("the state belongs to a session of another model")
    parts: dict[str, dict[str, Tensor]] = {part: {} for part in _PARTS}
    for name, tensor in state.items():
        part, _, inner = name.partition(".")
        if part in parts and isinstance(tensor, Tensor):
            parts[part][inner] = tensor
    return parts, values
