"""Covariates are used, each in its way, and those of the rows ahead are asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from sciffusion.domains.forecasting import DiffusionForecaster

TINY = {"n_members": 2, "width": 16, "depth": 1, "batch_size": 32, "max_steps": 15, "n_samples": 40}


def shops(length: int = 150, ahead: int = 3, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return rows in which y jumps by 10 on days of a campaign, and the covariates of the days after."""
    generator = np.random.default_rng(seed)
    parts = []
    for name in ("north", "south"):
        campaign = (generator.random(length + ahead) < 0.3).astype(float)
        y = 50.0 + 10.0 * campaign + generator.normal(0.0, 1.0, length + ahead)
        days = pd.date_range("2024-01-01", periods=length + ahead, freq="D")
        parts.append(pd.DataFrame({"unique_id": name, "ds": days, "y": y, "campaign": campaign}))
    table = pd.concat(parts, ignore_index=True)
    late = table["ds"] >= table["ds"].max() - pd.Timedelta(days=ahead - 1)
    return table[~late], table[late].drop(columns="y")


def forecaster(**parameters: Any) -> DiffusionForecaster:
    given = {"horizon": 3, "future_covariates": ["campaign"], "random_state": 0, **TINY}
    return DiffusionForecaster(**{**given, **parameters})


@pytest.fixture(scope="module")
def model() -> DiffusionForecaster:
    return forecaster().fit(shops()[0])


@pytest.mark.parametrize("network_off", [True, False])
def test_a_planted_effect_of_what_is_known_ahead_is_found(
    network_off: bool, model: DiffusionForecaster
) -> None:
    df, ahead = shops()
    fitted = forecaster(network_off=True).fit(df) if network_off else model
    on = fitted.predict(futr_df=ahead.assign(campaign=1.0))["DiffusionForecaster"]
    off = fitted.predict(futr_df=ahead.assign(campaign=0.0))["DiffusionForecaster"]
    assert_allclose(on - off, 10.0, atol=2.0)
    mixed = ahead.assign(campaign=np.tile([1.0, 0.0, 1.0], 2))
    found = fitted.predict(futr_df=mixed)["DiffusionForecaster"]
    # The ridge, which alone knows the covariates, is one of many members.
    assert_allclose(found, 50.0 + 10.0 * mixed["campaign"], atol=4.0)


def test_covariates_narrow_the_draws(model: DiffusionForecaster) -> None:
    df, ahead = shops()
    blind = forecaster(future_covariates=()).fit(df.drop(columns="campaign"))
    widths = [
        drawn.groupby(["unique_id", "ds"])["y"].std().mean()
        for drawn in (model.sample(futr_df=ahead), blind.sample())
    ]
    assert widths[0] < 0.5 * widths[1]


def test_rows_ahead_may_come_in_any_order(model: DiffusionForecaster) -> None:
    _, ahead = shops()
    shuffled = ahead.sample(frac=1.0, random_state=0)
    pd.testing.assert_frame_equal(model.predict(futr_df=shuffled), model.predict(futr_df=ahead))


def test_missing_covariates_of_the_rows_ahead_are_refused_by_name(model: DiffusionForecaster) -> None:
    _, ahead = shops()
    with pytest.raises(ValueError, match=r"futr_df is missing.*campaign"):
        model.predict()
    with pytest.raises(ValueError, match=r"no rows of series.*south"):
        model.predict(futr_df=ahead[ahead["unique_id"] == "north"])
    with pytest.raises(ValueError, match=r"exactly the 3 rows.*south"):
        model.predict(futr_df=ahead.iloc[:-1])
    holed = ahead.copy()
    holed.iloc[-1, holed.columns.get_loc("campaign")] = np.nan
    with pytest.raises(ValueError, match=r"campaign.*missing in.*south"):
        model.predict(futr_df=holed)
    with pytest.raises(ValueError, match="campaign"):
        model.predict(futr_df=ahead.drop(columns="campaign"))
    with pytest.raises(ValueError, match="exactly the 5 rows"):
        model.predict(h=5, futr_df=ahead)


def test_covariates_of_other_histories_are_theirs(model: DiffusionForecaster) -> None:
    df, ahead = shops()
    early = df[df["ds"] < "2024-05-01"]
    next_days = df[(df["ds"] >= "2024-05-01") & (df["ds"] < "2024-05-04")]
    found = model.predict(df=early, futr_df=next_days.drop(columns="y"))
    assert_allclose(found["DiffusionForecaster"], 50.0 + 10.0 * next_days["campaign"], atol=3.0)
    with pytest.raises(ValueError, match="exactly the 3 rows"):
        model.predict(df=early, futr_df=ahead)


def test_the_effect_goes_on_beyond_the_horizon() -> None:
    df, ahead = shops(ahead=8)
    fitted = forecaster(network_off=True).fit(df)
    found = fitted.predict(h=8, futr_df=ahead)["DiffusionForecaster"]
    assert_allclose(found, 50.0 + 10.0 * ahead["campaign"], atol=3.0)


def test_what_is_known_only_up_to_now_is_used() -> None:
    generator = np.random.default_rng(1)
    signal = generator.normal(size=300)
    y = np.zeros(300)
    y[1:] = 5.0 * signal[:-1]
    y += 100.0 + generator.normal(0.0, 0.5, 300)
    df = pd.DataFrame({"unique_id": "a", "ds": np.arange(300), "y": y, "signal": signal})
    errors = []
    for past in (("signal",), ()):
        columns = ["unique_id", "ds", "y", *past]
        model = forecaster(horizon=1, future_covariates=(), past_covariates=past, network_off=True)
        model.fit(df[columns][:250])
        found = [model.predict(df=df[columns][:end])["DiffusionForecaster"].item() for end in range(250, 290)]
        errors.append(np.abs(np.array(found) - y[250:290]).mean())
    assert errors[0] < 0.5 * errors[1]


def test_what_does_not_change_tells_series_apart() -> None:
    df = pd.concat(
        [
            pd.DataFrame({"unique_id": f"{kind}{number}", "ds": np.arange(30), "y": values, "kind": kind})
            for number in range(20)
            for kind, values in (
                (0.0, 10.0 + 0.0 * np.arange(30) + np.random.default_rng(number).normal(0.0, 0.2, 30)),
                (1.0, 10.0 + 1.0 * np.arange(30) + np.random.default_rng(number).normal(0.0, 0.2, 30)),
            )
        ]
    )
    model = forecaster(horizon=3, future_covariates=(), static_covariates=("kind",), network_off=True).fit(df)
    new = df[df["unique_id"] == "1.03"].assign(unique_id="new")
    assert_allclose(model.predict(df=new)["DiffusionForecaster"], [40.0, 41.0, 42.0], atol=1.5)
