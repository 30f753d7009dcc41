"""Draws of rows of token numbers, freely or around given sites."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..discrete import DiscretePrediction, keep_grid
from ..discrete.grids import KeepSpacing
from ..sampling import State, TokenSteering, sample
from .chunking import map_chunks
from .random_state import private_generator
from .token_alphabet import EncodedTokens
from .token_bounds import row_bytes
from .token_steering import note_failures
from .token_training import TokenTask

__all__ = ["DrawPlan", "draw_rows", "draw_steered_rows"]

Floats = NDArray[np.float64]

_RESAMPLING = 2**40  # number of a random stream that no row has


@dataclass(frozen=True)
class DrawPlan:
    """How rows are drawn.

    Attributes
    ----------
    solver : DiscreteSolver
        Makes the steps.
    nfe : int
        Network evaluations at most.
    spacing : {"linear", "cosine", "logit"}
        How the keep probability is spaced.
    guidance : sequence of Guidance
        Changes predictions; its evaluations count.
    end : int or None
        The token that ends rows.
    """

    solver: Any
    nfe: int
    spacing: KeepSpacing
    guidance: Sequence[Any] = ()
    end: int | None = None

    def grid(self, process: Any) -> Tensor:
        """Return the times of the run.

        Raises
        ------
        ValueError
            If the budget is below one step.
        """
        price = self.solver.nfe * math.prod(one.nfe for one in self.guidance)
        if self.nfe < price:
            raise ValueError(f"nfe must be at least {price}, the cost of one step, got {self.nfe}")
        return keep_grid(self.nfe // price, self.spacing, process.schedule)


class _WithoutEnd:
    """A denoiser that rules the end token out at some sites."""

    def __init__(self, denoiser: Any, end: int, sites: Tensor) -> None:
        self._denoiser, self._end, self._sites = denoiser, end, sites
        self.path = denoiser.path

    def __call__(self, state: Any, condition: Any = None, cache: Any = None) -> DiscretePrediction:
        prediction = self._denoiser(state, condition, cache)
        logits = prediction.logits.clone()
        end = logits[..., self._end]
        # A site that is given keeps what it has.
        barred = self._sites.to(end.device) & (logits[..., : self._end] > -torch.inf).any(-1)
        logits[..., self._end] = torch.where(barred, -torch.inf, end)
        without: DiscretePrediction = replace(prediction, logits=logits)
        return without


def draw_rows(
    network: nn.Module,
    task: TokenTask,
    start: EncodedTokens,
    conditions: Floats,
    plan: DrawPlan,
    *,
    seed: int,
    device: torch.device,
    barred: NDArray[np.bool_] | None = None,
) -> NDArray[np.int64]:
    """Draw the tokens that are not given.

    Parameters
    ----------
    network : Module
        Fitted, on ``device``.
    task : TokenTask
        Its process.
    start : EncodedTokens
        Rows of shape ``(n, sites)`` with what is given.
    conditions : ndarray of shape (n, n_conditions)
        NaN where not known.
    plan : DrawPlan
        Solver, budget, guidance.
    seed : int
        Of the noise.
    device : device
        Where to compute.
    barred : ndarray of bool, shape (n, sites), optional
        Sites at which the end must not be drawn.

    Returns
    -------
    ndarray of int64, shape (n, sites)
    """
    grid = plan.grid(task.process)

    def draw(rows: slice) -> NDArray[np.int64]:
        run = _run(network, task, start, conditions, plan, rows, seed, device, barred)
        drawn: NDArray[np.int64] = sample(grid=grid, **run).samples.cpu().numpy()
        return drawn

    sites = start.tokens.shape[1]
    drawn = np.concatenate(map_chunks(draw, len(start.tokens), 2 * row_bytes(network, sites)))
    return np.where(start.given, start.tokens, drawn)


def draw_steered_rows(
    network: nn.Module,
    task: TokenTask,
    start: EncodedTokens,
    conditions: Floats,
    plan: DrawPlan,
    particles: TokenSteering,
    *,
    seed: int,
    device: torch.device,
    barred: NDArray[np.bool_] | None = None,
    resample: bool = False,
) -> tuple[NDArray[np.int64], Floats]:
    """Draw rows as the particles of one system.

    Parameters
    ----------
    network, task, start, conditions, plan, seed, device, barred
        As in `draw_rows`.
    particles : TokenSteering
        Weighs all rows together, which are computed in one batch.
    resample : bool, default False
        Draw anew by weights.

    Returns
    -------
    ndarray of int64, shape (n, sites), and ndarray of shape (n,)
        Rows and log weights, whose exponentials sum to 1.
    """
    rows = slice(0, len(start.tokens))
    run = _run(network, task, start, conditions, plan, rows, seed, device, barred)
    result = sample(grid=plan.grid(task.process), particles=particles, **run)
    note_failures(particles)
    assert result.log_weights is not None
    log_weights: Floats = result.log_weights.reshape(-1).cpu().double().numpy()
    drawn = result.unweighted(private_generator(seed, _RESAMPLING)) if resample else result.samples
    if resample:
        log_weights = np.full(len(log_weights), -np.log(len(log_weights)))
    return drawn.cpu().numpy(), log_weights


def _run(
    network: nn.Module, task: TokenTask, start: EncodedTokens, conditions: Floats, plan: DrawPlan,
    rows: slice, seed: int, device: torch.device, barred: NDArray[np.bool_] | None,
) -> dict[str, Any]:  # fmt: skip
    """Return the arguments of a sampler run for some of the rows."""
    denoiser: Any = task.denoiser(network)
    if barred is not None and plan.end is not None and barred[rows].any():
        denoiser = _WithoutEnd(denoiser, plan.end, torch.from_numpy(barred[rows]))
    condition, guidance = None, ()
    if conditions.shape[1] and not np.isnan(conditions[rows]).all():
        condition = torch.from_numpy(conditions[rows]).float().to(device)
        guidance = tuple(plan.guidance)
    state = starting_state(task.process, start, rows, private_generator(seed, rows.start), device)
    return {
        "denoiser": denoiser, "solver": plan.solver, "state": state, "condition": condition,
        "guidance": guidance,
    }  # fmt: skip


def starting_state(
    process: Any, start: EncodedTokens, rows: slice, generator: torch.Generator, device: torch.device
) -> State:
    """Return noise with the given tokens put in."""
    given, tokens = torch.from_numpy(start.given[rows]), torch.from_numpy(start.tokens[rows])
    noise = process.draw_prior(tuple(tokens.shape), generator)
    x = torch.where(given, tokens, noise).to(device)
    aux = process.starting_aux(noise, generator)
    if aux is not None:
        aux = {name: value.to(device) for name, value in aux.items()}
    known = given.to(device) if bool(given.any()) else None
    return State(x, known=known, aux=aux, generator=generator)
