r"""What goes with density guidance: a start of median norm, and noise within a surface of one density.

The squared norm of d standard normal values has its median near :math:`d - 2/3`.  The start

.. math:: x \to x\,\sqrt{\chi^2_{d, 1/2}}\; \sqrt{\alpha^2 + \sigma^2} / \|x\|

leaves only the direction to chance, so that all samples start at one density.

The solver makes Euler steps of the probability flow under guidance with noise orthogonal to the score,

.. math:: x' = x - h\,u + k g \sqrt h\,\bigl(I - \hat s \hat s^\top\bigr)\xi ,

of order 1.  `DensityGuidance` with the same strength k takes the noise's mean effect on the log density out.

Karczewski, Heinonen and Garg, arXiv 2502.05807.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from sciffusion.continuous.noise import WhiteNoise
from sciffusion.continuous.path import Path, align, as_times
from sciffusion.continuous.prediction import ContinuousPrediction
from sciffusion.continuous.solvers.base import ContinuousState, Solver, evaluate
from sciffusion.continuous.solvers.deterministic import Euler
from sciffusion.sampling.guidance.density import chi_squared_quantile
from sciffusion.sampling.hooks import Hook
from sciffusion.sampling.state import State

__all__ = ["DensityControlledNoise", "MedianNormStart"]

S = TypeVar("S", bound=ContinuousState)


class MedianNormStart(Hook):
    """Rescales every starting value to the median norm of the path's prior.

    Parameters
    ----------
    path : Path
        Whose prior is meant.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def before_run(self, state: State) -> State:
        """Return the state with rescaled values."""
        flat = state.x.flatten(1)
        median = chi_squared_quantile(0.5, flat.shape[1]) ** 0.5
        length = flat.norm(dim=-1).reshape((-1,) + (1,) * (state.x.ndim - 1))
        return replace(state, x=state.x / length * median * align(self.path.prior_std(state.t), state.x))


class _Known:
    """A denoiser whose clean estimate is known."""

    def __init__(self, path: Any, value: Tensor) -> None:
        self.path = path
        self._value = value

    def __call__(self, state: Any, condition: Any = None, cache: Any = None) -> ContinuousPrediction:
        return ContinuousPrediction(self._value, "x0")


class DensityControlledNoise(Solver):
    """Euler steps of the probability flow with noise orthogonal to the score.

    Parameters
    ----------
    noise_strength : float
        k of the module, at least 0; give the same to `DensityGuidance`.

    Raises
    ------
    ValueError
        For a negative strength.
    """

    order = 1

    def __init__(self, noise_strength: float) -> None:
        if not noise_strength >= 0.0:
            raise ValueError(f"noise_strength must not be negative, got {noise_strength}")
        self.noise_strength = noise_strength

    def step(self, state: S, t_next: Tensor, denoiser: Any) -> S:
        """Make one step (see `Solver.step`)."""
        t_next = as_times(t_next)
        here = evaluate(state, denoiser)
        c, path = here.coefficients, denoiser.path
        moved = Euler().step(state, t_next, _Known(path, here.x0))
        moves = (t_next < state.t) & (path.coefficients(t_next).sigma > 0.0)
        variance = torch.where(moves, c.squared_diffusion * (state.t - t_next), 0.0)
        if self.noise_strength == 0.0 or not bool((variance > 0.0).any()):
            return moved
        noise = WhiteNoise().draw(state.x, state.generator, state.t, t_next)
        score = align(c.alpha, here.x0) * here.x0 - state.x
        share = (noise * score).flatten(1).sum(-1) / (score**2).flatten(1).sum(-1)
        noise = noise - share.reshape((-1,) + (1,) * (score.ndim - 1)) * score
        step = self.noise_strength * align(variance.sqrt(), noise) * noise
        return state.moved(moved.x + step, t_next, ())
