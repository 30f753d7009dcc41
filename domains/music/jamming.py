r"""Playing along: the sound of another player as a control of the frames that it belongs to.

What a partner plays is put on the time axis of the stream. When a piece of sound comes and :math:`n` samples
of the stream have been made, its first sample is placed at

.. math:: n - \text{ahead} + \text{delay} ;

what follows without a gap is placed right behind it. The stream is made in blocks, so it always is ahead of
the partner by what has been made and not yet been heard (*ahead*). Frames of which nothing is known yet are
NaN: the model was trained to go on without them. With a *delay* of a block or more everything that belongs to
a block is known when it is made, and the stream is an answer to what was played that much earlier.

Sound that comes while a block is being made still counts when that block is written into the model's memory.

Z. Novack and others, *Live Music Diffusion Models*, arXiv 2605.22717 (partners that are known up to a cutoff,
and the generative delay).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .codec import Codec, CodecState
from .session_resampler import StreamResampler

__all__ = ["PartnerTrack"]

_MOST_AHEAD = 60.0  # seconds of sound that are kept for blocks to come


class PartnerTrack:
    """Latents of another player, frame by frame of the stream.

    Parameters
    ----------
    codec : Codec
        Encodes what is heard.
    gap : int
        Samples by which sound may fall behind the stream before it is placed anew.
    shift : int, default 0
        Samples of delay minus those by which the stream is ahead.
    """

    def __init__(self, codec: Codec, *, gap: int, shift: int = 0) -> None:
        self._codec, self._gap, self._shift = codec, gap, shift
        self._latents = torch.zeros(0, codec.channels)
        self._first = 0  # frame of the first row of the latents
        self._frame = 0  # frame of the next sound to be encoded
        self._waiting = torch.zeros(0)
        self._encoder: CodecState = codec.start_encoding(1)
        self._resampler: StreamResampler | None = None
        self._begun = False

    def hear(self, samples: NDArray[np.float32], sample_rate: int, made: int) -> None:
        """Take in sound.

        Parameters
        ----------
        samples : ndarray of float32, shape ``(samples,)``
        sample_rate : int
        made : int
            Samples of the stream that have been made.
        """
        place = made + self._shift
        if not self._begun or self._end < place - self._gap:
            self._start(place)
        if self._end > place + self._gap + _MOST_AHEAD * self._codec.sample_rate:
            return
        if self._resampler is None or self._resampler.source != sample_rate:
            self._resampler = StreamResampler(sample_rate, self._codec.sample_rate)
        sound = self._resampler.push(torch.from_numpy(np.ascontiguousarray(samples)))
        self._waiting = torch.cat([self._waiting, sound])
        self._encode()

    def early(self, made: int) -> int:
        """Return the samples that have been heard beyond the place of what comes now."""
        return max(self._end - made - self._shift, 0) if self._begun else 0

    def frames(self, start: int, stop: int) -> Tensor:
        """Return normalised latents of frames of the stream, ``(stop - start, channels)``, NaN if unknown."""
        rows = torch.full((stop - start, self._codec.channels), torch.nan)
        low, high = max(start, self._first), min(stop, self._first + len(self._latents))
        if high > low:
            rows[low - start : high - start] = self._latents[low - self._first : high - self._first]
        return rows

    def forget(self, before: int) -> None:
        """Drop what is known of the frames before one."""
        gone = min(max(before - self._first, 0), len(self._latents))
        self._latents, self._first = self._latents[gone:], self._first + gone

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all there is to know, as tensors by name and values for JSON."""
        tensors = {"latents": self._latents, "waiting": self._waiting}
        tensors |= {f"encoder.{name}": part.cpu() for name, part in self._encoder.items()}
        values: dict[str, Any] = {
            "first": self._first,
            "frame": self._frame,
            "begun": self._begun,
            "shift": self._shift,
        }
        if self._resampler is not None:
            tensors["tail"], values["resampler"] = self._resampler.state()
        return {name: part.detach().clone() for name, part in tensors.items()}, values

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        device = self._codec.statistics.mean.device
        self._latents, self._waiting = tensors["latents"].clone(), tensors["waiting"].clone()
        self._first, self._frame = int(values["first"]), int(values["frame"])
        self._begun, self._shift = bool(values["begun"]), int(values["shift"])
        prefix = "encoder."
        self._encoder = {
            name[len(prefix) :]: part.to(device) for name, part in tensors.items() if name.startswith(prefix)
        }
        self._resampler = None
        if "resampler" in values:
            self._resampler = StreamResampler.restored(tensors["tail"], values["resampler"])

    @property
    def _end(self) -> int:
        """Sample of the stream behind the last one that was heard."""
        return self._frame * self._codec.hop + len(self._waiting)

    def _start(self, place: int) -> None:
        """Begin at a sample of the stream, in the middle of silence."""
        self._begun = True
        self._frame = place // self._codec.hop
        self._waiting = torch.zeros(place % self._codec.hop)
        self._encoder = self._codec.start_encoding(1)
        self._resampler = None

    def _encode(self) -> None:
        """Encode the whole frames that have been heard."""
        count = len(self._waiting) // self._codec.hop
        if count == 0:
            return
        end = count * self._codec.hop
        sound, self._waiting = self._waiting[:end], self._waiting[end:]
        device = self._codec.statistics.mean.device
        with torch.inference_mode():
            latents, self._encoder = self._codec.encode_next(sound[None].to(device), self._encoder)
            latents = self._codec.statistics.normalise(latents)[0].float().cpu()
        if not len(self._latents):
            self._first = self._frame
        unknown = self._frame - self._first - len(self._latents)
        rest = torch.full((max(unknown, 0), self._codec.channels), torch.nan)
        self._latents = torch.cat([self._latents, rest, latents])
        self._frame += count
