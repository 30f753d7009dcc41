"""Tables as estimators of vectors are given them: reading, labels of columns, cases to draw for, results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import validate_data

from ..validation import check_sample_weight
from .columns import column_positions

__all__ = ["TableForm", "read_table", "weighted_rows"]

Floats = NDArray[np.float64]


def read_table(
    estimator: Any, X: Any, *, fitting: bool = False, allow_missing: bool = False, fewest_rows: int = 1
) -> Floats:
    """Return a table as float64, checked against the one that the estimator was fitted on.

    Parameters
    ----------
    estimator : BaseEstimator
        Takes `n_features_in_` and `feature_names_in_` if this is its fit.
    X : array-like or DataFrame of shape (n, n_features)
        The table.
    fitting : bool, default False
        Whether this is the fit.
    allow_missing : bool, default False
        Whether NaN may stand in it.
    fewest_rows : int, default 1
        Rows that it must have.

    Raises
    ------
    TypeError
        If a frame has columns of a type that is no number.
    ValueError
        If shape or column names are wrong, or a value is text, infinite or missing: with the first place.
    """
    _refuse_other_types(X)
    try:
        table: Floats = validate_data(
            estimator, X, dtype=np.float64, reset=fitting, ensure_min_samples=fewest_rows,
            ensure_all_finite=False,
        )  # fmt: skip
    except ValueError as error:
        if "could not convert string" not in str(error):
            raise
        raise ValueError(f"X must hold numbers; {error}{_text_column(X)}") from error
    wrong = np.isinf(table) if allow_missing else ~np.isfinite(table)
    if wrong.any():
        row, place = (int(index) for index in np.argwhere(wrong)[0])
        found = "NaN" if np.isnan(table[row, place]) else "an infinite value (inf)"
        raise ValueError(
            f"X must hold finite numbers{' or NaN' if allow_missing else ''}; {int(wrong.sum())} are not, "
            f"the first is {found} in row {row}, column {TableForm.of(estimator).labels([place])[0]!r}"
        )
    return table


def weighted_rows(table: Floats, sample_weight: ArrayLike | None, fewest: int) -> tuple[Floats, Floats]:
    """Return the rows of positive weight and their weights, the largest of which is 1.

    Raises
    ------
    ValueError
        If weights are wrong, or fewer than `fewest` rows have one above 0.
    """
    weights = check_sample_weight(sample_weight, len(table))
    kept = weights > 0.0
    if int(kept.sum()) < fewest:
        raise ValueError(
            f"sample_weight must be positive for at least {fewest} rows, found {int(kept.sum())}"
        )
    return table[kept], weights[kept] / weights.max()


@dataclass(frozen=True)
class TableForm:
    """What the columns of the training table are called.

    Attributes
    ----------
    names : list of str or None
        Names of the columns; None for an array, whose columns go by their positions.
    n_features : int
        Number of columns.
    """

    names: list[str] | None
    n_features: int

    @classmethod
    def of(cls, estimator: Any) -> TableForm:
        """Return the form of the table that an estimator was fitted on."""
        names = getattr(estimator, "feature_names_in_", None)
        return cls(None if names is None else list(names), int(estimator.n_features_in_))

    def labels(self, positions: Iterable[int]) -> list[Any]:
        """Return the names of columns, or their positions where they have none."""
        return [int(place) if self.names is None else self.names[place] for place in positions]

    def positions(self, columns: Any, argument: str) -> list[int]:
        """Return the positions of columns that the user named in an argument (see `column_positions`)."""
        return column_positions(columns, self.names, self.n_features, argument)

    def result(self, table: Floats, index: pd.Index[Any] | None = None) -> Floats | pd.DataFrame:
        """Return a table in the form of the training table; an array stays one."""
        return table if self.names is None else pd.DataFrame(table, columns=self.names, index=index)

    def cases(
        self, given: Mapping[Any, float] | pd.DataFrame | None, needed: Sequence[int] = ()
    ) -> tuple[Floats, pd.Index[Any] | None]:
        """Return a table of cases, NaN where nothing is given, and its index if the cases came with one.

        Parameters
        ----------
        given : mapping or DataFrame, optional
            Values of some columns; each row of a frame is a case.
        needed : sequence of int
            Positions of columns that must be among them.

        Raises
        ------
        TypeError, ValueError
            If `given` is neither a mapping nor a frame, names a column that does not exist, lacks one that is
            needed, or holds a value that is missing, infinite or no number.
        """
        places: list[int] = []
        numbers, index = np.empty((1, 0)), None
        if given is not None:
            columns, numbers, index = _given_numbers(given)
            places = self.positions(columns, "given")
        lacking = self.labels(place for place in needed if place not in places)
        if lacking:
            raise ValueError(f"given must hold the condition_columns; {lacking} are not there")
        table = np.full((len(numbers), self.n_features), np.nan)
        table[:, places] = numbers
        return table, index


def _given_numbers(given: Any) -> tuple[list[Any], Floats, pd.Index[Any] | None]:
    """Return the columns, the values (cases, columns) and the index of given values."""
    if isinstance(given, pd.DataFrame):
        columns, content, index = list(given.columns), given.to_numpy(), given.index
    elif isinstance(given, Mapping):
        columns, index = list(given), None
        several = [label for label, value in given.items() if np.ndim(value) > 0]
        if several:
            raise TypeError(
                f"given must hold one number for {several[0]!r}, got {given[several[0]]!r:.80}; use a frame "
                "for several cases"
            )
        content = np.array([list(given.values())], dtype=object)
    else:
        raise TypeError(
            f"given must be a mapping from columns to values or a frame, got {type(given).__name__}"
        )
    if not columns or not len(content):
        raise ValueError("given must hold at least one column and one case; leave it out to draw freely")
    try:
        numbers = np.asarray(content, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"given must hold numbers, got {content[0].tolist()}") from error
    if not np.isfinite(numbers).all():
        raise ValueError(
            f"given must hold finite values, got {numbers[~np.isfinite(numbers)][0]}; leave out the columns "
            "whose value is not known"
        )
    return columns, numbers, index


def _refuse_other_types(X: Any) -> None:
    """Raise TypeError, naming them, if a frame has columns that are neither numbers nor booleans."""
    if not isinstance(X, pd.DataFrame):
        return
    wrong = [
        (name, dtype)
        for name, dtype in zip(X.columns, X.dtypes, strict=True)
        if not (pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_object_dtype(dtype))
        or pd.api.types.is_complex_dtype(dtype)
    ]
    if wrong:
        raise TypeError(
            f"columns {[name for name, _ in wrong[:5]]} of X hold {wrong[0][1]}; expected numbers. "
            "Categories have no place in a law of vectors: encode them (one 0/1 column a category), or leave "
            "them out"
        )


def _text_column(X: Any) -> str:
    """Return in words which column of a frame holds text, if one can be told."""
    if not isinstance(X, pd.DataFrame):
        return ""
    for name, column in X.items():
        if pd.to_numeric(column, errors="coerce").isna().sum() > column.isna().sum():
            return f" in column {name!r}"
    return ""
