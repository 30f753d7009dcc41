"""Pictures of forecasts: fan charts, filled gaps, anomaly scores, calibration, backtests.

Every function takes the frames that the forecaster's methods and `backtest` return, draws on given matplotlib
Axes (or makes some) and returns the Figure. Colours are those of Okabe and Ito, which colour-blind readers
can tell apart: forecasts blue, what happened vermilion. matplotlib is of the extra ``plots`` and is imported
when a function is called.
"""

from __future__ import annotations

from .plots_anomaly import plot_anomaly
from .plots_backtest import plot_backtest, plot_calibration
from .plots_forecast import plot_forecast
from .plots_imputation import plot_imputation
from .plots_style import PALETTE

__all__ = [
    "PALETTE",
    "plot_anomaly",
    "plot_backtest",
    "plot_calibration",
    "plot_forecast",
    "plot_imputation",
]
