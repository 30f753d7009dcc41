"""What the comparison asks of a forecaster, and how quantiles become draws.

Every model gives draws. One that knows quantiles only gets them by a fixed rule: at each step the quantile
function is read at the levels i/(S+1), i = 1..S, so that the draws have exactly those marginals, and these
values are put in an order. Between known levels the quantile function is linear in the normal score
Phi^-1(level), and it goes on with the last slope beyond the outermost, which is exact for normal laws. The
order is that of a *template* of S paths where the model has one (Schaake shuffle: Clark et al., *The Schaake
shuffle*, Journal of Hydrometeorology 5, 2004), and otherwise random at each step on its own; such models have
no paths of their own and are marked *marginal* beside their energy scores.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from forecast_data import Histories
from scipy.stats import norm

__all__ = [
    "ForecastModel",
    "QuantileModel",
    "draw_levels",
    "paths_from_marginals",
    "read_quantiles",
]


class ForecastModel(ABC):
    """A forecaster behind the two calls of the comparison."""

    joint = True
    """Whether a draw is a path, or its steps are put together at random."""

    @abstractmethod
    def fit(self, histories: Histories) -> ForecastModel:
        """Fit on the series before the first origin."""

    @abstractmethod
    def draws(self, histories: Histories, n_draws: int, seed: int) -> np.ndarray:
        """Give draws of the steps after some histories of the same series, shape (n, n_draws, horizon)."""


def draw_levels(n_draws: int) -> np.ndarray:
    """Give the levels at which marginals are read, shape (n_draws,)."""
    return np.arange(1, n_draws + 1) / (n_draws + 1)


def read_quantiles(known: np.ndarray, quantiles: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Read quantile functions at other levels.

    Parameters
    ----------
    known : ndarray of shape (k,)
        Increasing levels in (0, 1), at least two.
    quantiles : ndarray of shape (n, k, horizon)
        Quantiles at these levels; sorted here, because models may let them cross.
    levels : ndarray of shape (s,)
        Levels to read at.

    Returns
    -------
    ndarray of shape (n, s, horizon)
        Quantiles at `levels`.
    """
    at, knots = norm.ppf(levels), norm.ppf(known)
    values = np.sort(quantiles, axis=1)
    left = np.clip(np.searchsorted(knots, at) - 1, 0, len(knots) - 2)
    share = ((at - knots[left]) / (knots[left + 1] - knots[left]))[None, :, None]
    return values[:, left] + share * (values[:, left + 1] - values[:, left])


def paths_from_marginals(marginals: np.ndarray, template: np.ndarray) -> np.ndarray:
    """Put sorted marginal values in the order of a template of paths.

    Parameters
    ----------
    marginals : ndarray of shape (n, n_draws, horizon)
        Values of each step, increasing along the draws.
    template : ndarray of the same shape
        Paths whose ranks at each step are taken over; give noise for independent steps.
    """
    rank = template.argsort(axis=1).argsort(axis=1)
    return np.take_along_axis(marginals, rank, axis=1)


class QuantileModel(ForecastModel):
    """A model that gives quantiles at any levels, and perhaps paths to take the order from."""

    joint = False

    @abstractmethod
    def quantiles(self, histories: Histories, levels: np.ndarray) -> np.ndarray:
        """Give quantiles, shape (n, n_levels, horizon)."""

    def template(self, histories: Histories, n_draws: int, generator: np.random.Generator) -> np.ndarray:
        """Give paths whose order the draws take over; noise where the model has none."""
        return generator.random((len(histories.ids), n_draws, histories.horizon))

    def draws(self, histories: Histories, n_draws: int, seed: int) -> np.ndarray:
        """Give draws with the model's marginals in the order of its template."""
        generator = np.random.default_rng(seed)
        marginals = self.quantiles(histories, draw_levels(n_draws))
        return paths_from_marginals(marginals, self.template(histories, n_draws, generator))
