r"""Exponential multistep solvers in the log signal-to-noise ratio.

Along the probability flow :math:`d(x/\sigma)/d\lambda = e^\lambda D`, hence exactly

.. math:: x' = \frac{\sigma'}{\sigma} x + \sigma' \int_\lambda^{\lambda'} e^y D(y)\,dy .

Replacing D by the polynomial through the last n evaluations gives order n with one evaluation a step.  With
:math:`h = \lambda' - \lambda`, Newton's form of the polynomial needs the moments

.. math:: m_k = \int_0^h e^{u-h} u^k\,du, \qquad m_0 = 1 - e^{-h}, \quad m_k = h^k - k\,m_{k-1} .

Order 1 is DDIM, :math:`x' = (\sigma'/\sigma) x + \alpha' m_0 D`.  Lu et al., *DPM-Solver++: Fast Solver for
Guided Sampling of Diffusion Probabilistic Models*, arXiv 2211.01095; Song, Meng and Ermon, *Denoising
Diffusion Implicit Models*, arXiv 2010.02502.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor

from sciffusion.continuous.denoiser import Denoiser
from sciffusion.continuous.path import as_times
from sciffusion.continuous.solvers.base import ContinuousState, Evaluation, Solver, evaluate, linear_step

__all__ = ["DPMSolverMultistep", "divided_differences"]

S = TypeVar("S", bound=ContinuousState)


def divided_differences(places: list[Tensor], first: Tensor, second: Tensor) -> list[Tensor]:
    """Return the coefficients of the values in ``first * f[0,1] + second * f[0,1,2]``.

    Parameters
    ----------
    places : list of Tensor
        One to three places, newest first, float64.
    first, second : Tensor
        Factors of the first and second divided difference.

    Returns
    -------
    list of Tensor
        One coefficient for each place.  A difference whose places coincide or are infinite (elements that
        stood still, a start in pure noise) is left out, which lowers the order for that element alone.
    """
    gaps = [newer - older for newer, older in pairwise(places)]
    usable = [gap.isfinite() & (gap != 0.0) for gap in gaps]
    inverse = [torch.where(ok, 1.0 / gap, 0.0) for ok, gap in zip(usable, gaps, strict=True)]
    zero = torch.zeros_like(places[0])
    if not gaps:
        return [zero]
    slope = torch.where(usable[0], first, 0.0) * inverse[0]
    if len(gaps) == 1:
        return [slope, -slope]
    both = usable[0] & usable[1]
    bend = torch.where(both, second / (places[0] - places[2]), 0.0)
    newest, middle, oldest = bend * inverse[0], -bend * (inverse[0] + inverse[1]), bend * inverse[1]
    return [slope + newest, middle - slope, oldest]


class DPMSolverMultistep(Solver):
    """Exponential Adams-Bashforth solver on clean estimates (DPM-Solver++ family), one evaluation a step.

    Parameters
    ----------
    order : {1, 2, 3}, default 2
        Number of evaluations through which the polynomial goes; the first steps use those there are.  Order 1
        is DDIM.
    """

    def __init__(self, order: int = 2) -> None:
        if order not in (1, 2, 3):
            raise ValueError(f"order must be 1, 2 or 3, got {order}")
        self.order = order

    def step(self, state: S, t_next: Tensor, denoiser: Denoiser) -> S:
        """Make one step (see `Solver.step`)."""
        t_next = as_times(t_next)
        here = evaluate(state, denoiser)
        there = denoiser.path.coefficients(t_next)
        past: list[Evaluation] = [here, *reversed(state.history)][: self.order]
        places = [evaluation.coefficients.log_snr for evaluation in past]
        width = there.log_snr - places[0]
        m0 = -torch.expm1(-width)
        m1 = second = m0 if len(places) == 1 else width - m0
        if len(places) == 3:
            second = width**2 - 2.0 * m1 + (places[0] - places[1]) * m1
        of_past = [there.alpha * c for c in divided_differences(places, m1, second)]
        of_x = there.sigma / here.coefficients.sigma
        older = zip(of_past[1:], (evaluation.x0 for evaluation in past[1:]), strict=True)
        x = linear_step(state, t_next, there.sigma, of_x, there.alpha * m0 + of_past[0], here.x0, *older)
        return state.moved(x, t_next, tuple(reversed(past[: self.order - 1])))
