r"""Paths as a differentiable function of white noise, and events as functions of paths.

A draw of the forecaster is a deterministic function of its starting noise: white noise w of shape
(channels, horizon) is given the correlation of the residuals, :math:`\varepsilon = L_c w L^\top`, the flow of
the network turns :math:`\varepsilon` into residuals z, and the path is :math:`y = f + g s z`, clipped where
the forecaster clips. So the law of the paths is that of :math:`G(w)` for standard normal w, exactly the law
that `sample` draws from, and the probability of an event of paths is a Gaussian integral,

.. math:: P(E) = \int 1[G(w) \in E]\; N(w; 0, I)\, dw .
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from sciffusion.sampling import State
from sciffusion.sampling.guidance.events import Event, as_events
from sciffusion.sampling.guidance.linearisation import as_columns, in_double

from .model import ForecastModel
from .panel import Panel
from .residual_draws import flow_grid, plain_run
from .window_network import WindowCondition, window_denoiser

__all__ = ["PathEvents", "WhiteFlow"]


class WhiteFlow:
    """The map from white noise to the paths that follow the ends of some series.

    Parameters
    ----------
    model : ForecastModel
    panel : Panel
        The series.
    nfe : int
        Network evaluations of the flow.
    device : torch.device
        Where to compute.
    """

    def __init__(self, model: ForecastModel, panel: Panel, *, nfe: int, device: torch.device) -> None:
        series = model.base.series(panel)
        prepared = model.prepare(series, series.last_windows())
        self._model, self._nfe, self._device = model, nfe, device
        self.n_series, self.n_channels, self.horizon = panel.n_series, panel.n_channels, model.horizon

        def cube(values: Any) -> Tensor:
            whole = torch.from_numpy(np.asarray(values)).reshape(self.n_series, self.n_channels, 1, -1)
            return whole.to(device) if device.type != "mps" else whole.float().to(device)

        self._location, self._scale = cube(prepared.location), cube(prepared.scale)
        self._inputs = torch.from_numpy(prepared.inputs).float().to(device)
        self._unknown = torch.from_numpy(prepared.tokens.unknown).to(device)
        self._factor = torch.from_numpy(model.law.factor).float().to(device)
        self._mixing = torch.from_numpy(model.law.channel_factor).float().to(device)

    @property
    def dim(self) -> int:
        """Numbers of white noise behind one path."""
        return self.n_channels * self.horizon

    @property
    def floats_per_path(self) -> int:
        """How many numbers one path occupies while it is computed, roughly."""
        network = self._model.network
        if network is None:
            return 4 * self.dim
        width = int(network.perceptron.output.weight.shape[1])
        return self.n_channels * network.n_members * (3 * width + 5 * network.n_tokens)

    def paths(self, white: Tensor, place: slice = slice(None)) -> Tensor:
        """Return paths for white noise.

        Parameters
        ----------
        white : Tensor of shape (series, draws, dim)
            Any type; gradients flow back to it.
        place : slice
            Which series.

        Returns
        -------
        Tensor of shape (series, draws, horizon, channels), float64 where the device knows it
        """
        count, draws, _ = white.shape
        cube = white.to(self._device, torch.float32).reshape(count, draws, self.n_channels, self.horizon)
        noise = torch.einsum("cd,sndh->scnh", self._mixing, cube) @ self._factor.T
        residual = self._model.recalibration(in_double(self._residuals(noise, place)))
        values = self._location[place] + self._scale[place] * residual
        bound = self._model.lower_bound
        values = values if bound is None else values.clamp_min(bound)
        return values.permute(0, 2, 3, 1)

    def _residuals(self, noise: Tensor, place: slice) -> Tensor:
        """Run the flow for noise of shape (series, channels, draws, horizon)."""
        network = self._model.network
        if network is None:
            return noise
        network = network.to(self._device).eval()
        rows = slice(*(part * self.n_channels for part in place.indices(self.n_series)[:2]))
        given = WindowCondition(self._inputs[rows], self._unknown[rows])
        with torch.no_grad():
            condition = network.encode(given, noise.shape[2])
        start = noise.reshape(-1, self.horizon)
        context = start.new_zeros(len(start), self._model.n_context)  # known tokens hold no noise
        state = State(torch.cat([context, start], dim=-1))
        drawn = plain_run(
            window_denoiser(network), flow_grid(self._nfe), state, condition, inference_mode=False
        )
        return drawn[:, self._model.n_context :].reshape(noise.shape)


@dataclass(frozen=True, eq=False)
class PathEvents:
    """Events of paths that are all to hold.

    Attributes
    ----------
    parts : tuple of Event
    values : tuple of Tensor of shape (series,)
        Right-hand side of each for each series.
    horizon : int
        Steps ahead that the functions see.
    squeezed : bool
        Leave the axis of the channels away, as there is one.
    """

    parts: tuple[Event, ...]
    values: tuple[Tensor, ...]
    horizon: int
    squeezed: bool

    @classmethod
    def read(cls, name: str, given: Any, panel: Panel, horizon: int) -> PathEvents:
        """Read what a user gave.

        Parameters
        ----------
        name : str
            Of the argument.
        given : tuple, Event or sequence of them
            ``(function, relation, value[, noise])``; the value a number, one a series, or a mapping (or
            Series) from the names of the series.
        panel : Panel
        horizon : int

        Raises
        ------
        TypeError, ValueError
            If it is nothing of the kind.
        """
        single = isinstance(given, tuple) and len(given) > 1 and isinstance(given[1], str)
        listed = list(given) if isinstance(given, list | tuple) and not single else [given]
        parts = as_events([_named_values_as_array(name, part, panel) for part in listed])
        values = tuple(_value_of_series(name, part, panel) for part in parts)
        return cls(parts, values, horizon, panel.n_channels == 1)

    def check_likelihood(self) -> None:
        """Refuse equalities without noise, which have probability 0.

        Raises
        ------
        ValueError
            Telling the remedy.
        """
        if any(part.sign == 0.0 and part.noise_std == 0.0 for part in self.parts):
            raise ValueError(
                "an equality without noise has probability 0; give the tolerance as its noise: "
                "(function, '==', value, noise)"
            )

    def columns(self, gaps: Tensor) -> tuple[Tensor, Tensor]:
        """Return sign and noise of each column of `gaps`, shape (columns,) each."""
        width = gaps.shape[-1] // len(self.parts)
        if width * len(self.parts) != gaps.shape[-1]:
            raise ValueError("all functions of the events must return equally many values a path")
        signs = [part.sign for part in self.parts for _ in range(width)]
        noise = [part.noise_std for part in self.parts for _ in range(width)]
        return gaps.new_tensor(signs), gaps.new_tensor(noise)

    def gaps(self, paths: Tensor, place: slice = slice(None)) -> Tensor:
        """Return function minus value for each event.

        Parameters
        ----------
        paths : Tensor of shape (series, draws, steps, channels)
        place : slice
            Which series.

        Returns
        -------
        Tensor of shape (series, draws, columns)
        """
        count, draws = paths.shape[:2]
        seen = paths[:, :, : self.horizon]
        flat = (seen[..., 0] if self.squeezed else seen).reshape(count * draws, *seen.shape[2:-1], *(
            () if self.squeezed else seen.shape[-1:]))  # fmt: skip
        found = []
        for part, value in zip(self.parts, self.values, strict=True):
            columns = as_columns(part.function(flat), flat, "the function of an event")
            own = in_double(columns).reshape(count, draws, -1)
            found.append(own - value[place, None, None].to(own))
        return torch.cat(found, dim=-1)

    def log_likelihood(self, gaps: Tensor) -> Tensor:
        """Return the log probability (density, for equalities) of the events given `gaps`.

        Without noise it is 0 or minus infinity.

        Returns
        -------
        Tensor of shape (series, draws)
        """
        signs, noise = self.columns(gaps)
        width = noise.clamp_min(torch.finfo(gaps.dtype).tiny)
        margin = signs * gaps
        hard = torch.where(margin >= 0.0, 0.0, -torch.inf)
        soft = torch.special.log_ndtr(margin / width)
        equal = -0.5 * (gaps / width) ** 2 - torch.log(width * (2.0 * torch.pi) ** 0.5)
        chosen = torch.where(signs == 0.0, equal, torch.where(noise > 0.0, soft, hard))
        return chosen.sum(-1)


def _named_values_as_array(name: str, part: Any, panel: Panel) -> Any:
    """Replace a mapping from the names of series by an array in their order."""
    if not (isinstance(part, tuple) and len(part) in (3, 4)):
        return part
    given = part[2].to_dict() if isinstance(part[2], pd.Series) else part[2]
    if not isinstance(given, Mapping):
        return part
    missing = [one for one in panel.ids if one not in given]
    if missing:
        raise ValueError(f"{name} has no value for the series {missing[:5]}")
    return (*part[:2], np.array([given[one] for one in panel.ids], dtype=np.float64), *part[3:])


def _value_of_series(name: str, part: Event, panel: Panel) -> Tensor:
    value = torch.as_tensor(part.value, dtype=torch.float64).detach().cpu()
    if value.shape not in ((), (panel.n_series,)):
        raise ValueError(
            f"{name}: a value must be a number or hold one a series, {panel.n_series} here, got shape "
            f"{tuple(value.shape)}"
        )
    return value.expand(panel.n_series)
