"""What block-causal generation carries from block to block, and what it gives (see `block_causal`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from sciffusion.sampling.smc import take_items

__all__ = ["BlockSamples", "BlockStream", "DenoiserAfter", "GeneratedBlock"]


class _Denoiser(Protocol):
    @property
    def path(self) -> Any: ...

    def __call__(self, state: Any, condition: Any = None, cache: Any = None) -> Any: ...


class GeneratedBlock(NamedTuple):
    """A finished block.

    Parameters
    ----------
    number : int
        Its place in the sequence, from 0; prompts count.
    values : Tensor
        Shape ``(items, block, ...)``, the end of a prompt included where the block begins with it.
    nfe : int
        Network evaluations from the start of the stream until it was finished.
    """

    number: int
    values: Tensor
    nfe: int


class BlockSamples(NamedTuple):
    """Sequences made at once.

    Parameters
    ----------
    samples : Tensor
        Shape ``(items, tokens, ...)``, the prompt included.
    nfe : int
        Network evaluations, each of the whole batch.
    stream : BlockStream
        From which more blocks can be made.
    """

    samples: Tensor
    nfe: int
    stream: BlockStream


@dataclass(frozen=True, eq=False)
class BlockStream:
    """All that the next block depends on, in one explicit object.

    Parameters
    ----------
    caches : tuple
        Committed blocks, one cache for each condition that is asked for.
    pending : Tensor
        Clean blocks that are not committed yet, ``(items, tokens, ...)``; may be none.
    given : Tensor
        Known beginning of the next block; may be none.
    number : int
        Number of the next block.
    seed : int
        Seed of the sequence.
    nfe : int
        Network evaluations so far.
    """

    caches: tuple[Any, ...]
    pending: Tensor
    given: Tensor
    number: int
    seed: int
    nfe: int = 0

    def take_items(self, indices: Tensor) -> BlockStream:
        """Return the stream of the items at ``indices``, for resampling between blocks."""
        items = len(self.pending)
        return replace(
            self,
            caches=take_items(self.caches, indices, items),
            pending=self.pending[indices.to(self.pending.device)],
            given=self.given[indices.to(self.given.device)],
        )

    def snapshot(self) -> dict[str, Tensor]:
        """Return the stream as plain tensors by name (see `BlockCausalGenerator.restore`)."""
        parts = {
            f"cache{place}.{name}": part
            for place, cache in enumerate(self.caches)
            for name, part in cache.snapshot().items()
        }
        counts = {"number": self.number, "seed": self.seed, "nfe": self.nfe}
        return {
            **parts,
            "pending": self.pending.clone(),
            "given": self.given.clone(),
            **{name: torch.tensor(count) for name, count in counts.items()},
        }


class DenoiserAfter:
    """A denoiser with the blocks before it.

    Parameters
    ----------
    denoiser : Denoiser
        Called with a condition and its cache.
    conditions : sequence
        What may be asked for, known by identity.
    caches : sequence
        The past under each of them.
    told : sequence, optional
        What the denoiser is given for each condition; itself by default.
    """

    def __init__(
        self,
        denoiser: _Denoiser,
        conditions: Sequence[Any],
        caches: Sequence[Any],
        told: Sequence[Any] | None = None,
    ) -> None:
        self._denoiser, self._conditions, self._caches = denoiser, conditions, caches
        self._told = conditions if told is None else told

    @property
    def path(self) -> Any:
        """The path or process of the denoiser."""
        return self._denoiser.path

    def __call__(self, state: Any, condition: Any = None, cache: Any = None) -> Any:
        """Predict for a state after the past that belongs to the condition.

        Raises
        ------
        ValueError
            For a condition under which no past was kept.
        """
        for known, told, past in zip(self._conditions, self._told, self._caches, strict=True):
            if condition is known:
                return self._denoiser(state, told, past)
        raise ValueError(
            "guidance asked for a condition whose past was not kept; name it in other_conditions="
        )

    def repeated(self, items: int, count: int) -> DenoiserAfter:
        """Return the denoiser of ``count`` copies of every item; asked for the same conditions."""
        indices = torch.arange(items).repeat_interleave(count)
        caches, told = (take_items(tuple(part), indices, items) for part in (self._caches, self._told))
        return DenoiserAfter(self._denoiser, self._conditions, caches, told)
