"""Cheap forecasters: seasonal naive, climatology, ridge with residual quantiles.

- SeasonalNaive: the last season again, with normal intervals: variance of the in-sample seasonal differences
  times the number of seasons ahead.
- SeasonClim: empirical quantiles of the values at the same position of the last 10 seasons (20 if a season
  has at most 12 steps); paths take the order of those seasons.
- RidgeResid: one global ridge for all series and steps at once (penalty max(1, .003 n)) on windows of L
  values over their own mean and standard deviation, inputs clipped at +-10, L = min(max(2h, 7m, or 2m if
  m > 24), 336), less where series are short; quantiles of each step from out-of-fold residuals (5 blocks in
  time); paths take the order of residual paths. Fitted once.
"""

from __future__ import annotations

import numpy as np
from forecast_data import Histories, fill_linearly
from forecast_models import QuantileModel
from scipy.stats import norm

__all__ = [
    "RidgeResiduals",
    "SeasonalClimatology",
    "SeasonalNaive",
    "cut_windows",
    "normalised",
    "window_length",
]

BLOCKS = 5
INPUT_LIMIT = 10.0
LONGEST_WINDOW = 336


class SeasonalNaive(QuantileModel):
    """The last season again, with normal intervals."""

    def fit(self, histories: Histories) -> SeasonalNaive:
        """Nothing is learnt before an origin."""
        return self

    def quantiles(self, histories: Histories, levels: np.ndarray) -> np.ndarray:
        """Give normal quantiles around the last season."""
        m, h = histories.season_length, histories.horizon
        ahead = np.arange(h)
        found = []
        for series in histories.filled():
            change = series[m:] - series[:-m]
            deviation = np.sqrt(np.mean(change**2)) * np.sqrt(ahead // m + 1)
            found.append(series[-m:][ahead % m] + norm.ppf(levels)[:, None] * deviation)
        return np.stack(found)


class SeasonalClimatology(QuantileModel):
    """Quantiles of the same season position in the last seasons."""

    joint = True

    def fit(self, histories: Histories) -> SeasonalClimatology:
        """Nothing is learnt before an origin."""
        return self

    def _seasons(self, histories: Histories) -> list[np.ndarray]:
        """Give the last seasons of each series, shape (seasons, horizon)."""
        m, h = histories.season_length, histories.horizon
        count = 20 if m <= 12 else 10
        found = []
        for series in histories.filled():
            seasons = min(count, len(series) // m)
            found.append(series[-seasons * m :].reshape(seasons, m)[:, np.arange(h) % m])
        return found

    def quantiles(self, histories: Histories, levels: np.ndarray) -> np.ndarray:
        """Give empirical quantiles of the last seasons."""
        return np.stack([np.quantile(seasons, levels, axis=0) for seasons in self._seasons(histories)])

    def template(self, histories: Histories, n_draws: int, generator: np.random.Generator) -> np.ndarray:
        """Give whole seasons of the past, drawn with replacement; ties in random order."""
        found = []
        for seasons in self._seasons(histories):
            paths = seasons[generator.integers(len(seasons), size=n_draws)]
            found.append(paths + 1e-9 * np.ptp(seasons) * generator.random(paths.shape))
        return np.stack(found)


def window_length(histories: Histories) -> int:
    """Give L of the ridge, shorter where a series does not hold twice as many windows."""
    m, h = histories.season_length, histories.horizon
    wished = min(max(2 * h, 7 * m if m <= 24 else 2 * m), LONGEST_WINDOW)
    shortest = min(len(values) for values in histories.values)
    return max(1, min(wished, (shortest - h) // 2))


def cut_windows(series: np.ndarray, length: int, horizon: int) -> np.ndarray:
    """Give all windows of one series, oldest first, shape (windows, length + horizon)."""
    return np.lib.stride_tricks.sliding_window_view(series, length + horizon)


def normalised(contexts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give windows over their own mean and standard deviation, clipped, and these two as columns."""
    level = contexts.mean(axis=1, keepdims=True)
    spread = contexts.std(axis=1, keepdims=True)
    spread = np.where(spread > 1e-8 * (1 + np.abs(level)), spread, 1.0)
    return np.clip((contexts - level) / spread, -INPUT_LIMIT, INPUT_LIMIT), level, spread


class RidgeResiduals(QuantileModel):
    """A global ridge over normalised windows, with quantiles of out-of-fold residuals."""

    joint = True

    def fit(self, histories: Histories) -> RidgeResiduals:
        """Fit the ridge, and once more without each block of time for its residuals."""
        self.length_ = window_length(histories)
        cut = [cut_windows(series, self.length_, histories.horizon) for series in histories.filled()]
        block = np.concatenate([np.arange(len(part)) * BLOCKS // len(part) for part in cut])
        windows = np.concatenate(cut)
        inputs, level, spread = normalised(windows[:, : self.length_])
        targets = (windows[:, self.length_ :] - level) / spread
        self.weights_ = _ridge(inputs, targets)
        self.residuals_ = np.empty_like(targets)
        for left_out in range(BLOCKS):
            inside = block == left_out
            if inside.any():
                weights = _ridge(inputs[~inside], targets[~inside])
                self.residuals_[inside] = targets[inside] - _with_constant(inputs[inside]) @ weights
        return self

    def quantiles(self, histories: Histories, levels: np.ndarray) -> np.ndarray:
        """Give the ridge's forecast plus quantiles of its residuals."""
        contexts = np.stack([fill_linearly(values)[-self.length_ :] for values in histories.values])
        inputs, level, spread = normalised(contexts)
        residuals = np.quantile(self.residuals_, levels, axis=0)
        return level[:, None] + spread[:, None] * (
            (_with_constant(inputs) @ self.weights_)[:, None] + residuals
        )

    def template(self, histories: Histories, n_draws: int, generator: np.random.Generator) -> np.ndarray:
        """Give residual paths, drawn with replacement; ties in random order."""
        rows = generator.integers(len(self.residuals_), size=(len(histories.ids), n_draws))
        paths = self.residuals_[rows]
        return paths + 1e-9 * generator.random(paths.shape)


def _with_constant(inputs: np.ndarray) -> np.ndarray:
    return np.hstack([inputs, np.ones((len(inputs), 1))])


def _ridge(inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Give ridge weights, the last of them for the constant, which is not penalised."""
    inputs = _with_constant(inputs)
    penalty = np.full(inputs.shape[1], max(1.0, 0.003 * len(inputs)))
    penalty[-1] = 0.0
    return np.linalg.solve(inputs.T @ inputs + np.diag(penalty), inputs.T @ targets)
