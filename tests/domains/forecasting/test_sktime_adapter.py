"""The forecaster with sktime's interface: what it gives back, and that it forecasts as it does without."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sciffusion.domains.forecasting import DiffusionForecaster

pytest.importorskip("sktime")

from sciffusion.domains.forecasting import SktimeDiffusionForecaster

OFF = {"network_off": True, "n_samples": 40, "random_state": 0}
TINY = {"n_members": 2, "width": 16, "depth": 1, "batch_size": 32, "max_steps": 10}


def months(length: int = 120, seed: int = 0) -> pd.Series[float]:
    generator = np.random.default_rng(seed)
    wave = 10.0 + 3.0 * np.sin(2 * np.pi * np.arange(length) / 12) + generator.normal(0.0, 0.5, length)
    return pd.Series(wave, index=pd.period_range("2001-01", periods=length, freq="M"), name="passengers")


def panel(ends: tuple[int, ...] = (60, 60), columns: tuple[str, ...] = ("y",)) -> pd.DataFrame:
    """Return series of the names "a", "b", ... below which stamps begin at the same day."""
    generator = np.random.default_rng(0)
    parts = {
        name: pd.DataFrame(
            generator.normal(5.0, 1.0, (end, len(columns))),
            index=pd.date_range("2024-01-01", periods=end, freq="D", name="day"),
            columns=list(columns),
        )
        for name, end in zip("abcdef", ends, strict=False)
    }
    return pd.concat(parts, names=["shop"])


def fitted(y: Any, X: Any = None, fh: Any = (1, 2, 3), **parameters: Any) -> SktimeDiffusionForecaster:
    return SktimeDiffusionForecaster(**{**OFF, **parameters}).fit(y, X=X, fh=None if fh is None else list(fh))


# ---------------------------------------------------------------- what is given back


def test_median_quantiles_intervals_and_variance_are_those_of_the_paths() -> None:
    y = months()
    model = fitted(y)
    paths = model.sample()
    assert paths.shape == (3, 40)
    assert_allclose(model.predict(), paths.median(axis=1))
    assert_allclose(model.predict_var().iloc[:, 0], paths.var(axis=1, ddof=0))
    by_level = model.predict_quantiles(alpha=[0.1, 0.9])
    assert_allclose(by_level, np.quantile(paths, [0.1, 0.9], axis=1, method="weibull").T)
    assert_allclose(model.predict_interval(coverage=0.8), by_level)
    assert list(by_level.columns) == [("passengers", 0.1), ("passengers", 0.9)]


def test_the_paths_are_those_of_the_forecaster_on_the_same_values() -> None:
    y = months()
    model = fitted(y, options=TINY, network_off=False)
    frame = pd.DataFrame({"unique_id": "None", "ds": y.index, "y": y.to_numpy()})
    direct = DiffusionForecaster(horizon=3, n_samples=40, random_state=0, **TINY).fit(frame)
    drawn = direct.sample().pivot(index="ds", columns="sample_id", values="y")
    assert_array_equal(model.sample().to_numpy(), drawn.to_numpy())
    columns = [f"DiffusionForecaster-q-{level}" for level in (5, 95)]
    quantiles = direct.predict_quantiles(quantiles=[0.05, 0.95])[columns]
    assert_allclose(model.predict_quantiles(alpha=[0.05, 0.95]), quantiles)


def test_the_season_of_the_index_is_used_and_can_be_given() -> None:
    y = months()
    known = y.index[-12:] + 12
    by_index = fitted(y, fh=range(1, 13)).predict()
    assert list(by_index.index) == list(known)
    truth = 10.0 + 3.0 * np.sin(2 * np.pi * np.arange(120, 132) / 12)
    numbered = y.reset_index(drop=True)
    without = fitted(numbered, fh=range(1, 13)).predict()
    given = fitted(numbered, fh=range(1, 13), season_length=12).predict()
    assert np.abs(by_index - truth).mean() < 0.5
    assert np.abs(given.to_numpy() - truth).mean() < 0.5
    assert_array_equal(without.index, np.arange(120, 132))


@pytest.mark.parametrize(
    "index",
    [
        pd.period_range("2001-01", periods=60, freq="Q"),
        pd.date_range("2001-01-01", periods=60, freq="MS"),
        pd.date_range("2001-01-01", periods=60, freq="h", tz="Europe/Berlin"),
        pd.DatetimeIndex(pd.date_range("2001-01-05", periods=60, freq="W-FRI"), freq=None),
        pd.RangeIndex(1000, 1060),
        pd.Index(np.arange(-20, 40)),
    ],
    ids=["quarters", "month starts", "zoned hours", "no freq", "range", "integers"],
)
def test_forecasts_stand_at_the_stamps_that_follow(index: Any) -> None:
    values = months(60).to_numpy()
    y = pd.Series(values, index=index[:60])
    found = fitted(y[:50], fh=(2, 5)).predict()
    assert_array_equal(found.index, index[[51, 54]])
    assert np.isfinite(found).all()
    again = fitted(y[:50], fh=range(1, 6)).sample()
    assert_array_equal(fitted(y[:50], fh=None).sample(fh=[2, 5]).index, again.index[[1, 4]])


def test_an_absolute_horizon_means_its_stamps() -> None:
    y = months()
    relative = fitted(y[:100], fh=(1, 3)).predict()
    absolute = fitted(y[:100], horizon=3, fh=None).predict(fh=y.index[[100, 102]])
    pd.testing.assert_series_equal(relative, absolute)
    at_fit = SktimeDiffusionForecaster(**OFF).fit(y[:100], fh=y.index[[100, 102]])
    assert at_fit.forecaster_.model_.horizon == 3
    pd.testing.assert_series_equal(at_fit.predict(), relative)
    days = pd.Series(y.to_numpy(), pd.date_range("2024-01-01", periods=120, freq="D"))
    later = fitted(days, fh=None).predict(fh=pd.TimedeltaIndex(["1D", "3D"]))
    assert_array_equal(later, fitted(days, fh=None).predict(fh=[1, 3]))


def test_a_panel_is_one_model_and_keeps_names() -> None:
    y = panel(columns=("units", "price"))
    model = fitted(y)
    assert model.forecaster_.panel_.n_series == 2
    found = model.predict()
    assert found.index.names == ["shop", "day"]
    assert list(found.columns) == ["units", "price"]
    assert found.index.get_level_values(0).tolist() == ["a"] * 3 + ["b"] * 3
    expected = pd.date_range("2024-03-01", periods=3).tolist() * 2
    assert found.index.get_level_values(1).tolist() == expected
    by_series = model.sample().loc["b"]
    assert_allclose(found.loc["b", "price"], by_series["price"].median(axis=1))


def test_names_of_a_hierarchy_are_kept_in_sorted_order() -> None:
    day = panel(ends=(40, 40))
    y = pd.concat({"west": day, "east": day + 100.0}, names=["region"])
    found = fitted(y, fh=(1,)).predict()
    assert found.index.droplevel(-1).tolist() == [("east", "a"), ("east", "b"), ("west", "a"), ("west", "b")]
    assert (found.loc["east", "y"] > 90.0).all()
    assert (found.loc["west", "y"] < 20.0).all()


def test_series_that_ended_earlier_are_forecast_at_the_common_stamps() -> None:
    y = panel(ends=(60, 55))
    found = fitted(y, fh=(1, 2)).predict()
    assert found.index.get_level_values(1).unique().tolist() == [
        pd.Timestamp("2024-03-01"), pd.Timestamp("2024-03-02"),
    ]  # fmt: skip
    padded = y.iloc[:, 0].unstack(0).unstack().to_frame("y")
    assert int(padded["y"].isna().sum()) == 5
    again = fitted(y, fh=(1, 2)).update(padded)
    pd.testing.assert_frame_equal(again.predict(), found)
    assert fitted(y.loc[["b"]], fh=(1, 2)).predict().index[0] == ("b", pd.Timestamp("2024-02-25"))


# ---------------------------------------------------------------- what it copes with


@pytest.mark.parametrize(("length", "fh"), [(3, (1,)), (5, (1, 3)), (12, tuple(range(1, 13))), (20, (12,))])
def test_short_series_shrink_the_window(length: int, fh: tuple[int, ...]) -> None:
    y = months(length)
    model = fitted(y, fh=fh)
    assert model.forecaster_.model_.horizon == min(max(fh), max(length // 3, 1))
    assert np.isfinite(model.sample().to_numpy()).all()
    assert model.predict().shape == (len(fh),)


def test_missing_values_of_series_and_covariates() -> None:
    y = months()
    y.iloc[[4, 50, 51, 119]] = np.nan
    X = pd.DataFrame({"x": np.arange(123.0)}, index=pd.period_range("2001-01", periods=123, freq="M"))
    X.iloc[[3, 121]] = np.nan
    found = fitted(y, X[:120]).sample(X=X[120:])
    assert np.isfinite(found.to_numpy()).all()


def test_in_sample_horizons_are_refused() -> None:
    with pytest.raises(NotImplementedError, match="in-sample"):
        fitted(months(), fh=(-2, 1))
    with pytest.raises(NotImplementedError, match="in-sample"):
        fitted(months(), fh=None).predict_quantiles(fh=[0])


def test_options_that_are_no_mapping_are_refused() -> None:
    with pytest.raises(TypeError, match="options must be a mapping"):
        SktimeDiffusionForecaster(options="max_steps").fit(months(), fh=[1])


def test_a_parameter_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="nfe"):
        fitted(months(), options={"nfe": 4})


def test_equal_seeds_give_equal_forecasts_and_calls_agree_without_one() -> None:
    y = months(60)
    one, same, other = (fitted(y, random_state=seed).sample() for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(one, same)
    assert (one != other).to_numpy().all()
    unseeded = fitted(y, random_state=None)
    pd.testing.assert_frame_equal(unseeded.sample(), unseeded.sample())


# ---------------------------------------------------------------- covariates


def planted(length: int = 150) -> tuple[pd.Series[float], pd.DataFrame]:
    """Return a series that is five times its covariate, and noise."""
    generator = np.random.default_rng(3)
    index = pd.date_range("2024-01-01", periods=length, freq="D")
    X = pd.DataFrame({"idle": 0.0, "push": generator.choice([-1.0, 1.0], length)}, index=index)
    return 5.0 * X["push"] + generator.normal(0.0, 0.3, length), X


def test_covariates_of_the_steps_ahead_are_used_by_name() -> None:
    y, X = planted()
    model = fitted(y[:140], X[:140])
    ahead = X[140:143].assign(push=[1.0, -1.0, 1.0])
    found = model.predict(X=ahead)
    assert_allclose(found, 5.0 * ahead["push"], atol=0.7)
    pd.testing.assert_series_equal(model.predict(X=ahead[["push", "idle"]].assign(more=9.0)), found)


def test_only_the_rows_of_the_horizon_are_needed() -> None:
    y, X = planted()
    model = fitted(y[:140], X[:140], fh=(2, 5))
    found = model.predict(X=X.iloc[[141, 144]])
    assert_allclose(found, 5.0 * X["push"].iloc[[141, 144]], atol=0.9)
    with pytest.raises(ValueError, match="lacks rows"):
        model.predict(X=X.iloc[[140, 144]])


def test_covariates_must_come_as_in_fit() -> None:
    y, X = planted()
    model = fitted(y[:140], X[:140])
    with pytest.raises(ValueError, match=r"X is missing.*push"):
        model.predict()
    with pytest.raises(ValueError, match="push"):
        model.predict(X=X[["idle"]][140:])
    with pytest.raises(ValueError, match="not in fit"):
        fitted(y[:140]).predict(X=X[140:])
    with pytest.raises(ValueError, match="without any value"):
        model.predict(X=X[140:].assign(push=np.nan))


def test_covariates_of_a_panel_belong_to_their_series() -> None:
    y, X = planted()
    values = pd.concat({"a": y[:140].to_frame("y"), "b": -y[:140].to_frame("y")})
    both = pd.concat({"a": X[:140], "b": -X[:140]})
    ahead = pd.concat({"b": X[140:143].assign(push=-1.0), "a": X[140:143].assign(push=1.0)})
    found = fitted(values, both).predict(X=ahead.sort_index())
    assert (found.loc["a"] > 3.0).to_numpy().all()
    assert (found.loc["b"] < -3.0).to_numpy().all()


# ---------------------------------------------------------------- updates


def test_an_update_forecasts_from_the_new_rows_without_training() -> None:
    y = months()
    model = fitted(y[:100])
    before = model.forecaster_
    model.update(y[100:104]).update(y[104:110])
    at_once = fitted(y[:100]).update(y[100:110], update_params=False)
    assert model.forecaster_ is before
    assert list(model.predict().index) == list(y.index[110:113])
    pd.testing.assert_frame_equal(model.sample(), at_once.sample())
    stale = fitted(y[:100]).predict(fh=[11, 12, 13])
    assert (model.predict() != stale).any()


def test_an_update_replaces_rows_and_fills_gaps_with_missing_values() -> None:
    y = months()
    revised = y[90:110].copy()
    revised.iloc[:10] = 50.0
    found = fitted(y[:100]).update(revised).sample()
    whole = y[:110].copy()
    whole.iloc[90:100] = 50.0
    pd.testing.assert_frame_equal(fitted(y[:100]).update(whole).sample(), found)
    gap = fitted(y[:100]).update(y[103:110]).sample()
    holed = y[100:110].copy()
    holed.iloc[:3] = np.nan
    pd.testing.assert_frame_equal(fitted(y[:100]).update(holed).sample(), gap)


def test_an_update_takes_covariates_and_new_series() -> None:
    y, X = planted()
    model = fitted(y[:130], X[:130])
    model.update(y[130:140], X[130:140])
    assert_allclose(model.predict(X=X[140:143]), 5.0 * X["push"][140:143], atol=0.7)
    shops = panel(ends=(60, 60, 60))
    growing = fitted(shops.loc[["a", "b"]])
    growing.update(shops.loc[["c"]])
    assert growing.predict().index.get_level_values(0).unique().tolist() == ["a", "b", "c"]


def test_moving_cutoffs_do_not_look_ahead() -> None:
    from sktime.split import ExpandingWindowSplitter

    y = months()
    splitter = ExpandingWindowSplitter(fh=[1, 2], initial_window=5, step_length=5)
    found = fitted(y[:100], fh=(1, 2)).update_predict(y[100:], cv=splitter)
    spoiled = y.copy()
    spoiled.iloc[110:] = 1e6
    changed = fitted(y[:100], fh=(1, 2)).update_predict(spoiled[100:], cv=splitter)
    flat, other = (np.asarray(frame).ravel() for frame in (found, changed))
    early = ~np.isnan(flat) & ~np.isnan(other)
    assert early.sum() >= 6
    assert_array_equal(flat[early][:4], other[early][:4])
    seen_all = fitted(y[:100], fh=(1, 2)).update(y[100:])
    seen_all._set_cutoff(y.index[[109]])
    first = fitted(y[:100], fh=(1, 2)).update(y[100:110])
    pd.testing.assert_series_equal(seen_all.predict(), first.predict())


# ---------------------------------------------------------------- sktime as an extra


def test_the_package_imports_without_sktime() -> None:
    code = (
        "import sys\nimport sciffusion.domains.forecasting as package\n"
        "print('sktime' in sys.modules)\nsys.modules['sktime'] = None\n"
        "try:\n    package.SktimeDiffusionForecaster\n"
        "except ImportError as error:\n    print(error)"
    )
    ended = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    loaded, message = ended.stdout.splitlines()
    assert loaded == "False"
    assert "pip install 'sciffusion[forecasting]'" in message


def test_other_names_are_still_refused() -> None:
    import sciffusion.domains.forecasting as package

    with pytest.raises(AttributeError, match="no_such"):
        _ = package.no_such
