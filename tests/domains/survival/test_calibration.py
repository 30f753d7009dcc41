"""Calibration checks: by hand, uniform p-values under the truth, and rejection of a wrong model."""

from __future__ import annotations

import numpy as np
import pytest
from lifelines import KaplanMeierFitter
from numpy.typing import NDArray
from scipy.stats import chi2

from sciffusion.domains.survival.calibration import (
    d_calibration,
    event_rate_check,
    km_calibration,
    one_calibration,
)
from sciffusion.domains.survival.step_functions import step_functions
from sciffusion.domains.survival.targets import SurvivalTarget, make_survival_target

FloatArray = NDArray[np.float64]


def cohort(seed: int, n: int = 1000, censored: bool = True) -> tuple[SurvivalTarget, FloatArray]:
    """Exponential event times with known rates; uniform censoring."""
    generator = np.random.default_rng(seed)
    rate = np.exp(generator.normal(scale=0.7, size=n))
    event_time = generator.exponential(1 / rate)
    censoring = generator.uniform(0.3, 3, size=n) if censored else np.full(n, np.inf)
    return SurvivalTarget(np.minimum(event_time, censoring), event_time <= censoring), rate


def test_d_calibration_by_hand() -> None:
    # Four bins. Events at .1, .3, .5 (an edge: upper bin), 1.0 (last bin). Censored at .5: half to each of
    # the two lower bins. Censored at .6: 5/12 to each of these, the rest (.1/.6) to the third. Censored at 0.
    result = d_calibration([0.1, 0.3, 0.5, 1.0, 0.5, 0.6, 0.0], [1, 1, 1, 1, 0, 0, 0], bins=4)
    counts = np.array([1 + 0.5 + 5 / 12 + 1, 1 + 0.5 + 5 / 12, 1 + 1 / 6, 1])
    np.testing.assert_allclose(result.bin_shares, counts / 7, rtol=1e-12)
    statistic = np.sum((counts - 7 / 4) ** 2 / (7 / 4))
    assert result.statistic == pytest.approx(statistic)
    assert result.p_value == pytest.approx(chi2.sf(statistic, 3))
    assert result.degrees_of_freedom == 3


@pytest.mark.parametrize("bins", [2, 5, 10, 20])
def test_d_calibration_shares_sum_to_one(bins: int) -> None:
    target, rate = cohort(0)
    shares = d_calibration(np.exp(-rate * target.time), target.event, bins).bin_shares
    assert shares.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(shares, 1 / bins, atol=0.05)


def test_d_calibration_rejects_at_its_level_and_conservatively_under_censoring() -> None:
    p_values = {True: np.empty(400), False: np.empty(400)}
    for censored, values in p_values.items():
        for seed in range(400):
            target, rate = cohort(seed, 300, censored)
            values[seed] = d_calibration(np.exp(-rate * target.time), target.event).p_value
    assert 0.025 < np.mean(p_values[False] < 0.05) < 0.08
    assert np.abs(np.sort(p_values[False]) - np.arange(0.5, 400) / 400).max() < 0.07
    assert np.mean(p_values[True] < 0.05) < 0.05


def test_d_calibration_rejects_a_wrong_model() -> None:
    target, rate = cohort(0)
    late = d_calibration(np.exp(-0.6 * rate * target.time), target.event)
    assert late.p_value < 1e-6
    # Predicted to live longer than they do: deaths fall into the upper bins.
    assert late.bin_shares[-1] > 0.13


def test_km_calibration_of_the_kaplan_meier_curve_itself_is_perfect() -> None:
    target, rate = cohort(0)
    times = np.linspace(0.1, 2, 30)
    km = KaplanMeierFitter().fit(target.time, target.event).predict(times).to_numpy()
    result = km_calibration(np.tile(km, (len(target), 1)), target.structured(), times)
    np.testing.assert_allclose(result.observed, km, rtol=1e-12)
    assert result.integrated_squared_difference == pytest.approx(0, abs=1e-24)
    assert result.largest_difference == pytest.approx(0, abs=1e-12)
    shifted = km_calibration(np.tile(km - 0.1, (len(target), 1)), target, times)
    assert shifted.integrated_squared_difference == pytest.approx(0.01)
    assert shifted.largest_difference == pytest.approx(0.1)
    truth = km_calibration(np.exp(-rate[:, None] * times), target, times)
    assert truth.largest_difference < 0.05
    functions = step_functions(times, np.exp(-rate[:, None] * times))
    np.testing.assert_array_equal(km_calibration(functions, target, times).predicted, truth.predicted)


def test_one_calibration_groups_equal_lifelines() -> None:
    target, rate = cohort(0)
    result = one_calibration(np.exp(-rate), target, 1.0)
    order = np.argsort(np.exp(-rate))
    statistic = 0.0
    for group, rows in enumerate(np.split(order, 10)):
        fitter = KaplanMeierFitter().fit(target.time[rows], target.event[rows])
        table = fitter.event_table.loc[:1.0]
        greenwood = fitter.predict(1.0) ** 2 * np.sum(
            table["observed"] / (table["at_risk"] * (table["at_risk"] - table["observed"]))
        )
        assert result.observed[group] == pytest.approx(fitter.predict(1.0))
        assert result.predicted[group] == pytest.approx(np.exp(-rate)[rows].mean())
        statistic += (fitter.predict(1.0) - np.exp(-rate)[rows].mean()) ** 2 / greenwood
    assert result.statistic == pytest.approx(statistic)
    assert result.degrees_of_freedom == 10
    np.testing.assert_array_equal(result.counts, 100)


def test_one_calibration_rejects_near_its_level_and_a_wrong_model_always() -> None:
    p_values, wrong = np.empty(300), np.empty(300)
    for seed in range(300):
        target, rate = cohort(seed, 2000)
        p_values[seed] = one_calibration(np.exp(-rate * 0.7), target, 0.7, groups=8).p_value
        wrong[seed] = one_calibration(np.exp(-rate * 0.55), target, 0.7, groups=8).p_value
    assert 0.02 < np.mean(p_values < 0.05) < 0.09
    assert np.mean(wrong < 0.05) > 0.99


def test_one_calibration_leaves_out_groups_without_follow_up() -> None:
    time = np.array([1.0, 2.0, 2.0, 2.0, 5.0, 6.0, 7.0, 8.0])
    y = make_survival_target(time, [1, 0, 0, 0, 1, 0, 1, 0])
    result = one_calibration(np.linspace(0.1, 0.8, 8), y, 4.0, groups=2)
    np.testing.assert_array_equal(np.isnan(result.observed), [True, False])
    assert result.degrees_of_freedom == 1
    # Nobody died in the second group before 4: Greenwood is 0 and the binomial variance stands in.
    assert result.observed[1] == 1.0
    assert result.statistic == pytest.approx(0.35**2 / (0.65 * 0.35 / 4))


def test_event_rate_is_compared_in_standard_errors() -> None:
    generator = np.random.default_rng(0)
    probability = generator.random(2000)
    scores = np.array([
        event_rate_check(probability, generator.random(2000) < probability).z_score for _ in range(1000)
    ])  # fmt: skip
    assert np.abs(scores.mean()) < 0.1
    assert scores.std() == pytest.approx(1.0, abs=0.08)
    result = event_rate_check(np.full((4, 10), 0.75), [1, 1, 0, 0])
    assert (result.observed, result.generated, result.difference) == (0.5, 0.75, 0.25)
    assert result.z_score == pytest.approx(0.25 / np.sqrt(0.75 * 0.25 / 4))
    assert event_rate_check(np.ones(3), make_survival_target([1, 2, 3], [1, 1, 1])).z_score == 0
    assert event_rate_check(np.ones(3), [True, True, False]).z_score == np.inf


def test_refuses_bad_arguments() -> None:
    target, rate = cohort(0, 20)
    with pytest.raises(ValueError, match="must lie in"):
        d_calibration([1.2], [1])
    with pytest.raises(ValueError, match="equally long"):
        d_calibration([0.2, 0.3], [1])
    with pytest.raises(ValueError, match="bins"):
        d_calibration([0.2, 0.3], [1, 0], bins=1)
    with pytest.raises(ValueError, match="last observed time"):
        km_calibration(np.ones((20, 2)), target, [1.0, 99.0])
    with pytest.raises(ValueError, match="survival must have shape"):
        km_calibration(np.ones((20, 3)), target, [0.1, 0.2])
    with pytest.raises(ValueError, match="groups"):
        one_calibration(np.exp(-rate), target, 0.5, groups=21)
    with pytest.raises(ValueError, match="event_probability must have shape"):
        event_rate_check(rate[:5] * 0, target)
