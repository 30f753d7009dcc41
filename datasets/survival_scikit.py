"""Survival sets that scikit-survival carries, read where it is installed and never required."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .assembly import assemble, require, with_categories
from .cards import DatasetCard
from .survival_dataset import SurvivalDataset
from .survival_scikit_cards import AIDS, BREAST_CANCER, FLCHAIN, GBSG2, VETERANS, WHAS500

__all__ = ["load_aids", "load_breast_cancer", "load_flchain", "load_gbsg2", "load_veterans", "load_whas500"]

Table = tuple[pd.DataFrame, NDArray[Any]]


def _read(function: str) -> Table:
    source = require("sksurv.datasets", "scikit-survival")
    table, target = getattr(source, function)()
    return table, target


def _assemble(
    card: DatasetCard, table: pd.DataFrame, target: NDArray[Any], dropped: tuple[str, ...] = ()
) -> SurvivalDataset:
    event, time = target.dtype.names or ()
    X = with_categories(table.drop(columns=list(dropped)))
    return assemble(card, X, target[time], target[event])


def load_veterans() -> SurvivalDataset:
    """Return the Veterans' lung cancer trial (137 rows, 6.6 % censored, days).

    Returns
    -------
    SurvivalDataset
        Six covariates; see ``dataset_card("veterans")``.

    Raises
    ------
    ImportError
        If scikit-survival is not installed.
    """
    return _assemble(VETERANS, *_read("load_veterans_lung_cancer"))


def load_whas500() -> SurvivalDataset:
    """Return the Worcester Heart Attack Study (500 rows, 57.0 % censored, days), without ``los``.

    Returns
    -------
    SurvivalDataset
        Thirteen covariates; see ``dataset_card("whas500")``.

    Raises
    ------
    ImportError
        If scikit-survival is not installed.
    """
    return _assemble(WHAS500, *_read("load_whas500"), dropped=("los",))


def load_gbsg2() -> SurvivalDataset:
    """Return the German Breast Cancer Study Group 2 (686 rows, 56.4 % censored, days).

    Returns
    -------
    SurvivalDataset
        Eight covariates; see ``dataset_card("gbsg2")``.

    Raises
    ------
    ImportError
        If neither scikit-survival nor lifelines is installed.

    Notes
    -----
    Rows and columns come in scikit-survival's order, also where lifelines is the source.
    """
    try:
        return _assemble(GBSG2, *_read("load_gbsg2"))
    except ImportError:
        table = require("lifelines.datasets", "lifelines").load_gbsg2()
        X = with_categories(table[[column.name for column in GBSG2.columns]])
        return assemble(GBSG2, X, table["time"], table["cens"])


def load_breast_cancer() -> SurvivalDataset:
    """Return metastasis-free survival with gene expression (198 rows, 74.2 % censored, days).

    Returns
    -------
    SurvivalDataset
        Eighty covariates; see ``dataset_card("breast_cancer")``.

    Raises
    ------
    ImportError
        If scikit-survival is not installed.
    """
    table, target = _read("load_breast_cancer")
    grade = table["grade"].astype(str).replace("unkown", "unknown")  # misspelt in the file
    return _assemble(BREAST_CANCER, table.assign(grade=grade), target)


def load_flchain() -> SurvivalDataset:
    """Return the free light chain study (7874 rows, 72.5 % censored, days), without ``chapter``.

    Returns
    -------
    SurvivalDataset
        Eight covariates, ``creatinine`` with missing values; see ``dataset_card("flchain")``.

    Raises
    ------
    ImportError
        If scikit-survival is not installed.
    """
    table, target = _read("load_flchain")
    ordered = {name: table[name].astype(str).astype(np.float64) for name in ("flc.grp", "sample.yr")}
    return _assemble(FLCHAIN, table.assign(**ordered), target, dropped=("chapter",))


def load_aids() -> SurvivalDataset:
    """Return AIDS Clinical Trials Group study 320 (1151 rows, 91.7 % censored, days).

    Returns
    -------
    SurvivalDataset
        Eleven covariates, ``karnof`` as a number; see ``dataset_card("aids")``.

    Raises
    ------
    ImportError
        If scikit-survival is not installed.
    """
    table, target = _read("load_aids")
    return _assemble(AIDS, table.assign(karnof=table["karnof"].astype(str).astype(np.float64)), target)
