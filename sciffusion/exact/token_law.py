r"""The law of a sampler of tokens, computed over all sequences instead of drawn from.

Short sequences of few tokens can be enumerated: :math:`S = Y^L` states for Y noisy tokens and L sites. A step
draws independent sites from laws W that depend on the state, so a law p over states becomes

.. math:: p'(y) = \sum_x p(x) \prod_l W_l(y_l \mid x),

and a step with several draws sums over the states between them, too. What remains against the data is the
error of the sampler, without any of drawing: its total variation :math:`\frac12 \sum_x |p'(x) - p(x)|` and
its divergence :math:`\sum_x p(x) \log \frac{p(x)}{p'(x)}`, in nats.

Processes that remember their noise (``starting_aux``) are followed for every noise separately; correctors
enter as averages over the sites that they choose.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sciffusion.discrete import (
    Corrected,
    Corrector,
    DiscreteDenoiser,
    DiscretePrediction,
    DiscreteProcess,
    DrawSolver,
)
from sciffusion.exact.markov_chain import MarkovChainOracle
from sciffusion.sampling.grids import checked_grid
from sciffusion.sampling.state import State

__all__ = [
    "TokenLaw",
    "TokenLawError",
    "every_sequence",
    "propagate_tokens",
    "sampler_error",
]

LARGEST = 4096


def every_sequence(vocab_size: int, length: int) -> Tensor:
    """Return all sequences in lexicographic order, int64 of shape ``(vocab_size ** length, length)``."""
    places = torch.arange(vocab_size**length)
    return torch.stack(
        [places // vocab_size ** (length - 1 - site) % vocab_size for site in range(length)], dim=-1
    )


class TokenLaw(NamedTuple):
    """A law over sequences and what it took to reach it.

    Parameters
    ----------
    sequences : Tensor of shape ``(count, length)``
        All sequences of noisy tokens.
    probabilities : Tensor of shape ``(count,)``
        Their probabilities, float64.
    nfe : int
        Network evaluations that a sampler makes on the way.
    """

    sequences: Tensor
    probabilities: Tensor
    nfe: int


class TokenLawError(NamedTuple):
    """Distance of a sampler's law from that of the data.

    Parameters
    ----------
    total_variation : float
        Half the sum of absolute differences, in [0, 1].
    kl_divergence : float
        Of the data's law from the sampler's, in nats; infinite where the sampler misses a sequence.
    nfe : int
        Network evaluations.
    """

    total_variation: float
    kl_divergence: float
    nfe: int


class _Counted:
    """A denoiser that counts its calls and answers equal states once: their number is small."""

    def __init__(self, denoiser: DiscreteDenoiser) -> None:
        self._denoiser, self.path, self.nfe = denoiser, denoiser.path, 0

    def __call__(self, state: Any, condition: Any = None, cache: Any = None) -> Any:
        self.nfe += 1
        parts = [state.x, *(state.aux or {}).values()]
        code = torch.zeros_like(state.x[:, 0])
        for part in parts:
            for site in part.unbind(1):
                code = code * self.path.state_size + site
        _, inverse = torch.unique(code, return_inverse=True)
        first = torch.empty(int(inverse.max()) + 1, dtype=torch.int64).scatter_(
            0, inverse, torch.arange(len(code))
        )
        aux = None if state.aux is None else {name: value[first] for name, value in state.aux.items()}
        prediction = self._denoiser(replace(state, x=state.x[first], aux=aux), condition, cache)
        if type(prediction) is not DiscretePrediction:
            return self._denoiser(state, condition, cache)
        return DiscretePrediction(prediction.logits[inverse], prediction.kind)


@dataclass(frozen=True, eq=False)
class _Rows:
    """Weighted sequences, each with the number of its group (one group a remembered noise)."""

    x: Tensor
    weight: Tensor
    group: Tensor

    def take(self, rows: Tensor, x: Tensor, weight: Tensor) -> _Rows:
        return _Rows(x, weight, self.group[rows])


class _Space:
    """All sequences of a process, and the memory of each group."""

    def __init__(self, process: DiscreteProcess, length: int) -> None:
        self.size, self.length = process.state_size, length
        if self.size**length > LARGEST:
            raise ValueError(
                f"{self.size} noisy tokens on {length} sites make {self.size**length} sequences; at most "
                f"{LARGEST} can be followed exactly"
            )
        self.sequences = every_sequence(self.size, length)
        clean = torch.full((length, process.vocab_size), 1.0 / process.vocab_size, dtype=torch.float64)
        noise = process.push(clean, torch.ones((), dtype=torch.float64))
        self.prior = torch.stack([noise[k][self.sequences[:, k]] for k in range(length)]).prod(0)
        self.aux = process.starting_aux(self.sequences, torch.Generator())
        self.groups = 1 if self.aux is None else len(self.sequences)

    def start(self) -> Tensor:
        """Return the law at time 1 by group, shape ``(groups, sequences)``."""
        return self.prior[None] if self.aux is None else torch.diag(self.prior)

    def rows(self, law: Tensor) -> _Rows:
        """Return the sequences of positive probability."""
        group, place = (law > 0.0).nonzero(as_tuple=True)
        return _Rows(self.sequences[place], law[group, place], group)

    def aux_of(self, rows: _Rows) -> Mapping[str, Tensor] | None:
        """Return the memory of every row."""
        return None if self.aux is None else {name: value[rows.group] for name, value in self.aux.items()}

    def gathered(self, rows: _Rows, sites: Tensor) -> Tensor:
        """Return the law that rows reach by laws of their sites, shape ``(groups, sequences)``."""
        half = self.length // 2
        left, right = self._products(sites[:, :half]), self._products(sites[:, half:])
        left = left * rows.weight[:, None]
        if self.groups == 1:
            return (left.T @ right).reshape(1, -1)
        law = left.new_zeros(self.groups, left.shape[1], right.shape[1])
        for start in range(0, len(left), 4096):
            part = slice(start, start + 4096)
            law.index_add_(0, rows.group[part], left[part, :, None] * right[part, None, :])
        return law.reshape(self.groups, -1)

    def _products(self, sites: Tensor) -> Tensor:
        """Return the probabilities of all sequences of some sites, shape ``(rows, size ** sites)``."""
        joint = sites.new_ones(len(sites), 1)
        for site in sites.unbind(1):
            joint = (joint[:, :, None] * site[:, None, :]).flatten(1)
        return joint

    def expanded(self, rows: _Rows, sites: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return for every row all sequences that it may draw: row numbers, sequences and weights."""
        joint = self._products(sites) * rows.weight[:, None]
        row, place = (joint > 0.0).nonzero(as_tuple=True)
        return row, self.sequences[place], joint[row, place]


def _step(
    space: _Space, law: Tensor, solver: DrawSolver, t: Tensor, t_next: Tensor, denoiser: _Counted
) -> tuple[Tensor, int]:
    """Return the law after a step, and its network evaluations."""
    rows, sent = space.rows(law), list[Tensor]()
    origin = rows.x
    while True:
        before = denoiser.nfe
        run = solver.draws(State(x=origin, t=t, aux=space.aux_of(rows)), t_next, denoiser)
        sites = next(run)
        for tokens in sent:
            sites = run.send(tokens)
        try:
            run.send(rows.x)
        except StopIteration:
            # That was the last draw of the step.
            return space.gathered(rows, torch.exp(sites)), denoiser.nfe - before
        row, tokens, weight = space.expanded(rows, torch.exp(sites))
        origin, sent = origin[row], [*(earlier[row] for earlier in sent), tokens]
        rows = rows.take(row, tokens, weight)


def _corrected(
    space: _Space, law: Tensor, corrector: Corrector, t: Tensor, denoiser: _Counted
) -> tuple[Tensor, int]:
    """Return the law after one move of a corrector, and its network evaluations."""
    rows, before, calls = space.rows(law), denoiser.nfe, 0
    state = State(x=rows.x, t=t, aux=space.aux_of(rows))
    after = torch.zeros_like(law)
    for chosen, share in corrector.choices(state):
        before = denoiser.nfe
        sites = torch.exp(corrector.log_probabilities(state, chosen, denoiser))
        after = after + space.gathered(_Rows(rows.x, rows.weight * share, rows.group), sites)
        calls = denoiser.nfe - before
    return after, calls


def propagate_tokens(denoiser: DiscreteDenoiser, solver: Any, grid: Tensor, length: int) -> TokenLaw:
    """Return the exact law of the sequences that a sampler run would draw.

    Parameters
    ----------
    denoiser : DiscreteDenoiser
        What the sampler evaluates, exact or not.
    solver : DrawSolver or Corrected
        What makes the steps.
    grid : Tensor
        Times of shape ``(n_steps + 1,)``, decreasing; the run starts from the prior of time 1 whatever its
        first time is, as `sciffusion.sampling.sample` does.
    length : int
        Number of sites; all sequences together at most 4096.

    Returns
    -------
    TokenLaw
        Over the process's noisy tokens.

    Raises
    ------
    TypeError
        For a solver that remembers more than tokens or draws anything else than tokens.
    ValueError
        For more sequences than can be followed, or a grid with times of single items.
    """
    grid = checked_grid(grid)
    if grid.ndim != 1:
        raise ValueError(f"expected one time for all items, got a grid of shape {tuple(grid.shape)}")
    predictor, corrector, moves = solver, None, 0
    if isinstance(solver, Corrected):
        predictor, corrector, moves = solver.predictor, solver.corrector, solver.moves
    if not isinstance(predictor, DrawSolver) or not predictor.memoryless:
        raise TypeError(
            f"{type(predictor).__name__} cannot be followed exactly: it remembers or draws more than tokens"
        )
    counted, nfe = _Counted(denoiser), 0
    space = _Space(denoiser.path, length)
    law = space.start()
    for t, t_next in pairwise(grid.unbind(0)):
        law, calls = _step(space, law, predictor, t, t_next, counted)
        nfe += calls
        for _ in range(moves if corrector is not None and bool(t_next > 0.0) else 0):
            assert corrector is not None
            law, calls = _corrected(space, law, corrector, t_next, counted)
            nfe += calls
    return TokenLaw(space.sequences, law.sum(0), nfe)


def sampler_error(
    oracle: MarkovChainOracle, denoiser: DiscreteDenoiser, solver: Any, grid: Tensor
) -> TokenLawError:
    """Return how far the law of a sampler is from that of a chain.

    Parameters
    ----------
    oracle : MarkovChainOracle
        The law of the data; it gives the number of sites.
    denoiser, solver, grid
        As for `propagate_tokens`.

    Returns
    -------
    TokenLawError
        Sequences that hold a noisy token which is no clean one count as wrong.
    """
    reached = propagate_tokens(denoiser, solver, grid, oracle.length)
    clean = (reached.sequences < oracle.vocab_size).all(-1)
    data = torch.zeros_like(reached.probabilities)
    data[clean] = torch.exp(oracle.log_likelihood(reached.sequences[clean]))
    distance = 0.5 * (reached.probabilities - data).abs().sum()
    inside = data > 0.0
    ratio = torch.log(data[inside]) - torch.log(reached.probabilities[inside])
    return TokenLawError(float(distance), float((data[inside] * ratio).sum()), reached.nfe)
