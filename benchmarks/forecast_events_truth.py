r"""Probabilities of events in noisily observed chaotic systems, by brute force.

One variable x of a system is observed with Gaussian errors of known deviation s; the state is not. Given the
last L observations o of a trajectory on the attractor, the law of what will be observed is a matter of Bayes'
rule: of very many simulated stretches x' each counts with the weight

    w = exp(-|o - x'|^2 / (2 s^2)),

and the future errors are integrated out, exactly for the events used here: for the highest of h observations
P(max > c) = 1 - prod Phi((c - x'_j) / s), for their mean P(mean > c) = Phi((mean x' - c) sqrt(h) / s).
Earlier observations than the last L would narrow the law a little further; a forecaster with L inputs does
not know them either. Without any history all stretches count alike: the law at a random time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.special import log_ndtr, ndtr

from sciffusion.datasets import make_fitzhugh_nagumo, make_lorenz63

__all__ = ["EVENTS", "SYSTEMS", "Event", "Study", "System", "make_study"]


@dataclass(frozen=True)
class System:
    """A system, the variable that is observed, and its errors."""

    simulate: Callable[[int, int, int], np.ndarray]
    noise: float
    words: str


def _lorenz(count: int, steps: int, seed: int) -> np.ndarray:
    return make_lorenz63(count, steps, random_state=seed).values[..., 0]


def _fitzhugh_nagumo(count: int, steps: int, seed: int) -> np.ndarray:
    values = make_fitzhugh_nagumo(count, steps, random_state=seed).values
    return 0.5 * (values[..., 0] + values[..., 1])


SYSTEMS = {
    "Lorenz-63": System(_lorenz, 2.0, "x, errors of deviation 2 (that of x is 7.9)"),
    "FitzHugh-Nagumo": System(_fitzhugh_nagumo, 0.05, "mean of x1 and x2, errors of deviation .05 (.086)"),
}


@dataclass(frozen=True)
class Event:
    """A function of paths that may exceed a threshold, and its probability given the true future states."""

    function: Callable[[torch.Tensor], torch.Tensor]
    chance: Callable[[np.ndarray, np.ndarray, float], np.ndarray]


def _highest_chance(states: np.ndarray, value: np.ndarray, noise: float) -> np.ndarray:
    return -np.expm1(log_ndtr((value - states) / noise).sum(-1))


def _mean_chance(states: np.ndarray, value: np.ndarray, noise: float) -> np.ndarray:
    return ndtr((states.mean(-1) - value[..., 0]) * states.shape[-1] ** 0.5 / noise)


EVENTS = {
    "highest above": Event(lambda paths: paths.amax(-1), _highest_chance),
    "mean above": Event(lambda paths: paths.mean(-1), _mean_chance),
}


@dataclass(frozen=True)
class Study:
    """Training series, histories to forecast from, and true futures of each.

    Attributes
    ----------
    train : ndarray of shape (series, steps)
    histories : ndarray of shape (histories, steps)
    futures : ndarray of shape (histories, states, horizon)
        Equally probable error-free continuations given the last observations of each history.
    sizes : ndarray of shape (histories,)
        Effective number of stretches behind the futures.
    moments : ndarray of shape (moments, steps)
        Histories of further trajectories, which end at random times.
    stretches : ndarray of shape (1, states, horizon)
        Error-free stretches at random times.
    noise : float
    """

    train: np.ndarray
    histories: np.ndarray
    futures: np.ndarray
    sizes: np.ndarray
    moments: np.ndarray
    stretches: np.ndarray
    noise: float

    def at_random_times(self) -> Study:
        """Give the study whose histories tell nothing: one law for all."""
        return replace(self, futures=self.stretches, histories=self.moments)

    def chances(self, event: Event, values: np.ndarray) -> np.ndarray:
        """Give the probability of each history's event."""
        return event.chance(self.futures, values[:, None, None], self.noise).mean(-1)

    def thresholds(self, event: Event, probability: float) -> np.ndarray:
        """Give the values that each history's event exceeds with a probability."""
        low = np.full(len(self.futures), self.futures.min() - 10.0 * self.noise)
        high = np.full(len(self.futures), self.futures.max() + 10.0 * self.noise)
        for _ in range(25):
            middle = 0.5 * (low + high)
            often = self.chances(event, middle) > probability
            low, high = np.where(often, middle, low), np.where(often, high, middle)
        return 0.5 * (low + high)


def make_study(
    system: System, *, n_train: int, n_histories: int, n_moments: int, n_pool: int, n_states: int,
    length: int, context: int, horizon: int, seed: int = 0,
) -> Study:  # fmt: skip
    """Simulate, observe, and weigh stretches of the pool for every history."""
    stream = np.random.default_rng(seed)
    clean = system.simulate(n_train + n_histories + n_moments, length, seed)
    observed = clean + system.noise * stream.normal(size=clean.shape)
    pool = system.simulate(n_pool, 200, seed + 1).astype(np.float32)
    found = [
        _futures(pool, history[-context:], horizon, system.noise, n_states, stream)
        for history in observed[n_train : n_train + n_histories]
    ]
    futures, sizes = zip(*found, strict=True)
    windows = np.lib.stride_tricks.sliding_window_view(pool, horizon, axis=1).reshape(-1, horizon)
    chosen = stream.integers(len(windows), size=20 * n_states)
    return Study(
        observed[:n_train], observed[n_train : n_train + n_histories], np.stack(futures), np.array(sizes),
        observed[n_train + n_histories :], windows[chosen][None].astype(np.float64), system.noise,
    )  # fmt: skip


def _futures(
    pool: np.ndarray, history: np.ndarray, horizon: int, noise: float, count: int, stream: np.random.Generator
) -> tuple[np.ndarray, float]:
    """Draw continuations by the weights of their stretches, and give their effective number."""
    context = len(history)
    starts = range(pool.shape[1] - context - horizon + 1)
    given = history.astype(np.float32)
    logs = np.stack([-((pool[:, k : k + context] - given) ** 2).sum(1) for k in starts], 1)
    weights = np.exp((logs - logs.max()).astype(np.float64) / (2.0 * noise**2)).ravel()
    weights /= weights.sum()
    chosen = np.searchsorted(np.cumsum(weights), (stream.random() + np.arange(count)) / count)
    row, start = np.divmod(np.minimum(chosen, weights.size - 1), len(starts))
    steps = start[:, None] + context + np.arange(horizon)
    return pool[row[:, None], steps].astype(np.float64), float(1.0 / (weights**2).sum())
