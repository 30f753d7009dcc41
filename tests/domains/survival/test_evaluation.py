"""Cross-validation: nothing is predicted by a model that has seen it, and scores are those of the metrics."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from sciffusion.domains.survival.evaluation import SCORES, Evaluation, evaluate
from sciffusion.domains.survival.metrics import (
    evaluation_times,
    harrell_concordance,
    integrated_brier_score,
    uno_concordance,
)
from sciffusion.domains.survival.model_selection import SurvivalStratifiedKFold
from sciffusion.domains.survival.peers import CoxPeer, ForestPeer


class Remembering:
    """Predicts 1 for rows it was fitted on and .5 for all others; the risk is the negative age."""

    def fit(self, X: Any, y: Any) -> Remembering:
        self.seen_ = set(X["marker"])
        return self

    def predict(self, X: Any) -> np.ndarray:
        return -X["age"].to_numpy()

    def predict_survival_function(self, X: Any, return_array: bool = True, *, times: Any) -> np.ndarray:
        values = np.where(X["marker"].isin(self.seen_), 1.0, 0.5)
        return np.repeat(values[:, None], len(times), axis=1)


class Missing(Remembering):
    """Cannot be imported."""

    def fit(self, X: Any, y: Any) -> Missing:
        raise ImportError("this needs nothing, which is not installed")


@pytest.fixture(scope="module")
def evaluation(study: Any, make_model: Any) -> Evaluation:
    models = {
        "ours": partial(make_model, max_steps=20),
        "cox": CoxPeer,
        "remembering": Remembering,
        "missing": Missing,
        "off": partial(make_model, max_steps=0),
    }
    return evaluate(models, study.X, study.y, folds=3, seed=1)


def test_every_row_is_predicted_by_a_fit_that_has_not_seen_it(evaluation: Evaluation) -> None:
    held_out = evaluation.held_out["remembering"]
    assert (held_out.own_survival == 0.5).all()
    assert (held_out.reference_survival == 0.5).all()


def test_scores_are_those_of_the_metrics(evaluation: Evaluation, study: Any) -> None:
    splitter = SurvivalStratifiedKFold(3, shuffle=True, random_state=1)
    scores = evaluation.scores[evaluation.scores["model"] == "remembering"]
    assert len(scores) == 3
    for (_, row), (train, test) in zip(scores.iterrows(), splitter.split(study.X, study.y), strict=True):
        grid = evaluation_times(study.y[train], study.y[test])
        risk, table = -study.X["age"].to_numpy()[test], np.full((len(test), 100), 0.5)
        assert row["harrell"] == harrell_concordance(study.y[test], risk)
        assert row["uno"] == uno_concordance(study.y[train], study.y[test], risk, tau=grid[-1])
        assert row["ibs"] == integrated_brier_score(study.y[train], study.y[test], table, grid)
        assert row["auc"] == pytest.approx(0.5)  # one curve for all tells nobody apart


def test_the_summary_averages_folds(evaluation: Evaluation) -> None:
    table = evaluation.summary()
    assert list(table.index) == ["ours", "cox", "remembering", "off"]
    cox = evaluation.scores[evaluation.scores["model"] == "cox"]
    for name in SCORES:
        assert table.loc["cox", name] == pytest.approx(cox[name].mean())
        assert table.loc["cox", f"{name}_se"] == pytest.approx(cox[name].std(ddof=1) / np.sqrt(3))
    # Age drives the simulated hazard; who predicts nothing is at chance.
    assert table.loc["cox", "harrell"] > 0.6
    assert table.loc["off", "harrell"] == pytest.approx(0.5, abs=0.01)
    assert table.loc["cox", "ibs"] < table.loc["off", "ibs"]


def test_an_undefined_fold_leaves_the_mean_undefined(evaluation: Evaluation) -> None:
    from dataclasses import replace

    scores = evaluation.scores.copy()
    scores.loc[(scores["model"] == "cox") & (scores["fold"] == 0), "ibs"] = np.nan
    table = replace(evaluation, scores=scores).summary()
    assert np.isnan(table.loc["cox", "ibs"])
    assert np.isfinite(table.loc["cox", "uno"])
    assert np.isfinite(table.loc["off", "ibs"])


def test_a_model_that_is_not_installed_is_named_and_left_out(evaluation: Evaluation) -> None:
    assert evaluation.missing == {"missing": "this needs nothing, which is not installed"}
    assert "missing" not in evaluation.held_out


def test_the_self_check_needs_a_model_that_draws(evaluation: Evaluation, study: Any) -> None:
    check = evaluation.self_check("ours")
    assert check.n_rows == len(study.T)
    assert check.observed_event_rate == study.E.mean()
    with pytest.raises(ValueError, match="must be one that draws"):
        evaluation.self_check("cox")


def test_examples_are_held_out_rows_in_order_of_risk(evaluation: Evaluation) -> None:
    rows = evaluation.example_rows("cox")
    assert set(rows) <= set(evaluation.last_test)
    risk = evaluation.held_out["cox"].last_fit.predict(evaluation.X.iloc[rows])
    assert (np.diff(risk) > 0).all()


def test_groups_are_kept_together(study: Any) -> None:
    twice = study.X.loc[np.repeat(study.X.index[:60], 2)].reset_index(drop=True)
    T, E = np.repeat(study.T[:60], 2), np.repeat(study.E[:60], 2)
    groups = np.repeat(np.arange(60), 2)
    apart = evaluate({"r": Remembering}, twice, T, E, folds=3, groups=groups)
    mixed = evaluate({"r": Remembering}, twice, T, E, folds=3)
    assert (apart.held_out["r"].own_survival == 0.5).all()
    assert (mixed.held_out["r"].own_survival == 1.0).any()


def test_progress_counts_all_fits(study: Any) -> None:
    calls: list[tuple[int, int, str]] = []
    evaluate({"r": Remembering}, study.X, study.y, folds=2, progress=lambda *call: calls.append(call))
    assert [call[:2] for call in calls] == [(0, 2), (1, 2), (2, 2)]
    assert calls[1][2] == "fold 2 of 2: r"


@pytest.mark.parametrize("folds", [1, 10**6])
def test_impossible_folds_are_refused(study: Any, folds: int) -> None:
    with pytest.raises(ValueError, match="folds must be between 2 and the number of events"):
        evaluate({"r": Remembering}, study.X, study.y, folds=folds)


def test_cox_is_that_of_scikit_survival(study: Any) -> None:
    linear_model = pytest.importorskip("sksurv.linear_model")
    # On standardised columns, because lifelines standardises before it penalises.
    X = study.X.drop(columns="sex").assign(male=(study.X["sex"] == "m").astype(float))
    ours = CoxPeer().fit(X, study.y)
    design = np.asarray(ours.preprocessor_.transform(X))
    peer = linear_model.CoxPHSurvivalAnalysis(alpha=0.1, ties="efron").fit(design, study.y)
    np.testing.assert_allclose(ours.coefficients_, peer.coef_, rtol=1e-3)
    risk, expected = ours.predict(X), peer.predict(design)
    np.testing.assert_allclose(risk - risk.mean(), expected - expected.mean(), atol=1e-3)
    times = np.quantile(study.T[study.E], [0.2, 0.5, 0.8])
    curves = [[float(f(t)) for t in times] for f in peer.predict_survival_function(design[:5])]
    found = ours.predict_survival_function(X[:5], times=times)
    np.testing.assert_allclose(found, curves, atol=0.01)  # lifelines and scikit-survival treat ties apart


def test_the_forest_is_repeatable_and_takes_missing_values(study: Any) -> None:
    pytest.importorskip("sksurv")
    X = study.X.copy()
    X.loc[X.index[:7], "age"] = np.nan
    first, second = (ForestPeer(seed=4).fit(X, study.y).predict(X) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert harrell_concordance(study.y, first) > 0.65
