"""Molecules that a user gives are checked and listed, and properties are those that chemists know."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pandas as pd
import pytest

from sciffusion.domains.molecules import (
    PROPERTY_NAMES,
    InvalidMoleculesError,
    canonical_smiles,
    check_smiles,
    molecular_properties,
    property_function,
)

chem = pytest.importorskip("rdkit.Chem")

GIVEN = ["OCC", "C1CC", "CCO", None, "c1ccccc1", "CC(C)(C)(C)C", "C1=CC=CC=C1", "C C"]
ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"


def test_what_is_no_molecule_is_left_out_and_listed_with_its_row_and_reason() -> None:
    checked = check_smiles(GIVEN, errors="drop")
    assert checked.smiles == ["CCO", "CCO", "c1ccccc1", "c1ccccc1"]
    assert checked.rows.tolist() == [0, 2, 4, 6]
    report = checked.report
    assert (report.n_given, report.n_valid, report.n_repeated) == (8, 4, 2)
    assert report.invalid["row"].tolist() == [1, 3, 5, 7]
    assert report.invalid["smiles"].tolist() == ["C1CC", None, "CC(C)(C)(C)C", "C C"]
    for reason, expected in zip(
        report.invalid["reason"], ["ring 1", "NoneType", "valence", "white"], strict=True
    ):
        assert expected in reason
    assert int(report.reasons.sum()) == 4
    assert "row 1: 'C1CC'" in str(report)


def test_the_strings_can_be_kept_as_they_were() -> None:
    checked = check_smiles(GIVEN, errors="drop", canonical=False)
    assert checked.smiles == ["OCC", "CCO", "c1ccccc1", "C1=CC=CC=C1"]


def test_invalid_molecules_are_refused_with_the_report() -> None:
    with pytest.raises(InvalidMoleculesError, match=r"train holds .*'drop'(.|\n)*row 1") as caught:
        check_smiles(GIVEN, name="train")
    assert caught.value.report.n_valid == 4
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    assert again.report.n_given == 8
    with pytest.raises(ValueError, match="nothing is left"):
        check_smiles(["X", "Y"], errors="drop")


@pytest.mark.parametrize(
    "given",
    [
        pd.Series(["OCC", "C"], index=[7, 3]),
        pd.DataFrame({"molecule": ["OCC", "C"]}),
        np.array([["OCC"], ["C"]]),
        [chem.MolFromSmiles("OCC"), chem.MolFromSmiles("C")],
        iter(["OCC", "C"]),
    ],
)
def test_molecules_come_in_any_shape_of_one_column(given: object) -> None:
    assert check_smiles(given).smiles == ["CCO", "C"]


def test_other_input_is_refused_by_its_name() -> None:
    with pytest.raises(TypeError, match=r"smiles must be a sequence.*'CCO'"):
        check_smiles("CCO")
    with pytest.raises(ValueError, match="empty"):
        check_smiles([])
    with pytest.raises(ValueError, match=r"columns \['a', 'b'\]"):
        check_smiles(pd.DataFrame({"a": ["C"], "b": ["C"]}))
    with pytest.raises(ValueError, match=r"shape \(1, 2\)"):
        check_smiles(np.array([["C", "C"]]))
    with pytest.raises(ValueError, match="errors"):
        check_smiles(["C"], errors="ignore")  # type: ignore[arg-type]


def test_several_processes_give_what_one_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    # Small chunks; threads stand in for processes, which take seconds to start.
    from joblib import parallel_config

    monkeypatch.setattr("sciffusion.domains.molecules.parallel.CHUNK_SIZE", 3)
    with parallel_config(backend="threading"):
        several = check_smiles(GIVEN, errors="drop", n_jobs=2)
    assert several.smiles == check_smiles(GIVEN, errors="drop").smiles
    assert several.rows.tolist() == [0, 2, 4, 6]


def test_canonical_forms_are_equal_for_equal_molecules() -> None:
    assert canonical_smiles(["OCC", "C(O)C", "C1CC", ""]) == ["CCO", "CCO", None, None]


def test_properties_are_the_textbook_values_of_aspirin() -> None:
    row = molecular_properties([ASPIRIN], PROPERTY_NAMES).iloc[0]
    assert row["weight"] == pytest.approx(180.16, abs=0.01)  # g/mol
    assert row["tpsa"] == pytest.approx(63.6, abs=0.01)  # square angstrom
    assert row["n_hydrogen_donors"] == 1
    assert row["n_hydrogen_acceptors"] == 3
    assert row["n_heavy_atoms"] == 13
    assert row["n_rings"] == row["n_aromatic_rings"] == 1
    assert row["n_stereo_centers"] == 0
    assert row["fraction_sp3"] == pytest.approx(1 / 9)
    assert row["logp"] == pytest.approx(1.31, abs=0.01)
    assert row["qed"] == pytest.approx(0.55, abs=0.01)
    assert row["sa"] == pytest.approx(1.58, abs=0.05)


def test_rewards_refuse_strings_that_are_no_molecule() -> None:
    strings = ["C1CCCCC1", "CCO", "C1CC"]
    assert property_function("n_rings")(strings).tolist() == [1.0, 0.0, -math.inf]
    assert property_function("n_rings", invalid=-3)(strings).tolist() == [1.0, 0.0, -3.0]
    assert property_function("qed")([]).shape == (0,)
    function = pickle.loads(pickle.dumps(property_function("tpsa")))
    assert function(["O"]).tolist() == pytest.approx([31.5])


def test_unknown_properties_are_named_before_any_work() -> None:
    with pytest.raises(ValueError, match=r"qed.*'beauty'"):
        property_function("beauty")
    with pytest.raises(ValueError, match="'beauty'"):
        molecular_properties(["C"], ["qed", "beauty"])
