r"""The bound of any discrete process, computed from its five functions.

Slow, in float64, and the reference that every closed form is held against (see `objective`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sciffusion.discrete.objective import DiscreteObjective, clock
from sciffusion.discrete.prediction import DiscretePrediction, NoisyTokens
from sciffusion.discrete.process import Corrupted

__all__ = ["GenericELBO", "forward_rates"]


class GenericELBO(DiscreteObjective):
    r"""The bound of any process, from its five functions; float64.

    Reverse rates are :math:`r(y) = F(y \to x)\, G(y) / G(x)` with G the law of noisy tokens that `push` gives
    for the leave-one-out law, and F the forward rates per unit of :math:`\tau`: the slope at no distance of
    the transition law, which depends on the distance in :math:`\tau` alone. It is found by extrapolation from
    finite distances to about 1e-12.

    Raises
    ------
    TypeError
        For processes that remember more than tokens, whose jumps `push` does not know.
    """

    is_bound = True

    def site_loss(
        self, prediction: DiscretePrediction, process: Any, state: NoisyTokens, x0: Tensor
    ) -> Tensor:
        """Return the loss of every site (see `DiscreteObjective.site_loss`)."""
        if state.aux is not None:
            raise TypeError(
                f"GenericELBO needs states that are tokens alone, got aux with {sorted(state.aux)}"
            )
        clean = prediction.to("loo", process, state).probabilities
        keep, _, fall = clock(process, state, clean)
        x = state.x.to(clean.device)[..., None].long()
        into = forward_rates(process).to(clean.device).T[x[..., 0]]  # (..., from which token)
        certain = torch.nn.functional.one_hot(x0.to(clean.device).long(), process.vocab_size).to(clean)
        model, true = (into * _relative(process.push(law, state.t), x) for law in (clean, certain))
        log_ratio = torch.log(torch.where(true > 0.0, true / model, 1.0))
        terms = torch.where(into > 0.0, model - true + true * log_ratio, 0.0)
        return (fall / keep) * terms.sum(-1)


def _relative(law: Tensor, x: Tensor) -> Tensor:
    """Return a law over its value at the present token."""
    return law / law.gather(-1, x)


def forward_rates(process: Any) -> Tensor:
    r"""Return the rates per unit of :math:`\tau` at which noisy tokens (rows) turn into others (columns).

    Parameters
    ----------
    process : DiscreteProcess
        Its transition law must depend on :math:`a_t / a_s` alone. One that has ``rates`` is asked for them.

    Returns
    -------
    Tensor of shape ``(state_size, state_size)``
        float64; zero on the diagonal, and where transitions are impossible.
    """
    known = getattr(process, "rates", None)
    if known is not None:
        rates: Tensor = known.clone()
        rates.fill_diagonal_(0.0)
        return rates
    noisy, zero = torch.arange(process.state_size), torch.zeros((), dtype=torch.float64)
    distances = [0.5**power for power in range(1, 9)]
    table: list[Tensor] = []
    for distance in distances:
        t = process.schedule.time_of_keep(torch.tensor(-distance, dtype=torch.float64).exp())
        exact = -torch.log(process.schedule.keep(t))
        step = torch.exp(process.transition_log_likelihood(Corrupted(noisy, t), zero))  # (later, earlier)
        table.append(step.T / exact)
    # Neville's scheme: the polynomial through the quotients, at distance 0.
    for level in range(1, len(table)):
        for place in range(len(table) - level):
            near, far = distances[place + level], distances[place]
            table[place] = (far * table[place + 1] - near * table[place]) / (far - near)
    rates = table[0].clamp_min(0.0)
    rates.fill_diagonal_(0.0)
    return torch.where(rates > 1e-9, rates, 0.0)
