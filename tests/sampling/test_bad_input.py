"""Bad grids and bad starts are refused before any step, with the place and the value that is wrong."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sciffusion.continuous import Euler, NetworkDenoiser, VariancePreserving
from sciffusion.sampling import State, sample, uniform_grid

NAN = float("nan")


def _network(x: Tensor, time: Tensor, condition: Any) -> Tensor:
    raise AssertionError("the network was called on bad input")


DENOISER = NetworkDenoiser(_network, VariancePreserving())


def _refused(error: type[Exception], message: str, grid: Any = None, **state: Any) -> None:
    grid = uniform_grid(4) if grid is None else grid
    with pytest.raises(error, match=message):
        sample(DENOISER, Euler(), grid, state=State(**({"x": torch.zeros(3, 2)} | state)))


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (torch.tensor([1.0, 0.5, 0.6, 0.7, 0.0]), r"grid\[1\] = 0.5 before grid\[2\] = 0.6"),
        (torch.tensor([0.0, 0.5, 1.0]), r"from noise \(1\) to data \(0\); got grid\[0\] = 0 before"),
        (torch.tensor([1.0, NAN, 0.5, NAN]), r"in \[0, 1\], got grid\[1\] = nan"),
        (torch.tensor([1.0, 0.5, -0.25]), r"in \[0, 1\], got grid\[2\] = -0.25"),
        (torch.tensor([80.0, 10.0, 0.002]), r"in \[0, 1\], got grid\[0\] = 80"),
        (torch.tensor([1.0]), r"at least two times .* shape \(1,\)"),
        (torch.tensor(1.0), r"at least two times .* shape \(\)"),
        ([1.0, 0.7, 0.9], r"grid\[1\] = 0.7 before grid\[2\] = 0.9"),
        ([1000, 500, 0], r"got grid\[0\] = 1000"),
    ],
)
def test_grids_that_are_none_name_the_first_place(grid: Any, message: str) -> None:
    _refused(ValueError, message, grid)


def test_grids_of_elements_name_the_element() -> None:
    grid = uniform_grid(3)[:, None].repeat(1, 3)
    grid[2, 1] = 0.9
    _refused(ValueError, r"grid\[1, 1\] = 0.666667 before grid\[2, 1\] = 0.9", grid)
    grid[2, 1] = -1.0
    _refused(ValueError, r"got grid\[2, 1\] = -1", grid)


@pytest.mark.parametrize("grid", [torch.tensor([999, 500, 0]), torch.tensor([1, 0]), torch.tensor([True])])
def test_grids_of_integers_are_refused(grid: Tensor) -> None:
    _refused(TypeError, "floating-point times", grid)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.0, 1.0), min_size=2, max_size=6))
def test_exactly_the_grids_that_do_not_rise_are_accepted(times: list[float]) -> None:
    class ReachedError(Exception):
        pass

    def network(x: Tensor, time: Tensor, condition: Any) -> Tensor:
        raise ReachedError

    rises = any(later > earlier for earlier, later in pairwise(times))
    denoiser = NetworkDenoiser(network, VariancePreserving())
    with pytest.raises(ValueError if rises else ReachedError):
        sample(denoiser, Euler(), torch.tensor(times, dtype=torch.float64), state=State(x=torch.zeros(2, 2)))


def test_times_and_masks_that_do_not_fit_are_refused_before_the_network_runs() -> None:
    wide = uniform_grid(4)[:, None]
    _refused(ValueError, r"times of shape \(4,\) do not fit a state of shape \(3, 2\)", wide.expand(5, 4))
    _refused(ValueError, r"times of shape \(3, 2, 1\)", wide[..., None, None].expand(5, 3, 2, 1))
    _refused(ValueError, r"do not fit a state", known=torch.zeros(2, dtype=torch.bool))
    _refused(TypeError, "mask of bool, got torch.int64", known=torch.zeros(3, dtype=torch.int64))


@pytest.mark.parametrize("bad", [NAN, float("inf"), -float("inf")])
def test_values_that_are_not_finite_name_the_item(bad: float) -> None:
    x = torch.zeros(5, 2)
    x[3, 1] = x[4, 0] = bad
    _refused(ValueError, r"got 2 values that are not, the first in item 3: x\[3, 1\] =", x=x)


@pytest.mark.parametrize("n_steps", [2.0, "8", True])
def test_numbers_of_steps_that_are_no_integers_are_refused(n_steps: Any) -> None:
    with pytest.raises(TypeError, match="n_steps must be an integer"):
        uniform_grid(n_steps)
