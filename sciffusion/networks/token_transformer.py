"""A transformer from noisy tokens to logits of clean ones.

Rotary positions tell differences of places only: among sites that all hold the mask none knows where it
stands. Where places matter (the first token, the end), give sites something to tell them apart, as
`sciffusion.estimators.token_network` does by an embedding of places.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sciffusion.networks.embeddings import angle_embedding
from sciffusion.networks.transformer import ModulatedTransformer

__all__ = ["TokenTransformer"]

_N_FREQUENCIES = 16


class TokenTransformer(nn.Module):
    """Bidirectional transformer over noisy tokens.

    Parameters
    ----------
    state_size : int
        Noisy tokens.
    vocab_size : int
        Clean tokens, one logit each.
    width, depth, n_heads : int
        See `ModulatedTransformer`.
    n_conditions : int, default 0
        Numbers a sequence that it is conditioned on; conditions are then float32 of shape
        ``(items, n_conditions)``, and None or NaN means that they are not given.
    use_times : bool, default True
        Whether times are told to the network; masks need none, since they show how much is noise.
    aux : sequence of str, default ()
        Names of further tokens a site, each with an embedding of its own.
    dropout : float, default 0
        See `ModulatedTransformer`.
    """

    def __init__(
        self,
        state_size: int,
        vocab_size: int,
        *,
        width: int = 128,
        depth: int = 4,
        n_heads: int = 4,
        n_conditions: int = 0,
        use_times: bool = True,
        aux: tuple[str, ...] = (),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        #: What the network is built from.
        self.sizes: dict[str, Any] = {
            "state_size": state_size, "vocab_size": vocab_size, "width": width, "depth": depth,
            "n_heads": n_heads, "n_conditions": n_conditions, "use_times": use_times, "aux": tuple(aux),
            "dropout": dropout,
        }  # fmt: skip
        self.n_conditions, self.use_times, self.aux = n_conditions, use_times, tuple(aux)
        self.embedding = nn.Embedding(state_size, width)
        self.aux_embeddings = nn.ModuleList(nn.Embedding(state_size, width) for _ in self.aux)
        self.time_embedding = nn.Sequential(
            nn.Linear(2 * _N_FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width)
        )
        # Each number comes with a flag that says whether it is given.
        self.condition_embedding = nn.Linear(2 * n_conditions, width) if n_conditions else None
        self.transformer = ModulatedTransformer(width, depth, n_heads, dropout=dropout)
        self.output = nn.Linear(width, vocab_size)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(
        self,
        tokens: Tensor,
        times: Tensor,
        condition: Tensor | None = None,
        *,
        aux: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Evaluate.

        Parameters
        ----------
        tokens : Tensor of int64, shape ``(items, sites)``
            Noisy tokens.
        times : Tensor of float, shape ``(items, sites)``
            Their times.
        condition : Tensor of shape ``(items, n_conditions)``, optional
            Numbers that are given; NaN where one is not.
        aux : mapping, optional
            The further tokens of sites, by name.

        Returns
        -------
        Tensor of shape ``(items, sites, vocab_size)``
            Logits.
        """
        x = self.embedding(tokens)
        for name, embedding in zip(self.aux, self.aux_embeddings, strict=True):
            x = x + embedding(tokens if aux is None else aux[name])
        # Without times all sites are modulated alike, which one computation tells.
        told = times if self.use_times else torch.zeros_like(times[:, :1])
        modulation = self.time_embedding(angle_embedding(told, _N_FREQUENCIES).to(x.dtype))
        if self.condition_embedding is not None:
            if condition is None:
                condition = x.new_full((len(tokens), self.n_conditions), torch.nan)
            given = ~condition.isnan()
            numbers = torch.cat([torch.where(given, condition, 0.0), given.to(x.dtype)], dim=-1)
            modulation = modulation + self.condition_embedding(numbers.to(x.dtype))[:, None]
        logits: Tensor = self.output(self.transformer(x, modulation))
        return logits
