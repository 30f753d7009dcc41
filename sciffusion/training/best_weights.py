r"""Which weights each member of an ensemble keeps, and when it has had enough.

Let :math:`L_m(s)` be the held-out loss of member :math:`m` at evaluation step :math:`s`. The member keeps the
weights of the first minimum of :math:`L_m`. After `patience` evaluations in a row without a new minimum it
is *finished*: later evaluations are ignored for it, even better ones, exactly as if it had been trained
alone and stopped there. Training may end when all members are finished.

A loss that is not finite is never a minimum.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["BestWeights"]


class BestWeights:
    """The best weights seen so far, member by member.

    Parameters
    ----------
    n_members : int, optional
        Length of the leading axis of every tensor; None for a single network, whose tensors are kept whole.
    patience : int, optional
        Evaluations without improvement after which a member is finished; None for never.

    Attributes
    ----------
    weights : dict of str to Tensor
        The kept weights; empty before the first `update`.
    best_loss : Tensor, float64, shape (n_members,)
        Loss of the kept weights, infinite before a finite loss was seen.
    best_step : Tensor, int64, shape (n_members,)
        Step of the kept weights.
    waited : Tensor, int64, shape (n_members,)
        Evaluations since then.
    """

    def __init__(self, n_members: int | None, patience: int | None) -> None:
        self._whole = n_members is None
        self._patience = patience
        n = n_members or 1
        self.weights: dict[str, Tensor] = {}
        self.best_loss = torch.full((n,), torch.inf, dtype=torch.float64)
        self.best_step = torch.zeros(n, dtype=torch.int64)
        self.waited = torch.zeros(n, dtype=torch.int64)

    @property
    def finished(self) -> Tensor:
        """Boolean tensor (n_members,): who is past the patience."""
        if self._patience is None:
            return torch.zeros_like(self.waited, dtype=torch.bool)
        return self.waited >= self._patience

    @torch.no_grad()
    def update(self, step: int, losses: Tensor, weights: Mapping[str, Tensor]) -> None:
        """Take in the evaluation at `step`.

        Parameters
        ----------
        step : int
            Step of the evaluation.
        losses : Tensor, shape (n_members,)
            Held-out losses of `weights`.
        weights : mapping of str to Tensor
            Weights at this step; what is kept is copied.
        """
        losses = losses.detach().cpu().to(torch.float64).reshape(-1)
        running = ~self.finished
        better = running & torch.isfinite(losses) & (losses < self.best_loss)
        self.best_loss = torch.where(better, losses, self.best_loss)
        self.best_step[better] = step
        self.waited = torch.where(better, 0, self.waited + running.to(torch.int64))
        if not self.weights:
            self.weights = {name: value.detach().clone() for name, value in weights.items()}
        elif bool(better.any()):
            self._keep(better, weights)

    def _keep(self, better: Tensor, weights: Mapping[str, Tensor]) -> None:
        for name, kept in self.weights.items():
            if self._whole:
                kept.copy_(weights[name])
            else:
                chosen = better.to(kept.device)
                kept[chosen] = weights[name][chosen].to(kept.dtype)

    def state_dict(self) -> dict[str, Any]:
        """Return all that `load_state_dict` needs (the tensors are not copied)."""
        return {
            "weights": dict(self.weights),
            "best_loss": self.best_loss,
            "best_step": self.best_step,
            "waited": self.waited,
        }

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Take over a state, putting the weights on `device`."""
        self.weights = {name: value.to(device, copy=True) for name, value in state["weights"].items()}
        self.best_loss = state["best_loss"].clone()
        self.best_step = state["best_step"].clone()
        self.waited = state["waited"].clone()
