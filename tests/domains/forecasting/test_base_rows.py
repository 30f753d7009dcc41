"""Rows of a panel are its channels, series by series: everything of a series must reach all of its rows."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sciffusion.domains.forecasting.base_forecast import BaseSettings, Series
from sciffusion.domains.forecasting.exogenous import CovariateScale
from sciffusion.domains.forecasting.panel import Panel

COUNT, LENGTH, CHANNELS, HORIZON = 3, 12, 2, 2


@pytest.fixture(scope="module")
def series() -> Series:
    """Three series of two channels that begin and end at other moments, with covariates of every kind."""
    generator = np.random.default_rng(0)
    panel = Panel(
        ids=("a", "b", "c"),
        values=100.0 * np.arange(COUNT)[:, None, None]
        + 10.0 * np.arange(CHANNELS)
        + generator.uniform(size=(COUNT, LENGTH, CHANNELS)),
        lengths=np.array([12, 9, 5]),
        last_step=np.array([30, 20, 10]),
        frequency=None,
        past=np.repeat(np.arange(3.0), LENGTH).reshape(COUNT, LENGTH, 1),
        future=np.repeat(np.arange(3.0), LENGTH + HORIZON).reshape(COUNT, LENGTH + HORIZON, 1),
        static=np.arange(3.0)[:, None],
        channel_names=("x", "y"),
        past_names=("p",),
        future_names=("f",),
        static_names=("s",),
    )
    scale = CovariateScale.learn(panel)
    return Series(panel, scale, BaseSettings(HORIZON, (), 4))


def test_rows_are_series_then_channels(series: Series) -> None:
    assert series.n_rows == COUNT * CHANNELS
    assert_array_equal(series.history.observed[:, 0] // 10.0, [0, 1, 10, 11, 20, 21])
    assert series.row_names() == ("'a' x", "'a' y", "'b' x", "'b' y", "'c' x", "'c' y")


def test_rows_begin_and_end_with_their_series(series: Series) -> None:
    assert_array_equal(series.begin, [0, 0, 3, 3, 7, 7])
    assert_array_equal(series.absolute_step(series.last_windows()), [30, 30, 20, 20, 10, 10])


def test_all_channels_of_a_series_have_its_covariates_and_no_other(series: Series) -> None:
    inputs = series.exogenous.inputs(series.last_windows(), HORIZON)
    # Two steps ahead, the last past value and its mean, and the static one: each tells the series.
    assert inputs.shape == (COUNT * CHANNELS, HORIZON + 3)
    expected = np.repeat(np.sqrt(1.5) * np.array([-1.0, 0.0, 1.0]), CHANNELS)
    np.testing.assert_allclose(inputs, np.repeat(expected[:, None], HORIZON + 3, axis=1), atol=1e-12)
