"""Survival sets that lifelines (MIT licence) carries: rossi, lung, larynx, kidney_transplant."""

from __future__ import annotations

import pandas as pd

from .assembly import assemble, require, with_categories
from .cards import Column, DatasetCard, Origin
from .survival_dataset import SurvivalDataset

__all__ = ["load_kidney_transplant", "load_larynx", "load_lung", "load_rossi"]

LICENCE = "public teaching data; lifelines is under the MIT licence"
VERSION = "0.30.3"

ROSSI = DatasetCard(
    name="rossi",
    title="Rearrest of 432 released convicts",
    kind="load",
    citation="Rossi, Berk, Lenihan, Money, Work and Crime, 1980; Allison, Survival Analysis Using SAS, 1995",
    licence=LICENCE,
    origin=Origin(
        "lifelines",
        VERSION,
        "lifelines/datasets/rossi.csv",
        "0214400170e07f3015a285edca2014cac0dae8aac125fcbaad642490e05f892c",
    ),
    n_rows=432,
    n_events=114,
    time_unit="weeks since release, 1 to 52",
    event_meaning="rearrested",
    columns=(
        Column("fin", "1 = received financial aid (randomised)"),
        Column("age", "age at release", "years"),
        Column("race", "1 = black, 0 = other"),
        Column("wexp", "1 = full-time work experience before prison"),
        Column("mar", "1 = married at release"),
        Column("paro", "1 = released on parole"),
        Column("prio", "number of earlier convictions"),
    ),
    notes=("Every censored row has time 52: only the events carry times before the end of the study.",),
)

LUNG = DatasetCard(
    name="lung",
    title="Advanced lung cancer, North Central Cancer Treatment Group",
    kind="load",
    citation="Loprinzi et al., Journal of Clinical Oncology 12:601-607, 1994",
    licence=LICENCE,
    origin=Origin(
        "lifelines",
        VERSION,
        "lifelines/datasets/lung.csv",
        "16ebd02c38bbb5708186d600cff80ad84d0764974619436f83ba4a605e77eb44",
    ),
    n_rows=228,
    n_events=165,
    time_unit="days since enrolment",
    event_meaning="died",
    columns=(
        Column("age", "age", "years"),
        Column("sex", "1 = male, 2 = female"),
        Column("ph.ecog", "ECOG performance score rated by the physician, 0 (good) to 5 (dead)"),
        Column("ph.karno", "Karnofsky score rated by the physician, 0 (bad) to 100 (good)"),
        Column("pat.karno", "Karnofsky score rated by the patient, 0 (bad) to 100 (good)"),
        Column("meal.cal", "energy eaten at meals", "kcal"),
        Column("wt.loss", "weight lost in the last six months", "pounds"),
    ),
    dropped=("inst: code of the institution, a label and not a covariate",),
)

LARYNX = DatasetCard(
    name="larynx",
    title="Cancer of the larynx, 90 men",
    kind="load",
    citation="Kardaun, Statistica Neerlandica 37:103-125, 1983",
    licence=LICENCE,
    origin=Origin(
        "lifelines",
        VERSION,
        "lifelines/datasets/larynx.csv",
        "0692a7d3df379e973a67915964c538718b7a54a22287647b0ae86e895df18fc1",
    ),
    n_rows=90,
    n_events=50,
    time_unit="years since first treatment",
    event_meaning="died",
    columns=(
        Column("age", "age at diagnosis", "years"),
        Column("Stage_*", "1 = the disease was at this stage; stage I has all three 0"),
    ),
)

KIDNEY_TRANSPLANT = DatasetCard(
    name="kidney_transplant",
    title="Death after kidney transplantation, 863 patients",
    kind="load",
    citation="Klein and Moeschberger, Survival Analysis, 1997, data set D.3",
    licence=LICENCE,
    origin=Origin(
        "lifelines",
        VERSION,
        "lifelines/datasets/kidney_transplant.csv",
        "5e276e73eb144cba9725b4353a09a81f88b80db6fdbfe4ac841ca4a2f54eb91c",
    ),
    n_rows=863,
    n_events=140,
    time_unit="days since transplantation",
    event_meaning="died",
    columns=(
        Column("age", "age at transplantation", "years"),
        Column("black_male", "1 = black and male; white women have all three 0"),
        Column("white_male", "1 = white and male"),
        Column("black_female", "1 = black and female"),
    ),
)


def _load(card: DatasetCard, time: str, event: str, dropped: tuple[str, ...] = ()) -> SurvivalDataset:
    source = require("lifelines.datasets", "lifelines")
    table: pd.DataFrame = getattr(source, f"load_{card.name}")()
    X = with_categories(table.drop(columns=[time, event, *dropped]))
    return assemble(card, X, table[time], table[event])


def load_rossi() -> SurvivalDataset:
    """Return the rearrest study of Rossi et al. (432 rows, 73.6 % censored, weeks).

    Returns
    -------
    SurvivalDataset
        Seven covariates; see ``dataset_card("rossi")``.

    Raises
    ------
    ImportError
        If lifelines is not installed.
    """
    return _load(ROSSI, "week", "arrest")


def load_lung() -> SurvivalDataset:
    """Return the NCCTG lung cancer study (228 rows, 27.6 % censored, days).

    Returns
    -------
    SurvivalDataset
        Seven covariates with missing values; see ``dataset_card("lung")``.

    Raises
    ------
    ImportError
        If lifelines is not installed.
    """
    return _load(LUNG, "time", "status", ("inst",))


def load_larynx() -> SurvivalDataset:
    """Return the larynx cancer study (90 rows, 44.4 % censored, years).

    Returns
    -------
    SurvivalDataset
        Four covariates; see ``dataset_card("larynx")``.

    Raises
    ------
    ImportError
        If lifelines is not installed.
    """
    return _load(LARYNX, "time", "death")


def load_kidney_transplant() -> SurvivalDataset:
    """Return deaths after kidney transplantation (863 rows, 83.8 % censored, days).

    Returns
    -------
    SurvivalDataset
        Four covariates; see ``dataset_card("kidney_transplant")``.

    Raises
    ------
    ImportError
        If lifelines is not installed.
    """
    return _load(KIDNEY_TRANSPLANT, "time", "death")
