r"""Multilayer perceptrons evaluated for a whole ensemble at once.

All parameters carry a leading member axis, so that M small networks cost one batched matrix product instead
of M calls.  `ConditionalMLP` is

.. math::
   h_1 = \phi(W_x x + W_t e(t) + W_c c + b_1), \quad h_{l+1} = \phi(W_l h_l + b_l), \quad
   F = W_o h_L + b_o + s(t)\, V c,

with the output layer and the linear path :math:`V` starting at zero: a network that has learned nothing
returns 0.  The part that depends on the condition alone, :math:`W_c c` and :math:`V c`, is computed once by
`ConditionalMLP.encode` and reused at every noise level and for every draw.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sciffusion.networks.embeddings import angle_embedding

__all__ = ["ConditionalMLP", "EncodedCondition", "EnsembleLinear"]


class EnsembleLinear(nn.Module):
    """One linear map a member: ``(members, rows, inputs) -> (members, rows, outputs)``.

    Parameters
    ----------
    n_members, n_inputs, n_outputs : int
        Sizes.
    generator : torch.Generator, optional
        Draws the weights, with standard deviation ``n_inputs ** -0.5``; None starts them at zero.
    bias : bool, default True
        Add an offset, which starts at zero.
    """

    def __init__(
        self,
        n_members: int,
        n_inputs: int,
        n_outputs: int,
        generator: torch.Generator | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        shape = (n_members, n_inputs, n_outputs)
        weight = torch.zeros(shape, dtype=torch.float32)
        if generator is not None:
            weight = torch.randn(shape, generator=generator, dtype=torch.float32) / math.sqrt(
                max(n_inputs, 1)
            )
        self.weight = nn.Parameter(weight)
        offset = torch.zeros(n_members, 1, n_outputs, dtype=torch.float32)
        self.bias = nn.Parameter(offset) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` of shape ``(members or 1, rows, inputs)``."""
        product = torch.matmul(x, self.weight)
        return product if self.bias is None else product + self.bias


class EncodedCondition(NamedTuple):
    """What a `ConditionalMLP` computes of its condition: additions to the first layer and to the output."""

    hidden: Tensor
    linear: Tensor

    def repeat(self, count: int) -> EncodedCondition:
        """Return it with every row repeated ``count`` times in a row."""
        return EncodedCondition(*(part.repeat_interleave(count, dim=-2) for part in self))

    def rows(self, start: int, stop: int) -> EncodedCondition:
        """Return a range of rows."""
        return EncodedCondition(*(part[..., start:stop, :] for part in self))


class ConditionalMLP(nn.Module):
    r"""Ensemble of perceptrons of a value, a diffusion time and a condition.

    Parameters
    ----------
    n_members : int
        Networks side by side.
    n_inputs, n_conditions, n_outputs : int
        Sizes of the value, the condition and the result; a network with no inputs is one of the condition
        alone.
    width, depth : int
        Units of each hidden layer and number of hidden layers.
    dropout : float, default 0
        Share of hidden units set to zero in training.
    n_frequencies : int, default 4
        Of the time embedding; 0 for a network without a diffusion time.
    generator : torch.Generator
        Draws the starting weights.

    Notes
    -----
    The linear path enters with :math:`s(t) = -\sin(\pi t / 2)`.  On the trigonometric path with prediction
    "v", whose clean estimate is :math:`\cos\theta\, x - \sin\theta\, F`, a network with only this path is the
    exact denoiser of Gaussian data :math:`N(Vc, 1)`: the estimate is
    :math:`\cos\theta\, x + \sin^2\!\theta\, Vc`.  Without a diffusion time it is :math:`s = 1`.
    """

    def __init__(
        self,
        n_members: int,
        n_inputs: int,
        n_conditions: int,
        n_outputs: int,
        *,
        width: int,
        depth: int,
        generator: torch.Generator,
        dropout: float = 0.0,
        n_frequencies: int = 4,
    ) -> None:
        super().__init__()
        self.n_frequencies = n_frequencies
        self.from_value = (
            EnsembleLinear(n_members, n_inputs, width, generator, bias=False) if n_inputs else None
        )
        self.from_condition = EnsembleLinear(n_members, n_conditions, width, generator)
        self.from_time = (
            EnsembleLinear(n_members, 2 * n_frequencies, width, generator, bias=False)
            if n_frequencies
            else None
        )
        self.hidden = nn.ModuleList(
            EnsembleLinear(n_members, width, width, generator) for _ in range(depth - 1)
        )
        self.output = EnsembleLinear(n_members, width, n_outputs)
        self.linear = EnsembleLinear(n_members, n_conditions, n_outputs, bias=False)
        self.activation = nn.SiLU()
        self.dropout = nn.Dropout(dropout)

    def encode(self, condition: Tensor) -> EncodedCondition:
        """Compute what depends on the condition alone.

        Parameters
        ----------
        condition : Tensor
            Shape ``(rows, n_conditions)``, shared by the members, or ``(members, rows, n_conditions)``.
        """
        return EncodedCondition(self.from_condition(condition), self.linear(condition))

    def forward(self, x: Tensor | None, time: Tensor | None, condition: Tensor | EncodedCondition) -> Tensor:
        """Evaluate every member.

        Parameters
        ----------
        x : Tensor, optional
            Shape ``(members, rows, n_inputs)``; None for a network without a value.
        time : Tensor, optional
            Times in [0, 1], a scalar or of shape ``(members or 1, rows)``.
        condition : Tensor or EncodedCondition
            As for `encode`, or its result.

        Returns
        -------
        Tensor
            Shape ``(members, rows, n_outputs)``.
        """
        encoded = condition if isinstance(condition, EncodedCondition) else self.encode(condition)
        hidden, linear = encoded
        if self.from_value is not None:
            hidden = hidden + self.from_value(x)
        if self.from_time is not None:
            if time is None:
                raise ValueError("this network was built with a diffusion time; got time=None")
            embedded = angle_embedding(time, self.n_frequencies)
            # A shared time is embedded once, whatever the number of rows.
            rows = embedded.reshape(1, 1, -1) if embedded.ndim == 1 else embedded
            hidden = hidden + self.from_time(rows)
            linear = -rows[..., :1] * linear
        hidden = self.dropout(self.activation(hidden))
        for layer in self.hidden:
            hidden = self.dropout(self.activation(layer(hidden)))
        result: Tensor = self.output(hidden)
        return result + linear
