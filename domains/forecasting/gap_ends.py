"""Draws of the missing values after the last known one of each row: forecasts from there."""

from __future__ import annotations

import numpy as np
import torch

from .history import Floats, Integers, Windows
from .model import ForecastModel
from .panel import Panel

__all__ = ["draw_ends"]


def draw_ends(
    model: ForecastModel,
    panel: Panel,
    values: Floats,
    *,
    nfe: int,
    seed: int,
    device: torch.device,
) -> None:
    """Write forecasts over what follows the last known values.

    Parameters
    ----------
    model : ForecastModel
    panel : Panel
        Every channel of every series has a known value.
    values : ndarray of shape (series, samples, length, channels)
        Changed in place.
    nfe, seed : int
    device : torch.device
    """
    n_samples, n_channels = values.shape[1], panel.n_channels
    known = ~np.isnan(np.moveaxis(panel.values, 2, 1).reshape(-1, panel.length))
    count = np.argmax(known[:, ::-1], axis=1).astype(np.int64)
    rows = np.flatnonzero(count)
    if not len(rows):
        return
    drawn = _one_window(model, panel, rows, count[rows], n_samples, nfe=nfe, seed=seed, device=device)
    for row, paths in zip(rows.tolist(), drawn, strict=True):
        one, channel, steps = row // n_channels, row % n_channels, int(count[row])
        if steps > model.horizon:
            shorter = panel.take([one]).until(steps)
            paths = model.draw(shorter, steps, n_samples, nfe=nfe, seed=seed, device=device)[0, ..., channel]
        values[one, :, -steps:, channel] = paths[:, :steps]


def _one_window(
    model: ForecastModel,
    panel: Panel,
    rows: Integers,
    count: Integers,
    n_samples: int,
    *,
    nfe: int,
    seed: int,
    device: torch.device,
) -> Floats:
    """Return forecasts of shape (rows, samples, horizon), each from its last known value."""
    prepared = model.prepare(model.base.series(panel), Windows(rows, panel.length - 1 - count))
    ids = panel.take(np.unique(rows // panel.n_channels)).ids
    noise = model.starting_noise(ids, n_samples, seed)
    _, series = np.unique(rows // panel.n_channels, return_inverse=True)
    own = noise[torch.from_numpy(series), torch.from_numpy(rows % panel.n_channels)]
    return model.values(prepared, model.residuals(prepared, own, nfe=nfe, device=device))
