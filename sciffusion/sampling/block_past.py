"""How block-causal generation reads the clean blocks before the one that it makes (see `block_causal`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["BlockPast", "ReadingNetwork", "UnreadBlocks", "conditions_of_blocks"]


def conditions_of_blocks(conditions: Sequence[Any], block: int) -> Any:
    """Return one condition of several blocks that follow each other.

    Parameters
    ----------
    conditions : sequence
        Of every block: a tensor of shape ``(batch, numbers)`` or ``(batch, block, numbers)``, or None. One
        alone may be anything, and is returned as it is.
    block : int
        Tokens in a block.

    Returns
    -------
    object
        Of tensors, one of shape ``(batch, blocks * block, numbers)`` with NaN for None.

    Raises
    ------
    TypeError
        For several conditions of which one is neither a tensor nor None.
    """
    if len(conditions) == 1 or all(one is None for one in conditions):
        return conditions[0]
    tensors = [one for one in conditions if isinstance(one, Tensor)]
    if len(tensors) + sum(one is None for one in conditions) < len(conditions):
        kinds = sorted({type(one).__name__ for one in conditions})
        raise TypeError(f"conditions of several blocks must be tensors or None, got {kinds}")
    numbers = tensors[0].shape[-1]
    batch = max(len(one) for one in tensors)
    unknown = tensors[0].new_full((1, numbers), torch.nan, dtype=torch.float32)
    parts = []
    for one in conditions:
        told = unknown if one is None else one
        told = told[:, None] if told.ndim == 2 else told
        parts.append(told.expand(batch, block, numbers))
    return torch.cat(parts, dim=1)


class UnreadBlocks:
    """Clean blocks after a cache, until an evaluation has read them.

    Parameters
    ----------
    network : Module
        Has ``commit`` and, unless all blocks are settled by themselves, ``extend`` (see `BlockNetwork`).
    before : object
        The cache of the blocks before them; stays as it is.
    clean : Tensor of shape ``(items, tokens, ...)``
        The blocks.
    condition : object
        Theirs.
    settling : int
        Tokens of them that are settled, the first ones.
    """

    def __init__(self, network: Any, before: Any, clean: Tensor, condition: Any, settling: int) -> None:
        self._network, self._before, self._clean = network, before, clean
        self._condition, self._settling = condition, settling
        #: Evaluations that did nothing but read.
        self.nfe = 0
        self._caches: tuple[Any, Any] | None = None

    def read(self) -> tuple[Any, Any]:
        """Return the cache with the settled blocks, and that with all of them."""
        if self._caches is None:
            self.nfe = 1
            with torch.inference_mode():
                if self._settling == self._clean.shape[1]:
                    cache = self._network.commit(self._clean, self._condition, self._before)
                    self._caches = (cache, cache)
                else:
                    _, settled, cache = self._network.extend(
                        self._clean, self._condition, self._before, settled=self._settling
                    )
                    self._caches = (settled, cache)
        return self._caches

    def evaluate(self, x: Tensor, times: Tensor, condition: Any, **given: Any) -> Tensor:
        """Evaluate the block after them, and read them where that was not done."""
        prediction: Tensor
        if self._caches is not None:
            prediction = self._network(x, times, condition, cache=self._caches[1], **given)
            return prediction
        prediction, *caches = self._network.extend(
            self._clean, self._condition, self._before, settled=self._settling,
            x=x, times=times, condition=condition, **given,
        )  # fmt: skip
        self._caches = (caches[0], caches[1])
        return prediction


class ReadingNetwork:
    """A block network that may be given unread blocks for a cache.

    Parameters
    ----------
    network : BlockNetwork
        Evaluated on them.
    """

    def __init__(self, network: Any) -> None:
        self.network = network

    def __call__(
        self, x: Tensor, times: Tensor, condition: Any = None, *, cache: Any, **given: Any
    ) -> Tensor:
        """Evaluate (see `BlockNetwork.forward`)."""
        if isinstance(cache, UnreadBlocks):
            return cache.evaluate(x, times, condition, **given)
        out: Tensor = self.network(x, times, condition, cache=cache, **given)
        return out


class BlockPast:
    """The past of a block, under every condition that may be asked for.

    Parameters
    ----------
    network : Module
        See `UnreadBlocks`.
    caches : sequence
        Settled blocks, one cache a condition.
    pending : Tensor of shape ``(items, tokens, ...)``
        Clean blocks after them; may be none.
    told : sequence
        Their conditions, one a cache; none where there are no blocks.
    settling : int
        Tokens of them that are settled now.
    """

    def __init__(
        self, network: Any, caches: Sequence[Any], pending: Tensor, told: Sequence[Any], settling: int
    ) -> None:
        self.settling = settling
        self._before = tuple(caches)
        self._unread: tuple[UnreadBlocks, ...] = ()
        if pending.shape[1] > 0:
            self._unread = tuple(
                UnreadBlocks(network, cache, pending, condition, settling)
                for cache, condition in zip(caches, told, strict=True)
            )

    @property
    def unread(self) -> tuple[Any, ...]:
        """What a `ReadingNetwork` is given; blocks are read when it is first evaluated."""
        return self._unread or self._before

    def read(self) -> tuple[Any, ...]:
        """Return the caches with all blocks."""
        return tuple(part.read()[1] for part in self._unread) or self._before

    def settled(self) -> tuple[Any, ...]:
        """Return the caches with the blocks that are settled now."""
        return tuple(part.read()[0] for part in self._unread) or self._before

    @property
    def nfe(self) -> int:
        """Evaluations that did nothing but read blocks."""
        return sum(part.nfe for part in self._unread)
