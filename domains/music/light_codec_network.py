r"""The networks of the light codec: log magnitudes to latent frames and back, causal in time.

Block of width D on frames x (a ConvNeXt block whose convolution sees the past only):

.. math::
    y_f = \sum_{j=0}^{K-1} a_j \odot x_{f - K + 1 + j} + b, \qquad
    x_f \leftarrow x_f + W_2 \operatorname{GELU}(W_1 \operatorname{norm}(y_f)).

Two spectral frames make a latent frame. Latents have mean 0 and variance 1 a channel in training (statistics
of the batch; running ones afterwards), so noise of a given size means the same for every channel.

The past that the convolutions need is explicit: one tensor of K - 1 frames a block, zeros at the start. Width
and length of a piece change nothing but the shapes of the matrix products.

References
----------
Liu et al., "A ConvNet for the 2020s", arXiv:2201.03545.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["CausalBlock", "CodecSizes", "LightCodecNetwork", "UnitLatents"]

#: Spectral frames a latent frame.
MERGED = 2


@dataclass(frozen=True)
class CodecSizes:
    """Sizes of the networks.

    Parameters
    ----------
    bins : int
        Frequencies of a spectral frame.
    channels : int
        Values of a latent frame.
    fine, coarse : int
        Widths at the rate of spectral and of latent frames.
    fine_blocks, coarse_blocks : int
        Blocks at either rate, in the encoder and in the decoder.
    kernel : int
        Frames a convolution sees.
    head : int
        Width of the decoder's last hidden layer.
    """

    bins: int = 1025
    channels: int = 32
    fine: int = 256
    coarse: int = 384
    fine_blocks: int = 2
    coarse_blocks: int = 2
    kernel: int = 5
    head: int = 640


class CausalBlock(nn.Module):
    """One block; see the module's text.

    Parameters
    ----------
    width, kernel : int
    """

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.kernel, self.width = kernel, width
        self.taps = nn.Parameter(torch.randn(kernel, width) * kernel**-0.5)
        self.bias = nn.Parameter(torch.zeros(width))
        self.norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 2 * width)
        self.narrow = nn.Linear(2 * width, width)
        nn.init.normal_(self.narrow.weight, std=0.2 * (2 * width) ** -0.5)

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Return the frames ``(batch, frames, width)`` changed, and the past of what follows.

        Parameters
        ----------
        x : Tensor of shape ``(batch, frames, width)``
        past : Tensor of shape ``(batch, kernel - 1, width)``
        """
        known = torch.cat([past, x], dim=1)
        length = x.shape[1]
        y = self.bias.expand_as(x)
        for tap in range(self.kernel):
            y = torch.addcmul(y, known[:, tap : tap + length], self.taps[tap])
        x = x + self.narrow(nn.functional.gelu(self.widen(self.norm(y))))
        return x, known[:, length:]


class UnitLatents(nn.Module):
    """Shift and scale every channel to mean 0 and variance 1, by the batch in training and else by averages.

    Parameters
    ----------
    channels : int
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, channels: int, *, momentum: float = 0.02, smallest_variance: float = 1e-4) -> None:
        super().__init__()
        self.momentum, self.smallest_variance = momentum, smallest_variance
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return latents ``(batch, frames, channels)`` normalised."""
        if not self.training:
            return (x - self.mean) / torch.sqrt(self.variance + self.smallest_variance)
        flat = x.flatten(0, 1)
        mean, variance = flat.mean(0), flat.var(0, correction=0)
        with torch.no_grad():
            self.mean.lerp_(mean, self.momentum)
            self.variance.lerp_(variance, self.momentum)
        return (x - mean) / torch.sqrt(variance + self.smallest_variance)


class LightCodecNetwork(nn.Module):
    """Encoder and decoder between log magnitudes and latents.

    Parameters
    ----------
    sizes : CodecSizes
    """

    typical: Tensor

    def __init__(self, sizes: CodecSizes) -> None:
        super().__init__()
        self.sizes = sizes
        fine, coarse = sizes.fine, sizes.coarse
        self.register_buffer("typical", torch.zeros(sizes.bins))  # mean log magnitude of every bin
        self.spectrum_in = nn.Linear(sizes.bins, fine)
        self.fine_in = _blocks(sizes.fine_blocks, fine, sizes.kernel)
        self.merge = nn.Linear(MERGED * fine, coarse)
        self.coarse_in = _blocks(sizes.coarse_blocks, coarse, sizes.kernel)
        self.to_latents = nn.Sequential(nn.LayerNorm(coarse), nn.Linear(coarse, sizes.channels))
        self.unit = UnitLatents(sizes.channels)
        self.from_latents = nn.Linear(sizes.channels, coarse)
        self.coarse_out = _blocks(sizes.coarse_blocks, coarse, sizes.kernel)
        self.split = nn.Linear(coarse, MERGED * fine)
        self.fine_out = _blocks(sizes.fine_blocks, fine, sizes.kernel)
        self.spectrum_out = nn.Sequential(
            nn.LayerNorm(fine), nn.Linear(fine, sizes.head), nn.GELU(), nn.Linear(sizes.head, sizes.bins)
        )

    def encoder_pasts(self, batch: int) -> list[Tensor]:
        """Return what the encoder's blocks knew before the first frame: zeros."""
        return self._pasts([*self.fine_in, *self.coarse_in], batch)

    def decoder_pasts(self, batch: int) -> list[Tensor]:
        """Return what the decoder's blocks knew before the first frame: zeros."""
        return self._pasts([*self.coarse_out, *self.fine_out], batch)

    def encode(self, levels: Tensor, pasts: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Return latents ``(batch, frames / 2, channels)`` of log magnitudes ``(batch, frames, bins)``."""
        x = self.spectrum_in(0.5 * (levels - self.typical))
        x, fine = _through(self.fine_in, x, pasts[: len(self.fine_in)])
        x = self.merge(x.reshape(len(x), -1, MERGED * self.sizes.fine))
        x, coarse = _through(self.coarse_in, x, pasts[len(self.fine_in) :])
        return self.unit(self.to_latents(x)), fine + coarse

    def decode(self, latents: Tensor, pasts: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Return log magnitudes ``(batch, 2 frames, bins)`` of latents ``(batch, frames, channels)``."""
        x = self.from_latents(latents)
        x, coarse = _through(self.coarse_out, x, pasts[: len(self.coarse_out)])
        x = self.split(x).reshape(len(x), -1, self.sizes.fine)
        x, fine = _through(self.fine_out, x, pasts[len(self.coarse_out) :])
        return self.typical + 2.0 * self.spectrum_out(x), coarse + fine

    def forward(self, levels: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return log magnitudes after encoding and decoding, with noise added to the latents."""
        latents, _ = self.encode(levels, self.encoder_pasts(len(levels)))
        latents = latents if noise is None else latents + noise
        return self.decode(latents, self.decoder_pasts(len(levels)))[0]

    def _pasts(self, blocks: Sequence[nn.Module], batch: int) -> list[Tensor]:
        return [
            self.typical.new_zeros(batch, block.kernel - 1, block.width)
            for block in blocks
            if isinstance(block, CausalBlock)
        ]


def _blocks(count: int, width: int, kernel: int) -> nn.ModuleList:
    return nn.ModuleList(CausalBlock(width, kernel) for _ in range(count))


def _through(blocks: nn.ModuleList, x: Tensor, pasts: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    following = []
    for block, past in zip(blocks, pasts, strict=True):
        x, left = block(x, past)
        following.append(left.clone())
    return x, following
