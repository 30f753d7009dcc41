r"""A base with one set of weights for series of every frequency.

The members of the base are named by the place of a season, "season" and "season 2", not by its length, so
stack, scale and ridge can be fitted to the windows of several sets at once. For that all sets must have the
same members and inputs (a construction of this library):

* the context is :math:`L = \min(2h, 128)` steps, whatever the season;
* a set without a second season shows its main one in that place again, and one without any season has
  seasons of one step, whose means are those of the last values;
* neither members nor scale look at how far from 0 values are, so that forecasts follow any change of units,
  degrees Celsius to Fahrenheit too.

A set forecasts through weights that other sets decided, so what the stack and the scale are fitted to should
come from a ridge that has not seen the set: with two sets or more the ridge is left out set by set, with one
block of time by block of time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .base_forecast import (
    BaseForecast,
    BaseForecaster,
    BaseSettings,
    Series,
    TrainingBase,
    forecast_folds,
    forecast_signals,
    ridge_inputs,
    training_windows,
)
from .exogenous import CovariateScale
from .history import Floats, Integers, Windows
from .members import cheap_forecasts, season_periods
from .panel import Panel
from .ridge import DirectRidge, Standardised, out_of_fold
from .spread import Spread, error_signals
from .stack import Stack, members_array

__all__ = ["fit_shared_base", "shared_settings"]

_LONGEST_CONTEXT = 128
_LOGARITHMIC = ", product"  # members that look at how far from 0 values are


def shared_settings(horizon: int, season_lengths: Sequence[int], length: int) -> BaseSettings:
    """Return settings with the inputs and members that all sets share.

    Parameters
    ----------
    horizon : int
    season_lengths : sequence of int
        The main one first; those after the second are left out, as are those too long for the histories.
    length : int
        Values of a typical history.
    """
    shown = season_periods(tuple(season_lengths), length, horizon)[:2]
    main = shown[0] if shown else 1
    return BaseSettings(horizon, (main, shown[-1] if shown else main), min(2 * horizon, _LONGEST_CONTEXT))


@dataclass(frozen=True, eq=False)
class _SetWindows:
    """Training windows of one set, and everything that is forecast for them without fitting."""

    series: Series
    windows: Windows
    targets: Floats
    units: Floats
    inputs: Floats
    context: Standardised
    forecasts: dict[str, Floats]
    signals: dict[str, Floats]

    @classmethod
    def cut(cls, panel: Panel, covariates: CovariateScale, settings: BaseSettings, most: int) -> _SetWindows:
        series = Series(panel, covariates, settings)
        windows = training_windows(series, settings, most)
        inputs, context = ridge_inputs(series, windows, settings)
        horizon, periods = settings.horizon, settings.periods
        return cls(
            series,
            windows,
            series.targets(windows, horizon),
            series.units[windows.row][:, None],
            inputs,
            context,
            cheap_forecasts(series.history, windows, horizon, periods),
            error_signals(series.history, windows, horizon, periods),
        )

    @property
    def standard(self) -> Floats:
        """Targets in units of the context."""
        result: Floats = (self.targets - self.context.location) / self.context.scale
        return result


def fit_shared_base(
    panels: Sequence[Panel], settings: Sequence[BaseSettings], *, most_windows: int
) -> tuple[BaseForecaster, list[TrainingBase]]:
    """Fit one base to several sets of series.

    Parameters
    ----------
    panels : sequence of Panel
        One a set, without covariates, of one channel.
    settings : sequence of BaseSettings
        From `shared_settings`; they differ in the seasons only.
    most_windows : int
        Training windows in all; each set gives at most an equal share of them.

    Returns
    -------
    BaseForecaster
        With the settings of the first set; `dataclasses.replace` gives it those of a prompt.
    list of TrainingBase
        One a set.
    """
    covariates = CovariateScale.learn(panels[0])
    share = max(most_windows // len(panels), 1)
    parts = [
        _SetWindows.cut(panel, covariates, one, share) for panel, one in zip(panels, settings, strict=True)
    ]
    ridge, unseen = _shared_ridge(parts)
    for part, own in zip(parts, _split(unseen, parts), strict=True):
        part.forecasts["ridge"] = part.context.location + part.context.scale * own
    names = tuple(name for name in parts[0].forecasts if _LOGARITHMIC not in name)
    stacked = [members_array(part.forecasts, names) for part in parts]
    members = np.concatenate([one for one, _ in stacked], axis=1)
    median = np.concatenate([one for _, one in stacked])
    targets = np.concatenate([part.targets for part in parts])
    units = np.concatenate([part.units for part in parts])
    stack = Stack.fit(names, members, median, targets, units)
    location = stack.combine(members, median)
    signals = {name: np.concatenate([part.signals[name] for part in parts]) for name in parts[0].signals}
    signals["disagreement"] = forecast_signals(members, location)["disagreement"]
    spread = Spread.fit(signals, targets - location, units)
    scale = spread.combine(signals, units)
    base = BaseForecaster(settings[0], covariates, ridge, stack, spread)
    forecast = BaseForecast(location, scale, base.departures_of(members, location, scale))
    return base, _training(parts, forecast, (targets - location) / scale)


def _shared_ridge(parts: list[_SetWindows]) -> tuple[DirectRidge, Floats]:
    """Return the ridge of all windows, and what one that has not seen its fold forecasts for each."""
    inputs = np.concatenate([part.inputs for part in parts])
    standard = np.concatenate([part.standard for part in parts])
    complete = np.isfinite(standard).all(axis=1)
    ridge = DirectRidge.fit(inputs[complete], standard[complete])
    return ridge, out_of_fold(ridge, inputs, standard, _left_out(parts), complete)


def _left_out(parts: list[_SetWindows]) -> Integers:
    if len(parts) == 1:
        return forecast_folds(parts[0].series.absolute_step(parts[0].windows))
    return np.repeat(np.arange(len(parts)), [len(part.windows) for part in parts])


def _split(values: Floats, parts: list[_SetWindows]) -> list[Floats]:
    """Cut an array whose first axis are the windows of all sets into those of each."""
    return np.split(values, np.cumsum([len(part.windows) for part in parts])[:-1])


def _training(parts: list[_SetWindows], forecast: BaseForecast, residuals: Floats) -> list[TrainingBase]:
    columns = zip(
        parts,
        *(_split(one, parts) for one in (forecast.location, forecast.scale, forecast.departures, residuals)),
        strict=True,
    )
    return [
        TrainingBase(part.windows, BaseForecast(location, scale, departures), residual)
        for part, location, scale, departures, residual in columns
    ]
