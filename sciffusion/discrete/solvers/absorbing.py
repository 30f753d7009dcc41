r"""The step of uniform noise in absorbing form that draws the noise anew.

With the denoiser's law given tokens and their noise,

.. math:: x_0 \sim D(\cdot \mid x_t, u_t), \qquad x_s \sim q(x_s \mid x_t, x_0), \qquad
   u_s \sim p(u \mid x_0, x_s),

where the bridge q is that of uniform noise. A token that was revealed and happens to be given itself for
noise counts as noise again, so that later steps may correct it.

The "ReAUDM" step of Gourevitch et al., *Uniform Diffusion Models Revisited: Leave-One-Out Denoiser and
Absorbing State Reformulation*, arXiv 2605.22765.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from sciffusion.discrete.categorical import draw_categorical
from sciffusion.discrete.denoiser import DiscreteDenoiser
from sciffusion.discrete.prediction import DiscretePrediction
from sciffusion.discrete.process import site_times
from sciffusion.discrete.solvers.base import DiscreteSolver, S, needed_generator, with_still_sites

__all__ = ["RenewedNoise"]


class RenewedNoise(DiscreteSolver):
    """Draws clean tokens, then tokens and noise at the earlier time; one evaluation a step.

    For `UniformAbsorbing`. Sites whose time does not change keep token and noise.
    """

    nfe = 1

    def step(self, state: S, t_next: Tensor, denoiser: DiscreteDenoiser) -> S:
        """Draw every site (see `DiscreteSolver.step`)."""
        process: Any = denoiser.path
        if not hasattr(process, "noise_log_probabilities"):
            raise TypeError("RenewedNoise needs a process with remembered noise, UniformAbsorbing")
        generator = needed_generator(state)
        law = denoiser(state).to("denoiser", process, state).log_probabilities
        x0 = draw_categorical(with_still_sites(law, state, t_next), generator)
        certain = torch.log(torch.nn.functional.one_hot(x0, process.vocab_size).to(law))
        bridge = DiscretePrediction(certain, "loo").reverse_log_probabilities(process.marginal, state, t_next)
        x = draw_categorical(with_still_sites(bridge, state, t_next), generator)
        noise = draw_categorical(process.noise_log_probabilities(x0, x, t_next), generator)
        moves = (site_times(t_next, state.x) < site_times(state.t, state.x)).to(state.x.device)
        noise = torch.where(moves, noise.to(state.x), process.noise_of(state))
        # States of a run are dataclasses; the protocol of a step has no way to say so.
        moved = cast(Any, state.moved(x.to(state.x), t_next, ()))
        return cast(S, replace(moved, aux={**(state.aux or {}), "noise": noise}))
