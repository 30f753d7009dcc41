r"""Births: the reverse steps of counts whose individuals vanish.

With :math:`w = (a_s - a_t) / (1 - a_t)`, a step from t to s adds to each count

- ``"posterior"``: Binom(:math:`n_0 - n_t`, w) with :math:`n_0` drawn from the predicted law: the exact
  reverse law of a single count, however long the step;
- ``"binomial"``: Binom(y, w) with y the predicted mean of :math:`n_0 - n_t`, rounded;
- ``"poisson"``: Poisson(w y).

The last two need a mean only and are those of Santos et al., *Blackout Diffusion*, arXiv 2305.11089. They are
exact in the limit of many steps; in few, a rounded mean spreads too little. The first is a construction of
this library.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor

from sciffusion.discrete.categorical import draw_categorical
from sciffusion.discrete.denoiser import DiscreteDenoiser
from sciffusion.discrete.processes.pure_death import MissingMean, draw_binomial, missing_mean
from sciffusion.discrete.schedules import wide
from sciffusion.discrete.solvers.base import DiscreteSolver, S, needed_generator, with_still_sites

__all__ = ["BirthStep", "Births"]

BirthStep = Literal["posterior", "binomial", "poisson"]


class Births(DiscreteSolver):
    """Adds individuals to counts; one evaluation a step.

    Parameters
    ----------
    step : {"posterior", "binomial", "poisson"}, default "posterior"
        How many (see the module's text). "posterior" needs a law of counts, the others also work with a
        `MissingMean`.
    """

    nfe = 1

    def __init__(self, step: BirthStep = "posterior") -> None:
        if step not in get_args(BirthStep):
            raise ValueError(f"step must be one of {get_args(BirthStep)}, got {step!r}")
        self.by = step

    def step(self, state: S, t_next: Tensor, denoiser: DiscreteDenoiser) -> S:
        """Draw the births of every site (see `DiscreteSolver.step`)."""
        process: Any = denoiser.path
        if not hasattr(process, "birth_probability"):
            raise TypeError("Births needs a process of counts, PureDeath")
        generator, prediction = needed_generator(state), denoiser(state)
        share = process.birth_probability(state.t, t_next, state.x)
        room = process.largest - state.x
        if self.by == "posterior":
            missing = self._drawn_missing(prediction, process, state, t_next)
            born = draw_binomial(missing, share, generator)
        else:
            mean = wide(missing_mean(prediction, process, state))
            if self.by == "binomial":
                born = draw_binomial(torch.minimum(mean.round(), room.to(mean)), share, generator)
            else:
                born = torch.poisson((mean * share.to(mean.device)).to(generator.device), generator=generator)
        x = state.x + torch.minimum(born.to(state.x), room)
        return state.moved(x, t_next, ())

    def _drawn_missing(self, prediction: Any, process: Any, state: S, t_next: Tensor) -> Tensor:
        """Draw how many individuals are missing from each count."""
        if isinstance(prediction, MissingMean):
            raise TypeError('a predicted mean has no law to draw from: use step="binomial" or "poisson"')
        logits = prediction.to("denoiser", process, state).logits
        counts = torch.arange(logits.shape[-1], device=logits.device)
        possible = counts >= state.x.to(logits.device)[..., None]
        law = with_still_sites(torch.where(possible, logits, -torch.inf), state, t_next)
        clean = draw_categorical(law, needed_generator(state))
        return (clean.to(state.x) - state.x).clamp_min(0)
