"""From a raw table to a checked :class:`SurvivalDataset`: shared by all loaders."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from .cards import DatasetCard
from .survival_dataset import SurvivalDataset

__all__ = ["assemble", "require", "with_categories"]

MISSING_LABELS = ("missing", "NA", "")


def require(module: str, distribution: str) -> ModuleType:
    """Import ``module``, or say which distribution to install.

    Raises
    ------
    ImportError
        If it is not installed; the message names the pip command.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(
            f"this data set is read from {distribution}, which cannot be imported ({error}); "
            f"install it with 'pip install {distribution}'"
        ) from error


def with_categories(table: pd.DataFrame, categorical: Iterable[str] = ()) -> pd.DataFrame:
    """Return ``table`` with float64 columns and string categoricals.

    Text columns, categoricals and the columns named in ``categorical`` become unordered categoricals of
    strings with sorted categories; the labels "missing", "NA" and "" become NaN. All other columns become
    float64.
    """
    named = set(categorical)
    result: dict[Any, pd.Series[Any]] = {}
    for name in table.columns:
        column = table[name]
        if str(name) in named or not pd.api.types.is_numeric_dtype(column.dtype):
            text = column.astype("string").str.strip()
            result[name] = text.mask(text.isin(MISSING_LABELS)).astype(object).astype("category")
        else:
            result[name] = column.astype(np.float64)
    return pd.DataFrame(result, index=table.index).reset_index(drop=True)


def assemble(
    card: DatasetCard, X: pd.DataFrame, time: ArrayLike, event: ArrayLike, groups: ArrayLike | None = None
) -> SurvivalDataset:
    """Return the data set, after comparing its size and columns with the card.

    Raises
    ------
    ValueError
        If the number of rows or events, or a column, differs from the card: the installed package then
        carries other data than the card describes.
    """
    times = np.array(time, dtype=np.float64)
    events = np.array(event).astype(np.bool_)
    found = (len(X), int(events.sum()))
    if found != (card.n_rows, card.n_events):
        raise ValueError(
            f"{card.name} has (rows, events) = {found}, its card says {(card.n_rows, card.n_events)}: the "
            f"installed source differs from {card.origin}"
        )
    for column in X.columns:
        card.describe(str(column))
    return SurvivalDataset(X, times, events, card, None if groups is None else np.array(groups))
