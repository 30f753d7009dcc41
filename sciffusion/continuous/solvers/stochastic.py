r"""Ancestral sampling: the exact posterior of a step given the clean data, with its estimate put in.

For a step from t to t' of a Gaussian path, with :math:`\rho = (\sigma'\alpha / (\sigma\alpha'))^2`,

.. math:: x' = \rho\frac{\alpha'}{\alpha} x + \alpha' (1 - \rho) D + s\,\xi,

where :math:`s = \sigma'\sqrt{1-\rho}` for the variance of the posterior and :math:`s = \sqrt{\sigma^2 -
\sigma'^2\alpha^2/\alpha'^2}` for that of the forward step ("upper", the other choice of the paper).  Ho, Jain
and Abbeel, *Denoising Diffusion Probabilistic Models*, arXiv 2006.11239.
"""

from __future__ import annotations

from typing import Literal, TypeVar

import torch
from torch import Tensor

from sciffusion.continuous.denoiser import Denoiser
from sciffusion.continuous.noise import NoiseSource
from sciffusion.continuous.noise.colored import noise_of_fixed_drift
from sciffusion.continuous.path import as_times
from sciffusion.continuous.solvers.base import ContinuousState, Solver, evaluate, linear_step

__all__ = ["AncestralDDPM"]

S = TypeVar("S", bound=ContinuousState)


class AncestralDDPM(Solver):
    """Ancestral sampler of denoising diffusion probabilistic models on any path.

    Parameters
    ----------
    variance : {"posterior", "upper"}, default "posterior"
        Which of the two variances of the step is used.
    noise : NoiseSource, optional
        White by default; coloured noise that wants a matched drift is refused.
    """

    order = 1

    def __init__(
        self, variance: Literal["posterior", "upper"] = "posterior", noise: NoiseSource | None = None
    ) -> None:
        if variance not in ("posterior", "upper"):
            raise ValueError(f"variance must be 'posterior' or 'upper', got {variance!r}")
        self.variance = variance
        self.noise = noise_of_fixed_drift(noise, "AncestralDDPM")

    def step(self, state: S, t_next: Tensor, denoiser: Denoiser) -> S:
        """Make one step (see `Solver.step`)."""
        t_next = as_times(t_next)
        here = evaluate(state, denoiser)
        c, there = here.coefficients, denoiser.path.coefficients(t_next)
        ratio = there.sigma * c.alpha / (c.sigma * there.alpha)
        kept = ratio**2
        posterior = there.sigma**2 * (1.0 - kept)
        upper = c.sigma**2 * (1.0 - kept)
        spread = torch.sqrt(posterior if self.variance == "posterior" else upper)
        noise = self.noise.draw(state.x, state.generator, state.t, t_next)
        # (alpha' / alpha) kept, written without dividing by alpha, which is 0 in pure noise.
        of_x = ratio * there.sigma / c.sigma
        x = linear_step(
            state, t_next, there.sigma, of_x, there.alpha * (1.0 - kept), here.x0, (spread, noise)
        )
        return state.moved(x, t_next, ())
