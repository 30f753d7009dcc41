r"""Extended reverse-time stochastic solvers (ER-SDE) of order 1 to 3.

With the relative noise :math:`l = \sigma/\alpha` (primes at the end of the step) and a noise scale function
:math:`\phi`, let :math:`r = \phi(l')/\phi(l)`.  The semilinear reverse equation gives

.. math::
   x' = \frac{\alpha'}{\alpha} r x + \alpha'(1 - r) D + \alpha'\sqrt{l'^2 - l^2 r^2}\,\xi
      + \alpha'\,[l' - l + \phi(l') Q_0]\,D^{(1)} + \alpha'\,[\tfrac12 (l'-l)^2 + \phi(l') Q_1]\,D^{(2)},

.. math::
   Q_0 = \int_{l'}^{l} \frac{dy}{\phi(y)}, \qquad Q_1 = \int_{l'}^{l} \frac{y - l}{\phi(y)}\,dy,

where :math:`D^{(1)}` and :math:`D^{(2)}` are the derivatives of the clean estimate over l at the start of the
step, taken from the polynomial through this and the last evaluations at :math:`l, l_1, l_2`: with the divided
differences :math:`[l\,l_1]` and :math:`[l\,l_1\,l_2]`,

.. math:: D^{(2)} = 2\,[l\,l_1\,l_2], \qquad D^{(1)} = [l\,l_1] + (l - l_1)\,[l\,l_1\,l_2] .

The source leaves out the second term of :math:`D^{(1)}`, which keeps its third order at two (measured).
:math:`\phi = l` is the probability-flow equation, :math:`\phi = l^2` the usual reverse equation;
:math:`\phi = l^p` has p - 1 times the latter's noise rate.

Since :math:`\phi(l')/\phi(l) = (l'/l)\,\psi(l')/\psi(l)` with :math:`\psi = \phi/l`, the first line is
computed as :math:`(\sigma'/\sigma) d\,x` and :math:`\sigma'\sqrt{1-d^2}\,\xi` with the decay :math:`d =
\psi(l')/\psi(l)`, which needs no division by a vanishing signal level.

Cui et al., *Elucidating the Solution Space of Extended Reverse-Time SDE for Diffusion Models*, arXiv
2309.06169. The integrals are closed for powers and by Gauss-Legendre quadrature in log l else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from sciffusion.continuous.denoiser import Denoiser
from sciffusion.continuous.noise import NoiseSource
from sciffusion.continuous.noise.colored import noise_of_fixed_drift
from sciffusion.continuous.path import as_times
from sciffusion.continuous.solvers.base import ContinuousState, Evaluation, Solver, evaluate, linear_step
from sciffusion.continuous.solvers.multistep import divided_differences

__all__ = ["ERSDE", "NoiseScale", "PowerScale", "QuadratureScale", "recommended_scale"]

S = TypeVar("S", bound=ContinuousState)


def _power(base: Tensor, exponent: float) -> Tensor:
    """Return a power that rounds alike in tensors of any size, which torch.pow does not."""
    return torch.exp(exponent * torch.log(base))


class NoiseScale(ABC):
    r"""A noise scale function :math:`\phi` of the relative noise, with what a step needs of it."""

    @abstractmethod
    def decay(self, new: Tensor, old: Tensor) -> Tensor:
        r"""Return :math:`\psi(l')/\psi(l)` for :math:`\psi = \phi/l`; at most 1 for an admissible scale."""

    @abstractmethod
    def integrals(self, new: Tensor, old: Tensor) -> tuple[Tensor, Tensor]:
        r"""Return :math:`\phi(l') Q_0` and :math:`\phi(l') Q_1`."""


class PowerScale(NoiseScale):
    r"""Power :math:`\phi(l) = l^p`, with closed integrals.

    Parameters
    ----------
    power : float, default 2
        At least 1 (no noise); 2 is the usual reverse equation.
    """

    def __init__(self, power: float = 2.0) -> None:
        if power < 1.0:
            raise ValueError(f"power must be at least 1, got {power}")
        self.power = power

    def decay(self, new: Tensor, old: Tensor) -> Tensor:
        """Return ``(l' / l)^(p - 1)``."""
        return torch.ones_like(new) if self.power == 1.0 else _power(new / old, self.power - 1.0)

    def integrals(self, new: Tensor, old: Tensor) -> tuple[Tensor, Tensor]:
        """Return the two integrals from ``((l / l')^q - 1) / q``, which is a logarithm at q = 0."""
        log_ratio = torch.log(old) - torch.log(new)

        def quotient(exponent: float) -> Tensor:
            return log_ratio if exponent == 0.0 else torch.expm1(exponent * log_ratio) / exponent

        zeroth, first = quotient(1.0 - self.power), quotient(2.0 - self.power)
        return new * zeroth, new**2 * first - old * new * zeroth


class QuadratureScale(NoiseScale):
    r"""Any noise scale function, given as :math:`\psi(l) = \phi(l)/l`, with integrals by quadrature.

    Parameters
    ----------
    reduced : callable
        :math:`\psi`, positive and not decreasing, on float64 tensors.
    nodes : int, default 16
        Gauss-Legendre nodes a step.
    """

    def __init__(self, reduced: Callable[[Tensor], Tensor], nodes: int = 16) -> None:
        places, weights = np.polynomial.legendre.leggauss(nodes)
        self.reduced = reduced
        self._places = torch.from_numpy(0.5 * (places + 1.0))
        self._weights = torch.from_numpy(0.5 * weights)

    def decay(self, new: Tensor, old: Tensor) -> Tensor:
        """Return the ratio of the reduced scale at both ends."""
        return self.reduced(new) / self.reduced(old)

    def integrals(self, new: Tensor, old: Tensor) -> tuple[Tensor, Tensor]:
        """Return the two integrals by quadrature in ``log l``, where ``dy / phi(y) = dlog(y) / psi(y)``."""
        log_new = torch.log(new)[..., None]
        log_ratio = torch.log(old)[..., None] - log_new
        place = torch.exp(log_new + log_ratio * self._places.to(new.device))
        density = self._weights.to(new.device) * log_ratio / self.reduced(place)
        outer = new * self.reduced(new)
        return outer * density.sum(-1), outer * (density * (place - old[..., None])).sum(-1)


def recommended_scale() -> QuadratureScale:
    r"""Return the scale recommended by the source, :math:`\phi(l) = l\,(\exp(l^{0.3}) + 10)`."""
    return QuadratureScale(lambda noise: torch.exp(_power(noise, 0.3)) + 10.0)


class ERSDE(Solver):
    """Extended reverse-time stochastic solver, one evaluation a step.

    Parameters
    ----------
    order : {1, 2, 3}, default 2
        Number of evaluations through which the polynomial goes; the first steps use those there are.  The
        weak order is 1 and 2; order 3 is reached without noise and with the recommended scale, while powers
        above 1 stay at 2 with a smaller error (measured).
    scale : NoiseScale, optional
        How much noise is put back; `recommended_scale` by default.
    noise : NoiseSource, optional
        White by default; coloured noise that wants a matched drift is refused.
    """

    def __init__(
        self, order: int = 2, scale: NoiseScale | None = None, noise: NoiseSource | None = None
    ) -> None:
        if order not in (1, 2, 3):
            raise ValueError(f"order must be 1, 2 or 3, got {order}")
        self.order = order
        self.scale = recommended_scale() if scale is None else scale
        self.noise = noise_of_fixed_drift(noise, "ERSDE")

    def step(self, state: S, t_next: Tensor, denoiser: Denoiser) -> S:
        """Make one step (see `Solver.step`)."""
        t_next = as_times(t_next)
        here = evaluate(state, denoiser)
        c, there = here.coefficients, denoiser.path.coefficients(t_next)
        past: list[Evaluation] = [here, *reversed(state.history)][: self.order]
        old, new = c.noise_to_signal, there.noise_to_signal
        decay = self.scale.decay(new, old)
        of_past = self._corrections(past, new)
        of_x0 = there.alpha - there.sigma / old * decay + there.alpha * of_past[0]
        older = [(there.alpha * k, e.x0) for k, e in zip(of_past[1:], past[1:], strict=True)]
        if bool((decay > 1.0 + 1e-9).any()):
            raise ValueError(
                "scale must not fall, relative to the noise l, where the noise grows: expected psi(l') <= "
                f"psi(l) for psi = phi / l, got a ratio of {float(decay.max()):.4g}"
            )
        spread = there.sigma * torch.sqrt((1.0 - decay**2).clamp_min(0.0))
        if bool((spread > 0.0).any()):
            # Not drawn where it would count for nothing, so that the noiseless scale needs no generator.
            older.append((spread, self.noise.draw(state.x, state.generator, state.t, t_next)))
        x = linear_step(state, t_next, there.sigma, there.sigma / c.sigma * decay, of_x0, here.x0, *older)
        return state.moved(x, t_next, tuple(reversed(past[: self.order - 1])))

    def _corrections(self, past: list[Evaluation], new: Tensor) -> list[Tensor]:
        """Return what the higher terms add to the coefficients (over alpha') of the evaluations."""
        places = [evaluation.coefficients.noise_to_signal for evaluation in past]
        if len(places) == 1:
            return [torch.zeros_like(new)]
        length = new - places[0]
        zeroth, first = self.scale.integrals(new, places[0])
        slope, bend = length + zeroth, length**2 + 2.0 * first
        if len(places) == 3:
            bend = bend + (places[0] - places[1]) * slope
        return divided_differences(places, slope, bend)
