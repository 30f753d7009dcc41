r"""Scores of survival predictions under right censoring, and scikit-learn scorers made of them.

Notation: rows with observed time :math:`t_i`, event flag :math:`e_i`, risk :math:`r_i` (higher = earlier),
predicted survival :math:`\hat S(t|x_i)`, and :math:`\hat G` the Kaplan-Meier estimate of P(C > t) from the
training target (marginal: it assumes censoring independent of the features; events at t precede
censorings at t). Inverse-probability-of-censoring weights (IPCW) are values of :math:`1/\hat G`.

- Concordance: over ordered pairs with :math:`e_i = 1` and (:math:`t_i < t_j`, or :math:`t_i = t_j` and
  :math:`e_j = 0`), the weighted share with :math:`r_i > r_j`, ties of risk counting one half. Harrell's
  index weights a pair by the product of the sample weights; Uno's by :math:`\hat G(t_i)^{-2}` and
  only takes :math:`t_i < \tau`.
- Brier score: :math:`\frac1n \sum_i \hat S(t|x_i)^2 \frac{e_i [t_i \le t]}{\hat G(t_i)}
  + (1 - \hat S(t|x_i))^2 \frac{[t_i > t]}{\hat G(t)}`; integrated: its mean over the grid by trapezoids.
- Cumulative/dynamic AUC at t: among pairs of a case (:math:`e_i = 1, t_i \le t`, weight
  :math:`1/\hat G(t_i)`) and a control (:math:`t_j > t`), the weighted share with :math:`r_i > r_j`. The
  mean over times weights AUC(t_k) by the drop of the test Kaplan-Meier curve since t_{k-1}.

A time at which a score is not defined (outside the follow-up of the test rows, beyond that of the training
rows, no comparable pair) gives NaN with an `UndefinedMetricWarning` and does not stop an evaluation.

Harrell et al., Statistics in Medicine 15 (1996); Uno et al., Statistics in Medicine 30 (2011) and JASA 102
(2007); Graf et al., Statistics in Medicine 18 (1999); Lambert and Chevret, Statistical Methods in Medical
Research 25 (2016).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import trapezoid
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.pipeline import Pipeline

from sciffusion.estimators.validation import check_sample_weight

from .kaplan_meier import KaplanMeierCurves, kaplan_meier_curves
from .targets import SurvivalTarget, survival_target

__all__ = [
    "ConcordanceScorer",
    "DynamicAUCScorer",
    "IntegratedBrierScorer",
    "UnoConcordanceScorer",
    "brier_score",
    "concordance_scorer",
    "cumulative_dynamic_auc",
    "dynamic_auc_scorer",
    "evaluation_times",
    "harrell_concordance",
    "integrated_brier_score",
    "integrated_brier_scorer",
    "survival_table",
    "uno_concordance",
    "uno_concordance_scorer",
]

FloatArray = NDArray[np.float64]

_PAIRS_AT_ONCE = 4_000_000
# Risks closer than this are tied, as in scikit-survival; closer than this share of the largest, if all of
# them are small, so that risks in the unit of the times are told apart in every unit.
_RISK_TOLERANCE = 1e-8


def harrell_concordance(y: Any, risk: ArrayLike, *, sample_weight: ArrayLike | None = None) -> float:
    """Harrell's concordance index.

    Parameters
    ----------
    y : structured array, two-column frame or SurvivalTarget of n rows
        Observed target.
    risk : array-like of shape (n,)
        Predicted risk, higher = earlier event.
    sample_weight : array-like of shape (n,), optional
        Row weights >= 0; a pair weighs the product of its two, so weight 2 acts like a duplicated row.

    Returns
    -------
    float
        Share in [0, 1]; .5 for uninformative risks. NaN with a warning if no pair is comparable.
    """
    target = survival_target(y)
    weight = check_sample_weight(sample_weight, len(target))
    return _concordance(target, _vector(risk, "risk", target), weight * target.event, weight)


def uno_concordance(y_train: Any, y_test: Any, risk: ArrayLike, *, tau: float | None = None) -> float:
    """Uno's concordance index, which does not depend on the censoring of the test rows.

    Parameters
    ----------
    y_train : structured array, two-column frame or SurvivalTarget
        Rows from which the censoring distribution is estimated.
    y_test : same, n rows
        Rows to be scored.
    risk : array-like of shape (n,)
        Predicted risk of the test rows, higher = earlier event.
    tau : float, optional
        Only pairs whose earlier time is below tau count; choose it within the training follow-up.

    Returns
    -------
    float
        Share in [0, 1]. NaN with a warning if no pair is comparable, or if a test event used lies where the
        censoring survival is zero or unknown (beyond the training follow-up): then give a smaller tau.
    """
    test = survival_target(y_test)
    used = test.event if tau is None else test.event & (test.time < tau)
    censoring = _CensoringSurvival(survival_target(y_train)).at(test.time[used])
    if not (censoring > 0).all():
        _undefined("Uno's concordance", "test events lie beyond the training follow-up; give a smaller tau")
        return float("nan")
    weight = np.zeros(len(test))
    weight[used] = censoring**-2.0
    return _concordance(test, _vector(risk, "risk", test), weight, np.ones(len(test)))


def brier_score(y_train: Any, y_test: Any, survival: Any, times: ArrayLike) -> FloatArray:
    """IPCW Brier score at each time.

    Parameters
    ----------
    y_train, y_test : structured array, two-column frame or SurvivalTarget
        Rows for the censoring distribution, and the n rows to be scored.
    survival : array-like of shape (n, n_times), or sequence of n step functions
        Predicted S(t | x) of the test rows at ``times``.
    times : array-like of shape (n_times,)
        Strictly ascending times.

    Returns
    -------
    ndarray of shape (n_times,)
        Mean squared error, lower is better; NaN (with a warning) at a time before the first or not before
        the last test time, or where the censoring survival is zero or unknown.
    """
    test, grid = survival_target(y_test), _ascending(times)
    table = survival_table(survival, grid)
    if table.shape != (len(test), len(grid)):
        raise ValueError(f"survival must have shape {(len(test), len(grid))}, got {table.shape}")
    censoring = _CensoringSurvival(survival_target(y_train))
    control_survival = censoring.at(grid)
    defined = _within_follow_up(test, grid) & ~np.isnan(control_survival)
    case = (test.time[:, None] <= grid) & test.event[:, None]
    control = test.time[:, None] > grid
    case_error = np.where(case, table**2 / censoring.at(test.time)[:, None], 0.0)
    control_error = np.where(control, (1.0 - table) ** 2 / control_survival, 0.0)
    scores = np.where(defined, (case_error + control_error).mean(axis=0), np.nan)
    _warn_undefined_times("Brier score", grid, scores)
    return scores


def integrated_brier_score(y_train: Any, y_test: Any, survival: Any, times: ArrayLike) -> float:
    """Mean of the IPCW Brier score between the first and the last time, by trapezoids.

    Parameters
    ----------
    y_train, y_test, survival, times
        As for `brier_score`, with at least two times.

    Returns
    -------
    float
        Lower is better; NaN (with a warning) if the Brier score is undefined at one of the times.
    """
    grid = _ascending(times)
    if len(grid) < 2:
        raise ValueError("times must hold at least two times to integrate over")
    scores = brier_score(y_train, y_test, survival, grid)
    return float(trapezoid(scores, grid) / (grid[-1] - grid[0]))


def cumulative_dynamic_auc(
    y_train: Any, y_test: Any, risk: ArrayLike, times: ArrayLike
) -> tuple[FloatArray, float]:
    """Time-dependent area under the ROC curve with IPCW cases.

    Parameters
    ----------
    y_train, y_test : structured array, two-column frame or SurvivalTarget
        Rows for the censoring distribution, and the n rows to be scored.
    risk : array-like of shape (n,) or (n, n_times)
        Predicted risk of the test rows, one for all times or one a time (for example 1 - S(t | x)).
    times : array-like of shape (n_times,)
        Strictly ascending times.

    Returns
    -------
    auc : ndarray of shape (n_times,)
        Higher is better; NaN (with a warning) where there is no case, no control, or no known weight.
    mean : float
        Mean over times, weighted by the fraction of test rows with an event between consecutive times.
    """
    test, grid = survival_target(y_test), _ascending(times)
    risks = np.asarray(risk, dtype=np.float64)
    risks = np.broadcast_to(risks[:, None] if risks.ndim == 1 else risks, (len(test), len(grid)))
    weight = 1.0 / _CensoringSurvival(survival_target(y_train)).at(test.time)
    defined = _within_follow_up(test, grid)
    auc = np.array([_auc_at(test, risks[:, k], weight, t) for k, t in enumerate(grid)])
    auc[~defined] = np.nan
    _warn_undefined_times("cumulative/dynamic AUC", grid, auc)
    if len(grid) == 1:
        return auc, float(auc[0])
    survival = _curve(test).survival_at(grid)[0]
    mass = -np.diff(survival, prepend=1.0)
    # A time without any new event has no say in the mean, defined or not.
    total = float(np.sum(np.where(mass > 0, auc, 0.0) * mass))
    return auc, total / float(mass.sum()) if mass.sum() > 0 else float("nan")


def evaluation_times(y_train: Any, y_test: Any, n_times: int = 100) -> FloatArray:
    """Choose equally spaced times from the 10th to the 90th percentile of the test event times.

    Parameters
    ----------
    y_train, y_test : structured array, two-column frame or SurvivalTarget
        Rows whose follow-up must contain the times.
    n_times : int
        Number of times, at least 2.

    Returns
    -------
    ndarray of shape (n_times,)
        Times within the follow-up of both, at which every score of this module is defined.

    Raises
    ------
    ValueError
        If the test rows leave no interval: fewer than two distinct event times within both follow-ups.
    """
    train, test = survival_target(y_train), survival_target(y_test)
    # A Brier score needs someone at risk after t, and a positive censoring survival at t.
    known = ~np.isnan(_CensoringSurvival(train).at(test.time))
    events = test.time[test.event & known & (test.time < test.time.max())]
    if len(np.unique(events)) < 2:
        raise ValueError("y_test must hold two distinct event times within the follow-up of both targets")
    low, high = np.quantile(events, [0.1, 0.9])
    if low == high:
        low, high = events.min(), events.max()
    return np.linspace(low, high, n_times)


def survival_table(survival: Any, times: ArrayLike) -> FloatArray:
    """Tabulate survival functions, or pass a table of them through.

    Parameters
    ----------
    survival : array-like of shape (n, n_times), or sequence of n step functions
        Step functions are callables with ``domain``; outside it they are held at its ends.
    times : array-like of shape (n_times,)
        Times of the columns.

    Returns
    -------
    ndarray of shape (n, n_times)
        S(t|x_i).
    """
    if len(survival) and callable(survival[0]):
        grid = np.asarray(times, dtype=np.float64)
        return np.stack([np.atleast_1d(curve(np.clip(grid, *curve.domain))) for curve in survival])
    return np.asarray(survival, dtype=np.float64)


@dataclass(frozen=True)
class ConcordanceScorer:
    """Harrell's concordance of ``estimator.predict``, as ``scorer(estimator, X, y)``."""

    def __call__(self, estimator: Any, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> float:
        """Score the fitted estimator; higher is better."""
        return harrell_concordance(y, estimator.predict(X), sample_weight=sample_weight)


@dataclass(frozen=True)
class UnoConcordanceScorer:
    """Uno's concordance of ``estimator.predict``, as ``scorer(estimator, X, y)``.

    Parameters
    ----------
    y_train : structured array, two-column frame or SurvivalTarget, optional
        Target for the censoring distribution; the rows being scored if not given.
    tau : float, optional
        As for `uno_concordance`.
    """

    y_train: Any = None
    tau: float | None = None

    def __call__(self, estimator: Any, X: Any, y: Any) -> float:
        """Score the fitted estimator; higher is better."""
        y_train = y if self.y_train is None else self.y_train
        return uno_concordance(y_train, y, estimator.predict(X), tau=self.tau)


@dataclass(frozen=True)
class IntegratedBrierScorer:
    """Minus the integrated Brier score of ``estimator.predict_survival_function``.

    A `Pipeline` has no such method, so its steps before the last are applied first.

    Parameters
    ----------
    times : array-like of shape (n_times,), optional
        Grid; `evaluation_times` of the rows being scored if not given.
    y_train : structured array, two-column frame or SurvivalTarget, optional
        Target for the censoring distribution; the rows being scored if not given. Inside cross-validation a
        scorer does not see the training rows; passing the whole target keeps the weights equal in all folds.
    """

    times: Any = None
    y_train: Any = None

    def __call__(self, estimator: Any, X: Any, y: Any) -> float:
        """Score the fitted estimator; higher (closer to zero) is better."""
        y_train = y if self.y_train is None else self.y_train
        times = evaluation_times(y_train, y) if self.times is None else self.times
        return -integrated_brier_score(y_train, y, _predicted_survival(estimator, X), times)


@dataclass(frozen=True)
class DynamicAUCScorer:
    """Mean cumulative/dynamic AUC of ``estimator.predict``; parameters as for `IntegratedBrierScorer`."""

    times: Any = None
    y_train: Any = None

    def __call__(self, estimator: Any, X: Any, y: Any) -> float:
        """Score the fitted estimator; higher is better."""
        y_train = y if self.y_train is None else self.y_train
        times = evaluation_times(y_train, y) if self.times is None else self.times
        return cumulative_dynamic_auc(y_train, y, estimator.predict(X), times)[1]


concordance_scorer = ConcordanceScorer()
uno_concordance_scorer = UnoConcordanceScorer()
integrated_brier_scorer = IntegratedBrierScorer()
dynamic_auc_scorer = DynamicAUCScorer()


def _predicted_survival(estimator: Any, X: Any) -> Any:
    if isinstance(estimator, Pipeline):
        if len(estimator) > 1:
            X = estimator[:-1].transform(X)
        estimator = estimator[-1]
    return estimator.predict_survival_function(X)


class _CensoringSurvival:
    """G(t) = P(C > t), NaN where it is zero or unknown, so that no weight 1/G exists.

    Beyond the last training time G is unknown if that row is an event and zero if it is censored. A zero is
    made NaN too: dropping the rows that would need the weight would make a Brier score look better.
    """

    def __init__(self, target: SurvivalTarget) -> None:
        self._curve = kaplan_meier_curves(target.time[None], target.event[None], of="censoring")
        self.end = float(self._curve.times[0, -1])

    def at(self, times: FloatArray) -> FloatArray:
        values = self._curve.survival_at(times)[0]
        return np.where((times > self.end) | (values == 0), np.nan, values)


def _curve(target: SurvivalTarget) -> KaplanMeierCurves:
    return kaplan_meier_curves(target.time[None], target.event[None])


def _concordance(
    target: SurvivalTarget, risk: FloatArray, case_weight: FloatArray, other_weight: FloatArray
) -> float:
    """Weight the pair (i, j) by case_weight[i] * other_weight[j]; cases are events with weight > 0."""
    cases = np.flatnonzero(target.event & (case_weight > 0))
    concordant = total = 0.0
    tolerance = _tolerance(risk)
    step = max(1, _PAIRS_AT_ONCE // len(target))
    for start in range(0, len(cases), step):
        i = cases[start : start + step, None]
        later = (target.time > target.time[i]) | ((target.time == target.time[i]) & ~target.event)
        weight = case_weight[i] * (later * other_weight)
        difference = risk[i] - risk
        won = (difference > tolerance) + 0.5 * (np.abs(difference) <= tolerance)
        concordant += float(np.sum(weight * won))
        total += float(np.sum(weight))
    if total == 0:
        _undefined("The concordance", "no pair of rows is comparable")
        return float("nan")
    return concordant / total


def _auc_at(test: SurvivalTarget, risk: FloatArray, weight: FloatArray, time: float) -> float:
    case = (test.time <= time) & test.event
    controls = np.sort(risk[test.time > time])
    case_weight, tolerance = weight[case], _tolerance(risk)
    if not len(controls) or not case.any():
        return float("nan")
    below = np.searchsorted(controls, risk[case] - tolerance, side="left")
    up_to = np.searchsorted(controls, risk[case] + tolerance, side="right")
    return float(case_weight @ (below + up_to) / (2.0 * len(controls) * case_weight.sum()))


def _tolerance(risk: FloatArray) -> float:
    return _RISK_TOLERANCE * min(1.0, float(np.abs(risk).max()))


def _within_follow_up(test: SurvivalTarget, grid: FloatArray) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = (grid >= test.time.min()) & (grid < test.time.max())
    return inside


def _ascending(times: ArrayLike) -> FloatArray:
    grid = np.atleast_1d(np.asarray(times, dtype=np.float64))
    if grid.ndim != 1 or not len(grid) or not np.isfinite(grid).all() or not (np.diff(grid) > 0).all():
        raise ValueError("times must be a non-empty, strictly ascending list of finite times")
    return grid


def _vector(values: ArrayLike, name: str, target: SurvivalTarget) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (len(target),):
        raise ValueError(f"{name} must have shape {(len(target),)}, got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite")
    return array


def _warn_undefined_times(score: str, grid: FloatArray, values: FloatArray) -> None:
    bad = grid[np.isnan(values)]
    if len(bad):
        _undefined(
            score, f"{len(bad)} of {len(grid)} times, from {bad[0]:g} to {bad[-1]:g}, lack the rows it needs"
        )


def _undefined(score: str, reason: str) -> None:
    warnings.warn(f"{score} is undefined and set to NaN: {reason}", UndefinedMetricWarning, stacklevel=3)
