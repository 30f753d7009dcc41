r"""EnCodec as a codec of latents: the 24 kHz model of the package encodec, sample for sample in a stream.

Latents are the 128 continuous values a frame that the encoder hands to the quantiser, at 75 frames a second
(hop 320); nothing is quantised. Both networks are causal: frame i depends on samples before
:math:`320 (i + 1)` and sample n on frames up to :math:`\lfloor n / 320 \rfloor`, so the delay is 0.

*What whole and stream mean.* At the start of a clip the package reflects the first values of every layer to
the left, so its first frames depend on later ones. A stream cannot know those. Here every clip is taken to
follow `SILENT_FRAMES` frames of silence: encoding a clip is the package's encoding of [silence, clip] without
the frames of the silence, decoding the package's decoding of [latents of silence, latents] without its
samples (construction of this library). Whole clips and pieces then agree, and differ from the package's own
result near the start of a clip alone.

**Licence.** The metadata of the package encodec says CC BY-NC 4.0 (not for commercial use). It is an optional
extra, ``pip install 'sciffusion[encodec]'``; none of its code or weights are part of this library, and files
of models leave its weights out unless they are asked for.

Défossez, Copet, Synnaeve and Adi, *High Fidelity Neural Audio Compression*, arXiv 2210.13438.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sciffusion.estimators.imports import optional_import

from .audio import as_audio
from .codec import CodecState, LatentStatistics
from .encodec_stream import PieceWise, piecewise
from .torchaudio_import import import_torchaudio

__all__ = ["DOWNLOAD", "SILENT_FRAMES", "EncodecCodec"]

#: Where the package's own loader finds the weights of the 24 kHz model.
DOWNLOAD = "https://dl.fbaipublicfiles.com/encodec/v0/encodec_24khz-d7cc33bc.th"
#: Frames of silence before every clip (0.43 s): more than any reflection, enough for the LSTMs to settle.
SILENT_FRAMES = 32
_RATE, _HOP, _CHANNELS = 24_000, 320, 128
_SIDES = ("encoder", "decoder")


class EncodecCodec:
    """EnCodec at 24 kHz; made by `from_file`, `from_download` or, for tests, `from_random`.

    Its package is for non-commercial use (see the module's text).

    Parameters
    ----------
    sides : dict of str to nn.Module
        The networks ``encoder`` and ``decoder`` of the package.
    source : {"file", "download", "random"}
        Where the weights come from.
    seed : int, optional
        Of random weights.
    statistics : LatentStatistics, optional
        Of the latents; mean 0 and standard deviation 1 until `fit_statistics` has measured them.
    keep_weights : bool, default False
        Whether `description`, and so files of models, hold the weights.

    Attributes
    ----------
    fingerprint : str
        SHA-256 of the weights: a model goes with latents of these weights alone.
    """

    sample_rate: int = _RATE
    hop: int = _HOP
    channels: int = _CHANNELS
    delay: int = 0

    def __init__(
        self,
        sides: dict[str, nn.Module],
        source: str,
        *,
        seed: int | None = None,
        statistics: LatentStatistics | None = None,
        keep_weights: bool = False,
    ) -> None:
        weights = {f"{side}.{k}": v for side in _SIDES for k, v in sides[side].state_dict().items()}
        self.fingerprint = _fingerprint(weights)
        self.source, self.seed, self.keep_weights = source, seed, keep_weights
        self._weights = {name: part.clone() for name, part in weights.items()} if keep_weights else {}
        self._encoder, self._decoder = (_network(sides[side]) for side in _SIDES)
        self.statistics = statistics or LatentStatistics(torch.zeros(_CHANNELS), torch.ones(_CHANNELS))
        self._starts: dict[str, CodecState] = {}

    @classmethod
    def from_file(
        cls,
        path: str | os.PathLike[str],
        *,
        statistics: LatentStatistics | None = None,
        keep_weights: bool = False,
    ) -> EncodecCodec:
        """Return the codec with weights from a file of the user, ``encodec_24khz-*.th``.

        The file is read as tensors; no code in it is executed.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it does not hold the weights of the 24 kHz model.
        ImportError
            If the package is not installed.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"there is no file of EnCodec weights {os.fspath(path)!r}")
        try:
            weights = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # whatever a file that holds no tensors makes the reader raise
            raise ValueError(f"{os.fspath(path)!r} holds no weights that can be read: {error}") from error
        sides = _loaded(weights, repr(os.fspath(path)))
        return cls(sides, "file", statistics=statistics, keep_weights=keep_weights)

    @classmethod
    def from_download(
        cls, *, statistics: LatentStatistics | None = None, keep_weights: bool = False
    ) -> EncodecCodec:
        """Return the codec with the published weights, downloaded once and checked by their hash."""
        weights = torch.hub.load_state_dict_from_url(
            DOWNLOAD, map_location="cpu", check_hash=True, weights_only=True
        )
        return cls(_loaded(weights, DOWNLOAD), "download", statistics=statistics, keep_weights=keep_weights)

    @classmethod
    def from_random(cls, seed: int = 0, *, statistics: LatentStatistics | None = None) -> EncodecCodec:
        """Return the codec with random weights: a test of interfaces, whose sound is noise."""
        return cls(_sides(seed), "random", seed=seed, statistics=statistics)

    @classmethod
    def from_description(
        cls,
        tensors: Mapping[str, Tensor],
        values: Mapping[str, Any],
        *,
        weights: str | os.PathLike[str] | None = None,
    ) -> EncodecCodec:
        """Return the codec of `description`.

        Parameters
        ----------
        tensors, values
            What `description` gave.
        weights : path-like, optional
            The user's file of weights, where the description leaves them out; by default the environment
            variable ``SCIFFUSION_ENCODEC_WEIGHTS`` names it. Downloaded weights are fetched again.

        Raises
        ------
        ValueError
            If weights are needed and not given, or are other ones.
        """
        statistics = LatentStatistics(tensors["mean"], tensors["std"])
        kept = {k.removeprefix("weights."): v for k, v in tensors.items() if k.startswith("weights.")}
        weights = weights or os.environ.get("SCIFFUSION_ENCODEC_WEIGHTS")
        if kept:
            sides = _loaded(kept, "the description")
            codec = cls(sides, values["source"], statistics=statistics, keep_weights=True)
        elif values["source"] == "random":
            codec = cls.from_random(values["seed"], statistics=statistics)
        elif weights:
            codec = cls.from_file(weights, statistics=statistics)
        elif values["source"] == "download":
            codec = cls.from_download(statistics=statistics)
        else:
            raise ValueError(
                "the model was made with EnCodec weights from a file, which its own file leaves out for "
                "their licence: name that file in the environment variable SCIFFUSION_ENCODEC_WEIGHTS"
            )
        if codec.fingerprint != values["fingerprint"]:
            raise ValueError(
                f"these EnCodec weights (SHA-256 {codec.fingerprint[:12]}...) are not those the model was "
                f"made with ({values['fingerprint'][:12]}...)"
            )
        return codec

    def description(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return what model files hold: statistics, source and fingerprint, and weights where asked for."""
        tensors = {"mean": self.statistics.mean.cpu(), "std": self.statistics.std.cpu()}
        tensors |= {f"weights.{name}": part for name, part in self._weights.items()}
        values = {"kind": "encodec", "source": self.source, "fingerprint": self.fingerprint}
        return tensors, values | ({} if self.seed is None else {"seed": self.seed})

    def fit_statistics(self, audio: Iterable[Any], sample_rate: int | None = None) -> EncodecCodec:
        """Measure mean and standard deviation of the latents of training audio; returns the codec itself.

        Parameters
        ----------
        audio : iterable of AudioLike
            Files, `Audio` or arrays.
        sample_rate : int, optional
            Of arrays, for which it is needed.

        Raises
        ------
        ValueError
            If there is no audio.
        """
        parts = []
        for number, clip in enumerate(audio):
            mono = as_audio(clip, sample_rate, name=f"audio[{number}]").mono_at(_RATE)
            parts.append(self.encode(torch.from_numpy(mono)[None]).flatten(0, 1))
        if not parts:
            raise ValueError("audio holds no clips, from which statistics could be taken")
        self.statistics = LatentStatistics.of(torch.cat(parts))
        return self

    def encode(self, audio: Tensor) -> Tensor:
        """Return latents ``(batch, ceil(samples / 320), 128)`` of audio ``(batch, samples)``."""
        missing = -audio.shape[-1] % _HOP
        padded = nn.functional.pad(audio, (0, missing))
        return self.encode_next(padded, self.start_encoding(len(audio)))[0]

    def decode(self, latents: Tensor) -> Tensor:
        """Return audio ``(batch, frames * 320)`` of latents ``(batch, frames, 128)``."""
        return self.decode_next(latents, self.start_decoding(len(latents)))[0]

    def start_encoding(self, batch: int = 1) -> CodecState:
        """Return the state after the silence that comes before every clip."""
        return _repeated(self._start("encoder"), batch)

    def encode_next(self, audio: Tensor, state: CodecState) -> tuple[Tensor, CodecState]:
        """Return the latents of the next samples, a multiple of 320, and the state after them."""
        if audio.ndim != 2 or audio.shape[-1] % _HOP:
            raise ValueError(
                f"audio must have shape (batch, samples) with a multiple of {_HOP} samples, got "
                f"{tuple(audio.shape)}"
            )
        if audio.shape[-1] == 0:
            return audio.new_zeros(len(audio), 0, _CHANNELS), state
        with torch.no_grad():
            latents, state = self._encoder(audio[:, None], state)
        return latents.transpose(1, 2), state

    def start_decoding(self, batch: int = 1) -> CodecState:
        """Return the state after the latents of silence that come before every clip."""
        return _repeated(self._start("decoder"), batch)

    def decode_next(self, latents: Tensor, state: CodecState) -> tuple[Tensor, CodecState]:
        """Return the audio of the next frames, ``(batch, frames * 320)``, and the state after them."""
        if latents.ndim != 3 or latents.shape[-1] != _CHANNELS:
            raise ValueError(
                f"latents must have shape (batch, frames, {_CHANNELS}), got {tuple(latents.shape)}"
            )
        if latents.shape[1] == 0:
            return latents.new_zeros(len(latents), 0), state
        with torch.no_grad():
            audio, state = self._decoder(latents.transpose(1, 2), state)
        return audio[:, 0], state

    def to(self, device: torch.device | str) -> EncodecCodec:
        """Move the codec to a device; returns the codec itself."""
        self._encoder, self._decoder = self._encoder.to(device), self._decoder.to(device)
        self._starts = {}
        return self

    def _start(self, side: str) -> CodecState:
        """Return the state of one item after the silence, computed once."""
        if not self._starts:
            device = next(self._encoder.parameters()).device
            with torch.no_grad():
                silence = torch.zeros(1, 1, SILENT_FRAMES * _HOP, device=device)
                latents, encoder = self._encoder(silence, None)
                decoder = self._decoder(latents, None)[1]
            self._starts = {"encoder": encoder, "decoder": decoder}
        return self._starts[side]


def _sides(seed: int) -> dict[str, nn.Module]:
    """Return the networks of the package with random weights, and torch's random state as it was."""
    import_torchaudio()
    modules = optional_import("encodec.modules", "encodec")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        keywords: dict[str, Any] = {"channels": 1, "dimension": _CHANNELS, "norm": "none", "causal": True}
        return {"encoder": modules.SEANetEncoder(**keywords), "decoder": modules.SEANetDecoder(**keywords)}


def _network(side: nn.Module) -> PieceWise:
    return piecewise(side.model).eval().requires_grad_(False)  # type: ignore[arg-type]


def _loaded(weights: Any, name: str) -> dict[str, nn.Module]:
    """Return the networks with weights of the package's files, which come with a norm of their own."""
    sides = _sides(0)
    for side, network in sides.items():
        try:
            given = {k.removeprefix(side + "."): v for k, v in weights.items() if k.startswith(side + ".")}
            network.load_state_dict(_without_norm(given))
        except (AttributeError, RuntimeError, TypeError, KeyError) as error:
            first = str(error).splitlines()[0]
            raise ValueError(f"{name} does not hold the weights of EnCodec at 24 kHz: {first}") from error
    return sides


def _without_norm(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    r"""Replace direction v and length g of a weight by :math:`g v / \lVert v \rVert`, norms an index."""
    plain = dict(weights)
    for name in [name for name in weights if name.endswith("weight_g")]:
        length, direction = plain.pop(name), plain.pop(name[:-1] + "v")
        size = direction.flatten(1).norm(dim=1).reshape(length.shape)
        plain[name[:-2]] = direction * (length / size)
    return plain


def _fingerprint(weights: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode() + weights[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _repeated(state: CodecState, batch: int) -> CodecState:
    """Return the state of one item for every item; hidden values of an LSTM have items as second axis."""
    return {
        name: part.repeat(1, batch, 1) if name.endswith((".hidden", ".cell")) else part.repeat(batch, 1, 1)
        for name, part in state.items()
    }
