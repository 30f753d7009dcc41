"""Covariates of windows: known in advance, known up to the origin, or constant in a series."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .history import Floats, Windows, gather
from .panel import Panel

__all__ = ["CovariateScale", "Exogenous"]

_CLIP = 5.0


@dataclass(frozen=True, eq=False)
class CovariateScale:
    """Means and deviations of the covariates of the training panel, one a column.

    Attributes
    ----------
    past, future, static : ndarray of shape (2, columns)
        Means in the first row, deviations (never 0) in the second.
    """

    past: Floats
    future: Floats
    static: Floats

    @classmethod
    def learn(cls, panel: Panel) -> CovariateScale:
        """Measure the covariates of a panel; missing values are left out."""
        return cls(*(_moments(part) for part in (panel.past, panel.future, panel.static)))


def _moments(values: Floats) -> Floats:
    flat = values.reshape(math.prod(values.shape[:-1]), values.shape[-1])
    seen = ~np.isnan(flat)
    count = np.maximum(seen.sum(axis=0), 1)
    mean = np.where(seen, flat, 0.0).sum(axis=0) / count
    deviation = np.sqrt(np.where(seen, (flat - mean) ** 2, 0.0).sum(axis=0) / count)
    return np.stack([mean, np.where(deviation > 0, deviation, 1.0)])


class Exogenous:
    """Standardised covariates of the rows of a panel, channels of a series sharing them.

    Parameters
    ----------
    panel : Panel
    scale : CovariateScale
        Of the training panel.
    """

    def __init__(self, panel: Panel, scale: CovariateScale) -> None:
        channels = panel.n_channels
        self._past = _rows(panel.past, scale.past, channels)
        self._future = _rows(panel.future, scale.future, channels)
        static = np.nan_to_num((panel.static - scale.static[0]) / scale.static[1])
        self._static = np.repeat(np.clip(static, -_CLIP, _CLIP), channels, axis=0)

    @property
    def n_future(self) -> int:
        """Number of covariates known in advance."""
        return len(self._future)

    def inputs(self, windows: Windows, horizon: int) -> Floats:
        """Return all that is known at the origins, shape (windows, inputs).

        For each covariate known in advance its values over the horizon; for each covariate known up to the
        origin its last value and its mean over the last `horizon` steps; and the static ones.
        """
        ahead, back = np.arange(1, horizon + 1), np.arange(1 - horizon, 1)
        parts = [gather(column, windows, ahead) for column in self._future]
        for column in self._past:
            recent = np.nan_to_num(gather(column, windows, back))
            parts += [recent[:, -1:], recent.mean(axis=1, keepdims=True)]
        parts.append(self._static[windows.row])
        return np.nan_to_num(np.concatenate(parts, axis=1))


def _rows(values: Floats, moments: Floats, channels: int) -> Floats:
    """Return covariates as (columns, rows, length), standardised and clipped."""
    scaled = np.clip((values - moments[0]) / moments[1], -_CLIP, _CLIP)
    return np.repeat(np.moveaxis(scaled, 2, 0), channels, axis=1)
