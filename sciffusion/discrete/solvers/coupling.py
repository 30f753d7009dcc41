r"""The maximal-coupling step: every site keeps its token or takes a clean one.

.. math:: x_s^l \sim w\,D_l + (1 - w)\,1[x_t^l], \qquad w = \frac{a_s - a_t}{1 - a_t},

where D is the denoiser. Where noise replaces a token by one that does not depend on it (uniform noise,
masks), :math:`q_s` is reached from :math:`q_t` by exactly this exchange, so the laws at single times are
those of the process although the paths between them are not its reversal. For masks it is the ancestral step.

The same step samples discrete flow matching (Gat et al., *Discrete Flow Matching*, arXiv 2407.15595).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sciffusion.discrete.process import site_times
from sciffusion.discrete.solvers.base import SiteSolver, TokenState

__all__ = ["MaximalCoupling"]


def _require_replacement(process: Any) -> None:
    """Refuse a process whose noise depends on the token that it replaces."""
    # Of two laws, one of them with an uneven share of every token: where noise knows the token, they differ.
    ramp = torch.arange(1, process.vocab_size + 1, dtype=torch.float64)
    certain = (ramp == 1.0).to(ramp)
    laws = torch.stack([certain, ramp**2 / (ramp**2).sum()])
    kept = torch.nn.functional.pad(laws, (0, process.state_size - process.vocab_size))
    noise = process.push(laws, process.schedule.time_of_keep(0.5)) - 0.5 * kept
    if not bool(torch.allclose(noise[0], noise[1], rtol=0.0, atol=1e-9)):
        raise TypeError(
            "MaximalCoupling needs noise that does not depend on the token it replaces, as of Mask or "
            f"Uniform; got {process.name}"
        )


class MaximalCoupling(SiteSolver):
    """Keeps each token or draws it from the denoiser; one evaluation a step.

    Of first order like `Ancestral`, with a total variation error that is 3 to 7 percent lower for uniform
    noise on the chains of the benchmark ``discrete_exact``.
    """

    nfe = 1

    def log_probabilities(self, prediction: Any, process: Any, state: TokenState, t_next: Tensor) -> Tensor:
        """Return the mixture of the present token and the denoiser (see `SiteSolver.log_probabilities`).

        Raises
        ------
        TypeError
            For a process whose noise depends on the token that it replaces.
        """
        _require_replacement(process)
        clean = prediction.to("denoiser", process, state).probabilities
        early = process.schedule.keep(site_times(t_next, state.x))
        late = process.schedule.keep(site_times(state.t, state.x))
        share = torch.where(late < 1.0, (early - late) / (1.0 - late).clamp_min(1e-300), 0.0)
        share = share.expand(state.x.shape)[..., None].to(clean.device)
        own = torch.nn.functional.one_hot(state.x.long(), process.state_size).to(clean)
        clean = torch.nn.functional.pad(clean, (0, process.state_size - clean.shape[-1]))
        return torch.log(share * clean + (1.0 - share) * own)
