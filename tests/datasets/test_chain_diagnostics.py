"""R-hat and autocorrelation times of chains that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sciffusion.datasets.chain_diagnostics import autocorrelation_time, effective_rows, split_r_hat


def test_r_hat_by_hand() -> None:
    series = np.array([[0.0, 4.0], [2.0, 6.0], [9.0, 9.0], [0.0, 4.0], [2.0, 6.0]])  # middle frame left out
    # halves (0, 2), (4, 6), (0, 2), (4, 6): means 1, 5, 1, 5 with variance 16/3, each of variance 2
    assert split_r_hat(series) == pytest.approx(math.sqrt(1.0 + 16.0 / 3.0 / 2.0))


def test_r_hat_sees_a_drift_common_to_all_chains() -> None:
    noise = np.random.default_rng(0).standard_normal((400, 8))
    assert split_r_hat(noise) < 1.01
    assert split_r_hat(noise + np.linspace(0.0, 3.0, 400)[:, None]) > 1.2


def test_constant_chains() -> None:
    assert split_r_hat(np.ones((4, 2))) == 1.0
    assert split_r_hat(np.ones((4, 2)) * np.array([0.0, 1.0])) == math.inf
    assert autocorrelation_time(np.ones((6, 2))) == 1.0


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.9])
def test_time_of_an_autoregression(memory: float) -> None:
    draws = np.random.default_rng(1).standard_normal((4000, 50))
    series = np.empty_like(draws)
    series[0] = draws[0]
    for frame in range(1, len(draws)):
        series[frame] = memory * series[frame - 1] + math.sqrt(1.0 - memory**2) * draws[frame]
    assert autocorrelation_time(series) == pytest.approx((1.0 + memory) / (1.0 - memory), rel=0.05)


def test_rows_chosen_from_chains_have_the_variance_of_both() -> None:
    # Independent states: n rows are worth n.
    assert effective_rows(np.ones((6, 2)), 5) == pytest.approx(5.0)
    noise = np.random.default_rng(3).standard_normal((100, 4))
    time = autocorrelation_time(noise)
    assert effective_rows(noise, 400) == pytest.approx(400 / time)
    # One row of 400 has the variance of a state, nearly, and no chain makes it worth more.
    assert effective_rows(noise, 1) == pytest.approx(1.0 / (1.0 + (time - 1.0) / 400))


def test_chains_that_disagree_count_as_correlated() -> None:
    noise = np.random.default_rng(2).standard_normal((2000, 10))
    assert autocorrelation_time(noise) < 1.2  # its error is about sqrt(22 / 20000) = 0.03
    assert autocorrelation_time(noise + 2.0 * np.arange(10)) > 50.0


@pytest.mark.parametrize("shape", [(3, 2), (10,)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    for function in (split_r_hat, autocorrelation_time):
        with pytest.raises(ValueError, match="expected \\(frames >= 4, chains\\)"):
            function(np.zeros(shape))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_refused(value: float) -> None:
    series = np.zeros((6, 2))
    series[3, 1] = value
    for function in (split_r_hat, autocorrelation_time):
        with pytest.raises(ValueError, match="NaN or infinite"):
            function(series)
