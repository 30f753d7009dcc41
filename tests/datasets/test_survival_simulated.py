"""The simulated study follows the law it says it follows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kstest

from sciffusion.datasets import SurvivalDataset, make_cox_weibull


def test_event_times_follow_the_true_survival_function() -> None:
    study = make_cox_weibull(n_rows=4000, random_state=0, shape=1.7, scale=0.01)
    level = np.array(
        [
            study.truth.survival(study.X.iloc[[row]], [time])[0, 0]
            for row, time in enumerate(study.event_time[:800])
        ]
    )
    assert kstest(level, "uniform").pvalue > 0.01
    risk = study.truth.linear_predictor(study.X)
    shortened = np.exp(-study.truth.scale * study.event_time**study.truth.shape)  # the law without covariates
    assert kstest(shortened, "uniform").pvalue < 1e-6
    assert np.corrcoef(risk, np.log(study.event_time))[0, 1] < -0.3


def test_survival_equals_the_formula_by_hand() -> None:
    X = pd.DataFrame({"dose": [1.0, 3.0], "arm": pd.Categorical(["a", "b"])})  # dose standardises to -1 and 1
    study = make_cox_weibull(X, coefficients=[0.5, -2.0], scale=0.2, shape=1.5, random_state=0)
    times = np.array([0.0, 0.5, 4.0])
    expected = [np.exp(-0.2 * np.exp(-0.5) * times**1.5), np.exp(-0.2 * np.exp(0.5 - 2.0) * times**1.5)]
    np.testing.assert_allclose(study.truth.survival(X, times), expected, rtol=1e-13)
    assert list(study.truth.coefficients.index) == ["dose", "arm=b"]


def test_quantiles_invert_survival() -> None:
    study = make_cox_weibull(random_state=1)
    levels = np.array([0.1, 0.5, 0.99])
    quantiles = study.truth.quantile(study.X, levels)
    for row in range(3):
        survival = study.truth.survival(study.X.iloc[[row]], quantiles[row])[0]
        np.testing.assert_allclose(survival, 1.0 - levels, rtol=1e-10)


@pytest.mark.parametrize("event_rate", [0.05, 0.25, 0.5, 0.75, 0.95])
def test_censoring_hits_the_wanted_share_of_events(event_rate: float) -> None:
    study = make_cox_weibull(n_rows=5000, event_rate=event_rate, random_state=7)
    expected = np.maximum(0.0, 1.0 - study.event_time / study.truth.censoring_bound).mean()
    assert expected == pytest.approx(event_rate, abs=1e-9)
    assert study.event.mean() == pytest.approx(
        event_rate, abs=4.0 * np.sqrt(event_rate * (1 - event_rate) / 5000)
    )


def test_observed_rows_are_those_with_their_event_before_censoring() -> None:
    study = make_cox_weibull(random_state=2)
    np.testing.assert_array_equal(study.time[study.event], study.event_time[study.event])
    assert (study.time[~study.event] < study.event_time[~study.event]).all()
    assert study.time.max() <= study.truth.censoring_bound
    assert study.card.kind == "make"
    assert study.card.n_events == study.event.sum()


def test_rows_of_a_part_have_the_curves_they_have_in_the_whole(
    load: Callable[[str], SurvivalDataset],
) -> None:
    covariates = load("whas500").X
    study = make_cox_weibull(covariates, random_state=4)
    pd.testing.assert_frame_equal(study.X, covariates)
    whole = study.truth.survival(study.X, [100.0, 400.0])
    np.testing.assert_allclose(
        study.truth.survival(study.X.iloc[::-7], [100.0, 400.0]), whole[::-7], rtol=1e-12
    )
    assert len(study.truth.coefficients) == 13


def test_seed_decides_everything() -> None:
    first, again, other = (make_cox_weibull(random_state=seed) for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(first.frame, again.frame)
    assert not first.frame.equals(other.frame)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"event_rate": 1.0}, "event_rate"),
        ({"event_rate": 0.0}, "event_rate"),
        ({"scale": -1.0}, "scale"),
        ({"shape": 0.0}, "shape"),
        ({"n_rows": 0}, "n_rows"),
        ({"coefficients": [1.0]}, "coefficients"),
        ({"X": pd.DataFrame({"a": [1.0, np.nan]})}, "missing values"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_cox_weibull(**arguments)


def test_truth_refuses_other_columns() -> None:
    study = make_cox_weibull(random_state=0)
    with pytest.raises(ValueError, match="x0"):
        study.truth.survival(study.X.drop(columns="x0"), [1.0])
