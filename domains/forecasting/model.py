r"""The fitted forecaster without its faces: base, law of the residuals, network, and draws from them.

A draw of series i, channel c and step ahead :math:`\tau` is
:math:`y = f_\tau + g_\tau\, s_\tau\, z_\tau`: location and scale of the base, deviation of the residual law,
and a residual z that the network's flow makes from noise with covariance :math:`R \otimes R_c`. Beyond the
horizon that was trained, draws are appended to the history and forecast on, each path by itself.
"""

from __future__ import annotations

import zlib
from collections.abc import Hashable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from sciffusion.estimators.chunking import map_chunks
from sciffusion.estimators.random_state import private_generator

from .base_forecast import BaseForecaster, Series, TrainingBase
from .gap_base import GapBase
from .history import Floats, Windows
from .panel import Panel
from .recalibration import Recalibration
from .residual_draws import FlowRun, draw_residuals, plain_run
from .residual_law import ResidualLaw
from .tokens import InputScale, WindowTokens, forecast_tokens, token_count
from .window_network import WindowNetwork

__all__ = ["ForecastModel", "Prepared", "channel_residuals"]

_COPIES = 40  # of the histories at a time, roughly, while the base forecasts


@dataclass(frozen=True, eq=False)
class Prepared:
    """Windows ready to be drawn for.

    Attributes
    ----------
    location, scale : ndarray of shape (windows, horizon)
        Of the draws: value = location + scale * residual.
    tokens : WindowTokens
    inputs : ndarray of shape (windows, inputs)
        Standardised.
    """

    location: Floats
    scale: Floats
    tokens: WindowTokens
    inputs: Floats


@dataclass(frozen=True, eq=False)
class ForecastModel:
    """A fitted forecaster.

    Attributes
    ----------
    base : BaseForecaster
    law : ResidualLaw
    input_scale : InputScale
    network : WindowNetwork or None
        None where the network is off.
    lower_bound : float or None
        Draws are never below it.
    gaps : GapBase or None
        Location and scale of missing values between known ones; None where gaps were not learned.
    recalibration : Recalibration
        Of the residuals drawn.
    """

    base: BaseForecaster
    law: ResidualLaw
    input_scale: InputScale
    network: WindowNetwork | None
    lower_bound: float | None
    gaps: GapBase | None = None
    recalibration: Recalibration = field(default_factory=Recalibration)

    @property
    def horizon(self) -> int:
        """Steps ahead of one window."""
        return self.base.settings.horizon

    @property
    def n_context(self) -> int:
        """Context tokens of a window."""
        return token_count(self.base.settings)

    @property
    def gap_base(self) -> GapBase:
        """Location and scale of missing values.

        Raises
        ------
        ValueError
            If the model was fitted to forecast only.
        """
        if self.gaps is None:
            raise ValueError(
                "the model has learned no gaps, so it can neither fill them nor denoise; those of "
                "ZeroShotForecaster forecast only, fit a DiffusionForecaster to the series instead"
            )
        return self.gaps

    def prepare(self, series: Series, windows: Windows) -> Prepared:
        """Forecast with the base and make the inputs of the network."""
        forecast = self.base.forecast(series, windows)
        tokens = forecast_tokens(series, self.base.settings, windows, forecast)
        scale = forecast.scale * self.law.std
        return Prepared(forecast.location, scale, tokens, self.input_scale.apply(tokens.inputs))

    def residuals(
        self,
        prepared: Prepared,
        noise: Tensor,
        *,
        nfe: int,
        device: torch.device,
        run: FlowRun = plain_run,
    ) -> Floats:
        """Return residuals of the steps ahead, shape (windows, draws, horizon), from noise."""
        if self.network is not None:
            noise = draw_residuals(
                self.network, prepared.inputs, prepared.tokens.unknown, noise,
                nfe=nfe, device=device, run=run,
            )  # fmt: skip
        result: Floats = noise[..., self.n_context :].to(torch.float64).numpy()
        return result

    def starting_noise(self, ids: tuple[Hashable, ...], n_samples: int, seed: int) -> Tensor:
        """Draw noise of shape (series, channels, samples, tokens), in antithetic pairs.

        Each series has a stream of its own, named by its id, so that its draws do not depend on the others.
        """
        streams = [zlib.crc32(repr(name).encode()) for name in ids]
        drawn = [self._noise_of_series(n_samples, private_generator(seed, stream)) for stream in streams]
        return torch.stack(drawn)

    def _noise_of_series(self, n_samples: int, generator: torch.Generator) -> Tensor:
        half = -(-n_samples // 2)
        n_channels = len(self.law.channel_factor)
        one = self.law.forecast_noise((n_channels, half), self.n_context, generator)
        mixing = torch.from_numpy(self.law.channel_factor).to(one)
        mixed = torch.einsum("cd,dst->cst", mixing, one)
        return torch.cat([mixed, -mixed], dim=1)[:, :n_samples]

    def draw(
        self,
        panel: Panel,
        horizon: int,
        n_samples: int,
        *,
        nfe: int,
        seed: int,
        device: torch.device,
    ) -> Floats:
        """Draw paths of the steps after the end of a panel.

        Returns
        -------
        ndarray of shape (series, samples, horizon, channels)
        """
        first = self._draw_block(panel, n_samples, nfe=nfe, seed=seed, device=device)
        if horizon <= self.horizon:
            return first[:, :, :horizon]

        def rest(place: slice) -> Floats:
            some = panel.take(place)
            return self._continue(some, first[place], horizon, nfe=nfe, seed=seed + 1, device=device)

        values_of_series = n_samples * panel.n_channels * (panel.length + horizon)
        parts = map_chunks(rest, panel.n_series, _COPIES * 8 * values_of_series)
        return np.concatenate([first, np.concatenate(parts)], axis=2)

    def _draw_block(
        self,
        panel: Panel,
        n_samples: int,
        *,
        nfe: int,
        seed: int,
        device: torch.device,
        streams: tuple[Hashable, ...] | None = None,
    ) -> Floats:
        """Draw one horizon of a panel; `streams` name the noise of its series, by default their ids."""
        series = self.base.series(panel)
        prepared = self.prepare(series, series.last_windows())
        noise = self.starting_noise(panel.ids if streams is None else streams, n_samples, seed)
        flat = noise.reshape(series.n_rows, n_samples, noise.shape[-1])
        residuals = self.residuals(prepared, flat, nfe=nfe, device=device)
        values = self.values(prepared, residuals)
        shaped = values.reshape(panel.n_series, panel.n_channels, n_samples, self.horizon)
        return np.moveaxis(shaped, 1, 3)

    def values(self, prepared: Prepared, residuals: Floats) -> Floats:
        """Turn residuals of shape (windows, draws, horizon) into values."""
        drawn = prepared.location[:, None] + prepared.scale[:, None] * self.recalibration(residuals)
        return drawn if self.lower_bound is None else np.maximum(drawn, self.lower_bound)

    def _continue(
        self, panel: Panel, paths: Floats, horizon: int, *, nfe: int, seed: int, device: torch.device
    ) -> Floats:
        """Return steps ``self.horizon`` to `horizon` of paths of shape (series, samples, steps, channels)."""
        count, n_samples, done, n_channels = paths.shape
        streams = tuple((name, path) for name in panel.ids for path in range(n_samples))
        extended = _extended(panel, paths)
        found: list[Floats] = []
        while done < horizon:
            block = self._draw_block(
                extended, 1, nfe=nfe, seed=seed + done, device=device, streams=streams
            )[:, 0]  # fmt: skip
            found.append(block)
            extended = _appended(extended, block)
            done += block.shape[1]
        rest = np.concatenate(found, axis=1)[:, : horizon - paths.shape[2]]
        return rest.reshape(count, n_samples, -1, n_channels)


def _extended(panel: Panel, paths: Floats) -> Panel:
    """Return a panel with a row for each path: its series' history and name, then the path."""
    count = paths.shape[1]
    many = replace(
        panel,
        ids=tuple(name for name in panel.ids for _ in range(count)),
        values=np.repeat(panel.values, count, axis=0),
        lengths=np.repeat(panel.lengths, count),
        last_step=np.repeat(panel.last_step, count),
        past=np.repeat(panel.past, count, axis=0),
        future=np.repeat(panel.future, count, axis=0),
        static=np.repeat(panel.static, count, axis=0),
    )
    return _appended(many, paths.reshape(len(many.ids), *paths.shape[2:]))


def _appended(panel: Panel, block: Floats) -> Panel:
    """Return the panel with values of shape (series, steps, channels) after its end."""
    steps = block.shape[1]
    missing = np.full((panel.n_series, steps, panel.past.shape[2]), np.nan)
    lacking = max(steps - panel.ahead, 0)
    unknown = np.full((panel.n_series, lacking, panel.future.shape[2]), np.nan)
    return replace(
        panel,
        values=np.concatenate([panel.values, block], axis=1),
        past=np.concatenate([panel.past, missing], axis=1),
        future=np.concatenate([panel.future, unknown], axis=1),
        lengths=panel.lengths + steps,
        last_step=panel.last_step + steps,
    )


def channel_residuals(training: TrainingBase, n_channels: int) -> Floats:
    """Return residuals as (windows, channels, horizon); NaN where a channel lacks the window."""
    if n_channels == 1:
        return training.residuals[:, None]
    row, origin = training.windows.row, training.windows.origin
    moments = np.stack([row // n_channels, origin], axis=1)
    _, place = np.unique(moments, axis=0, return_inverse=True)
    result = np.full((int(place.max()) + 1, n_channels, training.residuals.shape[1]), np.nan)
    result[place.ravel(), row % n_channels] = training.residuals
    return result
