from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from pandas.testing import assert_frame_equal

from sciffusion.domains.forecasting.frame_format import FrameFormat
from sciffusion.domains.forecasting.frame_output import draws_frame, forecast_frame, values_frame
from sciffusion.domains.forecasting.frames import panel_of_frame
from sciffusion.domains.forecasting.future_frames import future_of_frame
from sciffusion.domains.forecasting.panel import Panel

_FREQUENCIES = ["h", "30min", "D", "B", "W-THU", "MS", "ME", "QS-FEB", "QE-DEC", "YS-JAN", "YE-JUN"]


def _frame(frequency: str = "D", length: int = 12, **dates: Any) -> pd.DataFrame:
    stamps = pd.date_range("2024-01-01", periods=length, freq=frequency, **dates)
    parts = [
        pd.DataFrame(
            {"unique_id": name, "ds": stamps[: length - cut], "y": np.arange(length - cut) + 100.0 * cut}
        )
        for cut, name in enumerate(["b", "a", "c"])
    ]
    return pd.concat(parts, ignore_index=True)


@given(
    frequency=st.sampled_from(_FREQUENCIES),
    zone=st.sampled_from([None, "UTC", "Europe/Paris", "Australia/Lord_Howe"]),
    unit=st.sampled_from(["s", "ms", "us", "ns"]),
    horizon=st.integers(1, 4),
)
@settings(max_examples=60, deadline=None)
def test_the_rows_ahead_come_back_as_they_were_held_out(
    frequency: str, zone: str | None, unit: Any, horizon: int
) -> None:
    frame = _frame(frequency)
    frame["ds"] = frame["ds"].dt.tz_localize(zone).astype(f"datetime64[{unit}{', ' + zone if zone else ''}]")
    ahead = frame.groupby("unique_id", sort=False).tail(horizon)
    panel = panel_of_frame(frame.drop(index=ahead.index))
    values = ahead["y"].to_numpy().reshape(3, horizon)
    forecast = forecast_frame(panel, values, name="y")
    assert_frame_equal(forecast, ahead.reset_index(drop=True))


@pytest.mark.parametrize("period", ["D", "M", "Q-JAN", "W-TUE", "Y-DEC", "h", "2M"])
def test_periods_come_back_as_periods(period: str) -> None:
    stamps = pd.period_range("2024-01-01", periods=10, freq=period)
    frame = pd.DataFrame({"unique_id": 7, "ds": stamps, "y": np.arange(10.0)})
    forecast = forecast_frame(panel_of_frame(frame.iloc[:6]), np.arange(6.0, 10.0)[None], name="y")
    assert_frame_equal(forecast, frame.iloc[6:].reset_index(drop=True))


@pytest.mark.parametrize("dtype", ["int32", "uint8", "Int64"])
def test_integer_stamps_keep_their_type_stride_and_phase(dtype: str) -> None:
    stamps = pd.array(np.arange(3, 83, 10), dtype=dtype)
    frame = pd.DataFrame({"unique_id": "a", "ds": stamps, "y": np.arange(8.0)})
    forecast = forecast_frame(panel_of_frame(frame.iloc[:5]), np.arange(5.0, 8.0)[None], name="y")
    assert_frame_equal(forecast, frame.iloc[5:].reset_index(drop=True))


@pytest.mark.parametrize(
    "ids",
    [
        np.array([3, 1, 2], dtype=np.int16),
        np.array([0.5, 1.5, -1.0]),
        pd.array(["x", "z", "y"], dtype="string"),
        pd.Categorical(["q", "p", "r"], categories=["p", "q", "r"]),
        pd.array([True, False, True], dtype="bool")[:2],
        pd.to_datetime(["2020-01-01", "2021-01-01"]),
        np.array(["m", 4, ("t", 1)], dtype=object)[:2],
    ],
)
def test_ids_keep_their_type(ids: Any) -> None:
    frame = pd.DataFrame({"unique_id": np.repeat(ids, 4), "ds": list(range(4)) * len(ids), "y": 1.0})
    panel = panel_of_frame(frame[frame["ds"] < 3])
    forecast = forecast_frame(panel, np.ones((len(ids), 1)), name="y")
    expected = frame[frame["ds"] == 3].reset_index(drop=True)
    assert_frame_equal(forecast, expected, check_categorical=False)
    assert forecast["unique_id"].dtype == frame["unique_id"].dtype


def test_columns_of_intervals_and_quantiles_are_named_as_forecasters_name_them() -> None:
    panel = panel_of_frame(_frame().rename(columns={"unique_id": "shop", "ds": "day", "y": "sold"}),
                           id_col="shop", time_col="day", target="sold")  # fmt: skip
    point = np.arange(6.0).reshape(3, 2)
    frame = forecast_frame(
        panel,
        point,
        intervals={80: (point - 1, point + 1), 99.5: (point - 2, point + 2)},
        quantiles={0.1: point - 3},
    )
    bounds = ["Model-lo-80", "Model-hi-80", "Model-lo-99.5", "Model-hi-99.5", "Model-q-10"]
    assert frame.columns.tolist() == ["shop", "day", "Model", *bounds]
    assert_array_equal(frame[bounds].to_numpy() - frame[["Model"]].to_numpy(), [[-1, 1, -2, 2, -3]] * 6)
    assert frame["shop"].tolist() == ["b", "b", "a", "a", "c", "c"]


def test_channels_have_a_row_each_in_forecasts_and_a_column_each_in_draws() -> None:
    panel = panel_of_frame(_frame().assign(z=1.0), target=["y", "z"])
    values = np.arange(12.0).reshape(3, 2, 2)
    frame = forecast_frame(panel, values)
    assert frame.columns.tolist() == ["unique_id", "ds", "channel", "Model"]
    assert_array_equal(frame["Model"], np.arange(12.0))
    assert frame["channel"].tolist() == ["y", "z"] * 6
    assert frame["ds"][:4].dt.day.tolist() == [13, 13, 14, 14]
    draws = np.arange(3 * 5 * 2 * 2.0).reshape(3, 5, 2, 2)
    paths = draws_frame(panel, draws, first_sample=10)
    assert paths.columns.tolist() == ["unique_id", "ds", "sample_id", "y", "z"]
    row = paths[(paths["unique_id"] == "a") & (paths["sample_id"] == 13)]
    assert_array_equal(row[["y", "z"]].to_numpy(), draws[1, 3])
    assert row["ds"].dt.day.tolist() == [12, 13]
    assert_array_equal(paths["y"], draws[..., 0].reshape(-1))


def test_other_steps_than_those_ahead_can_be_labelled() -> None:
    panel = panel_of_frame(_frame())
    fitted = forecast_frame(panel.take([0]), panel.values[:1], name="y", steps=panel.steps[:1])
    assert_frame_equal(fitted, _frame()[:12])


@pytest.mark.parametrize("shape", [(3,), (2, 4), (3, 4, 2), (3, 4, 1, 1)])
def test_a_forecast_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    panel = panel_of_frame(_frame())
    with pytest.raises(ValueError, match="values must have shape"):
        forecast_frame(panel, np.zeros(shape))
    with pytest.raises(ValueError, match="draws must have shape"):
        draws_frame(panel, np.zeros((2, *shape, 1)))
    with pytest.raises(ValueError, match="'Model-lo-80' has shape"):
        forecast_frame(panel, np.zeros((3, 2)), intervals={80: (np.zeros((3, 3)), np.zeros((3, 2)))})


def test_missing_values_are_filled_in_the_users_own_rows() -> None:
    frame = _frame().assign(note="kept").sample(frac=1.0, random_state=1)
    frame.loc[[3, 15, 30], "y"] = np.nan
    panel = panel_of_frame(frame.drop(columns="note"))
    filled = np.arange(36.0).reshape(3, 12) + 1000
    result = values_frame(frame, panel, filled, columns={"lo": filled - 1})
    expected = frame.copy()
    rows = {name: place for place, name in enumerate(panel.ids)}
    holes = ((3, 3), (15, 4), (30, 9))
    cells = {index: filled[rows[frame["unique_id"][index]], place] for index, place in holes}
    for index, value in cells.items():
        expected.loc[index, "y"] = value
    assert_frame_equal(result.drop(columns="lo"), expected)
    assert_array_equal(result["lo"][list(cells)], np.array(list(cells.values())) - 1)
    assert frame["y"].isna().sum() == 3


def test_scores_are_added_to_the_users_own_rows() -> None:
    frame = _frame().assign(z=1).sample(frac=1.0, random_state=1)
    panel = panel_of_frame(frame, target=["y", "z"])
    scores, bounds = panel.values.sum(axis=2), panel.values * 2
    result = values_frame(frame, panel, columns={"score": scores, "hi": bounds})
    assert_frame_equal(result[frame.columns], frame)
    assert result.columns.tolist() == [*frame.columns, "score", "hi-y", "hi-z"]
    assert_array_equal(result["score"], frame["y"] + 1)
    assert_array_equal(result["hi-y"], 2 * frame["y"])
    with pytest.raises(ValueError, match="score must have shape"):
        values_frame(frame, panel, columns={"score": scores[:2]})


def test_rows_that_the_panel_does_not_hold_are_refused() -> None:
    panel = panel_of_frame(_frame())
    later = _frame(length=13)
    with pytest.raises(ValueError, match="does not, in series 'b', 'a', 'c'"):
        values_frame(later, panel, np.zeros((3, 12)))
    with pytest.raises(ValueError, match="does not, in series 'z'"):
        values_frame(_frame().replace({"c": "z"}), panel, np.zeros((3, 12)))


def _with_future() -> tuple[Panel, pd.DataFrame]:
    frame = _frame().assign(f=lambda part: part["y"] * 2)
    ahead = frame.groupby("unique_id").tail(3)
    return panel_of_frame(frame.drop(index=ahead.index), future="f"), ahead.drop(columns="y")


def test_covariates_ahead_are_placed_by_their_stamps() -> None:
    panel, ahead = _with_future()
    longer = future_of_frame(ahead.sample(frac=1.0, random_state=0), panel, 3)
    assert longer.ahead == 3
    assert_array_equal(longer.future[:, :-3], panel.future)
    assert_array_equal(longer.future[:, -3:, 0], ahead["f"].to_numpy().reshape(3, 3))
    assert future_of_frame(ahead, longer, 3).ahead == 3
    assert future_of_frame(None, longer, 3) is longer


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ahead: None, "futr_df is missing: the covariates 'f' of the 3 rows ahead"),
        (lambda ahead: ahead[ahead["unique_id"] != "a"], "no rows of series 'a'"),
        (lambda ahead: ahead.iloc[:-1], "'c' has 2 rows, 2 of them among the 3 stamps from 2024-01-08"),
        (lambda ahead: ahead.assign(ds=ahead["ds"] + pd.Timedelta("1D")), "'b' has 3 rows, 2 of them"),
        (lambda ahead: pd.concat([ahead, ahead.iloc[:1]]), "more than one row of one stamp in series 'b'"),
        (lambda ahead: pd.concat([ahead, ahead.iloc[:1].assign(unique_id="z")]), "series 'z', not among"),
        (lambda ahead: ahead.assign(ds=ahead["ds"] + pd.Timedelta("1h")), "off the common frequency"),
        (lambda ahead: ahead.drop(columns="f"), "futr_df has no column 'f'"),
        (lambda ahead: ahead.assign(f=[*np.ones(8), np.nan]), "'f' of futr_df is missing in series 'c'"),
        (lambda ahead: ahead.assign(f=[*np.ones(8), np.inf]), "infinite values in series 'c'"),
    ],
)
def test_covariates_ahead_that_do_not_fit_are_refused(change: Any, message: str) -> None:
    panel, ahead = _with_future()
    with pytest.raises(ValueError, match=message):
        future_of_frame(change(ahead), panel, 3)


def test_a_panel_without_covariates_ahead_needs_none() -> None:
    panel = panel_of_frame(_frame())
    assert future_of_frame(None, panel, 5) is panel
    assert future_of_frame(_frame(), panel, 5) is panel


def test_a_format_survives_pickling_and_plain_fields() -> None:
    panel = panel_of_frame(_frame("D", tz="Europe/Paris"))
    assert pickle.loads(pickle.dumps(panel.frame_format)) == panel.frame_format
    again = FrameFormat(**panel.frame_format.plain())
    assert again.grid("D") == panel.grid
    assert str(again.time_zone) == "Europe/Paris"
    assert all(isinstance(value, str | int | None) for value in panel.frame_format.plain().values())
