"""Step functions agree with scikit-survival's and pass through its metrics."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sksurv.datasets import load_gbsg2
from sksurv.functions import StepFunction as ReferenceStepFunction
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.metrics import as_integrated_brier_score_scorer, integrated_brier_score

from sciffusion.domains.survival.step_functions import StepFunction, step_functions

X_POINTS = np.array([1.0, 2.0, 4.0, 7.5])
Y_POINTS = np.array([0.9, 0.6, 0.5, 0.1])


@pytest.mark.parametrize("domain", [(0, None), (None, None), (0.5, 5.0)])
def test_equals_scikit_survival_inside_the_domain(domain: tuple[float | None, float | None]) -> None:
    ours = StepFunction(X_POINTS, Y_POINTS, domain=domain)
    reference = ReferenceStepFunction(X_POINTS, Y_POINTS, domain=domain)
    assert ours.domain == reference.domain
    points = np.unique(np.r_[np.linspace(*ours.domain, 50), X_POINTS])
    points = points[(points >= ours.domain[0]) & (points <= ours.domain[1])]
    np.testing.assert_array_equal(ours(points), reference(points))


@pytest.mark.parametrize("point", [-0.1, 7.6])
def test_refuses_points_outside_the_domain_as_scikit_survival_does(point: float) -> None:
    with pytest.raises(ValueError, match="within"):
        ReferenceStepFunction(X_POINTS, Y_POINTS)(point)
    with pytest.raises(ValueError, match="within the domain"):
        StepFunction(X_POINTS, Y_POINTS)(point)
    with pytest.raises(ValueError, match="finite"):
        StepFunction(X_POINTS, Y_POINTS)([1.0, np.nan])


def test_before_and_extended_domain() -> None:
    function = StepFunction(X_POINTS, Y_POINTS, before=1.0, domain=(0, np.inf))
    np.testing.assert_array_equal(function([0, 0.99, 1, 7.5, 1e6]), [1, 1, 0.9, 0.1, 0.1])


def test_shape_of_the_argument_is_kept() -> None:
    function = StepFunction(X_POINTS, Y_POINTS)
    assert np.ndim(function(2.5)) == 0
    assert np.shape(function([2.5])) == (1,)
    assert np.shape(function(np.ones((2, 3)))) == (2, 3)


def test_equality_and_pickle() -> None:
    function = StepFunction(X_POINTS, Y_POINTS, before=1.0)
    assert pickle.loads(pickle.dumps(function)) == function
    assert function != StepFunction(X_POINTS, Y_POINTS)
    assert function != StepFunction(X_POINTS, Y_POINTS + 0.01, before=1.0)


@pytest.mark.parametrize(("x", "y"), [([1, 2], [1]), ([2, 1], [1, 1]), ([1, 1], [1, 1]), ([], [])])
def test_refuses_points_that_are_no_step_function(x: ArrayLike, y: ArrayLike) -> None:
    with pytest.raises(ValueError, match="x "):
        StepFunction(x, y)


class CoxThroughOurStepFunctions(BaseEstimator):  # type: ignore[misc]
    """A Cox model that hands out our step functions."""

    def fit(self, X: NDArray[np.float64], y: NDArray[np.void]) -> CoxThroughOurStepFunctions:
        self.model_ = CoxPHSurvivalAnalysis(alpha=0.1).fit(X, y)
        return self

    def predict_survival_function(self, X: NDArray[np.float64]) -> NDArray[np.object_]:
        table = self.model_.predict_survival_function(X, return_array=True)
        return step_functions(self.model_.unique_times_, table)


def test_works_in_scikit_survival_metrics_and_scorers() -> None:
    frame, y = load_gbsg2()
    X = frame.select_dtypes("number").to_numpy(float)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    times = np.linspace(300, 1800, 20)
    wrapped = as_integrated_brier_score_scorer(CoxThroughOurStepFunctions(), times).fit(X, y)
    reference = as_integrated_brier_score_scorer(CoxPHSurvivalAnalysis(alpha=0.1), times).fit(X, y)
    assert wrapped.score(X, y) == pytest.approx(reference.score(X, y), abs=1e-14)
    functions = CoxThroughOurStepFunctions().fit(X, y).predict_survival_function(X)
    table = np.asarray([function(times) for function in functions])
    assert -integrated_brier_score(y, y, table, times) == pytest.approx(reference.score(X, y), abs=1e-14)
