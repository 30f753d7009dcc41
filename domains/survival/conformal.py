r"""Conformal lower bounds on event times from right-censored calibration rows.

A lower bound L(x) with :math:`P(T \ge L(X)) \ge 1 - \alpha`, whatever the quality of the model behind it.

**Truncation.** Late events are rarely seen, so the bound is calibrated for
:math:`T' = \min(T, h)` with a fixed horizon h; since T >= T', a lower bound of T' is one of T. A row
*resolves* if T' is known: it had its event (then C >= T), or was followed up to h (then C >= h). So

.. math:: P(\text{resolved} \mid X = x, T' = t) = P(C \ge t \mid X = x) = G(t | x)

when T and C are independent given X.

**Weights.** Resolved rows are therefore a sample of (X, T') with density proportional to the true one times
G(T' | X), and weights 1/G(T' | X) undo that. This is weighted exchangeability with a known likelihood ratio
(Tibshirani, Foygel Barber, Candes and Ramdas, arXiv 1904.06019, whose lemma allows weights that depend on
the label). With scores :math:`u_i` (low = the row died early for its prediction), weights :math:`w_i` and
test weight :math:`w`, the threshold

.. math:: a = \max\{u_k : \textstyle\sum_{i: u_i \ge u_k} w_i \ge (1 - \alpha)(\sum_i w_i + w)\}

(minus infinity if there is none) satisfies :math:`P(u(X, T') \ge a) \ge 1 - \alpha`. The test row's weight
1/G(T' | x) is not known, for T' is not; it is replaced by its upper bound 1/G(h | x), which only lowers a.

**Guarantee.** Marginal coverage of at least 1 - alpha, in finite samples, over calibration and test rows
together, if: these rows are independent and identically distributed, and none was used to fit the model, G
or h; T and C are independent given X; G is the true P(C >= t | x), positive up to h for every x. With an
*estimated* G the coverage is approximate: it falls short by at most the total variation distance between
the truly and the wrongly weighted distributions (Lei and Candes, arXiv 2006.06138). The bound holds on
average over rows, not for each x.

Candes, Lei and Ren, *Conformalized survival analysis*, arXiv 2103.09763, treat type-I censoring, where C is
known for every row, and keep only rows with C >= h; here C may be unknown after an event, and events before
h are used as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .targets import SurvivalTarget

__all__ = ["ResolvedTimes", "calibrated_level", "calibrated_offset", "resolve_at_horizon"]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class ResolvedTimes:
    """Calibration times truncated at the horizon.

    Attributes
    ----------
    time : ndarray of shape (n,)
        min(observed time, horizon): where model and G are to be evaluated.
    resolved : ndarray of shape (n,), bool
        Whether ``time`` is min(T, horizon) and not merely a lower limit of it.
    """

    time: FloatArray
    resolved: BoolArray


def resolve_at_horizon(target: SurvivalTarget, horizon: float) -> ResolvedTimes:
    """Truncate calibration times at the horizon and tell which are known.

    Parameters
    ----------
    target : SurvivalTarget
        Observed times and events of the calibration rows.
    horizon : float
        Largest bound of interest, > 0, chosen without looking at the calibration rows. Take it where
        P(C >= horizon | x) is still well above 0 (.1, say) for every x: weights grow up to its inverse.

    Returns
    -------
    ResolvedTimes
        Times and flags.
    """
    if not (np.isfinite(horizon) and horizon > 0):
        raise ValueError(f"horizon must be finite and > 0, got {horizon!r}")
    return ResolvedTimes(np.minimum(target.time, horizon), target.event | (target.time >= horizon))


def calibrated_level(
    survival_at_time: ArrayLike,
    resolved: ArrayLike,
    censoring_survival: ArrayLike,
    *,
    alpha: float,
    test_censoring_survival: ArrayLike,
) -> FloatArray:
    """Find the level at which the model's quantile is a lower bound with coverage 1 - alpha.

    The score is the predicted distribution function at the truncated time, u = 1 - S(T' | x). The bound of a
    test row is min(q, horizon), where q is the smallest time with 1 - S(q | x) >= level
    (`KaplanMeierCurves.quantile` with one level a row).

    Parameters
    ----------
    survival_at_time : array-like of shape (n,)
        Predicted S at ``ResolvedTimes.time`` of each calibration row; read where resolved.
    resolved : array-like of shape (n,), bool
        ``ResolvedTimes.resolved``.
    censoring_survival : array-like of shape (n,)
        G = P(C >= t | x_i) at ``ResolvedTimes.time``; read where resolved, must be in (0, 1] there.
    alpha : float
        Accepted share of rows below their bound, in (0, 1).
    test_censoring_survival : float or array-like of shape (m,)
        G = P(C >= horizon | x) of each test row, in (0, 1]; one lower limit of it serves all test rows.

    Returns
    -------
    ndarray of shape (m,)
        Levels in [0, 1]; alpha for a perfect model and many rows. 0 (the bound 0) where too few rows resolve
        to promise anything.

    Raises
    ------
    ValueError
        If shapes disagree or a value read is outside its range.
    """
    known = np.asarray(resolved, dtype=np.bool_)
    survival = _matching(survival_at_time, known, "survival_at_time")
    if not ((survival >= 0) & (survival <= 1)).all():
        raise ValueError("survival_at_time must lie in [0, 1] at resolved rows")
    threshold = _threshold(1.0 - survival, known, censoring_survival, alpha, test_censoring_survival)
    return np.maximum(threshold, 0.0)


def calibrated_offset(
    predicted_bound: ArrayLike,
    time: ArrayLike,
    resolved: ArrayLike,
    censoring_survival: ArrayLike,
    *,
    alpha: float,
    test_censoring_survival: ArrayLike,
) -> FloatArray:
    """Find what to add to predicted bounds so that they have coverage 1 - alpha.

    The score is u = time - predicted bound; both may be transformed by one increasing function (such as the
    logarithm) first. The bound of a test row is min(predicted bound + offset, horizon), in that scale.

    Parameters
    ----------
    predicted_bound : array-like of shape (n,)
        The model's uncalibrated bound (any function of x) of each calibration row.
    time : array-like of shape (n,)
        ``ResolvedTimes.time`` in the same scale; read where resolved.
    resolved, censoring_survival, alpha, test_censoring_survival
        As for `calibrated_level`.

    Returns
    -------
    ndarray of shape (m,)
        Offset of each test row; minus infinity where too few rows resolve to promise anything.

    Raises
    ------
    ValueError
        If shapes disagree or a value read is outside its range.
    """
    known = np.asarray(resolved, dtype=np.bool_)
    score = _matching(time, known, "time") - _matching(predicted_bound, known, "predicted_bound")
    if not np.isfinite(score).all():
        raise ValueError("time and predicted_bound must be finite at resolved rows")
    return _threshold(score, known, censoring_survival, alpha, test_censoring_survival)


def _threshold(
    scores: FloatArray,
    resolved: BoolArray,
    censoring_survival: ArrayLike,
    alpha: float,
    test_censoring_survival: ArrayLike,
) -> FloatArray:
    """Take the largest score with a share 1 - alpha of all weight, the test row's included, above it."""
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be in (0, 1), got {alpha!r}")
    weight = 1.0 / _in_unit(
        _matching(censoring_survival, resolved, "censoring_survival"), "censoring_survival"
    )
    test = np.atleast_1d(np.asarray(test_censoring_survival, dtype=np.float64))
    test_weight = 1.0 / _in_unit(test, "test_censoring_survival")
    order = np.argsort(-scores, kind="stable")
    above = np.cumsum(weight[order])
    # Rounding of the sums must not cost a whole row where they are equal by construction.
    needed = (1.0 - alpha) * (weight.sum() + test_weight) * (1.0 - 1e-12)
    index = np.searchsorted(above, needed, side="left")
    thresholds: FloatArray = np.append(scores[order], -np.inf)[index]
    return thresholds


def _matching(values: ArrayLike, resolved: BoolArray, name: str) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if resolved.ndim != 1 or array.shape != resolved.shape:
        raise ValueError(f"{name} must have the shape of resolved {resolved.shape}, got {array.shape}")
    selected: FloatArray = array[resolved]
    return selected


def _in_unit(probability: FloatArray, name: str) -> FloatArray:
    if not ((probability > 0) & (probability <= 1)).all():
        raise ValueError(
            f"{name} must lie in (0, 1]: no weight can replace rows that are never observed; "
            "choose an earlier horizon"
        )
    return probability
