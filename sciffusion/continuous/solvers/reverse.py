r"""The family of reverse stochastic equations, by the Euler-Maruyama and the stochastic Heun method.

Along a path with probability-flow velocity :math:`u = \dot\alpha D + \dot\sigma\varepsilon` and score
:math:`s = -\varepsilon/\sigma`, every strength :math:`w_t \ge 0` gives a reverse process with the same
marginals.  A step of length :math:`h = t - t' > 0` is

.. math:: x' = x - h\,u + h\,w\,s + \sqrt{2 h w}\,\xi .

- :math:`w = g^2/2` is the time reversal of the forward process (Anderson, *Reverse-Time Diffusion Equation
  Models*, Stochastic Processes and their Applications 12, 1982);
- :math:`w = \sigma` is the choice of interpolant transformers (Ma et al., *SiT*, arXiv 2401.08740), finite
  where the signal level is 0;
- :math:`w = 0` is Euler's method in time for the probability flow.

`EulerMaruyama` has weak order 1.  `StochasticHeun` averages the drift b of both ends and takes the noise rate
in the middle,

.. math::
   \hat x = x + h\,b(x, t) + \sqrt{2 h w_m}\,\xi, \qquad
   x' = x + \tfrac h2 [b(x, t) + b(\hat x, t')] + \sqrt{2 h w_m}\,\xi,

of weak order 2 because the noise does not depend on the state (Kloeden and Platen, *Numerical Solution of
Stochastic Differential Equations*, 1992).

With `ColoredNoise` of covariance C a step has :math:`h\sqrt w\,C\sqrt w\,s` and
:math:`\sqrt{2hw}\,C^{1/2}\xi` in the places of :math:`h w s` and :math:`\sqrt{2hw}\,\xi`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from sciffusion.continuous.denoiser import Denoiser
from sciffusion.continuous.noise import ColoredNoise, NoiseSource, WhiteNoise
from sciffusion.continuous.path import PathCoefficients, align, as_times
from sciffusion.continuous.solvers.base import ContinuousState, Evaluation, Solver, evaluate, linear_step

__all__ = [
    "EulerMaruyama",
    "NoiseStrength",
    "StochasticHeun",
    "anderson_strength",
    "no_strength",
    "sigma_strength",
]

S = TypeVar("S", bound=ContinuousState)

#: From times and the coefficients of the path there to the strength ``w >= 0``, float64 of their shape.
NoiseStrength = Callable[[Tensor, PathCoefficients], Tensor]


def anderson_strength(t: Tensor, coefficients: PathCoefficients) -> Tensor:
    """Return half the squared diffusion, ``g^2 / 2``; infinite where ``alpha = 0``."""
    return 0.5 * coefficients.squared_diffusion


def sigma_strength(t: Tensor, coefficients: PathCoefficients) -> Tensor:
    """Return the noise level ``sigma``."""
    return coefficients.sigma


def no_strength(t: Tensor, coefficients: PathCoefficients) -> Tensor:
    """Return 0: the probability flow."""
    return torch.zeros_like(coefficients.sigma)


class _ReverseSolver(Solver):
    """What both solvers share: the strength, the noise and the drift's coefficients."""

    def __init__(self, strength: NoiseStrength = anderson_strength, noise: NoiseSource | None = None) -> None:
        self.strength = strength
        self.noise = WhiteNoise() if noise is None else noise

    def _strength(self, t: Tensor, c: PathCoefficients, length: Tensor) -> Tensor:
        """Return the strength where the step moves, and 0 elsewhere.

        Raises
        ------
        ValueError
            If it is negative or not finite.
        """
        w = torch.where(length > 0.0, torch.as_tensor(self.strength(t, c), dtype=torch.float64), 0.0)
        if not bool((w.isfinite() & (w >= 0.0)).all()):
            raise ValueError(
                "the noise strength must be finite and not negative, got values from "
                f"{float(w.min()):.3g} to {float(w.max()):.3g}; in pure noise (alpha = 0) half the squared "
                "diffusion is infinite: start below t=1 or use sigma_strength"
            )
        return w

    @staticmethod
    def _drift(c: PathCoefficients, w: Tensor) -> tuple[Tensor, Tensor]:
        """Return the coefficients of x and of the clean estimate in ``w score - u``."""
        pull = (c.d_sigma + w / c.sigma) / c.sigma
        return -pull, c.alpha * pull - c.d_alpha

    def _noise(
        self, state: ContinuousState, t_next: Tensor, variance: Tensor, color_time: Tensor
    ) -> list[tuple[Tensor, Tensor]]:
        """Return the standard deviation of the step's noise with its draw; nothing where there is none."""
        if not bool((variance > 0.0).any()):
            return []
        source = self.noise.white if isinstance(self.noise, ColoredNoise) else self.noise
        draw = source.draw(state.x, state.generator, state.t, t_next)
        if isinstance(self.noise, ColoredNoise):
            draw = self.noise.operator(color_time).apply(draw, 0.5)
        return [(variance.sqrt(), draw)]

    def _matched(
        self, state: ContinuousState, here: Evaluation, variance: Tensor
    ) -> list[tuple[Tensor, Tensor]]:
        """Return the part ``h sqrt(w) C sqrt(w) score`` of a drift matched to coloured noise, else nothing.

        ``variance`` is ``2 h w``; elements that stand still have no part in it.
        """
        if not (isinstance(self.noise, ColoredNoise) and self.noise.match_drift and bool(variance.any())):
            return []
        c, root = here.coefficients, torch.sqrt(0.5 * variance)
        scale = torch.where(root > 0.0, root / c.sigma**2, 0.0)
        score = align(scale * c.alpha, here.x0) * here.x0 - align(scale, state.x) * state.x
        return [(root, self.noise.operator(state.t).apply(score))]


class EulerMaruyama(_ReverseSolver):
    """Euler-Maruyama method for a reverse equation of any strength: weak order 1, one evaluation a step.

    Parameters
    ----------
    strength : callable, default `anderson_strength`
        From times (float64) and the `PathCoefficients` there to ``w >= 0``, per unit of time and in squared
        units of the state: `anderson_strength`, `sigma_strength`, `no_strength` or any other function.
    noise : NoiseSource, optional
        White by default.  With `ColoredNoise` the drift is matched to the covariance unless that says
        otherwise.

    Notes
    -----
    A step to ``sigma = 0`` returns the clean estimate.  Steps must be short against ``sigma^2 / w``, the time
    in which the noise is forgotten: on grids with few steps near the data `ERSDE` is more accurate.
    """

    order = 1

    def step(self, state: S, t_next: Tensor, denoiser: Denoiser) -> S:
        """Make one step (see `Solver.step`).

        Raises
        ------
        ValueError
            If the strength is negative or not finite, or noise is needed and there is no generator.
        """
        t_next = as_times(t_next)
        here = evaluate(state, denoiser)
        c, sigma_next = here.coefficients, denoiser.path.coefficients(t_next).sigma
        length = state.t - t_next
        # A step to clean data needs no noise, and nothing is asked of the strength or the noise there.
        w = self._strength(state.t, c, torch.where(sigma_next > 0.0, length, 0.0))
        others = self._noise(state, t_next, 2.0 * length * w, state.t)
        matched = self._matched(state, here, 2.0 * length * w)
        of_x, of_x0 = self._drift(c, torch.zeros_like(w) if matched else w)
        others += matched
        x = linear_step(state, t_next, sigma_next, 1.0 + length * of_x, length * of_x0, here.x0, *others)
        return state.moved(x, t_next, ())


class StochasticHeun(_ReverseSolver):
    """Heun's method for a reverse equation of any strength: weak order 2, two evaluations a step.

    Parameters
    ----------
    strength, noise
        As for `EulerMaruyama`; the covariance of coloured noise is that of the middle of the step.

    Notes
    -----
    A step to ``sigma = 0`` takes one evaluation and returns the clean estimate.
    """

    order = 2
    nfe = 2

    def step(self, state: S, t_next: Tensor, denoiser: Denoiser) -> S:
        """Make one step (see `Solver.step`, and `EulerMaruyama.step` for what is refused)."""
        t_next = as_times(t_next)
        here = evaluate(state, denoiser)
        c, c_next = here.coefficients, denoiser.path.coefficients(t_next)
        length, middle = state.t - t_next, 0.5 * (state.t + t_next)
        moving = torch.where(c_next.sigma > 0.0, length, 0.0)
        w, w_next = self._strength(state.t, c, moving), self._strength(t_next, c_next, moving)
        w_middle = self._strength(middle, denoiser.path.coefficients(middle), moving)
        noise = self._noise(state, t_next, 2.0 * moving * w_middle, middle)
        matched = self._matched(state, here, 2.0 * moving * w)
        old = self._drift(c, torch.zeros_like(w) if matched else w)
        growth, pull = 1.0 + length * old[0], length * old[1]
        x = linear_step(state, t_next, c_next.sigma, growth, pull, here.x0, *noise, *matched)
        guess = state.moved(x, t_next, ())
        if not bool((moving > 0.0).any()):
            return guess
        ahead = evaluate(guess, denoiser)
        matched_next = self._matched(guess, ahead, 2.0 * moving * w_next)
        new = self._drift(c_next, torch.zeros_like(w) if matched_next else w_next)
        # The predicted state expanded in its parts, so that one update uses each of them once.
        half = 0.5 * length
        of_x = 1.0 + half * (old[0] + new[0] * growth)
        of_x0 = half * (old[1] + new[0] * pull)
        others = [(half * new[1], ahead.x0)]
        others += [(std * (1.0 + half * new[0]), draw) for std, draw in noise]
        others += [(root * (0.5 + half * new[0]), score) for root, score in matched]
        others += [(0.5 * root, score) for root, score in matched_next]
        x = linear_step(state, t_next, c_next.sigma, of_x, of_x0, here.x0, *others)
        return state.moved(x, t_next, ())
