r"""One model for series of every frequency: base, residual law and network from the windows of several sets.

*A Generative Pre-Trained Diffusion Paradigm for Zero-Shot Time Series Forecasting* (GPD, arXiv 2406.02212)
trains one diffusion model on many sets and prompts it with the history of a series that it has never seen.
Here the network learns standardised residuals of a base whose weights are shared as well (`zero_shot_base`),
so a prompt brings its own levels, seasons and scales through the base, and what is pre-trained is free of
units and of the length of a season:

* the phase of the origin is left out of the inputs: it means the hour in one set and the month in another;
* each member of the ensemble keeps back a contiguous part of the windows ordered by set, then by time, so
  that with many sets it stops where it is best on sets that it has not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce

import numpy as np
import torch

from sciffusion.training import TrainingHistory

from .base_forecast import BaseForecaster, BaseSettings, TrainingBase
from .history import Integers
from .model import ForecastModel
from .panel import Panel
from .residual_law import ResidualLaw
from .residual_training import NetworkSettings, train_window_network
from .tokens import InputScale, WindowTokens, forecast_tokens, token_count
from .zero_shot_base import fit_shared_base

__all__ = ["fit_shared_model", "prompted"]

_PHASES = slice(-5, -1)  # sine and cosine of two seasons, before the last input


def fit_shared_model(
    panels: Sequence[Panel],
    settings: Sequence[BaseSettings],
    *,
    most_windows: int,
    network: NetworkSettings | None,
    generator: torch.Generator,
    train: Callable[..., TrainingHistory],
) -> tuple[ForecastModel, TrainingHistory | None]:
    """Fit one forecaster to several sets of series.

    Parameters
    ----------
    panels, settings, most_windows
        As for `fit_shared_base`.
    network : NetworkSettings or None
        None leaves the network off.
    generator : torch.Generator
        Draws the starting weights; on the CPU.
    train : callable
        Trains in place, as `DiffusionEstimator._train` does.

    Returns
    -------
    ForecastModel
        For the first set; `prompted` turns it to others.
    TrainingHistory or None
    """
    base, training = fit_shared_base(panels, settings, most_windows=most_windows)
    law = ResidualLaw.fit(np.concatenate([part.residuals for part in training])[:, None])
    tokens = _pooled_tokens(base, panels, settings, training, law)
    input_scale = _without_phases(InputScale.learn(tokens.inputs))
    model = ForecastModel(base, law, input_scale, None, None)
    if network is None:
        return model, None
    fitted, history = train_window_network(
        network, tokens, input_scale.apply(tokens.inputs), law, generator, train,
        n_context=token_count(settings[0]),
    )  # fmt: skip
    return replace(model, network=fitted.eval()), history


def prompted(model: ForecastModel, settings: BaseSettings) -> ForecastModel:
    """Return the model with the seasons of a prompt."""
    return replace(model, base=replace(model.base, settings=settings))


def _pooled_tokens(
    base: BaseForecaster,
    panels: Sequence[Panel],
    settings: Sequence[BaseSettings],
    training: Sequence[TrainingBase],
    law: ResidualLaw,
) -> WindowTokens:
    cut = []
    for panel, one, part in zip(panels, settings, training, strict=True):
        series = replace(base, settings=one).series(panel)
        cut.append(forecast_tokens(series, one, part.windows, part.forecast, part.residuals / law.std))
    pooled = reduce(WindowTokens.joined, cut)
    return replace(pooled, step=_order([tokens.step for tokens in cut]))


def _order(steps: Sequence[Integers]) -> Integers:
    """Return the place of every window in the order of sets, then of time; equal times share a place."""
    places: list[Integers] = []
    before = 0
    for own in steps:
        _, rank = np.unique(own, return_inverse=True)
        # Sets weigh by their windows, as they would without ties.
        spread = before + rank.ravel() * len(own) // max(int(rank.max()) + 1, 1)
        places.append(spread.astype(np.int64))
        before += len(own)
    return np.concatenate(places)


def _without_phases(scale: InputScale) -> InputScale:
    """Return a scale that makes the phases of the seasons 0 always."""
    deviation = scale.deviation.copy()
    deviation[_PHASES] = np.inf
    return replace(scale, deviation=deviation)
