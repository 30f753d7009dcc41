"""Series that are hard to forecast: constant, empty, short, with ends missing, infinite."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from sciffusion.domains.forecasting import DiffusionForecaster

TINY = {"n_members": 2, "width": 16, "depth": 1, "batch_size": 32, "max_steps": 15, "n_samples": 20}


def forecaster(**parameters: Any) -> DiffusionForecaster:
    return DiffusionForecaster(**{"horizon": 4, "random_state": 0, **TINY, **parameters})


def wavy(length: int = 80, seed: int = 0) -> np.ndarray[Any, Any]:
    generator = np.random.default_rng(seed)
    return 5.0 + np.sin(2 * np.pi * np.arange(length) / 7) + generator.normal(0.0, 0.2, length)


def frame(values: dict[str, Any]) -> pd.DataFrame:
    parts = [
        pd.DataFrame(
            {"unique_id": name, "ds": pd.date_range("2024-01-01", periods=len(one), freq="D"), "y": one}
        )
        for name, one in values.items()
    ]
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize("network_off", [True, False])
@pytest.mark.parametrize("value", [0.0, 7.0, -1e9, 1e-12])
def test_a_constant_series_is_forecast_by_its_value(value: float, network_off: bool) -> None:
    df = frame({"constant": np.full(60, value), "wavy": wavy(60)})
    model = forecaster(network_off=network_off, nonnegative=False).fit(df)
    drawn = model.sample().query("unique_id == 'constant'")["y"]
    assert np.isfinite(drawn).all()
    near = 0.05 * abs(value) or 0.05  # zeros have no size
    assert_allclose(drawn, value, atol=near)
    alone = forecaster(network_off=network_off, nonnegative=False).fit(frame({"a": np.full(60, value)}))
    assert_allclose(alone.predict()["DiffusionForecaster"], value, atol=near)


@pytest.mark.parametrize("length", [6, 8, 12, 20])
@pytest.mark.parametrize("network_off", [True, False])
def test_short_series_are_fitted(length: int, network_off: bool) -> None:
    model = forecaster(network_off=network_off, horizon=2).fit(wavy(length)[None])
    drawn = model.sample(h=5)
    assert drawn.shape == (1, 20, 5)
    assert np.isfinite(drawn).all()
    assert (np.abs(drawn - 5.0) < 15.0).all()


@pytest.mark.parametrize("length", [1, 2, 4, 5])
def test_series_no_longer_than_the_horizon_are_refused(length: int) -> None:
    with pytest.raises(ValueError, match="5 known values after it"):
        forecaster(horizon=5).fit(wavy(length)[None])


def test_a_short_series_borrows_from_longer_ones() -> None:
    df = frame({"long": wavy(200), "short": 100.0 * wavy(9, seed=1)})
    found = forecaster(network_off=True).fit(df).predict().query("unique_id == 'short'")
    truth = 100.0 * (5.0 + np.sin(2 * np.pi * np.arange(9, 13) / 7))
    assert np.abs(found["DiffusionForecaster"] - truth).mean() < 60.0
    brand_new = forecaster(network_off=True).fit(df).predict(df=frame({"new": [3.0]}))
    assert np.isfinite(brand_new.select_dtypes("number")).to_numpy().all()


@pytest.mark.parametrize("network_off", [True, False])
def test_a_horizon_of_one_step(network_off: bool) -> None:
    model = forecaster(horizon=1, network_off=network_off).fit(np.stack([wavy(), wavy(seed=1)]))
    assert model.predict().shape == (2, 1)
    assert model.sample(h=3).shape == (2, 20, 3)
    assert np.isfinite(model.sample(h=3)).all()


def test_an_end_that_is_missing_is_forecast_through() -> None:
    values = np.stack([wavy(), wavy(seed=1)])
    model = forecaster(season_length=7, network_off=True).fit(values)
    holed = values.copy()
    holed[0, -10:] = np.nan
    found = model.sample(holed, 200)
    assert np.isfinite(found).all()
    truth = 5.0 + np.sin(2 * np.pi * np.arange(80, 84) / 7)
    assert np.abs(np.median(found[0], axis=0) - truth).mean() < 0.5
    refitted = forecaster(season_length=7).fit(holed)
    assert np.isfinite(refitted.sample()).all()


def test_a_series_without_any_value_is_refused_by_name() -> None:
    df = frame({"full": wavy(), "bare": np.full(80, np.nan)})
    with pytest.raises(ValueError, match="bare"):
        forecaster().fit(df)
    model = forecaster(network_off=True).fit(frame({"full": wavy()}))
    with pytest.raises(ValueError, match="bare"):
        model.predict(df=df)
    with pytest.raises(ValueError, match="series 1"):
        forecaster().fit(np.stack([wavy(), np.full(80, np.nan)]))


def test_infinite_values_are_refused_by_name() -> None:
    wild = wavy()
    wild[30] = np.inf
    df = frame({"calm": wavy(), "wild": wild})
    with pytest.raises(ValueError, match=r"infinite values in .*wild"):
        forecaster().fit(df)
    model = forecaster(network_off=True).fit(frame({"calm": wavy()}))
    with pytest.raises(ValueError, match=r"infinite values in .*wild"):
        model.predict(df=df)


def test_many_values_may_be_missing() -> None:
    generator = np.random.default_rng(0)
    values = np.stack([wavy(200), 10.0 * wavy(200, seed=1)])
    values[generator.random(values.shape) < 0.5] = np.nan
    model = forecaster(season_length=7, horizon=7).fit(values)
    found = model.predict()
    truth = 5.0 + np.sin(2 * np.pi * np.arange(200, 207) / 7)
    assert np.abs(found[0] - truth).mean() < 0.5
    assert np.abs(found[1] / 10.0 - truth).mean() < 0.5


def test_rows_of_an_array_have_no_weights_of_their_own() -> None:
    generator = np.random.default_rng(0)
    # One series that repeats itself and one that wanders: worth other weights, were they known by name.
    repeating = np.tile(generator.normal(size=7), 30) + generator.normal(0.0, 0.05, 210)
    values = np.stack([repeating, np.cumsum(generator.normal(size=210))])
    model = forecaster(season_length=7, network_off=True, nonnegative=False).fit(values)
    assert_allclose(model.predict(values[::-1]), model.predict(values)[::-1], rtol=1e-6)
    assert_allclose(model.predict(values[1:]), model.predict(values)[1:], rtol=1e-6)


def test_channels_of_one_series_may_differ_in_everything() -> None:
    values = np.stack([wavy(120), np.full(120, 3.0), 1e6 * wavy(120, seed=2)], axis=1)[None]
    model = forecaster(season_length=7).fit(values)
    found = model.predict()[0]
    truth = 5.0 + np.sin(2 * np.pi * np.arange(120, 124) / 7)
    assert np.abs(found[:, 0] - truth).mean() < 0.6
    assert_allclose(found[:, 1], 3.0, atol=0.1)
    assert np.abs(found[:, 2] / 1e6 - truth).mean() < 0.6


@pytest.mark.parametrize("network_off", [True, False])
def test_numbers_whose_squares_overflow_are_refused_with_their_series(network_off: bool) -> None:
    df = frame({"fine": wavy(), "huge": 1e155 * wavy()})
    with pytest.raises(ValueError, match=r"beyond 1e\+100.* in series 'huge'"):
        forecaster(network_off=network_off).fit(df)
    large = forecaster(network_off=network_off).fit(frame({"fine": wavy(), "large": 1e98 * wavy()}))
    assert np.isfinite(large.predict().iloc[:, 2:].to_numpy()).all()


def test_a_long_frame_where_an_array_is_expected_is_refused_by_its_columns() -> None:
    df = frame({"a": wavy()})
    with pytest.raises(TypeError, match="other columns 'ds'"):
        forecaster().fit(df.drop(columns="unique_id"))
    model = forecaster(network_off=True).fit(wavy()[None])
    with pytest.raises(TypeError, match="other columns 'unique_id', 'ds'"):
        model.predict(df, 4)
    with pytest.raises(TypeError, match="other columns 'unique_id', 'ds'"):
        model.impute(df)


@pytest.mark.parametrize("name", ["past_covariates", "future_covariates", "static_covariates"])
def test_covariates_of_arrays_are_refused_and_columns_must_be_names(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}' need a long frame"):
        forecaster(**{name: ["x"]}).fit(wavy()[None])
    with pytest.raises(TypeError, match="must be a name or a sequence of names, got 3"):
        forecaster(**{name: 3}).fit(frame({"a": wavy()}))


@pytest.mark.parametrize(("level", "error"), [(150, ValueError), ([0], ValueError), (["80"], TypeError)])
def test_levels_that_are_no_per_cents_are_refused(level: Any, error: type[Exception]) -> None:
    model = forecaster(network_off=True).fit(frame({"a": wavy()}))
    for forecast in (model.predict, model.predict_interval):
        with pytest.raises(error, match="level must hold per cents between 0 and 100"):
            forecast(4, level=level)
    with pytest.raises(ValueError, match="at least one coverage"):
        model.predict_interval(4, level=[], method="conformal")
    assert list(model.predict(4, level=80)) == list(model.predict(4, level=[80]))


def test_arguments_of_another_kind_are_named() -> None:
    model = forecaster(network_off=True).fit(wavy()[None])
    with pytest.raises(ValueError, match="season_length must be an integer"):
        forecaster(season_length=[7, "a"]).fit(wavy()[None])
    with pytest.raises(ValueError, match="X must have more columns than the horizon, 4, got 4"):
        model.score(wavy(4)[None])
    with pytest.raises(TypeError, match="value of an event must be a number or a Tensor, got '3'"):
        model.event_probability((lambda y: y.amax(-1), ">", "3"), 4)
    with pytest.raises(ValueError, match="the state lacks 'draws'"):
        model.stream(n_samples=2).load_state_dict({"mode": "fresh"})
