from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from sciffusion.domains.forecasting import GapWarning
from sciffusion.domains.forecasting.calendar import stamps_of_steps
from sciffusion.domains.forecasting.frames import panel_of_frame
from sciffusion.domains.forecasting.panel import Panel


def long_frame(lengths: dict[Any, int], frequency: str = "D", start: str = "2024-01-01") -> pd.DataFrame:
    """Return series of random values that begin together."""
    generator = np.random.default_rng(0)
    parts = [
        pd.DataFrame(
            {
                "unique_id": name,
                "ds": pd.date_range(start, periods=length, freq=frequency),
                "y": generator.normal(size=length),
            }
        )
        for name, length in lengths.items()
    ]
    return pd.concat(parts, ignore_index=True)


def same_panels(one: Panel, other: Panel) -> bool:
    """Return whether two panels hold the same series, in whatever order."""
    order = [other.ids.index(name) for name in one.ids]
    other = other.take(order)
    arrays = ("values", "past", "future", "static", "lengths", "last_step")
    return one.ids == other.ids and all(
        np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True) for name in arrays
    )


def test_series_are_aligned_at_their_ends_and_keep_their_order() -> None:
    frame = long_frame({"b": 5, "a": 3})
    panel = panel_of_frame(frame)
    assert panel.ids == ("b", "a")
    assert panel.frequency == "D"
    assert panel.lengths.tolist() == [5, 3]
    assert_array_equal(panel.values[0, :, 0], frame["y"][:5])
    assert_array_equal(panel.values[1, :, 0], [np.nan, np.nan, *frame["y"][5:]])
    last = stamps_of_steps(panel.last_step, "D").astype("datetime64[D]").astype(str).tolist()
    assert last == ["2024-01-05", "2024-01-03"]


@given(seed=st.integers(0, 10_000), frequency=st.sampled_from(["h", "D", "B", "W-MON", "MS", "ME", "QE-DEC"]))
@settings(max_examples=30, deadline=None)
def test_the_order_of_rows_does_not_matter(seed: int, frequency: str) -> None:
    frame = long_frame({"a": 20, "b": 9, "c": 14}, frequency)
    frame["x"] = np.arange(len(frame))
    shuffled = frame.sample(frac=1.0, random_state=seed)
    one, other = (panel_of_frame(part, past="x") for part in (frame, shuffled))
    assert one.frequency == frequency
    assert same_panels(one, other)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_a_missing_value_or_series_changes_no_other_series(seed: int) -> None:
    generator = np.random.default_rng(seed)
    frame = long_frame({"a": 12, "b": 12, "c": 8})
    holed = frame.copy()
    holed.loc[generator.integers(12), "y"] = np.nan
    full, part = panel_of_frame(frame), panel_of_frame(holed)
    assert same_panels(full.take([1, 2]), part.take([1, 2]))
    assert np.isnan(part.values[0]).sum() == 1
    alone = panel_of_frame(frame[frame["unique_id"] != "a"])
    assert_array_equal(alone.values, full.values[1:])


def test_gaps_become_missing_values_and_are_reported() -> None:
    frame = long_frame({"a": 8, "b": 8}).drop(index=[3, 4])
    with pytest.warns(GapWarning, match=r"1 of 2 series have gaps, 2 stamps in all: series 'a'"):
        panel = panel_of_frame(frame)
    assert panel.lengths.tolist() == [8, 8]
    assert np.flatnonzero(np.isnan(panel.values[0, :, 0])).tolist() == [3, 4]
    assert np.isfinite(panel.values[1]).all()
    panel_of_frame(frame, gaps="fill")
    with pytest.raises(ValueError, match="add the rows, with NaN"):
        panel_of_frame(frame, gaps="refuse")
    with pytest.raises(ValueError, match="gaps must be"):
        panel_of_frame(frame, gaps="ignore")  # type: ignore[arg-type]


def test_channels_and_covariates_go_where_they_are_declared() -> None:
    frame = long_frame({"a": 6, "b": 4}).assign(z=lambda f: -f["y"], p=1.0, f1=2, f2=True, size=7.5)
    panel = panel_of_frame(frame, target=["y", "z"], past="p", future=["f1", "f2"], static="size")
    assert panel.values.shape == (2, 6, 2)
    assert_array_equal(panel.values[..., 1], -panel.values[..., 0])
    assert_array_equal(panel.past[0], np.ones((6, 1)))
    assert_array_equal(panel.future[0], [[2.0, 1.0]] * 6)
    assert np.isnan(panel.future[1, :2]).all()
    assert_array_equal(panel.static, [[7.5], [7.5]])
    assert (panel.channel_names, panel.future_names) == (("y", "z"), ("f1", "f2"))


def test_static_covariates_come_from_a_table_in_any_order() -> None:
    frame = long_frame({"b": 4, "a": 4})
    table = pd.DataFrame({"unique_id": ["a", "unused", "b"], "size": [1.0, 9.0, 2.0], "old": [0, 5, 1]})
    panel = panel_of_frame(frame, static_df=table)
    assert panel.static_names == ("size", "old")
    assert_array_equal(panel.static, [[2.0, 1.0], [1.0, 0.0]])
    with pytest.warns(UserWarning, match=r"'old'.* not used"):
        assert panel_of_frame(frame, static_df=table, static="size").static.shape == (2, 1)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pd.DataFrame({"unique_id": ["a"], "s": [1.0]}), "no row of series 'b'"),
        (
            pd.DataFrame({"unique_id": ["a", "b", "b"], "s": [1.0, 2.0, 3.0]}),
            "more than one row of series 'b'",
        ),
        (pd.DataFrame({"unique_id": ["a", "b"], "s": [1.0, np.nan]}), "'s' is missing for series 'b'"),
        (pd.DataFrame({"id": ["a", "b"], "s": [1.0, 2.0]}), "static_df has no column 'unique_id'"),
        (pd.DataFrame({"unique_id": ["a", "b"], "s": ["x", "y"]}), "get_dummies"),
    ],
)
def test_a_bad_table_of_static_covariates_is_refused(table: pd.DataFrame, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        panel_of_frame(long_frame({"a": 4, "b": 4}), static_df=table, static="s")


def test_a_static_covariate_that_changes_is_refused() -> None:
    frame = long_frame({"a": 4, "b": 4}).assign(s=[1, 1, 1, 1, 2, 2, 3, 2])
    with pytest.raises(ValueError, match="'s' changes within series 'b'"):
        panel_of_frame(frame, static="s")


def test_duplicates_are_refused_naming_series_and_stamp() -> None:
    frame = long_frame({"a": 5, "b": 5})
    frame = pd.concat([frame, frame.iloc[[7]]])
    with pytest.raises(ValueError, match=r"more than one row of one stamp in series 'b', first 2024-01-03"):
        panel_of_frame(frame)


def test_an_hour_that_comes_twice_needs_a_time_zone() -> None:
    zoned = pd.date_range("2024-10-26", periods=72, freq="h", tz="Europe/Paris")
    frame = pd.DataFrame({"unique_id": "a", "ds": zoned, "y": 1.0})
    panel = panel_of_frame(frame)
    assert panel.lengths.tolist() == [72]
    with pytest.raises(ValueError, match="where clocks were set back"):
        panel_of_frame(frame.assign(ds=frame["ds"].dt.tz_localize(None)))


def test_stamps_that_follow_the_local_clock_by_hours_are_refused_with_the_reason() -> None:
    wall = pd.date_range("2024-03-20", periods=80, freq="6h")
    frame = pd.DataFrame({"unique_id": "a", "ds": wall.tz_localize("Europe/Paris"), "y": 1.0})
    with pytest.raises(ValueError, match=r"series 'a'.*convert the stamps to UTC"):
        panel_of_frame(frame)


def _both(one: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([one, other], ignore_index=True)


_DAYS = long_frame({"a": 60})


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (_both(_DAYS, long_frame({"b": 30}, "h")), r"series 'b', first 2024-01-01 01:00"),
        (_both(long_frame({"b": 70}, "h"), _DAYS), "series 'a' has a lower frequency"),
        (_both(long_frame({"a": 30}, "MS"), long_frame({"b": 40}, "ME")), r"'ME' \(inferred from series 'b'"),
        (_both(_DAYS, long_frame({"a": 14}, "W", "2024-03-03")), "'a' changes to a lower"),
        (_both(_DAYS, long_frame({"a": 14}, "MS", "2024-03-01")), "'a' changes to a lower"),
    ],
)
def test_mixed_frequencies_are_refused(frame: pd.DataFrame, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        panel_of_frame(frame.reset_index(drop=True), gaps="fill")


def test_a_stamp_off_the_grid_is_named() -> None:
    frame = long_frame({"a": 30, "b": 20})
    frame.loc[35, "ds"] += pd.Timedelta("7min")
    with pytest.raises(ValueError, match=r"1 stamps off .* 'D' .* series 'b', first 2024-01-06 00:07:00"):
        panel_of_frame(frame)


def test_half_of_the_rows_at_random_are_no_mixed_frequency() -> None:
    kept = np.random.default_rng(0).random((20, 2000)) < 0.5
    frame = long_frame({name: 2000 for name in range(20)}, "h")[kept.reshape(-1)]
    panel = panel_of_frame(frame, gaps="fill")
    assert_array_equal(np.isfinite(panel.values[..., 0]).sum(axis=1), kept.sum(axis=1))


def test_a_lower_frequency_shows_from_four_rows_on() -> None:
    frame = long_frame({"a": 30, "b": 7})
    sparse = frame[(frame["unique_id"] == "a") | (frame["ds"].dt.day % 2 == 1)]
    with pytest.raises(ValueError, match="all stamps of 'b' are multiples of 2 steps apart"):
        panel_of_frame(sparse, gaps="fill")
    assert panel_of_frame(sparse.iloc[:-1], gaps="fill").lengths.tolist() == [30, 5]


@pytest.mark.parametrize("frequency", [None, "MS"])
def test_months_may_be_stamped_on_any_day_up_to_the_28th(frequency: str | None) -> None:
    frame = long_frame({"a": 20}, "MS").assign(ds=lambda part: part["ds"] + pd.Timedelta("27D"))
    panel = panel_of_frame(frame, frequency=frequency)
    assert panel.frequency == "MS"
    assert panel.lengths.tolist() == [20]
    assert (
        panel.grid.stamps(panel.steps)[0].astype("datetime64[ns]").tolist()
        == frame["ds"].astype(int).tolist()
    )
    late = frame.iloc[2:9].assign(ds=frame["ds"][2:9] + pd.Timedelta("1D"))
    with pytest.raises(ValueError, match="series 'a'"):
        panel_of_frame(late, frequency=frequency)


def test_a_wrong_year_is_refused_before_it_fills_the_memory() -> None:
    frame = long_frame({"a": 50, "b": 50}, "h")
    frame.loc[99, "ds"] = pd.Timestamp("2204-01-03 01:00")
    with pytest.raises(ValueError, match="series 'b' is nearly all gap: 50 rows"):
        panel_of_frame(frame)


@pytest.mark.parametrize(
    ("given_frequency", "stamps", "found"),
    [
        ("W", "W-TUE", "W-TUE"),
        ("QS", "QS-FEB", "QS-FEB"),
        ("M", "ME", "ME"),
        (pd.offsets.MonthBegin(), "MS", "MS"),
        ("D", "D", "D"),
    ],
)
def test_a_frequency_that_is_given_takes_its_anchor_from_the_stamps(
    given_frequency: Any, stamps: str, found: str
) -> None:
    assert panel_of_frame(long_frame({"a": 2}, stamps), frequency=given_frequency).frequency == found


@pytest.mark.parametrize(
    ("given_frequency", "message"),
    [
        ("W-MON", "theirs looks 'W-TUE'"),
        ("MS", "off the common frequency"),
        (1, "must be a name"),
        ("?", "frequency"),
    ],
)
def test_a_frequency_that_the_stamps_do_not_have_is_refused(given_frequency: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        panel_of_frame(long_frame({"a": 20}, "W-TUE"), frequency=given_frequency)


def test_too_few_stamps_to_tell_the_frequency_are_refused() -> None:
    with pytest.raises(ValueError, match=r"series 'a'.*give the frequency"):
        panel_of_frame(long_frame({"a": 2}))
    assert panel_of_frame(long_frame({"a": 1}), frequency="D").length == 1


def test_stamps_may_be_integers_periods_dates_and_texts() -> None:
    frame = long_frame({"a": 24, "b": 12}, "MS")
    expected = panel_of_frame(frame)
    for stamps in (
        frame["ds"].dt.to_period("M"),
        frame["ds"].dt.strftime("%Y-%m-%d"),
        frame["ds"].dt.date,
        frame["ds"].astype("datetime64[s]"),
        frame["ds"].astype("string"),
    ):
        panel = panel_of_frame(frame.assign(ds=stamps))
        assert panel.frequency == "MS"
        assert same_panels(panel, expected)
    numbers = panel_of_frame(frame.assign(ds=np.r_[np.arange(24) * 5 + 3, np.arange(12) * 5 + 3]))
    assert numbers.frequency is None
    assert numbers.grid.stride == 5
    assert numbers.last_step.tolist() == [23, 11]
    assert_array_equal(numbers.values, expected.values)


@pytest.mark.parametrize(
    ("stamps", "error", "message"),
    [
        ([1.0, 2.0, 3.0], TypeError, "'ds' of df must hold datetimes"),
        (["a", "b", "c"], ValueError, "no column of dates, or of ISO 8601 texts"),
        (["2024-03-30T00:00+01:00", "2024-03-31T00:00+02:00", "2024-04-01"], ValueError, "of one time zone"),
        (["1500-01-01", "1500-01-02", "1500-01-03"], ValueError, "Out of bounds"),
        (np.array(["1500-01-01", "1500-01-02", "1500-01-03"], "datetime64[s]"), ValueError, "1678 to 2261"),
        (["2024-01-01", None, "2024-01-03"], ValueError, r"missing in 1 rows, first at rows \[1\]"),
        ([True, False, True], TypeError, "must hold datetimes"),
    ],
)
def test_other_stamps_are_refused(stamps: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        panel_of_frame(pd.DataFrame({"unique_id": "a", "ds": stamps, "y": 1.0}))


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinities_are_refused_naming_the_series(value: float) -> None:
    frame = long_frame({"a": 4, "b": 4}).assign(x=1.0)
    frame.loc[5, "x"] = value
    with pytest.raises(ValueError, match="'x' of df holds infinite values in series 'b'"):
        panel_of_frame(frame, future="x")


@pytest.mark.parametrize(
    "values", [["1", "2", "3"], pd.Categorical(["x", "y", "x"]), [1j, 2j, 3j], ["a", 1.0, 2]]
)
def test_what_is_no_number_is_refused_with_a_remedy(values: Any) -> None:
    frame = long_frame({"a": 3}).assign(y=values)
    with pytest.raises(ValueError, match=r"'y' of df must hold numbers.*get_dummies"):
        panel_of_frame(frame)


@pytest.mark.parametrize("dtype", ["Int64", "Float64", "float32", "boolean", "object"])
def test_nullable_numbers_are_numbers(dtype: str) -> None:
    values = pd.Series([1, 0, None, 1], dtype=dtype)
    panel = panel_of_frame(long_frame({"a": 4}).assign(y=values))
    assert_array_equal(panel.values[0, :, 0], [1.0, 0.0, np.nan, 1.0])


def test_series_that_are_short_or_bare_are_named() -> None:
    frame = long_frame({"a": 9, "b": 3, "c": 9})
    with pytest.raises(ValueError, match="series 'b' has fewer than 4 rows, the fewest 3"):
        panel_of_frame(frame, min_length=4)
    frame.loc[frame["unique_id"] == "c", "y"] = np.nan
    with pytest.raises(ValueError, match="series 'c' has fewer than 1 rows with a value of 'y'"):
        panel_of_frame(frame)
    assert np.isnan(panel_of_frame(frame, min_observed=0).values[2]).all()


def test_constant_series_are_legal() -> None:
    panel = panel_of_frame(long_frame({"a": 9}).assign(y=3))
    assert_array_equal(panel.values, np.full((1, 9, 1), 3.0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": "value"}, r"df has no column 'y'; its columns are 'unique_id', 'ds', 'value'"),
        ({"y": "ds"}, "more than one column named 'ds'"),
    ],
)
def test_columns_that_are_missing_or_double_are_refused(change: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        panel_of_frame(long_frame({"a": 4}).rename(columns=change))


def test_ids_in_the_index_are_refused_with_a_remedy() -> None:
    with pytest.raises(ValueError, match="reset_index"):
        panel_of_frame(long_frame({"a": 4}).set_index("unique_id"))


def test_other_bad_frames_are_refused() -> None:
    frame = long_frame({"a": 4})
    with pytest.raises(TypeError, match="df must be a pandas DataFrame, got ndarray"):
        panel_of_frame(np.zeros((3, 3)))
    with pytest.raises(ValueError, match="0 sample"):
        panel_of_frame(frame.iloc[:0])
    with pytest.raises(ValueError, match="one role only, got 'y'"):
        panel_of_frame(frame, past="y")
    with pytest.raises(ValueError, match=r"'unique_id' of df is missing in 1 rows, first at rows \[2\]"):
        panel_of_frame(frame.assign(unique_id=["a", "a", None, "a"]))


def test_undeclared_columns_are_reported() -> None:
    with pytest.warns(UserWarning, match="columns 'temp' are not used"):
        panel_of_frame(long_frame({"a": 4}).assign(temp=1.0))


def test_another_frame_is_converted() -> None:
    class Other:
        def to_pandas(self) -> pd.DataFrame:
            return long_frame({"a": 4})

    assert panel_of_frame(Other()).length == 4


def test_later_rows_are_read_like_the_first() -> None:
    table = pd.DataFrame({"unique_id": ["a", "b"], "s": [1.0, 2.0]})
    frame = long_frame({"b": 20, "a": 18}, "W-MON").rename(columns={"ds": "week", "y": "sold"})
    panel = panel_of_frame(frame, time_col="week", target="sold", static_df=table)
    later = panel_of_frame(frame[frame["week"] == frame["week"].max()], like=panel)
    assert later.ids == ("b",)
    assert later.last_step.tolist() == panel.last_step[:1].tolist()
    assert later.static.tolist() == [[2.0]]
    assert later.channel_names == ("sold",)
    with pytest.raises(ValueError, match=r"'s' are needed for series 'c'"):
        panel_of_frame(frame.assign(unique_id="c").iloc[:1], like=panel)
    with pytest.raises(ValueError, match="integers, expected that are dates without"):
        panel_of_frame(frame.assign(week=1).iloc[:1], like=panel)
    with pytest.raises(ValueError, match="time zone UTC, expected"):
        panel_of_frame(frame.assign(week=frame["week"].dt.tz_localize("UTC")).iloc[:1], like=panel)
    with pytest.raises(ValueError, match=r"off .* 'W-MON' \(that of the series known already\)"):
        panel_of_frame(frame.assign(week=pd.Timestamp("2024-01-02")).iloc[:1], like=panel)


def test_a_million_rows_take_about_a_second() -> None:
    ids = np.repeat([f"series {number}" for number in range(1000)], 1000)
    stamps = np.tile(pd.date_range("2024", periods=1000, freq="h"), 1000)
    frame = pd.DataFrame({"unique_id": ids, "ds": stamps, "y": np.arange(1e6)})
    began = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        panel = panel_of_frame(frame)
    assert time.process_time() - began < 3.0
    assert_array_equal(panel.values.reshape(-1), np.arange(1e6))
