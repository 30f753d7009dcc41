r"""Single-step solvers of the probability-flow equation.

With :math:`\varepsilon = (x - \alpha D)/\sigma` the equation has two useful forms :math:`dy/d\tau = p\,y +
q\,D` for a scaled state :math:`y = x/c`:

- ``time``: :math:`c = 1`, :math:`\tau = t`, :math:`p = \dot\sigma/\sigma`,
  :math:`q = \dot\alpha - \alpha\dot\sigma/\sigma`;
- ``noise_to_signal``: :math:`c = \alpha`, :math:`\tau = \sigma/\alpha`, :math:`p = \alpha/\sigma`,
  :math:`q = -p`.

A step of length :math:`\Delta = \tau' - \tau` is

- Euler: :math:`y' = y + \Delta\,u(y, \tau)` with :math:`u = p y + q D`;
- Heun: :math:`\hat y = y + \Delta\,u(y, \tau)`,
  :math:`y' = y + \frac\Delta2 [u(y, \tau) + u(\hat y, \tau')]`.

Euler's method in the relative noise is DDIM.  Song et al., arXiv 2011.13456 (the equation); Karras et al.,
arXiv 2206.00364 (Heun's method in the relative noise).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

import torch
from torch import Tensor

from sciffusion.continuous.denoiser import Denoiser
from sciffusion.continuous.path import PathCoefficients, as_times
from sciffusion.continuous.solvers.base import ContinuousState, Solver, evaluate, linear_step

__all__ = ["Euler", "Heun", "Variable"]

Variable = Literal["time", "noise_to_signal"]
S = TypeVar("S", bound=ContinuousState)


@dataclass(frozen=True, eq=False)
class _Form:
    """The equation ``d(x / scale) / d(place) = p x / scale + q D`` at some times."""

    scale: Tensor
    place: Tensor
    p: Tensor
    q: Tensor


def _form(variable: Variable, t: Tensor, c: PathCoefficients) -> _Form:
    if variable == "time":
        rate = c.d_sigma / c.sigma
        return _Form(torch.ones_like(c.alpha), t, rate, c.d_alpha - c.alpha * rate)
    inverse = c.alpha / c.sigma
    return _Form(c.alpha, c.noise_to_signal, inverse, -inverse)


class _FlowSolver(Solver):
    """A solver of the probability flow in one of the two variables.

    Parameters
    ----------
    variable : {"time", "noise_to_signal"}, default "time"
        What the step is taken in.  The relative noise is infinite in pure noise (``alpha = 0``), from where
        only ``"time"`` can start.
    """

    def __init__(self, variable: Variable = "time") -> None:
        if variable not in get_args(Variable):
            raise ValueError(f"variable must be one of {get_args(Variable)}, got {variable!r}")
        self.variable = variable

    def _forms(
        self, t: Tensor, c: PathCoefficients, t_next: Tensor, c_next: PathCoefficients
    ) -> tuple[_Form, _Form]:
        if self.variable == "noise_to_signal" and bool((c.alpha == 0.0).any()):
            raise ValueError(
                "variable='noise_to_signal' cannot start in pure noise (alpha = 0); "
                "use variable='time', DPMSolverMultistep, or a grid that starts below t=1"
            )
        return _form(self.variable, t, c), _form(self.variable, t_next, c_next)


class Euler(_FlowSolver):
    """Euler's method: first order, one evaluation a step.

    Parameters
    ----------
    variable : {"time", "noise_to_signal"}, default "time"
        What the step is taken in; DDIM is Euler's method in the relative noise.  That is infinite in pure
        noise (``alpha = 0``), from where only ``"time"`` can start.
    """

    order = 1

    def step(self, state: S, t_next: Tensor, denoiser: Denoiser) -> S:
        """Make one step (see `Solver.step`)."""
        t_next = as_times(t_next)
        here = evaluate(state, denoiser)
        c, c_next = here.coefficients, denoiser.path.coefficients(t_next)
        old, new = self._forms(state.t, c, t_next, c_next)
        length = new.place - old.place
        of_x = new.scale / old.scale * (1.0 + length * old.p)
        x = linear_step(state, t_next, c_next.sigma, of_x, new.scale * length * old.q, here.x0)
        return state.moved(x, t_next, ())


class Heun(_FlowSolver):
    """Heun's method: second order, two evaluations a step and one for a step to clean data.

    Parameters
    ----------
    variable : {"time", "noise_to_signal"}, default "time"
        What the step is taken in, as for `Euler`.
    """

    order = 2
    nfe = 2

    def step(self, state: S, t_next: Tensor, denoiser: Denoiser) -> S:
        """Make one step (see `Solver.step`)."""
        t_next = as_times(t_next)
        here = evaluate(state, denoiser)
        c, c_next = here.coefficients, denoiser.path.coefficients(t_next)
        old, new = self._forms(state.t, c, t_next, c_next)
        length, ratio = new.place - old.place, new.scale / old.scale
        growth, pull = 1.0 + length * old.p, length * old.q
        x = linear_step(state, t_next, c_next.sigma, ratio * growth, new.scale * pull, here.x0)
        guess = state.moved(x, t_next, ())
        if not bool(((c_next.sigma > 0.0) & (state.t != t_next)).any()):
            return guess
        ahead = evaluate(guess, denoiser)
        # The predicted state expanded in x and D, so that one update uses x, D and D'.
        half = 0.5 * length
        of_x = ratio * (1.0 + half * (old.p + new.p * growth))
        of_x0 = new.scale * half * (old.q + new.p * pull)
        last = (new.scale * half * new.q, ahead.x0)
        x = linear_step(state, t_next, c_next.sigma, of_x, of_x0, here.x0, last)
        return state.moved(x, t_next, ())
