r"""Columns that know the outcome.

A covariate recorded after time 0 can carry the answer: the time itself, the event flag, a cause of death, a
length of stay. Each column of ``X``, each level of each categorical and each pattern of missing values is
looked at alone through five numbers:

- its concordance :math:`\max(C, 1 - C)`, :math:`C` Harrell's share of comparable pairs
  (:math:`y_i < y_j`, event i observed; or a tie with j censored) that it orders rightly;
- its absolute rank correlation with the time, and with the time among the rows with an event;
- its absolute correlation with the event flag;
- for indicators, the odds ratio of the event (half a row added to each cell).

One number beyond its threshold makes a suspect. A suspect is not proof: a date of entry is tied to the time
of censoring and yet known at time 0. Nor is silence: a weak leak, such as a survival probability that a model
estimated later, looks like a good predictor (SUPPORT's has a concordance of .72).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata
from sklearn.utils import check_random_state

__all__ = ["LEAK_THRESHOLDS", "find_leaks"]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

LEAK_THRESHOLDS = {
    "concordance": 0.85,
    "time_correlation": 0.8,
    "event_time_correlation": 0.8,
    "event_correlation": 0.7,
    "event_odds_ratio": 40.0,
}
"""Values from which on a feature is a suspect; the odds ratio counts in both directions (40 and 1/40)."""

SMALLEST_LEVEL = 20
CHUNK_ROWS = 512


def find_leaks(
    X: pd.DataFrame,
    time: ArrayLike,
    event: ArrayLike,
    *,
    thresholds: dict[str, float] | None = None,
    max_rows: int = 4000,
    random_state: int | np.random.RandomState | None = 0,
) -> pd.DataFrame:
    """Look at every column alone for knowledge of the outcome.

    Parameters
    ----------
    X : pandas.DataFrame of shape (n, d)
        Numeric and categorical columns; missing values allowed.
    time : array-like of shape (n,)
        Time of the event or of censoring.
    event : array-like of shape (n,)
        True or 1 where the event was observed.
    thresholds : dict or None
        Replaces some of ``LEAK_THRESHOLDS``.
    max_rows : int
        With more rows, so many are drawn at random: the concordance takes time quadratic in the rows.
    random_state : int, RandomState or None
        Seed of that draw.

    Returns
    -------
    pandas.DataFrame
        One row for each feature, the strongest concordance first: ``column``, ``aspect`` ("value", "missing"
        or "= level"), the five numbers named in ``LEAK_THRESHOLDS`` (NaN where one does not apply),
        ``suspect`` (bool) and ``reason`` (the numbers beyond their thresholds, in words).

    Raises
    ------
    ValueError
        If lengths differ, no event or only events of one time are there, or a threshold has an unknown name.
    """
    limits = {**LEAK_THRESHOLDS, **(thresholds or {})}
    if unknown := sorted(set(limits) - set(LEAK_THRESHOLDS)):
        raise ValueError(f"thresholds names {unknown}, expected names among {list(LEAK_THRESHOLDS)}")
    times, events = np.asarray(time, dtype=np.float64), np.asarray(event).astype(np.bool_)
    if not (times.shape == events.shape == (len(X),)):
        raise ValueError(
            f"time has shape {times.shape} and event {events.shape}, expected ({len(X)},) for both"
        )
    if len(X) > max_rows:
        chosen = np.sort(check_random_state(random_state).choice(len(X), max_rows, replace=False))
        X, times, events = X.iloc[chosen], times[chosen], events[chosen]
    if not events.any() or np.ptp(times) == 0:
        raise ValueError("event has no True, or time only one value: there is no outcome to know")
    rows = []
    for column, aspect, values in _features(X):
        numbers = _measure(values, times, events)
        reasons = _reasons(numbers, limits)
        rows.append(
            {"column": column, "aspect": aspect, **numbers, "suspect": bool(reasons), "reason": reasons}
        )
    table = pd.DataFrame(rows, columns=["column", "aspect", *LEAK_THRESHOLDS, "suspect", "reason"])
    return table.sort_values("concordance", ascending=False, kind="stable").reset_index(drop=True)


def _features(X: pd.DataFrame) -> Iterator[tuple[str, str, FloatArray]]:
    """Yield the numeric values, level indicators and missing-value indicators that are not constant."""
    for name in X.columns:
        column = X[name]
        missing = column.isna().to_numpy()
        numeric = pd.api.types.is_numeric_dtype(column.dtype)
        candidates = [("value", column.to_numpy(dtype=np.float64, na_value=np.nan))] if numeric else []
        if not numeric:
            candidates += [
                (f"= {level}", (column == level).to_numpy(np.float64)) for level in column.dropna().unique()
            ]
        for aspect, values in [*candidates, ("missing", missing.astype(np.float64))]:
            seen = values[~np.isnan(values)]
            if seen.size and np.ptp(seen) > 0:
                yield str(name), aspect, values


def _measure(values: FloatArray, times: FloatArray, events: BoolArray) -> dict[str, float]:
    seen = ~np.isnan(values)
    values, times, events = values[seen], times[seen], events[seen]
    concordance = _concordance(values, times, events)
    return {
        "concordance": max(concordance, 1.0 - concordance),
        "time_correlation": _correlation(rankdata(values), rankdata(times)),
        "event_time_correlation": _correlation(rankdata(values[events]), rankdata(times[events])),
        "event_correlation": _correlation(values, events.astype(np.float64)),
        "event_odds_ratio": _odds_ratio(values, events),
    }


def _reasons(numbers: dict[str, float], limits: dict[str, float]) -> str:
    found = []
    for name, value in numbers.items():
        limit = limits[name]
        if value >= limit or (name == "event_odds_ratio" and value <= 1.0 / limit):
            found.append(f"{name.replace('_', ' ')} {value:.3g}")
    return ", ".join(found)


def _concordance(values: FloatArray, times: FloatArray, events: BoolArray) -> float:
    """Return Harrell's C of ``values`` as a risk; .5 if no two rows can be compared."""
    agreeing = comparable = 0.0
    observed = np.flatnonzero(events)
    for start in range(0, len(observed), CHUNK_ROWS):
        rows = observed[start : start + CHUNK_ROWS, None]
        later = (times[rows] < times) | ((times[rows] == times) & ~events)
        difference = values[rows] - values
        comparable += float(later.sum())
        agreeing += float((later & (difference > 0)).sum()) + 0.5 * float((later & (difference == 0)).sum())
    return agreeing / comparable if comparable else 0.5


def _correlation(first: FloatArray, second: FloatArray) -> float:
    """Return the absolute correlation, NaN for fewer than three values or a constant."""
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(abs(np.corrcoef(first, second)[0, 1]))


def _odds_ratio(values: FloatArray, events: BoolArray) -> float:
    """Return the odds ratio of the event for an indicator with enough rows on both sides, else NaN."""
    high = values == values.max()
    if np.unique(values).size != 2 or min(high.sum(), (~high).sum()) < SMALLEST_LEVEL:
        return float("nan")
    cells = [float((side & flag).sum()) + 0.5 for side in (high, ~high) for flag in (events, ~events)]
    return cells[0] * cells[3] / (cells[1] * cells[2])
