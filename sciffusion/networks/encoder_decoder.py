r"""Encoder-decoder attention: the clean blocks before a target are read in both directions, anew for each.

With blocks of O tokens and a window of W blocks, the target's own one included, a target block comes after a
context of at most :math:`S = (W - 1) O` clean tokens:

.. math:: \text{seen}(q, k) \iff k \text{ in the context, or } q \text{ in the target.}

Context tokens have time 0 and never see the target, so their keys and values depend neither on its noise nor
on its level: computed once, they serve every step of the block. Unlike those of block-causal attention
(`block_causal`) they change when the context moves on by a block, since every token of it sees all others;
what is kept between blocks are the tokens themselves (`ContextCache`). A block of K steps costs one
evaluation of S tokens and K of O tokens; nothing from before the window has any influence.

Novack et al., *Live Music Diffusion Models*, arXiv 2605.22717 (encoder-decoder variant).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn

from sciffusion.networks.transformer import KeyValues, ModulatedTransformer

__all__ = ["ContextCache", "EncoderDecoderTransformer", "context_visible"]


def context_visible(valid: Tensor, target: int) -> Tensor:
    """Return who sees whom in [context | target].

    Parameters
    ----------
    valid : Tensor of bool, shape ``(..., context)``
        Slots of the context that hold a token; the others are seen by themselves alone.
    target : int
        Tokens of the target.

    Returns
    -------
    Tensor of bool, shape ``(..., context + target, context + target)``
    """
    context = valid.shape[-1]
    places = torch.arange(context + target, device=valid.device)
    is_target = places >= context
    seen = torch.cat([valid, valid.new_ones(*valid.shape[:-1], target)], dim=-1)[..., None, :]
    return (seen & (~is_target | is_target[:, None])) | (places == places[:, None])


@dataclass(frozen=True, eq=False)
class ContextCache:
    """The clean tokens before a target, and their keys and values; made by `EncoderDecoderTransformer`.

    Tokens stand at the end, so that shapes are constant however many there are.

    Parameters
    ----------
    features, modulation : Tensor of shape ``(batch, context, width)``
        What the transformer is given of each token. A batch of 1 serves any number of items.
    keys, values : Tensor of shape ``(layers, batch, heads, context, features)``
        As the target attends to them; NaN where they were not computed because more tokens follow first.
    count : Tensor of int64, shape ``()``
        Tokens that there are.
    """

    features: Tensor
    modulation: Tensor
    keys: Tensor
    values: Tensor
    count: Tensor

    @property
    def batch(self) -> int:
        """Number of items."""
        return self.features.shape[0]

    @property
    def capacity(self) -> int:
        """Number of slots."""
        return self.features.shape[1]

    @property
    def valid(self) -> Tensor:
        """Slots that hold a token, bool of shape ``(context,)``."""
        return torch.arange(self.capacity, device=self.count.device) >= self.capacity - self.count

    @property
    def key_values(self) -> KeyValues:
        """Keys and values of all slots; what `valid` rules out must not be attended to."""
        return KeyValues(self.keys, self.values)

    def followed(self, features: Tensor, modulation: Tensor) -> ContextCache:
        """Return the last tokens of these and of further ones, without keys and values."""
        parts = []
        for kept, new in ((self.features, features), (self.modulation, modulation)):
            new = new.expand_as(features).to(kept.dtype)
            old = kept.expand(len(new), -1, -1)[:, new.shape[1] :]
            parts.append(torch.cat([old, new[:, -self.capacity :]], dim=1))
        shape = (self.keys.shape[0], len(features), *self.keys.shape[2:])
        unknown = self.keys.new_full(shape, torch.nan)
        count = (self.count + features.shape[1]).clamp_max(self.capacity)
        return ContextCache(parts[0], parts[1], unknown, unknown, count)

    def take_items(self, indices: Tensor) -> ContextCache:
        """Return the cache of the items at ``indices``; one that all items share stays as it is."""
        if self.batch == 1:
            return self
        indices = indices.to(self.features.device)
        return replace(
            self, features=self.features[indices], modulation=self.modulation[indices],
            keys=self.keys[:, indices], values=self.values[:, indices],
        )  # fmt: skip

    def snapshot(self) -> dict[str, Tensor]:
        """Return all there is to know as plain tensors by name, independent of this cache's memory."""
        return {f.name: getattr(self, f.name).detach().clone() for f in fields(self)}

    @classmethod
    def restore(cls, snapshot: Mapping[str, Tensor]) -> ContextCache:
        """Return the cache of a snapshot, in memory of its own.

        Raises
        ------
        ValueError
            If a tensor is missing, or there is one that is no part of a cache.
        """
        names = {f.name for f in fields(cls)}
        if set(snapshot) != names:
            raise ValueError(f"a snapshot of a context holds {sorted(names)}, got {sorted(snapshot)}")
        return cls(**{name: part.clone() for name, part in snapshot.items()})


class EncoderDecoderTransformer(nn.Module):
    """A modulated transformer of a target block after its context; called as `BlockCausalTransformer` is.

    Parameters
    ----------
    width, depth, n_heads : int
        See `ModulatedTransformer`.
    block : int
        Tokens in a block.
    window : int
        Blocks that a target sees, itself included; at least 2.
    expansion, dropout
        See `ModulatedTransformer`.

    Raises
    ------
    ValueError
        For a block below 1 or a window below 2.
    """

    #: Training evaluates last blocks of windows: each target has a context of its own.
    supervises_last = True

    def __init__(
        self,
        width: int,
        depth: int,
        n_heads: int,
        *,
        block: int,
        window: int,
        expansion: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if block < 1 or window < 2:
            raise ValueError(
                f"block must be at least 1 and window, which counts the target, at least 2, got "
                f"block={block}, window={window}"
            )
        self.transformer = ModulatedTransformer(width, depth, n_heads, expansion=expansion, dropout=dropout)
        self.depth, self.n_heads, self.block, self.window = depth, n_heads, block, window
        self.width = width

    @property
    def context(self) -> int:
        """Tokens of a full context."""
        return (self.window - 1) * self.block

    def start_cache(self, batch: int) -> ContextCache:
        """Return the empty context of a batch, in the type and on the device of the parameters."""
        weight = self.transformer.modulation.weight
        tokens = weight.new_zeros(batch, self.context, self.width)
        heads = weight.new_zeros(
            self.depth, batch, self.n_heads, self.context, self.transformer.head_features
        )
        count = torch.zeros((), dtype=torch.int64, device=weight.device)
        return ContextCache(tokens, tokens.clone(), heads, heads.clone(), count)

    def forward(self, x: Tensor, condition: Tensor, cache: ContextCache | None = None) -> Tensor:
        """Evaluate a target block after the context, or after the tokens before it where there is none.

        Parameters
        ----------
        x : Tensor of shape ``(batch, tokens, width)``
            Features of the target, or of a whole sequence, whose last block is the target; it may be shorter
            than a block.
        condition : Tensor of shape ``(batch, tokens, width)``
            What modulates them; that of clean tokens must say that their time is 0.
        cache : ContextCache, optional
            The clean tokens before the target.

        Returns
        -------
        Tensor of shape ``(batch, tokens, width)``
            Of a whole sequence, what stands for the last block is a prediction.

        Raises
        ------
        ValueError
            For more than one block after a context.
        """
        tokens = x.shape[-2]
        places = torch.arange(tokens, device=x.device)
        if cache is None:
            start = (tokens - 1) // self.block * self.block
            visible = context_visible(places[:start] >= start - self.context, tokens - start)
            out: Tensor = self.transformer(x, condition, places, visible)
            return out
        if tokens > self.block:
            raise ValueError(f"a target has at most {self.block} tokens, got {tokens}")
        visible = context_visible(cache.valid, tokens)[self.context :]
        out = self.transformer(x, condition, places + self.context, visible, cache.key_values)
        return out

    def commit(
        self, x: Tensor, condition: Tensor, cache: ContextCache, *, in_place: bool = False
    ) -> ContextCache:
        """Return the context with further clean blocks, read anew; one evaluation.

        Parameters
        ----------
        x : Tensor of shape ``(batch, tokens, width)``
            Features of whole clean blocks, any number of them.
        condition : Tensor of shape ``(batch, tokens, width)``
            What modulates them, at time 0.
        cache : ContextCache
            The clean tokens before them.
        in_place : bool, default False
            Allowed as for block-causal rings; the memory is new all the same.
        """
        return self.extend(x, condition, cache, clean=x.shape[-2], settled=x.shape[-2])[1]

    def extend(
        self, x: Tensor, condition: Tensor, cache: ContextCache, *, clean: int, settled: int
    ) -> tuple[Tensor, ContextCache, ContextCache]:
        """Evaluate clean blocks and a target after them at once (see `BlockCausalTransformer.extend`).

        The first of the two contexts can only be extended where it is not the second one too.
        """
        if clean % self.block or settled % self.block or x.shape[-2] - clean > self.block:
            raise ValueError(
                f"whole clean blocks of {self.block} tokens and at most one target are evaluated, got "
                f"{settled} and {clean} clean tokens of {x.shape[-2]}"
            )
        condition = condition.expand_as(x)
        longer = cache.followed(x[:, :clean], condition[:, :clean])
        features = torch.cat([longer.features, x[:, clean:]], dim=1)
        modulation = torch.cat([longer.modulation, condition[:, clean:]], dim=1)
        visible = context_visible(longer.valid, x.shape[-2] - clean)
        if x.shape[-2] == clean:
            out, own = features, self.transformer.key_values(features, modulation, None, visible)
        else:
            out, own = self.transformer.with_keys(features, modulation, None, visible)
        keys, values = (part[..., : self.context, :].contiguous() for part in own)
        longer = replace(longer, keys=keys, values=values)
        if settled == clean:
            return out[:, self.context :], longer, longer
        first = cache.followed(x[:, :settled], condition[:, :settled]) if settled else cache
        return out[:, self.context :], first, longer

    def two_copy(
        self,
        noisy: Tensor,
        clean: Tensor,
        noisy_condition: Tensor,
        clean_condition: Tensor,
        oldest: Tensor | None = None,
    ) -> Tensor:
        """Evaluate the last blocks of a sequence, each after the clean ones before it.

        Parameters
        ----------
        noisy : Tensor of shape ``(batch, targets, width)``
            Features of the last blocks, one or more, noisy.
        clean : Tensor of shape ``(batch, tokens, width)``
            Those of all blocks, clean.
        noisy_condition, clean_condition : Tensor
            What modulates them; the second at time 0.
        oldest : Tensor of int64, shape ``(batch,)``, optional
            Clean blocks before this one are not seen.

        Returns
        -------
        Tensor of shape ``(batch, targets, width)``

        Raises
        ------
        ValueError
            For parts of blocks.
        """
        if noisy.shape[1] % self.block or clean.shape[1] % self.block:
            raise ValueError(
                f"training takes whole blocks of {self.block}, got {noisy.shape[1]} after {clean.shape[1]}"
            )
        batch, targets = len(noisy), noisy.shape[1] // self.block
        numbers = torch.arange(clean.shape[1] // self.block, device=clean.device)[-targets:, None]
        blocks = numbers + torch.arange(1 - self.window, 0, device=clean.device)  # (targets, window - 1)
        first = blocks.new_zeros(1) if oldest is None else oldest
        valid = (blocks >= 0) & (blocks >= first[:, None, None])
        valid = valid.repeat_interleave(self.block, -1).expand(batch, -1, -1)
        x, condition = (
            torch.cat([self._contexts(past, blocks), own.reshape(batch, targets, self.block, -1)], dim=2)
            for past, own in (
                (clean, noisy),
                (clean_condition.expand_as(clean), noisy_condition.expand_as(noisy)),
            )
        )
        visible = context_visible(valid.flatten(0, 1), self.block)[:, None]
        out: Tensor = self.transformer(x.flatten(0, 1), condition.flatten(0, 1), None, visible)
        return out[:, self.context :].reshape(noisy.shape)

    def _contexts(self, clean: Tensor, blocks: Tensor) -> Tensor:
        """Return the context of every target, ``(batch, targets, context, width)``."""
        parts = clean.reshape(len(clean), -1, self.block, clean.shape[-1])
        return parts[:, blocks.clamp_min(0)].flatten(2, 3)
