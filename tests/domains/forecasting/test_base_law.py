"""The law of the residuals, the windows that are fitted to, and the tokens that the network sees."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from sciffusion.domains.forecasting.base_forecast import (
    BaseForecaster,
    BaseSettings,
    Series,
    training_windows,
)
from sciffusion.domains.forecasting.exogenous import CovariateScale
from sciffusion.domains.forecasting.panel import Panel
from sciffusion.domains.forecasting.residual_law import ResidualLaw, correlation_factor
from sciffusion.domains.forecasting.ridge import out_of_fold
from sciffusion.domains.forecasting.tokens import InputScale, forecast_tokens, token_count

Floats = NDArray[np.float64]


def autoregressive(count: int, size: int, rho: float, seed: int = 0) -> Floats:
    """Return rows of a stationary Gaussian autoregression of unit variance."""
    generator = np.random.default_rng(seed)
    rows = generator.normal(size=(count, size))
    for step in range(1, size):
        rows[:, step] = rho * rows[:, step - 1] + np.sqrt(1.0 - rho**2) * rows[:, step]
    return rows


# ---------------------------------------------------------------- law


def test_the_correlation_of_the_steps_is_recovered() -> None:
    rows = 2.0 * autoregressive(20_000, 6, 0.8)
    law = ResidualLaw.fit(rows[:, None])
    expected = 0.8 ** np.abs(np.subtract.outer(np.arange(6), np.arange(6)))
    assert_allclose(law.factor @ law.factor.T, expected, atol=0.02)
    assert_allclose(law.std, 2.0, rtol=0.03)
    assert_allclose(law.channel_factor, [[1.0]])
    holes = rows.copy()
    holes[np.random.default_rng(1).random(rows.shape) < 0.3] = np.nan
    again = ResidualLaw.fit(holes[:, None])
    assert_allclose(again.factor @ again.factor.T, expected, atol=0.03)


def test_the_correlation_of_the_channels_is_recovered() -> None:
    mixing = np.linalg.cholesky(np.array([[1.0, 0.6], [0.6, 1.0]]))
    rows = np.einsum("cd,wdh->wch", mixing, autoregressive(8000, 8, 0.5).reshape(4000, 2, 8))
    law = ResidualLaw.fit(rows)
    assert law.channel_factor @ law.channel_factor.T == pytest.approx(mixing @ mixing.T, abs=0.04)
    expected = 0.5 ** np.abs(np.subtract.outer(np.arange(8), np.arange(8)))
    assert_allclose(law.factor @ law.factor.T, expected, atol=0.05)


def test_few_windows_shrink_to_the_diagonals() -> None:
    rows = autoregressive(30, 4, 0.7)
    factor = correlation_factor(rows, stationary=True)
    found = factor @ factor.T
    # 20 x 4 / 30 > 1: the shrinkage is complete.
    for lag in range(4):
        assert_allclose(np.diag(found, lag), np.diag(found, lag)[0])
    apart = correlation_factor(rows, stationary=False)
    assert_allclose(apart, np.eye(4), atol=1e-12)
    many = autoregressive(320, 4, 0.7)
    shrunk = correlation_factor(many, stationary=False)
    moments = many.T @ many
    raw = moments / np.sqrt(np.outer(np.diag(moments), np.diag(moments)))
    assert_allclose((shrunk @ shrunk.T)[0, 1:], 0.75 * raw[0, 1:], rtol=1e-9)


def test_residuals_without_variance_give_a_law_nevertheless() -> None:
    for rows in (np.zeros((50, 1, 4)), np.full((50, 1, 4), np.nan), np.ones((50, 1, 4))):
        law = ResidualLaw.fit(rows)
        assert np.isfinite(law.factor).all()
        assert (law.std > 0.0).all()
        assert_allclose(np.diag(law.factor @ law.factor.T), 1.0)
    never = np.concatenate([autoregressive(200, 3, 0.5), np.full((200, 1), np.nan)], axis=1)[:, None]
    assert ResidualLaw.fit(never).std[3] == 1.0


def test_noise_has_the_correlation_of_the_law() -> None:
    law = ResidualLaw.fit(autoregressive(5000, 4, 0.8)[:, None])
    noise = law.forecast_noise((40_000,), 3, torch.Generator().manual_seed(0))
    assert noise.shape == (40_000, 7)
    found = np.cov(noise.numpy().T)
    assert_allclose(found[3:, 3:], law.factor @ law.factor.T, atol=0.03)
    assert_array_equal(noise[:, :3], 0.0)  # known tokens hold none


# ---------------------------------------------------------------- windows and base


def panel(rows: int = 3, length: int = 70, seed: int = 0) -> Panel:
    generator = np.random.default_rng(seed)
    wave = np.sin(2 * np.pi * np.arange(length) / 7) + generator.normal(0.0, 0.3, (rows, length))
    return Panel.from_array(10.0 ** np.arange(rows)[:, None] * (5.0 + wave))


def fitted(given: Panel, horizon: int = 4) -> tuple[BaseForecaster, Any]:
    settings = BaseSettings.choose(horizon, (7,), given.length)
    return BaseForecaster.fit(given, settings, most_windows=10_000)


def test_windows_have_a_history_and_a_target_and_are_thinned_evenly() -> None:
    given = panel()
    settings = BaseSettings.choose(4, (7,), 70)
    series = Series(given, CovariateScale.learn(given), settings)
    all_of_them = training_windows(series, settings, 10_000)
    assert all_of_them.origin.max() == 65
    assert np.isfinite(series.targets(all_of_them, 4)).all()
    some = training_windows(series, settings, 40)
    assert len(some) <= 40
    assert set(np.diff(np.unique(some.origin))) == {int(np.ceil(len(all_of_them) / 40))}
    assert some.origin.max() == 65  # the most recent one is kept
    assert_array_equal(np.bincount(some.row), len(some) // 3)


def test_no_window_begins_before_its_series() -> None:
    values = panel().values[..., 0].copy()
    values[1, :30] = np.nan
    given = Panel.from_array(values)
    settings = BaseSettings.choose(4, (7,), 70)
    series = Series(given, CovariateScale.learn(given), settings)
    windows = training_windows(series, settings, 10_000)
    assert windows.origin[windows.row == 1].min() > 30
    assert windows.origin[windows.row == 0].min() < 30


def test_training_residuals_are_those_of_the_training_forecasts() -> None:
    given = panel()
    base, training = fitted(given)
    series = base.series(given)
    targets = series.targets(training.windows, 4)
    expected = (targets - training.forecast.location) / training.forecast.scale
    assert_allclose(training.residuals, expected)
    seen = base.forecast(series, training.windows)
    # In-sample forecasts would be better than those by ridges that have not seen the window.
    in_sample = np.abs(targets - seen.location) / seen.scale
    assert np.abs(training.residuals).mean() > in_sample.mean()
    assert np.abs(training.residuals).mean() == pytest.approx(1.0, abs=0.25)


def test_folds_of_the_ridge_are_blocks_of_time_that_all_series_share(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def spy(ridge: Any, inputs: Any, targets: Any, fold: Any, complete: Any) -> Any:
        seen.append(fold)
        return out_of_fold(ridge, inputs, targets, fold, complete)

    monkeypatch.setattr("sciffusion.domains.forecasting.base_forecast.out_of_fold", spy)
    given = panel()
    base, training = fitted(given)
    steps = base.series(given).absolute_step(training.windows)
    order = np.argsort(steps, kind="stable")
    assert (np.diff(seen[0][order]) >= 0).all()
    assert len(np.unique(seen[0])) == 5
    assert all(len(np.unique(seen[0][steps == step])) == 1 for step in steps)


def test_updating_the_ridge_is_fitting_it_to_more_windows() -> None:
    given = panel()
    base, training = fitted(given)
    series = base.series(given)
    last = training.windows.take(training.windows.origin >= 60)
    twice = base.updated(given, last)
    assert twice.ridge.count == base.ridge.count + len(last)
    assert_array_equal(twice.stack.weights, base.stack.weights)
    changed = twice.forecast(series, series.last_windows()).location
    assert np.abs(changed - base.forecast(series, series.last_windows()).location).max() > 0.0


# ---------------------------------------------------------------- tokens


def test_tokens_are_free_of_units_and_tell_what_is_missing() -> None:
    given = panel()
    base, training = fitted(given)
    series = base.series(given)
    windows = training.windows
    tokens = forecast_tokens(series, base.settings, windows, training.forecast, training.residuals)
    n_context = token_count(base.settings)
    assert tokens.unknown.shape == (len(windows), n_context + 4)
    assert not tokens.unknown[:, :n_context].any()
    assert tokens.unknown[:, n_context:].all()
    assert np.isnan(tokens.residual[:, :n_context]).all()
    assert_array_equal(tokens.residual[:, n_context:], training.residuals)
    large = Panel.from_array(1024.0 * given.values[..., 0])
    other, again = fitted(large)
    scaled = forecast_tokens(other.series(large), other.settings, again.windows, again.forecast)
    assert_allclose(scaled.inputs, tokens.inputs, rtol=1e-6, atol=1e-6)
    assert np.isfinite(tokens.inputs).all()
    joined = tokens.joined(scaled)
    assert len(joined) == 2 * len(tokens)
    assert_array_equal(joined.step[: len(tokens)], tokens.step)


def test_context_tokens_are_the_standardised_history_and_gaps_are_marked() -> None:
    values = panel().values[..., 0].copy()
    values[0, 66] = np.nan
    given = Panel.from_array(values)
    base, _ = fitted(given)
    series = base.series(given)
    last = series.last_windows()
    forecast = base.forecast(series, last)
    inputs = forecast_tokens(series, base.settings, last, forecast).inputs
    n_context, n_tokens = token_count(base.settings), token_count(base.settings) + 4
    context = inputs[1, :n_context]
    assert_allclose(context.mean(), 0.0, atol=1e-9)
    assert_allclose(context.std(), 1.0)
    history = values[1, -n_context:]
    assert_allclose(inputs[1, n_context:n_tokens], (forecast.location[1] - history.mean()) / history.std())
    assert_allclose(inputs[1, n_tokens + n_context : 2 * n_tokens], np.log(forecast.scale[1] / history.std()))
    missing = inputs[:, 2 * n_tokens : 2 * n_tokens + n_context]
    assert_array_equal(np.argwhere(missing), [[0, n_context - 4]])


def test_the_phase_is_that_of_the_absolute_step_of_the_origin() -> None:
    values = autoregressive(2, 60, 0.5)
    settings = BaseSettings(3, (7,), 10)
    base, _ = BaseForecaster.fit(Panel.from_array(values), settings, most_windows=100)

    def phases(last_step: int) -> Floats:
        series = base.series(Panel.from_array(values, last_step=last_step))
        last = series.last_windows()
        return forecast_tokens(series, settings, last, base.forecast(series, last)).inputs[:, -3:-1]

    angle = 2.0 * np.pi * 5 / 7  # not that of the last position, 59
    assert_allclose(phases(7 * 40 + 5), [[np.sin(angle), np.cos(angle)]] * 2)
    assert_allclose(phases(5), phases(7 * 40 + 5))


def test_inputs_are_standardised_and_constant_ones_keep_their_size() -> None:
    inputs = np.random.default_rng(0).normal(3.0, 2.0, (500, 3))
    inputs[:, 2] = 0.25
    scale = InputScale.learn(inputs)
    found = scale.apply(inputs)
    assert_allclose(found[:, :2].mean(axis=0), 0.0, atol=1e-2)
    assert_allclose(found[:, :2].std(axis=0), 1.0, atol=1e-2)
    assert_array_equal(found[:, 2], 0.0)
    assert scale.apply(inputs + 1e6).max() == 5.0
    assert scale.apply(np.full((1, 3), 0.75))[0, 2] == pytest.approx(0.5)
