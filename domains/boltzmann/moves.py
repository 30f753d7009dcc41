r"""Langevin moves at the last noise level, that leave the law drawn from as it is.

Where noise is small, the score is nearly the force itself and learned best. Particles that arrive with small
errors of the levels before are equilibrated there by underdamped Langevin dynamics in the law :math:`q
\propto p_t^\gamma e^r`, of unit mass and temperature, with steps of length h in the scheme BAOAB,

.. math:: v \mathrel{+}= \tfrac h2 s_q, \quad x \mathrel{+}= \tfrac h2 v, \quad
   v = c v + \sqrt{1 - c^2}\,\xi, \quad x \mathrel{+}= \tfrac h2 v, \quad v \mathrel{+}= \tfrac h2 s_q,

which draws positions of harmonic modes without any error of the step (Leimkuhler and Matthews, *Rational
Construction of Stochastic Numerical Methods for Molecular Sampling*, arXiv 1203.5428). Weights stay as they
are, as in every sampler that moves particles by a kernel with the right invariant law.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["langevin_moves"]

#: Step in units of the smallest scale of the law, and the loss of velocity over a step.
_STEP = 0.25
_FRICTION = 0.1


def langevin_moves(
    score: Callable[[Tensor], Tensor],
    x: Tensor,
    n_steps: int,
    scale: float,
    project: Callable[[Tensor], Tensor],
    generator: torch.Generator,
) -> Tensor:
    """Return positions after steps of underdamped Langevin dynamics.

    Parameters
    ----------
    score : callable
        Score of the law, of positions ``(batch, ...)``; called once a step and once before.
    x : Tensor
        Positions drawn from the law, or nearly.
    n_steps : int
        Steps; velocities are drawn anew at the start.
    scale : float
        Standard deviation of the law along its stiffest directions, roughly.
    project : callable
        Orthogonal projection onto the subspace where the law lives.
    generator : torch.Generator
        Source of all randomness.

    Returns
    -------
    Tensor
        Of the shape of ``x``.
    """

    def noise() -> Tensor:
        white = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=generator.device)
        return project(white.to(x.device))

    step, kept = _STEP * scale, math.exp(-_FRICTION)
    velocity, force = noise(), score(x)
    for _ in range(n_steps):
        velocity = velocity + 0.5 * step * force
        x = x + 0.5 * step * velocity
        velocity = kept * velocity + math.sqrt(1.0 - kept**2) * noise()
        x = x + 0.5 * step * velocity
        force = score(x)
        velocity = velocity + 0.5 * step * force
    return x
