r"""The theta-trapezoidal scheme in rates: two leaps, the second at extrapolated rates.

With reverse rates :math:`\mu` per unit of :math:`\tau = -\log a` (see `rates`) and
:math:`\Delta\tau = \log(a_s/a_t)`,

1. a leap of :math:`\theta\Delta\tau` at the rates :math:`\mu(x_t, t)` gives :math:`x^*` at :math:`\rho`;
2. a leap of :math:`(1-\theta)\Delta\tau` from :math:`x^*` at the rates
   :math:`[c_1 \mu(x^*, \rho) - c_2 \mu(x_t, t)]_+` gives :math:`x_s`, with

   .. math:: c_1 = \frac{1}{2\theta(1-\theta)}, \qquad
      c_2 = \frac{(1-\theta)^2 + \theta^2}{2\theta(1-\theta)}.

Rates are indexed by the token they lead to. The grid needs a first keep probability above 0 and a last one
below 1, from which the step to time 0 draws from the denoiser with one evaluation.

Ren et al., *Fast Solvers for Discrete Diffusion Models: Theory and Applications of High-Order Algorithms*,
arXiv 2502.00234.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

import torch
from torch import Tensor

from sciffusion.discrete.denoiser import DiscreteDenoiser
from sciffusion.discrete.solvers.base import DrawSolver, TokenState, aligned_times, with_still_sites
from sciffusion.discrete.solvers.prediction_trapezoid import checked_theta, middle_time, trapezoid_weights
from sciffusion.discrete.solvers.rates import (
    jump_log_probabilities,
    log_keep_step,
    reverse_rates,
    with_final_draw,
)

__all__ = ["ThetaTrapezoid"]

S = TypeVar("S", bound=TokenState)


class ThetaTrapezoid(DrawSolver):
    """Two leaps with extrapolated rates; two evaluations a step, one in the step to time 0.

    Of second order in the step length, but with large errors at few steps, where `PredictionTrapezoid` is
    better; for uniform noise it prefers a cosine grid.

    Parameters
    ----------
    theta : float, default .5
        Share of the step, in tau, that the first leap makes; inside (0, 1).
    """

    nfe = 2
    nfe_saved = 1

    def __init__(self, theta: float = 0.5) -> None:
        self.theta = checked_theta(theta)

    def draws(self, state: S, t_next: Tensor, denoiser: DiscreteDenoiser) -> Generator[Tensor, Tensor, S]:
        """Leap twice, or draw from the denoiser at time 0 (see `DrawSolver.draws`)."""
        process: Any = denoiser.path
        first = denoiser(state)
        rates = reverse_rates(first, process, state)
        length = log_keep_step(process, state, t_next).to(rates.device)
        law = jump_log_probabilities(rates, state.x, self.theta * length)
        law = with_final_draw(law, first, process, state, t_next)
        x = yield with_still_sites(law, state, t_next)
        final = t_next == 0.0
        if bool(final.all()):
            return state.moved(x, t_next, ())
        between = state.moved(x, self._middle(process, state, t_next), ())
        of_now, of_before = trapezoid_weights(self.theta)
        now = reverse_rates(denoiser(between), process, between)
        own = torch.nn.functional.one_hot(x.long(), now.shape[-1]).to(now.device).bool()
        mixed = torch.where(own, 0.0, (of_now * now - of_before * rates).clamp_min(0.0))
        law = jump_log_probabilities(mixed, x, (1.0 - self.theta) * length)
        x = yield with_still_sites(law, between, t_next)
        return between.moved(x, t_next, ())

    def _middle(self, process: Any, state: TokenState, t_next: Tensor) -> Tensor:
        """Return the times between the leaps; sites that go to time 0 are there already."""
        t, s = aligned_times(state, t_next)
        late, early = process.schedule.keep(t), process.schedule.keep(s)
        keep = late * (early / late) ** self.theta
        return torch.where(s == 0.0, 0.0, middle_time(process, keep, t, s))
