"""AutoTheta, AutoETS and MSTL of statsforecast, fitted anew at every origin.

Each is fitted on the last rows before the origin (ETS 400, Theta 600, MSTL 1,400: longer ones cost more and
change little), missing values filled linearly, with the season length of the set. Quantiles are read off its
prediction intervals (levels 20 to 99 %) and its mean as the median; they are independent between steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from forecast_data import Histories
from forecast_models import QuantileModel, read_quantiles

__all__ = ["AutoETS", "AutoTheta", "SeasonalTrend"]

INTERVALS = (20, 40, 60, 80, 90, 95, 98, 99)
KNOWN_LEVELS = np.array(
    [*(0.5 - level / 200 for level in reversed(INTERVALS)), 0.5, *(0.5 + level / 200 for level in INTERVALS)]
)


class StatisticalModel(QuantileModel):
    """A univariate model of statsforecast behind the calls of the comparison."""

    rows = 1400

    def model(self, season_length: int) -> Any:
        """Give the unfitted model."""
        raise NotImplementedError

    def fit(self, histories: Histories) -> StatisticalModel:
        """Nothing is learnt before an origin."""
        return self

    def quantiles(self, histories: Histories, levels: np.ndarray) -> np.ndarray:
        """Fit one model a series and read its intervals."""
        found = []
        for series in histories.filled():
            model = self.model(histories.season_length)
            forecast = model.forecast(y=series[-self.rows :], h=histories.horizon, level=list(INTERVALS))
            low = [forecast[f"lo-{level}"] for level in reversed(INTERVALS)]
            high = [forecast[f"hi-{level}"] for level in INTERVALS]
            found.append(np.stack([*low, forecast["mean"], *high]))
        return read_quantiles(KNOWN_LEVELS, np.stack(found), levels)


class AutoTheta(StatisticalModel):
    """Best of four theta models."""

    rows = 600

    def model(self, season_length: int) -> Any:
        """Give the unfitted model."""
        from statsforecast.models import AutoTheta

        return AutoTheta(season_length=season_length)


class AutoETS(StatisticalModel):
    """Exponential smoothing chosen by AICc."""

    rows = 400

    def model(self, season_length: int) -> Any:
        """Give the unfitted model."""
        from statsforecast.models import AutoETS

        return AutoETS(season_length=season_length)


class SeasonalTrend(StatisticalModel):
    """MSTL: seasonal decomposition by LOESS, the trend forecast by exponential smoothing."""

    def model(self, season_length: int) -> Any:
        """Give the unfitted model."""
        from statsforecast.models import MSTL

        return MSTL(season_length=season_length)
