"""The network of token estimators: a transformer that also knows how far from the beginning a site is.

Rotary positions tell differences only, so that among sites whose tokens are all masks none is the first one.
What is fixed to places (the law of the first token, a motif at its distance from a start, the end) therefore
needs an embedding of each place, added to that of its token.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..networks import TokenTransformer

__all__ = ["PlacedTokenTransformer"]

_PLACE_STD = 0.3  # beside tokens, whose embeddings begin with 1


class _PlacedEmbedding(nn.Embedding):
    """The embedding of tokens plus that of their places."""

    def __init__(self, state_size: int, width: int, n_sites: int) -> None:
        super().__init__(state_size, width)
        self.places = nn.Parameter(_PLACE_STD * torch.randn(n_sites, width))

    def forward(self, tokens: Tensor) -> Tensor:
        embedded: Tensor = super().forward(tokens) + self.places[: tokens.shape[-1]]
        return embedded


class PlacedTokenTransformer(TokenTransformer):
    """A `TokenTransformer` with an embedding of places.

    Parameters
    ----------
    n_sites : int
        Longest row.
    state_size, vocab_size, **sizes
        See `TokenTransformer`.
    """

    def __init__(self, n_sites: int, state_size: int, vocab_size: int, **sizes: Any) -> None:
        super().__init__(state_size, vocab_size, **sizes)
        self.sizes["n_sites"] = n_sites
        self.embedding = _PlacedEmbedding(state_size, self.embedding.embedding_dim, n_sites)
