"""A block-causal transformer from noisy tokens to logits of clean ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from sciffusion.networks.block_causal import BlockPositions
from sciffusion.networks.block_network import BlockNetwork

__all__ = ["BlockTokenTransformer"]


class BlockTokenTransformer(BlockNetwork):
    """Block-causal transformer over noisy tokens; a block of 1 token makes it autoregressive.

    Parameters
    ----------
    state_size : int
        Noisy tokens.
    vocab_size : int
        Clean tokens, one logit each.
    block : int
        Tokens in a block.
    window : int
        Blocks that a token sees, its own one included; at least 2.
    width, depth, n_heads, positions, dropout
        See `BlockCausalTransformer`.
    n_conditions : int, default 0
        See `BlockNetwork`.
    use_times : bool, default True
        Whether times are told to the network; masks need none, since they show how much is noise.
    aux : sequence of str, default ()
        Names of further tokens a site, each with an embedding of its own; the token itself by default.
    """

    def __init__(
        self,
        state_size: int,
        vocab_size: int,
        *,
        block: int,
        window: int,
        width: int = 128,
        depth: int = 4,
        n_heads: int = 4,
        positions: BlockPositions = "fixed",
        n_conditions: int = 0,
        use_times: bool = True,
        aux: tuple[str, ...] = (),
        dropout: float = 0.0,
    ) -> None:
        super().__init__(
            width=width, depth=depth, n_heads=n_heads, block=block, window=window, positions=positions,
            n_conditions=n_conditions, use_times=use_times, dropout=dropout,
        )  # fmt: skip
        #: What the network is built from.
        self.sizes: dict[str, Any] = {
            "state_size": state_size, "vocab_size": vocab_size, "block": block, "window": window,
            "width": width, "depth": depth, "n_heads": n_heads, "positions": positions,
            "n_conditions": n_conditions, "use_times": use_times, "aux": tuple(aux), "dropout": dropout,
        }  # fmt: skip
        self.aux = tuple(aux)
        self.embedding = nn.Embedding(state_size, width)
        self.aux_embeddings = nn.ModuleList(nn.Embedding(state_size, width) for _ in self.aux)
        self.output = nn.Linear(width, vocab_size)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def features(self, x: Tensor, aux: Mapping[str, Tensor] | None) -> Tensor:
        """Embed tokens, and those of ``aux``."""
        features: Tensor = self.embedding(x)
        for name, embedding in zip(self.aux, self.aux_embeddings, strict=True):
            features = features + embedding(x if aux is None else aux[name])
        return features

    def read(self, features: Tensor) -> Tensor:
        """Return logits, ``(batch, tokens, vocab_size)``."""
        logits: Tensor = self.output(features)
        return logits
