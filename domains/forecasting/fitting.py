"""What a fit consists of: base, residual law, tokens and network, from a panel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np
import torch

from sciffusion.training import TrainingHistory

from .base_forecast import BaseForecaster, BaseSettings, TrainingBase
from .gap_tokens import fit_gap_base, gap_training_tokens
from .model import ForecastModel, channel_residuals
from .panel import Panel
from .recalibration_windows import fit_recalibration
from .residual_law import ResidualLaw
from .residual_training import NetworkSettings, train_window_network
from .tokens import InputScale, forecast_tokens, token_count

__all__ = ["fit_model", "season_lengths_of"]


def fit_model(
    panel: Panel,
    settings: BaseSettings,
    *,
    most_windows: int,
    network: NetworkSettings | None,
    lower_bound: float | None,
    calibrate: bool = True,
    named: bool = True,
    generator: torch.Generator,
    train: Callable[..., TrainingHistory],
) -> tuple[ForecastModel, TrainingBase, TrainingHistory | None]:
    """Fit a forecaster.

    Parameters
    ----------
    panel : Panel
    settings : BaseSettings
    most_windows : int
        Training windows at most.
    network : NetworkSettings or None
        None leaves the network off.
    lower_bound : float or None
    calibrate : bool
        Recalibrate the draws on windows that were held out.
    named : bool
        Whether series will be known by their names, see `BaseForecaster.fit`.
    generator : torch.Generator
        Draws the starting weights; on the CPU.
    train : callable
        Trains in place, as `DiffusionEstimator._train` does.

    Returns
    -------
    ForecastModel, TrainingBase, TrainingHistory or None
    """
    base, training = BaseForecaster.fit(panel, settings, most_windows=most_windows, named=named)
    law = ResidualLaw.fit(channel_residuals(training, panel.n_channels))
    unit = replace(training, residuals=training.residuals / law.std)
    series = base.series(panel)
    tokens = forecast_tokens(series, settings, unit.windows, unit.forecast, unit.residuals)
    # A stream of its own: what the gaps draw must not move the starting weights.
    gap_stream = np.random.default_rng(generator.initial_seed())
    gaps, rows, copies = fit_gap_base(series, settings, gap_stream)
    if network is not None and network.gap_share > 0.0:
        count = round(len(tokens) * network.gap_share / (1.0 - network.gap_share))
        tokens = tokens.joined(
            gap_training_tokens(
                series, settings, gaps, rows, copies, unit.windows, count,
                unit.forecast.departures.shape[1], gap_stream,
            )
        )  # fmt: skip
    input_scale = InputScale.learn(tokens.inputs)
    model = ForecastModel(base, law, input_scale, None, lower_bound, gaps)
    inputs, history = input_scale.apply(tokens.inputs), None
    if network is not None:
        fitted, history = train_window_network(
            network, tokens, inputs, law, generator, train,
            n_context=token_count(settings), gap_persistence=gaps.phi,
        )  # fmt: skip
        model = replace(model, network=fitted.eval())
    if calibrate:
        model = replace(model, recalibration=fit_recalibration(model, tokens, inputs, generator))
    return model, unit, history


def season_lengths_of(given: Any, default: int) -> tuple[int, ...]:
    """Return the season lengths that a parameter asks for, the main one first.

    Parameters
    ----------
    given : None, int or sequence of int
        None takes `default`. A season of 13 to 288 steps given alone, or by default, is taken for a day and
        joined by one seven times as long, unless it is a year of weeks.
    default : int
        That of the frequency.

    Raises
    ------
    TypeError, ValueError
        If `given` is something else, or holds a number below 1.
    """
    if given is None:
        lengths: tuple[int, ...] = (int(default),)
    elif np.ndim(given) == 0:
        lengths = (_season(given),)
    else:
        return tuple(_season(one) for one in given)
    main = lengths[0]
    return (main, 7 * main) if 12 < main <= 288 and main not in (52, 53) else lengths


def _season(value: Any) -> int:
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or value < 1 or int(value) != value:
        raise ValueError(f"season_length must be an integer >= 1 or a sequence of them, got {value!r}")
    return int(value)
