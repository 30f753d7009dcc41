r"""Block-causal networks with a front and a back: from noisy values and their times to predictions.

A network is called in three ways, which agree with each other (see `block_causal`):

- ``network(x, times, condition)``: one masked evaluation of a sequence from its start, times a token;
- ``network(x, times, condition, cache=ring)``: blocks that follow those in the ring; ``network.commit`` adds
  clean blocks to it;
- ``network.beside(clean)(x, times, condition)``: all blocks of a sequence at once, each after the clean ones
  before it, for training.

So a denoiser on ``network.beside(clean)`` can be given to any objective, with times drawn a block
(`block_times`), and one on ``network`` to any sampler.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from sciffusion.networks.block_causal import BlockCausalTransformer, BlockPositions
from sciffusion.networks.embeddings import angle_embedding
from sciffusion.networks.kv_ring import KVRing

__all__ = ["BesideClean", "BlockNetwork", "block_times"]

_N_FREQUENCIES = 16


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
    """

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
    ) -> None:
        super().__init__()
        self.n_conditions, self.use_times = n_conditions, use_times
        self.time_embedding = nn.Sequential(
            nn.Linear(2 * _N_FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width)
        )
        # Each number comes with a flag that says whether it is given.
        self.condition_embedding = nn.Linear(2 * n_conditions, width) if n_conditions else None
        self.transformer = BlockCausalTransformer(
            width, depth, n_heads, block=block, window=window, positions=positions, dropout=dropout
        )

    @property
    def block(self) -> int:
        """Tokens in a block."""
        return self.transformer.block

    @property
    def window(self) -> int:
        """Blocks that a token sees, its own one included."""
        return self.transformer.window

    @abstractmethod
    def features(self, x: Tensor, aux: Mapping[str, Tensor] | None) -> Tensor:
        """Return features of values, shape ``(batch, tokens, width)``."""

    @abstractmethod
    def read(self, features: Tensor) -> Tensor:
        """Return predictions from features."""

    def start_cache(self, batch: int) -> KVRing:
        """Return the empty ring of a batch."""
        return self.transformer.start_cache(batch)

    def forward(
        self,
        x: Tensor,
        times: Tensor,
        condition: Tensor | None = None,
        *,
        cache: KVRing | None = None,
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
        cache : KVRing, optional
            Clean blocks before these; without it ``x`` begins the sequence.
        aux : mapping, optional
            Further tokens of sites, by name.
        """
        modulation = self._modulation(times, condition, x)
        return self.read(self.transformer(self.features(x, aux), modulation, cache))

    def commit(self, x: Tensor, condition: Tensor | None, cache: KVRing, *, in_place: bool = False) -> KVRing:
        """Return the ring with further clean blocks; one evaluation (see `BlockCausalTransformer.commit`)."""
        modulation = self._modulation(torch.zeros((), device=x.device), condition, x)
        return self.transformer.commit(self.features(x, None), modulation, cache, in_place=in_place)

    def beside(
        self, clean: Tensor, oldest: Tensor | None = None, condition: Tensor | None = None
    ) -> BesideClean:
        """Return the network that evaluates all blocks at once, for training.

        Parameters
        ----------
        clean : Tensor of shape ``(batch, tokens, ...)``
            Clean values of the sequences whose noisy values it will be called with.
        oldest : Tensor of int64, shape ``(batch,)``, optional
            The oldest clean block that is seen (see `two_copy_visible`).
        condition : Tensor, optional
            That of the clean values, where it is not the one that the noisy values are given.
        """
        return BesideClean(self, clean, oldest, condition)

    def _modulation(self, times: Tensor, condition: Tensor | None, x: Tensor) -> Tensor:
        shape = x.shape[:2]
        weight = self.transformer.transformer.modulation.weight
        times = times.to(weight.device, weight.dtype)
        times = times.reshape(times.shape + (1,) * (2 - times.ndim)).expand(shape)
        told = times if self.use_times else torch.zeros_like(times)
        modulation: Tensor = self.time_embedding(angle_embedding(told, _N_FREQUENCIES))
        if self.condition_embedding is None:
            return modulation
        if condition is None:
            condition = modulation.new_full((shape[0], self.n_conditions), torch.nan)
        condition = condition.to(weight)
        given = ~condition.isnan()
        numbers = torch.cat([torch.where(given, condition, 0.0), given.to(weight.dtype)], dim=-1)
        embedded: Tensor = self.condition_embedding(numbers)
        return modulation + (embedded[:, None] if condition.ndim == 2 else embedded)


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
        if x.shape != self.clean.shape:
            raise ValueError(
                f"noisy values of shape {tuple(x.shape)} do not fit clean ones of {tuple(self.clean.shape)}"
            )
        network = self.network
        zero = torch.zeros((), device=x.device)
        out = network.transformer.two_copy(
            network.features(x, aux),
            network.features(self.clean, None),
            network._modulation(times, condition, x),
            network._modulation(zero, condition if self.condition is None else self.condition, x),
            self.oldest,
        )
        return network.read(out)
