"""Tokens that know where in the string they stand.

The attention of `TokenTransformer` depends on differences of positions alone. Among tokens that are all noise
alike, such as masks, it then sees the same at every site, and neither beginnings nor lengths of strings can be
learned. Sinusoids of the position, added to the embedding, tell the sites apart; they have no parameters.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sciffusion.networks import sinusoidal_embedding

__all__ = ["PositionedEmbedding"]


class PositionedEmbedding(nn.Embedding):
    """An embedding of tokens to which that of their positions is added.

    Parameters
    ----------
    embedding : Embedding
        Whose weights are taken over.
    """

    def __init__(self, embedding: nn.Embedding) -> None:
        super().__init__(embedding.num_embeddings, embedding.embedding_dim, _weight=embedding.weight.detach())

    @classmethod
    def put_into(cls, network: nn.Module) -> None:
        """Replace the embedding of a network, once."""
        found = network.embedding
        if isinstance(found, nn.Embedding) and not isinstance(found, cls):
            network.embedding = cls(found)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return features of shape ``(..., sites, width)``."""
        places = torch.arange(tokens.shape[-1], device=tokens.device, dtype=self.weight.dtype)
        return super().forward(tokens) + sinusoidal_embedding(places, self.embedding_dim, 1e3)
