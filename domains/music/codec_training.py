r"""Training of the light codec: log magnitudes that survive 32 numbers a latent frame, and noise on them.

With log magnitudes :math:`\ell` of a crop, decoded ones :math:`\hat\ell` and weights
:math:`w_k \propto 1 / (1 + f_k / 700\,\text{Hz})` with mean 1 (the density of mels), the loss is

.. math::
    L = \operatorname{mean} w_k\, |\hat\ell - \ell| + \lambda\, \operatorname{mean} w_k\,
        \bigl| e^{\hat\ell / 2} - e^{\ell / 2} \bigr|.

The first term treats all levels alike, the second cares for what is loud. Latents carry normal noise whose
size is uniform between 0 and ``noise`` standard deviations, drawn for every crop: the decoder then forgives
errors of a model that generates latents, and close latents sound alike. Channels become correlated, which is
how a code resists noise.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sciffusion.training import TrainingOptions, fit_network

from .audio import Audio, AudioError, as_audio
from .codec import LatentStatistics
from .light_codec import LightCodec, log_magnitudes
from .light_codec_network import MERGED, CodecSizes, LightCodecNetwork
from .spectrogram import CausalSpectrogram

__all__ = ["CodecObjective", "codec_options", "codec_rows", "fit_light_codec", "training_rows"]

CROP_SECONDS, ROW_SECONDS = 1.0, 2.0
#: Frames at a crop's start, while the convolutions do not know their past, that are not judged.
WARM_UP = 4
LOUD_WEIGHT = 30.0
GAIN_DECIBELS = (-9.0, 3.0)


class CodecObjective:
    """Loss of a batch of rows of 16-bit samples; see the module's text.

    Parameters
    ----------
    spectrogram : CausalSpectrogram
    sample_rate : int
    noise : float
        Largest standard deviation of the noise on latents.

    Attributes
    ----------
    frames : int
        Spectral frames of a crop.
    """

    def __init__(self, spectrogram: CausalSpectrogram, sample_rate: int, noise: float) -> None:
        self.spectrogram, self.noise = spectrogram, noise
        self.frames = MERGED * _latent_frames(CROP_SECONDS, sample_rate, spectrogram)
        frequencies = torch.linspace(0.0, sample_rate / 2.0, spectrogram.bins)
        weights = 1.0 / (1.0 + frequencies / 700.0)
        self.weights = weights / weights.mean()

    def __call__(self, network: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
        """Return the mean loss of random crops of the rows."""
        assert isinstance(network, LightCodecNetwork)
        levels = self.levels(batch[0], generator)
        device = levels.device
        shape = (len(levels), self.frames // MERGED, network.sizes.channels)
        scale = self.noise * torch.rand(len(levels), 1, 1, generator=generator, device=device)
        noise = scale * torch.randn(shape, generator=generator, device=device)
        latents = self.latents(network, levels)
        found, _ = network.decode(latents + noise, network.decoder_pasts(len(levels)))
        return self.distance(found, levels)

    def latents(self, network: LightCodecNetwork, levels: Tensor) -> Tensor:
        """Return the latents of log magnitudes."""
        return network.encode(levels, network.encoder_pasts(len(levels)))[0]

    def levels(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Return log magnitudes ``(batch, frames, bins)`` of a crop of every row, at a random gain."""
        device, batch = rows.device, len(rows)
        length = self.spectrogram.delay + self.frames * self.spectrogram.hop
        latest = rows.shape[1] - length
        starts = torch.randint(0, latest + 1, (batch, 1), generator=generator, device=device)
        crops = rows.gather(1, starts + torch.arange(length, device=device)).float() / 32768.0
        low, high = GAIN_DECIBELS
        gains = low + (high - low) * torch.rand(batch, 1, generator=generator, device=device)
        crops = crops * 10.0 ** (gains / 20.0)
        past, samples = crops[:, : self.spectrogram.delay], crops[:, self.spectrogram.delay :]
        return log_magnitudes(self.spectrogram.analyse(samples, past)[0])

    def distance(self, found: Tensor, levels: Tensor) -> Tensor:
        """Return the loss between log magnitudes."""
        found, levels = found[:, WARM_UP:], levels[:, WARM_UP:]
        weights = self.weights.to(found.device)
        logs = ((found - levels).abs() * weights).mean()
        loud = ((torch.exp(0.5 * found) - torch.exp(0.5 * levels)).abs() * weights).mean()
        return logs + LOUD_WEIGHT * loud


def codec_rows(recordings: Sequence[Audio], sample_rate: int, length: int) -> NDArray[np.int16]:
    """Return recordings cut into rows of mono 16-bit samples, ``(rows, length)``; rests become silence.

    Raises
    ------
    TypeError, AudioError
        If `recordings` is no non-empty sequence of `Audio`, or one has an absurd sample rate, no samples,
        or values that are not finite.
    """
    if isinstance(recordings, Audio) or not isinstance(recordings, Sequence):
        raise TypeError(f"recordings must be a list of Audio, got {type(recordings).__name__}")
    if not recordings:
        raise AudioError("recordings is empty: a codec needs audio to be trained on")
    parts = []
    for number, audio in enumerate(recordings):
        if not isinstance(audio, Audio):
            raise TypeError(f"recordings[{number}] must be Audio, got {type(audio).__name__}")
        mono = np.clip(as_audio(audio, name=f"recordings[{number}]").mono_at(sample_rate), -1.0, 1.0)
        filled = np.pad(mono, (0, -len(mono) % length))
        parts.append(np.round(filled * 32767.0).astype(np.int16).reshape(-1, length))
    return np.concatenate(parts)


def training_rows(recordings: Sequence[Audio], sample_rate: int, spectrogram: CausalSpectrogram) -> Tensor:
    """Return rows that are long enough for crops at several places, int16 of shape ``(rows, length)``."""
    crop = _latent_frames(CROP_SECONDS, sample_rate, spectrogram)
    spare = round((ROW_SECONDS - CROP_SECONDS) * sample_rate / (MERGED * spectrogram.hop))
    length = spectrogram.delay + (crop + spare) * MERGED * spectrogram.hop
    return torch.from_numpy(codec_rows(recordings, sample_rate, length))


def codec_options(max_steps: int, batch_size: int, learning_rate: float) -> TrainingOptions:
    """Return how codecs are trained: a short rise of the learning rate, then half a cosine."""
    return TrainingOptions(
        max_steps=max_steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        warmup_steps=min(100, max_steps // 10),
        learning_rate_schedule="cosine",
        evaluate_every=100,
        gradient_clip=1.0,
    )


def fit_light_codec(
    recordings: Sequence[Audio],
    *,
    channels: int = 32,
    sample_rate: int = 24_000,
    max_steps: int = 4500,
    batch_size: int = 16,
    learning_rate: float = 1e-3,
    noise: float = 0.3,
    seed: int = 0,
    device: torch.device | str = "cpu",
    verbose: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    trainer_options: Mapping[str, Any] | None = None,
    sizes: CodecSizes | None = None,
    spectrogram: CausalSpectrogram | None = None,
) -> LightCodec:
    """Train a light codec.

    Parameters
    ----------
    recordings : sequence of Audio
        Any sample rates and channels; resampled and mixed to mono.
    channels : int
        Values a latent frame.
    sample_rate : int
        Samples a second of the codec.
    max_steps, batch_size, learning_rate
        As in `TrainingOptions`; a row of a batch is 1 s of audio.
    noise : float >= 0
        Largest standard deviation of the noise on latents in training.
    seed : int >= 0
        Seed of weights, crops and noise.
    device : torch.device or str
        Where to train; the codec comes back on the CPU.
    verbose : bool
        Show a progress bar.
    checkpoint : path, optional
        As in `fit_network`.
    trainer_options : mapping, optional
        As in `fit_network`.
    sizes : CodecSizes, optional
        Sizes of the network; its bins and channels are set to fit.
    spectrogram : CausalSpectrogram, optional
        Window and hop.

    Returns
    -------
    LightCodec

    Raises
    ------
    TypeError, AudioError
        If `recordings` is no non-empty sequence of `Audio`.
    ValueError
        If an option is outside its range.
    """
    spectrogram = spectrogram or CausalSpectrogram()
    if isinstance(channels, bool) or not isinstance(channels, int) or channels < 1:
        raise ValueError(f"channels must be an integer >= 1, got {channels!r}")
    if isinstance(sample_rate, bool) or not isinstance(sample_rate, int) or sample_rate < 1:
        raise ValueError(f"sample_rate must be an integer >= 1, got {sample_rate!r}")
    if not noise >= 0:
        raise ValueError(f"noise must be >= 0, got {noise}")
    rows = training_rows(recordings, sample_rate, spectrogram)
    network = _new_network(sizes or CodecSizes(), spectrogram.bins, channels, seed)
    objective = CodecObjective(spectrogram, sample_rate, noise)
    generator = torch.Generator().manual_seed(seed)
    network.typical.copy_(_typical_levels(objective, rows, generator))
    fit_network(
        network,
        objective,
        (rows,),
        options=codec_options(max_steps, batch_size, learning_rate),
        seed=seed,
        device=device,
        trainer_options=trainer_options,
        checkpoint=checkpoint,
        description=f"light codec, noise {noise}",
        verbose=verbose,
    )
    placeholder = LatentStatistics(torch.zeros(channels), torch.ones(channels))
    codec = LightCodec(network, placeholder, sample_rate=sample_rate, spectrogram=spectrogram)
    statistics = _latent_statistics(codec, rows, generator)
    return LightCodec(network, statistics, sample_rate=sample_rate, spectrogram=spectrogram)


def _latent_frames(seconds: float, sample_rate: int, spectrogram: CausalSpectrogram) -> int:
    return max(round(seconds * sample_rate / (MERGED * spectrogram.hop)), WARM_UP)


def _new_network(sizes: CodecSizes, bins: int, channels: int, seed: int) -> LightCodecNetwork:
    values = {**vars(sizes), "bins": bins, "channels": channels}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LightCodecNetwork(CodecSizes(**values))


def _some(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    return rows[torch.randperm(len(rows), generator=generator)[:count]]


def _typical_levels(objective: CodecObjective, rows: Tensor, generator: torch.Generator) -> Tensor:
    parts = [objective.levels(part, generator) for part in torch.split(_some(rows, 200, generator), 20)]
    return torch.cat(parts).mean((0, 1))


def _latent_statistics(codec: LightCodec, rows: Tensor, generator: torch.Generator) -> LatentStatistics:
    whole = rows.shape[1] // codec.hop * codec.hop
    chosen = torch.split(_some(rows, 1000, generator)[:, :whole], 20)
    parts = [codec.encode(part.float() / 32768.0) for part in chosen]
    return LatentStatistics.of(torch.cat(parts)[:, WARM_UP:])
