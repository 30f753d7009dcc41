r"""Bounds of log likelihoods of rows, with the same noise for every row.

The integral of an objective that is a bound (see `sciffusion.discrete.objective`) is estimated by D
stratified times (see `token_times`) and one draw of the noise at each. For masks a network need not know
times, and the integral is a sum over numbers of masked sites,

.. math:: \int_0^1 \frac{-\dot a}{1 - a} \operatorname{E}\Bigl[\sum_{\text{masked}} -\log D(x_0)\Bigr] dt
   = \operatorname{E}_{m \sim \{1, \dots, L\}} \frac{L}{m} \Bigl[\sum_{m \text{ masked}} -\log D(x_0)\Bigr],

so exactly m sites are masked and m is stratified, which leaves no weight above L.

All rows share these draws, as common random numbers: two rows are compared at the same noise, and a row's
bound does not hang on its company. To share noise between rows of different tokens, the process corrupts
constant rows of every token with one random stream, and each site of a row takes what became of its token
there.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..discrete import Corrupted, DiscreteProcess
from ..training.time_samplers import stratified_uniforms
from .chunking import map_chunks
from .random_state import private_generator
from .token_times import bound_times
from .token_training import TokenTask

__all__ = ["SharedNoise", "log_bound_rows", "row_bytes"]

Floats = NDArray[np.float64]


class SharedNoise(NamedTuple):
    """What becomes of every token at every site in every draw.

    Attributes
    ----------
    tokens : Tensor of int64, shape (vocab_size, draws, sites)
        Noisy token for each clean one.
    times, weights : Tensor of float64, shape (draws,)
        Times of the draws, and what the integrand at them counts.
    aux : dict of str to Tensor, or None
        What the process remembers beside, of the shape of ``tokens``.
    """

    tokens: Tensor
    times: Tensor
    weights: Tensor
    aux: dict[str, Tensor] | None

    @classmethod
    def draw(cls, process: DiscreteProcess, draws: int, sites: int, seed: int) -> SharedNoise:
        """Draw the noise."""
        if process.mask_token is not None:
            return cls._masks(process, draws, sites, seed)
        times, weights = bound_times(process.schedule, draws, private_generator(seed, 0))
        made = []
        for token in range(process.vocab_size):
            row = torch.full((draws, sites), token, dtype=torch.int64)
            made.append(process.corrupt(row, times, private_generator(seed, 1)))
        aux = None
        if made[0].aux is not None:
            aux = {name: torch.stack([one.aux[name] for one in made if one.aux]) for name in made[0].aux}
        return cls(torch.stack([one.x for one in made]), times, weights, aux)

    @classmethod
    def _masks(cls, process: DiscreteProcess, draws: int, sites: int, seed: int) -> SharedNoise:
        """Draw masks of fixed numbers of sites."""
        generator = private_generator(seed, 0)
        counts = (stratified_uniforms((draws,), generator) * sites).long().clamp_max(sites - 1) + 1
        times = process.schedule.time_of_keep(1.0 - counts.double() / sites)
        ranks = torch.rand((draws, sites), generator=generator).argsort(-1).argsort(-1)
        tokens = torch.arange(process.vocab_size)[:, None, None].expand(-1, draws, sites)
        masked = torch.where(ranks < counts[:, None], process.mask_token or 0, tokens)
        return cls(masked, times, -1.0 / process.schedule.derivative(times), None)

    def of(self, rows: Tensor) -> Corrupted:
        """Return noisy copies of rows of shape ``(n, sites)``, as ``(n * draws, sites)``."""
        draws, sites = self.tokens.shape[1:]
        place = (rows[:, None, :], torch.arange(draws)[:, None], torch.arange(sites))
        aux = None if self.aux is None else {name: v[place].flatten(0, 1) for name, v in self.aux.items()}
        return Corrupted(self.tokens[place].flatten(0, 1), self.times.repeat(len(rows)), aux)


def row_bytes(network: Any, sites: int) -> int:
    """Return the working memory of one noisy row."""
    sizes = network.sizes
    heads = sizes["n_heads"] * sites
    return int(4 * sites * (16 * sizes["width"] + 2 * heads + 12 * sizes["state_size"]))


def log_bound_rows(
    network: nn.Module,
    task: TokenTask,
    tokens: NDArray[np.int64],
    conditions: Floats,
    *,
    draws: int,
    seed: int,
    device: torch.device,
) -> tuple[Floats, Floats]:
    """Return lower bounds of the log likelihoods of rows, and their standard errors.

    Parameters
    ----------
    network : Module
        Fitted, on ``device``.
    task : TokenTask
        Its process and bound.
    tokens, conditions : ndarray of shape (n, sites) and (n, n_conditions)
        Rows.
    draws : int
        Times at which the integrand is looked at.
    seed : int
        Of the noise.
    device : device
        Where to compute.

    Returns
    -------
    ndarray, ndarray of shape (n,)
        In nats a row; the errors are over draws as if these were independent, so rather too large.
    """
    noise = SharedNoise.draw(task.process, draws, tokens.shape[1], seed)
    denoiser = task.denoiser(network)

    def bound(rows: slice) -> Floats:
        x0 = torch.from_numpy(tokens[rows])
        state = noise.of(x0)
        aux = None if state.aux is None else {name: value.to(device) for name, value in state.aux.items()}
        state = Corrupted(state.x.to(device), state.t.to(device), aux)
        given = None
        if conditions.shape[1]:
            given = torch.from_numpy(conditions[rows]).float().to(device).repeat_interleave(draws, 0)
        with torch.inference_mode():
            clean = x0.repeat_interleave(draws, 0).to(device)
            losses = task.bound.site_loss(denoiser(state, given), task.process, state, clean)
        total: Floats = (losses.cpu().double().sum(-1).reshape(-1, draws) * noise.weights).numpy()
        return total

    losses = np.concatenate(map_chunks(bound, len(tokens), draws * row_bytes(network, tokens.shape[1])))
    error = losses.std(axis=1, ddof=1) / np.sqrt(draws) if draws > 1 else np.full(len(losses), np.nan)
    return -losses.mean(axis=1), error
