"""Assertions for users' own paths, denoisers, solvers and samplers."""

from sciffusion.testing.denoisers import assert_denoiser_laws, excess_loss
from sciffusion.testing.equivariance import assert_equivariant
from sciffusion.testing.orders import (
    OrderMeasurement,
    ReferenceProblem,
    assert_order,
    assert_weak_order,
    measure_order,
    measure_weak_order,
    reference_problem,
)
from sciffusion.testing.paths import assert_path_laws
from sciffusion.testing.samplers import assert_sampler_matches
from sciffusion.testing.solvers import assert_solver_laws, sampler_covariance

__all__ = [
    "OrderMeasurement",
    "ReferenceProblem",
    "assert_denoiser_laws",
    "assert_equivariant",
    "assert_order",
    "assert_path_laws",
    "assert_sampler_matches",
    "assert_solver_laws",
    "assert_weak_order",
    "excess_loss",
    "measure_order",
    "measure_weak_order",
    "reference_problem",
    "sampler_covariance",
]
