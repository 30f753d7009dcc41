"""Each score equals scikit-survival's on data with ties, and is NaN with a warning where undefined."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
from lifelines.utils import concordance_index
from numpy.typing import NDArray
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sksurv import metrics as reference
from sksurv.datasets import load_gbsg2
from sksurv.linear_model import CoxPHSurvivalAnalysis

from sciffusion.domains.survival.metrics import (
    IntegratedBrierScorer,
    UnoConcordanceScorer,
    brier_score,
    concordance_scorer,
    cumulative_dynamic_auc,
    dynamic_auc_scorer,
    evaluation_times,
    harrell_concordance,
    integrated_brier_score,
    integrated_brier_scorer,
    uno_concordance,
    uno_concordance_scorer,
)
from sciffusion.domains.survival.step_functions import step_functions
from sciffusion.domains.survival.targets import make_survival_target

FloatArray = NDArray[np.float64]
TIMES = np.array([2.0, 3.5, 5.0, 7.0, 8.5])


def cohort(seed: int, n: int = 150, last: int = 12) -> tuple[NDArray[np.void], FloatArray]:
    """Integer times and rounded risks: many ties of both, of events with censorings too."""
    generator = np.random.default_rng(seed)
    risk = generator.normal(size=n).round(1)
    event_time = generator.exponential(5 * np.exp(-risk)).round()
    censoring = generator.integers(1, last + 1, size=n)
    y = make_survival_target(np.minimum(event_time, censoring), event_time <= censoring)
    return y, risk


def training_cohort(seed: int) -> NDArray[np.void]:
    return cohort(seed, n=200, last=14)[0]


def survival_of(risk: FloatArray, times: FloatArray = TIMES) -> FloatArray:
    survival: FloatArray = np.exp(-np.exp(risk)[:, None] * times / 6)
    return survival


@pytest.mark.parametrize("seed", range(5))
def test_harrell_equals_scikit_survival_and_lifelines(seed: int) -> None:
    y, risk = cohort(seed)
    ours = harrell_concordance(y, risk)
    expected = reference.concordance_index_censored(y["event"], y["time"], risk)[0]
    assert ours == pytest.approx(expected, abs=1e-13)
    assert ours == pytest.approx(concordance_index(y["time"], -risk, y["event"]), abs=1e-13)


def test_ranks_do_not_depend_on_the_unit_of_the_risk() -> None:
    y, risk = cohort(0)
    times = np.array([3.0, 6.0])
    for unit in (1e-12, 1e12):
        assert harrell_concordance(y, unit * risk) == pytest.approx(harrell_concordance(y, risk), abs=1e-13)
        areas = [
            cumulative_dynamic_auc(training_cohort(1), y, scale * risk, times)[0] for scale in (1.0, unit)
        ]
        np.testing.assert_allclose(areas[1], areas[0], atol=1e-13)


def test_harrell_sample_weights_are_copies() -> None:
    y, risk = cohort(0)
    copies = np.random.default_rng(1).integers(0, 4, size=len(y))
    expected = reference.concordance_index_censored(
        np.repeat(y["event"], copies), np.repeat(y["time"], copies), np.repeat(risk, copies)
    )[0]
    assert harrell_concordance(y, risk, sample_weight=copies) == pytest.approx(expected, abs=1e-13)
    assert expected != pytest.approx(harrell_concordance(y, risk), abs=1e-4)


def test_harrell_does_not_depend_on_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    y, risk = cohort(0)
    expected = harrell_concordance(y, risk)
    monkeypatch.setattr("sciffusion.domains.survival.metrics._PAIRS_AT_ONCE", 1000)
    assert harrell_concordance(y, risk) == pytest.approx(expected, abs=1e-13)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("tau", [None, 5.0, 8.2])
def test_uno_equals_scikit_survival(seed: int, tau: float | None) -> None:
    (y, risk), y_train = cohort(seed), training_cohort(seed + 100)
    expected = reference.concordance_index_ipcw(y_train, y, risk, tau=tau)[0]
    assert uno_concordance(y_train, y, risk, tau=tau) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_brier_scores_equal_scikit_survival(seed: int) -> None:
    (y, risk), y_train = cohort(seed), training_cohort(seed + 100)
    survival = survival_of(risk)
    expected = reference.brier_score(y_train, y, survival, TIMES)[1]
    np.testing.assert_allclose(brier_score(y_train, y, survival, TIMES), expected, rtol=1e-12)
    expected = reference.integrated_brier_score(y_train, y, survival, TIMES)
    assert integrated_brier_score(y_train, y, survival, TIMES) == pytest.approx(expected, rel=1e-12)
    functions = step_functions(TIMES, survival)
    assert integrated_brier_score(y_train, y, functions, TIMES) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_auc_equals_scikit_survival(seed: int) -> None:
    (y, risk), y_train = cohort(seed), training_cohort(seed + 100)
    for estimate in (risk, -survival_of(risk) + 0.1 * np.sin(np.outer(risk, TIMES)).round(1)):
        scores, mean = cumulative_dynamic_auc(y_train, y, estimate, TIMES)
        expected, expected_mean = reference.cumulative_dynamic_auc(y_train, y, estimate, TIMES)
        np.testing.assert_allclose(scores, expected, rtol=1e-12)
        assert mean == pytest.approx(expected_mean, rel=1e-12)
    one, mean = cumulative_dynamic_auc(y_train, y, risk, [5.0])
    assert one[0] == mean == pytest.approx(reference.cumulative_dynamic_auc(y_train, y, risk, [5.0])[1])


def test_without_censoring_scores_are_the_plain_ones() -> None:
    generator = np.random.default_rng(0)
    risk = generator.normal(size=80)
    time = generator.exponential(np.exp(-risk))
    y = make_survival_target(time, np.ones(80, dtype=bool))
    survival = np.exp(-np.exp(risk)[:, None] * np.array([0.5, 1.0]))
    alive = time[:, None] > np.array([0.5, 1.0])
    np.testing.assert_allclose(
        brier_score(y, y, survival, [0.5, 1.0]), ((survival - alive) ** 2).mean(axis=0), rtol=1e-12
    )
    assert uno_concordance(y, y, risk) == pytest.approx(harrell_concordance(y, risk))


def test_a_time_outside_the_follow_up_is_nan_with_a_warning() -> None:
    (y, risk), y_train = cohort(0), training_cohort(100)
    times = np.array([2.0, 5.0, y["time"].max()])
    survival = survival_of(risk, times)
    with pytest.raises(ValueError, match="follow-up"):
        reference.brier_score(y_train, y, survival, times)
    with pytest.warns(UndefinedMetricWarning, match="1 of 3 times"):
        scores = brier_score(y_train, y, survival, times)
    np.testing.assert_array_equal(np.isnan(scores), [False, False, True])
    np.testing.assert_allclose(
        scores[:2], reference.brier_score(y_train, y, survival[:, :2], times[:2])[1], rtol=1e-12
    )
    with pytest.warns(UndefinedMetricWarning):
        assert np.isnan(integrated_brier_score(y_train, y, survival, times))
    with pytest.warns(UndefinedMetricWarning):
        scores, mean = cumulative_dynamic_auc(y_train, y, risk, times)
    np.testing.assert_array_equal(np.isnan(scores), [False, False, True])
    assert np.isnan(mean)


def test_test_rows_beyond_the_training_follow_up_do_not_stop_the_evaluation() -> None:
    y, risk = cohort(0)
    train = training_cohort(100)
    y_train = make_survival_target(np.minimum(train["time"], 6.0), train["event"] & (train["time"] < 6))
    with pytest.warns(UndefinedMetricWarning, match="2 of 5 times, from 7 to 8.5"):
        scores = brier_score(y_train, y, survival_of(risk), TIMES)
    assert np.isfinite(scores[:3]).all()
    with pytest.warns(UndefinedMetricWarning, match="smaller tau"):
        assert np.isnan(uno_concordance(y_train, y, risk))
    assert np.isfinite(uno_concordance(y_train, y, risk, tau=5.5))


def test_no_comparable_pair_is_nan_with_a_warning() -> None:
    y = make_survival_target([1.0, 2.0, 3.0], [False, False, True])
    with pytest.warns(UndefinedMetricWarning, match="no pair"):
        assert np.isnan(harrell_concordance(y, [1.0, 2.0, 3.0]))


def test_refuses_bad_arguments() -> None:
    y, risk = cohort(0)
    with pytest.raises(ValueError, match="risk must have shape"):
        harrell_concordance(y, risk[:-1])
    with pytest.raises(ValueError, match="risk must be finite"):
        harrell_concordance(y, np.where(risk > 0, np.nan, risk))
    with pytest.raises(ValueError, match="strictly ascending"):
        brier_score(y, y, survival_of(risk), TIMES[::-1])
    with pytest.raises(ValueError, match="survival must have shape"):
        brier_score(y, y, survival_of(risk)[:, :-1], TIMES)
    with pytest.raises(ValueError, match="at least two times"):
        integrated_brier_score(y, y, survival_of(risk)[:, :1], TIMES[:1])


def test_evaluation_times_lie_where_every_score_is_defined() -> None:
    for seed in range(5):
        (y, risk), y_train = cohort(seed), training_cohort(seed + 100)
        times = evaluation_times(y_train, y, 20)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            brier_score(y_train, y, np.full((len(y), 20), 0.5), times)
            cumulative_dynamic_auc(y_train, y, risk, times)
    everyone = make_survival_target([1.0, 2, 3, 9, 9, 9], [1, 1, 1, 0, 0, 0])
    assert evaluation_times(everyone, everyone)[-1] < 9


def numeric_gbsg2() -> tuple[FloatArray, NDArray[np.void]]:
    frame, y = load_gbsg2()
    return frame.select_dtypes("number").to_numpy(float)[:240], y[:240]


def test_scorers_pickle_and_agree_with_scikit_survival() -> None:
    X, y = numeric_gbsg2()
    X = StandardScaler().fit_transform(X)
    model = CoxPHSurvivalAnalysis(alpha=0.1).fit(X, y)
    times = np.linspace(300, 1500, 20)
    scorers = [concordance_scorer, uno_concordance_scorer, integrated_brier_scorer, dynamic_auc_scorer]
    values = [pickle.loads(pickle.dumps(scorer))(model, X, y) for scorer in scorers]
    assert values[0] == pytest.approx(model.score(X, y), abs=1e-12)
    assert values[1] == pytest.approx(reference.concordance_index_ipcw(y, y, model.predict(X))[0])
    wrapped = reference.as_integrated_brier_score_scorer(CoxPHSurvivalAnalysis(alpha=0.1), times).fit(X, y)
    assert IntegratedBrierScorer(times, y)(model, X, y) == pytest.approx(wrapped.score(X, y), rel=1e-12)
    assert -0.25 < values[2] < 0
    grid = evaluation_times(y, y)
    expected = reference.cumulative_dynamic_auc(y, y, model.predict(X), grid)[1]
    assert values[3] == pytest.approx(expected, rel=1e-10)


def test_scorers_select_models_in_grid_search_over_a_pipeline() -> None:
    X, y = numeric_gbsg2()
    pipeline = make_pipeline(StandardScaler(), CoxPHSurvivalAnalysis())
    alphas = [0.1, 1e6]
    scoring = {
        "concordance": concordance_scorer,
        "uno": UnoConcordanceScorer(y_train=y, tau=1500.0),
        "brier": IntegratedBrierScorer(y_train=y),
        "auc": dynamic_auc_scorer,
    }
    search = GridSearchCV(
        pipeline, {"coxphsurvivalanalysis__alpha": alphas}, scoring=scoring, refit="brier", cv=KFold(3)
    ).fit(X, y)
    for name in scoring:
        assert np.isfinite(search.cv_results_[f"mean_test_{name}"]).all()
    # A penalty of a million leaves the Kaplan-Meier curve, which must lose.
    assert search.best_params_ == {"coxphsurvivalanalysis__alpha": 0.1}
    scores = cross_val_score(pipeline, X, y, scoring=concordance_scorer, cv=KFold(3))
    np.testing.assert_allclose(scores, cross_val_score(pipeline, X, y, cv=KFold(3)), atol=1e-12)
