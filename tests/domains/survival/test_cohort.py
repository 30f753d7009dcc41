"""Kaplan-Meier curves of cohorts, against lifelines."""

from __future__ import annotations

import numpy as np
import pytest

from sciffusion.domains.survival.cohort import cohort_curve


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_estimate_and_band_are_those_of_lifelines(level: float) -> None:
    lifelines = pytest.importorskip("lifelines")
    rng = np.random.default_rng(0)
    times, events = np.ceil(rng.exponential(10.0, 150)), rng.random(150) < 0.6  # with ties
    curve = cohort_curve(times, events, level=level)
    fitted = lifelines.KaplanMeierFitter(alpha=1.0 - level).fit(times, events)
    peer = fitted.survival_function_.join(fitted.confidence_interval_).loc[curve.times].to_numpy()
    table = fitted.event_table.loc[curve.times]
    alive = (curve.survival > 0) & (curve.survival < 1)
    assert alive.sum() > 20
    np.testing.assert_allclose(curve.survival, peer[:, 0], atol=1e-12)
    np.testing.assert_allclose(curve.lower[alive], peer[alive, 1], atol=1e-10)
    np.testing.assert_allclose(curve.upper[alive], peer[alive, 2], atol=1e-10)
    np.testing.assert_array_equal(curve.at_risk, table["at_risk"])


def test_the_standard_error_without_censoring_is_binomial() -> None:
    curve = cohort_curve(np.arange(1.0, 41.0), np.ones(40, dtype=bool))
    share = 1.0 - np.arange(1, 41) / 40
    np.testing.assert_allclose(curve.standard_error, np.sqrt(share * (1 - share) / 40), atol=1e-12)


def test_evaluation_between_and_beyond_the_times() -> None:
    curve = cohort_curve(np.array([2.0, 4.0, 4.0, 6.0]), np.array([True, True, False, False]))
    np.testing.assert_allclose(curve.survival_at([0.0, 2.0, 3.9, 4.0, 99.0]), [1.0, 0.75, 0.75, 0.5, 0.5])
    np.testing.assert_array_equal(curve.at_risk_at([0.0, 2.0, 2.1, 4.0, 4.1, 6.1]), [4, 4, 3, 3, 1, 0])
    low, high = curve.band_at([1.0, 4.0])
    assert low[0] == high[0] == 1.0
    assert 0.0 < low[1] < 0.5 < high[1] < 1.0
    assert curve.standard_error_at(1.0) == 0.0


def test_a_level_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match="level"):
        cohort_curve(np.array([1.0, 2.0]), np.array([True, False]), level=1.0)
