"""Python values as JSON and back, exactly and without executing anything.

JSON knows neither tuples, nor dictionaries whose keys are not strings, nor NaN, nor arrays. Such values
become an object with one key that starts with "$":

==================  =====================================================
``{"$tuple": [..]}``    a tuple
``{"$dict": [[k, v]]}`` a dictionary whose keys are not all plain strings
``{"$float": "nan"}``   NaN, inf, -inf
``{"$array": {..}}``    a NumPy array; numbers are stored as a tensor beside the JSON, strings in it
``{"$scalar": {..}}``   a NumPy scalar
==================  =====================================================
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["Decoder", "Encoder", "NotStorableError"]


class NotStorableError(TypeError):
    """A value is of a kind that JSON cannot hold."""


class Encoder:
    """Turns values into JSON; numerical arrays are put into `tensors`."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}

    def encode(self, value: Any) -> Any:
        """Return a JSON-able form of `value`.

        Raises
        ------
        NotStorableError
            If `value` or something in it is neither None, bool, number, string, list, tuple, dictionary nor a
            NumPy array or scalar.
        """
        if value is None or isinstance(value, bool | str):
            return str(value) if isinstance(value, str) else value
        if isinstance(value, np.generic):
            return {"$scalar": self._array(np.asarray(value))}
        if isinstance(value, int):
            return int(value)
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else {"$float": repr(float(value))}
        if isinstance(value, np.ndarray):
            return {"$array": self._array(value)}
        if isinstance(value, tuple):
            return {"$tuple": [self.encode(item) for item in value]}
        if isinstance(value, list):
            return [self.encode(item) for item in value]
        if isinstance(value, dict):
            return self._dictionary(value)
        raise NotStorableError(f"cannot store {value!r:.100} of type {type(value).__name__}")

    def _dictionary(self, value: dict[Any, Any]) -> dict[str, Any]:
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {key: self.encode(item) for key, item in value.items()}
        return {"$dict": [[self.encode(key), self.encode(item)] for key, item in value.items()]}

    def _array(self, array: np.ndarray[Any, Any]) -> dict[str, Any]:
        shape = list(array.shape)
        if array.dtype.kind in "OUT":
            items = array.reshape(-1).tolist()
            return {
                "dtype": "U" if array.dtype.kind == "U" else "O",
                "shape": shape,
                "items": [self.encode(item) for item in items],
            }
        if array.dtype.kind not in "biufMm":
            raise NotStorableError(f"cannot store an array of dtype {array.dtype}")
        # Bytes keep every dtype exactly, also those that torch lacks.
        flat = np.frombuffer(np.ascontiguousarray(array).tobytes(), dtype=np.uint8).copy()
        name = f"array.{len(self.tensors)}"
        self.tensors[name] = torch.from_numpy(flat)
        return {"dtype": array.dtype.str, "shape": shape, "tensor": name}


class Decoder:
    """Turns JSON made by `Encoder` back into values.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        The encoder's tensors.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors

    def decode(self, value: Any) -> Any:
        """Return the value behind `value`; raise ValueError or KeyError where it is malformed."""
        if isinstance(value, list):
            return [self.decode(item) for item in value]
        if not isinstance(value, dict):
            return value
        tag = next(iter(value), "")
        if not tag.startswith("$"):
            return {key: self.decode(item) for key, item in value.items()}
        return self._tagged(tag, value[tag])

    def _tagged(self, tag: str, content: Any) -> Any:
        if tag == "$tuple":
            return tuple(self.decode(item) for item in content)
        if tag == "$dict":
            return {self.decode(key): self.decode(item) for key, item in content}
        if tag == "$float":
            return float(content)
        if tag == "$array":
            return self._array(content)
        if tag == "$scalar":
            return self._array(content)[()]
        raise ValueError(f"unknown kind of value {tag!r}")

    def _array(self, content: dict[str, Any]) -> np.ndarray[Any, Any]:
        shape = tuple(content["shape"])
        if "items" in content:
            items = [self.decode(item) for item in content["items"]]
            flat = np.empty(len(items), dtype=object)
            flat[:] = items
            return flat.reshape(shape) if content["dtype"] == "O" else flat.reshape(shape).astype(str)
        dtype = np.dtype(content["dtype"])
        if dtype.hasobject:
            raise ValueError("an array of objects cannot be stored as bytes")
        return np.frombuffer(self._tensors[content["tensor"]].numpy().tobytes(), dtype).reshape(shape).copy()
