"""The protocol: folds, late test rows, grid, calibration counts and scores."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2
from survival_data import SurvivalData
from survival_protocol import (
    Fold,
    calibration_counts,
    clip_follow_up,
    d_calibration,
    folds,
    score_predictions,
    split_rows,
    time_grid,
)

pytest.importorskip("sksurv", reason="the benchmarks' metrics come from scikit-survival")


def cohort(time: object, event: object, groups: np.ndarray | None = None) -> SurvivalData:
    """Make a cohort of one covariate, the row's number."""
    time, event = np.asarray(time, dtype=float), np.asarray(event, dtype=bool)
    return SurvivalData("made up", pd.DataFrame({"row": np.arange(len(time))}), time, event, groups)


@pytest.fixture(scope="module")
def exponential() -> SurvivalData:
    """Two rows a person, half censored, times with a common administrative end at 2."""
    generator = np.random.default_rng(3)
    event_time, censored_time = generator.exponential(size=(2, 400))
    end = np.minimum(censored_time, 2.0)
    return cohort(np.minimum(event_time, end), event_time <= end, np.repeat(np.arange(200), 2))


def test_folds_are_stratified_on_the_event_and_cover_every_row_once() -> None:
    data = cohort(np.arange(1, 101), np.arange(100) < 30)
    parts = split_rows(data)
    assert sorted(np.concatenate([test for _, test in parts])) == list(range(100))
    assert [int(data.event[test].sum()) for _, test in parts] == [6] * 5


def test_folds_do_not_split_a_group(exponential: SurvivalData) -> None:
    for train, test in split_rows(exponential):
        assert not set(exponential.groups[train]) & set(exponential.groups[test])


def test_folds_are_the_same_every_time(exponential: SurvivalData) -> None:
    first, second = split_rows(exponential), split_rows(exponential)
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(first, second, strict=True))


def test_late_test_rows_become_censored_just_inside_the_training_range_and_stay() -> None:
    train = cohort([1, 5, 10], [1, 1, 0])
    test = cohort([2, 10, 12, 9.5], [1, 1, 0, 1])
    clipped = clip_follow_up(train, test)
    assert clipped.event.tolist() == [True, False, False, True]
    assert clipped.time[[0, 3]].tolist() == [2, 9.5]
    assert np.all((clipped.time[1:3] < 10) & (clipped.time[1:3] > 9.99))
    assert test.event.tolist() == [True, True, False, True], "the argument must not change"


def test_grid_runs_between_percentiles_of_event_times_only() -> None:
    test = cohort([*range(1, 12), 500], [*[1] * 11, 0])
    train = cohort([0.5, 1000], [1, 0])
    np.testing.assert_allclose(time_grid(train, test), np.linspace(2, 10, 100))


@pytest.mark.parametrize(
    ("train_times", "low", "high"), [([4, 1000], 4, 10), ([0.5, 8], 2, 8), ([4, 8], 4, 8)]
)
def test_grid_stays_inside_the_training_follow_up(train_times: list[float], low: float, high: float) -> None:
    test = cohort([*range(1, 12), 500], [*[1] * 11, 0])
    grid = time_grid(cohort(train_times, [1, 0]), test)
    assert grid[0] == low
    assert high * 0.999 < grid[-1] <= high
    if high == 8:
        assert grid[-1] < 8


def test_grid_percentiles_use_event_times_as_observed() -> None:
    # three of ten events at the common end 52: censored first, they would pull the end down to 6.4
    test = cohort([1, 2, 3, 4, 5, 6, 7, 52, 52, 52], [1] * 10)
    train = cohort([0.5, 52], [1, 0])
    assert time_grid(train, test)[-1] == pytest.approx(52, rel=1e-5)


def test_no_event_in_the_test_part_is_refused() -> None:
    with pytest.raises(ValueError, match="no event"):
        time_grid(cohort([1, 2], [1, 0]), cohort([1, 2], [0, 0]))


def test_calibration_counts_spread_a_censored_row_over_the_bins_it_may_still_reach() -> None:
    counts = calibration_counts(np.array([0.25, 0.25, 1.0]), np.array([False, True, True]))
    np.testing.assert_allclose(counts, [0.4, 0.4, 1.2, 0, 0, 0, 0, 0, 0, 1])


def test_calibration_counts_sum_to_the_rows() -> None:
    generator = np.random.default_rng(0)
    value, event = (
        np.r_[0.0, 1.0, generator.uniform(size=200)],
        np.r_[False, False, generator.uniform(size=200) < 0.3],
    )
    assert calibration_counts(value, event).sum() == pytest.approx(202)


def test_d_calibration_is_the_chi_square_test_of_its_counts() -> None:
    value = np.repeat(np.arange(10) / 10 + 0.05, [14, 6, 10, 10, 10, 10, 10, 10, 10, 10])
    assert d_calibration(value, np.ones(100, dtype=bool)) == pytest.approx(chi2.sf(16 / 10 + 16 / 10, 9))


def test_d_calibration_accepts_the_true_curves_of_censored_data_and_rejects_wrong_ones(
    exponential: SurvivalData,
) -> None:
    true_value = np.exp(-exponential.time)
    assert d_calibration(true_value, exponential.event) > 0.05
    assert d_calibration(true_value**2, exponential.event) < 1e-4


def make_fold(exponential: SurvivalData) -> Fold:
    """Give the first fold of the exponential cohort."""
    return next(iter(folds(exponential)))


def test_scores_of_uninformative_curves_are_those_of_chance(exponential: SurvivalData) -> None:
    fold = make_fold(exponential)
    n = len(fold.test.time)
    half = np.full((n, len(fold.grid)), 0.5)
    scores = score_predictions(fold, np.zeros(n), half, half[:, 0])
    assert scores["harrell"] == scores["uno"] == scores["auc"] == 0.5
    # (indicator - 1/2)^2 is 1/4 for every row, and the weights have mean one up to sampling error
    assert scores["ibs"] == pytest.approx(0.25, abs=0.03)


def test_scores_of_an_oracle_are_the_best_there_are(exponential: SurvivalData) -> None:
    fold = make_fold(exponential)
    curves = (fold.test.time[:, None] > fold.grid[None, :]).astype(float)
    scores = score_predictions(fold, -fold.test.time, curves, np.full(len(curves), 0.5))
    assert scores["harrell"] == scores["uno"] == scores["auc"] == 1.0
    assert scores["ibs"] == pytest.approx(0.0, abs=1e-12)


def test_predictions_that_are_not_finite_are_refused(exponential: SurvivalData) -> None:
    fold = make_fold(exponential)
    curves = np.full((len(fold.test.time), len(fold.grid)), np.nan)
    with pytest.raises(ValueError, match="survival has"):
        score_predictions(fold, np.zeros(len(curves)), curves, np.full(len(curves), 0.5))
