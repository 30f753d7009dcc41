"""Sets of molecules are what their cards say, or are skipped with the reason why they cannot be had."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import sciffusion.datasets as datasets
from sciffusion.datasets import (
    DatasetUnavailableError,
    MoleculeDataset,
    fetch_assay,
    fetch_moses,
    fetch_moses_filters,
    fetch_solubility,
    list_molecule_datasets,
    molecule_card,
    molecule_loader,
)
from sciffusion.datasets.__main__ import reference_page

# Rows and different strings, counted from the published files and not taken from the cards.
SIZES = {
    "moses_test": (176074, 176074),
    "moses_test_scaffolds": (176225, 176225),
    "nci": (4999, 4900),
    "freesolv": (642, 642),
    "solubility_train": (1025, 1023),
    "solubility_test": (257, 257),
    "chembl_drugs": (1935, 1935),
    "chembl_samples": (2000, 2000),
    "assay_CHEMBL204_Ki": (2754, 2754),
    "assay_CHEMBL2835_Ki": (615, 615),
    "assay_CHEMBL4616_EC50": (682, 682),
}


@cache
def _load(name: str) -> MoleculeDataset | str:
    try:
        return molecule_loader(name)()
    except (ImportError, DatasetUnavailableError) as error:
        return str(error)


def load(name: str) -> MoleculeDataset:
    outcome = _load(name)
    if isinstance(outcome, str):
        pytest.skip(f"the source of {name} cannot be had: {outcome}")
    return outcome


def test_every_set_is_listed_and_public() -> None:
    table = list_molecule_datasets()
    assert set(SIZES) | {"moses_train"} <= set(table.index)
    assert sum(name.startswith("assay_") for name in table.index) == 30
    assert table.loc["moses_train", "molecules"] == 1584663
    assert {call.partition("(")[0] for call in table["loader"]} <= set(datasets.__all__)
    assert table.loc["moses_test", "loader"] == "fetch_moses(split='test')"
    with pytest.raises(ValueError, match=r"'mose'.*moses_train"):
        molecule_card("mose")


@pytest.mark.parametrize("name", SIZES)
def test_a_set_is_what_its_card_says(name: str) -> None:
    data, card = load(name), molecule_card(name)
    assert (len(data), len(set(data.smiles))) == SIZES[name]
    assert (card.n_rows, card.n_distinct) == SIZES[name]
    assert all(isinstance(string, str) and string for string in data.smiles)
    assert list(data.y.columns) == list(card.targets)
    assert all(data.y.dtypes == np.float64)
    for column in data.frame.columns:
        assert card.describe(str(column)).meaning


@pytest.mark.parametrize("name", list_molecule_datasets().index)
def test_a_card_is_complete(name: str) -> None:
    card = molecule_card(name)
    assert re.fullmatch(r"[0-9a-f]{64}", card.origin.sha256)
    flat = "".join(str(card).split())
    for text in (card.call, card.citation, card.licence, str(card.n_rows), *card.notes):
        assert "".join(text.split()) in flat
    assert max(map(len, str(card).splitlines())) <= 100


@pytest.mark.parametrize(
    "name", ["nci", "solubility_train", "solubility_test", "freesolv", "assay_CHEMBL2835_Ki"]
)
def test_the_card_counts_what_rdkit_refuses(name: str) -> None:
    chem, log = pytest.importorskip("rdkit.Chem"), pytest.importorskip("rdkit.rdBase")
    strings = load(name).smiles[-800:]
    with log.BlockLogs():
        refused = sum(chem.MolFromSmiles(string) is None for string in strings)
    everything = len(strings) == len(load(name))
    assert (
        refused == molecule_card(name).n_invalid if everything else refused <= molecule_card(name).n_invalid
    )


def test_the_reference_page_lists_every_set_once() -> None:
    page = reference_page()
    for name in list_molecule_datasets().index:
        card = molecule_card(str(name))
        assert page.count(f"   * - ``{card.call}``\n") == 1
        assert (card.origin.sha256 in page) == (card.loader != "fetch_assay")


def test_the_parts_of_moses_share_no_molecule() -> None:
    test, scaffolds = set(load("moses_test").smiles), set(load("moses_test_scaffolds").smiles)
    assert not test & scaffolds


def test_targets_are_in_their_units() -> None:
    energies = load("freesolv").frame.set_index("name")["hydration_energy"]
    assert energies["methane"] == pytest.approx(2.0, abs=0.2)  # kcal/mol, a textbook value
    frame = load("solubility_train").frame.set_index("name")
    assert frame.loc["n-pentane", "log_solubility"] == pytest.approx(-3.18)
    assert set(frame["class"]) == {"low", "medium", "high"}
    assay = load("assay_CHEMBL204_Ki").frame
    assert assay["activity"].between(-7, 2).all()
    assert (assay["test"].sum(), assay["cliff"].sum()) == (553, 1094)


def test_the_filters_are_patterns_with_names() -> None:
    chem = pytest.importorskip("rdkit.Chem")
    try:
        filters = fetch_moses_filters()
    except DatasetUnavailableError as error:
        pytest.skip(f"the source cannot be had: {error}")
    assert filters.groupby(level=0).size().to_dict() == {"mcf": 22, "pains": 480}
    assert all(chem.MolFromSmarts(smarts) is not None for smarts in filters["smarts"])
    assert not filters["name"].duplicated().any()


def test_draws_repeat_and_keep_the_order_of_the_file() -> None:
    data = load("freesolv")
    first, again = data.sample(50, random_state=3), data.sample(50, random_state=3)
    pd.testing.assert_frame_equal(first, again)
    places = [data.smiles.index(string) for string in first["smiles"]]
    assert places == sorted(set(places))
    with pytest.raises(ValueError, match="1 to 642"):
        data.sample(643)


def test_words_that_name_no_set_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'valid'.*'train', 'test', 'test_scaffolds'"):
        fetch_moses("valid")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'all'"):
        fetch_solubility("all")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="CHEMBL204_Ki"):
        fetch_assay("thrombin")


def test_another_table_than_the_cards_is_refused() -> None:
    data = load("freesolv")
    with pytest.raises(ValueError, match="its card says"):
        MoleculeDataset(data.frame[:-1], data.card)
    with pytest.raises(ValueError, match="columns"):
        MoleculeDataset(data.frame.drop(columns="name"), data.card)
    with pytest.raises(ValueError, match="missing or infinite"):
        MoleculeDataset(data.frame.assign(hydration_energy=np.nan), data.card)


def test_a_changed_file_is_refused_and_none_is_got_without_pip(tmp_path: Path) -> None:
    folder = tmp_path / "molsets-0.3.1"
    folder.mkdir()
    (folder / "test.csv.gz").write_bytes(b"SMILES\nC\n")
    with pytest.raises(datasets.DatasetIntegrityError, match=r"test\.csv\.gz"):
        fetch_moses("test", folder=tmp_path)


def test_listing_imports_no_chemistry() -> None:
    program = (
        "import sys, sciffusion.datasets as d; d.list_molecule_datasets()\n"
        "print(sorted({'rdkit', 'moses', 'datamol', 'MoleculeACE', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
