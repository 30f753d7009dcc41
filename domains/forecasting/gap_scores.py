r"""What is left of values when they are denoised: how badly each fits the known values around it.

Blocks of values are hidden in turn, every value once, and each gets its standardised gap residual z
(`gap_base`). The network then denoises z at one noise level, as if it had been drawn there,

.. math:: s = \frac{\lVert z - D(\cos\theta\, z,\ \theta) \rVert}{\sin^2\theta}, \qquad \tan\theta = 1,

the norm of the denoising residual over the channels. That is proportional to the norm of the denoising
score, the idea of *Kurtosis-Guided Denoising Score Matching for Tabular Anomaly Detection* (arXiv
2605.06955); with the network off s is the norm of z itself. The windows and blocks are a construction of
this library.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from sciffusion.sampling import State

from .gap_masks import hidden_blocks
from .gap_tokens import GapWindows
from .history import Floats, Windows
from .model import ForecastModel
from .panel import Panel
from .window_network import PATH, WindowCondition, window_denoiser

__all__ = ["denoising_residuals"]

_ANGLE = math.pi / 4.0
_MOST_ROWS = 2048  # windows denoised at once
_CLIP = 30.0  # of residuals: what is so far off need not be ranked


def denoising_residuals(model: ForecastModel, panel: Panel, *, device: torch.device) -> Floats:
    """Return what denoising leaves of every value, over what it leaves with the network off.

    Parameters
    ----------
    model : ForecastModel
        With a gap base.
    panel : Panel
    device : torch.device

    Returns
    -------
    ndarray of shape (rows, length)
        In standard deviations, of either sign; NaN at missing values.
    """
    gaps = model.gap_base
    series = model.base.series(panel)
    observed = series.history.observed
    n_context, horizon = model.n_context, model.horizon
    block = max(min(horizon, (n_context + horizon) // 4), 1)
    result = np.full_like(observed, np.nan)
    # Counted from the beginning of each series: its scores must not hang on how long others are.
    since = np.maximum(np.arange(observed.shape[1]) - series.begin[:, None], 0)
    for mask in hidden_blocks(observed.shape[1], block):
        values = np.where(mask[since], np.nan, observed)
        if np.isnan(values).all(axis=1).any():  # a row too short to hide a block of
            values = np.where(np.isnan(values).all(axis=1, keepdims=True), observed, values)
        missing = np.isnan(values)
        fill = gaps.fill(values, series.units)
        scored = missing & ~np.isnan(observed)
        z = np.where(scored, (observed - fill.location) / np.where(missing, fill.scale, 1.0), 0.0)
        z = np.clip(z, -_CLIP, _CLIP)
        if model.network is not None:
            z = _denoised(model, panel, z, values, device)
        result = np.where(scored, z, result)
    return np.where(np.isnan(result) & ~np.isnan(observed), 0.0, result)


def _denoised(model: ForecastModel, panel: Panel, z: Floats, values: Floats, device: torch.device) -> Floats:
    """Return the denoising residuals of rows of gap residuals, by windows laid side by side with overlap."""
    assert model.network is not None
    series = model.base.series(panel)
    missing = np.isnan(values) & (np.arange(values.shape[1]) >= series.begin[:, None])
    fill = model.gap_base.fill(values, series.units, missing)
    n_tokens = model.n_context + model.horizon
    step, margin = max(n_tokens // 2, 1), n_tokens // 4
    starts = np.arange(-margin, values.shape[1] - margin, step)
    row = np.repeat(np.arange(len(values)), len(starts))
    places = (np.tile(starts, len(values)) + series.begin[row])[:, None] + np.arange(n_tokens)
    result = z.copy()
    denoiser = window_denoiser(model.network.to(device).eval())
    for first in range(0, len(row), _MOST_ROWS):
        some = slice(first, first + _MOST_ROWS)
        cut = GapWindows.cut(fill, missing, row[some], places[some], series.begin[row[some]])
        windows = Windows(row[some], places[some, model.n_context - 1])
        inputs = cut.inputs(series, model.base.settings, windows, len(model.base.shown_members))
        inside = np.clip(places[some], 0, values.shape[1] - 1)
        own = np.where(cut.unknown, z[row[some][:, None], inside], 0.0)
        x = math.cos(_ANGLE) * torch.from_numpy(own).float().to(device)
        unknown = torch.from_numpy(cut.unknown).to(device)
        condition = WindowCondition(
            torch.from_numpy(model.input_scale.apply(inputs)).float().to(device), unknown
        )
        times = torch.where(unknown, 2.0 * _ANGLE / math.pi, 0.0).double()
        with torch.inference_mode():
            clean = denoiser(State(x, times), condition)
        mean = clean.to("x0", PATH.coefficients(times), x).value.double().cpu().numpy()
        left = (own - mean) / math.sin(_ANGLE) ** 2
        kept = cut.unknown.copy()
        kept[:, :margin] = False
        kept[:, margin + step :] = False
        window, token = np.nonzero(kept)
        result[row[some][window], inside[window, token]] = left[window, token]
    return result
