r"""Block-causal attention: blocks one after the other, each clean before the next one is begun.

A sequence of blocks of O tokens has block numbers :math:`b(i) = \lfloor i / O \rfloor`. A token sees its own
block in both directions and those of a window of W blocks, its own one included,

.. math:: 0 \le b(\text{query}) - b(\text{key}) < W .

Clean tokens (time 0) stand in earlier blocks than the noisy ones, so they never see those, and their keys and
values depend neither on the noise nor on its level: computed once, they serve every step of every later
block. That is what a `KVRing` of :math:`(W - 1) O` tokens holds.

With a window, the kept keys of deep layers know of blocks that have left the ring (about layers times W - 1
blocks back). So the cached evaluation equals *one masked evaluation of the whole history*; a recomputation
from the window alone is something else.

Training has every block noisy and, for the blocks after it, clean. Both are one sequence
[noisy blocks | clean blocks] in which the two copies of a token share their position:

- a noisy token sees the noisy tokens of its block, and clean ones with :math:`0 < b(q) - b(k) < W`;
- a clean token sees clean ones with :math:`0 \le b(q) - b(k) < W`.

Arriola et al., *Block Diffusion: Interpolating Between Autoregressive and Diffusion Language Models*, arXiv
2503.09573 (the two copies; the window is an addition of this library).
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from sciffusion.networks.kv_ring import KVRing
from sciffusion.networks.transformer import KeyValues, ModulatedTransformer

__all__ = ["BlockCausalTransformer", "BlockPositions", "block_visible", "two_copy_visible"]

BlockPositions = Literal["offset", "fixed"]


def block_visible(query_blocks: Tensor, key_blocks: Tensor, window: int) -> Tensor:
    """Return which keys each query sees, by the numbers of their blocks.

    Parameters
    ----------
    query_blocks, key_blocks : Tensor of int64, shapes ``(queries,)`` and ``(keys,)``
        Numbers of their blocks.
    window : int
        Blocks that are seen, the query's own one included.

    Returns
    -------
    Tensor of bool, shape ``(queries, keys)``
    """
    age = query_blocks[:, None] - key_blocks
    return (age >= 0) & (age < window)


def two_copy_visible(blocks: Tensor, window: int, oldest: Tensor | None = None) -> Tensor:
    """Return who sees whom in the training sequence [noisy | clean].

    Parameters
    ----------
    blocks : Tensor of int64, shape ``(tokens,)``
        Number of each token's block, the same in both copies.
    window : int
        Blocks that are seen, the query's own one included.
    oldest : Tensor of int64, shape ``(batch,)``, optional
        Clean blocks before this one are not seen, by no token outside them: a shorter history. Clean tokens
        obey it, too; otherwise the past would leak through deep layers.

    Returns
    -------
    Tensor of bool
        Shape ``(2 tokens, 2 tokens)``, or ``(batch, 1, 2 tokens, 2 tokens)`` with ``oldest``.
    """
    own = blocks[:, None] == blocks
    seen = block_visible(blocks, blocks, window)
    if oldest is not None:
        own, seen = own.expand(len(oldest), 1, -1, -1), seen.expand(len(oldest), 1, -1, -1)
        seen = seen & ((blocks >= oldest[:, None])[:, None, None, :] | own)
    noisy = torch.cat([own, seen & ~own], dim=-1)
    clean = torch.cat([torch.zeros_like(own), seen], dim=-1)
    return torch.cat([noisy, clean], dim=-2)


class BlockCausalTransformer(nn.Module):
    """A modulated transformer over blocks of token features, of discrete or continuous tokens alike.

    Parameters
    ----------
    width, depth, n_heads : int
        See `ModulatedTransformer`.
    block : int
        Tokens in a block.
    window : int
        Blocks that a token sees, its own one included; at least 2.
    positions : {"fixed", "offset"}, default "fixed"
        Whether the tokens in a full ring are moved back to positions from 0 on whenever a block is added, or
        positions grow without end. Equal but for rounding.
    expansion, dropout
        See `ModulatedTransformer`.

    Raises
    ------
    ValueError
        For a block below 1, a window below 2 or unknown positions.
    """

    #: Training evaluates all blocks of a window at once.
    supervises_last = False

    def __init__(
        self,
        width: int,
        depth: int,
        n_heads: int,
        *,
        block: int,
        window: int,
        positions: BlockPositions = "fixed",
        expansion: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if block < 1 or window < 2:
            raise ValueError(
                f"block must be at least 1 and window, which counts a token's own block, at least 2, got "
                f"block={block}, window={window}"
            )
        if positions not in get_args(BlockPositions):
            raise ValueError(f"positions must be one of {get_args(BlockPositions)}, got {positions!r}")
        self.transformer = ModulatedTransformer(width, depth, n_heads, expansion=expansion, dropout=dropout)
        self.depth, self.n_heads, self.block, self.window = depth, n_heads, block, window
        self.positions: BlockPositions = positions

    def start_cache(self, batch: int) -> KVRing:
        """Return the empty ring of a batch, in the type and on the device of the parameters."""
        weight = self.transformer.modulation.weight
        return KVRing.empty(
            self.depth, batch, self.n_heads, (self.window - 1) * self.block, self.transformer.head_features,
            dtype=weight.dtype, device=weight.device,
        )  # fmt: skip

    def forward(self, x: Tensor, condition: Tensor, cache: KVRing | None = None) -> Tensor:
        """Evaluate blocks that follow those in the ring, or a whole history where there is none.

        Parameters
        ----------
        x : Tensor of shape ``(batch, tokens, width)``
            Features of one block or of several, the last of which may be shorter.
        condition : Tensor of shape ``(batch, tokens, width)``, or with 1 for axes
            What modulates them; that of clean tokens must say that their time is 0. Where all tokens have
            the same, 1 for their axis saves work.
        cache : KVRing, optional
            The clean blocks before them; without it ``x`` begins the sequence.

        Returns
        -------
        Tensor of shape ``(batch, tokens, width)``
        """
        positions, visible = self._places(x, cache)
        past = None if cache is None else cache.key_values
        out: Tensor = self.transformer(x, condition, positions, visible, past)
        return out

    def commit(self, x: Tensor, condition: Tensor, cache: KVRing, *, in_place: bool = False) -> KVRing:
        """Return the ring with further clean blocks; one evaluation.

        Parameters
        ----------
        x : Tensor of shape ``(batch, tokens, width)``
            Features of whole clean blocks, any number of them.
        condition : Tensor of shape ``(batch, tokens, width)``, or with 1 for axes
            What modulates them, at time 0.
        cache : KVRing
            The clean blocks before them.
        in_place : bool, default False
            Reuse the memory of ``cache``.

        Raises
        ------
        ValueError
            For a part of a block.
        """
        self._check_whole(x.shape[-2])
        positions, visible = self._places(x, cache)
        new = self.transformer.key_values(x, condition, positions, visible, cache.key_values)
        return self._kept(cache, new, in_place=in_place)

    def extend(
        self, x: Tensor, condition: Tensor, cache: KVRing, *, clean: int, settled: int
    ) -> tuple[Tensor, KVRing, KVRing]:
        """Evaluate further clean blocks and a noisy one after them at once.

        Parameters
        ----------
        x : Tensor of shape ``(batch, tokens, width)``
            Features of whole clean blocks, then of at most one block that is not kept.
        condition : Tensor of shape ``(batch, tokens, width)``, or with 1 for axes
            What modulates them; that of the clean blocks at time 0.
        cache : KVRing
            The clean blocks before them.
        clean : int
            Tokens of the clean blocks.
        settled : int
            Tokens of those among them that the first ring holds.

        Returns
        -------
        Tensor of shape ``(batch, tokens - clean, width)``
            For the noisy block.
        KVRing
            With the first ``settled`` tokens.
        KVRing
            With all clean ones.

        Raises
        ------
        ValueError
            For a part of a block.
        """
        self._check_whole(clean)
        self._check_whole(settled)
        positions, visible = self._places(x, cache)
        if x.shape[-2] == clean:
            out, new = x, self.transformer.key_values(x, condition, positions, visible, cache.key_values)
        else:
            out, new = self.transformer.with_keys(x, condition, positions, visible, cache.key_values)
        rings = [self._kept(cache, KeyValues(*(part[..., :count, :] for part in new)))
                 if count else cache for count in dict.fromkeys((settled, clean))]  # fmt: skip
        return out[..., clean:, :], rings[0], rings[-1]

    def two_copy(
        self,
        noisy: Tensor,
        clean: Tensor,
        noisy_condition: Tensor,
        clean_condition: Tensor,
        oldest: Tensor | None = None,
    ) -> Tensor:
        """Evaluate all blocks at once, each after the clean ones before it.

        Parameters
        ----------
        noisy, clean : Tensor of shape ``(batch, tokens, width)``
            Features of both copies of all blocks.
        noisy_condition, clean_condition : Tensor of shape ``(batch, tokens, width)``, or with 1 for axes
            What modulates them; the second at time 0.
        oldest : Tensor, optional
            See `two_copy_visible`.

        Returns
        -------
        Tensor of shape ``(batch, tokens, width)``
            For the noisy copy.
        """
        tokens = noisy.shape[-2]
        positions = torch.arange(tokens, device=noisy.device)
        visible = two_copy_visible(positions // self.block, self.window, oldest)
        modulation = [part.expand_as(noisy) for part in (noisy_condition, clean_condition)]
        x, condition = torch.cat([noisy, clean], -2), torch.cat(modulation, -2)
        out: Tensor = self.transformer(x, condition, positions.repeat(2), visible)
        return out[..., :tokens, :]

    def _check_whole(self, tokens: int) -> None:
        if tokens % self.block:
            raise ValueError(
                f"only whole blocks of {self.block} tokens are kept, got {tokens} tokens; give the rest "
                "as known sites of the next block"
            )

    def _kept(self, cache: KVRing, new: KeyValues, *, in_place: bool = False) -> KVRing:
        """Return the ring with further tokens, moved back where positions are fixed."""
        cache = cache.append(new, in_place=in_place)
        if self.positions == "fixed":
            # Zero until the ring is full: no branch, so that a compiled graph is the same for every block.
            beyond = (cache.next_position - cache.capacity).clamp_min(0)
            cache = cache.rotate(-beyond, in_place=in_place)
        return cache

    def _places(self, x: Tensor, cache: KVRing | None) -> tuple[Tensor, Tensor]:
        """Return the positions of tokens and whom they see, slots of the ring first."""
        positions = torch.arange(x.shape[-2], device=x.device)
        if cache is None:
            return positions, block_visible(positions // self.block, positions // self.block, self.window)
        positions = positions + cache.next_position
        own = positions // self.block
        seen = block_visible(own, cache.positions // self.block, self.window) & cache.valid
        return positions, torch.cat([seen, block_visible(own, own, self.window)], dim=-1)
