r"""What solvers of discrete processes share.

A step goes from times t to times s, not after t. Sites whose time does not change keep their token; that is
where the transition :math:`q_{t|s}` is the identity. A step samples every site by itself from a law that it
computes from one or more predictions: what is lost against the exact reverse process is the dependence of
sites within one step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Protocol, Self, TypeVar

import torch
from torch import Tensor

from sciffusion.discrete.categorical import draw_categorical
from sciffusion.discrete.denoiser import DiscreteDenoiser

__all__ = ["DiscreteSolver", "SiteSolver", "TokenState", "needed_generator"]


class TokenState(Protocol):
    """The part of a sampling state that a discrete solver reads and moves on."""

    @property
    def x(self) -> Tensor:
        """Noisy tokens."""
        ...

    @property
    def t(self) -> Tensor:
        """Times, of a shape that is a prefix of that of ``x``."""
        ...

    @property
    def aux(self) -> Mapping[str, Tensor] | None:
        """What the process remembers beside the tokens."""
        ...

    @property
    def history(self) -> tuple[Any, ...]:
        """Earlier evaluations, newest last."""
        ...

    @property
    def generator(self) -> torch.Generator | None:
        """Source of randomness."""
        ...

    def moved(self, x: Tensor, t: Tensor, history: tuple[Any, ...]) -> Self:
        """Return the state at other values and times, all else unchanged."""
        ...


S = TypeVar("S", bound=TokenState)


def needed_generator(state: TokenState) -> torch.Generator:
    """Return the generator of a state.

    Raises
    ------
    ValueError
        If it has none.
    """
    if state.generator is None:
        raise ValueError("steps of a discrete process draw tokens: pass generator= to sample(), got None")
    return state.generator


class DiscreteSolver(ABC):
    """One step of a reverse process; pure, so that everything it remembers lies in the state.

    Attributes
    ----------
    nfe : int
        Largest number of network evaluations in one step.
    """

    nfe: int = 1

    @abstractmethod
    def step(self, state: S, t_next: Tensor, denoiser: DiscreteDenoiser) -> S:
        """Return the state at times ``t_next``.

        Parameters
        ----------
        state : TokenState
            Where the step begins.
        t_next : Tensor
            Times not after ``state.t``.
        denoiser : DiscreteDenoiser
            Called at most ``nfe`` times.
        """


class SiteSolver(DiscreteSolver):
    """A solver that draws every site from a law computed from one prediction."""

    @abstractmethod
    def log_probabilities(self, prediction: Any, process: Any, state: TokenState, t_next: Tensor) -> Tensor:
        """Return the log law that each site is drawn from, ``(..., state_size)``, normalised."""

    def step(self, state: S, t_next: Tensor, denoiser: DiscreteDenoiser) -> S:
        """Draw every site (see `DiscreteSolver.step`)."""
        law = self.log_probabilities(denoiser(state), denoiser.path, state, t_next)
        x = draw_categorical(law, needed_generator(state)).to(state.x)
        return state.moved(x, t_next, ())
