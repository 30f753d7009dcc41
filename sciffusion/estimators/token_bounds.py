r"""Bounds of log likelihoods of rows, with noise that rows share.

The integral of an objective that is a bound (see `sciffusion.discrete.objective`) is estimated by D draws of
a time and of noise. Where noise replaces tokens whatever they are (all but "matrix"), each of L sites is
replaced with the same probability s = 1 - a, and with f the integrand per unit of s, given that m sites are
replaced,

.. math:: \int_0^1 \operatorname{E} f\,ds
   = \frac{1}{L + 1} \operatorname{E}_{s \sim B(1, L + 1)} f(s, 0)
   + \sum_{m=1}^{L} \frac1m \operatorname{E}_{s \sim B(m, L - m + 1)} s f(s, m),

with Beta laws B: the binomial law of m and the time change places. f is of the order of m / s, so no term is
larger than a few nats a site, where times drawn first give rare large ones. Numbers m and quantiles of s are
stratified. (For masks without times this is the mean over m of L / m times the cross-entropy of m masked
sites.) For "matrix" times are drawn as in `token_times`.

There are several panels of such draws, and the tokens of a row say which one it takes. So a row's bound does
not hang on its company, and errors average out over rows that differ. To share noise between rows of
different tokens, the process corrupts constant rows of every token with one random stream, and each site of a
row takes what became of its token there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import betaincinv
from torch import Tensor, nn

from ..discrete import Corrupted, DiscreteProcess
from ..training.batches import derived_seed
from ..training.time_samplers import stratified_uniforms
from .chunking import map_chunks
from .random_state import private_generator
from .token_times import bound_times
from .token_training import TokenTask

__all__ = ["SharedNoise", "log_bound_rows", "row_bytes"]

Floats = NDArray[np.float64]

_N_PANELS = 16


class SharedNoise(NamedTuple):
    """What becomes of every token at every site in every draw.

    Attributes
    ----------
    tokens : Tensor of int64, shape (vocab_size, draws, sites)
        Noisy token for each clean one.
    times, weights : Tensor of float64, shape (draws,)
        Times of the draws, and what the integrand at them counts.
    aux : mapping of str to Tensor, or None
        What the process remembers beside, of the shape of ``tokens``.
    """

    tokens: Tensor
    times: Tensor
    weights: Tensor
    aux: Mapping[str, Tensor] | None

    @classmethod
    def draw(cls, process: DiscreteProcess, draws: int, sites: int, seed: int) -> SharedNoise:
        """Draw the noise."""
        times, weights = bound_times(process.schedule, draws, private_generator(seed, 0))
        made = []
        for token in range(process.vocab_size):
            row = torch.full((draws, sites), token, dtype=torch.int64)
            made.append(process.corrupt(row, times, private_generator(seed, 1)).x)
        return cls(torch.stack(made), times, weights, None)

    @classmethod
    def replacing(cls, process: DiscreteProcess, draws: int, sites: int, seed: int) -> SharedNoise:
        """Draw the noise of a process that replaces tokens whatever they are."""
        generator = private_generator(seed, 0)
        fewest = 0 if process.mask_token is None else 1  # without masks there is no loss
        terms = sites + 1 - fewest
        counts = fewest + (stratified_uniforms((draws,), generator) * terms).long().clamp_max(terms - 1)
        first, second = counts.clamp_min(1).numpy(), (sites + 1 - counts).numpy()
        lost = betaincinv(first, second, stratified_uniforms((draws,), generator).numpy())
        shares = torch.from_numpy(np.clip(lost, 1e-9, 1.0))
        times = process.schedule.time_of_keep(1.0 - shares)
        weights = torch.where(counts == 0, 1.0 / (sites + 1), shares / counts.clamp_min(1))
        replaced = torch.rand((draws, sites), generator=generator).argsort(-1).argsort(-1) < counts[:, None]
        noise = process.draw_prior((draws, sites), generator)
        clean = torch.arange(process.vocab_size)[:, None, None].expand(-1, draws, sites)
        tokens = torch.where(replaced, noise, clean)
        aux = process.starting_aux(noise, generator)
        if aux is not None:
            aux = {name: value.expand(tokens.shape) for name, value in aux.items()}
        return cls(tokens, times, terms * weights / -process.schedule.derivative(times), aux)

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
    draw = SharedNoise.replacing if task.recipe.replaces else SharedNoise.draw
    denoiser = task.denoiser(network)
    panels = _panels(tokens)
    losses = np.empty((len(tokens), draws))
    for panel in np.unique(panels):
        noise = draw(task.process, draws, tokens.shape[1], derived_seed(seed, int(panel)))
        places = np.flatnonzero(panels == panel)

        def bound(rows: slice, noise: SharedNoise = noise, places: NDArray[np.int64] = places) -> Floats:
            chosen = places[rows]
            return _losses(denoiser, task, noise, tokens[chosen], conditions[chosen], device)

        size = draws * row_bytes(network, tokens.shape[1])
        losses[places] = np.concatenate(map_chunks(bound, len(places), size))
    error = losses.std(axis=1, ddof=1) / np.sqrt(draws) if draws > 1 else np.full(len(losses), np.nan)
    return -losses.mean(axis=1), error


def _panels(tokens: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the panel of noise of every row, which its tokens decide."""
    factors = np.random.default_rng(0).integers(1, 2**31, tokens.shape[1]) * 2 + 1
    mixed = ((tokens + 1) * factors).sum(axis=1)
    panels: NDArray[np.int64] = (mixed >> 16) % _N_PANELS
    return panels


def _losses(
    denoiser: Any, task: TokenTask, noise: SharedNoise, tokens: NDArray[np.int64], conditions: Floats,
    device: torch.device,
) -> Floats:  # fmt: skip
    """Return the weighted integrand of rows at every draw, in nats a row."""
    x0, draws = torch.from_numpy(tokens), len(noise.times)
    state = noise.of(x0)
    aux = None if state.aux is None else {name: value.to(device) for name, value in state.aux.items()}
    state = Corrupted(state.x.to(device), state.t.to(device), aux)
    given = None
    if conditions.shape[1]:
        given = torch.from_numpy(conditions).float().to(device).repeat_interleave(draws, 0)
    with torch.inference_mode():
        clean = x0.repeat_interleave(draws, 0).to(device)
        losses = task.bound.site_loss(denoiser(state, given), task.process, state, clean)
    total: Floats = (losses.cpu().double().sum(-1).reshape(-1, draws) * noise.weights).numpy()
    return total
