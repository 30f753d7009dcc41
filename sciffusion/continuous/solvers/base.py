r"""What all solvers share: the protocol, the history of evaluations and the linear update.

A step goes from time t to a smaller time t'.  Primes mark values at t'.  Every solver here has the form

.. math:: x' = c_x x + \sum_j c_j D_j + c_\xi \xi

with clean estimates :math:`D_j = E[x_0 | x_{t_j}]` of this and earlier evaluations.  The coefficients are
computed in float64 and rounded once.  Two rules hold for every element by itself:

- an element whose time does not change keeps its value;
- an element that reaches :math:`\sigma' = 0` becomes its clean estimate D, never divided by a noise level.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

import torch
from torch import Tensor

from sciffusion.continuous.denoiser import Denoiser
from sciffusion.continuous.path import PathCoefficients, align

__all__ = ["ContinuousState", "Evaluation", "Solver", "evaluate", "linear_step"]


class ContinuousState(Protocol):
    """The part of a sampling state that a continuous solver reads and moves on."""

    @property
    def x(self) -> Tensor:
        """Noisy values."""
        ...

    @property
    def t(self) -> Tensor:
        """Times, of a shape that is a prefix of that of ``x``."""
        ...

    @property
    def history(self) -> tuple[Any, ...]:
        """Earlier evaluations, newest last."""
        ...

    @property
    def generator(self) -> torch.Generator | None:
        """Source of randomness of stochastic steps."""
        ...

    def moved(self, x: Tensor, t: Tensor, history: tuple[Any, ...]) -> Self:
        """Return the state at other values and times, all else unchanged."""
        ...


S = TypeVar("S", bound=ContinuousState)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A clean estimate and the coefficients of the path at the times where it was made."""

    x0: Tensor
    coefficients: PathCoefficients


class Solver(ABC):
    """One step of a reverse process; pure, so that everything it remembers lies in the state.

    Attributes
    ----------
    order : int
        Global order of accuracy in the step size (weak order for stochastic solvers).
    nfe : int
        Largest number of network evaluations in one step.
    """

    order: int
    nfe: int = 1

    @abstractmethod
    def step(self, state: S, t_next: Tensor, denoiser: Denoiser) -> S:
        """Move a state to smaller or equal times.

        Parameters
        ----------
        state : ContinuousState
            State at its times ``state.t``.
        t_next : Tensor
            Times to reach, of the shape of ``state.t`` and nowhere larger.
        denoiser : Denoiser
            Called at most ``nfe`` times.

        Returns
        -------
        ContinuousState
            A new state; the old one is not changed.
        """

    def total_nfe(self, n_steps: int) -> int:
        """Return an upper bound of the number of network evaluations of ``n_steps`` steps."""
        return self.nfe * n_steps

    def steps_within(self, nfe: int) -> int:
        """Return the largest number of steps that never takes more than ``nfe`` network evaluations."""
        steps = nfe // self.nfe
        if steps < 1:
            raise ValueError(f"nfe={nfe} does not pay for one step, which may take {self.nfe} evaluations")
        return steps


def evaluate(state: ContinuousState, denoiser: Denoiser) -> Evaluation:
    """Run the denoiser on a state and return its clean estimate with the coefficients there."""
    coefficients = denoiser.path.coefficients(state.t)
    prediction = denoiser(state)
    return Evaluation(prediction.to("x0", coefficients, state.x).value, coefficients)


def _has_rules(t: Tensor, t_next: Tensor, sigma_next: Tensor) -> bool:
    """Tell whether a rule of the module applies to any element; most steps need not pay for them."""
    if t.ndim == t_next.ndim == 0:
        return float(t) == float(t_next) or float(sigma_next) == 0.0
    return bool(((t == t_next) | (sigma_next == 0.0)).any())


def linear_step(
    state: ContinuousState,
    t_next: Tensor,
    sigma_next: Tensor,
    of_x: Tensor,
    of_x0: Tensor,
    x0: Tensor,
    *others: tuple[Tensor, Tensor],
) -> Tensor:
    """Return ``of_x * x + of_x0 * x0 + sum(coefficient * tensor)``, with the two rules of the module applied.

    Parameters
    ----------
    state : ContinuousState
        State at its times.
    t_next, sigma_next : Tensor
        Times and noise levels to reach, float64.
    of_x, of_x0 : Tensor
        Coefficients of the state and of the clean estimate, float64; may be anything where a rule decides.
    x0 : Tensor
        Clean estimate at the state.
    *others : tuple of (Tensor, Tensor)
        Further coefficients, float64, with their tensors (earlier estimates, noise).

    Returns
    -------
    Tensor
        Values at ``t_next``.
    """
    if _has_rules(state.t, t_next, sigma_next):
        fixed = state.t == t_next
        clean = (sigma_next == 0.0) & ~fixed
        ruled = fixed | clean
        of_x = torch.where(fixed, 1.0, torch.where(clean, 0.0, of_x))
        of_x0 = torch.where(fixed, 0.0, torch.where(clean, 1.0, of_x0))
        others = tuple((torch.where(ruled, 0.0, coefficient), tensor) for coefficient, tensor in others)
    x = align(of_x, state.x) * state.x + align(of_x0, x0) * x0
    for coefficient, tensor in others:
        x = x + align(coefficient, tensor) * tensor
    return x
