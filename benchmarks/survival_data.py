"""The ten survival data sets of the comparison, one common shape for all.

Every set is free of columns known only after the outcome (the loaders in `sciffusion.datasets` say what they
drop and why). Paired organs of one person share a group, so that a person is never in both parts of a fold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

__all__ = ["DATASETS", "SMALL_SET_ROWS", "SurvivalData", "is_small", "load"]

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


def _from_sksurv(loader: str, drop: tuple[str, ...] = ()) -> SurvivalData:
    from sksurv import datasets

    X, y = getattr(datasets, loader)()
    event_field, time_field = y.dtype.names
    return SurvivalData(
        loader, X.drop(columns=list(drop)), y[time_field].astype(float), y[event_field].astype(bool)
    )


def _from_survset(name: str, group: str | None = None, drop: tuple[str, ...] = ()) -> SurvivalData:
    from SurvSet.data import SurvLoader

    frame = SurvLoader().load_dataset(name)["df"]
    groups = None if group is None else frame[group].to_numpy()
    X = frame.drop(columns=["pid", "time", "event", *drop, *([group] if group not in (None, "pid") else [])])
    for column in X.columns:
        if column.startswith("fac_"):
            X[column] = X[column].astype(str).astype("category")
        else:
            X[column] = X[column].astype(float)
    return SurvivalData(name, X, frame["time"].to_numpy(float), frame["event"].to_numpy(bool), groups)


def _rossi() -> SurvivalData:
    from lifelines.datasets import load_rossi

    frame = load_rossi()
    X = frame.drop(columns=["week", "arrest"]).astype(float)
    return SurvivalData("rossi", X, frame["week"].to_numpy(float), frame["arrest"].to_numpy(bool))


DATASETS: dict[str, Callable[[], SurvivalData]] = {
    "veterans": lambda: _from_sksurv("load_veterans_lung_cancer"),
    "breast_cancer": lambda: _from_sksurv("load_breast_cancer"),
    "pbc": lambda: _from_survset("pbc"),
    "retinopathy": lambda: _from_survset("retinopathy", group="pid"),
    "rossi": _rossi,
    "whas500": lambda: _from_sksurv("load_whas500", drop=("los",)),
    "vlbw": lambda: _from_survset("vlbw"),
    "gbsg2": lambda: _from_sksurv("load_gbsg2"),
    "rotterdam": lambda: _from_survset("rott2"),
    "flchain": lambda: _from_sksurv("load_flchain", drop=("chapter",)),
}


def load(name: str) -> SurvivalData:
    """Load one set by its short name.

    Raises
    ------
    ValueError
        If there is no set of that name.
    """
    if name not in DATASETS:
        raise ValueError(f"name must be one of {sorted(DATASETS)}, got {name!r}")
    data = DATASETS[name]()
    return SurvivalData(name, data.X, data.time, data.event, data.groups)


def is_small(data: SurvivalData) -> bool:
    """Say whether the slow models run on this set."""
    return len(data.time) < SMALL_SET_ROWS
