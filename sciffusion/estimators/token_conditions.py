"""Properties of sequences as what a network is conditioned on.

Numbers are standardised by their mean and standard deviation over the training rows where they are known;
classes become one indicator each. A property that is not known is NaN throughout, which is also how a
network is asked without a condition.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["ConditionForm"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ConditionForm:
    """How properties become numbers for a network.

    Parameters
    ----------
    names : tuple of str
        Names of the properties where they came in a frame or a Series; empty otherwise.
    means, scales : tuple of float
        Of numbers; empty for classes.
    classes : tuple
        Classes in their order; empty for numbers.
    """

    names: tuple[str, ...] = ()
    means: tuple[float, ...] = ()
    scales: tuple[float, ...] = ()
    classes: tuple[Any, ...] = ()

    @property
    def n_conditions(self) -> int:
        """Numbers a sequence that the network is given."""
        return len(self.classes) or len(self.means)

    @classmethod
    def learn(cls, y: Any, n_rows: int) -> tuple[ConditionForm, Floats]:
        """Return the form of properties, and these in it.

        Parameters
        ----------
        y : array-like of shape (n,) or (n, p), or None
            Numbers, or one class a sequence (strings or booleans); NaN or None where unknown.
        n_rows : int
            Sequences.

        Raises
        ------
        ValueError
            If shapes differ, a property is never known, or a number is infinite.
        """
        if y is None:
            return cls(), np.empty((n_rows, 0))
        names = _names(y)
        table = _table(y)
        if len(table) != n_rows:
            raise ValueError(f"y must have one row a sequence, got {len(table)} rows for {n_rows} sequences")
        if table.dtype.kind == "O":
            known = table[~pd.isna(table)]
            if table.shape[1] != 1 or not len(known):
                raise ValueError(f"y must hold one class a sequence, got an array of shape {table.shape}")
            form = cls(names, classes=_sorted_classes(pd.unique(known).tolist()))
        else:
            form = cls(names, *_moments(table))
        return form, form.encode(y, n_rows, "y")

    def encode(self, values: Any, n_rows: int, name: str = "condition") -> Floats:
        """Return properties as a network takes them.

        Parameters
        ----------
        values : object
            One condition for all rows (a number, a class, a list of p numbers, a mapping from names to
            numbers) or one a row; None for none.
        n_rows : int
            Rows.
        name : str
            What errors call the argument.

        Returns
        -------
        ndarray of shape (n_rows, n_conditions)

        Raises
        ------
        ValueError
            If the model knows no properties, or not this one, or shapes do not fit.
        """
        if values is None:
            return np.full((n_rows, self.n_conditions), np.nan)
        if not self.n_conditions:
            raise ValueError(f"{name} is given, but this model was fitted without properties (y)")
        if self.classes:
            return self._classes(values, n_rows, name)
        return self._numbers(values, n_rows, name)

    def _classes(self, values: Any, n_rows: int, name: str) -> Floats:
        if isinstance(values, Mapping):
            raise ValueError(f"{name} must be a class, or one a row, got a mapping: {values!r:.80}")
        scalar = isinstance(values, str) or np.ndim(values) == 0
        labels = [values] * n_rows if scalar else list(_table(values)[:, 0])
        if len(labels) != n_rows:
            raise ValueError(f"{name} must be one class or {n_rows}, got {len(labels)}")
        known = np.array([not pd.isna(label) for label in labels])
        unknown = {label for label in labels if not pd.isna(label) and label not in self.classes}
        if unknown:
            raise ValueError(
                f"{name} holds {sorted(map(repr, unknown))}, expected classes among {list(self.classes)}"
            )
        codes = np.array([self.classes.index(one) if not pd.isna(one) else 0 for one in labels])
        return np.where(known[:, None], np.eye(len(self.classes))[codes], np.nan)

    def _numbers(self, values: Any, n_rows: int, name: str) -> Floats:
        count = len(self.means)
        if isinstance(values, Mapping):
            values = self._named(values, name)
        try:
            table = np.asarray(values, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} must be numbers, got {values!r:.80}") from error
        if np.isinf(table).any():
            raise ValueError(f"{name} must be finite, or NaN where it is not known; got infinity")
        fits_rows = table.shape in ((n_rows, count), (n_rows,) if count == 1 else ())
        if not fits_rows and table.shape not in ((count,), () if count == 1 else (count,)):
            raise ValueError(
                f"{name} must be {'a number' if count == 1 else f'{count} numbers'} or have shape "
                f"({n_rows}, {count}), got shape {table.shape}"
            )
        table = table.reshape(-1, count) if fits_rows else np.tile(table.reshape(1, count), (n_rows, 1))
        standardised: Floats = (table - np.array(self.means)) / np.array(self.scales)
        return standardised

    def _named(self, values: Mapping[Any, Any], name: str) -> list[float]:
        unknown = [key for key in values if key not in self.names]
        if unknown:
            raise ValueError(f"{name} names {unknown}, expected names among {list(self.names)}")
        return [values.get(key, np.nan) for key in self.names]

    def to_dict(self) -> dict[str, Any]:
        """Return the form as plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ConditionForm:
        """Rebuild a form from what `to_dict` returned."""
        return cls(**{name: tuple(value) for name, value in values.items()})


def _names(y: Any) -> tuple[str, ...]:
    if isinstance(y, pd.DataFrame):
        return tuple(map(str, y.columns))
    if isinstance(y, pd.Series) and y.name is not None:
        return (str(y.name),)
    return ()


def _sorted_classes(found: list[Any]) -> tuple[Any, ...]:
    try:
        return tuple(sorted(found))
    except TypeError as error:
        kinds = sorted({type(one).__name__ for one in found})
        raise ValueError(f"y must hold classes of one kind, got {' and '.join(kinds)}") from error


def _table(y: Any) -> NDArray[Any]:
    """Return properties as a table, of objects where they are classes."""
    values = y.to_numpy() if isinstance(y, pd.DataFrame | pd.Series) else np.asarray(y)
    if values.ndim not in (1, 2):
        raise ValueError(f"y must have shape (n,) or (n, p), got {values.shape}")
    table = values.reshape(len(values), -1)
    if table.dtype.kind in "iuf":
        return table.astype(np.float64)
    if table.dtype.kind == "O":
        try:
            return table.astype(np.float64) if not _holds_booleans(table) else table
        except (TypeError, ValueError):
            return table
    return table.astype(object)


def _holds_booleans(table: NDArray[Any]) -> bool:
    return any(isinstance(value, bool | np.bool_) for value in table[:, 0])


def _moments(table: Floats) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if np.isinf(table).any():
        row = int(np.isinf(table).any(axis=1).argmax())
        raise ValueError(f"y must be finite, or NaN where it is not known; row {row} holds infinity")
    if table.shape[1] == 0 or np.isnan(table).all(axis=0).any():
        raise ValueError("y must hold at least one known number in every column")
    scales = np.nanstd(table, axis=0)
    return tuple(np.nanmean(table, axis=0).tolist()), tuple(np.where(scales > 0.0, scales, 1.0).tolist())
