r"""Bounds of log likelihoods of rows of counts, with the same noise for every row.

The integral of `sciffusion.discrete.DeathELBO` over times is estimated at stratified times
:math:`t = v^2`, v uniform, since the integrand has a logarithm of t near the data.

The noise of a row is computed from the row itself (a hash of its counts and of the fit's seed): its bound is
the same in every company and at every call, and the errors of different rows are independent, so that they
average out in a mean over rows. An individual survives where its number lies below :math:`a_t`.

The hash ends with the mixing of SplitMix64 (Steele, Lea and Flood, *Fast Splittable Pseudorandom Number
Generators*, OOPSLA 2014).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..discrete import Corrupted, DeathELBO, PureDeath
from ..networks import CountMLP
from .chunking import map_chunks
from .counts_training import CountDenoiser
from .vectors.densities import in_double

__all__ = ["log_bound_counts"]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # the odd step of SplitMix64

Floats = NDArray[np.float64]


class _RowNoise:
    """Uniform numbers that hang on the content of rows and on a seed.

    Parameters
    ----------
    counts : Tensor of int64, shape (rows, columns)
        The rows.
    seed : int
        Of the fit.
    """

    def __init__(self, counts: Tensor, seed: int) -> None:
        generator = np.random.default_rng(seed)
        factors = generator.integers(2**63, size=counts.shape[1], dtype=np.uint64) * np.uint64(2) + np.uint64(
            1
        )
        self._rows = _mixed((counts.numpy().astype(np.uint64) * factors).sum(1, dtype=np.uint64))
        self._columns = generator.integers(2**63, size=counts.shape[1] + 1, dtype=np.uint64)

    def times(self, draw: int) -> Tensor:
        """Return a number in [0, 1) for every row, float64."""
        return _unit(_mixed(self._rows + self._step(draw)[0]))

    def survivors(self, counts: Tensor, keep: Tensor, draw: int) -> Tensor:
        """Return how many of every count survive, for one keep probability a row."""
        columns = _mixed(self._rows[:, None] + self._step(draw)[1:])
        individuals = np.arange(1, int(counts.max()) + 1, dtype=np.uint64) * _GOLDEN
        alive = _unit(_mixed(columns[..., None] + individuals)) < keep[:, None, None]
        there = torch.arange(alive.shape[-1]) < counts[..., None]
        return (alive & there).sum(-1)

    def _step(self, draw: int) -> NDArray[np.uint64]:
        return _mixed(self._columns + np.uint64((draw * int(_GOLDEN)) % 2**64))


def _unit(bits: NDArray[np.uint64]) -> Tensor:
    """Return numbers in [0, 1) from random bits."""
    return torch.from_numpy((bits >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scatter the bits of whole numbers."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = values ^ (values >> np.uint64(31))
    return mixed


def log_bound_counts(
    network: CountMLP,
    process: PureDeath,
    counts: Tensor,
    conditions: Tensor,
    *,
    draws: int,
    seed: int,
    device: torch.device,
) -> tuple[Floats, Floats]:
    """Return lower bounds of the log likelihoods of rows, and their standard errors.

    Parameters
    ----------
    network : CountMLP
        Fitted.
    process : PureDeath
        What thins the counts.
    counts : Tensor of int64, shape (rows, columns)
        Rows; a row with a count above the largest has the bound minus infinity.
    conditions : Tensor of shape (rows, n_conditions)
        NaN where not known.
    draws : int
        Times, each an evaluation a row.
    seed : int
        Of the noise.
    device : torch.device
        Where to compute.

    Returns
    -------
    ndarray, ndarray of shape (rows,)
        In nats a row. The errors take draws for independent, and as these are stratified are too large.
    """
    double = in_double(network, device)
    denoiser, dtype = CountDenoiser(double, process), next(double.parameters()).dtype
    possible = (counts <= process.largest).all(-1)

    @torch.inference_mode()
    def bound(rows: slice) -> tuple[Floats, Floats]:
        clean = counts[rows].clamp_max(process.largest)
        given = conditions[rows].to(device, dtype) if conditions.shape[1] else None
        noise, found = _RowNoise(counts[rows], seed), []
        for draw in range(draws):
            place = (draw + noise.times(draw)) / draws
            x = noise.survivors(clean, process.schedule.keep(place**2), draw).to(device)
            state = Corrupted(x, (place**2).to(device, dtype))
            loss = DeathELBO().site_loss(denoiser(state, given), process, state, clean.to(device))
            found.append(2.0 * place * loss.sum(-1).cpu().double())
        each = torch.stack(found)
        value = torch.where(possible[rows], -each.mean(0), -torch.inf)
        error = each.std(0) / draws**0.5 if draws > 1 else torch.full_like(value, torch.nan)
        return value.numpy(), error.numpy()

    parts = map_chunks(bound, len(counts), 8 * counts.shape[1] * 12 * process.vocab_size)
    values, errors = zip(*parts, strict=True)
    return np.concatenate(values), np.concatenate(errors)
