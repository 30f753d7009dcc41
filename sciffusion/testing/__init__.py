"""Assertions for users' own paths, solvers and samplers."""

from sciffusion.testing.paths import assert_path_laws
from sciffusion.testing.samplers import assert_sampler_matches
from sciffusion.testing.solvers import (
    OrderMeasurement,
    assert_solver_laws,
    measure_order,
    sampler_covariance,
)

__all__ = [
    "OrderMeasurement",
    "assert_path_laws",
    "assert_sampler_matches",
    "assert_solver_laws",
    "measure_order",
    "sampler_covariance",
]
