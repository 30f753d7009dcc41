"""What the light codec leaves of music: round trips, their parts, noise on latents, cost and equality."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from music_peers_audio import transcribe
from music_quality_data import RATE, Excerpt
from numpy.typing import NDArray
from torch import Tensor

from sciffusion.domains.music import Audio
from sciffusion.domains.music.embeddings import log_mel
from sciffusion.domains.music.light_codec import LightCodec, log_magnitudes
from sciffusion.domains.music.metrics_notes import note_scores
from sciffusion.domains.music.phase import spectra_of_peaks
from sciffusion.domains.music.spectrogram import CausalSpectrogram

__all__ = ["NOISES", "cost_row", "equality_rows", "left_of", "played_rows", "versions"]

NOISES = (0.1, 0.2, 0.3, 0.5)
SHOWN = ("original", "round trip")
STFT = CausalSpectrogram()

Samples: TypeAlias = NDArray[np.float32]


def versions(codec: LightCodec, generator: torch.Generator) -> dict[str, Callable[[Tensor], Tensor]]:
    """Give what is done to audio ``(1, samples)``, by name.

    *Phases alone* keeps the true magnitudes and integrates phases; *magnitudes alone* keeps the true phases
    under decoded magnitudes: the two parts of what a round trip loses.
    """
    made: dict[str, Callable[[Tensor], Tensor]] = {
        "original": lambda audio: audio,
        "phases alone": _phases_alone,
        "magnitudes alone": lambda audio: _magnitudes_alone(codec, audio),
        "round trip": lambda audio: _round_trip(codec, audio, 0.0, generator),
    }
    for size in NOISES:
        made[f"noise {size}"] = lambda audio, size=size: _round_trip(codec, audio, size, generator)
    return made


def _filled(codec: LightCodec, audio: Tensor) -> Tensor:
    """Give audio with the silence behind it that decoding waits for, in whole frames."""
    extra = codec.delay + -(audio.shape[1] + codec.delay) % codec.hop
    return torch.nn.functional.pad(audio, (0, extra))


def _round_trip(codec: LightCodec, audio: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    latents = codec.encode(_filled(codec, audio))
    drawn = torch.randn(latents.shape, generator=generator)
    made = codec.decode(latents + noise * codec.statistics.std * drawn)
    return made[:, codec.delay : codec.delay + audio.shape[1]]


def _spectra(audio: Tensor) -> Tensor:
    return STFT.analyse(audio, STFT.start_analysis(len(audio)))[0]


def _sound(spectra: Tensor, length: int) -> Tensor:
    made, _ = STFT.synthesise(spectra, STFT.start_synthesis(len(spectra)))
    return made[:, STFT.delay : STFT.delay + length]


def _whole(audio: Tensor) -> Tensor:
    extra = STFT.delay + -(audio.shape[1] + STFT.delay) % STFT.hop
    return torch.nn.functional.pad(audio, (0, extra))


def _phases_alone(audio: Tensor) -> Tensor:
    spectra = _spectra(_whole(audio))
    start = torch.zeros(len(audio), STFT.bins, dtype=torch.float64)
    found, _ = spectra_of_peaks(
        log_magnitudes(spectra), spectra.abs(), start, window=STFT.window, hop=STFT.hop
    )
    return _sound(found, audio.shape[1])


def _magnitudes_alone(codec: LightCodec, audio: Tensor) -> Tensor:
    filled = _filled(codec, audio)
    spectra = _spectra(filled)
    network = codec.network
    with torch.inference_mode():
        latents, _ = network.encode(log_magnitudes(spectra), network.encoder_pasts(1))
        levels, _ = network.decode(latents, network.decoder_pasts(1))
    magnitudes = (levels.exp() - log_magnitudes(torch.zeros_like(spectra)).exp()).clamp_min(0.0)
    return _sound(torch.polar(magnitudes, spectra.angle()), audio.shape[1])


def left_of(original: Tensor, made: Tensor) -> tuple[float, float]:
    """Give the mean difference of log-mel bands in dB and the spectral convergence of two sounds ``(1, n)``.

    Spectral convergence is the norm of the difference of magnitudes over the norm of the original's.
    """
    difference = 10.0 * (log_mel(made, RATE) - log_mel(original, RATE)).abs().mean()
    true, found = _spectra(_whole(original)).abs(), _spectra(_whole(made)).abs()
    return float(difference), float((found - true).norm() / true.norm())


def played_rows(
    codec: LightCodec, excerpts: Sequence[Excerpt], *, notes: bool, seed: int = 0
) -> tuple[list[dict[str, Any]], dict[str, Samples]]:
    """Judge every version of every excerpt; give rows, and the sounds of the first excerpt of each style."""
    made = versions(codec, torch.Generator().manual_seed(seed))
    rows, examples, shown = [], {}, set()
    for excerpt in excerpts:
        audio = torch.from_numpy(excerpt.samples)[None]
        for name, change in made.items():
            sound = change(audio)
            difference, convergence = left_of(audio, sound)
            row: dict[str, Any] = {"version": name, "style": excerpt.style, "piece": excerpt.piece}
            row |= {"log-mel dB": difference, "spectral convergence": convergence}
            if notes:
                heard = transcribe(Audio(sound[0].clamp(-1.0, 1.0).numpy(), RATE))
                row["note F1"] = note_scores(heard, excerpt.notes).f1
            rows.append(row)
            if excerpt.style not in shown and name in SHOWN:
                examples[f"{excerpt.style}, {name}"] = sound[0].numpy()
        shown.add(excerpt.style)
    return rows, examples


def _cpu(call: Callable[[], Any], repeats: int) -> float:
    call()
    seconds = []
    for _ in range(repeats):
        began = time.process_time()
        call()
        seconds.append(time.process_time() - began)
    return min(seconds)


def cost_row(codec: LightCodec, seconds: float = 4.8, repeats: int = 5) -> dict[str, float]:
    """Give CPU seconds a second of audio on this thread, at once and in blocks of 24 frames."""
    generator = torch.Generator().manual_seed(0)
    blocks = max(round(seconds * codec.sample_rate / codec.hop / 24), 1)
    audio = 0.1 * torch.randn(1, blocks * 24 * codec.hop, generator=generator)
    latents = codec.encode(audio)
    duration = audio.shape[1] / codec.sample_rate

    def stream() -> None:
        state = codec.start_decoding()
        for block in torch.split(latents, 24, dim=1):
            _, state = codec.decode_next(block, state)

    return {
        "encode": _cpu(lambda: codec.encode(audio), repeats) / duration,
        "decode": _cpu(lambda: codec.decode(latents), repeats) / duration,
        "decode in blocks": _cpu(stream, repeats) / duration,
    }


def equality_rows(codec: LightCodec, audio: Tensor) -> list[dict[str, Any]]:
    """Encode and decode ``(batch, samples)`` in pieces of several sizes; give the largest differences."""
    whole = codec.encode(audio)
    sound = codec.decode(whole)
    scale = float(sound.abs().max().clamp_min(1e-3))
    rows = []
    for size in (1, 3, 7, 24):
        latents = _pieces(codec.encode_next, codec.start_encoding(len(audio)), audio, size * codec.hop)
        again = _pieces(codec.decode_next, codec.start_decoding(len(audio)), whole, size)
        rows.append({
            "frames a piece": size,
            "latents": float((latents - whole).abs().max()),
            "audio over peak": float((again - sound).abs().max()) / scale,
        })  # fmt: skip
    return rows


def _pieces(step: Callable[..., Any], state: Any, values: Tensor, size: int) -> Tensor:
    parts = []
    for piece in torch.split(values, size, dim=1):
        part, state = step(piece, state)
        parts.append(part)
    return torch.cat(parts, dim=1)
