"""Histories and the cheap forecasts, against sums written out; none looks ahead."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from sciffusion.domains.forecasting.history import (
    History,
    Windows,
    exponential_average,
    gather,
    seasonal_mean,
)
from sciffusion.domains.forecasting.members import cheap_forecasts, one_step_seasonal_mean, season_periods
from sciffusion.domains.forecasting.ridge import standardise
from sciffusion.domains.forecasting.spread import error_signals

Floats = NDArray[np.float64]


def holed(rows: int = 3, length: int = 60, seed: int = 0) -> Floats:
    generator = np.random.default_rng(seed)
    values = 10.0 + np.sin(np.arange(length)) + generator.normal(size=(rows, length))
    values[generator.random(values.shape) < 0.15] = np.nan
    values[1, :8] = np.nan
    return values


@pytest.mark.parametrize("rate", [0.05, 0.6, 1.0])
def test_exponential_averages_are_weighted_means_of_what_was_seen(rate: float) -> None:
    values = holed()
    found = exponential_average(values, rate)
    for row in range(3):
        for place in range(60):
            past = values[row, : place + 1][::-1]
            weights = (1.0 - rate) ** np.arange(place + 1) * ~np.isnan(past)
            expected = np.nansum(weights * past) / weights.sum() if weights.sum() > 1e-9 else np.nan
            assert_allclose(found[row, place], expected, rtol=1e-9)


def test_values_beyond_the_ends_are_missing() -> None:
    values = np.arange(8.0).reshape(2, 4)
    found = gather(values, Windows(np.array([0, 1, 1]), np.array([-1, 2, 3])), np.array([-2, 0, 1]))
    assert_array_equal(found, [[np.nan, np.nan, 0.0], [4.0, 6.0, 7.0], [5.0, 7.0, np.nan]])


@pytest.mark.parametrize(("horizon", "period", "count"), [(5, 7, 1), (10, 4, 3), (3, 1, 2)])
def test_seasonal_means_average_the_last_values_of_the_phase(horizon: int, period: int, count: int) -> None:
    values = holed()
    windows = Windows(np.array([0, 1, 2]), np.array([59, 30, 13]))
    found = seasonal_mean(values, windows, horizon, period, count)
    for number, (row, origin) in enumerate(zip(windows.row, windows.origin, strict=True)):
        for ahead in range(1, horizon + 1):
            places = [p for p in range(origin, -1, -1) if (origin + ahead - p) % period == 0][:count]
            seen = values[row, places][~np.isnan(values[row, places])]
            expected = seen.mean() if len(seen) else np.nan
            assert_allclose(found[number, ahead - 1], expected)


def test_the_one_step_seasonal_mean_is_that_of_the_step_before() -> None:
    values = holed()
    history = History(values)
    found = one_step_seasonal_mean(history, 7, 3)
    windows = Windows(np.repeat(np.arange(3), 59), np.tile(np.arange(59), 3))
    # Seasons that lie before the beginning are left out by both.
    assert_allclose(found[:, 1:], seasonal_mean(values, windows, 1, 7, 3).reshape(3, 59))


def test_contexts_are_filled_from_the_past_alone() -> None:
    values = np.array([[np.nan, 2.0, np.nan, 4.0, np.nan, np.nan, 10.0]])
    history = History(values)
    windows = Windows(np.zeros(4, dtype=np.int64), np.array([6, 5, 2, 0]))
    found = history.context(windows, 4)
    assert_array_equal(found[0], [4.0, 6.0, 8.0, 10.0])
    assert_array_equal(found[1], [3.0, 4.0, 4.0, 4.0])  # the 10 is not known yet
    assert_array_equal(found[2], [2.0, 2.0, 2.0, 2.0])
    assert np.isnan(found[3]).all()


@pytest.mark.parametrize("positive", [True, False])
def test_nothing_at_an_origin_depends_on_later_values(positive: bool) -> None:
    values = holed()
    windows = Windows(np.array([0, 1, 2, 0]), np.array([40, 40, 40, 25]))
    later = values.copy()
    later[:, 41:] = 1e3 if positive else -1e3
    early = values.copy()
    early[0, 26:] = -5.0
    for changed, some in ((later, windows.take(np.arange(3))), (early, windows.take(np.array([3])))):
        before = cheap_forecasts(History(values), some, 6, (7, 14))
        after = cheap_forecasts(History(changed), some, 6, (7, 14))
        for name in before:
            assert_array_equal(after[name], before[name], err_msg=name)
        signals = error_signals(History(values), some, 6, (7,))
        again = error_signals(History(changed), some, 6, (7,))
        for name in signals:
            assert_array_equal(again[name], signals[name], err_msg=name)
        assert_array_equal(History(changed).context(some, 20), History(values).context(some, 20))


def test_members_follow_scale_and_all_but_products_follow_shifts() -> None:
    values = holed()
    windows = Windows.last(3, 60)
    plain = cheap_forecasts(History(values), windows, 6, (7,))
    moved = cheap_forecasts(History(8.0 * values + 100.0), windows, 6, (7,))
    scaled = cheap_forecasts(History(8.0 * values), windows, 6, (7,))
    for name, forecast in plain.items():
        assert forecast.shape == (3, 6)
        assert_allclose(scaled[name], 8.0 * forecast, rtol=1e-9, err_msg=name)
        if "product" not in name:
            assert_allclose(moved[name], 8.0 * forecast + 100.0, rtol=1e-9, err_msg=name)


def test_members_on_series_that_they_are_made_for() -> None:
    steps, ahead = np.arange(60.0), np.arange(60.0, 66.0)
    season = np.array([3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0])
    windows = Windows.last(1, 60)
    line = cheap_forecasts(History((2.0 * steps)[None]), windows, 6, ())
    assert_allclose(line["drift full"][0], 2.0 * ahead)
    assert_allclose(line["level 1"][0], 118.0)
    repeated = cheap_forecasts(History(season[steps.astype(int) % 7][None]), windows, 6, (7,))
    for name in ("season, last", "season, many", "season, few + level 0.3", "season, product + level 0.8"):
        assert_allclose(repeated[name][0], season[ahead.astype(int) % 7], err_msg=name)
    growth = 1.02**steps * season[steps.astype(int) % 7]
    product = cheap_forecasts(History(growth[None]), windows, 6, (7,))["season, product + level 0.8"][0]
    wanted = 1.02**ahead * season[ahead.astype(int) % 7]
    additive = cheap_forecasts(History(growth[None]), windows, 6, (7,))["season, few + level 0.8"][0]
    assert np.abs(product - wanted).mean() < 0.5 * np.abs(additive - wanted).mean()
    with_zero = cheap_forecasts(History(np.where(steps == 50, 0.0, growth)[None]), windows, 6, (7,))
    assert np.isnan(with_zero["season, product + level 0.8"]).all()


def test_seasons_that_a_history_cannot_show_are_left_out() -> None:
    assert season_periods((7, 365), 200, 10) == (7,)
    assert season_periods((1, 7), 20, 6) == (7,)
    assert season_periods((9,), 20, 6) == ()


def test_contexts_are_standardised_by_their_own_moments() -> None:
    context = np.array([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1e-12]])
    found = standardise(context)
    assert_allclose(found.values[0], np.array([-1.0, 0.0, 1.0]) / np.sqrt(2.0 / 3.0))
    assert_array_equal(found.values[1:3], 0.0)
    assert_allclose(found.scale[1:3, 0], [5.0, 1.0])
    assert_allclose(found.values[3] * found.scale[3] + found.location[3], context[3])
    assert_allclose(standardise(context, np.full((4, 1), 8.0)).scale[1:3, 0], 8.0)
    wild = standardise(np.concatenate([np.zeros(400), [1.0]])[None])
    assert wild.values.max() == 10.0
