r"""Single-step solvers of the probability-flow equation in the library's time.

The velocity is :math:`u = \dot\alpha D + \dot\sigma\varepsilon` with :math:`\varepsilon = (x - \alpha
D)/\sigma`, that is :math:`u = p\,x + q\,D` with :math:`p = \dot\sigma/\sigma` and :math:`q = \dot\alpha -
\alpha\dot\sigma/\sigma`, and a step of length :math:`h = t - t'` is

- Euler: :math:`x' = x - h u(x, t)`;
- Heun: :math:`\hat x = x - h u(x, t)`, :math:`x' = x - \frac h2 [u(x, t) + u(\hat x, t')]`.

Song et al., arXiv 2011.13456 (the equation); Karras et al., arXiv 2206.00364 (Heun's method for it).
"""

from __future__ import annotations

from typing import TypeVar

from torch import Tensor

from sciffusion.continuous.denoiser import Denoiser
from sciffusion.continuous.path import PathCoefficients, as_times
from sciffusion.continuous.solvers.base import ContinuousState, Evaluation, Solver, evaluate, linear_step

__all__ = ["Euler", "Heun"]

S = TypeVar("S", bound=ContinuousState)


def _velocity_coefficients(c: PathCoefficients) -> tuple[Tensor, Tensor]:
    """Return p and q of ``u = p x + q D``."""
    rate = c.d_sigma / c.sigma
    return rate, c.d_alpha - c.alpha * rate


def _euler(state: ContinuousState, t_next: Tensor, sigma_next: Tensor, here: Evaluation) -> Tensor:
    length = as_times(state.t) - t_next
    of_x, of_x0 = _velocity_coefficients(here.coefficients)
    return linear_step(state, t_next, sigma_next, 1.0 - length * of_x, -length * of_x0, here.x0)


class Euler(Solver):
    """Euler's method in time: first order, one evaluation a step."""

    order = 1

    def step(self, state: S, t_next: Tensor, denoiser: Denoiser) -> S:
        """Make one step (see `Solver.step`)."""
        t_next = as_times(t_next)
        here = evaluate(state, denoiser)
        sigma_next = denoiser.path.coefficients(t_next).sigma
        return state.moved(_euler(state, t_next, sigma_next, here), t_next, ())


class Heun(Solver):
    """Heun's method in time: second order, two evaluations a step and one for a step to clean data."""

    order = 2
    nfe = 2

    def step(self, state: S, t_next: Tensor, denoiser: Denoiser) -> S:
        """Make one step (see `Solver.step`)."""
        t_next = as_times(t_next)
        here = evaluate(state, denoiser)
        there = denoiser.path.coefficients(t_next)
        guess = state.moved(_euler(state, t_next, there.sigma, here), t_next, ())
        if not bool(((there.sigma > 0.0) & (state.t != t_next)).any()):
            return guess
        ahead = evaluate(guess, denoiser)
        half = 0.5 * (as_times(state.t) - t_next)
        p, q = _velocity_coefficients(here.coefficients)
        p_next, q_next = _velocity_coefficients(there)
        # Coefficients of x + h/2 (u + u') with the predicted state expanded in x and D.
        of_x = 1.0 - half * p - half * p_next * (1.0 - 2.0 * half * p)
        of_x0 = -half * q + half * p_next * 2.0 * half * q
        x = linear_step(state, t_next, there.sigma, of_x, of_x0, here.x0, (-half * q_next, ahead.x0))
        return state.moved(x, t_next, ())
