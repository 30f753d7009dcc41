r"""Block-causal generation: sequences of any length, block by block, each given the clean ones before it.

.. math:: p(x) = \prod_b p(x^{(b)} \mid x^{(<b)}),

with a diffusion inside every block. A block is an ordinary sampler run, of any solver of either core; what it
needs of the past lies in a cache of keys and values, which a network that never lets clean tokens see noisy
ones computes once a block. When a block is clean, one evaluation writes it into the cache (the *commit*, made
when the next block is begun); it counts. With K evaluations a block, n blocks after a prompt cost
:math:`n (K + 1)` evaluations, and one less without a prompt, whose first block has nothing before it.

With *revise* M the newest M clean blocks are not settled: they stay pending and are read anew for every
block, under the condition that holds for them then, so that what is known late of a block (the sound of
another player, say) still reaches the blocks after it. A block that was made M + 1 blocks ago is settled
under the condition of that moment. This is one evaluation a block as before, of :math:`M + 1` blocks instead
of one, and equals one masked evaluation of the whole history in which every block has that condition.

*Fused*, the commit is made together with the first step of the block after it: a block then costs K
evaluations instead of K + 1, the first of them over more tokens. Equal but for rounding.

The noise of a step hangs on (seed, block, step), so a stream of blocks equals a run made at once, and a
stream restored from a snapshot goes on as it would have.

Arriola et al., *Block Diffusion: Interpolating Between Autoregressive and Diffusion Language Models*, arXiv
2503.09573; Novack et al., *Live Music Diffusion Models*, arXiv 2605.22717 (blocks read anew while another
player is heard; commit and first step in one evaluation).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from sciffusion.sampling.block_past import BlockPast, ReadingNetwork, conditions_of_blocks
from sciffusion.sampling.block_stream import BlockSamples, BlockStream, DenoiserAfter, GeneratedBlock
from sciffusion.sampling.driver import sample
from sciffusion.sampling.grids import checked_grid
from sciffusion.sampling.guidance.base import Guidance, GuidedDenoiser
from sciffusion.sampling.hooks import Hook
from sciffusion.sampling.speculative import speculative_sample
from sciffusion.sampling.state import State
from sciffusion.sampling.step_noise import StepNoise, step_generator

__all__ = ["BlockCausalGenerator"]


class _Network(Protocol):
    @property
    def block(self) -> int: ...

    def start_cache(self, batch: int) -> Any: ...

    def commit(self, x: Tensor, condition: Any, cache: Any) -> Any: ...

    def extend(self, clean: Tensor, clean_condition: Any, cache: Any, *, settled: int) -> Any: ...


class _Denoiser(Protocol):
    @property
    def path(self) -> Any: ...

    @property
    def network(self) -> Any: ...

    def __call__(self, state: Any, condition: Any = None, cache: Any = None) -> Any: ...


class BlockCausalGenerator:
    """Makes sequences block by block with any solver of either core.

    Parameters
    ----------
    denoiser : Denoiser
        Called as ``denoiser(state, condition, cache)`` on the state of one block; its ``network`` has
        ``block``, ``start_cache(items)``, ``commit(x, condition, cache)`` and, for ``revise`` and ``fused``,
        ``extend``, as `BlockTokenTransformer` and `BlockLatentTransformer` have them.
    solver : Solver
        Makes the steps inside a block.
    grid : Tensor
        Times of a block, shape ``(n_steps + 1,)`` or with further axes ``(items or 1, block)``.
    frame_shape : sequence of int, default ()
        Shape of one token: none for discrete ones, ``(channels,)`` for frames.
    guidance, hooks
        As for `sample`, begun anew for every block.
    other_conditions : sequence, optional
        Conditions beside the given one that guidance asks for; each has a cache of its own and costs one more
        commit a block. None, the unconditional one, by default where there are guidance and a condition.
    draft : int, default 1
        Drafted steps that are verified in one evaluation (see `speculative_sample`); 1 drafts none.
    drafter : Denoiser, optional
        A cheaper denoiser that drafts, called with the state of a block alone.
    revise : int, default 0
        Newest clean blocks whose conditions may still change.
    fused : bool, default False
        Whether clean blocks are read in the first evaluation of the next one.
    dtype, device
        Of the noise on continuous paths, and of all values.

    Raises
    ------
    ValueError
        For a grid that is none, drafts with hooks or fused, or ``revise`` below 0.
    """

    def __init__(
        self,
        denoiser: _Denoiser,
        solver: Any,
        grid: Tensor,
        *,
        frame_shape: Sequence[int] = (),
        guidance: Guidance | Sequence[Guidance] = (),
        hooks: Sequence[Hook] = (),
        other_conditions: Sequence[Any] | None = None,
        draft: int = 1,
        drafter: Any = None,
        revise: int = 0,
        fused: bool = False,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        if draft > 1 and hooks:
            raise ValueError("drafted steps are not shown to hooks: give hooks= or draft=, not both")
        if draft > 1 and fused:
            raise ValueError("drafts evaluate copies of a block: give draft= or fused=True, not both")
        if revise < 0:
            raise ValueError(f"revise must be a number of blocks >= 0, got {revise}")
        self.denoiser, self.solver, self.grid = denoiser, solver, checked_grid(grid)
        self.frame_shape = tuple(frame_shape)
        self.guidance, self.hooks, self.other_conditions = guidance, tuple(hooks), other_conditions
        self.draft, self.drafter, self.dtype, self.device = draft, drafter, dtype, device
        self.revise, self.fused = revise, fused
        self._reading = denoiser
        if fused:
            self._reading = copy.copy(denoiser)
            self._reading.network = ReadingNetwork(denoiser.network)  # type: ignore[misc]

    @property
    def _network(self) -> _Network:
        network: _Network = self.denoiser.network
        return network

    def start(
        self, items: int, *, seed: int = 0, prompt: Tensor | None = None, conditioned: bool = False
    ) -> BlockStream:
        """Return the stream before its first block; costs nothing yet.

        Parameters
        ----------
        items : int
            Sequences in the batch.
        seed : int >= 0, default 0
            Of all noise; two streams with one seed are equal.
        prompt : Tensor of shape ``(items, tokens, ...)``, optional
            Known beginning, of any length. Whole blocks of it enter the cache in one evaluation, the rest is
            given as known sites of the first block that is made.
        conditioned : bool, default False
            Whether `advance` will be given a condition.

        Raises
        ------
        ValueError
            For a prompt whose shape does not fit.
        """
        block = self._network.block
        if prompt is None:
            prompt = self.denoiser.path.draw_prior(
                (items, 0, *self.frame_shape), torch.Generator(), torch.ones(()), self.dtype, self.device
            )
        if prompt.shape[:1] + prompt.shape[2:] != (items, *self.frame_shape):
            raise ValueError(
                f"prompt must have shape ({items}, tokens, *{self.frame_shape}), got {tuple(prompt.shape)}"
            )
        prompt = prompt.to(self.device)
        whole = prompt.shape[1] // block * block
        caches = tuple(self._network.start_cache(items) for _ in self._conditions(None, conditioned))
        return BlockStream(caches, prompt[:, :whole], prompt[:, whole:], whole // block, seed)

    def advance(self, stream: BlockStream, condition: Any = None) -> tuple[BlockStream, GeneratedBlock]:
        """Make the next block.

        Parameters
        ----------
        stream : BlockStream
            Stays as it is.
        condition : object, optional
            Passed to the denoiser and to the commit; a callable gives that of a block from its number, and
            the keys and values of the block keep it. With ``revise`` it is asked again for the newest blocks.

        Returns
        -------
        BlockStream
            After the block.
        GeneratedBlock
            The block.
        """
        conditions = self._conditions(
            condition(stream.number) if callable(condition) else condition, condition is not None
        )
        past = self._past(stream, condition)
        after = DenoiserAfter(self._reading, conditions, past.unread if self.fused else past.read())
        values, nfe = self._run(after, self._noise(stream), conditions[0], stream)
        caches = past.settled()
        nfe += past.nfe + stream.nfe
        block = GeneratedBlock(stream.number, values, nfe)
        pending = torch.cat([stream.pending[:, past.settling :], values], dim=1)
        following = BlockStream(caches, pending, values[:, :0], stream.number + 1, stream.seed, nfe)
        return following, block

    def stream(
        self,
        items: int,
        n_blocks: int | None = None,
        *,
        seed: int = 0,
        prompt: Tensor | None = None,
        condition: Any = None,
    ) -> Iterator[GeneratedBlock]:
        """Make blocks one by one, without end by default (see `start` and `advance`)."""
        stream = self.start(items, seed=seed, prompt=prompt, conditioned=condition is not None)
        made = 0
        while n_blocks is None or made < n_blocks:
            stream, block = self.advance(stream, condition)
            made += 1
            yield block

    def generate(
        self,
        items: int,
        n_blocks: int,
        *,
        seed: int = 0,
        prompt: Tensor | None = None,
        condition: Any = None,
        stream: BlockStream | None = None,
    ) -> BlockSamples:
        """Make ``n_blocks`` blocks after the prompt, or after a stream (see `start` and `advance`).

        The samples begin with what was pending: the prompt, or the newest blocks of the stream.
        """
        if stream is None:
            stream = self.start(items, seed=seed, prompt=prompt, conditioned=condition is not None)
        parts = [stream.pending]
        for _ in range(n_blocks):
            stream, block = self.advance(stream, condition)
            parts.append(block.values)
        return BlockSamples(torch.cat(parts, dim=1), stream.nfe, stream)

    def restore(self, snapshot: Mapping[str, Tensor]) -> BlockStream:
        """Return the stream of a snapshot (see `BlockStream.snapshot`)."""
        parts: dict[str, dict[str, Tensor]] = {}
        for name, part in snapshot.items():
            if name.startswith("cache"):
                place, _, inner = name.partition(".")
                parts.setdefault(place, {})[inner] = part
        empty = self._network.start_cache(1)
        return BlockStream(
            tuple(empty.restore(parts[place]) for place in sorted(parts, key=lambda name: int(name[5:]))),
            snapshot["pending"].clone(), snapshot["given"].clone(),
            int(snapshot["number"]), int(snapshot["seed"]), int(snapshot["nfe"]),
        )  # fmt: skip

    def _conditions(self, condition: Any, conditioned: bool) -> tuple[Any, ...]:
        """Return the condition of a block and those beside it."""
        guided = isinstance(self.guidance, Guidance) or len(self.guidance) > 0
        if self.other_conditions is not None:
            return (condition, *self.other_conditions)
        return (condition, None) if guided and conditioned else (condition,)

    def _past(self, stream: BlockStream, condition: Any) -> BlockPast:
        """Return the clean blocks before the next one, those that are pending not read yet."""
        size = self._network.block
        count = stream.pending.shape[1] // size
        numbers = range(stream.number - count, stream.number)
        given = [condition(number) for number in numbers] if callable(condition) else [condition]
        by_block = [self._conditions(one, condition is not None) for one in given] if count else []
        # One for all blocks is handed on as it is.
        told = [conditions_of_blocks(parts, size) for parts in zip(*by_block, strict=True)]
        settling = max(count - self.revise, 0) * size
        return BlockPast(self._network, stream.caches, stream.pending, told, settling)

    def _noise(self, stream: BlockStream) -> State:
        """Return the state from which a block starts."""
        shape = (len(stream.pending), self._network.block, *self.frame_shape)
        x = self.denoiser.path.draw_prior(
            shape, step_generator(stream.seed, stream.number, 0), self.grid[0], self.dtype, self.device
        )
        count = stream.given.shape[1]
        if count == 0:
            return State(x=x)
        known = torch.zeros(shape[:2], dtype=torch.bool, device=x.device)
        known[:, :count] = True
        return State(x=torch.cat([stream.given.to(x.dtype), x[:, count:]], dim=1), known=known)

    def _run(
        self, after: DenoiserAfter, start: State, condition: Any, stream: BlockStream
    ) -> tuple[Tensor, int]:
        """Sample one block."""
        if self.draft > 1:
            guided = GuidedDenoiser(after, self.guidance)
            many = GuidedDenoiser(after.repeated(len(start.x), self.draft), self.guidance)
            drafted = speculative_sample(
                guided, self.solver, self.grid, draft=self.draft, seed=stream.seed, block=stream.number,
                state=start, condition=condition, drafter=self.drafter, many=many,
            )  # fmt: skip
            return drafted.samples, drafted.nfe * guided.nfe
        hooks = (StepNoise(stream.seed, stream.number), *self.hooks)
        result = sample(
            after, self.solver, self.grid, state=start, condition=condition, guidance=self.guidance,
            hooks=hooks,
        )  # fmt: skip
        return result.samples, result.nfe
