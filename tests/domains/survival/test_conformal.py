"""Lower bounds keep their promise on simulated rows, where the uncensored truth is known."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from sciffusion.domains.survival.conformal import calibrated_level, calibrated_offset, resolve_at_horizon
from sciffusion.domains.survival.targets import SurvivalTarget

FloatArray = NDArray[np.float64]
ALPHA, HORIZON = 0.1, 4.0


class Rows(NamedTuple):
    x: FloatArray
    event_time: FloatArray
    target: SurvivalTarget


def draw(generator: np.random.Generator, n: int) -> Rows:
    """Rows with small x are censored most, and it is they to whom the model below promises too much."""
    x = generator.random(n)
    event_time = np.exp(true_median(x) + 0.3 * generator.normal(size=n))
    censoring = generator.exponential(censoring_scale(x))
    target = SurvivalTarget(np.minimum(event_time, censoring), event_time <= censoring)
    return Rows(x, event_time, target)


def true_median(x: FloatArray) -> FloatArray:
    return 1.0 - 0.8 * x


def censoring_scale(x: FloatArray) -> FloatArray:
    scale: FloatArray = 2.0 + 20.0 * x**2
    return scale


def censoring_survival(time: FloatArray | float, x: FloatArray) -> FloatArray:
    survival: FloatArray = np.exp(-time / censoring_scale(x))
    return survival


# The model: lognormal, too wide, its median right at x = 1 and more than twice too late at x = 0.
def model_median(x: FloatArray) -> FloatArray:
    return 1.8 - 1.6 * x


def model_spread(x: FloatArray) -> FloatArray:
    return 0.35 + 0.3 * x


def model_survival(time: FloatArray, x: FloatArray) -> FloatArray:
    return np.asarray(norm.sf((np.log(time) - model_median(x)) / model_spread(x)))


def model_quantile(level: FloatArray, x: FloatArray) -> FloatArray:
    return np.asarray(np.exp(model_median(x) + model_spread(x) * norm.ppf(level)))


def coverages(n_calibration: int, repetitions: int, weighting: str, method: str = "level") -> FloatArray:
    """Give the share of true event times at or above their bound, one value a repetition."""
    generator = np.random.default_rng(0)
    shares = np.empty(repetitions)
    for repetition in range(repetitions):
        rows, test = draw(generator, n_calibration), draw(generator, 200)
        time, resolved = _calibration_times(rows, weighting)
        weights = censoring_survival(time, rows.x) if weighting == "ipcw" else np.ones_like(time)
        test_weights = censoring_survival(HORIZON, test.x) if weighting == "ipcw" else np.ones(200)
        if method == "level":
            survival = model_survival(time, rows.x)
            level = calibrated_level(
                survival, resolved, weights, alpha=ALPHA, test_censoring_survival=test_weights
            )
            bound = model_quantile(level, test.x)
        else:
            offset = calibrated_offset(
                model_median(rows.x), np.log(time), resolved, weights,
                alpha=ALPHA, test_censoring_survival=test_weights,
            )  # fmt: skip
            bound = np.exp(model_median(test.x) + offset)
        shares[repetition] = np.mean(test.event_time >= np.minimum(bound, HORIZON))
    return shares


def _calibration_times(rows: Rows, weighting: str) -> tuple[FloatArray, NDArray[np.bool_]]:
    if weighting == "censored as events":
        return np.minimum(rows.target.time, HORIZON), np.ones(len(rows.x), dtype=bool)
    known = resolve_at_horizon(rows.target, HORIZON)
    return known.time, known.resolved


@pytest.mark.parametrize("method", ["level", "offset"])
@pytest.mark.parametrize("n_calibration", [60, 300])
def test_coverage_is_nominal_under_covariate_dependent_censoring(n_calibration: int, method: str) -> None:
    shares = coverages(n_calibration, 800, "ipcw", method)
    error = shares.std() / np.sqrt(len(shares))
    assert error < 0.003
    assert shares.mean() >= 1 - ALPHA - 3 * error
    # Not bought by triviality: the excess is that of the largest test weight among n rows.
    assert shares.mean() <= 1 - ALPHA + 5.0 / n_calibration + 3 * error


def test_forgetting_the_weights_or_the_censoring_breaks_the_promise() -> None:
    # The same simulation must expose both errors, or the coverage above would prove little.
    unweighted = coverages(300, 400, "none")
    assert unweighted.mean() + 4 * unweighted.std() / 20 < 1 - ALPHA
    assert coverages(300, 200, "censored as events").mean() > 1 - ALPHA + 5.0 / 300
    uncalibrated = draw(np.random.default_rng(1), 20000)
    bound = model_quantile(np.full(20000, ALPHA), uncalibrated.x)
    assert np.mean(uncalibrated.event_time >= bound) < 1 - ALPHA - 0.05


def test_a_perfect_model_gets_back_its_own_level() -> None:
    rows = draw(np.random.default_rng(2), 200_000)
    known = resolve_at_horizon(rows.target, HORIZON)
    survival = norm.sf((np.log(known.time) - true_median(rows.x)) / 0.3)
    level = calibrated_level(
        survival,
        known.resolved,
        censoring_survival(known.time, rows.x),
        alpha=ALPHA,
        test_censoring_survival=0.1,
    )
    assert level == pytest.approx([ALPHA], abs=0.003)


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.25])
@pytest.mark.parametrize("n", [3, 19, 20, 99])
def test_without_censoring_it_is_the_order_statistic_of_split_conformal(n: int, alpha: float) -> None:
    scores = np.random.default_rng(3).permutation(np.arange(1, n + 1) / (n + 1))
    ones = np.ones(n)
    level = calibrated_level(1 - scores, ones.astype(bool), ones, alpha=alpha, test_censoring_survival=1.0)
    rank = int(np.floor(alpha * (n + 1) + 1e-9))
    assert level[0] == pytest.approx(rank / (n + 1), abs=1e-12)


def test_weights_count_like_copies() -> None:
    generator = np.random.default_rng(4)
    scores, copies = generator.random(40), generator.integers(1, 5, size=40)
    weighted = calibrated_offset(
        np.zeros(40),
        scores,
        np.ones(40, dtype=bool),
        1 / copies,
        alpha=0.2,
        test_censoring_survival=[1.0, 0.2],
    )
    repeated = np.repeat(scores, copies)
    n = len(repeated)
    copied = calibrated_offset(
        np.zeros(n),
        repeated,
        np.ones(n, dtype=bool),
        np.ones(n),
        alpha=0.2,
        test_censoring_survival=[1.0, 0.2],
    )
    np.testing.assert_array_equal(weighted, copied)
    assert weighted[1] <= weighted[0]


def test_too_few_rows_promise_nothing() -> None:
    none = np.zeros(5, dtype=bool)
    assert calibrated_level(np.ones(5), none, np.ones(5), alpha=0.1, test_censoring_survival=1.0)[0] == 0
    offset = calibrated_offset(
        np.ones(5), np.ones(5), ~none, np.ones(5), alpha=0.1, test_censoring_survival=1.0
    )
    assert offset[0] == -np.inf


def test_resolves_events_and_rows_followed_to_the_horizon() -> None:
    target = SurvivalTarget(np.array([1.0, 2.0, 4.0, 6.0, 9.0]), np.array([True, False, False, True, False]))
    known = resolve_at_horizon(target, 4.0)
    np.testing.assert_array_equal(known.time, [1, 2, 4, 4, 4])
    np.testing.assert_array_equal(known.resolved, [True, False, True, True, True])


def test_refuses_bad_arguments() -> None:
    ones, yes = np.ones(4), np.ones(4, dtype=bool)
    with pytest.raises(ValueError, match="earlier horizon"):
        calibrated_level(ones, yes, [1, 1, 0, 1], alpha=0.1, test_censoring_survival=1.0)
    with pytest.raises(ValueError, match="test_censoring_survival"):
        calibrated_level(ones, yes, ones, alpha=0.1, test_censoring_survival=0.0)
    with pytest.raises(ValueError, match="alpha"):
        calibrated_level(ones, yes, ones, alpha=1.0, test_censoring_survival=1.0)
    with pytest.raises(ValueError, match="survival_at_time must lie"):
        calibrated_level(2 * ones, yes, ones, alpha=0.1, test_censoring_survival=1.0)
    with pytest.raises(ValueError, match="shape of resolved"):
        calibrated_level(ones[:3], yes, ones, alpha=0.1, test_censoring_survival=1.0)
    with pytest.raises(ValueError, match="horizon"):
        resolve_at_horizon(SurvivalTarget(ones, yes), 0.0)
