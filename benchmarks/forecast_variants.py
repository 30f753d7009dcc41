"""The forecaster with one of its parts exchanged: what the ablation compares.

A variant is fitted by the estimator itself, while one class is replaced by a subclass that leaves out what
the ablation asks about; the fitted model keeps the exchanged part for its forecasts.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

import numpy as np
from forecast_data import Histories
from forecast_ours import OurForecaster

from sciffusion.domains.forecasting import base_forecast, fitting
from sciffusion.domains.forecasting.base_forecast import BaseForecast, BaseForecaster, TrainingBase
from sciffusion.domains.forecasting.residual_law import ResidualLaw
from sciffusion.domains.forecasting.ridge import standardise
from sciffusion.domains.forecasting.stack import Stack

__all__ = ["DEFAULT", "VARIANTS", "Variant"]

DEFAULT = "default"


class RawTarget(BaseForecaster):
    """No base: location and scale of every step are mean and deviation of the context."""

    def forecast(self, series: Any, windows: Any) -> BaseForecast:
        """Give mean and deviation of the context for every step."""
        found = series.history.context(windows, self.settings.context_length)
        context = standardise(np.nan_to_num(found))
        shape = (len(windows), self.settings.horizon)
        location, scale = (np.broadcast_to(one, shape).copy() for one in (context.location, context.scale))
        shown = super().forecast(series, windows).departures.shape[1]
        return BaseForecast(location, scale, np.zeros((len(windows), shown, shape[1])))

    @classmethod
    def fit(cls, panel: Any, settings: Any, **keywords: Any) -> tuple[BaseForecaster, TrainingBase]:
        """Fit the base for its training windows only."""
        base, training = super().fit(panel, settings, **keywords)
        series = base.series(panel)
        forecast = base.forecast(series, training.windows)
        missed = series.targets(training.windows, settings.horizon) - forecast.location
        return base, TrainingBase(training.windows, forecast, missed / forecast.scale)


class OneScale(BaseForecaster):
    """The location of the base with one scale for all windows of a series."""

    def forecast(self, series: Any, windows: Any) -> BaseForecast:
        """Give the scale of the series in place of the window's."""
        return self._with_one_scale(super().forecast(series, windows), series, windows)

    @staticmethod
    def _with_one_scale(forecast: BaseForecast, series: Any, windows: Any) -> BaseForecast:
        scale = np.broadcast_to(series.units[windows.row][:, None], forecast.scale.shape).copy()
        return replace(forecast, scale=scale)

    @classmethod
    def fit(cls, panel: Any, settings: Any, **keywords: Any) -> tuple[BaseForecaster, TrainingBase]:
        """Fit the base, then put its out-of-fold residuals into units of the series."""
        base, training = super().fit(panel, settings, **keywords)
        forecast = cls._with_one_scale(training.forecast, base.series(panel), training.windows)
        residuals = training.residuals * training.forecast.scale / forecast.scale
        return base, TrainingBase(training.windows, forecast, residuals)


class RidgeOnly(Stack):
    """All weight on the ridge."""

    @classmethod
    def fit(cls, names: tuple[str, ...], members: Any, median: Any, targets: Any, units: Any) -> Stack:
        """Give the ridge the weight 1."""
        weights = np.zeros((len(names), targets.shape[1]))
        weights[names.index("ridge")] = 1.0
        return cls(names, weights)


class WhiteLaw(ResidualLaw):
    """Noise without correlation between the steps."""

    @classmethod
    def fit(cls, *args: Any, **keywords: Any) -> ResidualLaw:
        """Estimate the deviations only."""
        law = super().fit(*args, **keywords)
        return replace(law, factor=np.eye(len(law.std)))


@dataclass(frozen=True)
class Variant:
    """One row of the ablation.

    Attributes
    ----------
    question : str
        What it is about.
    parameters : dict
        Of the estimator, instead of the defaults.
    part : tuple of (module, name, class), optional
        What is exchanged while fitting.
    """

    question: str
    parameters: dict[str, Any] = field(default_factory=dict)
    part: tuple[Any, str, type] | None = None

    def fit(self, histories: Histories) -> OurForecaster:
        """Fit the variant."""
        exchanged: AbstractContextManager[Any] = nullcontext()
        if self.part is not None:
            exchanged = patch.object(*self.part)
        with exchanged:
            return OurForecaster(**self.parameters).fit(histories)


VARIANTS: dict[str, Variant] = {
    DEFAULT: Variant("all as it is"),
    "network off": Variant("the network", {"network_off": True}),
    "raw target": Variant("the base", part=(fitting, "BaseForecaster", RawTarget)),
    "ridge only": Variant("the stack", part=(base_forecast, "Stack", RidgeOnly)),
    "one scale a series": Variant("the scale model", part=(fitting, "BaseForecaster", OneScale)),
    "white noise": Variant("the noise's correlation", part=(fitting, "ResidualLaw", WhiteLaw)),
    "no gap or rolling windows": Variant("the training mix", {"rolling_share": 0.0, "gap_share": 0.0}),
    "1 member": Variant("the ensemble", {"n_members": 1}),
    "3 members": Variant("the ensemble", {"n_members": 3}),
}
