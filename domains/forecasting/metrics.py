r"""Scores of probabilistic forecasts: marginals, whole paths and calibration; missing targets are left out.

Targets y have shape ``(n, *event)``, draws ``(n, n_samples, *event)``: one forecast a row, and an event is
``(horizon,)`` or ``(horizon, channels)``. NaN targets do not count; a forecast all of whose targets are
missing scores NaN. Draws must be finite where the target is observed. Smaller is better unless said
otherwise.

- Continuous ranked probability score of draws :math:`x_1, \dots, x_S` (Gneiting and Raftery, JASA 102, 2007):
  :math:`\frac1S \sum_i |x_i - y| - \frac{1}{2 S^2} \sum_{ij} |x_i - x_j|`. The *fair* form divides the second
  sum by :math:`S(S-1)` instead and is unbiased for the score of the law that the draws come from (Ferro,
  QJRMS 140, 2014). Both are exact: with sorted draws the double sum is
  :math:`2 \sum_i (2i - S - 1) x_{(i)}`.
- Pinball loss of the quantile q at level a: :math:`\rho_a = (y - q)(a - 1[y < q])`. *wQL* is the mean over
  the nine deciles of :math:`2 \sum \rho_a / \sum |y|`, pooled. *Scaled CRPS* of a forecast is the mean over
  deciles and observed targets of :math:`2 \rho_a`, divided by the scale of the series, the in-sample mean
  absolute error of the seasonal naive forecast: scale-free, twice the integral of the pinball loss, so an
  approximation of CRPS / scale.
- MASE: mean absolute error of the median over the same scale (Hyndman and Koehler, IJF 22, 2006).
- Energy score of the whole path: :math:`\frac1S \sum_i \|x_i - y\| - \frac{1}{2S^2} \sum_{ij} \|x_i - x_j\|`;
  in one dimension it is the CRPS. Scaled: over the scale of the series and the root of the number of observed
  targets, so that windows of other lengths compare.
- Variogram score (Scheuerer and Hamill, MWR 143, 2015), p = .5:
  :math:`\operatorname{mean}_{a<b} (|y_a - y_b|^p - \operatorname{E} |x_a - x_b|^p)^2` over pairs of observed
  targets of one forecast. It sees correlations to which the energy score is nearly blind, but not a shift.
- Probability integral transform (PIT): the rank of y among the draws, ties broken at random, spread
  uniformly inside its cell; uniform on [0, 1] for calibrated forecasts.

Quantiles of draws take the Weibull plotting position i/(S+1): with y and the draws exchangeable an interval
between the a-th and the (1 - a)-th of them covers y exactly as often as it should, however few they are, if
a(S+1) is whole.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "DECILES",
    "crps",
    "draw_quantiles",
    "energy_score",
    "interval_coverage",
    "interval_width",
    "mase",
    "mean_over_event",
    "pit_values",
    "scaled_crps",
    "scaled_energy_score",
    "seasonal_naive_scale",
    "variogram_score",
    "weighted_quantile_loss",
]

Floats = NDArray[np.float64]

DECILES = tuple(decile / 10 for decile in range(1, 10))
"""Levels of the quantile losses."""

_NUMBERS_AT_ONCE = 4_000_000


def crps(y: ArrayLike, draws: ArrayLike, *, fair: bool = False) -> Floats:
    """Continuous ranked probability score of every target.

    Parameters
    ----------
    y : array-like of shape (n, ...)
        Targets; NaN where missing.
    draws : array-like of shape (n, n_samples, ...)
        Draws of the forecast.
    fair : bool
        Unbiased for the law behind the draws (needs two draws) instead of the score of the draws themselves.

    Returns
    -------
    ndarray of shape (n, ...)
        Scores >= 0 in the unit of y (the fair form may be a little negative); NaN where y is.

    Raises
    ------
    ValueError
        If the shapes do not fit or draws are not finite where y is observed.
    """
    target, sample = _pair(y, draws)
    count = _check_fair(sample, fair)
    ordered = np.sort(sample, axis=1)
    rank = 2 * np.arange(1, count + 1) - count - 1
    spread = np.tensordot(rank, ordered, axes=(0, 1)) / (count * (count - 1 if fair else count))
    return np.asarray(np.abs(sample - target[:, None]).mean(axis=1) - spread)


def mean_over_event(values: ArrayLike) -> Floats:
    """Mean over the observed targets of each forecast.

    Parameters
    ----------
    values : array-like of shape (n, ...)
        Scores of targets, e.g. from `crps`; NaN where the target is missing.

    Returns
    -------
    ndarray of shape (n,)
        Means; NaN, without a warning, where no target is observed.
    """
    flat = np.asarray(values, dtype=np.float64).reshape(len(np.asarray(values)), -1)
    seen = np.count_nonzero(~np.isnan(flat), axis=1)
    return np.where(seen > 0, np.nansum(flat, axis=1) / np.maximum(seen, 1), np.nan)


def draw_quantiles(draws: ArrayLike, levels: ArrayLike) -> Floats:
    """Quantiles of draws at some levels, by the Weibull plotting position.

    Parameters
    ----------
    draws : array-like of shape (n, n_samples, ...)
        Draws of the forecast.
    levels : array-like of shape (n_levels,)
        Levels in [0, 1]; below 1/(n_samples + 1) the smallest draw, above the mirror of it the largest.

    Returns
    -------
    ndarray of shape (n, n_levels, ...)
        Quantiles in the unit of the draws.
    """
    found = np.quantile(np.asarray(draws, dtype=np.float64), _levels(levels), axis=1, method="weibull")
    return np.asarray(np.moveaxis(found, 0, 1))


def weighted_quantile_loss(y: ArrayLike, quantiles: ArrayLike, levels: ArrayLike = DECILES) -> float:
    """Pooled weighted quantile loss (wQL).

    Parameters
    ----------
    y : array-like of shape (n, ...)
        Targets; NaN where missing.
    quantiles : array-like of shape (n, n_levels, ...)
        Forecast quantiles.
    levels : array-like of shape (n_levels,)
        Their levels; the nine deciles by default.

    Returns
    -------
    float
        The loss; NaN if no target is observed or all of them are zero.
    """
    loss = _double_pinball(y, quantiles, levels)
    total = np.nansum(np.abs(np.asarray(y, dtype=np.float64)))
    return float(np.nansum(loss.mean(axis=1)) / total) if total > 0 else float("nan")


def scaled_crps(y: ArrayLike, quantiles: ArrayLike, scale: ArrayLike, levels: ArrayLike = DECILES) -> Floats:
    """Scaled CRPS of every forecast: mean doubled pinball loss over the scale of its series.

    Parameters
    ----------
    y, quantiles, levels
        As for `weighted_quantile_loss`.
    scale : array-like of shape (n,)
        In-sample seasonal naive error of each forecast's series, as from `seasonal_naive_scale`.

    Returns
    -------
    ndarray of shape (n,)
        Scores, without unit.
    """
    return mean_over_event(_double_pinball(y, quantiles, levels).mean(axis=1)) / _scale(scale, y)


def seasonal_naive_scale(history: ArrayLike, season_length: int) -> float:
    """In-sample mean absolute error of the seasonal naive forecast.

    Parameters
    ----------
    history : array-like of shape (length,)
        The series up to the forecast; pairs with a missing value do not count.
    season_length : int
        Steps of a season, >= 1.

    Returns
    -------
    float
        The scale, in the unit of the series; NaN if it is zero or no pair is complete.
    """
    series = np.asarray(history, dtype=np.float64)
    if series.ndim != 1:
        raise ValueError(f"history must have one dimension, got shape {series.shape}")
    if season_length < 1:
        raise ValueError(f"season_length must be >= 1, got {season_length}")
    change = np.abs(series[season_length:] - series[:-season_length])
    found = change[~np.isnan(change)]
    return float(found.mean()) if found.size and found.mean() > 0 else float("nan")


def mase(y: ArrayLike, median: ArrayLike, scale: ArrayLike) -> Floats:
    """Mean absolute scaled error of every forecast's median; parameters as for `scaled_crps`."""
    target, centre = np.asarray(y, dtype=np.float64), np.asarray(median, dtype=np.float64)
    if target.shape != centre.shape:
        raise ValueError(f"median has shape {centre.shape}, expected that of y, {target.shape}")
    return mean_over_event(np.abs(target - centre)) / _scale(scale, y)


def energy_score(y: ArrayLike, draws: ArrayLike, *, fair: bool = False) -> Floats:
    """Energy score of every forecast over its whole path; parameters as for `crps`.

    Returns
    -------
    ndarray of shape (n,)
        Scores in the unit of y; missing targets are left out of the norms.
    """
    target, sample = _pair(y, draws)
    count = _check_fair(sample, fair)
    seen = ~np.isnan(target.reshape(len(target), -1))
    path = np.where(seen, target.reshape(seen.shape), 0.0)
    paths = np.where(seen[:, None], sample.reshape(len(target), count, -1), 0.0)
    score = np.linalg.norm(paths - path[:, None], axis=-1).mean(axis=1)
    block = max(1, _NUMBERS_AT_ONCE // count**2)
    for start in range(0, len(paths), block):
        within = _distances(paths[start : start + block]).sum(axis=(1, 2))
        score[start : start + block] -= within / (2 * count * (count - 1 if fair else count))
    return np.where(seen.any(axis=1), score, np.nan)


def scaled_energy_score(y: ArrayLike, draws: ArrayLike, scale: ArrayLike, *, fair: bool = False) -> Floats:
    """Energy score over the scale of the series and the root of the number of observed targets.

    Parameters
    ----------
    y, draws, fair
        As for `crps`.
    scale : array-like of shape (n,)
        As for `scaled_crps`.

    Returns
    -------
    ndarray of shape (n,)
        Scores, without unit.
    """
    target = np.asarray(y, dtype=np.float64)
    seen = np.count_nonzero(~np.isnan(target), axis=tuple(range(1, target.ndim)))
    root = np.sqrt(np.maximum(seen, 1).astype(np.float64))
    return np.asarray(energy_score(y, draws, fair=fair) / (_scale(scale, y) * root))


def variogram_score(y: ArrayLike, draws: ArrayLike, *, p: float = 0.5) -> Floats:
    """Variogram score of every forecast; parameters as for `crps`.

    Parameters
    ----------
    y, draws
        As for `crps`; divide both by a scale for a score without unit.
    p : float
        Power of the differences, > 0.

    Returns
    -------
    ndarray of shape (n,)
        Mean over pairs of observed targets; NaN where there is no pair.
    """
    if not p > 0:
        raise ValueError(f"p must be > 0, got {p}")
    target, sample = _pair(y, draws)
    path = target.reshape(len(target), -1)
    paths = sample.reshape(len(target), sample.shape[1], -1)
    total, pairs = np.zeros(len(path)), np.zeros(len(path))
    for lag in range(1, path.shape[1]):  # by lag: all pairs at once would hold the square of the horizon
        wanted = np.abs(path[:, lag:] - path[:, :-lag]) ** p
        expected = (np.abs(paths[..., lag:] - paths[..., :-lag]) ** p).mean(axis=1)
        gap = (wanted - expected) ** 2
        total += np.nansum(gap, axis=1)
        pairs += np.count_nonzero(~np.isnan(gap), axis=1)
    return np.where(pairs > 0, total / np.maximum(pairs, 1), np.nan)


def interval_coverage(y: ArrayLike, draws: ArrayLike, level: float) -> Floats:
    """Share of each forecast's observed targets inside its central interval; parameters as for `crps`.

    Parameters
    ----------
    y, draws
        As for `crps`.
    level : float
        Nominal coverage in (0, 1), e.g. 0.8; needs about 2 / (1 - level) draws or more.

    Returns
    -------
    ndarray of shape (n,)
        Shares in [0, 1]; `level` on average for calibrated forecasts.
    """
    target, sample = _pair(y, draws)
    low, high = np.moveaxis(draw_quantiles(sample, _central(level)), 1, 0)
    inside = (target >= low) & (target <= high)
    return mean_over_event(np.where(np.isnan(target), np.nan, inside))


def interval_width(y: ArrayLike, draws: ArrayLike, level: float) -> Floats:
    """Mean width of each forecast's central interval where targets are observed; as `interval_coverage`."""
    target, sample = _pair(y, draws)
    low, high = np.moveaxis(draw_quantiles(sample, _central(level)), 1, 0)
    return mean_over_event(np.where(np.isnan(target), np.nan, high - low))


def pit_values(y: ArrayLike, draws: ArrayLike, generator: np.random.Generator) -> Floats:
    """Probability integral transform of every target.

    Parameters
    ----------
    y, draws
        As for `crps`.
    generator : numpy.random.Generator
        Breaks ties and spreads ranks inside their cells.

    Returns
    -------
    ndarray of shape (n, ...)
        Values in [0, 1], uniform for calibrated forecasts; NaN where y is.
    """
    target, sample = _pair(y, draws)
    below = (sample < target[:, None]).sum(axis=1)
    ties = (sample == target[:, None]).sum(axis=1)
    place = below + generator.random(target.shape) * (ties + 1)
    return np.where(np.isnan(target), np.nan, place / (sample.shape[1] + 1))


def _pair(y: ArrayLike, draws: ArrayLike) -> tuple[Floats, Floats]:
    """Return targets and draws whose shapes fit; draws of missing targets may be anything."""
    target, sample = np.asarray(y, dtype=np.float64), np.asarray(draws, dtype=np.float64)
    if target.ndim < 2 or sample.ndim != target.ndim + 1 or sample.shape[1] < 1:
        raise ValueError(
            "y must have shape (n, horizon) or (n, horizon, channels) and draws (n, n_samples, ...), "
            f"got {target.shape} and {sample.shape}"
        )
    if sample.shape[:1] + sample.shape[2:] != target.shape:
        raise ValueError(f"draws have shape {sample.shape}, which does not fit y of shape {target.shape}")
    unusable = ~np.isfinite(sample).all(axis=1) & ~np.isnan(target)
    if unusable.any():
        raise ValueError(f"draws must be finite, but those of {np.count_nonzero(unusable)} targets are not")
    return target, sample


def _check_fair(sample: Floats, fair: bool) -> int:
    count = int(sample.shape[1])
    if fair and count < 2:
        raise ValueError("fair=True needs at least 2 draws, got 1")
    return count


def _levels(levels: ArrayLike) -> Floats:
    found = np.asarray(levels, dtype=np.float64)
    if found.ndim != 1 or not ((found >= 0) & (found <= 1)).all():
        raise ValueError(f"levels must be a vector of numbers in [0, 1], got {levels!r}")
    return found


def _central(level: float) -> Sequence[float]:
    if not 0 < level < 1:
        raise ValueError(f"level must be in (0, 1), e.g. 0.8, got {level}")
    return ((1 - level) / 2, (1 + level) / 2)


def _scale(scale: ArrayLike, y: ArrayLike) -> Floats:
    found = np.asarray(scale, dtype=np.float64)
    if found.shape != np.shape(y)[:1]:
        raise ValueError(f"scale has shape {found.shape}, expected one number a forecast, {np.shape(y)[:1]}")
    return found


def _double_pinball(y: ArrayLike, quantiles: ArrayLike, levels: ArrayLike) -> Floats:
    """Twice the pinball loss, shape (n, n_levels, ...); NaN where y is."""
    at = _levels(levels)
    target, found = _pair(y, quantiles)
    if found.shape[1] != len(at):
        raise ValueError(f"quantiles has {found.shape[1]} levels on its second axis, levels has {len(at)}")
    over = target[:, None] - found
    at = at.reshape(-1, *[1] * (target.ndim - 1))
    return 2.0 * np.maximum(at * over, (at - 1.0) * over)


def _distances(paths: Floats) -> Floats:
    """Euclidean distances between the draws of each forecast, shape (n, n_samples, n_samples)."""
    centred = paths - paths.mean(axis=1, keepdims=True)  # a common level would cost digits below
    squares = np.einsum("nsd,nsd->ns", centred, centred)
    square = squares[:, :, None] + squares[:, None] - 2.0 * centred @ np.swapaxes(centred, 1, 2)
    diagonal = np.arange(paths.shape[1])
    square[:, diagonal, diagonal] = 0.0
    return np.asarray(np.sqrt(np.maximum(square, 0.0)))
