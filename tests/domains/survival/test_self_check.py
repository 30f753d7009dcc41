"""The self-check: what it measures, and that planted faults are found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sciffusion.domains.survival import SDPMSurvival
from sciffusion.domains.survival.calibration import d_calibration
from sciffusion.domains.survival.self_check import SelfCheck, check_draws, self_check, survival_at_own_time
from sciffusion.domains.survival.targets import SurvivalTarget


def cohort(n_rows: int, seed: int, *, rate: float = 0.1, censoring: float = 0.06) -> SurvivalTarget:
    rng = np.random.default_rng(seed)
    events, ends = rng.exponential(1.0 / rate, n_rows), rng.exponential(1.0 / censoring, n_rows)
    return SurvivalTarget(np.minimum(events, ends), events <= ends)


def true_survival(target: SurvivalTarget) -> np.ndarray:
    return np.exp(-0.1 * target.time)


def verdicts(check: SelfCheck) -> dict[str, str]:
    return {finding.name: finding.verdict for finding in check.findings}


def test_a_perfect_generator_passes() -> None:
    observed = cohort(1500, 0)
    check = check_draws(observed, cohort(1500, 1), true_survival(observed), longest_time=1e3)
    assert check.passed
    assert check.verdict == "as expected"
    assert set(verdicts(check).values()) == {"as expected"}


def test_the_observed_cohort_itself_has_no_gap() -> None:
    observed = cohort(200, 0)
    check = check_draws(observed, observed, true_survival(observed))
    assert check.largest_gap == 0.0
    assert check.generated_event_rate == check.observed_event_rate == observed.event.mean()
    assert check.share_beyond == 0.0


def test_a_wrong_event_rate_is_found() -> None:
    observed, other = cohort(1500, 0), cohort(1500, 1)
    flipped = SurvivalTarget(other.time, ~other.event)
    check = check_draws(observed, flipped, true_survival(observed), longest_time=1e3)
    assert verdicts(check)["event rate"] == "failed"
    assert check.verdict == "failed"
    assert not check.passed


def test_wrong_times_are_found_with_the_size_of_the_gap() -> None:
    observed = cohort(4000, 0)
    # Twice the hazard: the largest gap of exp(-.1 t) and exp(-.2 t) is 1/4, at t = 10 ln 2.
    twice = cohort(4000, 1, rate=0.2, censoring=0.03)
    check = check_draws(observed, twice, true_survival(observed), longest_time=1e3)
    assert verdicts(check)["cohort survival"] == "failed"
    assert check.largest_gap == pytest.approx(0.25, abs=0.04)
    assert check.gap_time == pytest.approx(10.0 * np.log(2.0), abs=4.0)


def test_miscalibrated_curves_are_found() -> None:
    observed = cohort(1500, 0)
    check = check_draws(observed, cohort(1500, 1), true_survival(observed) ** 2, longest_time=1e3)
    assert verdicts(check)["D-calibration"] == "failed"
    assert "contradict the predicted" in str(check)
    assert "do not contradict" not in str(check)


@pytest.mark.parametrize(
    ("share", "verdict"), [(0.0, "as expected"), (0.03, "questionable"), (0.2, "failed")]
)
def test_times_beyond_the_observed_are_counted(share: float, verdict: str) -> None:
    observed = cohort(1000, 0)
    times = observed.time.copy()
    times[: int(1000 * share)] = 2.0 * times.max()
    check = check_draws(observed, SurvivalTarget(times, observed.event), true_survival(observed))
    assert check.share_beyond == share
    assert verdicts(check)["times beyond the observed"] == verdict


def test_a_small_cohort_is_not_blamed_for_chance_and_says_what_it_cannot_show() -> None:
    observed = SurvivalTarget(np.arange(1.0, 21.0), np.arange(20) % 2 == 0)
    generated = SurvivalTarget(observed.time, np.arange(20) % 10 < 7)  # 70 % events instead of 50 %
    check = check_draws(observed, generated, np.linspace(0.975, 0.025, 20))
    assert verdicts(check)["event rate"] == "as expected"
    assert "cannot show a difference below 0.30" in " ".join(str(check).split())


def test_the_curve_at_the_own_time_is_read_in_blocks() -> None:
    times = np.random.default_rng(0).integers(1, 40, 1300).astype(float)
    rates = np.linspace(0.01, 0.2, 1300)
    widest = []

    def survival(rows: slice, at: np.ndarray) -> np.ndarray:
        widest.append(rows.stop - rows.start)
        return np.exp(-np.outer(rates[rows], at))

    np.testing.assert_allclose(survival_at_own_time(survival, times), np.exp(-rates * times))
    assert len(widest) == 3
    assert max(widest) < 1300


def test_a_fitted_model_is_checked_by_its_own_draws(fitted: SDPMSurvival, study: Any) -> None:
    check = self_check(fitted, study.X, study.y, random_state=3)
    times, events = fitted.sample(study.X, 1, random_state=3)
    assert check.generated_event_rate == events.mean()
    assert check.generated.times[-1] == times.max()
    own = [float(fitted.predict_survival_function(study.X[k : k + 1])[0](study.T[k])) for k in range(4)]
    table = fitted.predict_survival_function(study.X, return_array=True, times=study.T)
    np.testing.assert_allclose(np.diagonal(table)[:4], own)
    assert check.d_calibration.p_value == pytest.approx(d_calibration(np.diagonal(table), study.E).p_value)
    assert str(check) == str(self_check(fitted, study.X, study.T, study.E, random_state=3))
    assert str(check).startswith("Self-check on 160 rows: ")


def test_unequal_lengths_are_refused(fitted: SDPMSurvival, study: Any) -> None:
    with pytest.raises(ValueError, match="equally many rows"):
        self_check(fitted, study.X, study.y[:-1])
    with pytest.raises(ValueError, match="equally many rows, got 5 and 6"):
        check_draws(cohort(5, 0), cohort(6, 0), np.full(5, 0.5))
