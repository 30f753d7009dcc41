"""Intervals: conformal bounds and their guarantee, and those of draws."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sciffusion.domains.forecasting import DiffusionForecaster
from sciffusion.domains.forecasting.adaptive_levels import ADAPTED_LEVELS, ConformalState

TARGETS = np.array([[1.0 - level / 100.0] for level in ADAPTED_LEVELS])


def _state(scores: np.ndarray) -> ConformalState:
    return ConformalState(scores, np.repeat(TARGETS, scores.shape[1], axis=1))


@pytest.mark.parametrize(("count", "rank"), [(19, 1), (39, 2), (40, 2), (99, 5)])
def test_bounds_are_the_order_statistics_of_the_guarantee(count: int, rank: int) -> None:
    scores = np.random.default_rng(0).permutation(count).astype(float)[:, None]
    lower, upper = _state(scores).bounds(90.0)
    assert (lower[0], upper[0]) == (rank - 1, count - rank)  # the scores are 0 ... count - 1


def test_exchangeable_errors_are_covered_as_often_as_promised() -> None:
    generator, count, trials = np.random.default_rng(1), 39, 4000
    errors = generator.standard_cauchy((count + 1, trials))
    lower, upper = _state(errors[:-1]).bounds(80.0)  # every column is a trial
    covered = ((errors[-1] >= lower) & (errors[-1] <= upper)).mean()
    assert covered == pytest.approx(1.0 - 2.0 * 4 / (count + 1), abs=3.0 * 0.4 / np.sqrt(trials))


def test_a_level_that_too_few_windows_can_give_is_refused() -> None:
    state = _state(np.arange(38.0)[:, None])
    with pytest.raises(ValueError, match=r"95 needs 39 held-out windows .* got 38"):
        state.bounds(95.0)
    assert np.isfinite(_state(np.arange(39.0)[:, None]).bounds(95.0)).all()


def test_missing_errors_do_not_count() -> None:
    scores = np.arange(30.0)[:, None]
    holed = np.concatenate([scores, np.full((10, 1), np.nan)])
    np.testing.assert_array_equal(_state(scores).bounds(80.0), _state(holed).bounds(80.0))


# ------------------------------------------------------------------ in the forecaster

SMALL = {"horizon": 4, "season_length": 6, "network_off": True, "random_state": 0}


def _array(channels: int = 1) -> np.ndarray:
    generator = np.random.default_rng(2)
    X = np.sin(np.arange(150) * np.pi / 3.0)[:, None] + 0.3 * generator.standard_normal((5, 150, channels))
    return X[..., 0] if channels == 1 else X


@pytest.fixture(scope="module")
def model() -> DiffusionForecaster:
    return DiffusionForecaster(**SMALL).fit(_array())


@pytest.mark.parametrize("method", ["draws", "conformal", "adaptive"])
def test_intervals_are_nested_around_the_point(model: DiffusionForecaster, method: str) -> None:
    found = model.predict_interval(3, level=(50, 80, 95), method=method)
    assert found.shape == (5, 3, 2, 3)
    assert (np.diff(found[:, :, 0], axis=-1) < 0).all()
    assert (np.diff(found[:, :, 1], axis=-1) > 0).all()


def test_draws_are_cut_where_a_further_one_falls_below_with_the_tail_probability(
    model: DiffusionForecaster,
) -> None:
    draws = np.sort(model.sample(2, n_samples=99), axis=1)
    found = model.predict_interval(2, level=80, n_samples=99)
    np.testing.assert_allclose(found[..., 0, 0], draws[:, 9])  # the tenth of 99: 10 / 100
    np.testing.assert_allclose(found[..., 1, 0], draws[:, 89])


def test_conformal_intervals_cover_fresh_values() -> None:
    generator = np.random.default_rng(3)
    X = 0.3 * generator.standard_normal((40, 204))
    model = DiffusionForecaster(horizon=4, network_off=True, random_state=0).fit(X[:, :200])
    found = model.predict_interval(method="conformal", level=(80, 95))
    y = X[:, 200:, None]
    covered = ((y >= found[:, :, 0]) & (y <= found[:, :, 1])).mean(axis=(0, 1))
    np.testing.assert_allclose(covered, [0.8, 0.95], atol=0.1)


def test_frames_get_columns_of_both_bounds() -> None:
    stamps = pd.date_range("2024-01-01", periods=150, freq="D")
    rows = [pd.DataFrame({"unique_id": f"s{i}", "ds": stamps, "y": y}) for i, y in enumerate(_array())]
    df = pd.concat(rows)
    model = DiffusionForecaster(**SMALL).fit(df)
    found = model.predict_interval(h=3, level=[80], method="conformal")
    assert list(found.columns) == [
        "unique_id", "ds", "DiffusionForecaster", "DiffusionForecaster-lo-80", "DiffusionForecaster-hi-80"
    ]  # fmt: skip
    assert len(found) == 15
    assert found["DiffusionForecaster"].between(found.iloc[:, 3], found.iloc[:, 4]).all()
    drawn, predicted = model.predict_interval(h=3, level=[80]), model.predict(h=3, level=[80])
    np.testing.assert_allclose(drawn["DiffusionForecaster"], predicted["DiffusionForecaster"])


def test_channels_have_an_axis() -> None:
    model = DiffusionForecaster(**SMALL).fit(_array(channels=2))
    for method in ("draws", "conformal"):
        assert model.predict_interval(3, level=(80, 90, 95), method=method).shape == (5, 3, 2, 2, 3)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"method": "exact"}, "method must be one of"),
        ({"level": 0}, "between 0 and 100"),
        ({"level": 100.0}, "between 0 and 100"),
        ({"h": 5, "method": "conformal"}, "reach 4 steps"),
    ],
)
def test_wrong_requests_are_refused(model: DiffusionForecaster, given: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        model.predict_interval(**given)
    with pytest.raises(TypeError, match="per cents"):
        model.predict_interval(level="80")


def test_it_survives_saving(model: DiffusionForecaster, tmp_path: object) -> None:
    path = f"{tmp_path}/model.safetensors"
    model.save(path)
    again = DiffusionForecaster.load(path)
    np.testing.assert_array_equal(
        again.predict_interval(method="adaptive"), model.predict_interval(method="adaptive")
    )


@pytest.mark.parametrize("method", ["draws", "conformal", "adaptive"])
def test_bounds_of_counts_are_not_below_zero(method: str) -> None:
    counts = np.random.default_rng(3).poisson(0.5, (5, 150)).astype(float)
    found = DiffusionForecaster(**SMALL).fit(counts).predict_interval(level=90, method=method)
    assert found.min() == 0.0
    free = DiffusionForecaster(**SMALL, nonnegative=False).fit(counts)
    assert free.predict_interval(level=90, method=method).min() < 0.0
