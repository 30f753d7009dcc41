"""A block-causal transformer over real-valued frames, and its denoiser on a Gaussian path."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn

from sciffusion.continuous.denoiser import NetworkDenoiser, NoisyState
from sciffusion.continuous.prediction import ContinuousPrediction
from sciffusion.networks.block_causal import BlockPositions
from sciffusion.networks.block_network import BlockNetwork, BlockVariant

__all__ = ["BlockLatentDenoiser", "BlockLatentTransformer"]


class BlockLatentTransformer(BlockNetwork):
    """Block-causal or encoder-decoder transformer over frames of real values.

    Parameters
    ----------
    channels : int
        Values a frame.
    block : int
        Frames in a block.
    window : int
        Blocks that a frame sees, its own one included; at least 2.
    width, depth, n_heads, positions, dropout
        See `BlockCausalTransformer`.
    n_conditions : int, default 0
        See `BlockNetwork`.
    variant : {"block_causal", "encoder_decoder"}, default "block_causal"
        See `BlockNetwork`.
    """

    def __init__(
        self,
        channels: int,
        *,
        block: int,
        window: int,
        width: int = 128,
        depth: int = 4,
        n_heads: int = 4,
        positions: BlockPositions = "fixed",
        n_conditions: int = 0,
        dropout: float = 0.0,
        variant: BlockVariant = "block_causal",
    ) -> None:
        super().__init__(
            width=width, depth=depth, n_heads=n_heads, block=block, window=window, positions=positions,
            n_conditions=n_conditions, use_times=True, dropout=dropout, variant=variant,
        )  # fmt: skip
        #: What the network is built from.
        self.sizes: dict[str, Any] = {
            "channels": channels, "block": block, "window": window, "width": width, "depth": depth,
            "n_heads": n_heads, "positions": positions, "n_conditions": n_conditions, "dropout": dropout,
            "variant": variant,
        }  # fmt: skip
        self.project_in = nn.Linear(channels, width)
        self.output = nn.Linear(width, channels)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def features(self, x: Tensor, aux: Mapping[str, Tensor] | None) -> Tensor:
        """Project frames; nothing else belongs to them."""
        features: Tensor = self.project_in(x)
        return features

    def read(self, features: Tensor) -> Tensor:
        """Return predictions, ``(batch, frames, channels)``."""
        out: Tensor = self.output(features)
        return out


class BlockLatentDenoiser(NetworkDenoiser):
    """A block-causal network on a path; unlike its base it hands the cache to the network.

    Parameters
    ----------
    network, path, prediction
        See `NetworkDenoiser`. There is no preconditioning: it would have to be applied to the clean blocks of
        the cache as well.
    """

    def __call__(self, state: NoisyState, condition: Any = None, cache: Any = None) -> ContinuousPrediction:
        """Predict for a state that follows the blocks in the cache."""
        if cache is None:
            return self.predict(state.x, state.t, condition)
        after = NetworkDenoiser(partial(self.network, cache=cache), self.path, self.prediction)
        return after.predict(state.x, state.t, condition)
