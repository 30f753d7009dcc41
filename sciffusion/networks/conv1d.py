r"""Convolutions on a circle, for fields whose last point is next to the first.

With stacked input fields :math:`x` (one an input channel) and features :math:`c` of the item (times, noise
levels) the network is

.. math::
   h_1 = W_x * x, \quad h_{l+1} = h_l + V_l *\, \phi\bigl((1 + a_l(c))\, U_l * \phi(h_l) + b_l(c)\bigr), \quad
   F = W_o * \phi(h_L),

where :math:`*` is a circular convolution: shifting the input shifts the output. Dilations 1, 2, 4, ... let
few blocks see the whole circle. :math:`W_o` and the modulation :math:`a, b` start at zero, so a network that
has learnt nothing returns 0.

Dropout takes its random numbers from a generator that the caller passes, so that it can stay on after
training; it removes whole channels, which keeps the law of the output the same at every point.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["CircularConvolution", "PeriodicConvNet", "dropped", "linear_layer"]


def dropped(x: Tensor, share: float, noise: torch.Generator | None) -> Tensor:
    """Set a share of the entries ``x[b, c]`` to zero (all that follows on further axes with them).

    Parameters
    ----------
    x : Tensor
        Shape ``(batch, channels, ...)``.
    share : float in [0, 1)
        Probability of an entry to be dropped; what is kept grows by ``1 / (1 - share)``.
    noise : torch.Generator or None
        Source of randomness, on any device; None keeps everything.
    """
    if noise is None or share == 0.0:
        return x
    drawn = torch.rand(x.shape[:2], generator=noise, device=noise.device).to(x.device)
    kept = (drawn >= share).to(x.dtype) / (1.0 - share)
    return x * kept.reshape(kept.shape + (1,) * (x.ndim - 2))


def linear_layer(n_inputs: int, n_outputs: int, generator: torch.Generator | None = None) -> nn.Linear:
    """Return a linear layer whose weights come from a generator, or start at zero without one."""
    layer = nn.Linear(n_inputs, n_outputs)
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.zero_()
        if generator is not None:
            layer.weight.normal_(0.0, 1.0 / math.sqrt(max(n_inputs, 1)), generator=generator)
    return layer


class CircularConvolution(nn.Module):
    """Convolution over the last axis, a circle: ``(batch, inputs, points)`` to ``(batch, outputs, points)``.

    Parameters
    ----------
    n_inputs, n_outputs : int
        Channels.
    kernel_size : int
        Odd number of points under the kernel.
    dilation : int, default 1
        Distance between them.
    generator : torch.Generator, optional
        Draws the weights, with standard deviation ``(n_inputs * kernel_size) ** -0.5``; None starts at zero.

    Raises
    ------
    ValueError
        For an even kernel; in `forward` for a kernel that is wider than twice the circle.
    """

    def __init__(
        self,
        n_inputs: int,
        n_outputs: int,
        kernel_size: int,
        *,
        dilation: int = 1,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd and positive, got {kernel_size}")
        self.dilation = dilation
        self.reach = dilation * (kernel_size // 2)
        shape = (n_outputs, n_inputs, kernel_size)
        weight = torch.zeros(shape, dtype=torch.float32)
        if generator is not None:
            drawn = torch.randn(shape, generator=generator, dtype=torch.float32)
            weight = drawn / math.sqrt(n_inputs * kernel_size)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(n_outputs, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``x`` of shape ``(batch, inputs, points)``."""
        if self.reach > x.shape[-1]:
            raise ValueError(
                f"a circle of {x.shape[-1]} points is too small for a kernel that reaches {self.reach} points"
            )
        wrapped = nn.functional.pad(x, (self.reach, self.reach), mode="circular") if self.reach else x
        return nn.functional.conv1d(wrapped, self.weight, self.bias, dilation=self.dilation)


class PeriodicConvNet(nn.Module):
    """Residual network of circular convolutions, modulated by features of the item.

    Parameters
    ----------
    n_inputs, n_outputs : int
        Fields that go in and come out.
    n_features : int
        Length of the vector of features.
    n_points : int
        Points of the circle; dilations double from block to block as long as kernels fit it, then begin anew.
    width, depth : int
        Channels inside, and number of blocks.
    kernel_size : int, default 5
        Odd.
    dropout : float in [0, 1), default 0
        Share of channels dropped in each block where a generator is passed.
    generator : torch.Generator
        Draws the starting weights.
    """

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
        kernel_size: int = 5,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"dropout must lie in [0, 1), got {dropout}")
        levels = max(int(math.log2(max(n_points // kernel_size, 1))), 0) + 1
        dilations = [2 ** (block % levels) for block in range(depth)]
        self.dropout = dropout
        self.activation = nn.SiLU()
        self.first = CircularConvolution(n_inputs, width, kernel_size, generator=generator)
        self.inner = nn.ModuleList(
            CircularConvolution(width, width, kernel_size, dilation=dilation, generator=generator)
            for dilation in dilations
        )
        self.outer = nn.ModuleList(
            CircularConvolution(width, width, 1, generator=generator) for _ in dilations
        )
        self.embedding = linear_layer(n_features, width, generator)
        self.modulation = nn.ModuleList(linear_layer(width, 2 * width) for _ in dilations)
        self.last = CircularConvolution(width, n_outputs, 1)

    def forward(self, x: Tensor, features: Tensor, noise: torch.Generator | None = None) -> Tensor:
        """Evaluate.

        Parameters
        ----------
        x : Tensor
            Shape ``(batch, n_inputs, n_points)``.
        features : Tensor
            Shape ``(batch, n_features)``.
        noise : torch.Generator, optional
            Source of dropout; None for none.

        Returns
        -------
        Tensor
            Shape ``(batch, n_outputs, n_points)``.
        """
        hidden = self.first(x)
        embedded = self.activation(self.embedding(features))
        for inner, outer, modulation in zip(self.inner, self.outer, self.modulation, strict=True):
            scale, shift = modulation(embedded)[..., None].chunk(2, dim=1)
            update = (1.0 + scale) * inner(self.activation(hidden)) + shift
            hidden = hidden + outer(dropped(self.activation(update), self.dropout, noise))
        result: Tensor = self.last(self.activation(hidden))
        return result
