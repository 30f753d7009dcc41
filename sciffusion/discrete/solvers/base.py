r"""What solvers of discrete processes share.

A step goes from times t to times s, not after t. Sites whose time does not change keep their token; that is
where the transition :math:`q_{t|s}` is the identity. A step samples every site by itself from a law that it
computes from one or more predictions: what is lost against the exact reverse process is the dependence of
sites within one step.

All randomness of a `DrawSolver` is draws of whole sequences with independent sites. It says so by a Python
generator that gives out a law and is sent the tokens drawn from it, so the same lines serve a sampler, which
draws, and `sciffusion.exact.propagate_tokens`, which goes through all sequences instead.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from typing import Any, Protocol, Self, TypeVar

import torch
from torch import Tensor

from sciffusion.discrete.categorical import draw_categorical
from sciffusion.discrete.denoiser import DiscreteDenoiser
from sciffusion.discrete.process import site_times

__all__ = ["DiscreteSolver", "DrawSolver", "SiteSolver", "TokenState", "aligned_times", "needed_generator",
           "with_still_sites"]  # fmt: skip


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


def aligned_times(state: TokenState, t_next: Tensor) -> tuple[Tensor, Tensor]:
    """Return the times at both ends of a step in shapes that broadcast against each other."""
    if state.t.ndim == t_next.ndim or state.t.ndim == 0 or t_next.ndim == 0:
        return state.t, t_next
    return site_times(state.t, state.x), site_times(t_next, state.x)


def with_still_sites(law: Tensor, state: TokenState, t_next: Tensor) -> Tensor:
    """Return a log law with certainty of the present token wherever the time does not change.

    Parameters
    ----------
    law : Tensor of shape ``(..., state_size)``
        May be anything where the rule decides.
    state : TokenState
        Where the step begins.
    t_next : Tensor
        Times not after ``state.t``.
    """
    if state.t.ndim == t_next.ndim == 0 and bool(t_next < state.t):
        return law
    still = site_times(t_next, state.x) >= site_times(state.t, state.x)
    if not bool(still.any()):
        return law
    own = torch.nn.functional.one_hot(state.x.long(), law.shape[-1]).to(law.device).bool()
    return torch.where(still[..., None].to(law.device), torch.where(own, 0.0, -torch.inf).to(law), law)


class DiscreteSolver(ABC):
    """One step of a reverse process; pure, so that everything it remembers lies in the state.

    Attributes
    ----------
    nfe : int
        Largest number of network evaluations in one step.
    nfe_saved : int
        Evaluations that the last step of a grid, the one to time 0, does not need.
    """

    nfe: int = 1
    nfe_saved: int = 0

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

    def total_nfe(self, n_steps: int) -> int:
        """Return how many network evaluations ``n_steps`` steps take at most, on a grid that ends at 0."""
        return self.nfe * n_steps - self.nfe_saved

    def steps_within(self, nfe: int) -> int:
        """Return the largest number of steps, on a grid that ends at 0, within ``nfe`` evaluations.

        Raises
        ------
        ValueError
            If the budget does not pay for one step.
        """
        steps = (nfe + self.nfe_saved) // self.nfe
        if nfe < 1 or steps < 1:
            raise ValueError(f"nfe={nfe} does not pay for one step, which takes {max(self.total_nfe(1), 1)}")
        return steps


class DrawSolver(DiscreteSolver):
    """A solver all of whose randomness is draws of sequences with independent sites.

    Attributes
    ----------
    memoryless : bool
        Whether a step depends on nothing but the tokens and what the process remembers.
    """

    memoryless: bool = True

    @abstractmethod
    def draws(self, state: S, t_next: Tensor, denoiser: DiscreteDenoiser) -> Generator[Tensor, Tensor, S]:
        """Make a step whose draws are made by the caller.

        Parameters
        ----------
        state, t_next, denoiser
            As for `DiscreteSolver.step`.

        Yields
        ------
        Tensor of shape ``(..., state_size)``
            The log law of every site; the generator is sent the tokens drawn from it, of the type of
            ``state.x``.

        Returns
        -------
        TokenState
            The state at ``t_next``; its tokens are the last ones that were sent.
        """

    def step(self, state: S, t_next: Tensor, denoiser: DiscreteDenoiser) -> S:
        """Draw from every law that `draws` gives out (see `DiscreteSolver.step`)."""
        run, generator = self.draws(state, t_next, denoiser), needed_generator(state)
        try:
            law = next(run)
            while True:
                law = run.send(draw_categorical(law, generator).to(state.x))
        except StopIteration as end:
            after: S = end.value
            return after


class SiteSolver(DrawSolver):
    """A solver that draws every site once, from a law computed from one prediction."""

    @abstractmethod
    def log_probabilities(self, prediction: Any, process: Any, state: TokenState, t_next: Tensor) -> Tensor:
        """Return the log law that each site is drawn from, ``(..., state_size)``, normalised."""

    def draws(self, state: S, t_next: Tensor, denoiser: DiscreteDenoiser) -> Generator[Tensor, Tensor, S]:
        """Draw every site (see `DrawSolver.draws`)."""
        law = self.log_probabilities(denoiser(state), denoiser.path, state, t_next)
        x = yield with_still_sites(law, state, t_next)
        return state.moved(x, t_next, ())
