r"""The base: location and scale of every step ahead, from cheap forecasts stacked out of fold.

The base turns a history into :math:`f_\tau` (location, see `stack`) and :math:`g_\tau` (scale, see `spread`)
for the steps ahead. What diffusion then models is the standardised residual

.. math:: z_\tau = (y_\tau - f_\tau) / g_\tau ,

whose law is roughly the same for all windows. A network that has learned nothing thus leaves a strong
forecaster: a stack of linear methods with a scale of its own for every series, phase and step ahead. The only
fitted member, the ridge, enters training through forecasts by regressions that have not seen the window's
block of time; otherwise residuals would be too small and intervals too narrow.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .exogenous import CovariateScale, Exogenous
from .history import Floats, History, Integers, Windows, gather
from .members import cheap_forecasts, season_name, season_periods
from .own_stack import OwnStack
from .panel import Panel
from .ridge import DirectRidge, Standardised, out_of_fold, standardise
from .spread import Spread, error_signals
from .stack import Stack, members_array

__all__ = [
    "BaseForecast",
    "BaseForecaster",
    "BaseSettings",
    "Series",
    "TrainingBase",
    "forecast_folds",
    "forecast_signals",
    "ridge_inputs",
    "training_windows",
]

_FOLDS = 5
_LONGEST_CONTEXT = 336
_SHOWN_MEMBERS = ("ridge", "level 1")


@dataclass(frozen=True)
class BaseSettings:
    """What a base forecasts.

    Attributes
    ----------
    horizon : int
    periods : tuple of int
        Season lengths of the cheap forecasts, the main one first; may be empty.
    context_length : int
        Values that the ridge sees.
    """

    horizon: int
    periods: tuple[int, ...]
    context_length: int

    @classmethod
    def choose(cls, horizon: int, season_lengths: tuple[int, ...], length: int) -> BaseSettings:
        """Choose for histories of `length` values."""
        periods = season_periods(season_lengths, length, horizon)
        season = season_lengths[0] if season_lengths else 1
        wanted = max(2 * horizon, 2 * season if season > 24 else 7 * season)
        context = min(wanted, _LONGEST_CONTEXT, (length - horizon) // 3)
        return cls(horizon, periods, max(context, 2))


class Series:
    """The rows of a panel, each channel of a series one row, ready to be forecast.

    Parameters
    ----------
    panel : Panel
    scale : CovariateScale
    settings : BaseSettings
    """

    def __init__(self, panel: Panel, scale: CovariateScale, settings: BaseSettings) -> None:
        self.panel = panel
        values = np.moveaxis(panel.values, 2, 1).reshape(-1, panel.length)
        self.history = History(values)
        self.exogenous = Exogenous(panel, scale)
        self.units = _units(values, settings.periods)
        self.step = np.repeat(panel.last_step, panel.n_channels)[:, None] - (panel.length - 1)
        self.begin = np.repeat(panel.length - panel.lengths, panel.n_channels)

    @property
    def n_rows(self) -> int:
        """Series times channels."""
        return self.history.n_rows

    def row_names(self) -> tuple[str, ...]:
        """Return a name for every row: its series' id and channel."""
        channels = self.panel.channel_names
        return tuple(f"{name!r} {channel}" for name in self.panel.ids for channel in channels)

    def last_windows(self) -> Windows:
        """Return the windows at the ends of all rows."""
        return Windows.last(self.n_rows, self.history.length)

    def targets(self, windows: Windows, horizon: int) -> Floats:
        """Return what followed, shape (windows, horizon); NaN where unknown."""
        return gather(self.history.observed, windows, np.arange(1, horizon + 1))

    def absolute_step(self, windows: Windows) -> Integers:
        """Return the absolute step of the origins."""
        result: Integers = self.step[windows.row, 0] + windows.origin
        return result


def _units(values: Floats, periods: tuple[int, ...]) -> Floats:
    """Return a typical size of the changes of each row, > 0, shape (rows,)."""
    period = periods[0] if periods else 1
    back = period if values.shape[1] > period else 1
    changes = np.abs(values[:, back:] - values[:, :-back])
    units = np.zeros(len(values))
    for candidate in (changes, np.abs(np.diff(values, axis=1)), np.abs(values)):
        seen = ~np.isnan(candidate)
        mean = np.where(seen, candidate, 0.0).sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
        units = np.where(units > 0, units, mean)
    return np.where(units > 0, units, 1.0)


@dataclass(frozen=True, eq=False)
class BaseForecast:
    """Location and scale of the steps ahead of windows, and what they were made from.

    Attributes
    ----------
    location, scale : ndarray of shape (windows, horizon)
    departures : ndarray of shape (windows, shown members, horizon)
        How far some members are from the location, in scales, clipped at 5.
    """

    location: Floats
    scale: Floats
    departures: Floats


@dataclass(frozen=True, eq=False)
class TrainingBase:
    """Windows of the training panel with forecasts that have not seen them.

    Attributes
    ----------
    windows : Windows
    forecast : BaseForecast
    residuals : ndarray of shape (windows, horizon)
        Standardised; NaN where the target is missing.
    """

    windows: Windows
    forecast: BaseForecast
    residuals: Floats


@dataclass(frozen=True, eq=False)
class BaseForecaster:
    """The fitted base.

    Attributes
    ----------
    settings : BaseSettings
    covariates : CovariateScale
    ridge : DirectRidge
    stack : Stack
    spread : Spread
    own : OwnStack or None
        Weights of the training series, where these differ.
    """

    settings: BaseSettings
    covariates: CovariateScale
    ridge: DirectRidge
    stack: Stack
    spread: Spread
    own: OwnStack | None = None

    @classmethod
    def fit(
        cls, panel: Panel, settings: BaseSettings, *, most_windows: int, named: bool = True
    ) -> tuple[BaseForecaster, TrainingBase]:
        """Fit to all windows of a panel, or to `most_windows` of them spread evenly.

        Parameters
        ----------
        panel : Panel
        settings : BaseSettings
        most_windows : int
        named : bool
            Whether series will be known by their names. Rows of arrays are not: the first row of another
            array is another series, and must not be given the weights of its own that this one has.

        Raises
        ------
        ValueError
            If no window has a known context and target.
        """
        covariates = CovariateScale.learn(panel)
        series = Series(panel, covariates, settings)
        windows = training_windows(series, settings, most_windows)
        targets = series.targets(windows, settings.horizon)
        units = series.units[windows.row][:, None]
        inputs, context = ridge_inputs(series, windows, settings)
        standard = (targets - context.location) / context.scale
        complete = np.asarray(np.isfinite(standard).all(axis=1))
        ridge = DirectRidge.fit(inputs[complete], standard[complete])
        fold = forecast_folds(series.absolute_step(windows))
        unseen = out_of_fold(ridge, inputs, standard, fold, complete)
        forecasts = cheap_forecasts(series.history, windows, settings.horizon, settings.periods)
        forecasts["ridge"] = context.location + context.scale * unseen
        members, median = members_array(forecasts, tuple(forecasts))
        stack = Stack.fit(tuple(forecasts), members, median, targets, units)
        found = None
        if named:
            found = OwnStack.fit(
                stack, series.row_names(), windows.row, windows.origin, members, median, targets, units
            )
        own, unseen_weights = (None, None) if found is None else found
        location = stack.combine(members, median, unseen_weights)
        signals = error_signals(series.history, windows, settings.horizon, settings.periods)
        signals |= forecast_signals(members, location)
        spread = Spread.fit(signals, targets - location, units)
        scale = spread.combine(signals, units)
        base = cls(settings, covariates, ridge, stack, spread, own)
        forecast = BaseForecast(location, scale, base.departures_of(members, location, scale))
        return base, TrainingBase(windows, forecast, (targets - location) / scale)

    def series(self, panel: Panel) -> Series:
        """Return the rows of a panel, ready for `forecast`."""
        return Series(panel, self.covariates, self.settings)

    def forecast(self, series: Series, windows: Windows) -> BaseForecast:
        """Forecast from any windows of any panel of the same kind."""
        settings = self.settings
        inputs, context = ridge_inputs(series, windows, settings)
        forecasts = cheap_forecasts(series.history, windows, settings.horizon, settings.periods)
        forecasts["ridge"] = context.location + context.scale * self.ridge.predict(inputs)
        members, median = members_array(forecasts, self.stack.names)
        location = _located(self.stack, self.own, series, windows, members, median)
        signals = error_signals(series.history, windows, settings.horizon, settings.periods)
        signals |= forecast_signals(members, location)
        scale = self.spread.combine(signals, series.units[windows.row][:, None])
        return BaseForecast(location, scale, self.departures_of(members, location, scale))

    def updated(self, panel: Panel, windows: Windows) -> BaseForecaster:
        """Return the base with the ridge's sums extended by windows of a panel; weights stay as they are."""
        series = self.series(panel)
        inputs, context = ridge_inputs(series, windows, self.settings)
        standard = (series.targets(windows, self.settings.horizon) - context.location) / context.scale
        complete = np.isfinite(standard).all(axis=1)
        return replace(self, ridge=self.ridge.updated(inputs[complete], standard[complete]))

    @property
    def shown_members(self) -> list[str]:
        """Members whose departures from the location a forecast shows."""
        shown = [name for name in _SHOWN_MEMBERS if name in self.stack.names]
        return shown + [f"{season_name(place)}, many" for place in range(len(self.settings.periods))]

    def departures_of(self, members: Floats, location: Floats, scale: Floats) -> Floats:
        """Return how far the shown members lie from the location, in scales; (windows, members, horizon)."""
        places = [self.stack.names.index(name) for name in self.shown_members]
        apart = (members[places] - location) / scale
        return np.clip(np.moveaxis(apart, 0, 1), -5.0, 5.0)


def training_windows(series: Series, settings: BaseSettings, most: int) -> Windows:
    """Return the windows to fit to: known context, some known target, evenly thinned to `most`."""
    history, horizon = series.history, settings.horizon
    length = history.length
    none = ValueError(
        f"no series has a history and {horizon} known values after it; give longer series or a "
        "shorter horizon"
    )
    if length <= horizon:
        raise none
    own = length - series.begin
    season = settings.periods[0] if settings.periods else 1
    warm_up = np.where(own > 6 * season, 2 * season, season)
    warm_up = np.maximum(warm_up, np.minimum(settings.context_length, own // 4))
    warm_up = np.clip(warm_up, 1, np.maximum(own - horizon - 1, 1))
    origins = np.arange(length - horizon)
    possible = origins >= (series.begin + warm_up - 1)[:, None]
    seen = ~np.isnan(history.observed)
    known = np.cumsum(seen, axis=1)
    possible &= known[:, : length - horizon] >= 2
    ahead = known[:, horizon:] - known[:, : length - horizon]
    possible &= ahead >= max(1, horizon // 2)
    total = int(possible.sum())
    if total == 0:
        raise none
    stride = -(-total // most)
    possible &= (length - horizon - 1 - origins) % stride == 0
    if not possible.any():  # a thin panel of very short rows
        raise ValueError(f"series are too short for horizon={horizon}")
    row, origin = np.nonzero(possible)
    return Windows(row.astype(np.int64), origin.astype(np.int64))


def forecast_folds(step: Integers) -> NDArray[np.int64]:
    """Return the number of the contiguous block of time that each window lies in."""
    edges = np.quantile(step, np.linspace(0.0, 1.0, _FOLDS + 1)[1:-1])
    return np.searchsorted(edges, step, side="left").astype(np.int64)


def ridge_inputs(series: Series, windows: Windows, settings: BaseSettings) -> tuple[Floats, Standardised]:
    """Return what the ridge sees of windows, shape (windows, inputs), and their standardised contexts."""
    units = series.units[windows.row][:, None]
    context = standardise(np.nan_to_num(series.history.context(windows, settings.context_length)), units)
    extra = series.exogenous.inputs(windows, settings.horizon)
    return np.concatenate([context.values, extra, np.ones((len(windows), 1))], axis=1), context


def _located(
    stack: Stack, own: OwnStack | None, series: Series, windows: Windows, members: Floats, median: Floats
) -> Floats:
    if own is None:
        return stack.combine(members, median)
    rows, place = np.unique(windows.row, return_inverse=True)
    names = series.row_names()
    weights = own.weights_of([names[row] for row in rows], stack)
    return stack.combine(members, median, weights[place])


def forecast_signals(members: Floats, location: Floats) -> dict[str, Floats]:
    """Return the signals of the scale that forecasts themselves give, each (windows, horizon)."""
    return {"disagreement": members.std(axis=0), "size": np.abs(location)}
