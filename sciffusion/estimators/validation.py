"""Checks of arguments that estimators share; every error names the argument, what was found and expected."""

from __future__ import annotations

from collections.abc import Collection
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "check_boolean",
    "check_choice",
    "check_integer",
    "check_number",
    "check_quantile_levels",
    "check_sample_weight",
]


def check_integer(name: str, value: Any, *, low: int | None = None, high: int | None = None) -> int:
    """Return `value` as an int within [low, high].

    Raises
    ------
    TypeError
        If it is no integer (booleans and floats are none).
    ValueError
        If it is out of range.
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an integer, got {value!r} of type {type(value).__name__}")
    number = int(value)
    if (low is not None and number < low) or (high is not None and number > high):
        raise ValueError(f"{name} must be an integer {_range_text(low, high)}, got {value!r}")
    return number


def check_number(
    name: str,
    value: Any,
    *,
    low: float | None = None,
    high: float | None = None,
    open_low: bool = False,
    open_high: bool = False,
) -> float:
    """Return `value` as a finite float between `low` and `high`, which belong to the range unless open.

    Raises
    ------
    TypeError
        If it is no real number.
    ValueError
        If it is not finite or out of range.
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r} of type {type(value).__name__}")
    number = float(value)
    too_low = low is not None and (number <= low if open_low else number < low)
    too_high = high is not None and (number >= high if open_high else number > high)
    if not np.isfinite(number) or too_low or too_high:
        text = _range_text(low, high, open_low, open_high)
        raise ValueError(f"{name} must be a finite number {text}, got {value!r}")
    return number


def check_boolean(name: str, value: Any) -> bool:
    """Return `value` as a bool; raise TypeError if it is none."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def check_choice(name: str, value: Any, choices: Collection[str]) -> str:
    """Return `value` if it is one of `choices`; raise ValueError, listing them, if not."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    return value


def check_quantile_levels(name: str, levels: ArrayLike) -> NDArray[np.float64]:
    """Return `levels` as a float64 array (n_levels,), for one level or a sequence of them.

    Raises
    ------
    ValueError
        If there is none, the array has more than one dimension, or a level lies outside (0, 1).
    """
    try:
        array = np.atleast_1d(np.asarray(levels, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be numbers strictly between 0 and 1, got {levels!r}") from error
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} must be one level or a non-empty list of them, got shape {array.shape}")
    wrong = array[~((array > 0) & (array < 1))]
    if wrong.size:
        raise ValueError(f"{name} must lie strictly between 0 and 1, got {wrong[:5].tolist()}")
    return array


def check_sample_weight(
    sample_weight: ArrayLike | None, n_rows: int, *, name: str = "sample_weight"
) -> NDArray[np.float64]:
    """Return weights as a float64 array (n_rows,): ones for None, the number repeated for one number.

    Raises
    ------
    ValueError
        If the shape is not (n_rows,), a weight is negative or not finite (the rows are named), or all are 0.
    """
    if sample_weight is None:
        return np.ones(n_rows)
    try:
        weights = np.asarray(sample_weight, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be numbers, one a row, got {type(sample_weight).__name__}") from error
    if weights.ndim == 0:
        weights = np.full(n_rows, float(weights))
    if weights.shape != (n_rows,):
        raise ValueError(f"{name} must have shape ({n_rows},), one weight a row, got {weights.shape}")
    wrong = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if wrong.size:
        raise ValueError(
            f"{name} must be finite and >= 0; {wrong.size} are not, first at rows {wrong[:5].tolist()}"
        )
    if not weights.any():
        raise ValueError(f"{name} must not be zero everywhere")
    return weights


def _range_text(
    low: float | None, high: float | None, open_low: bool = False, open_high: bool = False
) -> str:
    parts = []
    if low is not None:
        parts.append(f"{'>' if open_low else '>='} {low}")
    if high is not None:
        parts.append(f"{'<' if open_high else '<='} {high}")
    return " and ".join(parts) or "of any size"
