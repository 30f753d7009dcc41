r"""Windows as the network sees them: one row of inputs and one residual, known or not, for every token.

The inputs of a window of L context tokens and h steps ahead are, each standardised over the training windows,

* the value of every token: what was observed, or the location of the base, in units of the context;
* the log scale of every unknown token, in the same units, and which context tokens are missing;
* how far some members of the base are from its location;
* the phase of the origin in every season, the covariates, and the logarithm of the context's deviation over
  the typical change of the series.

All of it is free of the units of the series, so one network serves all series.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .base_forecast import BaseForecast, BaseSettings, Series
from .history import Floats, Integers, Windows, gather
from .ridge import standardise

__all__ = ["InputScale", "WindowTokens", "forecast_tokens", "token_count"]

_CLIP = 5.0
_LONGEST_CONTEXT = 128


def token_count(settings: BaseSettings) -> int:
    """Return how many context tokens the network sees."""
    season = settings.periods[0] if settings.periods else 1
    wanted = min(max(2 * season, 2 * settings.horizon), _LONGEST_CONTEXT)
    return max(min(settings.context_length, wanted), 1)


@dataclass(frozen=True, eq=False)
class WindowTokens:
    """Windows ready for the network.

    Attributes
    ----------
    inputs : ndarray of shape (windows, inputs)
        Before standardisation.
    residual : ndarray of shape (windows, tokens)
        Standardised residuals of the unknown tokens, NaN where they are not known either (a missing target).
    unknown : ndarray of bool, shape (windows, tokens)
        Tokens that the network draws.
    gaps : ndarray of bool, shape (windows,)
        Windows whose unknown tokens lie between known ones, all of them; the others are forecasts.
    step : ndarray of int64, shape (windows,)
        Absolute step of the window, by which windows are kept back in blocks of time.
    """

    inputs: Floats
    residual: Floats
    unknown: NDArray[np.bool_]
    gaps: NDArray[np.bool_]
    step: Integers

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, selection: NDArray[np.bool_] | Integers) -> WindowTokens:
        """Return some of the windows."""
        return WindowTokens(*(getattr(self, name)[selection] for name in self.__dataclass_fields__))

    def joined(self, other: WindowTokens) -> WindowTokens:
        """Return the windows of both."""
        return WindowTokens(
            *(
                np.concatenate([getattr(self, name), getattr(other, name)])
                for name in ("inputs", "residual", "unknown", "gaps", "step")
            )
        )


@dataclass(frozen=True, eq=False)
class InputScale:
    """Means and deviations of the inputs over the training windows, shape (inputs,) each."""

    mean: Floats
    deviation: Floats

    @classmethod
    def learn(cls, inputs: Floats) -> InputScale:
        """Measure them; an input that does not vary keeps its size."""
        deviation = inputs.std(axis=0)
        return cls(inputs.mean(axis=0), np.where(deviation > 1e-6, deviation, 1.0))

    def apply(self, inputs: Floats) -> Floats:
        """Return standardised inputs, clipped at 5."""
        return np.clip((inputs - self.mean) / self.deviation, -_CLIP, _CLIP)


def forecast_tokens(
    series: Series,
    settings: BaseSettings,
    windows: Windows,
    forecast: BaseForecast,
    residuals: Floats | None = None,
) -> WindowTokens:
    """Return windows whose unknown tokens are the steps ahead.

    Parameters
    ----------
    series : Series
    settings : BaseSettings
    windows : Windows
    forecast : BaseForecast
        Of these windows.
    residuals : ndarray of shape (windows, horizon), optional
        For training.
    """
    n_context = token_count(settings)
    units = series.units[windows.row][:, None]
    context = standardise(np.nan_to_num(series.history.context(windows, n_context)), units)
    missing = np.isnan(gather(series.history.observed, windows, np.arange(1 - n_context, 1)))
    location = (forecast.location - context.location) / context.scale
    value = np.clip(np.concatenate([context.values, location], axis=1), -2 * _CLIP, 2 * _CLIP)
    log_scale = np.zeros_like(value)
    log_scale[:, n_context:] = np.log(forecast.scale / context.scale)
    inputs = token_inputs(
        series, settings, windows, value=value, log_scale=log_scale, missing=missing,
        departures=forecast.departures, deviation=context.scale,
    )  # fmt: skip
    unknown = np.zeros(value.shape, dtype=bool)
    unknown[:, n_context:] = True
    residual = np.full(value.shape, np.nan)
    if residuals is not None:
        residual[:, n_context:] = residuals
    return WindowTokens(
        inputs, residual, unknown, np.zeros(len(windows), dtype=bool), series.absolute_step(windows)
    )


def token_inputs(
    series: Series,
    settings: BaseSettings,
    windows: Windows,
    *,
    value: Floats,
    log_scale: Floats,
    missing: NDArray[np.bool_],
    departures: Floats,
    deviation: Floats,
) -> Floats:
    """Put the inputs of windows together, shape (windows, inputs); the module's text says what they are.

    Parameters
    ----------
    series, settings, windows
        What the windows are cut from; their origin is the last context token.
    value, log_scale : ndarray of shape (windows, tokens)
    missing : ndarray of bool, shape (windows, context tokens)
    departures : ndarray of shape (windows, members, horizon)
    deviation : ndarray of shape (windows, 1)
        Of the context, in the units of the series.
    """
    angles = [
        2.0 * np.pi * (series.absolute_step(windows)[:, None] % period) / period
        for period in settings.periods
    ]
    phases = [part for angle in angles for part in (np.sin(angle), np.cos(angle))]
    unit = series.units[windows.row][:, None]
    parts = [
        value,
        log_scale,
        missing.astype(np.float64),
        departures.reshape(len(windows), departures.shape[1] * departures.shape[2]),
        *phases,
        series.exogenous.inputs(windows, settings.horizon),
        np.log(deviation / unit),
    ]
    inputs: Floats = np.nan_to_num(np.concatenate(parts, axis=1))
    return inputs
