r"""Greedy decoding of masked tokens: the surest sites first, each with its most likely token.

A step from t to s leaves :math:`m' = \operatorname{round}\bigl(\sum_l (1 - a_s) / (1 - a_t)\bigr)` of the
masked sites masked, as many as the exact reverse process leaves on average, and reveals those whose largest
probability is largest. There is nothing random about it, and nothing is left of the law of the data but its
likeliest parts: for search and for tests, not for samples.

Chang et al., *MaskGIT: Masked Generative Image Transformer*, arXiv 2202.04200 (confidence order, with noise
that is left out here).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sciffusion.discrete.process import site_times
from sciffusion.discrete.solvers.base import SiteSolver, TokenState

__all__ = ["GreedyReveal"]


class GreedyReveal(SiteSolver):
    """Reveals the surest masked sites; one evaluation a step, no randomness.

    Ties go to the earlier site and the smaller token.
    """

    nfe = 1

    def log_probabilities(self, prediction: Any, process: Any, state: TokenState, t_next: Tensor) -> Tensor:
        """Return the law that is certain of each site's next token.

        Raises
        ------
        TypeError
            For a process without a mask token.
        """
        if process.mask_token is None:
            raise TypeError("greedy decoding reveals masks, and this process has no mask token")
        masked = state.x == process.mask_token
        laws = prediction.to("denoiser", process, state).probabilities
        confidence, likeliest = laws.max(-1)
        before, after = (
            1.0 - process.schedule.keep(site_times(t, state.x)).expand(state.x.shape).to(state.x.device)
            for t in (state.t, t_next)
        )
        share = torch.where(masked, after / before.clamp_min(1e-300), 0.0)
        revealed = masked.sum(-1) - torch.round(share.sum(-1)).long()
        order = torch.argsort(torch.where(masked, confidence, -1.0), dim=-1, descending=True, stable=True)
        rank = torch.argsort(order, dim=-1)
        x = torch.where(masked & (rank < revealed[..., None]), likeliest, state.x.long())
        certain = torch.nn.functional.one_hot(x, process.state_size).bool()
        return torch.where(certain, 0.0, -torch.inf).double()
