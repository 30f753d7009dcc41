"""The scikit-learn contract of all estimators: devices, random states, training, persistence, validation."""

from __future__ import annotations

from .base import DiffusionEstimator
from .devices import DeviceError, DeviceWarning, resolve_device
from .fitting import all_or_nothing
from .imports import optional_import
from .persistence import ModelFileError

__all__ = [
    "DeviceError",
    "DeviceWarning",
    "DiffusionEstimator",
    "ModelFileError",
    "all_or_nothing",
    "optional_import",
    "resolve_device",
]
