"""Reference values of multistep solvers in other variables, written as a user would write solvers.

Errors at 512 uniform steps and orders from 256 to 512 on the two-component reference problem, measured
independently of this library: Adams-Bashforth in the noise and in the velocity, and its exponential form in
the noise.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sciffusion.continuous import (
    DPMSolverMultistep,
    Euler,
    RectifiedFlow,
    Solver,
    VariancePreserving,
    as_times,
)
from sciffusion.continuous.path import PathCoefficients
from sciffusion.continuous.solvers.base import evaluate
from sciffusion.testing import assert_order, measure_order, reference_problem


class _AdamsBashforth(Solver):
    """Two-step Adams-Bashforth, its first step Euler's, for ``d(x / scale) / d(place) = value``."""

    order = 2

    def __init__(self, form: str) -> None:
        self.form = form

    def _scale_and_place(self, c: PathCoefficients) -> tuple[Tensor, Tensor]:
        if self.form == "velocity":
            return c.alpha + c.sigma, c.sigma / (c.alpha + c.sigma)
        return c.alpha, c.noise_to_signal

    def step(self, state: Any, t_next: Tensor, denoiser: Any) -> Any:
        here = evaluate(state, denoiser)
        c, there = here.coefficients, denoiser.path.coefficients(as_times(t_next))
        noise = (state.x - c.alpha * here.x0) / c.sigma
        value = noise - here.x0 if self.form == "velocity" else noise
        (scale, place), (new_scale, new_place) = self._scale_and_place(c), self._scale_and_place(there)
        width = new_place - place
        moved = width * value
        if state.history:
            old_value, old_place = state.history[-1]
            if self.form == "exponential":
                log_width = torch.log(new_place / place)
                first_moment = new_place * log_width - width
                moved = moved + first_moment * (value - old_value) / torch.log(place / old_place)
            else:
                moved = moved + 0.5 * width**2 * (value - old_value) / (place - old_place)
        return state.moved(new_scale * (state.x / scale + moved), t_next, ((value, place),))


PATHS = {
    "vp": VariancePreserving.from_alpha_min(0.01, sigma_min=0.01),
    "flow": RectifiedFlow(alpha_min=0.01, sigma_min=0.01),
}
REFERENCE = {
    ("noise", "vp"): (1.9e-4, 1.99),
    ("noise", "flow"): (2.8e-4, 1.94),
    ("velocity", "vp"): (3.8e-5, 2.02),
    ("velocity", "flow"): (3.6e-5, 2.00),
    ("exponential", "vp"): (1.0e-4, 1.91),
    ("exponential", "flow"): (1.7e-4, 1.94),
}


@pytest.mark.parametrize(("form", "path"), REFERENCE)
def test_multistep_solvers_in_other_variables_match_the_reference(form: str, path: str) -> None:
    problem = reference_problem(PATHS[path])
    solver = _AdamsBashforth(form)
    measured = measure_order(solver, problem.denoiser, problem.start, problem.exact, (256, 512))
    error, order = REFERENCE[form, path]
    # References are given to two digits.
    assert measured.errors[-1] == pytest.approx(error, rel=0.035)
    assert measured.orders[-1] == pytest.approx(order, abs=0.01)
    assert_order(solver, path=PATHS[path])


@pytest.mark.parametrize("path", PATHS)
def test_first_order_in_the_relative_noise_is_the_first_exponential_step(path: str) -> None:
    problem = reference_problem(PATHS[path])
    errors = [
        measure_order(solver, problem.denoiser, problem.start, problem.exact, (64,)).errors[0]
        for solver in (Euler("noise_to_signal"), DPMSolverMultistep(1))
    ]
    assert errors[0] == pytest.approx(errors[1], rel=1e-9)
