r"""Predictor-corrector sampling: Langevin steps that repair the marginal after every step of another solver.

At a fixed time t the Langevin step

.. math:: x \leftarrow x + \delta\,s(x, t) + \sqrt{2\delta}\,\xi, \qquad \delta = 2\,(r\,\sigma)^2

has nearly the marginal of time t as its stationary law.  The ratio r (the *snr* of the source) fixes the
step relative to the noise: since :math:`|s| \approx |\xi|/\sigma`, r is the length of the deterministic part
:math:`\delta s` relative to that of the noise, up to a factor.  With the clean estimate D the step reads
:math:`x \leftarrow x - 2r^2(x - \alpha D) + 2 r\sigma\,\xi`.

**Bias.**  Langevin steps are not reversible at finite length.  For a normal marginal of variance V they
settle at :math:`V / (1 - \delta/2V)`, too wide by up to :math:`1/(1 - r^2)` where noise dominates; the
excess vanishes with :math:`\sigma^2/V` towards the data.

Song et al., *Score-Based Generative Modeling through Stochastic Differential Equations*, arXiv 2011.13456
(predictor-corrector sampling); Richter et al., *Speech Enhancement and Dereverberation with Diffusion-Based
Generative Models*, arXiv 2208.05830 (steps in proportion to the noise level).
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

from sciffusion.continuous.denoiser import Denoiser
from sciffusion.continuous.noise import NoiseSource
from sciffusion.continuous.noise.colored import noise_of_fixed_drift
from sciffusion.continuous.path import align, as_times
from sciffusion.continuous.solvers.base import ContinuousState, Solver, evaluate

__all__ = ["PredictorCorrector"]

S = TypeVar("S", bound=ContinuousState)


class PredictorCorrector(Solver):
    """Any solver, followed by Langevin corrections at the time that it reached.

    Parameters
    ----------
    predictor : Solver
        Makes the steps; its order is that of the whole up to the bias of the corrections.
    snr : float, default 0.16
        The ratio r in (0, 1); .16 for images, .5 for speech in the sources.
    corrections : int, default 1
        Langevin steps after each step, one network evaluation each.
    noise : NoiseSource, optional
        Of the corrections; white by default.  Brownian trees are for the predictor alone, and so is coloured
        noise that wants a matched drift, which is refused here.

    Notes
    -----
    Elements that stand still or have reached clean data are not corrected.
    """

    def __init__(
        self, predictor: Solver, snr: float = 0.16, corrections: int = 1, noise: NoiseSource | None = None
    ) -> None:
        if not 0.0 < snr < 1.0:
            raise ValueError(f"snr must lie in (0, 1), got {snr}")
        if corrections < 1:
            raise ValueError(f"corrections must be at least 1, got {corrections}")
        self.predictor = predictor
        self.snr = snr
        self.corrections = corrections
        self.noise = noise_of_fixed_drift(noise, "PredictorCorrector")
        self.order = predictor.order
        self.nfe = predictor.nfe + corrections

    def step(self, state: S, t_next: Tensor, denoiser: Denoiser) -> S:
        """Make one step and its corrections (see `Solver.step`)."""
        t_next = as_times(t_next)
        sigma = denoiser.path.coefficients(t_next).sigma
        moving = (state.t > t_next) & (sigma > 0.0)
        start, state = state, self.predictor.step(state, t_next, denoiser)
        if not bool(moving.any()):
            return state
        pull = 2.0 * self.snr**2 * moving.to(torch.float64)
        spread = torch.where(moving, 2.0 * self.snr * sigma, 0.0)
        for _ in range(self.corrections):
            here = evaluate(state, denoiser)
            x, alpha = state.x, align(here.coefficients.alpha, state.x)
            noise = self.noise.draw(x, state.generator, start.t, t_next)
            x = x - align(pull, x) * (x - alpha * here.x0) + align(spread, x) * noise
            state = state.moved(x, state.t, state.history)
        return state
