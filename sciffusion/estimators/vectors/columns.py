r"""Tables of numbers: reading, scaling by column and back.

A model of the density sees :math:`z_j = (x_j - m_j) / s_j` with the weighted mean :math:`m_j` and standard
deviation :math:`s_j` of column j. A log density goes back to the units of x by
:math:`\log p(x) = \log p(z) - \sum_j \log s_j`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["ColumnScale", "column_positions", "refuse_text_columns"]

Floats = NDArray[np.float64]

_CONSTANT = 1e-8  # spread relative to the largest value that is the rounding error of a constant


def refuse_text_columns(X: Any) -> None:
    """Raise TypeError, naming them, if a frame has columns that are neither numbers nor booleans."""
    if not isinstance(X, pd.DataFrame):
        return
    wrong = [
        name
        for name, dtype in X.dtypes.items()
        if not (pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_object_dtype(dtype))
        or pd.api.types.is_complex_dtype(dtype)
    ]
    if wrong:
        raise TypeError(
            f"columns {wrong[:5]} of X hold {X[wrong[0]].dtype}; expected numbers. A density over categories "
            "is no density over vectors: encode them (one 0/1 column a category) or leave them out"
        )


def column_positions(columns: Any, names: list[str] | None, n_features: int, argument: str) -> list[int]:
    """Return the positions of columns given by name or by number.

    Raises
    ------
    ValueError
        If a column does not exist, or one is named twice.
    """
    given = [columns] if isinstance(columns, str | int | np.integer) else list(columns)
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
        mean = share @ relative
        std = np.sqrt(share @ (relative - mean) ** 2)
        varies = std > _CONSTANT
        return cls(unit * np.where(varies, mean, relative[0]), np.where(varies, unit * std, 1.0), varies)

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
