r"""What a codec is: audio to a slow sequence of latent frames and back, whole or piece by piece.

A codec has a sample rate R, a hop of H samples a latent frame and C channels a frame. Encoding n samples
gives :math:`\lceil n / H \rceil` frames, the last padded with silence; decoding F frames gives
:math:`F H` samples. Both can be done in pieces of whole frames with an explicit state, and the pieces put
together equal the whole, sample for sample.

A causal decoder may need to wait: its output lags by ``delay`` samples. Whoever wants output on the time axis
of the input decodes ``ceil(delay / H)`` further frames and drops ``delay`` samples (`reconstruct`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor

__all__ = ["Codec", "CodecState", "LatentStatistics", "reconstruct"]

#: What a codec carries from piece to piece: plain tensors by name; never changed in place.
CodecState: TypeAlias = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class LatentStatistics:
    """Mean and standard deviation of each latent channel over a training set.

    Parameters
    ----------
    mean, std : Tensor of shape ``(channels,)``
    """

    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, latents: Tensor, *, smallest_std: float = 1e-3) -> LatentStatistics:
        """Return the statistics of latents, shape ``(..., channels)``, over all but the last axis."""
        flat = latents.reshape(-1, latents.shape[-1]).double()
        std = flat.std(0, correction=0).clamp_min(smallest_std)
        return cls(flat.mean(0).float(), std.float())

    def normalise(self, latents: Tensor) -> Tensor:
        """Return latents with mean 0 and standard deviation 1 a channel."""
        return (latents - self.mean.to(latents)) / self.std.to(latents)

    def denormalise(self, values: Tensor) -> Tensor:
        """Undo `normalise`."""
        return values * self.std.to(values) + self.mean.to(values)


@runtime_checkable
class Codec(Protocol):
    """Audio to latent frames and back; pieces and whole agree (see the module's text)."""

    @property
    def sample_rate(self) -> int:
        """Samples a second."""
        ...

    @property
    def hop(self) -> int:
        """Samples a latent frame."""
        ...

    @property
    def channels(self) -> int:
        """Values a latent frame."""
        ...

    @property
    def delay(self) -> int:
        """Samples by which decoded audio lags behind what was encoded."""
        ...

    @property
    def statistics(self) -> LatentStatistics:
        """Mean and standard deviation of the latents of its training set."""
        ...

    def encode(self, audio: Tensor) -> Tensor:
        """Return latents ``(batch, ceil(samples / hop), channels)`` of audio ``(batch, samples)``."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Return audio ``(batch, frames * hop)`` of latents ``(batch, frames, channels)``."""
        ...

    def start_encoding(self, batch: int = 1) -> CodecState:
        """Return the state before the first sample."""
        ...

    def encode_next(self, audio: Tensor, state: CodecState) -> tuple[Tensor, CodecState]:
        """Return the latents of the next samples, a multiple of ``hop``, and the state after them."""
        ...

    def start_decoding(self, batch: int = 1) -> CodecState:
        """Return the state before the first frame."""
        ...

    def decode_next(self, latents: Tensor, state: CodecState) -> tuple[Tensor, CodecState]:
        """Return the audio of the next frames, ``(batch, frames * hop)``, and the state after them."""
        ...

    def to(self, device: torch.device | str) -> Codec:
        """Return the codec on a device."""
        ...

    def description(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return weights, and values that are no tensors (``kind`` among them), for model files."""
        ...


def reconstruct(codec: Codec, audio: Tensor) -> Tensor:
    """Return what is left of audio after encoding and decoding, on the time axis of the input.

    Parameters
    ----------
    codec : Codec
    audio : Tensor of shape ``(batch, samples)``

    Returns
    -------
    Tensor of shape ``(batch, samples)``
    """
    samples = audio.shape[-1]
    padded = torch.nn.functional.pad(audio, (0, -(-codec.delay // codec.hop) * codec.hop))
    return codec.decode(codec.encode(padded))[:, codec.delay : codec.delay + samples]
