from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sciffusion.domains.forecasting.frames import panel_of_frame
from sciffusion.domains.forecasting.panel import Panel


def _panel() -> Panel:
    values = np.arange(24.0).reshape(2, 6, 2)
    values[1, :2] = np.nan
    panel = Panel.from_array(values, ids=["a", "b"], last_step=[10, 20])
    return replace(
        panel,
        past=np.ones((2, 6, 1)),
        future=np.arange(16.0).reshape(2, 8, 1),
        static=np.array([[1.0], [2.0]]),
        past_names=("p",),
        future_names=("f",),
        static_names=("s",),
    )


def test_sizes_and_steps() -> None:
    panel = _panel()
    assert (panel.n_series, panel.length, panel.n_channels, panel.ahead) == (2, 6, 2, 2)
    assert panel.lengths.tolist() == [6, 4]
    assert_array_equal(panel.steps[:, 0], [5, 15])
    assert_array_equal(panel.steps_after(3), [[11, 12, 13], [21, 22, 23]])
    assert panel.grid.unit == "integer"


def test_rows_left_out_count_as_lying_ahead() -> None:
    panel = _panel()
    part = panel.until(2)
    assert (part.length, part.ahead) == (4, 4)
    assert_array_equal(part.values, panel.values[:, :4])
    assert_array_equal(part.future, panel.future)
    assert_array_equal(part.steps_after(2), panel.steps[:, -2:])
    assert part.lengths.tolist() == [4, 2]
    with pytest.raises(ValueError, match=r"rows_left_out must be in \[0, 6\)"):
        panel.until(6)


def test_the_calendar_is_that_of_the_users_stamps() -> None:
    stamps = pd.date_range("2024-06-01 00:30", periods=40, freq="h", tz="Asia/Tokyo")
    panel = panel_of_frame(pd.DataFrame({"unique_id": "a", "ds": stamps, "y": 1.0}))
    features = panel.calendar(panel.steps)
    angle = 2 * np.pi * (stamps.hour + 0.5) / 24
    assert_allclose(features[0, :, :2], np.stack([np.sin(angle), np.cos(angle)], axis=-1), atol=1e-12)
    assert _panel().calendar(panel.steps).shape == (1, 40, 0)


@pytest.mark.parametrize("choice", [1, [1], np.array([False, True]), slice(1, None)])
def test_series_are_taken_by_position_mask_or_slice(choice: Any) -> None:
    part = _panel().take(choice)
    assert part.ids == ("b",)
    assert_array_equal(part.values, _panel().values[1:])
    assert part.static.tolist() == [[2.0]]
    assert part.last_step.tolist() == [20]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ids", ("a",)),
        ("lengths", np.array([6])),
        ("past", np.ones((2, 5, 1))),
        ("future", np.ones((2, 5, 1))),
        ("static", np.ones((2, 2))),
        ("channel_names", ("y",)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=field):
        replace(_panel(), **{field: value})


@pytest.mark.parametrize("field", ["values", "past", "future", "static"])
def test_infinite_values_are_refused(field: str) -> None:
    panel = _panel()
    array = getattr(panel, field).copy()
    array[-1] = np.inf
    with pytest.raises(ValueError, match=f"{field} holds infinite values"):
        replace(panel, **{field: array})


def test_an_array_of_other_dimensions_is_refused() -> None:
    with pytest.raises(ValueError, match="X must have shape"):
        Panel.from_array(np.zeros((2, 2, 2, 2)))
    assert Panel.from_array(np.zeros(4)).values.shape == (1, 4, 1)
