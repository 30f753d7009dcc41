r"""The prediction-space trapezoid: two ancestral half steps, the second with an extrapolated prediction.

With leave-one-out laws Q and keep probabilities :math:`a_t < a_\rho = a_t + \theta (a_s - a_t) < a_s`,

1. :math:`x^* \sim` the ancestral law from t to :math:`\rho` with :math:`Q(x_t, t)`;
2. :math:`x_s \sim` the ancestral law from :math:`(x^*, \rho)` to s with the prediction

   .. math:: \bar Q \propto \bigl[c_1 Q(x^*, \rho) - c_2 Q(x_t, t)\bigr]_+ \quad\text{or}\quad
      \bar Q \propto \frac{Q(x^*, \rho)^{c_1}}{Q(x_t, t)^{c_2}}, \qquad
      c_1 = \frac{1}{2\theta(1-\theta)}, \quad c_2 = \frac{(1-\theta)^2 + \theta^2}{2\theta(1-\theta)},

whose weights differ by 1. It is the trapezoidal scheme of Ren et al. (*Fast Solvers for Discrete Diffusion
Models: Theory and Applications of High-Order Algorithms*, arXiv 2502.00234; `ThetaTrapezoid`) with
predictions in the place of rates: the ancestral law holds for steps of any length, so there is no range to
cut, no final step, and nothing that overshoots. Construction of this library; its order is measured, not
proved.

The first form is cut at 0, and on uniform noise that leaves an error which more steps do not remove; the
second cannot leave the range of laws. On masks, where a masked site's prediction is the mean of what later
ones will be, the first form is the better one. Sites at which an extrapolation rules out every token that the
state allows take :math:`Q(x^*, \rho)` alone.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Literal, TypeVar, get_args

import torch
from torch import Tensor

from sciffusion.discrete.denoiser import DiscreteDenoiser
from sciffusion.discrete.prediction import DiscretePrediction
from sciffusion.discrete.process import site_times
from sciffusion.discrete.solvers.base import DrawSolver, TokenState, aligned_times, with_still_sites

__all__ = ["ExtrapolationScale", "PredictionTrapezoid", "checked_theta", "middle_time", "trapezoid_weights"]

ExtrapolationScale = Literal["auto", "log", "probability"]

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
    scale : {"auto", "log", "probability"}
        On which scale predictions are extrapolated; "auto" takes probabilities for processes that tell which
        sites are clean (masks, uniform noise in absorbing form), and logarithms for all others.
    last : {"extrapolated", "middle"}
        What the second half of the step to time 0 uses: the extrapolation like every other, or the middle
        prediction alone, which was worse up to 16 evaluations and no better beyond.

    Notes
    -----
    The most accurate of the solvers here from 2 to 32 evaluations on exact chains: total variation some 7
    times below that of `Ancestral` at equal evaluations on masks, and 3.6, 10 and 19 times at 4, 8 and 16 on
    uniform noise (benchmark ``discrete_exact``). In the limit of many steps it falls like that of a
    first-order method, with a constant that much smaller. A cosine grid is the better one for uniform noise,
    a linear one for masks.
    Guidance that acts on transitions has no prediction to extrapolate and is refused by its own error.
    """

    nfe = 2

    def __init__(
        self,
        theta: float = 0.5,
        scale: ExtrapolationScale = "auto",
        last: Literal["extrapolated", "middle"] = "extrapolated",
    ) -> None:
        if scale not in get_args(ExtrapolationScale):
            raise ValueError(f"scale must be one of {get_args(ExtrapolationScale)}, got {scale!r}")
        if last not in ("extrapolated", "middle"):
            raise ValueError(f"last must be 'extrapolated' or 'middle', got {last!r}")
        self.theta, self.scale, self.last = checked_theta(theta), scale, last

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
        now = second.to("loo", process, between).log_probabilities
        before = first.to("loo", process, state).log_probabilities
        of_now, of_before = trapezoid_weights(self.theta)
        if self._in_logarithms(process):
            # What either of them rules out has no ratio to go on with.
            mixed = torch.where(
                torch.isfinite(now) & torch.isfinite(before), of_now * now - of_before * before, now
            )
        else:
            mixed = torch.log((of_now * torch.exp(now) - of_before * torch.exp(before)).clamp_min(0.0))
            allowed = process.emission_log_likelihood(between).to(mixed.device) > -torch.inf
            useful = ((mixed > -torch.inf) & allowed).any(-1, keepdim=True)
            mixed = torch.where(useful, mixed, now)
        if self.last == "middle":
            final = (site_times(t_next, between.x) == 0.0)[..., None].to(mixed.device)
            mixed = torch.where(final, now, mixed)
        return DiscretePrediction(mixed, "loo")

    def _in_logarithms(self, process: Any) -> bool:
        certain = process.mask_token is not None or hasattr(process, "noise_of")
        return not certain if self.scale == "auto" else self.scale == "log"
