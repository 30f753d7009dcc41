from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from sciffusion.domains.forecasting import GapWarning
from sciffusion.domains.forecasting.frames import panel_of_frame
from sciffusion.domains.forecasting.panel import Panel
from sciffusion.domains.forecasting.panel_extension import extend_panel


def _frame(days: int = 20) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    stamps = pd.date_range("2024-01-01", periods=days)
    parts = [
        pd.DataFrame({"unique_id": name, "ds": stamps, "y": generator.normal(size=days), "s": float(place)})
        for place, name in enumerate("abc")
    ]
    frame = pd.concat(parts, ignore_index=True)
    return frame.assign(p=frame["y"] + 1, f=frame["y"] + 2)


def _panel(frame: pd.DataFrame, **options: Any) -> Panel:
    return panel_of_frame(frame, past="p", future="f", static="s", gaps="fill", frequency="D", **options)


def _equal(one: Panel, other: Panel) -> bool:
    other = other.take([other.ids.index(name) for name in one.ids])
    arrays = ("values", "past", "future", "static", "lengths", "last_step")
    return all(np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True) for name in arrays)


@given(
    cuts=st.lists(st.integers(1, 19), min_size=3, max_size=3),
    overlaps=st.lists(st.integers(0, 5), min_size=3, max_size=3),
)
@settings(max_examples=40, deadline=None)
def test_rows_that_are_added_give_the_panel_of_all_rows(cuts: list[int], overlaps: list[int]) -> None:
    frame = _frame()
    day = frame["ds"].dt.day.to_numpy()
    cut, overlap = (np.repeat(part, 20) for part in (cuts, overlaps))
    old, new = _panel(frame[day <= cut]), _panel(frame[day > cut - overlap])
    assert _equal(extend_panel(old, new), _panel(frame))


def test_new_series_come_after_the_known_ones() -> None:
    frame = _frame()
    old = _panel(frame[(frame["unique_id"] == "b") & (frame["ds"].dt.day < 9)])
    joined = extend_panel(old, _panel(frame[(frame["unique_id"] != "b")]))
    assert joined.ids == ("b", "a", "c")
    assert joined.lengths.tolist() == [8, 20, 20]
    assert joined.static.tolist() == [[1.0], [0.0], [2.0]]
    assert np.isnan(joined.values[0, :12]).all()
    assert _equal(joined.take([0]).until(0), replace(joined.take([0])))
    assert_array_equal(joined.values[0, 12:], old.values[0])


def test_only_the_last_rows_are_kept_when_asked() -> None:
    frame = _frame()
    day = frame["ds"].dt.day
    joined = extend_panel(_panel(frame[day <= 15]), _panel(frame[day > 15]), keep=7)
    assert joined.length == 7
    assert joined.lengths.tolist() == [7, 7, 7]
    assert _equal(joined, _panel(frame[day > 13]))


def test_a_gap_before_the_new_rows_becomes_missing_values() -> None:
    frame = _frame()
    day, a = frame["ds"].dt.day, frame["unique_id"] == "a"
    old, new = _panel(frame[day <= 10]), _panel(frame[(day > 12) & a])
    with pytest.warns(GapWarning, match="2 rows are missing between .* series 'a'"):
        joined = extend_panel(old, new)
    assert joined.lengths.tolist() == [20, 10, 10]
    assert np.flatnonzero(np.isnan(joined.values[0, :, 0])).tolist() == [10, 11]
    assert _equal(joined, extend_panel(old, new, gaps="fill"))
    with pytest.raises(ValueError, match="add them, with NaN"):
        extend_panel(old, new, gaps="refuse")


def test_values_fill_what_was_missing_and_may_not_contradict() -> None:
    frame = _frame()
    holed = frame.copy()
    holed.loc[[3, 25], "y"] = np.nan
    assert _equal(extend_panel(_panel(holed), _panel(frame)), _panel(frame))
    assert _equal(extend_panel(_panel(frame), _panel(holed)), _panel(frame))
    wrong = frame.copy()
    wrong.loc[25, "p"] = 99.0
    with pytest.raises(ValueError, match=r"series 'b': 'p' of 'b' at 2024-01-06 00:00:00 was .* now 99"):
        extend_panel(_panel(frame), _panel(wrong))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.assign(s=frame["s"] + (frame["unique_id"] == "c")), "series 'c' are others"),
        (lambda frame: frame.assign(ds=frame["ds"] + pd.Timedelta("1h")), "new rows have frequency 'D'"),
        (lambda frame: frame.assign(ds=frame["ds"] + pd.Timedelta("40000D")), "too far from those known"),
    ],
)
def test_rows_that_do_not_fit_are_refused(change: Any, message: str) -> None:
    frame = _frame()
    with pytest.raises(ValueError, match=message):
        extend_panel(_panel(frame), _panel(change(frame)))


def test_panels_of_other_columns_do_not_fit() -> None:
    one = Panel.from_array(np.zeros((2, 5)))
    with pytest.raises(ValueError, match="new rows have channel_names"):
        extend_panel(one, Panel.from_array(np.zeros((2, 5, 2))))


def test_array_panels_grow_alike() -> None:
    values = np.random.default_rng(0).normal(size=(3, 9))
    joined = extend_panel(Panel.from_array(values[:, :6]), Panel.from_array(values[:, 4:], last_step=8))
    assert_array_equal(joined.values[..., 0], values)
    assert joined.last_step.tolist() == [8, 8, 8]
