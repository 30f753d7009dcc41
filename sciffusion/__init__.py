"""Diffusion models for scientific data that are not images, as scikit-learn estimators.

The names below are loaded on first use: ``import sciffusion`` brings in no training library, no plotting and
none of the adapters' dependencies. Everything else is imported from where it lives, for example
``sciffusion.continuous`` (paths and solvers), ``sciffusion.datasets`` or ``sciffusion.exact``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sciffusion.domains.boltzmann.diffusion import BoltzmannDiffusion
    from sciffusion.domains.forecasting import DiffusionForecaster
    from sciffusion.domains.forecasting.dynamics import DynamicsDiffusion
    from sciffusion.domains.molecules.diffusion import MoleculeDiffusion
    from sciffusion.domains.music.diffusion import LiveMusicDiffusion
    from sciffusion.domains.survival import SDPMSurvival
    from sciffusion.estimators.anomaly import DiffusionAnomalyDetector
    from sciffusion.estimators.counts import CountDiffusion
    from sciffusion.estimators.density import DensityDiffusion
    from sciffusion.estimators.tokens import TokenDiffusion

    __version__: str

__all__ = [
    "BoltzmannDiffusion",
    "CountDiffusion",
    "DensityDiffusion",
    "DiffusionAnomalyDetector",
    "DiffusionForecaster",
    "DynamicsDiffusion",
    "LiveMusicDiffusion",
    "MoleculeDiffusion",
    "SDPMSurvival",
    "TokenDiffusion",
    "__version__",
]

_MODULE_OF_NAME = {
    "CountDiffusion": "sciffusion.estimators.counts",
    "DensityDiffusion": "sciffusion.estimators.density",
    "DiffusionAnomalyDetector": "sciffusion.estimators.anomaly",
    "DynamicsDiffusion": "sciffusion.domains.forecasting.dynamics",
    "DiffusionForecaster": "sciffusion.domains.forecasting",
    "BoltzmannDiffusion": "sciffusion.domains.boltzmann.diffusion",
    "LiveMusicDiffusion": "sciffusion.domains.music.diffusion",
    "MoleculeDiffusion": "sciffusion.domains.molecules.diffusion",
    "SDPMSurvival": "sciffusion.domains.survival",
    "TokenDiffusion": "sciffusion.estimators.tokens",
}


def __getattr__(name: str) -> object:
    """Load a public name when it is first asked for (PEP 562) and keep it."""
    if name == "__version__":
        value: object = importlib.import_module("importlib.metadata").version("sciffusion")
    elif name in _MODULE_OF_NAME:
        value = getattr(importlib.import_module(_MODULE_OF_NAME[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})
