r"""Speculative sampling: several steps of a discrete run verified in one evaluation, with identical output.

A step of a solver that draws site by site is a function of three things: the state, the network's prediction
for it and the noise of the step, :math:`x_{k+1} = F_k(x_k, D(x_k), u_k)`. With the noise fixed in advance
(see `step_noise`), or for greedy steps that need none, one prediction gives the next state exactly and the
ones after it as a guess,

.. math:: y_1 = F_k(x_k, D(x_k), u_k), \qquad y_{j+1} = F_{k+j}(y_j, D(x_k), u_{k+j}), \qquad j < d,

the *draft*. One evaluation of all d states at once gives :math:`D(y_j)`, and with them what each should have
been followed by. The longest chain in which :math:`y_{j+1} = F_{k+j}(y_j, D(y_j), u_{k+j})` is kept, and the
last of its predictions makes the next draft. Every state kept is the one that the plain run would have
reached, so the output is the same; where the draft is right, d steps cost one evaluation (of d times the
batch) instead of d.

Greedy tokens that follow from their neighbours one after the other defeat drafts from one old prediction: the
next token is decided by the one just revealed. There a cheap second denoiser may draft instead, step by step,
:math:`y_{j+1} = F_{k+j}(y_j, D'(y_j), u_{k+j})`: a small network, or the posterior of bigram counts
(`sciffusion.exact.MarkovChainOracle`). What it drafts is verified all the same.

Wu and Zhang, *Free Draft-and-Verification*, arXiv 2510.00294 (greedy decoding). Doing the same for steps that
draw, by fixing their noise, is a construction of this library. "Identical" holds up to rounding: evaluations
of other batch sizes may round differently, which can turn a choice between two tokens that are all but equal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from sciffusion.discrete.categorical import categories_at
from sciffusion.discrete.solvers.base import SiteSolver, with_still_sites
from sciffusion.sampling.grids import checked_grid
from sciffusion.sampling.smc import take_items
from sciffusion.sampling.state import State
from sciffusion.sampling.step_noise import step_generator

__all__ = ["SpeculativeResult", "speculative_sample"]


class _Denoiser(Protocol):
    @property
    def path(self) -> Any: ...

    def __call__(self, state: Any, condition: Any = None, cache: Any = None) -> Any: ...


class SpeculativeResult(NamedTuple):
    """What a speculative run gives.

    Parameters
    ----------
    samples : Tensor
        Values at the end of the grid.
    nfe : int
        Evaluations one after the other; all but the first one are of ``draft`` times the batch.
    evaluated : int
        States evaluated, each of the whole batch.
    accepted : Tensor of float64, shape ``(items,)``
        Mean number of steps that an evaluation of drafts made.
    """

    samples: Tensor
    nfe: int
    evaluated: int
    accepted: Tensor


class _Run:
    """The fixed parts of a speculative run: step k as a function of state and prediction."""

    def __init__(
        self, process: Any, solver: SiteSolver, grid: Tensor, start: State, seed: int, block: int
    ) -> None:
        self.process, self.solver, self.grid = process, solver, grid.to(start.x.device)
        self.n_steps = len(grid) - 1
        self.known = start.known
        noise = [
            torch.rand(start.x.shape, generator=step_generator(seed, block, step + 1), dtype=torch.float64)
            for step in range(self.n_steps)
        ]
        self.uniforms = torch.stack(noise, dim=1).to(start.x.device)  # (items, steps, sites)

    def state(self, x: Tensor, steps: Tensor) -> State:
        """Return tokens ``(items, ...)`` that have made ``steps`` steps, shape ``(items,)``, as a state."""
        return State(x=x, t=self._times(steps, x))

    def step(self, prediction: Any, x: Tensor, steps: Tensor) -> Tensor:
        """Return the tokens after one more step; those at the end of the grid stay as they are."""
        after = self._times((steps + 1).clamp_max(self.n_steps), x)
        state = self.state(x, steps)
        law = self.solver.log_probabilities(prediction, self.process, state, after)
        law = with_still_sites(law, state, after)
        copies = len(x) // len(self.uniforms)
        items = torch.arange(len(x), device=x.device) // copies
        drawn = categories_at(law, self.uniforms[items, steps.clamp_max(self.n_steps - 1)]).to(x)
        unfinished = (steps < self.n_steps).reshape((-1,) + (1,) * (x.ndim - 1))
        return torch.where(unfinished, drawn, x)

    def _times(self, steps: Tensor, x: Tensor) -> Tensor:
        times = self.grid[steps.clamp_max(self.n_steps)]
        if self.known is None:
            return times
        known = self.known.repeat_interleave(len(x) // len(self.known), 0)
        return torch.where(known, 0.0, times.reshape((-1,) + (1,) * (known.ndim - 1)))


def speculative_sample(
    denoiser: _Denoiser,
    solver: SiteSolver,
    grid: Tensor,
    *,
    draft: int = 4,
    seed: int = 0,
    block: int = 0,
    shape: Sequence[int] | None = None,
    state: State | None = None,
    condition: Any = None,
    drafter: _Denoiser | None = None,
    many: _Denoiser | None = None,
    device: torch.device | str = "cpu",
) -> SpeculativeResult:
    """Run a solver of tokens along a grid with several steps in one evaluation.

    The samples are those of ``sample(denoiser, solver, grid, ..., hooks=[StepNoise(seed, block)])``.

    Parameters
    ----------
    denoiser : Denoiser
        Called as ``denoiser(state, condition)``.
    solver : SiteSolver
        Whose steps draw every site from a law; `GreedyReveal` and `Ancestral`, for instance.
    grid : Tensor of shape ``(n_steps + 1,)``
        Times, the same for all items.
    draft : int, default 4
        Largest number of states in one evaluation; 1 is the plain run.
    seed, block : int >= 0, default 0
        Of the noise (see `StepNoise`).
    shape : sequence of int, optional
        Shape ``(items, sites)`` of the tokens, drawn from the prior.
    state : State, optional
        Start from these tokens instead, where ``known`` marks those that are given.
    condition : object, optional
        Passed to the denoiser, what has one entry an item repeated for drafts.
    drafter : Denoiser, optional
        A cheaper denoiser of the same process that drafts, called as ``drafter(state)`` once for every
        drafted step but the first; its evaluations are not counted. The old prediction drafts by default.
    many : Denoiser, optional
        Evaluates ``draft`` copies of every item, those of one item next to each other, given the condition as
        it is; the denoiser, by default.
    device
        Of tokens drawn from the prior.

    Raises
    ------
    ValueError
        For a draft below 1, a grid with times of single items, or not exactly one of ``shape`` and ``state``.
    TypeError
        For a process whose states hold more than tokens, or a solver that is no `SiteSolver`.
    """
    if not isinstance(solver, SiteSolver):
        raise TypeError(
            f"only steps that draw every site once from one prediction can be drafted, got {solver}"
        )
    grid = checked_grid(grid)
    if draft < 1:
        raise ValueError(f"draft must be at least 1, got {draft}")
    if grid.ndim != 1:
        raise ValueError(f"the grid must have one time a step, got shape {tuple(grid.shape)}")
    if (shape is None) == (state is None):
        raise ValueError("give exactly one of shape= and state=")
    if state is None:
        assert shape is not None
        generator = step_generator(seed, block, 0)
        state = State(x=denoiser.path.draw_prior(tuple(shape), generator, grid[0], device=device))
    if denoiser.path.starting_aux(state.x, step_generator(seed, block, 0)) is not None:
        raise TypeError(f"drafts hold tokens alone, but {denoiser.path} remembers more of its noise")
    with torch.inference_mode():
        run = _Run(denoiser.path, solver, grid, state, seed, block)
        evaluate = _evaluator(denoiser, many, condition, len(state.x), draft)
        first = denoiser(run.state(state.x, torch.zeros_like(state.x[:, 0])), condition)
        return _verified(run, evaluate, state.x, first, draft, drafter)


def _evaluator(
    denoiser: _Denoiser, many: _Denoiser | None, condition: Any, items: int, draft: int
) -> Callable[[State], Any]:
    """Return what evaluates ``draft`` copies of every item."""
    if many is not None:
        return lambda state: many(state, condition)
    told = take_items(condition, torch.arange(items).repeat_interleave(draft), items)
    return lambda state: denoiser(state, told)


def _verified(
    run: _Run,
    evaluate: Callable[[State], Any],
    x: Tensor,
    prediction: Any,
    draft: int,
    drafter: _Denoiser | None,
) -> SpeculativeResult:
    """Go to the end of the grid from the start and the prediction for it."""
    items, nfe, rounds = len(x), 1, torch.zeros(len(x), dtype=torch.float64, device=x.device)
    steps = torch.zeros(items, dtype=torch.int64, device=x.device)
    while True:
        x = run.step(prediction, x, steps)  # exact: it follows from a prediction for x itself
        steps = (steps + 1).clamp_max(run.n_steps)
        if bool((steps == run.n_steps).all()):
            break
        drafts = [x]
        for place in range(draft - 1):
            place_steps = (steps + place).clamp_max(run.n_steps)
            guess = prediction if drafter is None else drafter(run.state(drafts[-1], place_steps))
            drafts.append(run.step(guess, drafts[-1], place_steps))
        chain = torch.stack(drafts, dim=1)
        at = (steps[:, None] + torch.arange(draft, device=x.device)).clamp_max(run.n_steps)
        predictions = evaluate(run.state(chain.flatten(0, 1), at.flatten()))
        nfe += 1
        kept = _kept(run, predictions, chain, at)
        rounds += steps < run.n_steps
        chosen = torch.arange(items, device=x.device) * draft + kept
        x, steps = chain.flatten(0, 1)[chosen], at.flatten()[chosen]
        prediction = take_items(predictions, chosen, items * draft)
    made = torch.full_like(rounds, run.n_steps - 1)
    return SpeculativeResult(x, nfe, 1 + (nfe - 1) * draft, made / rounds.clamp_min(1.0))


def _kept(run: _Run, predictions: Any, chain: Tensor, at: Tensor) -> Tensor:
    """Return the place of the last state of each chain that the plain run would have reached."""
    if chain.shape[1] == 1:
        return torch.zeros_like(at[:, 0])
    followed = run.step(predictions, chain.flatten(0, 1), at.flatten()).reshape(chain.shape)
    same = (followed[:, :-1] == chain[:, 1:]).flatten(2).all(-1)
    kept: Tensor = same.long().cumprod(-1).sum(-1)
    return kept
