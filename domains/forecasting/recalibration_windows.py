r"""Held-out quantiles for `Recalibration`: every window judged by the member that has not been trained on it.

Without a network the residuals of the base, whose ridge has not seen the window's block of time, are compared
with the Gaussian law. With one, the windows of each block of time are drawn for by the member that kept the
block back, alone. What is held out in this way never entered the gradient, though it decided when training
stopped and entered the few weights of stack, spread and law. Held-out blocks lie between others, whereas
forecasts go on from the last one, so what they say is taken at a discount: with n windows that do not overlap
a share :math:`.6\,n / (n + 3)` of the map is kept.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import norm
from torch import Tensor

from sciffusion.sampling import State

from .history import Floats, Integers
from .model import ForecastModel
from .recalibration import LEVELS, Recalibration
from .residual_draws import flow_grid, plain_run
from .residual_training import kept_back
from .tokens import WindowTokens
from .window_network import WindowCondition, window_denoiser

__all__ = ["fit_recalibration", "held_out_quantiles"]

_WINDOWS_OF_A_MEMBER = 128
_DRAWS = 40
_NFE = 8
_TRUST, _TO_IDENTITY = 0.6, 3.0


def fit_recalibration(
    model: ForecastModel,
    tokens: WindowTokens,
    inputs: Floats,
    generator: torch.Generator,
) -> Recalibration:
    """Fit the map for a model that has been trained.

    Parameters
    ----------
    model : ForecastModel
    tokens : WindowTokens
        What the network was trained on.
    inputs : ndarray of shape (windows, inputs)
        The standardised inputs of the tokens.
    generator : torch.Generator
        Draws noise and chooses windows; on the CPU.

    Returns
    -------
    Recalibration
        The identity where no window was held out.
    """
    forecasts = np.flatnonzero(~tokens.gaps)
    n_windows = len(forecasts) / model.horizon
    share = _TRUST * n_windows / (n_windows + _TO_IDENTITY)
    if model.network is None:
        residuals = tokens.residual[forecasts, model.n_context :]
        quantiles = norm.ppf(LEVELS).reshape(-1, 1, 1)
        return Recalibration.fit(quantiles, residuals, share)
    found = held_out_quantiles(model, tokens, inputs, generator)
    return Recalibration() if found is None else Recalibration.fit(*found, share)


def held_out_quantiles(
    model: ForecastModel, tokens: WindowTokens, inputs: Floats, generator: torch.Generator
) -> tuple[Floats, Floats] | None:
    """Return quantiles of draws by members that have not seen the window, and what was observed.

    Returns
    -------
    tuple of ndarray of shape (levels, members, windows, horizon) and (members, windows, horizon), or None
        None where no block of time could be kept back.
    """
    network = model.network
    assert network is not None
    places = _places(tokens, network.n_members, generator)
    if places is None:
        return None
    device = next(network.parameters()).device
    n_members, count = places.shape
    given = torch.from_numpy(inputs[places]).float().to(device)
    unknown = torch.from_numpy(tokens.unknown[places]).to(device).repeat_interleave(_DRAWS, dim=1)
    with torch.inference_mode():
        encoded = network.perceptron.encode(given).repeat(_DRAWS)
    noise = _noise(model, (n_members, count), generator).to(device)
    drawn = plain_run(
        window_denoiser(network), flow_grid(_NFE), State(noise), WindowCondition(encoded, unknown)
    )
    draws = drawn[..., model.n_context :].cpu().double().numpy()
    draws = draws.reshape(n_members, count, _DRAWS, model.horizon)
    quantiles = np.quantile(draws, LEVELS, axis=2, method="weibull")
    return quantiles, tokens.residual[places][..., model.n_context :]


def _places(tokens: WindowTokens, n_members: int, generator: torch.Generator) -> Integers | None:
    """Return forecasting windows that each member kept back, shape (members, windows)."""
    held = kept_back(tokens, n_members)
    if held is None:
        return None
    forecasts = [places[~tokens.gaps[places]] for places in held]
    most = min(_WINDOWS_OF_A_MEMBER, *(len(places) for places in forecasts))
    if most == 0:
        return None
    chosen = [places[torch.randperm(len(places), generator=generator)[:most].numpy()] for places in forecasts]
    return np.stack(chosen)


def _noise(model: ForecastModel, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Draw noise of shape (members, windows * draws, tokens), in antithetic pairs."""
    half = model.law.forecast_noise((*shape, _DRAWS // 2), model.n_context, generator)
    both = torch.cat([half, -half], dim=2)
    return both.reshape(shape[0], shape[1] * _DRAWS, -1)
