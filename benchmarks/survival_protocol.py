"""How one model is judged on one fold of one survival data set.

Folds are stratified on the event (grouped where rows belong together). With test event times e, training
follow-up R and S(t | x) a predicted curve:

* a test row followed to R or beyond becomes censored just inside R, because inverse-probability weights
  estimated on the training part say nothing there; it is never dropped;
* curves are compared on a grid of 100 times between the 10th and the 90th percentile of e, inside both
  follow-ups;
* Harrell's C uses the model's risk; Uno's C too, truncated at the end of the grid; the integrated Brier
  score (IBS) weighs (1[T > t] - S(t | x))^2 by the inverse probability of censoring; the mean
  cumulative/dynamic AUC takes 1 - S(t | x) as the risk at t;
* D-calibration (Haider, Hoehn, Davis, Greiner, *Effective ways to build and evaluate individual survival
  distributions*, JMLR 2020): S(T_i | x_i) is uniform when curves are right. In ten bins an event counts one
  in its bin; a row censored at s = S(C_i | x_i) in bin k counts (s - edge_k)/s there and (1/10)/s in every
  lower bin. The chi-square statistic of the counts has nine degrees of freedom.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from survival_data import SurvivalData

__all__ = [
    "FOLDS",
    "GRID_POINTS",
    "SCORES",
    "Fold",
    "calibration_counts",
    "clip_follow_up",
    "d_calibration",
    "folds",
    "score_predictions",
    "split_rows",
    "time_grid",
]

FOLDS = 5
GRID_POINTS = 100
SCORES = ("harrell", "uno", "ibs", "auc", "d_calibration")
JUST_INSIDE = 1.0 - 1e-6


@dataclass(frozen=True)
class Fold:
    """Training part, test part with follow-up clipped to the training range, and grid of one fold."""

    index: int
    train: SurvivalData
    test: SurvivalData
    grid: np.ndarray


def split_rows(
    data: SurvivalData, n_splits: int = FOLDS, seed: int = 0
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Give (training rows, test rows) of folds stratified on the event, whole groups on one side."""
    splitter = StratifiedKFold if data.groups is None else StratifiedGroupKFold
    folding = splitter(n_splits, shuffle=True, random_state=seed)
    return list(folding.split(data.X, data.event, data.groups))


def folds(data: SurvivalData, n_splits: int = FOLDS, seed: int = 0) -> Iterator[Fold]:
    """Yield the folds of a set, ready to be fitted and scored."""
    for index, (train_rows, test_rows) in enumerate(split_rows(data, n_splits, seed)):
        train, test = data.take(train_rows), data.take(test_rows)
        yield Fold(index, train, clip_follow_up(train, test), time_grid(train, test))


def clip_follow_up(train: SurvivalData, test: SurvivalData) -> SurvivalData:
    """Censor test rows followed to the end of the training range, or past it, just inside that range."""
    end = train.time.max()
    late = test.time >= end
    time = np.where(late, end * JUST_INSIDE, test.time)
    return SurvivalData(test.name, test.X, time, test.event & ~late, test.groups)


def time_grid(train: SurvivalData, test: SurvivalData, points: int = GRID_POINTS) -> np.ndarray:
    """Give evenly spaced times from the 10th to the 90th percentile of test event times.

    The grid stays inside both follow-ups. The percentiles are those of the event times as observed, before
    late rows are censored: where many share the last follow-up time, censoring them first would shift the
    grid.

    Raises
    ------
    ValueError
        If the test part has no two distinct event times inside both follow-ups.
    """
    if not test.event.any():
        raise ValueError(f"the test part of {test.name!r} has no event, so it has no time grid")
    start, end = np.percentile(test.time[test.event], [10, 90])
    start = max(start, train.time.min(), test.time.min())
    end = min(end, JUST_INSIDE * min(train.time.max(), test.time.max()))
    if not start < end:
        raise ValueError(f"the test part of {test.name!r} leaves no time grid between {start} and {end}")
    return np.linspace(start, end, points)


def calibration_counts(survival_at_time: np.ndarray, event: np.ndarray, bins: int = 10) -> np.ndarray:
    """Count S(T_i | x_i) in equal bins, spreading each censored row over the bins it may still reach."""
    value = np.clip(np.asarray(survival_at_time, dtype=float), 0.0, 1.0)
    own_bin = np.minimum((value * bins).astype(int), bins - 1)
    counts = np.bincount(own_bin[event], minlength=bins).astype(float)
    edges = np.arange(bins) / bins
    for s, k in zip(value[~event], own_bin[~event], strict=True):
        if s <= 0.0:  # nothing is left to spread: the row lies in the lowest bin
            counts[0] += 1.0
            continue
        counts[k] += (s - edges[k]) / s
        counts[:k] += 1.0 / (bins * s)
    return counts


def d_calibration(survival_at_time: np.ndarray, event: np.ndarray, bins: int = 10) -> float:
    """Give the p value of the D-calibration chi-square test."""
    counts = calibration_counts(survival_at_time, event, bins)
    expected = counts.sum() / bins
    return float(chi2.sf(((counts - expected) ** 2 / expected).sum(), bins - 1))


def score_predictions(
    fold: Fold, risk: np.ndarray, survival_on_grid: np.ndarray, survival_at_time: np.ndarray
) -> dict[str, float]:
    """Score one model on one fold.

    Parameters
    ----------
    fold : Fold
        The fold that the predictions are for.
    risk : ndarray of shape (n_test,)
        Higher means an earlier event.
    survival_on_grid : ndarray of shape (n_test, n_grid)
        S(t | x) at the times of the grid.
    survival_at_time : ndarray of shape (n_test,)
        S(T_i | x_i) at each row's own observed time.

    Returns
    -------
    dict of float
        One entry for each name in `SCORES`.
    """
    from sksurv.metrics import (
        concordance_index_censored,
        concordance_index_ipcw,
        cumulative_dynamic_auc,
        integrated_brier_score,
    )
    from sksurv.util import Surv

    for name, values in (("risk", risk), ("survival", survival_on_grid), ("survival", survival_at_time)):
        if not np.isfinite(values).all():
            raise ValueError(
                f"{name} has {np.count_nonzero(~np.isfinite(values))} values that are not finite"
            )
    train = Surv.from_arrays(fold.train.event, fold.train.time)
    test = Surv.from_arrays(fold.test.event, fold.test.time)
    return {
        "harrell": float(concordance_index_censored(fold.test.event, fold.test.time, risk)[0]),
        "uno": float(concordance_index_ipcw(train, test, risk, tau=fold.grid[-1])[0]),
        "ibs": float(integrated_brier_score(train, test, survival_on_grid, fold.grid)),
        "auc": float(cumulative_dynamic_auc(train, test, 1.0 - survival_on_grid, fold.grid)[1]),
        "d_calibration": d_calibration(survival_at_time, fold.test.event),
    }
