"""What must not change a forecast: other series, their order, units, and rows that lie ahead."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sciffusion.domains.forecasting import DiffusionForecaster

TINY = {"n_members": 2, "width": 16, "depth": 1, "batch_size": 32, "max_steps": 20, "n_samples": 20}


def series(names: str = "abcd", length: int = 90, seed: int = 0) -> pd.DataFrame:
    """Return daily series with a week, of different sizes."""
    generator = np.random.default_rng(seed)
    days = pd.date_range("2024-01-01", periods=length, freq="D")
    parts = []
    for place, name in enumerate(names):
        wave = np.sin(2 * np.pi * np.arange(length) / 7 + place) + generator.normal(0.0, 0.3, length)
        parts.append(pd.DataFrame({"unique_id": name, "ds": days, "y": 10.0**place * (5.0 + wave)}))
    return pd.concat(parts, ignore_index=True)


def forecaster(**parameters: Any) -> DiffusionForecaster:
    return DiffusionForecaster(**{"horizon": 7, "random_state": 0, **TINY, **parameters})


@pytest.fixture(scope="module")
def model() -> DiffusionForecaster:
    return forecaster().fit(series())


def paths(model: DiffusionForecaster, df: pd.DataFrame | None = None, **given: Any) -> pd.Series[float]:
    drawn = model.sample(df=df, **given)
    return drawn.set_index(["unique_id", "ds", "sample_id"])["y"].sort_index()


def test_a_missing_value_changes_no_other_series(model: DiffusionForecaster) -> None:
    holed = series()
    holed.loc[(holed["unique_id"] == "b") & (holed["ds"] >= "2024-03-25"), "y"] = np.nan
    before, after = paths(model), paths(model, holed)
    others = ["a", "c", "d"]
    assert_array_equal(after.loc[others], before.loc[others])
    assert (after.loc["b"] != before.loc["b"]).mean() > 0.9


def test_the_order_of_series_and_rows_changes_nothing(model: DiffusionForecaster) -> None:
    shuffled = series().sample(frac=1.0, random_state=1)
    assert_allclose(paths(model, shuffled), paths(model), rtol=1e-6)
    again = forecaster(network_off=True).fit(shuffled)
    assert_allclose(paths(again), paths(forecaster(network_off=True).fit(series())), rtol=1e-6)


def test_series_can_be_forecast_alone(model: DiffusionForecaster) -> None:
    one = series().query("unique_id == 'c'")
    assert_allclose(paths(model, one), paths(model).loc[["c"]], rtol=1e-5)


@pytest.mark.parametrize("network_off", [True, False])
def test_units_do_not_matter(network_off: bool) -> None:
    df = series()
    scaled = df.assign(y=256.0 * df["y"])
    one = paths(forecaster(network_off=network_off).fit(df))
    other = paths(forecaster(network_off=network_off).fit(scaled))
    # The same up to rounding, which training multiplies.
    assert_allclose(other, 256.0 * one, rtol=1e-6 if network_off else 1e-2)
    assert_allclose(other.groupby("unique_id").std(), 256.0 * one.groupby("unique_id").std(), rtol=1e-2)


@pytest.mark.parametrize("last", [0.0, 5.0])
@pytest.mark.parametrize("network_off", [True, False])
def test_units_do_not_matter_to_a_series_that_has_come_to_rest(network_off: bool, last: float) -> None:
    resting = series("a").assign(y=lambda df: np.where(df["ds"] < "2024-02-20", df["y"], last))
    fitted = forecaster(network_off=network_off, nonnegative=False).fit(series())
    one = paths(fitted, resting)
    other = paths(fitted, resting.assign(y=2.0**-40 * resting["y"]))
    assert_allclose(2.0**40 * other, one, rtol=1e-4, atol=1e-4)


def test_draws_stay_above_zero_only_where_asked() -> None:
    rare = series("a").assign(y=lambda df: np.where(np.arange(len(df)) % 9 == 0, 1.0, 0.0))
    for asked, lowest in (("auto", True), (True, True), (False, False)):
        drawn = forecaster(network_off=True, nonnegative=asked).fit(rare).sample()["y"]
        assert (drawn.min() >= 0.0) == lowest
    negative = rare.assign(y=rare["y"] - 0.5)
    assert forecaster(network_off=True).fit(negative).sample()["y"].min() < -0.5


def test_new_series_are_forecast_from_their_own_history(model: DiffusionForecaster) -> None:
    new = series("e").assign(y=lambda df: 1000.0 * df["y"])
    found = model.predict(df=new)
    assert set(found["unique_id"]) == {"e"}
    assert found["ds"].min() == pd.Timestamp("2024-03-31")
    truth = 1000.0 * (5.0 + np.sin(2 * np.pi * np.arange(90, 97) / 7))
    assert np.abs(found["DiffusionForecaster"] - truth).mean() < 500.0
    both = model.predict(df=pd.concat([series(), new]))
    assert_allclose(
        both[both["unique_id"] == "e"]["DiffusionForecaster"], found["DiffusionForecaster"], rtol=1e-5
    )


def test_rows_ahead_of_a_given_history_are_not_seen(model: DiffusionForecaster) -> None:
    early = series().query("ds < '2024-03-10'")
    found = model.predict(df=early)
    assert found.groupby("unique_id")["ds"].min().eq(pd.Timestamp("2024-03-10")).all()
    assert_array_equal(model.predict(df=early), found)


def test_a_shorter_horizon_is_the_beginning_of_a_longer_one(model: DiffusionForecaster) -> None:
    whole = paths(model).unstack("ds")
    for h in (1, 4):
        assert_allclose(paths(model, h=h).unstack("ds"), whole.iloc[:, :h], rtol=1e-6)
    longer = paths(model, h=17).unstack("ds")
    assert_allclose(longer.iloc[:, :7], whole, rtol=1e-6)
    assert longer.shape[1] == 17
    assert np.isfinite(longer.to_numpy()).all()


def test_beyond_the_horizon_seasons_go_on_and_spread_does_not_shrink(model: DiffusionForecaster) -> None:
    drawn = model.sample(h=28, n_samples=60)
    one = drawn[drawn["unique_id"] == "a"].pivot(index="ds", columns="sample_id", values="y").to_numpy()
    truth = 5.0 + np.sin(2 * np.pi * np.arange(90, 118) / 7)
    assert np.abs(np.median(one, axis=1) - truth)[14:].mean() < 0.45
    assert one[21:].std(axis=1).mean() > 0.7 * one[:7].std(axis=1).mean()
