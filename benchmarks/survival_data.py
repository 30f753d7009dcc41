"""The ten survival data sets of the comparison, and those for choosing; one common shape for all.

Every set is free of columns known only after the outcome (the loaders in `sciffusion.datasets` say what they
drop and why). Paired organs of one person share a group, so that a person is never in both parts of a fold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from sciffusion.datasets import dataset_loader

__all__ = ["DATASETS", "DEVELOPMENT_SETS", "SMALL_SET_ROWS", "SurvivalData", "is_small", "load"]

SMALL_SET_ROWS = 700
"""Sets with fewer rows are small: the slow models run on them only."""


@dataclass(frozen=True)
class SurvivalData:
    """Covariates and right-censored outcome of one cohort.

    Attributes
    ----------
    name : str
        Short name of the set.
    X : DataFrame of shape (n, d)
        Raw covariates: numbers with NaN, and pandas categoricals.
    time : ndarray of shape (n,)
        Observed time, in the set's own unit, >= 0.
    event : ndarray of bool, shape (n,)
        True where the event was seen, False where the row is censored.
    groups : ndarray of shape (n,) or None
        Rows with equal values belong together and stay on one side of a split.
    """

    name: str
    X: pd.DataFrame
    time: np.ndarray
    event: np.ndarray
    groups: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> SurvivalData:
        """Give the rows at these positions as a set of its own."""
        groups = None if self.groups is None else self.groups[rows]
        X = self.X.iloc[rows].reset_index(drop=True)
        return SurvivalData(self.name, X, self.time[rows], self.event[rows], groups)


DATASETS = (
    "veterans",
    "breast_cancer",
    "pbc",
    "retinopathy",
    "rossi",
    "whas500",
    "vlbw",
    "gbsg2",
    "rotterdam",
    "flchain",
)
"""From few rows to many."""

DEVELOPMENT_SETS = ("larynx", "lung", "kidney_transplant", "ovarian", "aids")
"""Sets outside the comparison, on which choices are made."""


def load(name: str) -> SurvivalData:
    """Load one set by its short name.

    Raises
    ------
    ValueError
        If there is no set of that name.
    """
    known = (*DATASETS, *DEVELOPMENT_SETS)
    if name not in known:
        raise ValueError(f"name must be one of {sorted(known)}, got {name!r}")
    data = dataset_loader(name)()
    return SurvivalData(name, data.X, data.time, data.event, data.groups)


def is_small(data: SurvivalData) -> bool:
    """Say whether the slow models run on this set."""
    return len(data.time) < SMALL_SET_ROWS
