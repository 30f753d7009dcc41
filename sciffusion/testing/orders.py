r"""Orders of convergence of solvers, measured on targets whose answer is known.

A deterministic solver of order p makes an error :math:`O(n^{-p})` in n steps on a smooth problem.  The
reference problem is the mixture :math:`0.3\,N(-1.5, 0.4^2) + 0.7\,N(1, 0.6^2)`, started from quantiles of its
noisy law, whose probability flow is known exactly.  A stochastic solver has a weak order, measured without
drawing samples: for Gaussian data of standard deviation 0.7 the variance of its result is a number that can
be computed (`sampler_covariance`), from noise 20 down to 0.01 and, because leading errors of one sign and the
other may cancel along a whole run, down to 1 as well.

The observed order is the slope of the error between the last two numbers of steps.  A solver passes if it is
no more than the tolerance below the expected one; from order 3 on, 2.1 is asked for, because solvers with one
evaluation a step make their first steps at lower order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sciffusion.continuous.denoiser import Denoiser
from sciffusion.continuous.noise import NoiseSource
from sciffusion.continuous.path import Path
from sciffusion.continuous.schedules import VarianceExploding, VariancePreserving
from sciffusion.continuous.solvers.base import Solver
from sciffusion.exact.gaussian import GaussianTarget
from sciffusion.exact.line import LineMixture
from sciffusion.exact.mixture import GaussianMixtureTarget
from sciffusion.exact.target import ExactDenoiser
from sciffusion.sampling.driver import sample
from sciffusion.sampling.grids import uniform_grid
from sciffusion.sampling.state import State
from sciffusion.testing.solvers import sampler_covariance

__all__ = [
    "OrderMeasurement",
    "ReferenceProblem",
    "assert_order",
    "assert_weak_order",
    "measure_order",
    "measure_weak_order",
    "reference_problem",
]

#: Least observed order that a solver of order 3 or more must reach.
LEAST_HIGH_ORDER = 2.1


@dataclass(frozen=True)
class OrderMeasurement:
    """Errors of a solver at growing numbers of steps.

    Parameters
    ----------
    steps : tuple of int
        Numbers of steps, growing.
    errors : tuple of float
        Error for each.
    """

    steps: tuple[int, ...]
    errors: tuple[float, ...]

    @property
    def orders(self) -> tuple[float, ...]:
        """Observed order between neighbouring numbers of steps."""
        errors, steps = torch.tensor(self.errors), torch.tensor(self.steps, dtype=torch.float32)
        slopes = -errors.log().diff() / steps.log().diff()
        return tuple(float(slope) for slope in slopes)


@dataclass(frozen=True, eq=False)
class ReferenceProblem:
    """A problem of the probability flow whose solution is known.

    Parameters
    ----------
    denoiser : ExactDenoiser
        Perfect denoiser of the data on a path.
    start : Tensor
        Values at ``t=1``, shape ``(count, 1)``, float64.
    exact : Tensor
        Where the flow takes them at ``t=0``.
    """

    denoiser: ExactDenoiser
    start: Tensor
    exact: Tensor


def reference_problem(path: Path | None = None, count: int = 97) -> ReferenceProblem:
    """Return the two-component reference problem of the module on a path.

    Parameters
    ----------
    path : Path, optional
        `VariancePreserving` with signal and noise levels that end at .01 by default; noise must remain at
        ``t=0`` for full orders.
    count : int, default 97
        Number of starting values: quantiles from .02 to .98 of the noisy law at ``t=1``.

    Returns
    -------
    ReferenceProblem
        Denoiser, start and exact result.
    """
    path = VariancePreserving.from_alpha_min(0.01, sigma_min=0.01) if path is None else path
    weights = torch.tensor([0.3, 0.7], dtype=torch.float64)
    means = torch.tensor([-1.5, 1.0], dtype=torch.float64)
    stds = torch.tensor([0.4, 0.6], dtype=torch.float64)
    target = GaussianMixtureTarget.from_stds(weights.tolist(), means, stds)
    denoiser = ExactDenoiser(target, path)
    c = path.coefficients(1.0)
    levels = torch.linspace(0.02, 0.98, count, dtype=torch.float64)
    start = LineMixture(weights, means, stds**2).quantile(levels, c.alpha, c.sigma)[:, None]
    return ReferenceProblem(denoiser, start, denoiser.flow_map(start, 1.0, 0.0))


def measure_order(
    solver: Solver,
    denoiser: Denoiser,
    start: Tensor,
    exact: Tensor,
    steps: Sequence[int] = (64, 128, 256),
    make_grid: Callable[[int], Tensor] = uniform_grid,
) -> OrderMeasurement:
    """Measure how the error of a deterministic solver falls with the number of steps.

    Parameters
    ----------
    solver : Solver
        Without noise.
    denoiser : Denoiser
        Usually an exact one.
    start, exact : Tensor
        Values at the first time of the grid and the exact result at its last, of one shape.
    steps : sequence of int
        Numbers of steps.
    make_grid : callable, default `uniform_grid`
        From a number of steps to a grid.

    Returns
    -------
    OrderMeasurement
        Largest absolute errors and observed orders.
    """
    errors = []
    for count in steps:
        result = sample(denoiser, solver, make_grid(count), state=State(x=start))
        errors.append(float((result.samples - exact).abs().max()))
    return OrderMeasurement(tuple(steps), tuple(errors))


def measure_weak_order(
    make_solver: Callable[[NoiseSource], Solver],
    steps: Sequence[int] = (80, 160, 320),
    noise_end: float = 0.01,
) -> OrderMeasurement:
    """Measure how the error of the sampled variance falls with the number of steps, without drawing samples.

    Parameters
    ----------
    make_solver : callable
        From a noise source to the solver; a deterministic one ignores the source.
    steps : sequence of int
        Numbers of steps, equally spaced in the log of the noise.
    noise_end : float, default 0.01
        Noise level at which the run ends.

    Returns
    -------
    OrderMeasurement
        Relative errors of the variance, for the module's Gaussian problem, and observed weak orders.
    """
    path = VarianceExploding(noise_end, 20.0)
    denoiser = ExactDenoiser(GaussianTarget.isotropic(1, std=0.7), path)
    start = torch.full((1, 1), 0.7**2 + 20.0**2, dtype=torch.float64)
    exact = 0.7**2 + noise_end**2
    errors = [
        abs(float(sampler_covariance(make_solver, denoiser, uniform_grid(count), start)) / exact - 1.0)
        for count in steps
    ]
    return OrderMeasurement(tuple(steps), tuple(errors))


def assert_order(
    solver: Solver, expected: int | None = None, *, path: Path | None = None, tolerance: float = 0.15
) -> OrderMeasurement:
    """Check that a deterministic solver converges as fast as it says; no target is needed.

    Parameters
    ----------
    solver : Solver
        Without noise.
    expected : int, optional
        Order; what the solver declares by default.
    path : Path, optional
        As for `reference_problem`.
    tolerance : float, default 0.15
        How far the observed order may lie below an expected one of 1 or 2.

    Returns
    -------
    OrderMeasurement
        What was measured.

    Raises
    ------
    AssertionError
        If the observed order is too low, or the errors are not finite.
    """
    problem = reference_problem(path)
    measured = measure_order(solver, problem.denoiser, problem.start, problem.exact, (64, 128, 256))
    _check(measured, solver.order if expected is None else expected, tolerance, "order")
    return measured


def assert_weak_order(
    make_solver: Callable[[NoiseSource], Solver], expected: int, *, tolerance: float = 0.15
) -> OrderMeasurement:
    """Check that a stochastic solver's law converges as fast as it says; no target is needed.

    Parameters
    ----------
    make_solver : callable
        From a noise source to the solver, which draws all its noise from it.
    expected : int
        Weak order.
    tolerance : float, default 0.15
        As for `assert_order`.

    Returns
    -------
    OrderMeasurement
        What was measured where the observed order is lowest.

    Raises
    ------
    AssertionError
        If the observed weak order is too low, or the errors are not finite.
    """
    both = [measure_weak_order(make_solver, noise_end=noise_end) for noise_end in (0.01, 1.0)]
    measured = min(both, key=lambda one: one.orders[-1])
    _check(measured, expected, tolerance, "weak order")
    return measured


def _check(measured: OrderMeasurement, expected: int, tolerance: float, name: str) -> None:
    least = LEAST_HIGH_ORDER if expected >= 3 else expected - tolerance
    observed = measured.orders[-1]
    if not observed >= least:
        errors = ", ".join(f"{error:.2g}" for error in measured.errors)
        raise AssertionError(
            f"{name} {expected} expected, {observed:.2f} observed: errors {errors} with "
            f"{', '.join(map(str, measured.steps))} steps"
        )
