r"""The light codec: a small trained network between spectra and latents, and phases by integration.

Audio becomes log magnitudes :math:`\ell_f(k) = \log(|X_f(k)| + \epsilon)` of causal spectra (hop 480, window
2048 samples at 24 kHz), which a causal network turns into one latent frame for every two
(`LightCodecNetwork`). Decoding gives log magnitudes back, :math:`|X| = \max(e^{\ell} - \epsilon, 0)`, and
phases that are integrated from the frequencies of spectral peaks (`sciffusion.domains.music.phase`). There is
no adversary and no iteration, so training takes minutes on one CPU core and decoding a few hundredths of the
audio's duration.

Encoding needs no future. Decoded audio lags by the overlap of the windows, ``window - hop`` samples. What a
piece needs of its past (samples, frames of convolutions, phases, overlapping windows) is a mapping of plain
tensors; pieces put together equal the whole.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from sciffusion.estimators.persistence import ModelFileError

from .codec import CodecState, LatentStatistics
from .codec_storage import read_codec_description, save_codec
from .light_codec_network import MERGED, CodecSizes, LightCodecNetwork
from .phase import spectra_of_peaks
from .spectrogram import CausalSpectrogram

__all__ = ["FLOOR", "LightCodec", "log_magnitudes"]

#: Magnitude below which nothing is told apart, epsilon: -80 dB of a full-scale sine.
FLOOR = 1e-4


def log_magnitudes(spectra: Tensor) -> Tensor:
    """Return the logarithm of magnitude plus floor of complex spectra."""
    return torch.log(spectra.abs() + FLOOR)


class LightCodec:
    """A trained codec of mono audio; implements `sciffusion.domains.music.codec.Codec`.

    Made by `fit_light_codec` or `load`.

    Parameters
    ----------
    network : LightCodecNetwork
        Trained; the codec puts it in evaluation mode and takes its gradients off.
    statistics : LatentStatistics
        Of the latents of the training set.
    sample_rate : int
        Samples a second.
    spectrogram : CausalSpectrogram
        Window and hop; two of its hops are a latent frame.
    """

    def __init__(
        self,
        network: LightCodecNetwork,
        statistics: LatentStatistics,
        *,
        sample_rate: int = 24_000,
        spectrogram: CausalSpectrogram | None = None,
    ) -> None:
        self.spectrogram = spectrogram or CausalSpectrogram()
        if network.sizes.bins != self.spectrogram.bins:
            raise ValueError(
                f"network: it has {network.sizes.bins} bins, a window of {self.spectrogram.window} samples "
                f"has {self.spectrogram.bins}"
            )
        self.network = network.eval().requires_grad_(False)
        self._statistics = statistics
        self._sample_rate = int(sample_rate)

    def __repr__(self) -> str:
        return f"LightCodec({self.channels} channels, hop {self.hop}, {self.sample_rate} samples a second)"

    @property
    def sample_rate(self) -> int:
        """Samples a second."""
        return self._sample_rate

    @property
    def hop(self) -> int:
        """Samples a latent frame."""
        return MERGED * self.spectrogram.hop

    @property
    def channels(self) -> int:
        """Values a latent frame."""
        return self.network.sizes.channels

    @property
    def delay(self) -> int:
        """Samples by which decoded audio lags behind what was encoded."""
        return self.spectrogram.delay

    @property
    def statistics(self) -> LatentStatistics:
        """Mean and standard deviation of the latents of the training set."""
        return self._statistics

    @property
    def device(self) -> torch.device:
        """Where the network is, and where audio and latents are expected."""
        return self.network.typical.device

    def encode(self, audio: Tensor) -> Tensor:
        """Return latents of whole audio, whose last frame is filled up with silence.

        Parameters
        ----------
        audio : float32 Tensor of shape ``(batch, samples)``
            Full scale is [-1, 1].

        Returns
        -------
        float32 Tensor of shape ``(batch, ceil(samples / hop), channels)``
        """
        self._check(audio, "audio", 2, "(batch, samples)")
        filled = torch.nn.functional.pad(audio, (0, -audio.shape[1] % self.hop))
        return self.encode_next(filled, self.start_encoding(len(audio)))[0]

    def decode(self, latents: Tensor) -> Tensor:
        """Return audio of whole latents, `delay` samples late.

        Parameters
        ----------
        latents : float32 Tensor of shape ``(batch, frames, channels)``

        Returns
        -------
        float32 Tensor of shape ``(batch, frames * hop)``
        """
        self._check(latents, "latents", 3, f"(batch, frames, {self.channels})")
        return self.decode_next(latents, self.start_decoding(len(latents)))[0]

    def start_encoding(self, batch: int = 1) -> CodecState:
        """Return the state before the first sample."""
        state = {"samples": self.spectrogram.start_analysis(batch, self.device)}
        return state | _named(self.network.encoder_pasts(batch))

    @torch.inference_mode()
    def encode_next(self, audio: Tensor, state: CodecState) -> tuple[Tensor, CodecState]:
        """Return the latents of the next samples, and the state after them.

        Parameters
        ----------
        audio : float32 Tensor of shape ``(batch, frames * hop)``
        state : mapping of str to Tensor
            From `start_encoding` or the piece before; left as it is.

        Raises
        ------
        TypeError, ValueError
            For samples that are not float32, not whole frames, or of another batch than the state.
        """
        self._check(audio, "audio", 2, "(batch, samples)")
        if audio.shape[1] % self.hop:
            raise ValueError(f"audio must be whole frames of {self.hop} samples, got {audio.shape[1]}")
        self._check_batch(audio, state["samples"], "audio")
        if audio.shape[1] == 0:
            return audio.new_zeros(len(audio), 0, self.channels), state
        spectra, past = self.spectrogram.analyse(audio, state["samples"])
        latents, pasts = self.network.encode(log_magnitudes(spectra), _tensors(state))
        return latents, {"samples": past} | _named(pasts)

    def start_decoding(self, batch: int = 1) -> CodecState:
        """Return the state before the first frame."""
        state = {
            "frames": self.spectrogram.start_synthesis(batch, self.device),
            "phases": torch.zeros(batch, self.spectrogram.bins, dtype=torch.float64, device=self.device),
        }
        return state | _named(self.network.decoder_pasts(batch))

    @torch.inference_mode()
    def decode_next(self, latents: Tensor, state: CodecState) -> tuple[Tensor, CodecState]:
        """Return the audio of the next frames, and the state after them.

        Parameters
        ----------
        latents : float32 Tensor of shape ``(batch, frames, channels)``
        state : mapping of str to Tensor
            From `start_decoding` or the piece before; left as it is.

        Returns
        -------
        audio : float32 Tensor of shape ``(batch, frames * hop)``
        state : mapping of str to Tensor

        Raises
        ------
        TypeError, ValueError
            For latents that are not float32, of another width, or of another batch than the state.
        """
        self._check(latents, "latents", 3, f"(batch, frames, {self.channels})")
        self._check_batch(latents, state["frames"], "latents")
        if latents.shape[1] == 0:
            return latents.new_zeros(len(latents), 0), state
        levels, pasts = self.network.decode(latents, _tensors(state))
        spectra, phases = spectra_of_peaks(
            levels,
            (levels.exp() - FLOOR).clamp_min(0.0),
            state["phases"],
            window=self.spectrogram.window,
            hop=self.spectrogram.hop,
        )
        audio, frames = self.spectrogram.synthesise(spectra, state["frames"])
        return audio, {"frames": frames, "phases": phases} | _named(pasts)

    def to(self, device: torch.device | str) -> LightCodec:
        """Return the codec on a device; states made before stay where they are."""
        network = LightCodecNetwork(self.network.sizes)
        network.load_state_dict(self.network.state_dict())
        moved = LatentStatistics(self.statistics.mean.to(device), self.statistics.std.to(device))
        return LightCodec(
            network.to(device), moved, sample_rate=self.sample_rate, spectrogram=self.spectrogram
        )

    def description(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return weights, and values that are no tensors, for model files."""
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {"latent_mean": self.statistics.mean, "latent_std": self.statistics.std}
        values = {
            "kind": "light",
            "sample_rate": self.sample_rate,
            "spectrogram": asdict(self.spectrogram),
            "sizes": asdict(self.network.sizes),
        }
        return tensors, values

    @classmethod
    def from_description(cls, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> LightCodec:
        """Rebuild a codec from what `description` gave."""
        network = LightCodecNetwork(CodecSizes(**values["sizes"]))
        prefix = "network."
        weights = {name[len(prefix) :]: v for name, v in tensors.items() if name.startswith(prefix)}
        network.load_state_dict(weights)
        statistics = LatentStatistics(tensors["latent_mean"], tensors["latent_std"])
        spectrogram = CausalSpectrogram(**values["spectrogram"])
        return cls(network, statistics, sample_rate=values["sample_rate"], spectrogram=spectrogram)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the codec to one file that holds no code; replaced only once it is complete.

        Raises
        ------
        FileNotFoundError
            If the folder does not exist.
        """
        save_codec(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> LightCodec:
        """Read a codec that `save` wrote.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ModelFileError
            If the file is damaged, or holds something else or another codec.
        """
        tensors, values = read_codec_description(path)
        if values.get("kind") != "light":
            raise ModelFileError(
                f"{os.fspath(path)!r} holds a codec of another kind, {values.get('kind')!r}; read it with "
                "load_codec"
            )
        try:
            return cls.from_description(tensors, values)
        except (KeyError, TypeError, RuntimeError, ValueError) as error:
            raise ModelFileError(f"{os.fspath(path)!r} does not fit a light codec: {error}") from error

    def _check(self, value: Tensor, name: str, axes: int, shape: str) -> None:
        if not isinstance(value, Tensor) or value.dtype != torch.float32:
            found = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(f"{name} must be a float32 tensor of shape {shape}, got {found}")
        if value.ndim != axes or (axes == 3 and value.shape[-1] != self.channels):
            raise ValueError(f"{name} must have shape {shape}, got {tuple(value.shape)}")

    @staticmethod
    def _check_batch(value: Tensor, past: Tensor, name: str) -> None:
        if len(value) != len(past):
            raise ValueError(f"{name} has a batch of {len(value)}, the state is for one of {len(past)}")


def _named(pasts: Sequence[Tensor]) -> dict[str, Tensor]:
    return {f"convolution_{number}": past for number, past in enumerate(pasts)}


def _tensors(state: CodecState) -> list[Tensor]:
    count = sum(name.startswith("convolution_") for name in state)
    return [state[f"convolution_{number}"] for number in range(count)]
