r"""The networks of `DynamicsDiffusion`: stacked states in, stacked states out.

All of them have one *body* that maps a stack of states (past, noisy or interpolated ones) and a few features
of the item to another stack: a residual perceptron of all coordinates for state vectors, circular
convolutions (`sciffusion.networks.conv1d`) for fields on a circle. Around it, with :math:`u = s/h`,

================ ====================================================================================
`Interpolator`   :math:`(1-u)\,x_0 + u\,x_h + 4u(1-u)\,B(\text{past}, x_h; u)`
`Forecaster`     :math:`x_s + B(\text{past}, x_s; u)`
`WindowNetwork`  the EDM network of a window of frames at times of their own
================ ====================================================================================

The body starts at 0: an interpolator that has learnt nothing is linear and exact at both ends, a forecaster
is persistence. The factor 4u(1-u) keeps both ends exact also afterwards, so that interpolation between times
seen in training, as the extra steps of DYffusion need it, cannot go far astray (a construction of this
library).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from sciffusion.networks import angle_embedding
from sciffusion.networks.conv1d import PeriodicConvNet, dropped, linear_layer

__all__ = ["Forecaster", "Interpolator", "StackPerceptron", "WindowNetwork"]

_TIME_FREQUENCIES = 4
_LEVEL_FREQUENCIES = 2


class StackPerceptron(nn.Module):
    """Residual perceptron of all coordinates of a stack of vectors; parameters as for `PeriodicConvNet`."""

    def __init__(
        self,
        n_inputs: int,
        n_outputs: int,
        n_features: int,
        *,
        n_points: int,
        width: int,
        depth: int,
        generator: torch.Generator,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.shape = (n_outputs, n_points)
        self.dropout = dropout
        self.activation = nn.SiLU()
        self.first = linear_layer(n_inputs * n_points + n_features, width, generator)
        self.hidden = nn.ModuleList(linear_layer(width, width, generator) for _ in range(depth - 1))
        self.last = linear_layer(width, n_outputs * n_points)

    def forward(self, x: Tensor, features: Tensor, noise: torch.Generator | None = None) -> Tensor:
        """Evaluate (see `PeriodicConvNet.forward`)."""
        hidden = self.activation(self.first(torch.cat([x.flatten(1), features], dim=1)))
        hidden = dropped(hidden, self.dropout, noise)
        for layer in self.hidden:
            hidden = hidden + dropped(self.activation(layer(hidden)), self.dropout, noise)
        result: Tensor = self.last(hidden)
        return result.reshape(-1, *self.shape)


def _body(periodic: bool, *sizes: int, **options: Any) -> nn.Module:
    return PeriodicConvNet(*sizes, **options) if periodic else StackPerceptron(*sizes, **options)


def _per_row(share: Tensor | float, x: Tensor) -> Tensor:
    """Return one number a row, of shape (batch,)."""
    return torch.as_tensor(share, dtype=x.dtype, device=x.device).expand(x.shape[0])


class Interpolator(nn.Module):
    """States between the past and a later state; dropout is its only randomness.

    Parameters
    ----------
    context : int
        Number of past states that it sees; the last of them is the beginning.
    periodic : bool
        Convolutions on a circle instead of a perceptron.
    n_points, width, depth, dropout, generator
        As for `PeriodicConvNet`.
    """

    def __init__(self, context: int, periodic: bool, **options: Any) -> None:
        super().__init__()
        self.body = _body(periodic, context + 1, 1, 2 * _TIME_FREQUENCIES, **options)

    def forward(
        self, past: Tensor, end: Tensor, share: Tensor | float, noise: torch.Generator | None = None
    ) -> Tensor:
        """Interpolate.

        Parameters
        ----------
        past : Tensor
            Shape ``(batch, context, dim)``.
        end : Tensor
            The later state, shape ``(batch, dim)``.
        share : Tensor or float
            Elapsed share u of the time between them, in [0, 1]; one number or one a row.
        noise : torch.Generator, optional
            Source of dropout.

        Returns
        -------
        Tensor
            Shape ``(batch, dim)``.
        """
        u = _per_row(share, end)
        change = self.body(torch.cat([past, end[:, None]], 1), angle_embedding(u, _TIME_FREQUENCIES), noise)
        u = u[:, None]
        result: Tensor = (1.0 - u) * past[:, -1] + u * end + 4.0 * u * (1.0 - u) * change[:, 0]
        return result


class Forecaster(nn.Module):
    """The state at the end of the horizon, from one on the way and the past; parameters as `Interpolator`."""

    def __init__(self, context: int, periodic: bool, **options: Any) -> None:
        super().__init__()
        self.body = _body(periodic, context + 1, 1, 2 * _TIME_FREQUENCIES, **options)

    def forward(self, past: Tensor, state: Tensor, share: Tensor | float) -> Tensor:
        """Forecast from ``state`` of shape ``(batch, dim)``, where a share u of the horizon has elapsed."""
        features = angle_embedding(_per_row(share, state), _TIME_FREQUENCIES)
        change = self.body(torch.cat([past, state[:, None]], 1), features)
        result: Tensor = state + change[:, 0]
        return result


class WindowNetwork(nn.Module):
    """Network of a window of noisy frames after clean ones, for `NetworkDenoiser`.

    Parameters
    ----------
    context, window : int
        Clean frames, and frames after them.
    periodic : bool
        As for `Interpolator`.
    n_points, width, depth, generator
        As for `PeriodicConvNet`.
    """

    def __init__(self, context: int, window: int, periodic: bool, **options: Any) -> None:
        super().__init__()
        self.context, self.window = context, window
        n_features = 2 * _LEVEL_FREQUENCIES * window
        self.body = _body(periodic, context + window, window, n_features, **options)

    def forward(self, x: Tensor, level: Tensor, condition: Any = None) -> Tensor:
        """Evaluate.

        Parameters
        ----------
        x : Tensor
            Preconditioned frames, shape ``(batch, context + window, dim)``.
        level : Tensor
            Minus a quarter of the log signal-to-noise ratio of every frame, shape ``(batch or 1, frames)``.
        condition : object
            Not used.

        Returns
        -------
        Tensor
            Of the shape of ``x``, 0 at the clean frames, whose estimate is themselves.
        """
        angle = torch.atan(torch.exp(4.0 * level[:, self.context :])) / (0.5 * math.pi)
        features = angle_embedding(angle, _LEVEL_FREQUENCIES).flatten(1).expand(x.shape[0], -1)
        result: Tensor = self.body(x, features)
        return torch.cat([torch.zeros_like(x[:, : self.context]), result], dim=1)
