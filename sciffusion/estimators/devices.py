"""Where an estimator computes.

``device="auto"`` takes the first of these that is there:

1. ``"cuda"``, an NVIDIA (or ROCm) accelerator, the one that torch calls current;
2. ``"cpu"``.

``"mps"`` (Apple) is used only when asked for by name: it has no float64, in which schedules are computed, and
for the small networks of this library it is seldom faster than the CPU.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["DeviceError", "DeviceWarning", "on_cpu", "resolve_device"]


class DeviceError(ValueError):
    """The device that was asked for is not there."""


class DeviceWarning(UserWarning):
    """A model asks for a device that is not there and computes on the CPU instead."""


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """Return the torch device behind an estimator's `device` parameter.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda", "cuda:N", "mps"} or torch.device
        What was asked for.

    Returns
    -------
    torch.device

    Raises
    ------
    TypeError, ValueError
        If `device` is none of these.
    DeviceError
        If it names a device that this machine does not have.
    """
    if not isinstance(device, str | torch.device):
        raise TypeError(f"device must be a string or a torch.device, got {device!r}")
    name = str(device)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", name):
        raise ValueError(f"device must be 'auto', 'cpu', 'cuda', 'cuda:N' or 'mps', got {name!r}")
    missing = _why_missing(torch.device(name))
    if missing:
        raise DeviceError(f"device={name!r} cannot be used: {missing}; use device='auto' or device='cpu'")
    return torch.device(name)


def _why_missing(device: torch.device) -> str:
    if device.type == "cuda":
        if torch.version.cuda is None and torch.version.hip is None:
            return "this torch was built without CUDA (install a CUDA build of torch to use a GPU)"
        if not torch.cuda.is_available():
            return "torch finds no CUDA device (check the driver and CUDA_VISIBLE_DEVICES)"
        if (device.index or 0) >= torch.cuda.device_count():
            return f"this machine has {torch.cuda.device_count()} CUDA device(s), numbered from 0"
    if device.type == "mps" and not torch.backends.mps.is_available():
        return "torch finds no Apple GPU"
    return ""


def on_cpu(value: Any) -> Any:
    """Return `value` with every tensor and network in it on the CPU; what is there already is not copied.

    Looks into dictionaries, lists and tuples; anything else is returned as it is.
    """
    if isinstance(value, Tensor):
        return value.detach().cpu() if value.device.type != "cpu" else value
    if isinstance(value, nn.Module):
        return _module_on_cpu(value)
    if isinstance(value, Mapping) and type(value) is dict:
        return {key: on_cpu(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(on_cpu(item) for item in value)
    return value


def _module_on_cpu(module: nn.Module) -> nn.Module:
    tensors = [*module.parameters(), *module.buffers()]
    if all(tensor.device.type == "cpu" for tensor in tensors):
        return module
    return deepcopy(module).cpu()
