"""Probabilistic forecasting: one diffusion model forecasts, imputes, scores and answers events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .backtest import Forecaster, backtest
from .dynamics import DynamicsDiffusion
from .forecaster import DiffusionForecaster
from .frames import panel_of_frame
from .metrics import (
    crps,
    energy_score,
    interval_coverage,
    interval_width,
    mase,
    pit_values,
    scaled_crps,
    scaled_energy_score,
    seasonal_naive_scale,
    variogram_score,
    weighted_quantile_loss,
)
from .panel import Panel
from .row_checks import GapWarning
from .zero_shot import ZeroShotForecaster

if TYPE_CHECKING:
    from .sktime_adapter import SktimeDiffusionForecaster as SktimeDiffusionForecaster

__all__ = [
    "DiffusionForecaster",
    "DynamicsDiffusion",
    "Forecaster",
    "GapWarning",
    "Panel",
    "ZeroShotForecaster",
    "backtest",
    "crps",
    "energy_score",
    "interval_coverage",
    "interval_width",
    "mase",
    "panel_of_frame",
    "pit_values",
    "scaled_crps",
    "scaled_energy_score",
    "seasonal_naive_scale",
    "variogram_score",
    "weighted_quantile_loss",
]


def __getattr__(name: str) -> object:
    """Load what needs an extra when it is first asked for (PEP 562); `__all__` names what needs none."""
    if name != "SktimeDiffusionForecaster":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .sktime_adapter import SktimeDiffusionForecaster

    return SktimeDiffusionForecaster
