"""The scikit-learn contract of all estimators, and the estimators that need no field.

`DensityDiffusion` and `DiffusionAnomalyDetector` are loaded when they are first asked for; the rest (devices,
random states, training, persistence, validation) comes with the package.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from .base import DiffusionEstimator
from .devices import DeviceError, DeviceWarning, resolve_device
from .fitting import all_or_nothing
from .imports import optional_import
from .persistence import ModelFileError

if TYPE_CHECKING:
    from .anomaly import DiffusionAnomalyDetector
    from .counts import CountDiffusion
    from .density import DensityDiffusion
    from .tokens import TokenDiffusion

__all__ = [
    "CountDiffusion",
    "DensityDiffusion",
    "DeviceError",
    "DeviceWarning",
    "DiffusionAnomalyDetector",
    "DiffusionEstimator",
    "ModelFileError",
    "TokenDiffusion",
    "all_or_nothing",
    "optional_import",
    "resolve_device",
]

_MODULE_OF_NAME = {
    "CountDiffusion": ".counts",
    "DensityDiffusion": ".density",
    "DiffusionAnomalyDetector": ".anomaly",
    "TokenDiffusion": ".tokens",
}


def __getattr__(name: str) -> object:
    """Load an estimator when it is first asked for (PEP 562)."""
    if name not in _MODULE_OF_NAME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULE_OF_NAME[name], __name__), name)
