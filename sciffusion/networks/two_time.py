r"""A perceptron of a value, two times and a condition, for flow maps and two-time interpolants.

.. math::
   h_1 = \phi(W_x x + W_t e(t) + W_s e(s) + W_c c + b_1), \quad h_{l+1} = h_l + \phi(W_l h_l + b_l), \quad
   F = W_o h_L + b_o ,

with the angle embedding e of `sciffusion.networks.angle_embedding` and an output layer that starts at zero.
Every operation has a derivative in forward mode, as consistency training needs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sciffusion.networks.embeddings import angle_embedding
from sciffusion.networks.mlp import EnsembleLinear

__all__ = ["TwoTimeMLP"]


class TwoTimeMLP(nn.Module):
    """Perceptron ``network(x, time, other_time, condition)``; with one time, ``network(x, time, condition)``.

    Parameters
    ----------
    n_inputs : int
        Length of the last axis of the value and of the result.
    width, depth : int
        Units of a hidden layer and number of hidden layers, at least 1.
    n_times : {1, 2}, default 2
        Whether it has the second time.
    n_conditions : int, default 0
        Length of the last axis of the condition; 0 for none.
    n_frequencies : int, default 4
        Multiples of the angle in the embedding of each time.
    generator : torch.Generator
        Draws the starting weights.

    Raises
    ------
    ValueError
        For sizes below 1 or another number of times.
    """

    def __init__(
        self,
        n_inputs: int,
        *,
        width: int,
        depth: int,
        generator: torch.Generator,
        n_times: int = 2,
        n_conditions: int = 0,
        n_frequencies: int = 4,
    ) -> None:
        super().__init__()
        if min(n_inputs, width, depth, n_frequencies) < 1 or n_conditions < 0:
            raise ValueError(
                "n_inputs, width, depth and n_frequencies must be positive and n_conditions not negative, "
                f"got {n_inputs}, {width}, {depth}, {n_frequencies} and {n_conditions}"
            )
        if n_times not in (1, 2):
            raise ValueError(f"n_times must be 1 or 2, got {n_times}")
        self.n_times = n_times
        self.n_conditions = n_conditions
        self.n_frequencies = n_frequencies
        total = n_inputs + 2 * n_frequencies * n_times + n_conditions
        self.first = EnsembleLinear(1, total, width, generator)
        self.hidden = nn.ModuleList(EnsembleLinear(1, width, width, generator) for _ in range(depth - 1))
        self.last = EnsembleLinear(1, width, n_inputs)
        self.activation = nn.SiLU()

    def forward(self, x: Tensor, time: Tensor, *others: Tensor | None) -> Tensor:
        """Evaluate the network.

        Parameters
        ----------
        x : Tensor
            Shape ``(..., n_inputs)``.
        time : Tensor
            In [0, 1], of a shape that is a prefix of ``x.shape[:-1]``, or a scalar.
        *others : Tensor or None
            The other time, if the network has two, and the condition of shape ``(..., n_conditions)``; a
            condition with fewer axes is shared.

        Returns
        -------
        Tensor
            Of the shape of ``x``.
        """
        times = [time, *others[: self.n_times - 1]]
        condition = others[self.n_times - 1] if len(others) >= self.n_times else None
        parts = [x, *(self._embedded(value, x) for value in times)]
        if self.n_conditions:
            if condition is None:
                raise ValueError("this network was built with a condition; got condition=None")
            parts.append(condition.to(x.dtype).expand(*x.shape[:-1], self.n_conditions))
        rows = torch.cat(parts, dim=-1).reshape(-1, self.first.weight.shape[1])
        hidden = self.activation(self.first(rows))
        for layer in self.hidden:
            hidden = hidden + self.activation(layer(hidden))
        result: Tensor = self.last(hidden)
        return result.reshape(x.shape)

    def _embedded(self, time: Tensor | None, x: Tensor) -> Tensor:
        if time is None:
            raise ValueError("this network was built with two times; got None for the second")
        lead = x.shape[:-1]
        wide = time.reshape(time.shape + (1,) * (len(lead) - time.ndim)).expand(lead)
        return angle_embedding(wide, self.n_frequencies)
