r"""Training the light codec's decoder further while its latents stay what they are.

The encoder, its statistics and so every latent frame are kept; only what turns latents into log magnitudes
learns, by the loss of `sciffusion.domains.music.codec_training`. Models that were trained on the latents stay
valid and sound as the better decoder does.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sciffusion.training import fit_network

from .audio import Audio
from .codec_training import CodecObjective, codec_options, training_rows
from .light_codec import LightCodec
from .light_codec_network import LightCodecNetwork

__all__ = ["refine_light_codec"]

_DECODER = ("from_latents", "coarse_out", "split", "fine_out", "spectrum_out")


class _DecoderObjective(CodecObjective):
    """The codec's loss with latents as they are used, by averaged statistics, and without their gradient."""

    def latents(self, network: LightCodecNetwork, levels: Tensor) -> Tensor:
        network.unit.eval()
        with torch.no_grad():
            return super().latents(network, levels)


def refine_light_codec(
    codec: LightCodec,
    recordings: Sequence[Audio],
    *,
    max_steps: int = 3000,
    batch_size: int = 16,
    learning_rate: float = 5e-4,
    noise: float = 0.3,
    seed: int = 0,
    device: torch.device | str = "cpu",
    verbose: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    trainer_options: Mapping[str, Any] | None = None,
) -> LightCodec:
    """Train the decoder of a codec further; latents and their statistics do not change.

    Parameters
    ----------
    codec : LightCodec
        Left as it is.
    recordings : sequence of Audio
        Any sample rates and channels.
    max_steps, batch_size, learning_rate, noise, seed, device, verbose, checkpoint, trainer_options
        As in `fit_light_codec`.

    Returns
    -------
    LightCodec
        A codec on the CPU with the same encoder.

    Raises
    ------
    TypeError, AudioError
        If `codec` is no `LightCodec`, or `recordings` no non-empty sequence of `Audio`.
    ValueError
        If an option is outside its range.
    """
    if not isinstance(codec, LightCodec):
        raise TypeError(f"codec must be a LightCodec, got {type(codec).__name__}")
    if not noise >= 0:
        raise ValueError(f"noise must be >= 0, got {noise}")
    copy = codec.to("cpu")
    network = copy.network
    for name in _DECODER:
        network.get_submodule(name).requires_grad_(True)
    fit_network(
        network,
        _DecoderObjective(codec.spectrogram, codec.sample_rate, noise),
        (training_rows(recordings, codec.sample_rate, codec.spectrogram),),
        options=codec_options(max_steps, batch_size, learning_rate),
        seed=seed,
        device=device,
        trainer_options=trainer_options,
        checkpoint=checkpoint,
        description=f"light codec's decoder, noise {noise}",
        verbose=verbose,
    )
    return LightCodec(network, copy.statistics, sample_rate=codec.sample_rate, spectrogram=codec.spectrogram)
