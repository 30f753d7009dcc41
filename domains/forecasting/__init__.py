"""Probabilistic forecasting: one diffusion model forecasts, imputes, scores and answers events."""

from __future__ import annotations

from .backtest import Forecaster, backtest
from .forecaster import DiffusionForecaster
from .frames import GapWarning, panel_of_frame
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

__all__ = [
    "DiffusionForecaster",
    "Forecaster",
    "GapWarning",
    "Panel",
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
