r"""Laws that every solver obeys, and the covariance of what it samples.

For Gaussian data the perfect denoiser is linear, so a sampler maps its start and every noise that it draws
linearly to its result.  Feeding unit impulses instead of noise reads off this map, and the covariance of the
samples follows without drawing any.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sciffusion.continuous.denoiser import Denoiser
from sciffusion.continuous.noise import NoiseSource
from sciffusion.continuous.path import Path
from sciffusion.continuous.schedules import VariancePreserving
from sciffusion.continuous.solvers.base import Solver
from sciffusion.exact.mixture import GaussianMixtureTarget
from sciffusion.exact.target import ExactDenoiser
from sciffusion.sampling.driver import sample
from sciffusion.sampling.grids import uniform_grid
from sciffusion.sampling.state import State

__all__ = ["assert_solver_laws", "sampler_covariance"]


class _ImpulseNoise:
    """Zero noise, except for a unit impulse in one coordinate of one item at each step."""

    def __init__(self, grid: Tensor, dim: int) -> None:
        self.grid = grid
        self.dim = dim

    def draw(self, like: Tensor, generator: torch.Generator | None, t: Tensor, t_next: Tensor) -> Tensor:
        step = int(torch.searchsorted(-self.grid, -t))
        noise = torch.zeros_like(like)
        rows = (step + 1) * self.dim + torch.arange(self.dim)
        noise[rows, torch.arange(self.dim)] = 1.0
        return noise


def sampler_covariance(
    make_solver: Callable[[NoiseSource], Solver], denoiser: Denoiser, grid: Tensor, start: Tensor
) -> Tensor:
    """Return the exact covariance of a sampler's result for Gaussian data of mean 0, without drawing samples.

    Parameters
    ----------
    make_solver : callable
        From a noise source to the solver; a deterministic one ignores the source.
    denoiser : Denoiser
        Exact denoiser of a Gaussian target of mean 0, so that the sampler is linear.
    grid : Tensor
        Strictly decreasing times, shape ``(n_steps + 1,)``.
    start : Tensor
        Covariance of the start, shape ``(dim, dim)``.

    Returns
    -------
    Tensor
        Covariance of the samples, shape ``(dim, dim)``.
    """
    dim, n_steps = start.shape[0], grid.shape[0] - 1
    x = torch.zeros((n_steps + 1) * dim, dim, dtype=torch.float64)
    x[:dim] = torch.eye(dim, dtype=torch.float64)
    solver = make_solver(_ImpulseNoise(grid, dim))
    response = sample(denoiser, solver, grid, state=State(x=x)).samples.reshape(n_steps + 1, dim, dim)
    from_start, from_noise = response[0], response[1:].reshape(-1, dim)
    return from_start.mT @ start @ from_start + from_noise.mT @ from_noise


def assert_solver_laws(solver: Solver, path: Path | None = None) -> None:
    """Check that a solver keeps its promises on an exactly known mixture.

    The laws: it is pure (same state in, same state out; its input is not changed); it evaluates the network
    at most ``nfe`` times a step; equal times for every element give bitwise what one scalar time gives;
    elements whose time does not change keep their value; a step to clean data returns the clean estimate.

    Parameters
    ----------
    solver : Solver
        The solver to check.
    path : Path, optional
        Without noise at ``t=0``; a variance-preserving one by default.

    Raises
    ------
    AssertionError
        Naming the law that fails.
    """
    path = VariancePreserving() if path is None else path
    centres = torch.tensor([[-1.5, 0.5], [1.0, 1.0]], dtype=torch.float64)
    target = GaussianMixtureTarget.from_stds([0.3, 0.7], centres, torch.full_like(centres, 0.4))
    denoiser = ExactDenoiser(target, path)
    # Many items, so that vectorised arithmetic is compared with that on scalars.
    x = torch.randn(37, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    _check_purity(solver, denoiser, x)
    _check_equal_times(solver, denoiser, x)
    _check_fixed_elements(solver, denoiser, x)
    _check_clean_step(solver, denoiser, x)


def _run(solver: Solver, denoiser: Denoiser, state: State, grid: Tensor) -> Tensor:
    """Sample with a fresh generator of a fixed seed; the driver checks the number of evaluations."""
    return sample(denoiser, solver, grid, state=state, generator=torch.Generator().manual_seed(1)).samples


def _check_purity(solver: Solver, denoiser: Denoiser, x: Tensor) -> None:
    kept = x.clone()
    first = _run(solver, denoiser, State(x=x), uniform_grid(4, 0.9, 0.1))
    _run(solver, denoiser, State(x=x), uniform_grid(3, 0.8, 0.0))
    second = _run(solver, denoiser, State(x=x), uniform_grid(4, 0.9, 0.1))
    if not torch.equal(first, second) or not torch.equal(x, kept):
        raise AssertionError("a solver must be pure: it remembers an earlier run or changes its input")


def _check_equal_times(solver: Solver, denoiser: Denoiser, x: Tensor) -> None:
    scalar = uniform_grid(5, 0.98, 0.0)
    for grid in (scalar[:, None].expand(-1, 37), scalar[:, None, None].expand(-1, 37, 1)):
        if not torch.equal(
            _run(solver, denoiser, State(x=x), scalar), _run(solver, denoiser, State(x=x), grid)
        ):
            raise AssertionError("equal times for every element must give bitwise what a scalar time gives")


def _check_fixed_elements(solver: Solver, denoiser: Denoiser, x: Tensor) -> None:
    known = torch.arange(x.shape[0]) % 3 == 0
    free = _run(solver, denoiser, State(x=x), uniform_grid(5, 0.98, 0.0))
    part = _run(solver, denoiser, State(x=x, known=known), uniform_grid(5, 0.98, 0.0))
    if not torch.equal(part[known], x[known]):
        raise AssertionError("elements whose time does not change must keep their value")
    if not torch.equal(part[~known], free[~known]):
        raise AssertionError("fixed items must not change how other items are sampled")


def _check_clean_step(solver: Solver, denoiser: Denoiser, x: Tensor) -> None:
    start = 0.4
    expected = denoiser(State(x=x, t=torch.tensor(start, dtype=torch.float64))).value
    if not torch.equal(_run(solver, denoiser, State(x=x), uniform_grid(1, start, 0.0)), expected):
        raise AssertionError("a step to clean data must return the clean estimate")
