"""A few training steps of the network on the newest windows."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from .base_forecast import Series, training_windows
from .gap_base import GapBase
from .model import ForecastModel
from .residual_training import NetworkSettings, train_window_network
from .tokens import forecast_tokens
from .window_network import WindowNetwork

__all__ = ["tuned_network"]

_BATCHES = 8  # of newest windows
_RATE = 0.1  # of the learning rate of the fit


def tuned_network(forecaster: Any, model: ForecastModel, series: Series, n_steps: int) -> WindowNetwork:
    """Return a copy of the network after `n_steps` steps on the newest windows.

    Training starts from the averaged weights, at a tenth of the learning rate, and averages on. Each member
    keeps back a block of time and returns to its former weights where its loss there has not become less.

    Parameters
    ----------
    forecaster : DiffusionForecaster
        Whose hyper-parameters and random streams are used.
    model : ForecastModel
        With a network, which is left as it is; its base should not have seen the newest windows.
    series : Series
        The histories.
    n_steps : int >= 1
    """
    assert model.network is not None
    settings = NetworkSettings.of(forecaster)
    every = training_windows(series, model.base.settings, np.iinfo(np.int64).max)
    newest = np.argsort(series.absolute_step(every), kind="stable")[-_BATCHES * settings.batch_size :]
    windows = every.take(np.sort(newest))
    forecast = model.base.forecast(series, windows)
    targets = series.targets(windows, model.horizon)
    residuals = (targets - forecast.location) / (forecast.scale * model.law.std)
    tokens = forecast_tokens(series, model.base.settings, windows, forecast, residuals)
    gaps: GapBase | None = model.gaps
    stream = 1 + series.panel.length  # an update of its own seed and checkpoint
    network, _ = train_window_network(
        replace(settings, max_steps=n_steps, learning_rate=_RATE * settings.learning_rate),
        tokens,
        model.input_scale.apply(tokens.inputs),
        model.law,
        torch.Generator().manual_seed(forecaster.seed_ + stream),
        partial(forecaster._train, stream=stream),
        n_context=model.n_context,
        gap_persistence=0.0 if gaps is None else float(gaps.phi),
        start=copy.deepcopy(model.network),
    )
    return network.eval()
