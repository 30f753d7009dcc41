"""What scikit-learn asks of an estimator, of the forecaster of arrays whose rows are series."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold, TimeSeriesSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from sciffusion.domains.forecasting import DiffusionForecaster, crps

Floats = NDArray[np.float64]

SMALL = {"horizon": 2, "n_samples": 10, "nfe": 2}
# Without a bound the median of antithetic draws is the location, whatever the noise.
OFF = DiffusionForecaster(network_off=True, nonnegative=False, **SMALL)
TRAINED = DiffusionForecaster(n_members=1, width=8, depth=1, max_steps=3, batch_size=16, **SMALL)


def _expected_failures(estimator: DiffusionForecaster) -> dict[str, str]:
    reasons = {
        "check_n_features_in_after_fitting": "a row is a series, and histories may have any length",
        "check_fit2d_1feature": "series of one step are refused as too short, not for having one feature",
    }
    if not estimator.network_off:
        by_place = "series of an array are named by their places, and a series' noise hangs on its name"
        reasons["check_methods_sample_order_invariance"] = by_place
        reasons["check_methods_subset_invariance"] = by_place
    return reasons


@parametrize_with_checks([OFF, TRAINED], expected_failed_checks=_expected_failures)
@pytest.mark.filterwarnings("ignore:.*SCIPY_ARRAY_API")
def test_scikit_learns_checks(estimator: DiffusionForecaster, check: Callable[[Any], None]) -> None:
    check(estimator)


def windows(count: int = 60, length: int = 24, horizon: int = 3, seed: int = 0) -> tuple[Floats, Floats]:
    """Return rows that move along one wavy series, and the values that follow each."""
    generator = np.random.default_rng(seed)
    total = count + length + horizon
    series = 20.0 + 5.0 * np.sin(np.arange(total) / 3.0) + generator.normal(0.0, 0.5, total)
    rows = np.lib.stride_tricks.sliding_window_view(series, length + horizon)[:count]
    return rows[:, :length].copy(), rows[:, length:].copy()


def small(**parameters: Any) -> DiffusionForecaster:
    given: dict[str, Any] = {
        "horizon": 3, "n_members": 2, "width": 16, "depth": 1, "batch_size": 32, "max_steps": 12,
        "n_samples": 30, "nfe": 4, "calibrate": False, "random_state": 0,
    }  # fmt: skip
    return DiffusionForecaster(**{**given, **parameters})


@pytest.fixture(scope="module")
def fitted() -> DiffusionForecaster:
    return small().fit(*windows())


# ---------------------------------------------------------------- parameters


def test_parameters_go_round() -> None:
    model = small(season_length=[7, 30], trainer_options={"precision": 32})
    assert clone(model).get_params() == model.get_params()
    assert DiffusionForecaster(**model.get_params()).get_params() == model.get_params()
    assert model.set_params(nfe=6).nfe == 6
    with pytest.raises(ValueError, match="no_such"):
        model.set_params(no_such=1)


def test_a_clone_of_a_fitted_model_is_not_fitted(fitted: DiffusionForecaster) -> None:
    assert not [name for name in vars(clone(fitted)) if name.endswith("_")]
    for method in ("predict", "sample", "predict_quantiles", "score"):
        with pytest.raises(NotFittedError):
            getattr(clone(fitted), method)(windows()[0])


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"horizon": 0}, ValueError), ({"horizon": 2.5}, TypeError), ({"n_samples": 0}, ValueError),
        ({"nfe": 1}, ValueError), ({"max_windows": 3}, ValueError), ({"network_off": "no"}, TypeError),
        ({"n_members": 0}, ValueError), ({"dropout": 1.0}, ValueError), ({"learning_rate": 0.0}, ValueError),
        ({"rolling_share": 1.5}, ValueError), ({"patience": 0}, ValueError),
        ({"season_length": 0}, ValueError), ({"season_length": [7, 0]}, ValueError),
    ],
    ids=str,
)  # fmt: skip
def test_wrong_parameters_are_refused_by_name_and_leave_the_fit(
    wrong: dict[str, Any], error: type[Exception]
) -> None:
    X, y = windows(20)
    model = small(network_off=True).fit(X, y)
    before = model.predict()
    with pytest.raises(error, match=next(iter(wrong))):
        model.set_params(**wrong).fit(X, y)
    model.set_params(**{name: small().get_params()[name] for name in wrong})
    assert_array_equal(model.predict(), before)


# ---------------------------------------------------------------- fit and predict


def test_targets_may_be_given_apart_or_as_the_last_columns() -> None:
    X, y = windows()
    apart = small().fit(X, y)
    joined = small().fit(np.concatenate([X, y], axis=1))
    assert_array_equal(apart.predict(X), joined.predict(X))
    assert small(horizon=12).fit(X, y).predict(X).shape == y.shape
    assert apart.score(X, y) == joined.score(np.concatenate([X, y], axis=1))


def test_a_fit_forecasts_the_steps_after_its_rows_by_default(fitted: DiffusionForecaster) -> None:
    X, y = windows()
    whole = np.concatenate([X, y], axis=1)
    assert_array_equal(fitted.predict(), fitted.predict(whole))
    assert_array_equal(fitted.predict(2), fitted.predict(whole)[:, :2])


def test_the_score_is_minus_the_crps_in_units_of_the_rows(fitted: DiffusionForecaster) -> None:
    X, y = windows(seed=1)
    units = np.abs(np.diff(X, axis=1)).mean(axis=1)[:, None]
    draws = fitted.sample(X)
    expected = (crps(y[..., None], draws[..., None])[..., 0] / units).mean()
    assert fitted.score(X, y) == pytest.approx(-expected, rel=1e-12)
    assert fitted.score(X, y) > fitted.score(X, y + 5.0)


def test_counts_and_levels_are_arguments_of_predictions(fitted: DiffusionForecaster) -> None:
    X, _ = windows(5)
    assert fitted.sample(X).shape == (5, 30, 3)
    assert fitted.sample(X, 7).shape == (5, 7, 3)
    assert fitted.sample(X, 7, h=8).shape == (5, 7, 8)
    assert fitted.predict_quantiles(X, quantiles=[0.2, 0.9]).shape == (5, 3, 2)
    assert_array_equal(fitted.predict(X, n_samples=50), fitted.predict(X, n_samples=50))
    assert (fitted.sample(X, nfe=2) != fitted.sample(X, nfe=8)).any()
    one, same, other = (fitted.sample(X, random_state=seed) for seed in (3, 3, 4))
    assert_array_equal(one, same)
    assert (one != other).any()


def test_predictions_leave_the_model_and_torch_as_they_were(fitted: DiffusionForecaster) -> None:
    X, _ = windows(5)
    stream, before = torch.get_rng_state(), pickle.dumps(fitted)
    fitted.predict(X, h=5)
    fitted.sample(X, random_state=9)
    fitted.score(*windows(5))
    assert pickle.dumps(fitted) == before
    assert torch.equal(torch.get_rng_state(), stream)


def test_channels_are_kept() -> None:
    X, _ = windows(30, 20)
    two = np.stack([X, -X + 100.0], axis=2)
    model = small().fit(two)
    assert model.predict(two).shape == (30, 3, 2)
    assert model.sample(two, 4).shape == (30, 4, 3, 2)
    assert model.predict_quantiles(two, quantiles=[0.5]).shape == (30, 3, 2, 1)
    for ask in (model.predict, model.score):
        with pytest.raises(ValueError, match="X has 1 channel, expected 2"):
            ask(X)


@pytest.mark.parametrize("method", ["predict", "sample", "predict_quantiles"])
def test_wrong_questions_are_refused(fitted: DiffusionForecaster, method: str) -> None:
    X, _ = windows(4)
    ask = getattr(fitted, method)
    with pytest.raises(ValueError, match="h must"):
        ask(X, h=0)
    with pytest.raises(ValueError, match="given twice"):
        ask(3, h=4)
    with pytest.raises(ValueError, match="n_samples"):
        ask(X, n_samples=0)
    with pytest.raises(ValueError, match="nfe"):
        ask(X, nfe=1)
    with pytest.raises(ValueError, match=r"infinity|infinite"):
        ask(np.where(X > 24.0, np.inf, X))


def test_targets_that_do_not_fit_are_refused(fitted: DiffusionForecaster) -> None:
    X, y = windows(10)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        small().fit(X, y[:5])
    with pytest.raises(ValueError, match="y must have shape"):
        fitted.score(X, y[:, :2])
    with pytest.raises(ValueError, match="NaN"):
        small().fit(X, np.where(y == y.max(), np.nan, y))


# ---------------------------------------------------------------- scikit-learn's tools


def test_it_ends_a_pipeline_behind_a_transformer_that_keeps_rows() -> None:
    X, y = windows()
    pipeline = make_pipeline(FunctionTransformer(np.log1p), small()).fit(X, y)
    direct = small().fit(np.log1p(X), y)
    assert_array_equal(pipeline.predict(X), direct.predict(np.log1p(X)))
    assert pipeline.score(X, y) == direct.score(np.log1p(X), y)


def test_it_can_be_searched_over_with_and_without_targets() -> None:
    X, y = windows()
    grid = {"season_length": [None, 19], "network_off": [True, False]}
    folds = TimeSeriesSplit(2)
    search = GridSearchCV(small(), grid, cv=folds).fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_estimator_.predict(X).shape == y.shape
    alone = GridSearchCV(small(), {"max_windows": [10, 400]}, cv=folds, scoring=None)
    alone.fit(np.concatenate([X, y], axis=1))
    assert alone.best_params_ == {"max_windows": 400}


def test_folds_of_time_score_as_fits_by_hand() -> None:
    X, y = windows()
    folds = TimeSeriesSplit(3)
    found = cross_val_score(small(), X, y, cv=folds)
    by_hand = [
        small().fit(X[train], y[train]).score(X[test], y[test]) for train, test in folds.split(X)
    ]  # fmt: skip
    assert_allclose(found, by_hand, rtol=1e-12)
    alone = cross_val_score(small(), np.concatenate([X, y], axis=1), cv=folds)
    assert_allclose(alone, by_hand, rtol=1e-12)


def test_workers_give_what_one_process_gives() -> None:
    X, y = windows(40)
    serial = cross_val_score(small(), X, y, cv=KFold(2))
    assert_allclose(cross_val_score(small(), X, y, cv=KFold(2), n_jobs=2), serial, rtol=0, atol=1e-9)


def test_threads_may_share_a_fitted_model(fitted: DiffusionForecaster) -> None:
    X, _ = windows()
    found = Parallel(n_jobs=2, prefer="threads")(delayed(fitted.sample)(X) for _ in range(4))
    for draws in found:
        assert_array_equal(draws, found[0])


# ---------------------------------------------------------------- persistence and cost


@pytest.mark.parametrize("network_off", [True, False])
def test_pickles_and_files_predict_the_same(tmp_path: Path, network_off: bool) -> None:
    X, y = windows(12)
    model = small(network_off=network_off, season_length=7, calibrate=True).fit(X, y)
    path = tmp_path / "model.safetensors"
    model.save(path)
    for back in (pickle.loads(pickle.dumps(model)), DiffusionForecaster.load(path)):
        assert back.get_params() == model.get_params()
        assert_array_equal(back.sample(X), model.sample(X))
        assert_array_equal(back.predict(5), model.predict(5))
        assert back.score(X, y) == model.score(X, y)


def test_a_network_costs_a_small_fit_little() -> None:
    X = windows(500, 24)[0]
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(3):
        for off in seconds:
            model = small(network_off=off, max_steps=1, n_members=1, width=8)
            begin = time.process_time()
            model.fit(X)
            seconds[off].append(time.process_time() - begin)
    assert min(seconds[False]) - min(seconds[True]) < 0.4
