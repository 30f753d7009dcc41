r"""Block-causal networks with a front and a back: from noisy values and their times to predictions.

A network is called in three ways, which agree with each other (see `block_causal`):

- ``network(x, times, condition)``: one masked evaluation of a sequence from its start, times a token;
- ``network(x, times, condition, cache=ring)``: blocks that follow those in the ring; ``network.commit`` adds
  clean blocks to it;
- ``network.beside(clean)(x, times, condition)``: all blocks of a sequence at once, each after the clean ones
  before it, for training.

They attend in one of two ways: block-causally (see `block_causal`), or as an encoder of the context and a
decoder of the target (see `encoder_decoder`), whose training evaluates last blocks alone.

So a denoiser on ``network.beside(clean)`` can be given to any objective, with times drawn a block
(`block_times`), and one on ``network`` to any sampler.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from sciffusion.networks.block_causal import BlockCausalTransformer, BlockPositions
from sciffusion.networks.embeddings import angle_embedding
from sciffusion.networks.encoder_decoder import EncoderDecoderTransformer

__all__ = ["BesideClean", "BlockNetwork", "BlockVariant", "Extended", "block_times"]

#: How blocks attend to each other.
BlockVariant = Literal["block_causal", "encoder_decoder"]

_N_FREQUENCIES = 16


class Extended(NamedTuple):
    """What comes of further clean blocks and a noisy one after them (see `BlockNetwork.extend`).

    Parameters
    ----------
    prediction : Tensor
        For the noisy block; of 0 tokens where there was none.
    settled, cache : KVRing or ContextCache
        With the first clean blocks, and with all of them.
    """

    prediction: Tensor
    settled: Any
    cache: Any


def block_times(times: Tensor, block: int, tokens: int) -> Tensor:
    """Return one time a token from one time a block.

    Parameters
    ----------
    times : Tensor of shape ``(batch, blocks)``
        Times of the blocks, the last of which may be shorter.
    block : int
        Tokens in a block.
    tokens : int
        Tokens in a sequence.
    """
    if times.shape[-1] != -(-tokens // block):
        raise ValueError(
            f"{tokens} tokens make {-(-tokens // block)} blocks of {block}, got times for {times.shape[-1]}"
        )
    return times.repeat_interleave(block, -1)[..., :tokens]


class BlockNetwork(nn.Module):
    """Base of block-causal networks; a subclass embeds values (`features`) and reads predictions (`read`).

    Parameters
    ----------
    width, depth, n_heads, block, window, positions, dropout
        See `BlockCausalTransformer`.
    n_conditions : int, default 0
        Numbers that a sequence or a token is conditioned on; None or NaN means that they are not given.
    use_times : bool, default True
        Whether times are told to the network.
    variant : {"block_causal", "encoder_decoder"}, default "block_causal"
        How blocks attend to each other; ``positions`` is of the first one alone.

    Raises
    ------
    ValueError
        For an unknown variant, and as the transformers do.
    """

    transformer: BlockCausalTransformer | EncoderDecoderTransformer

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        n_heads: int,
        block: int,
        window: int,
        positions: BlockPositions,
        n_conditions: int,
        use_times: bool,
        dropout: float,
        variant: BlockVariant = "block_causal",
    ) -> None:
        super().__init__()
        if variant not in get_args(BlockVariant):
            raise ValueError(f"variant must be one of {get_args(BlockVariant)}, got {variant!r}")
        self.n_conditions, self.use_times = n_conditions, use_times
        self.time_embedding = nn.Sequential(
            nn.Linear(2 * _N_FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width)
        )
        # Each number comes with a flag that says whether it is given.
        self.condition_embedding = nn.Linear(2 * n_conditions, width) if n_conditions else None
        sizes: dict[str, Any] = {"block": block, "window": window, "dropout": dropout}
        if variant == "block_causal":
            self.transformer = BlockCausalTransformer(width, depth, n_heads, positions=positions, **sizes)
        else:
            self.transformer = EncoderDecoderTransformer(width, depth, n_heads, **sizes)

    @property
    def block(self) -> int:
        """Tokens in a block."""
        return self.transformer.block

    @property
    def window(self) -> int:
        """Blocks that a token sees, its own one included."""
        return self.transformer.window

    @property
    def supervises_last(self) -> bool:
        """Whether training evaluates last blocks alone, not all blocks of a window at once."""
        return self.transformer.supervises_last

    @abstractmethod
    def features(self, x: Tensor, aux: Mapping[str, Tensor] | None) -> Tensor:
        """Return features of values, shape ``(batch, tokens, width)``."""

    @abstractmethod
    def read(self, features: Tensor) -> Tensor:
        """Return predictions from features."""

    def start_cache(self, batch: int) -> Any:
        """Return the empty cache of a batch: a `KVRing`, or a `ContextCache`."""
        return self.transformer.start_cache(batch)

    def forward(
        self,
        x: Tensor,
        times: Tensor,
        condition: Tensor | None = None,
        *,
        cache: Any = None,
        aux: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Evaluate.

        Parameters
        ----------
        x : Tensor of shape ``(batch, tokens, ...)``
            Noisy values.
        times : Tensor
            Times in [0, 1], of a shape that is a prefix of ``(batch, tokens)``; 0 for clean blocks.
        condition : Tensor of shape ``(batch, n_conditions)`` or ``(batch, tokens, n_conditions)``, optional
            Numbers that are given; NaN where one is not.
        cache : KVRing or ContextCache, optional
            Clean blocks before these; without it ``x`` begins the sequence.
        aux : mapping, optional
            Further tokens of sites, by name.
        """
        modulation = self._modulation(times, condition, x)
        return self.read(self.transformer(self.features(x, aux), modulation, cache))

    def extend(
        self,
        clean: Tensor,
        clean_condition: Tensor | None,
        cache: Any,
        *,
        settled: int,
        x: Tensor | None = None,
        times: Tensor | None = None,
        condition: Tensor | None = None,
        aux: Mapping[str, Tensor] | None = None,
    ) -> Extended:
        """Add clean blocks to a cache and predict for a noisy one after them, in one evaluation.

        Parameters
        ----------
        clean : Tensor of shape ``(batch, tokens, ...)``
            Whole clean blocks that follow those in the cache.
        clean_condition : Tensor, optional
            As ``condition``, for the clean blocks.
        cache : KVRing or ContextCache
            The clean blocks before them; stays as it is.
        settled : int
            Tokens of ``clean`` that the cache ``settled`` of the result holds: whole blocks.
        x, times, condition, aux
            The noisy block after them, as for `forward`; none by default.
        """
        if x is None or times is None:
            x, times, condition = clean[:, :0], torch.zeros((), device=clean.device), None
        zero = torch.zeros((), device=clean.device)
        parts = (
            (self.features(clean, None), self._modulation(zero, clean_condition, clean)),
            (self.features(x, aux), self._modulation(times, condition, x)),
        )
        features = torch.cat([part for part, _ in parts], dim=1)
        modulation = torch.cat([told.expand_as(part) for part, told in parts], dim=1)
        out, first, longer = self.transformer.extend(
            features, modulation, cache, clean=clean.shape[1], settled=settled
        )
        return Extended(self.read(out), first, longer)

    def commit(self, x: Tensor, condition: Tensor | None, cache: Any, *, in_place: bool = False) -> Any:
        """Return the cache with further clean blocks; one evaluation."""
        modulation = self._modulation(torch.zeros((), device=x.device), condition, x)
        return self.transformer.commit(self.features(x, None), modulation, cache, in_place=in_place)

    def beside(
        self, clean: Tensor, oldest: Tensor | None = None, condition: Tensor | None = None
    ) -> BesideClean:
        """Return the network that evaluates all blocks at once, or the last ones, for training.

        Parameters
        ----------
        clean : Tensor of shape ``(batch, tokens, ...)``
            Clean values of the sequences whose noisy values it will be called with.
        oldest : Tensor of int64, shape ``(batch,)``, optional
            The oldest clean block that is seen (see `two_copy_visible`).
        condition : Tensor, optional
            That of the clean values, where it is not the one that the noisy values are given.

        Raises
        ------
        ValueError
            When called with fewer noisy values than clean ones, unless `supervises_last`: then they are those
            of the last blocks, and conditions of single tokens go with them.
        """
        return BesideClean(self, clean, oldest, condition)

    def _modulation(self, times: Tensor, condition: Tensor | None, x: Tensor) -> Tensor:
        """Return what modulates the tokens, with 1 for the axes along which it is the same."""
        shape = x.shape[:2]
        weight = self.transformer.transformer.modulation.weight
        times = times.to(weight.device, weight.dtype)
        times = times.reshape(times.shape + (1,) * (2 - times.ndim))
        times.expand(shape)  # raises where they do not fit
        told = times if self.use_times else torch.zeros_like(times)
        modulation: Tensor = self.time_embedding(angle_embedding(told, _N_FREQUENCIES))
        if self.condition_embedding is None:
            return modulation
        if condition is None:
            condition = modulation.new_full((1, self.n_conditions), torch.nan)
        condition = condition.to(weight)
        given = ~condition.isnan()
        numbers = torch.cat([torch.where(given, condition, 0.0), given.to(weight.dtype)], dim=-1)
        numbers = numbers[:, None] if numbers.ndim == 2 else numbers
        if _alike(numbers):
            numbers = numbers[:, :1]
        embedded: Tensor = self.condition_embedding(numbers)
        return modulation + embedded


def _alike(numbers: Tensor) -> bool:
    """Say whether all tokens are known to have the same numbers, where finding out is cheap.

    Elsewhere than on a CPU it would wait for the device, and training would not profit.
    """
    if numbers.device.type != "cpu" or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return False
    return bool((numbers == numbers[:, :1]).all())


class BesideClean(nn.Module):
    """A block-causal network together with the clean values of the sequences that it is called with.

    Parameters
    ----------
    network : BlockNetwork
        Evaluated on both copies.
    clean : Tensor of shape ``(batch, tokens, ...)``
        Clean values.
    oldest, condition : Tensor, optional
        See `BlockNetwork.beside`.
    """

    def __init__(
        self,
        network: BlockNetwork,
        clean: Tensor,
        oldest: Tensor | None = None,
        condition: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.network, self.clean, self.oldest, self.condition = network, clean, oldest, condition

    def forward(
        self,
        x: Tensor,
        times: Tensor,
        condition: Tensor | None = None,
        *,
        aux: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Predict for noisy values of every block (see `BlockNetwork.forward`)."""
        network, tokens = self.network, x.shape[1]
        fitting = self.clean[:, -tokens:] if network.supervises_last else self.clean
        if x.shape != fitting.shape:
            raise ValueError(
                f"noisy values of shape {tuple(x.shape)} do not fit clean ones of {tuple(self.clean.shape)}"
            )
        zero = torch.zeros((), device=x.device)
        of_clean = condition if self.condition is None else self.condition
        out = network.transformer.two_copy(
            network.features(x, aux),
            network.features(self.clean, None),
            network._modulation(times, condition, x),
            network._modulation(zero, of_clean, self.clean),
            self.oldest,
        )
        return network.read(out)
