from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse

from sciffusion.domains.forecasting.arrays import panel_of_array, read_targets
from sciffusion.domains.forecasting.panel import Panel


@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 2), (1, 1)])
def test_arrays_become_panels(shape: tuple[int, ...]) -> None:
    values = np.arange(np.prod(shape), dtype=float).reshape(shape)
    panel = panel_of_array(values.tolist())
    assert panel.values.shape == (*shape[:2], shape[2] if len(shape) == 3 else 1)
    assert_array_equal(panel.values.reshape(shape), values)
    assert panel.frequency is None
    assert panel.last_step.tolist() == [shape[1] - 1] * shape[0]


def test_a_wide_frame_is_an_array() -> None:
    frame = pd.DataFrame(np.arange(6.0).reshape(2, 3), columns=["mon", "tue", "wed"])
    assert_array_equal(panel_of_array(frame).values[..., 0], frame.to_numpy())


def test_the_panel_does_not_share_memory_with_the_input() -> None:
    values = np.zeros((2, 3))
    panel_of_array(values).values[:] = 1.0
    assert_array_equal(values, 0.0)


@pytest.mark.parametrize("channels", [None, 2])
def test_series_of_unequal_length_are_aligned_at_their_ends(channels: int | None) -> None:
    shape = () if channels is None else (channels,)
    series = [np.full((length, *shape), float(length)) for length in (2, 5, 1)]
    panel = panel_of_array(series)
    assert panel.values.shape == (3, 5, channels or 1)
    assert panel.lengths.tolist() == [2, 5, 1]
    assert_array_equal(panel.values[:, :, 0], [[np.nan] * 3 + [2.0] * 2, [5.0] * 5, [np.nan] * 4 + [1.0]])


def test_missing_values_are_kept_and_the_beginning_is_found() -> None:
    panel = panel_of_array([[np.nan, np.nan, 1.0, np.nan, 2.0], [0.0, 1.0, 2.0, 3.0, np.nan]])
    assert panel.lengths.tolist() == [3, 5]
    assert np.isnan(panel.values).sum() == 4


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        (np.zeros(5), ValueError, "Reshape your data"),
        (np.zeros((0, 5)), ValueError, "0 sample"),
        (np.zeros((5, 0)), ValueError, r"0 feature\(s\) \(shape=\(5, 0\)\) while a minimum of 1 is required"),
        (np.zeros((2, 3, 0)), ValueError, "X must have shape"),
        (np.zeros((2, 3, 2, 2)), ValueError, "X must have shape"),
        (np.array([[1.0, np.inf]]), ValueError, "infinity"),
        (np.array([[1j, 2.0]]), ValueError, "Complex data not supported"),
        (np.array([["a", "b"]]), ValueError, "could not convert"),
        (sparse.csr_matrix(np.eye(3)), TypeError, "[Ss]parse"),
        ([np.zeros(3), np.zeros((2, 2))], ValueError, "different numbers of channels"),
        ([np.zeros(3), np.zeros(0)], ValueError, r"empty ones, in series 1"),
        ([np.zeros(3), 2.0], ValueError, r"in series 1"),
        ([np.zeros(3), np.array([np.inf, 1.0])], ValueError, "infinity"),
        (np.array([[1.0, 2.0], [np.nan, np.nan]]), ValueError, "fewer than 1 rows .* in series 1"),
    ],
)
def test_bad_arrays_are_refused(values: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        panel_of_array(values)


def test_short_series_are_named() -> None:
    series = [np.zeros(3), np.zeros(8)]
    with pytest.raises(ValueError, match=r"fewer than 5 rows from the first .* in series 0, .* 3"):
        panel_of_array(series, min_length=5)
    assert np.isnan(panel_of_array([[np.nan, np.nan]], min_observed=0).values).all()


def test_a_panel_is_checked_and_returned() -> None:
    panel = Panel.from_array(np.zeros((2, 4)))
    assert panel_of_array(panel) is panel
    with pytest.raises(ValueError, match="fewer than 5 rows"):
        panel_of_array(panel, min_length=5)


@pytest.mark.parametrize(
    ("shape", "channels", "expected"),
    [((4,), 1, (4, 1, 1)), ((4, 3), 1, (4, 3, 1)), ((4, 3, 1), 1, (4, 3, 1)), ((4, 3, 2), 2, (4, 3, 2))],
)
def test_targets_get_three_axes(shape: tuple[int, ...], channels: int, expected: tuple[int, ...]) -> None:
    y = np.arange(np.prod(shape)).reshape(shape)
    targets = read_targets(y, np.zeros((4, 9)), channels)
    assert targets.shape == expected
    assert_array_equal(targets.reshape(-1), y.reshape(-1))


@pytest.mark.parametrize(
    ("y", "channels", "horizon", "message"),
    [
        (np.zeros((3, 2)), 1, None, "inconsistent numbers of samples"),
        (np.zeros((4, 2)), 2, None, r"y must have shape \(n, horizon, 2\), got \(4, 2\)"),
        (np.zeros((4, 2)), 1, 3, r"y must have shape \(n, 3, 1\), got \(4, 2\)"),
        (np.full((4, 2), np.nan), 1, None, "NaN"),
        (np.full((4, 2), np.inf), 1, None, "infinity"),
    ],
)
def test_bad_targets_are_refused(y: Any, channels: int, horizon: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_targets(y, np.zeros((4, 9)), channels, horizon=horizon)


def test_a_number_of_channels_may_be_expected() -> None:
    X = np.ones((4, 6, 2))
    assert panel_of_array(X, n_channels=2).n_channels == 2
    with pytest.raises(ValueError, match="X has 2 channels, expected 1"):
        panel_of_array(X, n_channels=1)
    with pytest.raises(ValueError, match="X has 1 channel, expected 3"):
        panel_of_array(X[..., 0], n_channels=3)
