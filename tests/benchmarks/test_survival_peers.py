"""Peers: the shared preprocessing, step evaluation, the partial likelihood, and curves that are curves."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import survival_peers as peers
import torch
from deep_cox import DeepCox, negative_partial_log_likelihood
from survival_data import SurvivalData
from survival_run import run_fold

pytest.importorskip("sksurv", reason="the peers come from scikit-survival")

PEERS = [peers.KaplanMeier, peers.CoxRidge, peers.Coxnet, peers.Forest, peers.Boosting, peers.DeepSurv]


@pytest.fixture(scope="module")
def cohort() -> SurvivalData:
    """Risk rises with `x`; a missing number and a missing category in places."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=240)
    X = pd.DataFrame({"x": x, "kind": pd.Categorical(generator.choice(["a", "b"], size=240))})
    X.loc[::17, "x"] = np.nan
    X.loc[::19, "kind"] = np.nan
    event_time, censored_time = generator.exponential(np.exp(-1.5 * x)), generator.exponential(2, size=240)
    return SurvivalData("made up", X, np.minimum(event_time, censored_time), event_time <= censored_time)


def test_preprocessing_is_learned_on_the_training_part_only(cohort: SurvivalData) -> None:
    train, other = cohort.X.iloc[:100], cohort.X.iloc[100:]
    preprocessor = peers.make_preprocessor().fit(train)
    shifted = other.assign(x=other["x"] + 1000)
    first, second = preprocessor.transform(other), preprocessor.transform(shifted)
    scale = train["x"].fillna(train["x"].median()).std(ddof=0)
    seen = other["x"].notna().to_numpy()
    np.testing.assert_allclose((second - first)[seen, 0], 1000 / scale)
    np.testing.assert_allclose((second - first)[~seen, 0], 0)


def test_steps_are_right_continuous_and_one_before_the_first_knot() -> None:
    curves = peers.evaluate_steps(
        np.array([1.0, 2.0]), np.array([[0.8, 0.5]]), np.array([0.5, 1.0, 1.9, 2.0, 9.0])
    )
    assert curves.tolist() == [[1.0, 0.8, 0.8, 0.5, 0.5]]


@pytest.mark.parametrize("ties", [False, True])
def test_partial_likelihood_is_the_double_sum_of_its_definition(ties: bool) -> None:
    generator = np.random.default_rng(1)
    score = generator.normal(size=30)
    time = generator.integers(1, 8, size=30).astype(float) if ties else generator.permutation(30) + 1.0
    event = generator.uniform(size=30) < 0.6
    terms = [score[i] - np.log(np.exp(score[time >= time[i]]).sum()) for i in range(30) if event[i]]
    value = negative_partial_log_likelihood(*map(torch.as_tensor, (score, time, event)))
    assert float(value) == pytest.approx(-np.mean(terms))


def test_network_is_reproducible_and_leaves_the_global_random_state() -> None:
    generator = np.random.default_rng(2)
    X, time = generator.normal(size=(120, 3)), generator.exponential(size=120)
    event = generator.uniform(size=120) < 0.7
    before = torch.get_rng_state()
    first, second = (DeepCox(seed=5).fit(X, time, event).predict(X) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("make", PEERS)
def test_curves_fall_from_one_and_the_risk_orders_patients(make: type, cohort: SurvivalData) -> None:
    from sksurv.metrics import concordance_index_censored

    train, test = cohort.take(np.arange(160)), cohort.take(np.arange(160, 240))
    model = make().fit(train)
    times = np.r_[0.0, np.quantile(train.time, [0.1, 0.5, 0.9]), 2 * train.time.max()]
    curves = model.survival(test.X, times)
    assert curves.shape == (80, 5)
    assert np.all(np.diff(curves, axis=1) <= 1e-12)
    np.testing.assert_array_equal(curves[:, 0], 1.0)
    assert curves.min() >= 0
    if make is not peers.KaplanMeier:
        assert concordance_index_censored(test.event, test.time, model.risk(test.X))[0] > 0.7


def test_a_failing_model_gives_a_row_with_its_words_and_no_scores(cohort: SurvivalData) -> None:
    from survival_protocol import folds

    class Broken(peers.KaplanMeier):
        def survival(self, X: pd.DataFrame, times: np.ndarray) -> np.ndarray:
            return np.full((len(X), len(times)), np.nan)

    row = run_fold("broken", Broken, next(iter(folds(cohort))))
    assert row["error"].startswith("ValueError: survival has")
    assert np.isnan(row["ibs"])
    assert row["model"] == "broken"
