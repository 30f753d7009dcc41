r"""A perceptron from noisy counts to what is known of the clean ones.

The columns of a table of counts have meanings of their own and no order, so the network is a residual
perceptron over the whole row. For laws of counts its output is, for column f and count k,

.. math:: \log \hat p_f(k) + \sum_j h_{fj}(x_t, t)\, b_{jk},

the log of the column's marginal law plus a few learned shapes b of counts weighted by the network: an
untrained network knows the columns, and a trained one what they say about each other.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from sciffusion.networks.embeddings import angle_embedding

__all__ = ["CountMLP"]

_N_FREQUENCIES = 8
_MOST_SHAPES = 16
_HIGHEST_LEVEL = 10.0  # multiples of a column's mean


class CountMLP(nn.Module):
    """Residual perceptron over rows of counts.

    Parameters
    ----------
    marginals : Tensor of shape ``(columns, counts)``
        Laws of the columns, positive.
    law : bool
        Whether it answers with logits of clean counts, or with positive numbers a column.
    n_conditions : int, default 0
        Numbers a row that it is conditioned on; NaN where one is not given.
    width, depth : int
        Units of a hidden layer, and residual blocks.
    dropout : float, default 0
        Share of the features of a block set to zero in training.
    """

    log_marginals: Tensor
    means: Tensor

    def __init__(
        self,
        marginals: Tensor,
        *,
        law: bool,
        n_conditions: int = 0,
        width: int = 128,
        depth: int = 3,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        columns, counts = marginals.shape
        self.law, self.n_conditions = law, n_conditions
        self.register_buffer("log_marginals", torch.log(marginals.float()))
        numbers = torch.arange(counts, dtype=torch.float64)
        self.register_buffer("means", (marginals.double() @ numbers).clamp_min(0.1).float())
        self.input = nn.Linear(3 * columns + 2 * n_conditions + 2 * _N_FREQUENCIES, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.expand = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(depth))
        self.contract = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(depth))
        self.dropout = nn.Dropout(dropout)
        shapes = min(counts, _MOST_SHAPES) if law else 1
        self.output = nn.Linear(width, columns * shapes)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)
        if law:
            waves = torch.arange(1, shapes + 1)[:, None] * math.pi * (numbers + 0.5) / counts
            self.shapes = nn.Parameter(torch.cos(waves).float())

    def forward(self, counts: Tensor, times: Tensor, condition: Tensor | None = None, **_: Any) -> Tensor:
        """Evaluate.

        Parameters
        ----------
        counts : Tensor of int64, shape ``(rows, columns)``
            Noisy counts.
        times : Tensor of float, shape ``(rows, columns)``
            Their times; at time 0 a count is known.
        condition : Tensor of shape ``(rows, n_conditions)``, optional
            Numbers that are given; NaN where one is not.

        Returns
        -------
        Tensor of shape ``(rows, columns, counts)`` or ``(rows, columns)``
            Logits, or the expected number that is missing from each count.
        """
        x, kind = counts, self.log_marginals.dtype
        level = x.to(kind) / self.means
        known = (times <= 0.0).to(kind)
        told = angle_embedding(times.amax(-1).to(kind), _N_FREQUENCIES)
        # Log likelihoods of thinned counts are linear in them; the bound is for columns of outliers.
        parts = [level.clamp_max(_HIGHEST_LEVEL), torch.log1p(x.to(kind)), known, told]
        if self.n_conditions:
            if condition is None:
                condition = level.new_full((len(x), self.n_conditions), torch.nan)
            given = ~condition.isnan()
            parts += [torch.where(given, condition, 0.0).to(kind), given.to(kind)]
        hidden = self.input(torch.cat(parts, dim=-1))
        for norm, expand, contract in zip(self.norms, self.expand, self.contract, strict=True):
            inner = nn.functional.silu(expand(norm(hidden)))
            hidden = hidden + contract(self.dropout(inner))
        found: Tensor = self.output(hidden).unflatten(-1, (x.shape[-1], -1))
        if self.law:
            return self.log_marginals + found @ self.shapes
        # Few are missing at early times: of the mean that a column has, the share t.
        return nn.functional.softplus(found[..., 0] + math.log(math.e - 1.0)) * self.means * times.to(kind)
