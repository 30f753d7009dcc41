"""What is judged: real music, what a codec leaves of it, ceilings and floors, and what a model makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from music_quality_data import RATE, Excerpt
from numpy.typing import NDArray

from sciffusion.domains.music import Audio, Codec, reconstruct

__all__ = [
    "at_rate",
    "continued",
    "latent_noise",
    "noise_like",
    "played",
    "round_trip",
    "shuffled",
    "style_controls",
]

Samples = NDArray[np.float32]


def round_trip(codec: Codec, pieces: Sequence[Samples]) -> list[Samples]:
    """Return pieces of one length after encoding and decoding."""
    with torch.inference_mode():
        return [
            reconstruct(codec, torch.from_numpy(piece)[None])[0].clamp(-1.0, 1.0).numpy() for piece in pieces
        ]


def noise_like(pieces: Sequence[Samples], seed: int = 0) -> list[Samples]:
    """Return white noise, as loud as each piece."""
    random = np.random.default_rng(seed)
    return [
        (random.standard_normal(len(piece)) * np.sqrt(np.mean(piece**2))).clip(-1, 1).astype(np.float32)
        for piece in pieces
    ]


def latent_noise(codec: Codec, count: int, samples: int, seed: int = 0) -> list[Samples]:
    """Return what the codec makes of latents without any order: the right mean and spread, nothing else."""
    generator = torch.Generator().manual_seed(seed)
    frames = -(-(samples + codec.delay) // codec.hop)
    drawn = torch.randn(count, frames, codec.channels, generator=generator)
    with torch.inference_mode():
        sound = codec.decode(codec.statistics.denormalise(drawn))
    cut = sound[:, codec.delay : codec.delay + samples].clamp(-1.0, 1.0).numpy()
    return at_rate([Audio(piece, codec.sample_rate) for piece in cut], samples)


def shuffled(pieces: Sequence[Samples], seconds: float = 0.5, seed: int = 0) -> list[Samples]:
    """Return the pieces with moments of all of them in random order: right sounds, no music."""
    random, length = np.random.default_rng(seed), round(seconds * RATE)
    count = min(len(piece) for piece in pieces) // length
    parts = np.stack([piece[: count * length].reshape(count, length) for piece in pieces])
    order = random.permutation(parts.shape[0] * count)
    mixed = parts.reshape(-1, length)[order].reshape(len(pieces), -1)
    return [np.pad(piece, (0, len(whole) - len(piece))) for piece, whole in zip(mixed, pieces, strict=True)]


def style_controls(model: Any, count: int) -> list[dict[str, str]] | None:
    """Return the styles to ask for, taking turns; None for a model without them."""
    styles = list(model.layout_.styles)
    return [{"style": styles[place % len(styles)]} for place in range(count)] if styles else None


def played(model: Any, count: int, seconds: float, *, nfe: int, seed: int = 0) -> list[Samples]:
    """Return pieces that a model makes of nothing, in one batch."""
    lag = model.codec_.delay / model.codec_.sample_rate
    made = model.sample(seconds + lag, n=count, nfe=nfe, seed=seed, controls=style_controls(model, count))
    return at_rate([Audio(audio.samples[model.codec_.delay :], audio.sample_rate) for audio in made],
                   round(seconds * RATE))  # fmt: skip


def continued(
    model: Any, beginnings: Sequence[Excerpt], seconds: float, *, nfe: int, seed: int = 0
) -> list[Samples]:
    """Return what a model makes of the beginnings of pieces, without the beginnings."""
    styles = list(model.layout_.styles)
    made = [
        model.continue_audio(
            Audio(beginning.samples, RATE), seconds, nfe=nfe, seed=seed + place,
            controls={"style": beginning.style} if beginning.style in styles else None,
        )
        for place, beginning in enumerate(beginnings)
    ]  # fmt: skip
    return at_rate(made, round(seconds * RATE))


def at_rate(pieces: Sequence[Audio], samples: int) -> list[Samples]:
    """Return one channel at 24 kHz of every piece, cut or filled with silence to a length."""
    found = [piece.mono_at(RATE)[:samples] for piece in pieces]
    return [np.pad(piece, (0, samples - len(piece))) for piece in found]
