r"""Does the generator make cohorts like the observed one? Four checks, each with a verdict in plain words.

One observation (T, E) is drawn for every row, so the generated cohort is as large as the observed one and
has the same patients in it. Then

=========================  =====================================  ====================  ====================
check                      what is compared                       as expected           questionable
=========================  =====================================  ====================  ====================
event rate                 share of events, generated - observed  ``<= max(.05, 2s)``   ``<= max(.1, 3s)``
cohort survival            largest gap of the Kaplan-Meier        ``<= max(.05, 3s)``   ``<= max(.1, 4s)``
                           curves
D-calibration              p-value of the predicted curves        ``>= .05``            ``>= .01``
times beyond the observed  share of generated times later than    ``<= .01``            ``<= .05``
                           any observed one
=========================  =====================================  ====================  ====================

and a failed check beyond that. s is the standard error of the difference, so that a small cohort is not
blamed for chance; the report says when s rather than the fixed bound decided, since then a real difference
could have been missed. The gap is looked for where at least a tenth of the rows of either cohort is still
at risk; 3 standard errors are close to the 95 % point of the largest of all gaps in such a range (Nair,
*Confidence bands for survival functions with censored data*, Technometrics 26 (1984)).

The checks look at the cohort as a whole. A model that gives every patient the cohort's own curve passes them
all: they say whether the generated world is plausible, not whether patients are told apart.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from textwrap import fill
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .calibration import DCalibration, d_calibration
from .cohort import CohortCurve, cohort_curve
from .targets import SurvivalTarget, survival_target

__all__ = ["Finding", "SelfCheck", "Verdict", "check_draws", "self_check", "survival_at_own_time"]

FloatArray = NDArray[np.float64]
Verdict = Literal["as expected", "questionable", "failed"]

_EVENT_RATE = ((0.05, 2.0), (0.10, 3.0))
_GAP = ((0.05, 3.0), (0.10, 4.0))
_P_VALUE = (0.05, 0.01)
_BEYOND = (0.01, 0.05)
_LEAST_AT_RISK = 0.1
_ROWS_AT_ONCE = 512


@dataclass(frozen=True)
class Finding:
    """Result of one check.

    Attributes
    ----------
    name : str
        What was checked.
    verdict : {"as expected", "questionable", "failed"}
        By the thresholds of the module's table.
    text : str
        The numbers, in a sentence.
    """

    name: str
    verdict: Verdict
    text: str

    def __str__(self) -> str:
        """Return verdict, name and sentence."""
        return fill(f"[{self.verdict}] {self.name}: {self.text}", 96, subsequent_indent="    ")


@dataclass(frozen=True, eq=False)
class SelfCheck:
    """What `self_check` found.

    Attributes
    ----------
    n_rows : int
        Rows that were checked.
    observed, generated : CohortCurve
        Kaplan-Meier curves of the two cohorts.
    observed_event_rate, generated_event_rate : float
        Shares of events.
    largest_gap, gap_time : float
        Largest distance of the curves, and the time at which it was found.
    d_calibration : DCalibration
        Of the predicted curves at the observed times.
    share_beyond : float
        Share of generated times later than any observed one.
    findings : tuple of Finding
        One verdict a check.
    """

    n_rows: int
    observed: CohortCurve
    generated: CohortCurve
    observed_event_rate: float
    generated_event_rate: float
    largest_gap: float
    gap_time: float
    d_calibration: DCalibration
    share_beyond: float
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of all checks."""
        order: tuple[Verdict, ...] = ("as expected", "questionable", "failed")
        return max((finding.verdict for finding in self.findings), key=order.index)

    @property
    def passed(self) -> bool:
        """Whether every check came out as expected."""
        return self.verdict == "as expected"

    def __str__(self) -> str:
        """Return a headline and one paragraph a check."""
        headline = f"Self-check on {self.n_rows} rows: {self.verdict}"
        return "\n".join([headline, *(str(finding) for finding in self.findings)])


def self_check(
    estimator: Any, X: Any, y: Any, E: ArrayLike | None = None, *, random_state: Any = 0
) -> SelfCheck:
    """Compare a cohort that the model generates with the observed one.

    Parameters
    ----------
    estimator : SDPMSurvival
        Fitted.
    X : array-like or DataFrame of shape (n, n_features)
        Covariates. Rows that the model was not fitted on make the checks honest; on its own training rows
        they come out too well.
    y, E
        Observed target of these rows, in any form that `SDPMSurvival.fit` takes.
    random_state : int, RandomState or None, default 0
        Of the generated cohort: one draw a row.

    Returns
    -------
    SelfCheck
        Numbers and verdicts; ``print`` shows them in words.

    Raises
    ------
    ValueError
        If X and the target do not have equally many rows, or the target cannot be used.
    """
    target = survival_target(y, E, n_rows=len(X))
    with warnings.catch_warnings():
        # The check reports times beyond the observed range itself.
        warnings.filterwarnings("ignore", message=".*of the generated times lie beyond", category=UserWarning)
        times, events = estimator.sample(X, 1, random_state=random_state)

        def survival(rows: slice, at: FloatArray) -> FloatArray:
            part = X.iloc[rows] if hasattr(X, "iloc") else X[rows]
            table: FloatArray = estimator.predict_survival_function(part, return_array=True, times=at)
            return table

        own = survival_at_own_time(survival, target.time)
    longest = max(float(estimator.unique_times_[-1]), float(target.time.max()))
    return check_draws(target, SurvivalTarget(times[:, 0], events[:, 0]), own, longest_time=longest)


def survival_at_own_time(
    survival: Callable[[slice, FloatArray], FloatArray], times: FloatArray
) -> FloatArray:
    """Evaluate each row's curve at the row's own time, in blocks so that the tables stay small.

    Parameters
    ----------
    survival : callable
        ``survival(rows, times)`` gives S(t | x) of a slice of rows, shape (rows, times).
    times : ndarray of shape (n,)
        One time a row.

    Returns
    -------
    ndarray of shape (n,)
        In [0, 1].
    """
    own = np.empty(len(times))
    for start in range(0, len(times), _ROWS_AT_ONCE):
        rows = slice(start, min(start + _ROWS_AT_ONCE, len(times)))
        distinct, place = np.unique(times[rows], return_inverse=True)
        with warnings.catch_warnings():
            # A held-out row may be followed longer than any training row.
            warnings.filterwarnings("ignore", message=".*continued beyond it", category=UserWarning)
            table = survival(rows, distinct)
        own[rows] = np.take_along_axis(table, place.reshape(-1, 1), axis=1)[:, 0]
    return own


def check_draws(
    observed: SurvivalTarget,
    generated: SurvivalTarget,
    survival_at_observed_time: ArrayLike,
    *,
    longest_time: float | None = None,
) -> SelfCheck:
    """Compare generated observations with observed ones.

    Parameters
    ----------
    observed : SurvivalTarget of n rows
        What happened.
    generated : SurvivalTarget of n rows
        One draw a row.
    survival_at_observed_time : array-like of shape (n,)
        Predicted S(t_i | x_i) at each row's observed time.
    longest_time : float, optional
        End of the follow-up on which the model was fitted; the longest observed time by default.

    Returns
    -------
    SelfCheck
        Numbers and verdicts.

    Raises
    ------
    ValueError
        If the lengths differ.
    """
    if len(observed) != len(generated):
        raise ValueError(
            f"observed and generated must have equally many rows, got {len(observed)} and {len(generated)}"
        )
    curves = cohort_curve(observed), cohort_curve(generated)
    rates = float(observed.event.mean()), float(generated.event.mean())
    gap, gap_time, gap_error = _largest_gap(*curves)
    calibration = d_calibration(survival_at_observed_time, observed.event)
    longest = float(observed.time.max()) if longest_time is None else longest_time
    beyond = float((generated.time > longest).mean())
    findings = (
        _event_rate(*rates, len(observed)),
        _cohort_survival(gap, gap_time, gap_error),
        _d_calibration(calibration),
        _beyond(beyond, longest),
    )
    return SelfCheck(len(observed), *curves, *rates, gap, gap_time, calibration, beyond, findings)


def _largest_gap(observed: CohortCurve, generated: CohortCurve) -> tuple[float, float, float]:
    """Return the largest gap, its time, and the standard error of the difference there."""
    times = np.union1d(observed.times, generated.times)
    enough = np.ones(len(times), dtype=np.bool_)
    for curve in (observed, generated):
        enough &= curve.at_risk_at(times) >= _LEAST_AT_RISK * curve.at_risk[0]
    times = times[enough]
    gaps = np.abs(generated.survival_at(times) - observed.survival_at(times))
    worst = int(np.argmax(gaps))
    first, second = (float(curve.standard_error_at(times[worst])) for curve in (observed, generated))
    return float(gaps[worst]), float(times[worst]), float(np.hypot(first, second))


def _grade(
    value: float, error: float, bounds: tuple[tuple[float, float], tuple[float, float]]
) -> tuple[Verdict, str]:
    """Grade a distance by fixed bounds or multiples of its standard error, whichever is larger."""
    (fixed, factor), (far, far_factor) = bounds
    if value <= max(fixed, factor * error):
        doubt = f" A cohort of this size cannot show a difference below {factor * error:.2f}."
        return "as expected", doubt if factor * error > far else ""
    return ("questionable" if value <= max(far, far_factor * error) else "failed"), ""


def _event_rate(observed: float, generated: float, n_rows: int) -> Finding:
    error = np.sqrt((observed * (1.0 - observed) + generated * (1.0 - generated)) / n_rows)
    verdict, doubt = _grade(abs(generated - observed), error, _EVENT_RATE)
    text = (
        f"{generated:.1%} of the generated rows are events, {observed:.1%} of the observed ones "
        f"(standard error of the difference {100 * error:.1f} percentage points).{doubt}"
    )
    return Finding("event rate", verdict, text)


def _cohort_survival(gap: float, time: float, error: float) -> Finding:
    verdict, doubt = _grade(gap, error, _GAP)
    text = (
        f"the Kaplan-Meier curves of the generated and the observed cohort are at most {gap:.3f} apart, at "
        f"time {time:.4g} (standard error there {error:.3f}).{doubt}"
    )
    return Finding("cohort survival", verdict, text)


def _d_calibration(result: DCalibration) -> Finding:
    good, bad = _P_VALUE
    verdict: Verdict = (
        "as expected" if result.p_value >= good else "questionable" if result.p_value >= bad else "failed"
    )
    says = "do not contradict" if verdict == "as expected" else "contradict"
    text = (
        f"the observed times {says} the predicted probabilities (chi-square {result.statistic:.1f} with "
        f"{result.degrees_of_freedom} degrees of freedom, p = {_p_text(result.p_value)})."
    )
    return Finding("D-calibration", verdict, text)


def _beyond(share: float, longest: float) -> Finding:
    good, bad = _BEYOND
    verdict: Verdict = "as expected" if share <= good else "questionable" if share <= bad else "failed"
    amount = "no" if share == 0.0 else f"{share:.1%} of the"
    return Finding(
        "times beyond the observed",
        verdict,
        f"{amount} generated times are later than the longest observed time {longest:.6g}.",
    )


def _p_text(p_value: float) -> str:
    return "below 0.0001" if p_value < 1e-4 else f"{p_value:.2g}"
