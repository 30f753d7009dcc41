r"""First hitting: a masked process followed from one revealed token to the next.

While n sites of an item are masked, the probability that none has been revealed from t down to s is
:math:`((1 - a_s)/(1 - a_t))^n`, so the next reveal happens at

.. math:: 1 - a_s = (1 - a_t)\,U^{1/n}, \qquad U \sim \text{Uniform}(0, 1),

at a uniformly random masked site, with a token from the denoiser. Nothing is approximated: sites never
change together, and the number of evaluations is the number of masked sites. Every item of a batch has its
own times.

Zheng et al., *Masked Diffusion Models are Secretly Time-Agnostic Masked Models and Exploit Inaccurate
Categorical Sampling*, arXiv 2409.02908.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor

from sciffusion.discrete.categorical import draw_categorical
from sciffusion.discrete.denoiser import DiscreteDenoiser
from sciffusion.discrete.process import site_times
from sciffusion.discrete.site_choice import random_sites
from sciffusion.discrete.solvers.base import DiscreteSolver, TokenState, needed_generator

__all__ = ["FirstHitting"]

S = TypeVar("S", bound=TokenState)


class FirstHitting(DiscreteSolver):
    """Reveals one token of every item in each step; one evaluation a step, exact with as many as masks.

    The grid only counts the steps: each item moves to the time of its own next reveal, whatever the grid
    says, and the step to time 0 reveals all that is left. With as many steps as there are masked sites (in
    the item that has most) that is one site, and samples have exactly the law of the denoiser's conditionals;
    ``keep_grid(n_sites)`` will do. Times become one an item, or one a site where sites are known.
    """

    nfe = 1

    def step(self, state: S, t_next: Tensor, denoiser: DiscreteDenoiser) -> S:
        """Reveal one site of every item, all of them at time 0 (see `DiscreteSolver.step`).

        Raises
        ------
        TypeError
            For a process without a mask token.
        """
        process: Any = denoiser.path
        if process.mask_token is None:
            raise TypeError("FirstHitting needs a process with a mask token, such as Mask")
        generator, masked = needed_generator(state), state.x == process.mask_token
        final = bool((t_next == 0.0).all())
        chosen = masked if final else random_sites(masked, 1, 1, generator)
        clean = denoiser(state).to("denoiser", process, state).log_probabilities
        # What is said of other sites does not matter, even if it rules out every token.
        clean = torch.where(chosen[..., None].to(clean.device), clean, 0.0)
        x = torch.where(chosen, draw_categorical(clean, generator).to(state.x), state.x)
        t = torch.zeros_like(t_next) if final else self._next_times(process, state, masked, generator)
        return state.moved(x, t, ())

    def _next_times(
        self, process: Any, state: TokenState, masked: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Return the times of the next reveal, one an item; 0 where no mask is left to reveal."""
        sites = site_times(state.t, state.x)
        row = sites.expand(state.x.shape).amax(-1)
        left = masked.sum(-1).to(row.device)
        draw = torch.rand(left.shape, generator=generator, dtype=torch.float64, device=generator.device)
        noise = (1.0 - process.schedule.keep(row)) * draw.to(row.device) ** (1.0 / left.clamp_min(1))
        row = torch.where(left > 1, process.schedule.time_of_keep(1.0 - noise).to(row.device), 0.0)
        if state.t.ndim < state.x.ndim:
            return row
        return torch.where(sites > 0.0, row[..., None], 0.0)
