r"""`update`: new rows without a new fit.

What an update does, and what it leaves alone:

==========================  =============================================================================
histories                   extended; new series join
ridge of the base           the sums of its normal equations extended by the windows that the new rows
                            complete: exactly the ridge that all windows together would give
levels of the intervals     adapted by the forecasts that the new rows judge (see `adaptive_levels`)
network                     as it was, or `n_steps` of training on the newest windows from its averaged
                            weights, averaged on
stack, spread, scaling      as they were, as is the recalibration of the draws
==========================  =============================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from sciffusion.estimators.fitting import all_or_nothing
from sciffusion.estimators.validation import check_integer, check_number

from .adaptive_levels import ConformalState
from .arrays import panel_of_array
from .base_forecast import Series, training_windows
from .history import Floats, Integers, Windows
from .model import ForecastModel
from .panel import Panel
from .panel_extension import extend_panel
from .update_tuning import tuned_network

__all__ = ["UpdateMethods", "completed_windows", "judged_errors", "rows_after"]


class UpdateMethods:
    """The updates of `DiffusionForecaster`, which mixes this in."""

    model_: ForecastModel
    panel_: Panel
    framed_: bool
    conformal_: ConformalState
    _train: Callable[..., Any]
    _panel_of_frame: Callable[..., Panel]

    @all_or_nothing(fresh=False)
    def update(
        self, X: Any, *, static_df: Any = None, gamma: float = 0.01, n_steps: int = 0, refit_base: bool = True
    ) -> Self:
        """Take in new rows without a new fit.

        Parameters
        ----------
        X : DataFrame or array-like
            Rows that follow those known, of some or all series, and of new ones, as a long frame; or, in
            array mode, the next values of all series, shape (n, steps) or (n, steps, channels).
        static_df : DataFrame, optional
            Static covariates of new series.
        gamma : float >= 0, default 0.01
            Step size of the adaptive levels: larger follows changes faster and wavers more.
        n_steps : int >= 0, default 0
            Training steps of the network on the newest windows.
        refit_base : bool, default True
            Extend the ridge; otherwise only histories and levels change.

        Returns
        -------
        DiffusionForecaster
            Itself.

        Raises
        ------
        ValueError, TypeError
            If the rows do not fit those known; the series are named and nothing has changed.
        """
        check_is_fitted(self)
        check_number("gamma", gamma, low=0.0)
        check_integer("n_steps", n_steps, low=0)
        panel = rows_after(self, X, static_df)
        model = self.model_
        for errors in judged_errors(model, panel, self.panel_):
            self.conformal_ = self.conformal_.observed(errors, gamma)
        if refit_base:
            new = completed_windows(model.base.series(panel), self.panel_, model)
            if len(new):
                model = replace(model, base=model.base.updated(panel, new))
        if n_steps and model.network is not None:
            network = tuned_network(self, model, model.base.series(panel), n_steps)
            model = replace(model, network=network)
        self.model_, self.panel_ = model, panel
        return self


def rows_after(forecaster: Any, X: Any, static_df: Any = None) -> Panel:
    """Return the forecaster's panel with new rows, a frame or the next columns of an array."""
    known: Panel = forecaster.panel_
    if isinstance(X, pd.DataFrame):
        if not forecaster.framed_:
            raise TypeError("the forecaster was fitted on an array; give the next values as one, got a frame")
        return extend_panel(known, forecaster._panel_of_frame(X, static_df=static_df, like=known))
    if forecaster.framed_:
        raise TypeError(f"the forecaster was fitted on a frame; give new rows as one, got {type(X).__name__}")
    new = panel_of_array(X, min_observed=0)
    if (new.n_series, new.n_channels) != (known.n_series, known.n_channels):
        raise ValueError(
            f"X must hold the next values of the {known.n_series} series fitted with {known.n_channels} "
            f"channels, got {new.n_series} series with {new.n_channels}"
        )
    return _appended(known, new.values)


def _appended(known: Panel, values: Floats) -> Panel:
    """Return a panel without covariates with values after its end, missing ones counted."""
    steps = values.shape[1]
    none = np.zeros((known.n_series, steps, 0))
    return replace(
        known,
        values=np.concatenate([known.values, values], axis=1),
        past=np.concatenate([known.past, none], axis=1),
        future=np.concatenate([known.future[:, : known.length], none], axis=1),
        lengths=known.lengths + steps,
        last_step=known.last_step + steps,
    )


def _old_end(series: Series, known: Panel) -> Integers:
    """Return the position of the last row that was known of each row of `series`, -1 for new series."""
    panel = series.panel
    old = {name: int(last) for name, last in zip(known.ids, known.last_step, strict=True)}
    ends = np.array(
        [
            panel.length - 1 - (int(last) - old[name]) if name in old else -1
            for name, last in zip(panel.ids, panel.last_step, strict=True)
        ],
        dtype=np.int64,
    )
    return np.repeat(ends, panel.n_channels)


def completed_windows(series: Series, known: Panel, model: ForecastModel) -> Windows:
    """Return the windows whose last target is among the new rows."""
    try:
        every = training_windows(series, model.base.settings, np.iinfo(np.int64).max)
    except ValueError:  # still no window at all
        return Windows(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    return every.take(every.origin + model.horizon > _old_end(series, known)[every.row])


def judged_errors(model: ForecastModel, panel: Panel, known: Panel) -> Floats:
    """Return the standardised errors that new values of known series were forecast with.

    Parameters
    ----------
    model : ForecastModel
        As it was before the new rows.
    panel, known : Panel
        With the new rows and without.

    Returns
    -------
    ndarray of shape (times, rows, horizon)
        For each new moment, oldest first; NaN where there is no forecast or no value.
    """
    series, horizon = model.base.series(panel), model.horizon
    units = model.base.series(known).units
    series.units[: len(units)] = (
        units  # typical changes, which new rows must not enter before they are judged
    )
    end = _old_end(series, known)
    length = series.history.length
    first = np.where(end >= 0, np.maximum(end - horizon + 1, 0), length)
    count = np.maximum(length - 1 - first, 0)
    row = np.repeat(np.arange(series.n_rows), count)
    origin = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + np.repeat(first, count)
    windows = Windows(row, origin)
    if not len(windows):
        return np.zeros((0, series.n_rows, horizon))
    forecast = model.base.forecast(series, windows)
    errors = (series.targets(windows, horizon) - forecast.location) / (forecast.scale * model.law.std)
    place = origin[:, None] + np.arange(1, horizon + 1)
    step = series.step[row] + place  # absolute, so that rows that end at other moments are judged in order
    new = (place > end[row][:, None]) & (place < length)
    moments, when = np.unique(step[new], return_inverse=True)
    result = np.full((len(moments), series.n_rows, horizon), np.nan)
    where, ahead = np.nonzero(new)
    result[when, row[where], ahead] = errors[new]
    return result
