r"""Probabilities from weighted hits, with their uncertainty.

For draws i with weights u (1 for plain draws) and likelihoods :math:`\ell` of the event (0 or 1 without
noise) the estimate is the mean of :math:`u_i \ell_i`. Its standard error is that of a mean of independent
groups of draws: antithetic pairs, or the blocks of draws of one proposal. The 95 % interval is Wilson's for
plain draws, with the number of independent draws that the standard error stands for, and that of a normal
logarithm for weighted ones. Where no draw is a hit the probability is 0, and the upper bound 3 over the
number of independent plain draws, above which one would have been seen with probability .95.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .event_importance import WeightedPaths
from .history import Floats

__all__ = ["ENOUGH_HITS", "EventProbabilities", "of_draws", "of_weighted"]

#: With fewer hits than this, method "auto" turns to importance sampling.
ENOUGH_HITS = 50
_RELIABLE = 30
_Z = 1.959964


class EventProbabilities(NamedTuple):
    """Probabilities of an event, each attribute of shape (series,).

    Attributes
    ----------
    probability, standard_error : ndarray of float
        Where no draw was a hit, 0 and the probability that one hit would have stood for.
    lower, upper : ndarray of float
        Bounds of a 95 % interval for the error of sampling; not for that of the model.
    effective_sample_size : ndarray of float
        Equally weighted hits that would tell as much.
    method : ndarray of str
        "monte_carlo" or "importance".
    reliable : ndarray of bool
        Whether the effective sample size is 30 or more.
    """

    probability: Floats
    standard_error: Floats
    lower: Floats
    upper: Floats
    effective_sample_size: Floats
    method: NDArray[Any]
    reliable: NDArray[np.bool_]

    def replaced(self, places: NDArray[np.int64], other: EventProbabilities) -> EventProbabilities:
        """Return the result with other estimates at some places."""
        parts = []
        for own, new in zip(self, other, strict=True):
            part = own.copy()
            part[places] = new
            parts.append(part)
        return EventProbabilities(*parts)


def of_draws(likelihood: Tensor) -> EventProbabilities:
    """Estimate from plain draws that may be antithetic.

    Parameters
    ----------
    likelihood : Tensor of shape (series, draws)
        Of the event; draws i and i + draws / 2 (rounded up) may be a pair.
    """
    draws = likelihood.shape[1]
    half = -(-draws // 2)
    mean = likelihood.mean(1)
    away = likelihood - mean[:, None]
    padded = torch.cat([away, away.new_zeros(len(away), 2 * half - draws)], dim=1)
    pairs = padded[:, :half] + padded[:, half:]
    variance = (pairs**2).sum(1) / draws**2 * (half / max(half - 1, 1))
    error = variance.sqrt().numpy()
    probability = mean.numpy()
    inside = probability * (1.0 - probability)
    independent = np.where(error > 0.0, inside / np.maximum(error, 1e-150) ** 2, float(half))
    lower, upper = _wilson(probability, independent)
    return _result(likelihood, probability, error, lower, upper, 1.0, "monte_carlo", half)


def of_weighted(paths: WeightedPaths) -> EventProbabilities:
    """Estimate from draws of proposals."""
    hits = torch.exp(paths.log_weights + paths.log_likelihood)
    draws = hits.shape[1]
    probability = hits.mean(1)
    variance = torch.zeros_like(probability)
    for part in range(int(paths.part.max()) + 1):
        inside = (paths.part == part).to(hits)
        count = inside.sum(1)
        mean = (hits * inside).sum(1) / count.clamp_min(1.0)
        squares = (inside * (hits - mean[:, None]) ** 2).sum(1)
        # A part with a single draw tells nothing of its variance: take that of a draw around 0.
        alone = ((hits * inside) ** 2).sum(1)
        variance += torch.where(count > 1.0, squares * count / (count - 1.0).clamp_min(1.0), alone)
    error = (variance.sqrt() / draws).numpy()
    found = probability.numpy()
    factor = np.exp(_Z * error / np.maximum(found, 1e-300))
    lower, upper = found / factor, np.minimum(found * factor, 1.0)
    return _result(hits, found, error, lower, upper, draws / paths.n_plain, "importance", paths.n_plain)


def _result(
    hits: Tensor, probability: Floats, error: Floats, lower: Floats, upper: Floats, largest: float,
    method: str, n_plain: int,
) -> EventProbabilities:  # fmt: skip
    squares = (hits**2).sum(1)
    effective = torch.where(squares > 0.0, hits.sum(1) ** 2 / squares.clamp_min(1e-300), 0.0).numpy()
    none = effective == 0.0
    return EventProbabilities(
        probability,
        np.where(none, largest / hits.shape[1], error),
        np.where(none, 0.0, lower),
        np.where(none, min(3.0 / n_plain, 1.0), upper),
        effective,
        np.full(len(probability), method, dtype=object),
        effective >= _RELIABLE,
    )


def _wilson(probability: Floats, count: Floats) -> tuple[Floats, Floats]:
    square = _Z**2
    centre = (probability + square / (2.0 * count)) / (1.0 + square / count)
    half = probability * (1.0 - probability) / count + square / (4.0 * count**2)
    width = _Z * np.sqrt(half) / (1.0 + square / count)
    return np.maximum(centre - width, 0.0), np.minimum(centre + width, 1.0)
