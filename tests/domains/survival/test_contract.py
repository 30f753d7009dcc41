"""What scikit-learn and scikit-survival ask of an estimator."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from joblib import Parallel, delayed
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from sciffusion.domains.survival import SDPMSurvival
from sciffusion.domains.survival.model_selection import SurvivalStratifiedKFold

SMALL = {"censoring": "none", "width": 8, "n_draws": 16, "nfe": 2}
TRAINED = SDPMSurvival(n_members=2, max_steps=10, **SMALL)
UNTRAINED = SDPMSurvival(n_members=2, max_steps=0, **SMALL)
PAPER = SDPMSurvival(recipe="paper", max_epochs=1, **SMALL)


def _expected_failures(estimator: SDPMSurvival) -> dict[str, str]:
    if estimator.max_steps == 0:
        return {}
    # Without training the check passes: transform and curves take a weight of 2 for two rows.
    reason = (
        "stochastic training: batches and held-out rows are drawn by row, so a repeated row is not a weight"
    )
    return {"check_sample_weight_equivalence_on_dense_data": reason}


@parametrize_with_checks([TRAINED, UNTRAINED, PAPER], expected_failed_checks=_expected_failures)
@pytest.mark.filterwarnings("ignore:.*beyond the longest observed time")
@pytest.mark.filterwarnings("ignore:.*SCIPY_ARRAY_API")
def test_scikit_learns_checks(estimator: SDPMSurvival, check: Callable[[Any], None]) -> None:
    check(estimator)


def test_parameters_go_round(make_model: Callable[..., SDPMSurvival]) -> None:
    model = make_model(dropout=0.3)
    assert clone(model).get_params() == model.get_params()
    assert SDPMSurvival(**model.get_params()).get_params() == model.get_params()
    assert model.set_params(nfe=3).nfe == 3
    with pytest.raises(ValueError, match="no_such"):
        model.set_params(no_such=1)


def test_a_clone_of_a_fitted_model_is_not_fitted(fitted: SDPMSurvival, study: Any) -> None:
    assert not [name for name in vars(clone(fitted)) if name.endswith("_")]
    with pytest.raises(NotFittedError):
        clone(fitted).predict(study.X)


@pytest.mark.parametrize(
    "method",
    [
        "predict", "predict_survival_function", "predict_cumulative_hazard_function", "predict_quantile",
        "predict_censoring_survival_function", "predict_median", "predict_rmst", "predict_interval",
        "predict_lower_bound", "sample", "sample_event_times",
    ],
)  # fmt: skip
def test_predictions_before_a_fit_are_refused(method: str, study: Any) -> None:
    with pytest.raises(NotFittedError):
        getattr(SDPMSurvival(), method)(study.X)


def test_a_pickle_predicts_the_same(fitted: SDPMSurvival, study: Any) -> None:
    back = pickle.loads(pickle.dumps(fitted))
    assert_array_equal(back.predict(study.X), fitted.predict(study.X))


def test_it_ends_a_pipeline(make_model: Callable[..., SDPMSurvival], study: Any) -> None:
    pipeline = make_pipeline(StandardScaler(), make_model()).fit(study.array, study.y)
    direct = make_model().fit(StandardScaler().fit_transform(study.array), study.y)
    scaled = pipeline[0].transform(study.array)
    assert_array_equal(pipeline.predict(study.array), direct.predict(scaled))
    assert pipeline.score(study.array, study.y) == direct.score(scaled, study.y)


def test_it_follows_transformers_that_give_frames(
    make_model: Callable[..., SDPMSurvival], study: Any
) -> None:
    encoder = OneHotEncoder(sparse_output=False, drop="if_binary").set_output(transform="pandas")
    pipeline = make_pipeline(encoder, make_model()).fit(study.X[["sex"]], study.y)
    assert list(pipeline[-1].feature_names_in_) == ["sex_m"]
    assert len(np.unique(pipeline.predict(study.X[["sex"]]))) == 2


def test_it_can_be_searched_over_with_a_structured_target(
    make_model: Callable[..., SDPMSurvival], study: Any
) -> None:
    search = GridSearchCV(
        make_model(), {"max_steps": [0, 40]}, cv=SurvivalStratifiedKFold(3, shuffle=True, random_state=0)
    )
    search.fit(study.X, study.y)
    assert search.best_params_ == {"max_steps": 40}
    assert_allclose(search.cv_results_["mean_test_score"][0], 0.5)


def test_workers_give_what_one_process_gives(make_model: Callable[..., SDPMSurvival], study: Any) -> None:
    model, folds = make_model(max_steps=20), KFold(2)
    serial = cross_val_score(model, study.X, study.y, cv=folds)
    assert_allclose(cross_val_score(model, study.X, study.y, cv=folds, n_jobs=2), serial, rtol=0, atol=1e-9)
    assert np.isfinite(serial).all()


def test_threads_may_share_a_fitted_model(fitted: SDPMSurvival, study: Any) -> None:
    found = Parallel(n_jobs=2, prefer="threads")(delayed(fitted.predict)(study.X) for _ in range(4))
    for risk in found:
        assert_array_equal(risk, found[0])


def test_feature_names_are_kept_and_their_order_is_held(fitted: SDPMSurvival, study: Any) -> None:
    assert_array_equal(fitted.feature_names_in_, ["age", "marker", "sex"])
    assert fitted.n_features_in_ == 3
    for wrong in (study.X[["marker", "age", "sex"]], study.X.rename(columns={"age": "years"})):
        with pytest.raises(ValueError, match="feature names should match"):
            fitted.predict(wrong)
    with pytest.raises(ValueError, match=r"missing:\n- sex"):
        fitted.predict(study.X[["age", "marker"]])
    with pytest.warns(UserWarning, match="feature names"), pytest.raises(ValueError, match="3 features"):
        fitted.score(study.array, study.y)


def test_frames_and_arrays_of_the_same_numbers_give_one_model(
    make_model: Callable[..., SDPMSurvival], study: Any
) -> None:
    frame = study.X[["age", "marker"]]
    by_frame, by_array = make_model().fit(frame, study.y), make_model().fit(study.array, study.y)
    assert_array_equal(by_frame.predict(frame), by_array.predict(study.array))
    assert not hasattr(by_array, "feature_names_in_")


@pytest.fixture(scope="module")
def parts(make_model: Callable[..., SDPMSurvival], make_study: Any) -> Any:
    """Return a model, training rows, test rows within their follow-up, and times inside both."""
    pytest.importorskip("sksurv")
    train, test = make_study(200, 1), make_study(200, 2)
    inside = train.T.max() > test.T
    test = type(test)(test.X[inside], test.T[inside], test.E[inside])
    times = np.unique(np.quantile(test.T[test.E], np.linspace(0.1, 0.8, 12)))
    return make_model().fit(train.X, train.y), train, test, times


def test_scikit_survivals_brier_score_takes_the_step_functions(parts: Any) -> None:
    from sksurv.metrics import integrated_brier_score

    model, train, test, times = parts
    steps = model.predict_survival_function(test.X)
    values = model.predict_survival_function(test.X, times=times, return_array=True)
    by_steps = np.array([[step(t) for t in times] for step in steps])
    assert_array_equal(by_steps, values)
    found = integrated_brier_score(train.y, test.y, by_steps, times)
    assert found < 0.9 * integrated_brier_score(train.y, test.y, np.full_like(by_steps, 0.5), times)


@pytest.mark.parametrize(
    "name", ["concordance_index_ipcw", "cumulative_dynamic_auc", "integrated_brier_score"]
)
def test_scikit_survivals_scorers_wrap_the_estimator(parts: Any, name: str) -> None:
    import sksurv.metrics

    model, train, test, times = parts
    scorer = getattr(sksurv.metrics, f"as_{name}_scorer")
    options = {"tau": times[-1]} if name == "concordance_index_ipcw" else {"times": times}
    wrapped = scorer(clone(model), **options).fit(train.X, train.y)
    assert_array_equal(wrapped.predict(test.X), model.predict(test.X))
    found = wrapped.score(test.X, test.y)
    if name == "integrated_brier_score":
        assert -0.25 < found < -0.05
    else:
        assert 0.6 < found < 0.95


def test_the_score_is_scikit_survivals_concordance(parts: Any) -> None:
    from sksurv.metrics import concordance_index_censored

    model, _, test, _ = parts
    theirs = concordance_index_censored(test.E, test.T, model.predict(test.X))[0]
    assert model.score(test.X, test.y) == pytest.approx(theirs, abs=1e-9)


def test_results_have_the_shapes_of_the_rows(fitted: SDPMSurvival, study: Any) -> None:
    one = pd.DataFrame(study.X.iloc[[4]])
    assert fitted.predict(one).shape == (1,)
    assert fitted.predict_survival_function(one).shape == (1,)
    assert fitted.predict_interval(one).shape == (1, 2)
    assert fitted.predict_quantile(one, [0.1, 0.2, 0.3]).shape == (1, 3)
    assert [part.shape for part in fitted.sample(one, 5)] == [(1, 5), (1, 5)]
