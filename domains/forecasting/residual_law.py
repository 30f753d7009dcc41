r"""The law that residuals have before anything is learned: Gaussian, with the scale and correlation observed.

For standardised out-of-fold residuals z of shape (windows, horizon) with second moments :math:`s_\tau^2`, the
correlation of the steps ahead is estimated from the normal scores of each step's residuals (ranks mapped to
Gaussian quantiles: moments of heavy-tailed residuals would come out too small) and shrunk to the mean along
its diagonals (a stationary series has no other),

.. math:: R = (1 - \lambda)\, \hat R + \lambda\, \operatorname{diagmean}(\hat R),
          \qquad \lambda = \min(1, 20 h / n),

then made positive definite. (Residuals in gaps of the history have a law of their own, see `gap_law`.)
Channels of a series are correlated by a matrix :math:`R_c` of their own, so the residuals of a series have
the covariance :math:`R \otimes R_c`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import norm, rankdata
from torch import Tensor

from .history import Floats

__all__ = ["ResidualLaw", "correlation_factor"]

_CLIP = 8.0
_SHRINKAGE = 20.0
_LEAST_EIGENVALUE = 0.02


@dataclass(frozen=True, eq=False)
class ResidualLaw:
    """Correlations of residuals of unit variance.

    Attributes
    ----------
    std : ndarray of shape (horizon,)
        Root mean squares of the residuals that the base standardised; 1 if its scales were perfect.
    factor : ndarray of shape (horizon, horizon)
        Cholesky factor of the correlation of the steps ahead.
    channel_factor : ndarray of shape (channels, channels)
        Cholesky factor of the correlation of the channels.
    """

    std: Floats
    factor: Floats
    channel_factor: Floats

    @classmethod
    def fit(cls, residuals: Floats) -> ResidualLaw:
        """Estimate from residuals, NaN where the target is missing.

        Parameters
        ----------
        residuals : ndarray of shape (windows, channels, horizon)
            Of windows of the same series and moment in all channels.
        """
        clipped = np.clip(residuals, -_CLIP, _CLIP)
        steps = clipped.reshape(-1, residuals.shape[2])
        seen = np.isfinite(steps)
        squares = np.where(seen, steps, 0.0) ** 2
        # Steps that are never observed have the deviation of a perfect base.
        std = np.sqrt((squares.sum(axis=0) + 1.0) / (seen.sum(axis=0) + 1.0))
        unit = clipped / std
        channels = np.moveaxis(unit, 1, 2).reshape(-1, residuals.shape[1])
        return cls(
            std,
            correlation_factor(_normal_scores(unit.reshape(-1, len(std))), stationary=True),
            correlation_factor(_normal_scores(channels), stationary=False),
        )

    def forecast_noise(self, shape: tuple[int, ...], n_context: int, generator: torch.Generator) -> Tensor:
        """Draw noise of shape ``(*shape, tokens)``: that of the steps ahead, none for the context."""
        context = torch.zeros((*shape, n_context), device=generator.device, dtype=torch.float32)
        factor = torch.from_numpy(self.factor).to(generator.device, torch.float32)
        white = torch.randn(
            (*shape, len(factor)), generator=generator, device=generator.device, dtype=torch.float32
        )
        return torch.cat([context, white @ factor.T], dim=-1)


def correlation_factor(unit: Floats, *, stationary: bool) -> Floats:
    """Return the Cholesky factor of the correlation of the columns, which may hold NaN.

    Parameters
    ----------
    unit : ndarray of shape (rows, columns)
        Values of about unit variance and mean 0.
    stationary : bool
        Shrink to the means along the diagonals; otherwise to no correlation.
    """
    size = unit.shape[1]
    seen = np.isfinite(unit)
    filled = np.where(seen, unit, 0.0)
    counts = np.maximum(seen.astype(np.float64).T @ seen, 1.0)
    moments = filled.T @ filled / counts
    deviations = np.sqrt(np.maximum(np.diag(moments), 1e-12))
    raw = moments / deviations[:, None] / deviations
    np.fill_diagonal(raw, 1.0)
    share = min(1.0, _SHRINKAGE * size / max(float(counts.mean()), 1.0))
    shrunk = (1.0 - share) * raw + share * (_along_diagonals(raw) if stationary else np.eye(size))
    values, vectors = np.linalg.eigh(shrunk)
    positive = (vectors * np.maximum(values, _LEAST_EIGENVALUE)) @ vectors.T
    lengths = np.sqrt(np.diag(positive))
    factor: Floats = np.linalg.cholesky(positive / lengths[:, None] / lengths)
    return factor


def _normal_scores(values: Floats) -> Floats:
    """Return the Gaussian quantiles of the ranks within each column; NaN stays."""
    ranks = rankdata(values, axis=0, nan_policy="omit")
    scores: Floats = norm.ppf((ranks - 0.5) / np.maximum(np.isfinite(values).sum(axis=0), 1))
    return scores


def _along_diagonals(matrix: Floats) -> Floats:
    size = len(matrix)
    means = np.array([np.diag(matrix, lag).mean() for lag in range(size)])
    result: Floats = means[np.abs(np.subtract.outer(np.arange(size), np.arange(size)))]
    return result
