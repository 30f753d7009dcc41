r"""The prediction-space trapezoid: two ancestral half steps, the second with an extrapolated prediction.

With leave-one-out laws Q and keep probabilities :math:`a_t < a_\rho = a_t + \theta (a_s - a_t) < a_s`,

1. :math:`x^* \sim` the ancestral law from t to :math:`\rho` with :math:`Q(x_t, t)`;
2. :math:`x_s \sim` the ancestral law from :math:`(x^*, \rho)` to s with the prediction

   .. math:: \bar Q \propto \bigl[c_1 Q(x^*, \rho) - c_2 Q(x_t, t)\bigr]_+, \qquad
      c_1 = \frac{1}{2\theta(1-\theta)}, \quad c_2 = \frac{(1-\theta)^2 + \theta^2}{2\theta(1-\theta)},

whose weights differ by 1. It is the trapezoidal scheme of Ren et al. (*Fast Solvers for Discrete Diffusion
Models: Theory and Applications of High-Order Algorithms*, arXiv 2502.00234; `ThetaTrapezoid`) with
predictions in the place of rates: the ancestral law holds for steps of any length, so there is no range to
cut, no final step, and nothing that overshoots. Construction of this library; its order is measured, not
proved.

The last step takes :math:`Q(x^*, \rho)` alone. So do sites at which the extrapolation rules out every token
that the state allows. At masked sites Q is the denoiser.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

import torch
from torch import Tensor

from sciffusion.discrete.denoiser import DiscreteDenoiser
from sciffusion.discrete.prediction import DiscretePrediction
from sciffusion.discrete.process import site_times
from sciffusion.discrete.solvers.base import DrawSolver, TokenState, aligned_times, with_still_sites

__all__ = ["PredictionTrapezoid", "checked_theta", "middle_time", "trapezoid_weights"]

S = TypeVar("S", bound=TokenState)


def checked_theta(theta: float) -> float:
    """Return ``theta`` after refusing what does not lie inside (0, 1)."""
    if not 0.0 < theta < 1.0:
        raise ValueError(f"theta must lie inside (0, 1), got {theta}")
    return theta


def trapezoid_weights(theta: float) -> tuple[float, float]:
    """Return the weights :math:`c_1, c_2` of the middle and of the first evaluation."""
    scale = 2.0 * theta * (1.0 - theta)
    return 1.0 / scale, ((1.0 - theta) ** 2 + theta**2) / scale


def middle_time(process: Any, keep: Tensor, t: Tensor, t_next: Tensor) -> Tensor:
    """Return the times of given keep probabilities, held between two others against rounding."""
    time = process.schedule.time_of_keep(keep)
    return torch.where(t_next < t, torch.minimum(torch.maximum(time, t_next), t), t)


class PredictionTrapezoid(DrawSolver):
    """Two ancestral half steps with an extrapolated second prediction; two evaluations a step.

    Parameters
    ----------
    theta : float, default .5
        Where between the two ends, in the keep probability, the second evaluation lies; inside (0, 1).

    Notes
    -----
    The most accurate of the solvers here from 4 to 32 evaluations on exact chains, for masks and for uniform
    noise. For uniform noise a cosine grid is better up to some 16 evaluations and a linear one beyond, since
    clipping the extrapolation leaves an error there that more steps do not remove.
    Guidance that acts on transitions has no prediction to extrapolate and is refused by its own error.
    """

    nfe = 2

    def __init__(self, theta: float = 0.5) -> None:
        self.theta = checked_theta(theta)

    def draws(self, state: S, t_next: Tensor, denoiser: DiscreteDenoiser) -> Generator[Tensor, Tensor, S]:
        """Draw twice (see `DrawSolver.draws`)."""
        process: Any = denoiser.path
        t, s = aligned_times(state, t_next)
        late, early = process.schedule.keep(t), process.schedule.keep(s)
        middle = middle_time(process, late + self.theta * (early - late), t, s)
        first = denoiser(state)
        x = yield with_still_sites(first.reverse_log_probabilities(process, state, middle), state, middle)
        between = state.moved(x, middle, ())
        second = self._extrapolated(first, state, denoiser(between), between, process, t_next)
        law = second.reverse_log_probabilities(process, between, t_next)
        x = yield with_still_sites(law, between, t_next)
        return between.moved(x, t_next, ())

    def _extrapolated(
        self, first: Any, state: TokenState, second: Any, between: TokenState, process: Any, t_next: Tensor
    ) -> DiscretePrediction:
        """Return the prediction of the second half step, as a leave-one-out law."""
        now = second.to("loo", process, between).probabilities
        before = first.to("loo", process, state).probabilities
        of_now, of_before = trapezoid_weights(self.theta)
        mixed = (of_now * now - of_before * before).clamp_min(0.0)
        allowed = process.emission_log_likelihood(between).to(mixed.device) > -torch.inf
        useful = (mixed * allowed).sum(-1, keepdim=True) > 0.0
        last = (site_times(t_next, between.x) == 0.0)[..., None].to(mixed.device)
        return DiscretePrediction(torch.log(torch.where(useful & ~last, mixed, now)), "loo")
