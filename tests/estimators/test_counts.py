"""`CountDiffusion`: contract, refusals, and its law against mixtures of Poisson laws."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

import sciffusion
from sciffusion.estimators import DiffusionEstimator
from sciffusion.estimators.counts import CountDiffusion

TINY: dict[str, Any] = {"width": 16, "depth": 1, "nfe": 4, "draws": 8}
MEANS = np.array([[1.0, 6.0, 3.0], [6.0, 1.0, 3.0]])


def make(**changed: Any) -> CountDiffusion:
    return CountDiffusion(**{**TINY, "max_steps": 30, "random_state": 0, **changed})


def drawn_mixture(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return counts whose first two columns are high in turn, and which is."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(2, size=count)
    return rng.poisson(MEANS[kind]), kind


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return pd.DataFrame(drawn_mixture(160, 0)[0], columns=["a", "b", "c"])


@pytest.fixture(scope="module")
def fitted(frame: pd.DataFrame) -> CountDiffusion:
    return make().fit(frame)


@pytest.fixture(scope="module")
def trained() -> CountDiffusion:
    """Return a model that was given enough to learn from."""
    X, kind = drawn_mixture(2000, 1)
    model = CountDiffusion(
        width=48,
        depth=2,
        max_steps=400,
        learning_rate=5e-3,
        dropout=0.0,
        random_state=0,
        nfe=24,
        condition_dropout=0.5,
    )
    return model.fit(X, kind)


# scikit-learn's checks come with fractions, which counts refuse unless told to round them.
@parametrize_with_checks([make(max_steps=5, fractional="round")])
@pytest.mark.filterwarnings("ignore:.*SCIPY_ARRAY_API")
def test_scikit_learns_checks(estimator: CountDiffusion, check: Callable[[Any], None]) -> None:
    check(estimator)


def test_the_law_of_draws_is_that_of_the_data(trained: CountDiffusion) -> None:
    """Means, dispersion and dependence of columns; a product of the columns' laws has no correlation."""
    fresh = drawn_mixture(4000, 2)[0]
    drawn = trained.sample(4000, random_state=0)
    assert drawn.dtype == np.int64
    assert_allclose(drawn.mean(0), fresh.mean(0), atol=0.3)
    assert_allclose(drawn.var(0), fresh.var(0), rtol=0.15)
    assert np.corrcoef(fresh.T)[0, 1] < -0.5
    assert np.corrcoef(drawn.T)[0, 1] == pytest.approx(np.corrcoef(fresh.T)[0, 1], abs=0.1)


def test_the_bound_lies_below_the_likelihood_and_near_it(trained: CountDiffusion) -> None:
    X, kind = drawn_mixture(1000, 3)
    each = stats.poisson.logpmf(X[:, None], MEANS).sum(-1)
    exact = np.logaddexp(*each.T) - np.log(2.0)
    values, errors = trained.score_samples(X, return_std=True)
    error = 3.0 * float(np.sqrt((errors**2).mean() / len(X)))
    gap = float((exact - values).mean())
    assert -error < gap < 0.25 + error
    # Columns taken for independent lose far more than that.
    margins = [
        np.logaddexp(*stats.poisson.logpmf(X[:, f, None], MEANS[:, f]).T) - np.log(2.0) for f in range(3)
    ]
    assert float((exact - np.sum(margins, axis=0)).mean()) > 0.35
    told = trained.score_samples(X, kind)
    assert float(told.mean()) > float(values.mean()) + 0.3


def test_conditions_and_given_counts_steer_draws(trained: CountDiffusion) -> None:
    for kind in (0, 1):
        drawn = trained.sample(1000, condition=kind, random_state=0)
        assert_allclose(drawn.mean(0), MEANS[kind], atol=0.5)
    drawn = trained.sample(1000, given={0: 11}, random_state=0)
    assert (drawn[:, 0] == 11).all()
    assert_allclose(drawn.mean(0)[1:], [1.0, 3.0], atol=0.5)


def test_few_evaluations_keep_the_spread_of_single_columns(trained: CountDiffusion) -> None:
    """One step draws whole laws: a rounded mean would have no spread at all, and a Poisson one too little."""
    fresh = drawn_mixture(4000, 4)[0]
    drawn = trained.sample(4000, nfe=1, random_state=0)
    assert fresh.var(0)[0] > 2.0 * fresh.mean(0)[0]
    assert_allclose(drawn.var(0), fresh.var(0), rtol=0.25)
    assert_allclose(drawn.mean(0), fresh.mean(0), atol=0.5)
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.1  # one step knows of no dependence


def test_the_mean_head_learns_as_published() -> None:
    X = drawn_mixture(1500, 5)[0]
    model = CountDiffusion(
        head="mean", width=48, depth=2, max_steps=250, learning_rate=5e-3, dropout=0.0, nfe=48, random_state=0
    ).fit(X)
    drawn = model.sample(2000, random_state=0)
    assert_allclose(drawn.mean(0), X.mean(0), atol=0.4)
    assert np.corrcoef(drawn.T)[0, 1] < -0.4
    assert np.isfinite(model.score(X[:50]))


def test_it_is_a_public_name_and_parameters_go_round() -> None:
    assert sciffusion.CountDiffusion is CountDiffusion
    model = make(head="mean")
    assert clone(model).get_params() == model.get_params()
    with pytest.raises(NotFittedError):
        CountDiffusion().sample()


def test_a_seed_gives_the_same_model_and_draws(fitted: CountDiffusion, frame: pd.DataFrame) -> None:
    state = torch.get_rng_state()
    again = make().fit(frame)
    assert_array_equal(again.score_samples(frame), fitted.score_samples(frame))
    assert_array_equal(again.sample(5, random_state=1), fitted.sample(5, random_state=1))
    assert not np.array_equal(fitted.sample(9, random_state=1), fitted.sample(9, random_state=2))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_rows_bound_does_not_depend_on_its_company(fitted: CountDiffusion, frame: pd.DataFrame) -> None:
    whole = fitted.score_samples(frame)
    assert_allclose(fitted.score_samples(frame.iloc[40:43]), whole[40:43], rtol=1e-10)
    beyond = frame.iloc[:2].assign(a=[1, 10_000])
    found = fitted.score_samples(beyond)
    assert np.isfinite(found[0])
    assert found[1] == -np.inf


def test_results_have_the_type_of_the_training_table(fitted: CountDiffusion, frame: pd.DataFrame) -> None:
    drawn = fitted.sample(4, random_state=0)
    assert list(drawn.columns) == ["a", "b", "c"]
    assert_array_equal(make().fit(frame.to_numpy()).sample(4, random_state=0), drawn.to_numpy())
    cases = pd.DataFrame({"a": [1, 9]}, index=pd.Index(["x", "y"], name="who"))
    drawn = fitted.sample(2, given=cases, random_state=0)
    assert drawn.index.tolist() == [("x", 0), ("x", 1), ("y", 0), ("y", 1)]
    assert drawn["a"].tolist() == [1, 1, 9, 9]
    holes = frame.astype(float).iloc[:5].copy()
    holes.iloc[1, 2] = holes.iloc[3, 0] = np.nan
    filled = fitted.impute(holes, random_state=0)
    assert filled.index.equals(holes.index)
    assert_array_equal(filled.to_numpy()[holes.notna()], frame.iloc[:5].to_numpy()[holes.notna()])


@pytest.mark.parametrize("changed", [{}, {"head": "mean"}, {"mask_share": 0.0}])
def test_a_saved_model_is_the_same(changed: dict[str, Any], frame: pd.DataFrame, tmp_path: Path) -> None:
    model = make(**changed).fit(frame, np.where(frame["a"] > 3, "high", "low"))
    model.save(tmp_path / "m.safetensors")
    for back in (DiffusionEstimator.load(tmp_path / "m.safetensors"), pickle.loads(pickle.dumps(model))):
        assert isinstance(back, CountDiffusion)
        assert_array_equal(back.score_samples(frame), model.score_samples(frame))
        drawn = [each.sample(3, condition="high", random_state=0) for each in (back, model)]
        assert_array_equal(*drawn)


def test_it_can_be_searched_over_and_ends_a_pipeline(frame: pd.DataFrame) -> None:
    search = GridSearchCV(make(), {"max_steps": [1, 60]}, cv=2).fit(frame)
    assert np.isfinite(search.best_score_)
    pipeline = make_pipeline(FunctionTransformer(), make()).fit(frame)
    assert np.isfinite(pipeline.score(frame))
    assert np.isfinite(cross_val_score(make(), frame.to_numpy(), cv=2)).all()


def test_weights_of_zero_leave_rows_out(frame: pd.DataFrame) -> None:
    weight = np.r_[np.ones(120), np.zeros(40)]
    changed = {"largest": 20}
    weighted = make(**changed).fit(frame, sample_weight=weight)
    assert_allclose(
        weighted.score_samples(frame), make(**changed).fit(frame[:120]).score_samples(frame), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"head": "median"}, ValueError, "head"),
        ({"largest": 3}, ValueError, "X holds the count"),
        ({"largest": 5000}, ValueError, 'head="mean"'),
        ({"fractional": "floor"}, ValueError, "fractional"),
        ({"mask_share": 1.5}, ValueError, "mask_share"),
        ({"nfe": 0}, ValueError, "nfe"),
        ({"width": 2.5}, TypeError, "width"),
        ({"device": "tpu"}, ValueError, "device"),
    ],
)
def test_wrong_parameters_are_refused(
    changed: dict[str, Any], error: type[Exception], words: str, frame: pd.DataFrame
) -> None:
    with pytest.raises(error, match=words):
        make(**changed).fit(frame)


def test_tables_that_are_no_counts_are_refused(fitted: CountDiffusion, frame: pd.DataFrame) -> None:
    with pytest.raises(
        ValueError, match=r"counts >= 0; 1 values are not, the first is -2 in row 7, column 'b'"
    ):
        make().fit(frame.assign(b=frame["b"].where(frame.index != 7, -2)))
    with pytest.raises(ValueError, match=r"whole numbers .* 2.5 in row 3, column 'c'"):
        make().fit(frame.assign(c=frame["c"].where(frame.index != 3, 2.5)))
    with pytest.raises(ValueError, match="NaN"):
        make().fit(frame.where(frame["a"] > 0))
    for call, words in (
        (lambda: fitted.sample(0), "n_samples"),
        (lambda: fitted.sample(nfe=0), "nfe"),
        (lambda: fitted.sample(given={"z": 1.0}), "z"),
        (lambda: fitted.sample(given={"a": 0.5}), "whole numbers"),
        (lambda: fitted.sample(given={"a": 900.0}), "largest_"),
        (lambda: fitted.sample(condition=1.0), "without properties"),
        (lambda: fitted.score_samples(frame, draws=0), "draws"),
        (lambda: make(mask_share=0.0).fit(frame).sample(given={"a": 1.0}), "mask_share"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
