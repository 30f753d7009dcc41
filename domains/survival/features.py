r"""Covariates as a matrix of numbers: missing values, categories and scaling.

===========  ======================================================================================
column       becomes
===========  ======================================================================================
numeric      :math:`(x - \text{mean})/\text{std}`, clipped to 6 standard deviations; a missing value
             becomes the mean, and if any was missing in training, a 0/1 indicator column is added
boolean      the same, as 0 and 1
categorical  one 0/1 column a category with at least 5 training rows (one for two categories); a
             missing, rare or unseen category is 0 in all of them, and if any was missing in
             training, an indicator column is added
constant     nothing: columns without variation in training are left out
===========  ======================================================================================

Strings count as categories, and a column of Python objects as what all of its present values are.

A column with two values is centred and scaled to a *range* of 1 instead of a standard deviation of 1, so that
a rare category does not become a huge number.  Clipping bounds the extrapolation for patients far outside
the training data.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["FeatureEncoder", "infinite_columns"]

_CLIP = 6.0
_SMALLEST_STD = 1e-8
_RARE = 5
_OBJECT_KINDS: dict[str, Literal["numeric", "categorical"]] = {
    "string": "categorical", "empty": "categorical", "boolean": "numeric", "integer": "numeric",
    "floating": "numeric", "mixed-integer-float": "numeric", "decimal": "numeric",
}  # fmt: skip


@dataclass(frozen=True)
class _Column:
    """How one column of the input is encoded; ``categories`` is None for numbers."""

    name: str
    categories: tuple[str, ...] | None
    missing: bool

    def encode(self, values: pd.Series[Any]) -> NDArray[np.float64]:
        """Return one column or several, with NaN where a number is missing."""
        absent = values.isna().to_numpy()
        if self.categories is None:
            parts = [self._numbers(values)]
        else:
            names = _texts(values).to_numpy(dtype=object, na_value=np.nan)
            parts = [(names == category).astype(np.float64) for category in self.categories]
        if self.missing:
            parts.append(absent.astype(np.float64))
        return np.stack(parts, axis=1) if parts else np.empty((len(values), 0))

    def _numbers(self, values: pd.Series[Any]) -> NDArray[np.float64]:
        if _kind(values) == "categorical" and values.notna().any():
            raise TypeError(
                f"column {self.name!r} of X held numbers in training and now holds "
                f"{values.dropna().iloc[0]!r} (dtype {values.dtype}); give numbers"
            )
        return values.to_numpy(dtype=np.float64, na_value=np.nan)


def _kind(values: pd.Series[Any]) -> Literal["numeric", "categorical"]:
    dtype, found = values.dtype, str(values.dtype)
    if pd.api.types.is_object_dtype(dtype):
        found = pd.api.types.infer_dtype(values, skipna=True)
        if found in _OBJECT_KINDS:
            return _OBJECT_KINDS[found]
    elif isinstance(dtype, pd.CategoricalDtype) or pd.api.types.is_string_dtype(dtype):
        return "categorical"
    elif pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_complex_dtype(dtype):
        return "numeric"
    raise TypeError(
        f"column {values.name!r} of X holds {found}; expected numbers, booleans, strings or a pandas "
        "categorical (convert dates to numbers, and mixed columns with astype('category'))"
    )


def _texts(values: pd.Series[Any]) -> pd.Series[Any]:
    """Return categories as text, by which they are known; a whole number is the same with and without .0."""
    return values.astype("object").map(_text, na_action="ignore")


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, float | np.floating) and value.is_integer() else str(value)


def infinite_columns(X: pd.DataFrame) -> list[str]:
    """Return the names of the columns that hold an infinite number."""
    return [str(X.columns[place]) for place in range(X.shape[1]) if _holds_infinity(X.iloc[:, place])]


def _holds_infinity(values: pd.Series[Any]) -> bool:
    if pd.api.types.is_object_dtype(values.dtype):
        return bool(values.isin([np.inf, -np.inf]).any())
    return pd.api.types.is_float_dtype(values.dtype) and bool(
        np.isinf(values.to_numpy(np.float64, na_value=np.nan)).any()
    )


class FeatureEncoder:
    """Encoding learned from training rows; arrays are treated as frames of numeric columns.

    Attributes
    ----------
    columns : list
        One entry an input column.
    kept : ndarray of bool
        Which encoded columns vary.
    mean, scale : ndarray of float64
        Of the kept columns, over the training rows without missing values; the scale is the standard
        deviation, or the range of a column with two values.
    """

    columns: list[_Column]
    kept: NDArray[np.bool_]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    @property
    def n_outputs(self) -> int:
        """Number of columns of the encoded matrix (at least one: an intercept-like zero column)."""
        return max(len(self.mean), 1)

    def fit(self, X: pd.DataFrame) -> FeatureEncoder:
        """Learn categories, means and scales.

        Parameters
        ----------
        X : DataFrame
            Numeric, boolean, string and categorical columns; NaN allowed.
        """
        self.columns = [self._learn(X.iloc[:, place]) for place in range(X.shape[1])]
        raw = self._raw(X)
        present = np.isfinite(raw)
        counts = np.maximum(present.sum(axis=0), 1)
        largest = np.where(present, np.abs(raw), 0.0).max(axis=0)
        # In units of its largest value a column does not overflow, and its unit of measurement drops out.
        unit = np.where(largest > 0.0, largest, 1.0)
        shares = np.where(present, raw / unit, 0.0)
        mean = shares.sum(axis=0) / counts
        std = np.sqrt((np.where(present, shares - mean, 0.0) ** 2).sum(axis=0) / counts)
        self.kept = std > _SMALLEST_STD  # below, it is the rounding error of a constant
        low = np.where(present, shares, np.inf).min(axis=0)
        high = np.where(present, shares, -np.inf).max(axis=0)
        binary = (~present | (shares == low) | (shares == high)).all(axis=0)
        scale = np.where(binary, high - low, std)
        self.mean, self.scale = (unit * mean)[self.kept], (unit * scale)[self.kept]
        return self

    def transform(self, X: pd.DataFrame) -> NDArray[np.float32]:
        """Encode rows, as float32 of shape ``(rows, n_outputs)`` without missing values."""
        raw = self._raw(X)[:, self.kept]
        if raw.shape[1] == 0:
            return np.zeros((len(X), 1), dtype=np.float32)
        scaled = np.clip((raw - self.mean) / self.scale, -_CLIP, _CLIP)
        return np.where(np.isfinite(scaled), scaled, 0.0).astype(np.float32)

    def to_dict(self) -> dict[str, Any]:
        """Return everything learned, as JSON-able values."""
        return {
            "columns": [asdict(column) for column in self.columns],
            "kept": self.kept.tolist(),
            "mean": self.mean.tolist(),
            "scale": self.scale.tolist(),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> FeatureEncoder:
        """Rebuild an encoder from `to_dict`."""
        encoder = cls()
        encoder.columns = [
            _Column(c["name"], None if c["categories"] is None else tuple(c["categories"]), c["missing"])
            for c in values["columns"]
        ]
        encoder.kept = np.asarray(values["kept"], dtype=bool)
        encoder.mean = np.asarray(values["mean"], dtype=np.float64)
        encoder.scale = np.asarray(values["scale"], dtype=np.float64)
        return encoder

    @staticmethod
    def _learn(values: pd.Series[Any]) -> _Column:
        missing = bool(values.isna().any())
        if _kind(values) == "numeric":
            return _Column(str(values.name), None, missing)
        counts = _texts(values.dropna()).value_counts()
        seen = sorted(counts.index[counts >= min(_RARE, int(counts.max()) if len(counts) else 0)])
        # Two categories without missing values need one column: the second is its complement.
        return _Column(
            str(values.name),
            tuple(seen[1:] if len(counts) == 2 and len(seen) == 2 and not missing else seen),
            missing,
        )

    def _raw(self, X: pd.DataFrame) -> NDArray[np.float64]:
        parts = [column.encode(X.iloc[:, place]) for place, column in enumerate(self.columns)]
        return np.concatenate(parts, axis=1) if parts else np.empty((len(X), 0))
