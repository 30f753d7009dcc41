"""Anomaly scores: what was planted is found, in any units and order, without a look ahead where promised."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from sciffusion import DiffusionForecaster
from sciffusion.domains.forecasting.anomaly_methods import _energy

KINDS = ("forecast", "denoising", "combined")


def waves(count: int, length: int, seed: int) -> np.ndarray:
    """Return noisy waves of 12 steps."""
    noise = np.random.default_rng(seed).normal(0.0, 0.3, (count, length))
    return 5.0 + 2.0 * np.sin(np.arange(length) * np.pi / 6.0) + noise


def fitted(network_off: bool, X: Any = None) -> DiffusionForecaster:
    """Return a forecaster of waves."""
    model = DiffusionForecaster(
        horizon=8, season_length=12, network_off=network_off, n_members=2, width=32, max_steps=30,
        batch_size=32, nfe=4, random_state=0,
    )  # fmt: skip
    return model.fit(waves(3, 150, 0) if X is None else X)


@pytest.fixture(scope="module", params=[True, False], ids=["network off", "network"])
def model(request: pytest.FixtureRequest) -> DiffusionForecaster:
    """Either forecaster."""
    return fitted(request.param)


@pytest.mark.parametrize("kind", KINDS)
def test_a_planted_spike_has_the_top_score_and_the_rest_are_about_one(
    model: DiffusionForecaster, kind: str
) -> None:
    X = waves(2, 150, 1)
    X[1, 101] += 4.0
    scores = model.anomaly_score(X, kind=kind)
    assert scores.shape == X.shape
    assert np.nanargmax(scores[1]) == 101
    assert scores[1, 101] > 1.5 * np.nanmax(scores[0])
    assert 0.1 < np.nanmedian(scores) < 2.0


def test_a_change_of_shape_shows_in_the_average_over_a_window(model: DiffusionForecaster) -> None:
    X = waves(1, 240, 2)
    X[0, 150:162] = X[0, 150:162][::-1]
    scores = model.anomaly_score(X, window=12)[0]
    assert 144 <= np.nanargmax(scores) <= 168


@pytest.mark.parametrize("kind", KINDS)
def test_scores_have_no_units(model: DiffusionForecaster, kind: str) -> None:
    X = waves(2, 100, 3)
    np.testing.assert_allclose(
        model.anomaly_score(1000.0 * X, kind=kind), model.anomaly_score(X, kind=kind), rtol=2e-3, atol=1e-3
    )


def test_forecast_scores_do_not_look_ahead_and_others_do(model: DiffusionForecaster) -> None:
    X = waves(1, 120, 4)
    changed = X.copy()
    changed[0, 100:] += 3.0
    for kind, same in (("forecast", True), ("denoising", False)):
        one, other = (model.anomaly_score(values, kind=kind, window=4)[0, :100] for values in (X, changed))
        assert np.allclose(one, other, equal_nan=True) == same


def test_windows_average_the_scores_they_say(model: DiffusionForecaster) -> None:
    X = waves(1, 80, 5)
    single = model.anomaly_score(X, kind="denoising")[0]
    wide = model.anomaly_score(X, kind="denoising", window=3)[0]
    np.testing.assert_allclose(wide[40], single[39:42].mean())
    np.testing.assert_allclose(wide[0], single[:2].mean())
    causal = model.anomaly_score(X, kind="forecast")[0]
    np.testing.assert_allclose(model.anomaly_score(X, kind="forecast", window=3)[0, 60], causal[58:61].mean())


def test_missing_rows_have_no_score_and_others_do(model: DiffusionForecaster) -> None:
    X = waves(2, 100, 6)
    X[0, 40:44] = np.nan
    X[1, -2:] = np.nan
    scores = model.anomaly_score(X)
    np.testing.assert_array_equal(np.isnan(scores), np.isnan(X))
    ahead = model.anomaly_score(X, kind="forecast")
    assert np.isnan(ahead[:, 0]).all()
    assert np.isfinite(ahead[:, 30:40]).all()


def test_frames_keep_rows_and_order_and_series_do_not_matter_to_each_other(
    model: DiffusionForecaster,
) -> None:
    X = waves(3, 90, 7)
    stamps = pd.date_range("2024-01-01", periods=90, freq="D")
    frame = pd.concat(
        [pd.DataFrame({"unique_id": f"s{i}", "ds": stamps, "y": row}) for i, row in enumerate(X)]
    )
    frame = frame[(frame["unique_id"] != "s1") | (frame["ds"] >= "2024-01-18")]  # one begins later
    framed = fitted(model.network_off, frame)
    whole = framed.anomaly_score(frame)
    assert list(whole.columns) == ["unique_id", "ds", "score"]
    assert (whole.index == frame.index).all()
    shuffled = frame.sample(frac=1.0, random_state=0)
    mixed = framed.anomaly_score(df=shuffled)
    assert (mixed[["unique_id", "ds"]].to_numpy() == shuffled[["unique_id", "ds"]].to_numpy()).all()
    back = whole.merge(mixed, on=["unique_id", "ds"])
    np.testing.assert_allclose(back["score_x"], back["score_y"], rtol=1e-4)
    alone = framed.anomaly_score(frame[frame["unique_id"] == "s1"])["score"].to_numpy()
    np.testing.assert_allclose(alone, whole.loc[(whole["unique_id"] == "s1").to_numpy(), "score"], rtol=1e-4)
    np.testing.assert_array_equal(framed.anomaly_score()["score"], whole["score"])


def test_several_channels_share_a_score() -> None:
    X = np.stack([waves(2, 150, 8), 100.0 * waves(2, 150, 9)], axis=2)
    model = DiffusionForecaster(horizon=8, season_length=12, network_off=True, random_state=0).fit(X)
    X[0, 77, 0] -= 4.0
    scores = model.anomaly_score(X)
    assert scores.shape == (2, 150)
    assert scores[0].argmax() == 77
    X[0, 20, 1] = np.nan
    assert np.isfinite(model.anomaly_score(X)).all()


@pytest.mark.parametrize(
    ("arguments", "message"), [({"kind": "odd"}, "kind"), ({"window": 0}, "window"), ({"nfe": 1}, "nfe")]
)
def test_bad_arguments_are_named(
    model: DiffusionForecaster, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        model.anomaly_score(waves(1, 60, 0), **arguments)


def late(kind: str) -> np.ndarray:
    """Return a wave that tells little at its beginning."""
    X = waves(1, 120, 10)
    X[0, :60] = {"missing": np.nan, "zero": 0.0, "at rest": 5.0}[kind]
    return X


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("beginning", ["missing", "zero", "at rest"])
def test_what_follows_a_beginning_that_tells_nothing_has_no_absurd_score(
    model: DiffusionForecaster, beginning: str, unit: float
) -> None:
    X = unit * late(beginning)
    for kind in KINDS:
        scores = model.anomaly_score(X, kind=kind)[0]
        assert np.isfinite(scores[80:]).all()
        assert np.nanmax(scores) < 100.0
    assert np.isfinite(model.anomaly_score(X)).sum() == np.isfinite(X).sum()


@pytest.mark.parametrize("length", [2, 3, 5, 9, 14])
def test_short_series_are_scored_from_a_few_known_values_on(model: DiffusionForecaster, length: int) -> None:
    ahead = model.anomaly_score(waves(6, length, 11), kind="forecast")
    assert np.isnan(ahead[:, :4]).all()
    assert np.isfinite(ahead[:, 4:]).all()
    assert not (ahead > 60.0).any()


def test_forecast_scores_do_not_tell_whether_values_come_later(model: DiffusionForecaster) -> None:
    X = np.zeros((1, 100))
    X[0, 30] = 2.0
    later = X.copy()
    later[0, 80:] = np.nan
    one, other = (model.anomaly_score(values, kind="forecast")[0, :80] for values in (X, later))
    np.testing.assert_array_equal(one, other)
    assert np.isnan(one[:31]).all()
    assert np.isfinite(one[31:]).all()


def test_a_channel_counts_from_where_it_has_a_history() -> None:
    X = np.stack([waves(2, 150, 12), waves(2, 150, 13)], axis=2)
    model = DiffusionForecaster(horizon=8, season_length=12, network_off=True, random_state=0).fit(X)
    holed = X.copy()
    holed[:, :100, 1] = np.nan
    scores = model.anomaly_score(holed, kind="forecast")
    assert np.isfinite(scores[:, 40:]).all()
    other = holed.copy()
    other[:, 100:104, 1] *= -50.0  # before the channel has a history
    np.testing.assert_array_equal(model.anomaly_score(other, kind="forecast")[:, :104], scores[:, :104])
    other[:, 130, 1] += 10.0
    assert (model.anomaly_score(other, kind="forecast")[:, 130] > 3.0 * scores[:, 130]).all()


def test_scores_are_the_same_whatever_is_computed_at_once(
    model: DiffusionForecaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    X = waves(3, 60, 14)
    whole = model.anomaly_score(X, kind="forecast")
    monkeypatch.setattr("sciffusion.domains.forecasting.anomaly_methods._WINDOWS_AT_ONCE", 7)
    np.testing.assert_allclose(model.anomaly_score(X, kind="forecast"), whole, rtol=1e-4)


@pytest.mark.parametrize("truth", [0.0, 0.3, -2.0])
def test_energy_scores_are_the_crps_of_a_gaussian_law(truth: float) -> None:
    half = np.random.default_rng(0).normal(2.0, 3.0, 40_000) - 2.0
    draws = 2.0 + np.concatenate([half, -half])[None, :, None]
    found = _energy(np.array([[2.0 + 3.0 * truth]]), draws, np.ones((1, 1)), 1)[0, 0]
    crps = truth * (2.0 * norm.cdf(truth) - 1.0) + 2.0 * norm.pdf(truth) - 1.0 / np.sqrt(np.pi)
    assert abs(found - crps) < 0.02
