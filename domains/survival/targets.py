"""Reading a right-censored survival target, in every form in which users hold one.

A target is a pair of arrays: ``time``, the observed time min(T, C) >= 0 in the user's unit, and ``event``,
True where the event was seen (T <= C) and False where the row was censored. It can come as

1. ``(X, T, E)``: two separate arrays;
2. ``(X, y)``: y a structured array or a frame with two columns. The event is found **by type**, never by
   position: the boolean field is the event; if none is boolean, the one numeric field that holds only 0
   and 1 is. Names and order are free;
3. ``(frame, duration_col=, event_col=)``: two named columns among the features.

An unnamed (n, 2) array is refused: reading it by position swaps time and event without any error.
Nothing is dropped, reordered or imputed: a NaN, infinite or negative time is refused by row number. Time 0
is allowed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import column_or_1d

__all__ = ["SurvivalTarget", "make_survival_target", "read_survival_data", "survival_target"]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Censoring = Literal["required", "none"]

_REMEDY = (
    "pass fit(X, T, E), fit(X, y) with y = make_survival_target(T, E) (a structured array), "
    "or fit(frame, duration_col=..., event_col=...)"
)

_CALENDAR = ("datetime64", "datetime", "date", "timedelta64", "timedelta", "period")


@dataclass(frozen=True)
class SurvivalTarget:
    """Observed times and event flags of the same rows.

    Attributes
    ----------
    time : ndarray of shape (n,), float64
        Time of the event or of censoring, finite and >= 0.
    event : ndarray of shape (n,), bool
        True where the event was observed.
    """

    time: FloatArray
    event: BoolArray

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.time)

    def structured(self) -> NDArray[np.void]:
        """Give the structured array with the fields ``event`` (bool) and ``time`` (float64)."""
        array = np.empty(len(self), dtype=[("event", np.bool_), ("time", np.float64)])
        array["event"], array["time"] = self.event, self.time
        return array


def make_survival_target(time: ArrayLike, event: ArrayLike) -> NDArray[np.void]:
    """Build the structured y that scikit-learn's tools can slice.

    Parameters
    ----------
    time : array-like of shape (n,)
        Observed times, finite and >= 0.
    event : array-like of shape (n,)
        Boolean or 0/1; True = event.

    Returns
    -------
    ndarray of shape (n,)
        Fields ``event`` (bool) and ``time`` (float64).

    Raises
    ------
    ValueError
        If a value is out of range or the lengths differ.
    """
    return _checked(time, event, "time", "event").structured()


def survival_target(
    y: Any,
    E: Any = None,
    *,
    censoring: Censoring = "required",
    n_rows: int | None = None,
) -> SurvivalTarget:
    """Read a target given as (T, E), as a structured array or as a frame with two columns.

    Parameters
    ----------
    y : array-like of shape (n,), structured array, DataFrame or SurvivalTarget
        Times when ``E`` is given; otherwise time and event together (forms 1 and 2 of the module).
    E : array-like of shape (n,), optional
        Event flags, boolean or 0/1.
    censoring : {"required", "none"}
        What a plain 1-D y without ``E`` means. "required" refuses it; "none" treats every row as an event,
        and then refuses a target that does hold censored rows.
    n_rows : int, optional
        Number of rows of X, to be equal to the length of the target.

    Returns
    -------
    SurvivalTarget
        float64 times and boolean events.

    Raises
    ------
    ValueError
        If the form is not recognised or a value is out of range; the message names the argument, the rows
        and the remedy.
    """
    if censoring not in ("required", "none"):
        raise ValueError(f'censoring must be "required" or "none", got {censoring!r}')
    target = _read_target(y, E, censoring)
    if censoring == "none" and not target.event.all():
        raise ValueError(
            f'censoring="none" says that every row is an event, but {_rows(~target.event)} of the target '
            'are censored; use censoring="required"'
        )
    if n_rows is not None and len(target) != n_rows:
        raise ValueError(f"X and the target must have equally many rows, got {n_rows} and {len(target)}")
    return target


def read_survival_data(
    X: Any,
    y: Any = None,
    E: Any = None,
    *,
    duration_col: str | None = None,
    event_col: str | None = None,
    censoring: Censoring = "required",
) -> tuple[Any, SurvivalTarget]:
    """Separate features and target for any of the forms that ``fit`` accepts.

    Parameters
    ----------
    X : array-like or DataFrame of shape (n, n_features)
        Features; with ``duration_col``, a frame that holds the target columns as well.
    y, E, censoring
        As for `survival_target`; y and E must be None with ``duration_col``.
    duration_col, event_col : str, optional
        Names of the time and event columns of X. ``event_col`` may be left out with ``censoring="none"``.

    Returns
    -------
    features : same type as X
        X, without the target columns.
    target : SurvivalTarget
        One entry a row of X.

    Raises
    ------
    ValueError
        If forms are mixed, a column is missing, or the target is invalid.
    TypeError
        If ``duration_col`` or ``event_col`` is given and X is not a DataFrame.
    """
    if duration_col is None and event_col is None:
        return X, survival_target(y, E, censoring=censoring, n_rows=_n_rows(X))
    if y is not None or E is not None:
        raise ValueError("duration_col and event_col name columns of X, so y and E must not be given as well")
    if duration_col is None:
        raise ValueError("event_col was given without duration_col; name the column of times too")
    if not isinstance(X, pd.DataFrame):
        raise TypeError(f"duration_col needs X to be a pandas DataFrame, got {type(X).__name__}")
    columns = [name for name in (duration_col, event_col) if name is not None]
    missing = [name for name in columns if name not in X.columns]
    if missing or len(set(columns)) < len(columns):
        raise ValueError(
            f"duration_col and event_col must be two columns of X, got {columns}; missing: {missing}"
        )
    event = None if event_col is None else X[event_col]
    return X.drop(columns=columns), survival_target(X[duration_col], event, censoring=censoring)


def _read_target(y: Any, E: Any, censoring: Censoring) -> SurvivalTarget:
    if y is None:
        raise ValueError(f"This estimator requires y to be passed, but the target y is None; {_REMEDY}")
    fields = _fields(y)
    if fields is not None and E is not None:
        raise ValueError("y already holds time and event, so E must not be given; with E, pass times alone")
    if fields is not None:
        return _from_fields(fields)
    array = np.asarray(y)
    if array.ndim == 2 and array.shape[1] == 2:
        raise ValueError(
            "y is an unnamed (n, 2) array: which column is the time cannot be known, and guessing by "
            f"position may swap time and event; {_REMEDY}"
        )
    if E is not None:
        return _checked(y, E, "T", "E")
    if censoring == "required":
        raise ValueError(
            f"y holds times but no event flags; {_REMEDY}. If every row is an event, construct the "
            'estimator with censoring="none"'
        )
    time = _checked_time(y, "y")
    return SurvivalTarget(time, np.ones(len(time), dtype=np.bool_))


def _fields(y: Any) -> dict[str, NDArray[Any]] | None:
    """Give the named parts of y, or None where y has no names."""
    if isinstance(y, SurvivalTarget):
        return {"time": y.time, "event": y.event}
    if isinstance(y, pd.DataFrame) and y.shape[1] > 1:
        if not y.columns.is_unique:
            raise ValueError(f"the columns of y must have distinct names, got {list(y.columns)}")
        return {str(name): _column(y[name]) for name in y.columns}
    if isinstance(y, np.ndarray) and y.dtype.names is not None:
        return {name: y[name].reshape(-1) if y.ndim > 1 else y[name] for name in y.dtype.names}
    return None


def _column(values: pd.Series[Any]) -> NDArray[Any]:
    """Take a column to numpy, with nullable booleans as booleans where nothing is missing."""
    if pd.api.types.is_bool_dtype(values.dtype) and not values.isna().any():
        return values.to_numpy(dtype=np.bool_)
    return values.to_numpy()


def _from_fields(fields: dict[str, NDArray[Any]]) -> SurvivalTarget:
    if len(fields) != 2:
        raise ValueError(f"y must have two fields, an event and a time, got {list(fields)}")
    boolean = [name for name, values in fields.items() if values.dtype == np.bool_]
    events = boolean or [name for name, values in fields.items() if _is_zero_one(values)]
    if len(events) != 1:
        found = {name: str(values.dtype) for name, values in fields.items()}
        raise ValueError(
            f"y must have exactly one field that can be the event (boolean, or else only 0 and 1), found "
            f"{events or 'none'} among {found}; make the event boolean, with True where it was observed"
        )
    event_name = events[0]
    time_name = next(name for name in fields if name != event_name)
    return _checked(fields[time_name], fields[event_name], f"y[{time_name!r}]", f"y[{event_name!r}]")


def _is_zero_one(values: NDArray[Any]) -> bool:
    try:
        numbers = values.astype(np.float64)
    except (TypeError, ValueError):
        return False
    return bool(np.isin(numbers, (0.0, 1.0)).all())


def _checked(time: Any, event: Any, time_name: str, event_name: str) -> SurvivalTarget:
    times = _checked_time(time, time_name)
    events = _checked_event(event, event_name)
    if len(times) != len(events):
        raise ValueError(
            f"{time_name} and {event_name} must be equally long, got {len(times)} and {len(events)} rows"
        )
    return SurvivalTarget(times, events)


def _numbers(values: Any, name: str) -> FloatArray:
    column = column_or_1d(values, warn=True)
    if np.iscomplexobj(column):
        raise ValueError(f"{name} must be real. Complex data not supported")
    found = pd.api.types.infer_dtype(column, skipna=True)
    if found in _CALENDAR:
        # pandas would turn them into nanoseconds.
        raise ValueError(f"{name} must be numeric, got {found}; give durations as numbers, such as days")
    try:
        # pandas' missing value has no float of its own.
        numbers = pd.to_numeric(pd.Series(column), errors="raise")
        return np.array(numbers.to_numpy(np.float64, na_value=np.nan))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be numeric, got dtype {column.dtype}: {error}") from error


def _checked_time(values: Any, name: str) -> FloatArray:
    if np.asarray(values).dtype == np.bool_:
        raise ValueError(f"{name} must hold times but is boolean; are time and event swapped?")
    time = _numbers(values, name)
    for wrong, what in (
        (np.isnan(time), "NaN"),
        (np.isinf(time), "infinity or a value too large for dtype('float64')"),
        (time < 0, "negative times"),
    ):
        if wrong.any():
            raise ValueError(
                f"Input {name} contains {what} in {_rows(wrong)}; times must be finite and >= 0: correct or "
                "remove these rows (a row still at risk at its last visit is censored at that time)"
            )
    return time


def _checked_event(values: Any, name: str) -> BoolArray:
    event = _numbers(values, name)
    wrong = ~np.isin(event, (0.0, 1.0))
    if wrong.any():
        found = np.unique(event[wrong])[:5].tolist()
        raise ValueError(
            f"{name} must be boolean or 0/1 (1 = event), found {found} in {_rows(wrong)}; recode it, for "
            "example E = (status == code_of_the_event)"
        )
    return event.astype(np.bool_)


def _rows(wrong: BoolArray) -> str:
    """Name the first offending rows, counted from 0."""
    rows = np.flatnonzero(wrong)
    shown = ", ".join(map(str, rows[:5])) + (f", ... ({len(rows)} in all)" if len(rows) > 5 else "")
    return f"row{'s' if len(rows) > 1 else ''} {shown}"


def _n_rows(X: Any) -> int | None:
    shape = getattr(X, "shape", None)
    if shape is not None:
        return int(shape[0]) if len(shape) else None
    return len(X) if hasattr(X, "__len__") else None
