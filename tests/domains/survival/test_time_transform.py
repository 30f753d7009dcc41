from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import kstest

from sciffusion.domains.survival.time_transform import LogTransform, RankTransform

times_and_weights = st.lists(st.tuples(st.integers(0, 8), st.floats(0.1, 5.0)), min_size=1, max_size=30)


def _randomised(transform: RankTransform, times: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    lower, upper = transform.intervals(times)
    return ndtri(lower + (upper - lower) * np.random.default_rng(seed).random(len(times)))


def test_randomised_ranks_are_standard_normal_with_half_of_the_rows_tied() -> None:
    rng = np.random.default_rng(0)
    times = np.where(rng.random(400) < 0.5, 52.0, rng.exponential(20.0, 400))
    transform = RankTransform.learn(times, np.ones(400))
    many = np.concatenate([_randomised(transform, times, seed) for seed in range(20)])
    assert kstest(many, "norm").statistic < 0.01


@given(times_and_weights, st.integers(0, 100))
@settings(max_examples=50, deadline=None)
def test_there_and_back_is_exact(rows: list[tuple[int, float]], seed: int) -> None:
    times, weights = (np.asarray(column, dtype=float) for column in zip(*rows, strict=True))
    transform = RankTransform.learn(times, weights)
    values = _randomised(transform, times, seed)
    assert_array_equal(transform.inverse(values), times)


@given(times_and_weights)
@settings(max_examples=50, deadline=None)
def test_intervals_hold_the_weights(rows: list[tuple[int, float]]) -> None:
    times, weights = (np.asarray(column, dtype=float) for column in zip(*rows, strict=True))
    transform = RankTransform.learn(times, weights)
    lower, upper = transform.intervals(times)
    share = [weights[times == time].sum() / weights.sum() for time in times]
    assert_allclose(upper - lower, share, atol=1e-12)
    assert transform.upper[-1] == 1.0
    assert transform.lower[0] == 0.0


def test_a_weight_of_two_is_a_repeated_row_and_units_of_weight_do_not_matter() -> None:
    times = np.array([3.0, 1.0, 2.0])
    weighted = RankTransform.learn(times, np.array([1.0, 2.0, 1.0]))
    repeated = RankTransform.learn(np.array([3.0, 1.0, 1.0, 2.0]), np.ones(4))
    scaled = RankTransform.learn(times, np.array([10.0, 20.0, 10.0]))
    for other in (repeated, scaled):
        assert_array_equal(weighted.support, other.support)
        assert_allclose(weighted.upper, other.upper)


@pytest.mark.parametrize("value", [-np.inf, -1e9, 1e9, np.inf])
def test_generated_times_never_leave_the_observed_range(value: float) -> None:
    transform = RankTransform.learn(np.array([0.0, 4.0, 9.0]), np.ones(3))
    assert_array_equal(transform.inverse(np.array([[value]])), [[0.0 if value < 0 else 9.0]])


def test_one_time_for_all_rows_comes_back_from_anywhere() -> None:
    transform = RankTransform.learn(np.full(6, 3.0), np.ones(6))
    assert_array_equal(transform.inverse(np.array([-9.0, 0.0, 9.0])), [3.0, 3.0, 3.0])


def test_a_rank_transform_survives_json() -> None:
    rng = np.random.default_rng(0)
    transform = RankTransform.learn(rng.exponential(size=50), rng.random(50) + 0.1)
    back = RankTransform.from_dict(json.loads(json.dumps(transform.to_dict())))
    for name in ("support", "lower", "upper"):
        assert_array_equal(getattr(back, name), getattr(transform, name))


def test_logs_are_standardised_with_weights_and_come_back() -> None:
    rng = np.random.default_rng(0)
    times, weights = rng.exponential(size=80), rng.random(80)
    transform = LogTransform.learn(times, weights)
    values = transform.forward(times)
    assert np.average(values, weights=weights) == pytest.approx(0.0, abs=1e-12)
    assert np.average(values**2, weights=weights) == pytest.approx(1.0)
    assert_allclose(transform.inverse(values), times)


def test_a_time_of_zero_becomes_half_the_smallest_positive_one() -> None:
    transform = LogTransform.learn(np.array([0.0, 0.2, 3.0]), np.ones(3))
    assert_allclose(transform.inverse(transform.forward(np.array([0.0]))), [0.1])


@pytest.mark.parametrize("time", [0.0, 7.0])
def test_times_that_do_not_vary_stay_what_they_are(time: float) -> None:
    transform = LogTransform.learn(np.full(5, time), np.ones(5))
    values = transform.forward(np.full(5, time))
    assert_allclose(values, 0.0, atol=1e-12)
    assert np.isfinite(transform.inverse(values + 1.0)).all()


def test_an_absurd_value_gives_a_finite_time() -> None:
    transform = LogTransform.learn(np.array([1.0, 2.0, 40.0]), np.ones(3))
    times = transform.inverse(np.array([-1e6, 1e6]))
    assert np.isfinite(times).all()
    assert (times >= 0.0).all()


def test_a_log_transform_survives_json() -> None:
    transform = LogTransform.learn(np.array([0.0, 2.0, 40.0]), np.ones(3))
    back = LogTransform.from_dict(json.loads(json.dumps(transform.to_dict())))
    assert vars(back) == vars(transform)
