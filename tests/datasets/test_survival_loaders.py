"""Every loader returns what its card says, without the columns that tell the outcome."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import sciffusion.datasets as datasets
from sciffusion.datasets import SurvivalDataset, dataset_card, dataset_loader, list_datasets
from sciffusion.datasets.wheels import DatasetIntegrityError, WheelFile

Load = Callable[[str], SurvivalDataset]

# Rows, covariates and censored percentage, counted from the published files and not taken from the cards.
SIZES = {
    "aids": (1151, 11, 91.7),
    "breast_cancer": (198, 80, 74.2),
    "flchain": (7874, 8, 72.5),
    "gbsg2": (686, 8, 56.4),
    "kidney_transplant": (863, 4, 83.8),
    "larynx": (90, 4, 44.4),
    "lung": (228, 7, 27.6),
    "ovarian": (912, 160, 40.4),
    "pbc": (312, 6, 59.9),
    "retinopathy": (394, 6, 60.7),
    "rossi": (432, 7, 73.6),
    "rotterdam": (2982, 11, 57.3),
    "seer": (4024, 14, 84.7),
    "support2": (9105, 28, 31.9),
    "veterans": (137, 6, 6.6),
    "vlbw": (617, 21, 82.7),
    "whas500": (500, 13, 57.0),
}

FORBIDDEN = {
    "flchain": {"chapter"},
    "whas500": {"los"},
    "pbc": {"id", "time", "status"},
    "retinopathy": {"pid"},
    "rotterdam": {"pid"},
    "seer": {"Survival_Months", "Status"},
    "vlbw": {"pid", "hospstay", "dead", "exit", "cld"},
    "support2": {
        *("hospdead", "sfdm2", "slos", "surv2m", "surv6m", "prg2m", "prg6m", "charges", "totcst", "totmcst"),
        *("avtisst", "dnr", "dnrday", "sps", "aps", "hday", "d.time", "death"),
    },
}

INSTALLED = {"scikit-survival": "sksurv", "lifelines": "lifelines"}


def test_every_set_is_listed_and_tested() -> None:
    table = list_datasets()
    assert set(table.index) == set(SIZES)
    assert set(table["kind"]) == {"load", "fetch"}
    assert [dataset_loader(name).__name__ for name in table.index] == list(table["loader"])
    assert set(table["loader"]) <= set(datasets.__all__)


@pytest.mark.parametrize("name", SIZES)
def test_set_is_what_its_card_says(name: str, load: Load) -> None:
    data, card = load(name), dataset_card(name)
    n_rows, n_columns, censored = SIZES[name]
    assert data.X.shape == (n_rows, n_columns)
    assert round(100.0 * (1.0 - data.event.mean()), 1) == censored
    assert (card.n_rows, round(100.0 * card.censored_share, 1)) == (n_rows, censored)
    for column in data.X.columns:
        assert card.describe(str(column)).meaning
    unused = [entry.name for entry in card.columns if not any(map(entry.describes, map(str, data.X.columns)))]
    assert unused == []


@pytest.mark.parametrize("name", SIZES)
def test_types_and_target(name: str, load: Load) -> None:
    data = load(name)
    assert data.y.dtype.names == ("event", "time")
    assert data.y["event"].dtype == np.bool_
    assert data.y["time"].dtype == np.float64
    np.testing.assert_array_equal(data.y["event"], data.event)
    np.testing.assert_array_equal(data.y["time"], data.time)
    assert set(data.numeric_columns) | set(data.categorical_columns) == set(data.X.columns)
    assert not set(data.numeric_columns) & set(data.categorical_columns)
    assert data.X.index.equals(pd.RangeIndex(len(data)))
    for column in data.categorical_columns:
        levels = data.X[column].cat.categories
        assert all(isinstance(level, str) and level == level.strip() for level in levels)
        assert not {"missing", "nan", "NA", ""} & set(levels)
    assert list(data.frame.columns)[: data.X.shape[1]] == list(data.X.columns)


@pytest.mark.parametrize("name", FORBIDDEN)
def test_columns_that_tell_the_outcome_are_absent(name: str, load: Load) -> None:
    seen = {str(column).removeprefix("num_").removeprefix("fac_") for column in load(name).X.columns}
    assert not seen & FORBIDDEN[name]


@pytest.mark.parametrize("name", SIZES)
def test_no_covariate_repeats_the_outcome(name: str, load: Load) -> None:
    data = load(name)
    for column in data.numeric_columns:
        assert not np.array_equal(data.X[column], data.time)
        assert not np.array_equal(data.X[column], data.event.astype(float))


@pytest.mark.parametrize("name", [name for name in SIZES if list_datasets().loc[name, "kind"] == "load"])
def test_installed_file_is_the_one_on_the_card(name: str) -> None:
    origin = dataset_card(name).origin
    assert origin is not None
    try:
        installed = metadata.distribution(origin.package)
    except metadata.PackageNotFoundError:
        pytest.skip(f"{origin.package} is not installed")
    if installed.version != origin.version:
        pytest.skip(f"the card describes {origin.package} {origin.version}, installed is {installed.version}")
    content = Path(str(installed.locate_file(origin.member))).read_bytes()
    file = WheelFile(origin.package, origin.version, origin.member, len(content), origin.sha256)
    assert file.verify(content, origin.member) == content
    with pytest.raises(DatasetIntegrityError):
        file.verify(content + b" ", origin.member)


def test_eyes_of_one_patient_share_a_group(load: Load) -> None:
    data = load("retinopathy")
    assert data.groups is not None
    pairs = data.frame.groupby("group")
    assert (pairs.size() == 2).all()
    assert (pairs["trt"].nunique() == 2).all()
    assert (pairs["age"].nunique() == 1).all()


def test_pbc_counts_transplants_as_censored_and_can_give_all_columns(load: Load) -> None:
    six = load("pbc")
    full = datasets.fetch_pbc(covariates="all")
    assert full.X.shape == (312, 17)
    pd.testing.assert_frame_equal(full.X[list(six.X.columns)], six.X)
    np.testing.assert_array_equal(full.event, six.event)
    assert six.event.sum() == 125
    with pytest.raises(ValueError, match="covariates"):
        datasets.fetch_pbc(covariates="seven")  # type: ignore[arg-type]


def test_vlbw_can_be_had_as_known_at_birth(load: Load) -> None:
    whole = load("vlbw")
    birth = datasets.fetch_vlbw(in_stay=False)
    in_stay = [entry.name for entry in whole.card.columns if entry.meaning.startswith("in-stay")]
    assert set(whole.X.columns) - set(birth.X.columns) == set(in_stay)
    assert len(in_stay) == 8


def test_gbsg2_is_the_same_from_lifelines(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lifelines", reason="the other source")
    pytest.importorskip("sksurv", reason="the first source")
    data = load("gbsg2")
    monkeypatch.setitem(sys.modules, "sksurv.datasets", None)
    pd.testing.assert_frame_equal(datasets.load_gbsg2().frame, data.frame)


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sksurv.datasets", None)
    with pytest.raises(ImportError, match="pip install scikit-survival"):
        datasets.load_whas500()
    monkeypatch.setitem(sys.modules, "lifelines.datasets", None)
    with pytest.raises(ImportError, match="pip install lifelines"):
        datasets.load_rossi()


def test_import_brings_no_optional_package() -> None:
    optional = ("lifelines", "sksurv", "SurvSet", "survivors", "torch", "matplotlib")
    code = (
        "import sys, sciffusion.datasets as d; d.list_datasets(); str(d.dataset_card('vlbw')); "
        f"print([name for name in {optional} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"whas501.*whas500"):
        dataset_card("whas501")


def test_parts_that_do_not_belong_together_are_refused() -> None:
    card = dataset_card("rossi")
    X = pd.DataFrame({"age": [1.0, 2.0]})
    time, event = np.array([1.0, 2.0]), np.array([True, False])
    with pytest.raises(ValueError, match="time has shape"):
        SurvivalDataset(X, time[:1], event, card)
    with pytest.raises(ValueError, match="event has dtype"):
        SurvivalDataset(X, time, event.astype(float), card)
    with pytest.raises(ValueError, match="negative"):
        SurvivalDataset(X, -time, event, card)
    with pytest.raises(ValueError, match="groups"):
        SurvivalDataset(X, time, event, card, np.array([1]))
    with pytest.raises(ValueError, match="age"):
        SurvivalDataset(X.astype(int), time, event, card)
