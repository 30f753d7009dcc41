r"""Tables of numbers: reading, scaling by column and back.

A model of the density sees :math:`z_j = (x_j - m_j) / s_j` with the weighted mean :math:`m_j` and standard
deviation :math:`s_j` of column j. A log density goes back to the units of x by
:math:`\log p(x) = \log p(z) - \sum_j \log s_j`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ColumnScale", "column_positions", "discrete_columns"]

Floats = NDArray[np.float64]

_CONSTANT = 1e-13  # spread relative to the largest value that is the rounding error of a constant
_TIES = (50, 0.5)  # rows from which on, and share of repeated values at which, a column counts as discrete


def column_positions(columns: Any, names: list[str] | None, n_features: int, argument: str) -> list[int]:
    """Return the positions of columns given by name or by number.

    Raises
    ------
    ValueError
        If a column does not exist, or one is named twice.
    """
    single = isinstance(columns, str) or not isinstance(columns, Iterable)
    given = [columns] if single else list(columns)
    found = []
    for column in given:
        if names is not None and column in names:
            found.append(names.index(str(column)))
        elif names is None and _is_integer(column) and 0 <= int(column) < n_features:
            found.append(int(column))
        else:
            known = f"one of {names}" if names is not None else f"a position from 0 to {n_features - 1}"
            raise ValueError(f"{argument} holds {column!r}; expected {known}")
    if len(set(found)) != len(found):
        raise ValueError(f"{argument} names a column twice: {given}")
    return found


def discrete_columns(X: Floats, varies: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the positions of the varying columns in which most values repeat; none in a short table."""
    fewest, most = _TIES
    if len(X) < fewest:
        return np.flatnonzero(np.zeros(X.shape[1]))
    repeated = np.array([1.0 - len(np.unique(column)) / len(column) for column in X.T])
    return np.flatnonzero(varies & (repeated > most))


def _is_integer(column: object) -> bool:
    return isinstance(column, int | np.integer) and not isinstance(column, bool)


@dataclass(frozen=True)
class ColumnScale:
    """Mean and spread of each column.

    Attributes
    ----------
    mean, scale : ndarray of shape (columns,)
        Weighted mean and standard deviation; the scale of a constant column is 1.
    varies : ndarray of bool, shape (columns,)
        False for constant columns.
    """

    mean: Floats
    scale: Floats
    varies: NDArray[np.bool_]

    @classmethod
    def learn(cls, X: Floats, weights: Floats) -> ColumnScale:
        """Learn from rows of positive weight.

        Parameters
        ----------
        X : ndarray of shape (rows, columns)
            Finite values.
        weights : ndarray of shape (rows,)
            Positive weights.
        """
        share = weights / weights.sum()
        # In units of its largest value a column's squares do not overflow.
        unit = np.abs(X).max(axis=0)
        unit = np.where(unit > 0.0, unit, 1.0)
        relative = X / unit
        # Seen from its first row, a spread that is small beside the offset (a time stamp) loses no digits.
        first = relative[0]
        off = relative - first
        mean = share @ off
        std = np.sqrt(share @ (off - mean) ** 2)
        varies = std > _CONSTANT
        return cls(unit * (first + np.where(varies, mean, 0.0)), np.where(varies, unit * std, 1.0), varies)

    def standardise(self, X: Floats) -> Floats:
        """Return ``(X - mean) / scale``."""
        return np.asarray((X - self.mean) / self.scale, dtype=np.float64)

    def restore(self, z: Floats) -> Floats:
        """Return ``mean + scale * z``."""
        return np.asarray(self.mean + self.scale * z, dtype=np.float64)

    def to_dict(self) -> dict[str, Any]:
        """Return everything learned, as values that a model file can hold."""
        return {"mean": self.mean, "scale": self.scale, "varies": self.varies}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ColumnScale:
        """Rebuild from `to_dict`."""
        return cls(*(np.asarray(values[name]) for name in ("mean", "scale", "varies")))
