r"""Right-censored survival data with their card.

Row i has covariates :math:`x_i`, a time :math:`y_i = \min(T_i, C_i)` and an event flag
:math:`e_i = 1[T_i \le C_i]`, where :math:`T_i` is the time of the event and :math:`C_i` that of censoring.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .cards import DatasetCard

__all__ = ["SurvivalDataset"]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False, repr=False)
class SurvivalDataset:
    """Covariates, times and events of one study.

    Parameters
    ----------
    X : pandas.DataFrame of shape (n, d)
        Covariates: float64 columns and unordered or ordered categoricals. Missing values are NaN.
    time : ndarray of shape (n,), float64
        Time of the event or of censoring, at least 0, in ``card.time_unit``.
    event : ndarray of shape (n,), bool
        True where the event was observed, False where the row is censored.
    card : DatasetCard
        What is known about the set.
    groups : ndarray of shape (n,) or None
        Equal for rows that must not be split between training and test, such as two eyes of one patient.

    Raises
    ------
    ValueError
        If lengths differ, a time is negative or not finite, or a column is neither numeric nor categorical.
    """

    X: pd.DataFrame
    time: FloatArray
    event: BoolArray
    card: DatasetCard
    groups: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        """Refuse parts that do not belong together."""
        n_rows = len(self.X)
        for name in ("time", "event", "groups"):
            values = getattr(self, name)
            if values is not None and values.shape != (n_rows,):
                raise ValueError(
                    f"{name} has shape {values.shape}, expected ({n_rows},), one value a row of X"
                )
        if self.event.dtype != np.bool_:
            raise ValueError(f"event has dtype {self.event.dtype}, expected bool")
        if not (np.isfinite(self.time).all() and (self.time >= 0).all()):
            raise ValueError("time holds negative or non-finite values, expected finite times >= 0")
        for column, dtype in self.X.dtypes.items():
            if not (isinstance(dtype, pd.CategoricalDtype) or dtype == np.float64):
                raise ValueError(f"column {column!r} of X has dtype {dtype}, expected float64 or category")

    @property
    def y(self) -> NDArray[np.void]:
        """Structured array with the fields ``event`` (bool) and ``time`` (float64)."""
        target = np.empty(len(self.X), dtype=[("event", np.bool_), ("time", np.float64)])
        target["event"], target["time"] = self.event, self.time
        return target

    @property
    def frame(self) -> pd.DataFrame:
        """One frame: the columns of X, then ``time``, ``event`` and, where there are groups, ``group``."""
        frame = self.X.assign(time=self.time, event=self.event)
        return frame if self.groups is None else frame.assign(group=self.groups)

    @property
    def numeric_columns(self) -> list[str]:
        """Names of the float64 columns of X."""
        return [str(name) for name in self.X.columns if name not in self.categorical_columns]

    @property
    def categorical_columns(self) -> list[str]:
        """Names of the categorical columns of X."""
        return [str(name) for name, dtype in self.X.dtypes.items() if isinstance(dtype, pd.CategoricalDtype)]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.X)

    def __repr__(self) -> str:
        """Return name, shape and censored share."""
        return (
            f"SurvivalDataset({self.card.name!r}, n={len(self.X)}, d={self.X.shape[1]}, "
            f"censored={1.0 - self.event.mean():.1%})"
        )
