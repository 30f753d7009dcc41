"""Checks of what simulations of particles are asked for, made before any of them starts."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils import check_random_state

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["check_count", "check_number", "check_numbers", "check_positions", "check_seed"]

_LARGEST_SEED = 2**63 - 1


def check_count(name: str, value: Any, low: int) -> int:
    """Return a whole number, of Python or NumPy, as an int.

    Raises
    ------
    ValueError
        For anything else, and below `low`.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < low:
        raise ValueError(f"{name} is {value!r}, expected an integer >= {low}")
    return int(value)


def check_number(name: str, value: Any, *, positive: bool = True) -> float:
    """Return a finite number above 0, or of at least 0, as a float.

    Raises
    ------
    TypeError
        For anything but a real number.
    ValueError
        If it is out of range.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} is {value!r:.60}, expected a number")
    number = float(value)
    if not (math.isfinite(number) and (number > 0.0 if positive else number >= 0.0)):
        wanted = "above 0" if positive else "of at least 0"
        raise ValueError(f"{name} is {value}, expected a finite number {wanted}")
    return number


def check_numbers(name: str, values: Any) -> tuple[float, ...]:
    """Return real numbers as floats.

    Raises
    ------
    TypeError
        For anything but a sequence of them.
    """
    found = list(values) if isinstance(values, Iterable) and not isinstance(values, str | bytes) else None
    if found is None or any(isinstance(one, bool) or not isinstance(one, Real) for one in found):
        raise TypeError(f"{name} is {values!r:.60}, expected a sequence of numbers")
    return tuple(float(one) for one in found)


def check_seed(random_state: Any) -> tuple[int, bool]:
    """Return the seed of all draws, and whether the caller chose it.

    Raises
    ------
    ValueError
        For integers that no generator takes, and for anything that is no source of seeds.
    """
    if isinstance(random_state, int | np.integer):
        if not 0 <= random_state <= _LARGEST_SEED:
            raise ValueError(f"random_state is {random_state}, expected an integer from 0 to 2**63 - 1")
        return int(random_state), True
    return int(check_random_state(random_state).randint(2**31)), False


def check_positions(positions: Any) -> Tensor:
    """Return positions, or refuse what no energy can be computed of.

    Raises
    ------
    TypeError
        For anything but a tensor of floating-point numbers.
    """
    if not hasattr(positions, "is_floating_point"):
        raise TypeError(
            f"positions must be a Tensor, got {type(positions).__name__}; torch.from_numpy makes one of an "
            "array"
        )
    if not positions.is_floating_point():
        raise TypeError(f"positions must be floating-point numbers, got {positions.dtype}")
    found: Tensor = positions
    return found
