from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from sciffusion.domains.forecasting.calendar import (
    default_season_length,
    grid_of_frequency,
    stamps_of_steps,
    steps_of_stamps,
)
from sciffusion.domains.forecasting.calendar_features import calendar_feature_names, calendar_features
from sciffusion.domains.forecasting.frame_format import FrameFormat, stamp_index
from sciffusion.domains.forecasting.frequency_inference import infer_grid

_TICKS = [
    "h",
    "30min",
    "10min",
    "min",
    "s",
    "500ms",
    "20us",
    "7h",
    "D",
    "2D",
    "W-SUN",
    "W-MON",
    "W-WED",
    "2W-FRI",
]
_DATES = [
    "B",
    "2B",
    "MS",
    "ME",
    "2MS",
    "5ME",
    "BMS",
    "BME",
    "QS-JAN",
    "QS-FEB",
    "QE-DEC",
    "QE-NOV",
    "2QS-MAR",
]
_YEARS = ["YS-JAN", "YS-APR", "YE-DEC", "YE-JUN", "3YS-JAN", "BQE-DEC", "BYS-JAN"]
_ALL = [*_TICKS, *_DATES, *_YEARS]


def _days(name: str) -> float:
    grid = grid_of_frequency(name)
    return float(np.ptp(grid.stamps(np.arange(41))) / 40 / 864e11)


@pytest.mark.parametrize("name", _ALL)
def test_stamps_and_steps_are_inverse_and_pandas_counts_alike(name: str) -> None:
    reach = int(min(30_000 / _days(name), 10**6))
    steps = np.unique(np.r_[np.linspace(-reach, reach, 997).astype(np.int64), np.arange(-30, 31)])
    stamps = stamps_of_steps(steps, name)
    assert_array_equal(steps_of_stamps(stamps, name), steps)
    near = pd.DatetimeIndex(stamps_of_steps(np.arange(-30, 31), name))
    assert_array_equal(near, pd.date_range(near[0], periods=61, freq=name))
    grid = grid_of_frequency(name)
    assert grid.name == name
    assert_array_equal(grid.steps(stamps.astype(np.int64) - 1), steps - 1)


@given(
    name=st.sampled_from(_ALL),
    steps=st.lists(st.integers(-90, 90), min_size=1, max_size=8),
    shift=st.integers(0, 10**6),
    hour=st.integers(0, 23),
)
@settings(max_examples=150, deadline=None)
def test_every_phase_and_offset_is_inverted(name: str, steps: list[int], shift: int, hour: int) -> None:
    grid = grid_of_frequency(name)
    phase = shift * 997 % grid.stride
    offset = 0 if grid.unit == "tick" else hour * 3_600 * 10**9
    stamps = stamps_of_steps(steps, name, phase=phase, offset=offset)
    assert_array_equal(steps_of_stamps(stamps, name, phase=phase, offset=offset), steps)


@pytest.mark.parametrize("name", _ALL)
def test_step_zero_is_the_first_moment_from_1970_on(name: str) -> None:
    before, first = stamps_of_steps([-1, 0], name)
    assert before < np.datetime64("1970-01-01") <= first


@pytest.mark.parametrize("name", [*_TICKS, *_DATES, "YS-JAN", "YE-JUN"])
def test_the_frequency_of_stamps_is_found(name: str) -> None:
    for first in (-7, 0, 23):
        moments = stamps_of_steps(np.arange(first, first + 40), name).astype(np.int64)
        assert infer_grid(moments, moments) == grid_of_frequency(name)
        holes = np.delete(moments, [5, 6, 17])
        assert infer_grid(holes, holes) == grid_of_frequency(name)


@pytest.mark.parametrize(
    ("start", "name", "found"),
    [
        ("2024-01-15 06:00", "MS", ("MS", 14, 6)),
        ("2024-02-03 12:00", "D", ("D", 0, 12)),
        ("2024-01-31 18:00", "ME", ("ME", 0, 18)),
        ("2024-03-01 09:30", "B", ("B", 0, 9.5)),
    ],
)
def test_stamps_at_another_time_of_day_or_month_keep_it(
    start: str, name: str, found: tuple[str, int, float]
) -> None:
    first = pd.Timestamp(start)
    step = {"MS": pd.DateOffset(months=1), "ME": pd.offsets.MonthEnd(), "B": pd.offsets.BDay()}.get(name)
    stamps = pd.date_range(first, periods=30, freq=step or name)
    moments = np.asarray(stamps.as_unit("ns").asi8)
    grid = infer_grid(moments, moments)
    assert grid is not None
    assert grid.name == found[0]
    after = grid.offset if grid.unit != "tick" else grid.phase
    assert after == (found[1] * 24 + found[2]) * 3_600 * 10**9
    assert_array_equal(grid.stamps(grid.steps(moments)), moments)


def test_stamps_without_a_common_step_have_no_frequency() -> None:
    moments = np.cumsum(np.random.default_rng(0).integers(1, 10**6, 50))
    assert infer_grid(moments, None) is None
    assert infer_grid(np.array([3, 9])) is None


def test_integer_steps_of_ten_are_found() -> None:
    grid = infer_grid(np.array([7, 17, 37, 47, 57]))
    assert grid is not None
    assert (grid.unit, grid.stride, grid.phase) == ("integer", 10, 7)
    assert_array_equal(grid.steps([7, 57]), [0, 5])


@pytest.mark.parametrize(
    ("name", "length"),
    [("h", 24), ("30min", 48), ("10min", 144), ("min", 1440), ("s", 3600), ("100ms", 10), ("6h", 4),
     ("7h", 24), ("D", 7), ("2D", 7), ("B", 5), ("W-TUE", 52), ("2W-TUE", 26), ("MS", 12), ("BME", 12),
     ("2MS", 6), ("QE-DEC", 4), ("YS-JAN", 1), ("5YE-DEC", 1), (None, 1), (10, 1)],
)  # fmt: skip
def test_season_lengths(name: str | int | None, length: int) -> None:
    assert default_season_length(name) == length


@pytest.mark.parametrize(
    ("old", "new"),
    [("H", "h"), ("15T", "15min"), ("S", "s"), ("M", "ME"), ("Q", "QE-DEC"), ("A", "YE-DEC"),
     ("AS-APR", "YS-APR"), ("W", "W-SUN"), ("1h30min", "90min"), ("24h", "D"), ("14D", "2W-THU"),
     ("12MS", "YS-JAN"), (pd.offsets.MonthEnd(2), "2ME"), (pd.Timedelta("90s"), "90s"),
     (np.timedelta64(2, "h"), "2h")],
)  # fmt: skip
def test_other_names_of_a_frequency(old: object, new: str) -> None:
    assert grid_of_frequency(old).name == new


@pytest.mark.parametrize(
    "name", ["x", "", "SMS", "bh", "C", "0D", "-1h", "W-XYZ", "MS-JAN", "1.5h", "h D", 0, -3, "1D2MS"]
)
def test_a_frequency_that_cannot_be_counted_is_refused(name: object) -> None:
    with pytest.raises(ValueError, match="frequency"):
        grid_of_frequency(name)


def test_a_step_beyond_what_pandas_can_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="1678 to 2261"):
        stamps_of_steps([10**6], "D")
    with pytest.raises(ValueError, match="1678 to 2261"):
        stamps_of_steps([300], "YS")


def test_a_moment_between_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="2024-01-02"):
        steps_of_stamps(np.array(["2024-01-02"], dtype="datetime64[ns]"), "MS")
    with pytest.raises(ValueError, match="NaT"):
        steps_of_stamps(np.array(["NaT"], dtype="datetime64[ns]"), "MS")


def test_shapes_are_kept() -> None:
    assert stamps_of_steps(np.zeros((2, 3), dtype=int), "ME").shape == (2, 3)
    assert stamps_of_steps([], "h").shape == (0,)
    assert stamps_of_steps(np.arange(4).reshape(2, 2), None).tolist() == [[0, 1], [2, 3]]


@pytest.mark.parametrize("zone", ["Europe/Paris", "America/New_York", "Asia/Kolkata", "America/Sao_Paulo"])
def test_hours_in_a_zone_are_elapsed_time_and_days_are_local(zone: str) -> None:
    hours = pd.date_range("2018-01-01", "2019-01-01", freq="h", tz=zone)
    grid = infer_grid(np.asarray(hours.asi8), np.asarray(hours.tz_localize(None).asi8))
    assert grid is not None
    assert grid.name == "h"
    frame_format = FrameFormat(time_zone=hours.tz).on(grid)
    assert_array_equal(stamp_index(grid.steps(hours.asi8), "h", frame_format), hours)
    wall = pd.date_range("2018-01-01", "2019-01-01", freq="D")
    days = wall.tz_localize(zone, nonexistent="shift_forward")
    grid = infer_grid(np.asarray(days.asi8), np.asarray(wall.asi8))
    assert grid is not None
    assert grid.name == "D"
    steps = grid.steps(np.asarray(days.tz_localize(None).asi8))
    assert_array_equal(np.diff(steps), 1)
    assert_array_equal(stamp_index(steps, "D", FrameFormat(time_zone=days.tz).on(grid)), days)


def test_features_are_periodic_in_the_cycles_and_on_the_circle() -> None:
    hours = calendar_features(np.arange(24 * 15), "h")
    names = ("sin1_day", "cos1_day", "sin1_week", "cos1_week", "sin1_year", "cos1_year")
    assert calendar_feature_names("h") == names
    assert_allclose(hours[24:, :2], hours[:-24, :2], atol=1e-9)
    assert_allclose(hours[168:, 2:4], hours[:-168, 2:4], atol=1e-9)
    assert_allclose((hours.reshape(-1, 3, 2) ** 2).sum(axis=-1), 1.0)
    assert np.abs(hours[7:24, :2] - hours[:17, :2]).max() > 0.5


def test_features_say_the_hour_weekday_and_season() -> None:
    step = steps_of_stamps(np.array(["2024-07-01T06"], dtype="datetime64[ns]"), "h")  # a Monday
    angle = 2 * np.pi * np.array([6 / 24, 6 / 168, (182 + 6 / 24) / 366])
    expected = np.stack([np.sin(angle), np.cos(angle)], axis=-1).reshape(1, -1)
    assert_allclose(calendar_features(step, "h"), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "count"), [(None, 0), ("YS", 0), ("MS", 2), ("W", 2), ("B", 4), ("D", 4), ("12h", 6), ("s", 6)]
)
def test_only_cycles_that_the_frequency_resolves_have_features(name: str | None, count: int) -> None:
    features = calendar_features(np.arange(6).reshape(2, 3), name, harmonics=2)
    assert features.shape == (2, 3, 2 * count)
    assert len(calendar_feature_names(name, harmonics=2)) == 2 * count


def test_features_follow_the_clock_of_a_time_zone() -> None:
    steps = steps_of_stamps(np.array(["2024-01-01T11", "2024-07-01T10"], dtype="datetime64[ns]"), "h")
    local = calendar_features(steps, "h", time_zone="Europe/Paris")
    assert_allclose(local[:, :2], [[0, -1], [0, -1]], atol=1e-12)  # noon in winter and in summer
