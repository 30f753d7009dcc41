"""The state of a sampler run: everything that changes from step to step, in one explicit object."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

__all__ = ["State"]


@dataclass(frozen=True, eq=False)
class State:
    """Values being sampled, with their times and all memory of the run.

    Parameters
    ----------
    x : Tensor
        Values: real for continuous paths, integer tokens or counts for discrete ones.
    t : Tensor
        Times in [0, 1], float64: a scalar or of a shape that is a prefix of that of ``x``.
    known : Tensor of bool, optional
        Sites whose value is given, of a shape that is a prefix of that of ``x``.  They stay at time 0 and
        keep their value.
    index : int
        Number of steps made.
    history : tuple
        Earlier evaluations that a multistep solver needs, newest last.
    aux : object
        Anything that hooks carry along.
    log_weight : Tensor, optional
        Log importance weights of particles.
    generator : torch.Generator, optional
        Source of randomness of stochastic steps.
    """

    x: Tensor
    t: Tensor = field(default_factory=lambda: torch.ones((), dtype=torch.float64))
    known: Tensor | None = None
    index: int = 0
    history: tuple[Any, ...] = ()
    aux: Any = None
    log_weight: Tensor | None = None
    generator: torch.Generator | None = None

    def moved(self, x: Tensor, t: Tensor, history: tuple[Any, ...]) -> State:
        """Return the state with other values, times and history, all else unchanged."""
        return replace(self, x=x, t=t, history=history)
