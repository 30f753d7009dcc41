"""Kaplan-Meier over patients: exact against lifelines and scikit-survival, and laws of the estimator."""

from __future__ import annotations

import time as clock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from lifelines import KaplanMeierFitter, NelsonAalenFitter
from lifelines.utils import qth_survival_time, restricted_mean_survival_time
from numpy.typing import NDArray
from sksurv.nonparametric import kaplan_meier_estimator, nelson_aalen_estimator

from sciffusion.domains.survival.kaplan_meier import KaplanMeierCurves, kaplan_meier_curves

FloatArray = NDArray[np.float64]


def tied_draws(rows: int = 12, draws: int = 60, seed: int = 0) -> tuple[FloatArray, NDArray[np.bool_]]:
    generator = np.random.default_rng(seed)
    times = generator.integers(0, 25, size=(rows, draws)).astype(np.float64)
    return times, generator.random((rows, draws)) < np.linspace(0.1, 1, rows)[:, None]


@pytest.mark.parametrize("tied", [True, False])
def test_equals_lifelines_and_scikit_survival_row_by_row(tied: bool) -> None:
    times, events = tied_draws()
    if not tied:
        times = times + np.random.default_rng(1).random(times.shape)
    curves = kaplan_meier_curves(times, events)
    grid = np.concatenate([[0.0, 30.0], np.unique(times)[::7], np.linspace(0, 26, 41)])
    survival, hazard = curves.survival_at(grid), curves.cumulative_hazard_at(grid)
    for row in range(len(times)):
        fitter = KaplanMeierFitter().fit(times[row], events[row])
        np.testing.assert_allclose(survival[row], fitter.predict(grid).to_numpy(), atol=1e-12)
        unique, expected = kaplan_meier_estimator(events[row], times[row])
        np.testing.assert_allclose(curves.survival_at(unique)[row], expected, atol=1e-12)
        unique, expected = nelson_aalen_estimator(events[row], times[row])
        np.testing.assert_allclose(curves.cumulative_hazard_at(unique)[row], expected, atol=1e-12)
        aalen = NelsonAalenFitter(nelson_aalen_smoothing=False).fit(times[row], events[row])
        np.testing.assert_allclose(hazard[row], aalen.predict(grid).to_numpy(), atol=1e-12)


def test_censoring_curve_equals_scikit_survival_reverse() -> None:
    times, events = tied_draws()
    events[:, :2] = False
    curves = kaplan_meier_curves(times, events, of="censoring")
    for row in range(len(times)):
        unique, expected = kaplan_meier_estimator(events[row], times[row], reverse=True)
        np.testing.assert_allclose(curves.survival_at(unique)[row], expected, atol=1e-12)


def test_weights_equal_lifelines_weights() -> None:
    times, events = tied_draws()
    weights = np.random.default_rng(2).integers(1, 5, size=times.shape)
    survival = kaplan_meier_curves(times, events, weights=weights).survival_at(np.arange(26))
    for row in range(len(times)):
        fitter = KaplanMeierFitter().fit(times[row], events[row], weights=weights[row])
        np.testing.assert_allclose(survival[row], fitter.predict(np.arange(26)).to_numpy(), atol=1e-12)


def test_fractional_events_by_hand() -> None:
    # Risk sets 4, 3 (two tied draws), 1; hazards .5/4, (.25 + 1)/3, .8/1.
    curves = kaplan_meier_curves([[7.0, 2.0, 4.0, 4.0]], [[0.8, 0.5, 0.25, 1.0]])
    expected = np.cumprod([1 - 0.125, 1 - 1.25 / 3, 1 - 0.8])
    np.testing.assert_allclose(
        curves.survival_at([1.9, 2, 4, 7, 99])[0], [1, *expected, expected[-1]], rtol=1e-14
    )
    np.testing.assert_allclose(curves.cumulative_hazard_at(99.0)[0, 0], 0.125 + 1.25 / 3 + 0.8, rtol=1e-14)


def test_fractional_events_are_what_coins_average_to() -> None:
    generator = np.random.default_rng(3)
    times = np.broadcast_to(np.sort(generator.exponential(size=400)), (2000, 400))
    probability = 1 / (1 + times)
    coins = kaplan_meier_curves(times, generator.random(times.shape) < probability).survival_at(
        [0.5, 1.0, 2.0]
    )
    exact = kaplan_meier_curves(times[:1], probability[:1]).survival_at([0.5, 1.0, 2.0])[0]
    # The product is multi-linear in the flags, so the coin average is unbiased for distinct times.
    error = coins.std(axis=0) / np.sqrt(len(coins))
    assert (np.abs(coins.mean(axis=0) - exact) < 4 * error).all()
    assert (error > 0).all()


def test_quantiles_equal_lifelines() -> None:
    times, events = tied_draws()
    # Off the multiples of 1/60, where rounding decides in lifelines; order statistics below test those.
    levels = np.array([0.107, 0.251, 0.508, 0.907])
    quantiles = kaplan_meier_curves(times, events).quantile(levels)
    for row in range(len(times)):
        fitter = KaplanMeierFitter().fit(times[row], events[row])
        expected = [qth_survival_time(1 - level, fitter.survival_function_) for level in levels]
        np.testing.assert_array_equal(quantiles[row], expected)
    assert np.isinf(quantiles).any()
    assert np.isfinite(quantiles).any()


def test_quantile_of_uncensored_draws_is_the_order_statistic() -> None:
    curves = kaplan_meier_curves([np.arange(1.0, 11.0)], np.ones((1, 10)))
    np.testing.assert_array_equal(curves.quantile(np.arange(11) / 10)[0], np.arange(11.0))


def test_quantile_levels_may_differ_by_row() -> None:
    times, events = tied_draws()
    curves = kaplan_meier_curves(times, events)
    levels = np.linspace(0.05, 0.6, len(times))
    np.testing.assert_array_equal(curves.quantile(levels[:, None])[:, 0], np.diag(curves.quantile(levels)))


def test_restricted_mean_equals_lifelines_and_is_exact() -> None:
    times, events = tied_draws()
    for horizon in (0.0, 3.5, 12.0, 24.0):
        mean = kaplan_meier_curves(times, events).restricted_mean(horizon)
        for row in range(len(times)):
            fitter = KaplanMeierFitter().fit(times[row], events[row])
            expected = restricted_mean_survival_time(fitter, t=horizon) if horizon else 0.0
            assert mean[row] == pytest.approx(expected, abs=1e-10)
    everyone = kaplan_meier_curves(times, np.ones_like(times))
    np.testing.assert_allclose(everyone.restricted_mean(100.0), times.mean(axis=1), rtol=1e-12)
    horizons = np.linspace(1, 20, len(times))
    np.testing.assert_allclose(
        everyone.restricted_mean(horizons), np.minimum(times, horizons[:, None]).mean(axis=1), rtol=1e-12
    )


def test_conditional_is_the_estimate_from_the_draws_beyond_the_start() -> None:
    times, events = tied_draws()
    start = 7.0
    curves = kaplan_meier_curves(times, events).conditional(start)
    grid = np.arange(26.0)
    for row in range(len(times)):
        later = times[row] > start
        expected = kaplan_meier_curves(times[row][None, later], events[row][None, later])
        np.testing.assert_allclose(curves.survival_at(grid)[row], expected.survival_at(grid)[0], atol=1e-12)
        np.testing.assert_allclose(
            curves.cumulative_hazard_at(grid)[row], expected.cumulative_hazard_at(grid)[0], atol=1e-12
        )
        np.testing.assert_array_equal(curves.quantile(0.3)[row], expected.quantile(0.3)[0])


def test_conditional_on_the_impossible_is_nan() -> None:
    curves = kaplan_meier_curves([[1.0, 2.0]], [[1, 1]]).conditional(3.0)
    for values in (curves.survival_at(4.0), curves.cumulative_hazard_at(4.0), curves.quantile([0.0, 0.5])):
        assert np.isnan(values).all()
    assert np.isnan(curves.restricted_mean(4.0)).all()


def test_beyond_the_last_draw_the_value_stays() -> None:
    curves = kaplan_meier_curves([[1.0, 2.0, 3.0]], [[1, 1, 0]])
    assert curves.survival_at(1e9)[0, 0] == pytest.approx(1 / 3)
    assert curves.restricted_mean(13.0)[0] == pytest.approx(1 + 2 / 3 + 11 / 3)


draw_tables = st.tuples(st.integers(1, 4), st.integers(1, 12)).flatmap(
    lambda shape: st.tuples(
        hnp.arrays(np.float64, shape, elements=st.integers(0, 6).map(float)),
        hnp.arrays(np.float64, shape, elements=st.floats(0, 1, width=32)),
        hnp.arrays(np.int64, shape, elements=st.integers(0, 3)),
    )
)


def assert_is_survival_curve(curves: KaplanMeierCurves) -> None:
    assert ((curves.survival >= 0) & (curves.survival <= 1)).all()
    assert (np.diff(curves.survival, axis=1, prepend=1.0) <= 0).all()
    assert (np.diff(curves.cumulative_hazard, axis=1, prepend=0.0) >= 0).all()


@settings(max_examples=60, deadline=None)
@given(draw_tables)
def test_curves_are_monotone_and_bounded(table: tuple[FloatArray, FloatArray, NDArray[np.int64]]) -> None:
    times, probability, weights = table
    assert_is_survival_curve(kaplan_meier_curves(times, probability, weights=weights))
    assert_is_survival_curve(kaplan_meier_curves(times, probability, weights=weights, of="censoring"))


@settings(max_examples=60, deadline=None)
@given(draw_tables)
def test_integer_weights_are_copies(table: tuple[FloatArray, FloatArray, NDArray[np.int64]]) -> None:
    times, probability, weights = table
    weights = np.maximum(weights, 1)
    weighted = kaplan_meier_curves(times, probability, weights=weights).survival_at(np.arange(8))
    for row in range(len(times)):
        copies = np.repeat(times[row], weights[row]), np.repeat(probability[row], weights[row])
        expected = kaplan_meier_curves(copies[0][None], copies[1][None]).survival_at(np.arange(8))
        np.testing.assert_allclose(weighted[row], expected[0], atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(draw_tables)
def test_order_of_draws_and_dead_weight_do_not_matter(
    table: tuple[FloatArray, FloatArray, NDArray[np.int64]],
) -> None:
    times, probability, weights = table
    grid = np.arange(8)
    expected = kaplan_meier_curves(times, probability, weights=weights).survival_at(grid)
    reverse = kaplan_meier_curves(times[:, ::-1], probability[:, ::-1], weights=weights[:, ::-1])
    np.testing.assert_allclose(reverse.survival_at(grid), expected, atol=1e-9)
    padded = kaplan_meier_curves(
        np.pad(times, ((0, 0), (0, 2)), constant_values=3.0),
        np.pad(probability, ((0, 0), (0, 2)), constant_values=1.0),
        weights=np.pad(weights, ((0, 0), (0, 2))),
    )
    np.testing.assert_allclose(padded.survival_at(grid), expected, atol=1e-9)


def test_last_events_bring_the_curve_to_zero_for_any_weights() -> None:
    generator = np.random.default_rng(4)
    times = generator.integers(0, 5, size=(200, 30)).astype(np.float64)
    curves = kaplan_meier_curves(times, np.ones_like(times), weights=generator.random(times.shape))
    assert (curves.survival[:, -1] == 0).all()


@pytest.mark.parametrize(
    ("times", "events", "weights", "message"),
    [
        ([1.0, 2.0], [1, 1], None, "times must have shape"),
        ([[1.0, 2.0]], [[1]], None, "events must have the shape"),
        ([[1.0, np.nan]], [[1, 0]], None, "times must be finite"),
        ([[1.0, -1.0]], [[1, 0]], None, "times must be finite"),
        ([[1.0, 2.0]], [[1, 2]], None, "probabilities"),
        ([[1.0, 2.0]], [[1, 1]], [1.0], "weights must have shape"),
        ([[1.0, 2.0]], [[1, 1]], [1.0, -1.0], "weights must be finite"),
    ],
)
def test_refuses_bad_draws(times: object, events: object, weights: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kaplan_meier_curves(times, events, weights=weights)  # type: ignore[arg-type]


def test_refuses_bad_queries() -> None:
    curves = kaplan_meier_curves([[1.0, 2.0]], [[1, 1]])
    with pytest.raises(ValueError, match="levels must lie"):
        curves.quantile(1.5)
    with pytest.raises(ValueError, match="horizon"):
        curves.restricted_mean(-1.0)
    with pytest.raises(ValueError, match="times must have shape"):
        curves.survival_at(np.ones((3, 2)))


def test_a_thousand_patients_take_a_fraction_of_a_second() -> None:
    generator = np.random.default_rng(5)
    times = generator.exponential(size=(1000, 256))
    probability, grid = generator.random(times.shape), np.linspace(0, 4, 500)
    seconds = []
    for _ in range(3):
        begin = clock.process_time()
        kaplan_meier_curves(times, probability).survival_at(grid)
        seconds.append(clock.process_time() - begin)
    # Processor seconds of the best of three; a loop over patients takes several times as long.
    assert min(seconds) < 0.3
