"""Reading patients from CSV files: what cells mean, and what is refused with which words."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sciffusion.domains.survival.csv_input import (
    covariates,
    covariates_for,
    read_target,
    warn_of_identifiers,
)
from sciffusion.estimators.csv_tables import read_table

TEXT = """age, grade ,centre,smoker,time,died
61,II,1,true,3.5,1
NA,III,2,FALSE,2,0

47, II ,,,10,1
"""


def table_of(tmp_path: Path, text: str, separator: str = ",") -> pd.DataFrame:
    path = tmp_path / "data.csv"
    path.write_text(text, encoding="utf-8")
    return read_table(path, separator)


def test_columns_become_numbers_flags_and_categories(tmp_path: Path) -> None:
    table = table_of(tmp_path, TEXT)
    X = covariates(table.drop(columns=["time", "died"]), ["centre"])
    np.testing.assert_array_equal(X["age"], [61.0, np.nan, 47.0])
    np.testing.assert_array_equal(X["smoker"], [1.0, 0.0, np.nan])
    assert X["grade"].tolist() == ["II", "III", "II"]
    assert isinstance(X["grade"].dtype, pd.CategoricalDtype)
    assert X["centre"].cat.categories.tolist() == ["1", "2"]
    assert X["centre"].isna().tolist() == [False, False, True]


def test_the_target_is_read_by_name(tmp_path: Path) -> None:
    target = read_target(table_of(tmp_path, TEXT), "time", "died")
    assert target.time.tolist() == [3.5, 2.0, 10.0]
    assert target.event.tolist() == [True, False, True]


@pytest.mark.parametrize("codes", [("True", "False"), ("1.0", "0"), ("TRUE", "false"), ("1", "0.0")])
def test_usual_codes_of_the_event(tmp_path: Path, codes: tuple[str, str]) -> None:
    table = table_of(tmp_path, f"t,e\n1,{codes[0]}\n2,{codes[1]}\n")
    assert read_target(table, "t", "e").event.tolist() == [True, False]


def test_other_codes_need_to_be_named(tmp_path: Path) -> None:
    table = table_of(tmp_path, "t,e\n1,dead\n2,alive\n3,lost\n")
    with pytest.raises(ValueError, match=r"found 'alive', 'dead', 'lost'.*--event-value"):
        read_target(table, "t", "e")
    assert read_target(table, "t", "e", ["dead"]).event.tolist() == [True, False, False]
    with pytest.raises(ValueError, match=r"--event-value 'deceased' does not occur"):
        read_target(table, "t", "e", ["deceased"])


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    text = TEXT.replace("10,1", "-1,1")
    with pytest.raises(ValueError, match="negative times in line 5;"):
        read_target(table_of(tmp_path, text), "time", "died")
    with pytest.raises(ValueError, match="missing times in lines 3, 5;"):
        read_target(table_of(tmp_path, "t,e\n1,1\n,1\n2,0\nNaN,0\n"), "t", "e")
    with pytest.raises(ValueError, match="'e' is empty in line 3;"):
        read_target(table_of(tmp_path, "t,e\n1,1\n2,\n"), "t", "e")
    with pytest.raises(ValueError, match="infinite times in line 2;"):
        read_target(table_of(tmp_path, "t,e\ninf,1\n"), "t", "e")


def test_times_that_are_no_numbers(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"time column 't' must hold numbers, found 'soon' in line 3$"):
        read_target(table_of(tmp_path, "t,e\n1,1\nsoon,0\n"), "t", "e")
    with pytest.raises(ValueError, match=r"found '1,5' in line 2 \(a decimal comma\? write a point\)"):
        read_target(table_of(tmp_path, "t;e\n1,5;1\n2;0\n", ";"), "t", "e")


def test_a_missing_column_brings_suggestions(tmp_path: Path) -> None:
    table = table_of(tmp_path, TEXT)
    with pytest.raises(ValueError, match="--time: there is no column 'Tme'; did you mean 'time'"):
        read_target(table, "Tme", "died")
    with pytest.raises(ValueError, match="--event: there is no column 'status'; the columns are age, grade"):
        read_target(table, "time", "status")
    with pytest.raises(ValueError, match="same column 'time'"):
        read_target(table, "time", "time")
    semicolons = table_of(tmp_path, TEXT.replace(",", ";"))
    with pytest.raises(ValueError, match="give the right --separator"):
        read_target(semicolons, "time", "died")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("a,b\n", "a header but no rows"),
        ("a,b\n\n\n", "a header but no rows"),
        ("a,b,a\n1,2,3\n", "several columns named 'a'"),
        ("a,b\n1,2\n1,2,3\n", "is no table: .*line 3"),
    ],
)
def test_files_that_hold_no_table(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as error:
        table_of(tmp_path, text)
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(FileNotFoundError, match="is a folder"):
        read_table(tmp_path)
    (tmp_path / "latin.csv").write_bytes("a,b\ngroß,1\n".encode("latin-1"))
    with pytest.raises(ValueError, match="is not UTF-8 text"):
        read_table(tmp_path / "latin.csv")


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    path = tmp_path / "excel.csv"
    path.write_text("time,e\n1,1\n", encoding="utf-8-sig")
    assert list(read_table(path).columns) == ["time", "e"]


def test_covariates_for_a_model_keep_its_order_and_kinds(tmp_path: Path) -> None:
    table = table_of(tmp_path, TEXT)
    X = covariates_for(table, ["centre", "age"], ["centre"])
    assert list(X.columns) == ["centre", "age"]
    assert X["centre"].cat.categories.tolist() == ["1", "2"]
    assert X["age"].dtype == np.float64
    with pytest.raises(ValueError, match="the model needs the columns 'agee', 'x'; did you mean 'age'"):
        covariates_for(table, ["agee", "x"], [])
    with pytest.raises(
        ValueError, match="column 'grade' must hold numbers, found 'II', 'III' in lines 2, 3, 5"
    ):
        covariates_for(table, ["grade"], [])


def test_nothing_to_predict_from_is_refused(tmp_path: Path) -> None:
    table = table_of(tmp_path, TEXT)
    with pytest.raises(ValueError, match="no column left"):
        covariates(table[[]])
    with pytest.raises(ValueError, match="--categorical: there is no column 'x'"):
        covariates(table, ["x"])


def test_identifiers_are_warned_of_and_measurements_are_not() -> None:
    texts = pd.Series([f"P{k}" for k in range(30)], dtype="category")
    numbers = np.arange(30.0)
    with pytest.warns(UserWarning, match="'name' looks like an identifier.*--drop name"):
        warn_of_identifiers(pd.DataFrame({"name": texts}))
    with pytest.warns(UserWarning, match="'patient_id'"):
        warn_of_identifiers(pd.DataFrame({"patient_id": numbers}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_identifiers(pd.DataFrame({"age": numbers, "marker_id": numbers + 0.5}))


def test_a_typing_error_does_not_make_categories_of_measurements(tmp_path: Path) -> None:
    rows = "".join(f"{age},{stage}\n" for age, stage in zip([*range(40, 60), "6o"], "12x" * 7, strict=True))
    table = table_of(tmp_path, "age,stage\n" + rows)
    with pytest.raises(ValueError, match=r"'age' must hold numbers, found '6o' in line 22; .*--categorical"):
        covariates(table)
    X = covariates(table, ["age"])
    assert len(X["age"].cat.categories) == 21
    assert X["stage"].cat.categories.tolist() == ["1", "2", "x"]  # few distinct numbers are codes
