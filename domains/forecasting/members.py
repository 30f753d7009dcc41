r"""The cheap forecasts that are stacked: levels, drifts, seasonal means, and levels on seasonal means.

For a row with values y, origin o and step ahead :math:`\tau`, with :math:`\ell^a` the exponential average of
rate a (see `history`) and :math:`S^{m,K}_o(\tau)` the mean of the last K values at the phase of
:math:`o + \tau` for season length m:

========================  ================================================================================
level a                   :math:`\ell^a_o`, for a = .1, .3, .6, 1 (the last value)
drift                     :math:`\ell^a_o + c\,b_o \sum_{k \le \tau} \phi^k`, b the average of differences
seasonal mean             :math:`S^{m,K}_o(\tau)`, for K = 1, a few and many seasons
seasonal mean + level     :math:`S^{m,K}_o(\tau) + \phi^\tau\,\ell^a_o`, the level of
                          :math:`y_t - S^{m,K}_{t-1}(1)`, for three rates, damped or not
seasonal mean * level     the same of logarithms, for rows whose values are positive
========================  ================================================================================

The last kind is the idea of the Theta method and of exponential smoothing: what the season leaves is a level
that may fade. All are linear in the past, none is fitted.
"""

from __future__ import annotations

import numpy as np

from .history import Floats, History, Windows, exponential_average, seasonal_mean

__all__ = ["cheap_forecasts", "one_step_seasonal_mean", "season_name", "season_periods"]

_LEVELS = (0.1, 0.3, 0.6, 1.0)
_DAMPING = {0.3: 0.93, 0.8: 0.8}  # how a level of that rate fades with every step
_MOST_GROWTH = 1.0  # a product is never beyond e times the largest value seen
_SHORT_SEASON = 12  # up to here many more seasons are averaged


def season_periods(season_lengths: tuple[int, ...], length: int, horizon: int) -> tuple[int, ...]:
    """Return the season lengths that histories of `length` values can show a forecast after."""
    return tuple(period for period in season_lengths if 1 < period <= length - 2 * horizon)


def cheap_forecasts(
    history: History, windows: Windows, horizon: int, periods: tuple[int, ...]
) -> dict[str, Floats]:
    """Return the forecasts of all members by name, each of shape (windows, horizon)."""
    forecasts = _levels(history, windows, horizon)
    if periods:
        forecasts |= _multiplicative(history, windows, horizon, periods[0])
    for place, period in enumerate(periods):
        main = place == 0
        many = (20 if period <= _SHORT_SEASON else 10) if main else 4
        counts = {"many": many, "few": 3 if main else 2}
        forecasts |= _seasonal(history, windows, horizon, period, season_name(place), counts)
    return forecasts


def season_name(place: int) -> str:
    """Return the name of a season by its place, not its length: weights can then move between sets."""
    return "season" if place == 0 else f"season {place + 1}"


def _at_origins(averages: Floats, windows: Windows) -> Floats:
    found = averages[windows.row, np.maximum(windows.origin, 0)]
    return np.where(windows.origin >= 0, found, np.nan)[:, None]


def _levels(history: History, windows: Windows, horizon: int) -> dict[str, Floats]:
    values = history.observed
    ahead = np.arange(1, horizon + 1)
    forecasts = {
        f"level {rate:g}": np.repeat(_at_origins(exponential_average(values, rate), windows), horizon, axis=1)
        for rate in _LEVELS
    }
    differences = np.diff(values, axis=1, prepend=np.nan)
    recent = _at_origins(exponential_average(differences, 0.05), windows)
    lasting = _at_origins(exponential_average(differences, 0.01), windows)
    recent, lasting = np.nan_to_num(recent), np.nan_to_num(lasting)
    faded = np.cumsum(0.98**ahead)
    forecasts["drift recent"] = forecasts["level 0.6"] + 0.5 * recent * faded
    forecasts["drift half"] = forecasts["level 1"] + 0.5 * lasting * faded
    forecasts["drift full"] = forecasts["level 1"] + lasting * ahead
    return forecasts


def _seasonal(
    history: History,
    windows: Windows,
    horizon: int,
    period: int,
    season: str,
    counts: dict[str, int],
) -> dict[str, Floats]:
    ahead = np.arange(1, horizon + 1)
    forecasts = {f"{season}, last": seasonal_mean(history.observed, windows, horizon, period, 1)}
    for label, count in counts.items():
        mean = seasonal_mean(history.observed, windows, horizon, period, count)
        forecasts[f"{season}, {label}"] = mean
        departures = history.observed - one_step_seasonal_mean(history, period, count)
        for rate in (0.05, *_DAMPING):
            level = np.nan_to_num(_at_origins(exponential_average(departures, rate), windows))
            name = f"{season}, {label} + level {rate:g}"
            forecasts[name] = mean + level
            if rate in _DAMPING:
                forecasts[f"{name} damped"] = mean + level * _DAMPING[rate] ** ahead
    return forecasts


def _multiplicative(history: History, windows: Windows, horizon: int, period: int) -> dict[str, Floats]:
    """Return levels on seasonal means of logarithms; NaN where a value up to the origin is not positive."""
    observed = history.observed
    missing = np.isnan(observed)
    lowest = np.minimum.accumulate(np.where(missing, np.inf, observed), axis=1)
    highest = np.maximum.accumulate(np.where(missing, 0.0, observed), axis=1)
    logarithms = np.log(np.where(observed > 0.0, observed, np.nan))
    departures = logarithms - one_step_seasonal_mean(History(logarithms), period, 3)
    mean = seasonal_mean(logarithms, windows, horizon, period, 3)
    most = np.log(_at_origins(highest, windows).clip(1e-300)) + _MOST_GROWTH
    positive = _at_origins(lowest, windows) > 0.0
    forecasts = {}
    for rate in _DAMPING:
        level = np.nan_to_num(_at_origins(exponential_average(departures, rate), windows))
        product = np.exp(np.minimum(mean + level, most))
        forecasts[f"season, product + level {rate:g}"] = np.where(positive, product, np.nan)
    return forecasts


def one_step_seasonal_mean(history: History, period: int, count: int) -> Floats:
    """Return for every position the seasonal mean of the values before it, shape (rows, length)."""
    total = np.zeros_like(history.observed)
    weight = np.zeros_like(history.observed)
    for season in range(1, count + 1):
        back = season * period
        if back >= history.length:
            break
        earlier = history.observed[:, :-back]
        seen = ~np.isnan(earlier)
        total[:, back:] += np.where(seen, earlier, 0.0)
        weight[:, back:] += seen
    return np.where(weight > 0, total / np.maximum(weight, 1.0), np.nan)
