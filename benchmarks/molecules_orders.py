"""Orders in which a masked model reveals its tokens.

The law of a masked token given the revealed ones does not depend on time, so tokens may be revealed in any
order and each order gives a law of its own, the same only for the exact denoiser. `FirstHitting` takes a
random one. Left to right, every token is drawn given those before it, as an autoregressive model does, and
the length. The most certain first is biased: it prefers what is common.
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from sciffusion.discrete import DiscreteDenoiser, DiscreteSolver, draw_categorical
from sciffusion.discrete.process import site_times
from sciffusion.discrete.solvers.base import TokenState, needed_generator

__all__ = ["OrderedReveal"]

S = TypeVar("S", bound=TokenState)


class OrderedReveal(DiscreteSolver):
    """Reveals as many masked tokens as the time says, in a chosen order; one evaluation a step.

    Parameters
    ----------
    order : {"left", "certain"}
        The leftmost first, or those whose most likely token is most likely.
    """

    nfe = 1

    def __init__(self, order: Literal["left", "certain"] = "left") -> None:
        self.order = order

    def step(self, state: S, t_next: Tensor, denoiser: DiscreteDenoiser) -> S:
        """Reveal tokens of every item (see `DiscreteSolver.step`)."""
        process: Any = denoiser.path
        masked = state.x == process.mask_token
        law = denoiser(state).log_probabilities
        drawn = draw_categorical(law, needed_generator(state)).to(state.x)
        # Sites that are known stand at time 0 and are not counted.
        free = (site_times(state.t, state.x).expand(state.x.shape) > 0.0).sum(-1, keepdim=True)
        late = site_times(t_next, state.x).expand(state.x.shape).amax(-1, keepdim=True)
        left_masked = torch.floor(late * free + 1e-9)
        urgency = torch.arange(state.x.shape[-1], device=law.device).expand(state.x.shape).double()
        if self.order == "certain":
            urgency = -law.amax(-1)
        place = urgency.masked_fill(~masked, torch.inf).argsort(-1).argsort(-1)
        chosen = masked & (place < masked.sum(-1, keepdim=True) - left_masked)
        return state.moved(torch.where(chosen, drawn, state.x), t_next, ())
