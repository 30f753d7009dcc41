"""Whether endless streams drift, and what helps: `python benchmarks/music_drift.py`.

*A law whose truth is known.* Frames hold four oscillators (a phase that advances at its own rate with a
little noise, an amplitude that wanders as an autoregression) and observation noise. Small block-causal
networks learn it from recordings of a minute and then play for minutes on end without a recording; four of
them: trained plainly, with noise on the past in training, and the plain one trained on its own rollouts by
either loss (as many further steps as the plain one is given, too). For every minute the Fréchet distance
between Gaussian fits of features of the streams (frames, frames next to each other and four apart, and log
amplitudes) and the law's; fresh draws of the law are the floor.

*A model of music*, where one is given by `--model`: the same distance of its latents, minute by minute, to
those of the recordings in `--corpus`, of which the first and the second half against each other are the
floor.
"""

from __future__ import annotations

import argparse
import copy
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from bars import Bar, bars_text, check_exit_code, compare
from measuring import limit_threads
from reporting import markdown_table, run_header, write_markdown, write_table
from survival_pictures import new_figure, save_figure
from torch import Tensor

from sciffusion.continuous import Euler, RectifiedFlow
from sciffusion.domains.music.self_forcing import SelfForcing, self_force
from sciffusion.domains.music.session_blocks import sigmoid_grid
from sciffusion.domains.music.training import MusicTraining, fit_music_network
from sciffusion.networks import BlockLatentDenoiser, BlockLatentTransformer
from sciffusion.sampling import BlockCausalGenerator
from sciffusion.training import TrainingOptions

__all__ = ["drift_bars", "frechet", "law", "main", "model_rows", "toy_rows"]

RATES = torch.tensor([0.15, 0.4, 0.9, 1.7])
CHANNELS, FRAME_RATE, NFE = 8, 25, 8


@dataclass(frozen=True)
class Size:
    """How much a run does."""

    block: int = 8
    window: int = 4
    width: int = 64
    depth: int = 3
    steps: int = 1500
    further: int = 300
    recordings: int = 40
    minutes: int = 10
    streams: int = 32
    minute: int = 60 * FRAME_RATE
    model_minutes: int = 10
    model_streams: int = 4


QUICK = Size(width=32, depth=2, steps=200, further=30, recordings=10, minutes=2, streams=16, model_minutes=2)


def law(count: int, frames: int, generator: torch.Generator) -> Tensor:
    """Draw sequences of the law, shape ``(count, frames, 8)``."""
    draw = {"generator": generator}
    steps = RATES + 0.08 * torch.randn(count, frames, 4, **draw)
    phase = 2 * math.pi * torch.rand(count, 1, 4, **draw) + steps.cumsum(1)
    amplitude = torch.exp(0.5 * _autoregression(torch.randn(count, frames + 1, 4, **draw), 0.97) - 0.125)
    values = amplitude.repeat(1, 1, 2) * torch.cat([phase.cos(), phase.sin()], dim=-1)
    return math.sqrt(2) * 0.8 * values + 0.03 * torch.randn(count, frames, CHANNELS, **draw)


def _autoregression(noise: Tensor, memory: float) -> Tensor:
    """Give a stationary autoregression of unit variance from one number more; lags beyond 256 are cut."""
    noise, before = noise[:, 1:], noise[:, :1]
    lags = torch.arange(256.0)
    kernel = memory**lags * math.sqrt(1 - memory**2)
    length = noise.shape[1] + 512
    spectrum = torch.fft.rfft(noise, length, dim=1) * torch.fft.rfft(kernel, length)[:, None]
    driven = torch.fft.irfft(spectrum, length, dim=1)[:, : noise.shape[1]]
    age = torch.arange(1.0, noise.shape[1] + 1)[:, None]
    return driven + memory**age * before


def _features(frames: Tensor) -> Tensor:
    """Give features of every place of sequences, ``(places, numbers)``."""
    half = frames.shape[-1] // 2
    size = 0.5 * (frames[:, 4:, :half].square() + frames[:, 4:, half:].square() + 1e-4).log()
    parts = [frames[:, 4:], frames[:, 3:-1], frames[:, :-4], size]
    return torch.cat(parts, dim=-1).flatten(0, 1).double()


def _fit(features: Tensor) -> tuple[Tensor, Tensor]:
    return features.mean(0), torch.cov(features.T)


def frechet(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> float:
    """Give the squared Fréchet distance of two Gaussian laws, each mean and covariance."""

    def root(matrix: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(matrix)
        return (vectors * values.clamp_min(0.0).sqrt()) @ vectors.T

    own = root(first[1])
    cross = root(own @ second[1] @ own)
    apart = (first[0] - second[0]).square().sum()
    return float(apart + torch.trace(first[1]) + torch.trace(second[1]) - 2 * torch.trace(cross))


def _minutes(network: Any, channels: int, truth: Any, minutes: int, streams: int, minute: int) -> list[float]:
    """Play, and give the distance to the truth of every minute; nothing older is kept."""
    generator = BlockCausalGenerator(
        BlockLatentDenoiser(network, RectifiedFlow(), "flow"), Euler(), sigmoid_grid(NFE),
        frame_shape=(channels,), fused=True,
    )  # fmt: skip
    stream, distances = generator.start(streams), []
    for _ in range(minutes):
        parts = []
        for _ in range(max(minute // network.block, 1)):
            stream, block = generator.advance(stream)
            parts.append(block.values)
        distances.append(frechet(_fit(_features(torch.cat(parts, dim=1))), truth))
    return distances


def _options(steps: int, learning_rate: float) -> TrainingOptions:
    return TrainingOptions(
        max_steps=steps, batch_size=32, learning_rate=learning_rate, warmup_steps=min(50, steps),
        learning_rate_schedule="cosine", ema_half_life=max(steps / 15, 1.0), evaluate_every=steps, threads=1,
    )  # fmt: skip


def _networks(size: Size, recordings: list[Tensor]) -> dict[str, tuple[Any, float]]:
    """Train the four networks; give them with the CPU seconds of their training."""
    made: dict[str, tuple[Any, float]] = {}

    def keep(name: str, network: Any, began: float, before: float = 0.0) -> None:
        made[name] = (network.eval().requires_grad_(False), before + time.process_time() - began)

    def trained(steps: int, noise: float) -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = BlockLatentTransformer(
                CHANNELS, block=size.block, window=size.window, width=size.width, depth=size.depth, n_heads=4
            )
        fit_music_network(network, recordings, options=_options(steps, 2e-3), seed=0,
                          training=MusicTraining(clean_noise=noise))  # fmt: skip
        return network

    for name, noise in (("plain", 0.0), ("noise on the past", 0.1)):
        began = time.process_time()
        keep(name, trained(size.steps + size.further, noise), began)
    began = time.process_time()
    start = trained(size.steps, 0.0)
    shared = time.process_time() - began
    for loss in ("energy", "relativistic"):
        began, network = time.process_time(), copy.deepcopy(start)
        forcing = SelfForcing(sigmoid_grid(NFE), loss=loss, critic_steps=size.further // 4)  # type: ignore[arg-type]
        self_force(network, recordings, forcing=forcing, options=_options(size.further, 1e-4), seed=0)
        keep(f"self-forced, {loss}", network, began, shared)
    return made


def toy_rows(size: Size) -> list[dict[str, Any]]:
    """Train, play, and give the distances by network and minute."""
    generator = torch.Generator().manual_seed(0)
    recordings = list(law(size.recordings, size.minute, generator))
    truth = _fit(_features(law(8 * size.streams, size.minute, generator)))
    floor = frechet(_fit(_features(law(size.streams, size.minute, generator))), truth)
    rows = [{"network": "the law itself", "minute": 1, "distance": floor, "training CPU s": 0.0}]
    for name, (network, seconds) in _networks(size, recordings).items():
        distances = _minutes(network, CHANNELS, truth, size.minutes, size.streams, size.minute)
        rows += [{"network": name, "minute": number, "distance": distance, "training CPU s": seconds}
                 for number, distance in enumerate(distances, start=1)]  # fmt: skip
    return rows


def model_rows(model: Path, corpus: Path, size: Size, most: int = 40) -> list[dict[str, Any]]:
    """Give the distances of a model of music to recordings, by minute."""
    from sciffusion.domains.music import LiveMusicDiffusion, read_audio

    estimator = LiveMusicDiffusion.load(model)
    codec, latents = estimator.codec_, []
    for path in sorted(corpus.glob("*.wav"))[:most]:
        sound = torch.from_numpy(read_audio(path).mono_at(codec.sample_rate))[None]
        with torch.inference_mode():
            latents.append(codec.statistics.normalise(codec.encode(sound))[:, : size.minute])
    fits = [_fit(torch.cat([_features(part) for part in latents[first::2]])) for first in (0, 1)]
    truth = _fit(torch.cat([_features(part) for part in latents]))
    rows = [{"network": "recordings, halves", "minute": 1, "distance": frechet(*fits)}]
    distances = _minutes(
        estimator._network_, codec.channels, truth, size.model_minutes, size.model_streams, size.minute
    )
    return rows + [{"network": "model", "minute": number, "distance": distance}
                   for number, distance in enumerate(distances, start=1)]  # fmt: skip


def _last(rows: pd.DataFrame, name: str) -> float:
    part = rows[rows["network"] == name]
    return float(part.loc[part["minute"].idxmax(), "distance"])


def drift_bars(toy: pd.DataFrame, reduced: bool) -> list[Bar]:
    """Give the bars."""
    names = [name for name in toy["network"].unique() if name.startswith("self-forced")]
    if reduced:
        return [Bar(f"{name} drifts less than plain training", None, "needs the full run") for name in names]
    plain = _last(toy, "plain")
    return [compare(f"{name} ends no farther from the law than plain training", _last(toy, name), plain,
                    at_most=True) for name in names]  # fmt: skip


def _reading(toy: pd.DataFrame, model: pd.DataFrame | None) -> str:
    lines = [f"Fresh draws of the law lie {_last(toy, 'the law itself'):.4f} from it."]
    for name, part in toy.groupby("network", sort=False):
        if name != "the law itself":
            first = float(part.loc[part["minute"].idxmin(), "distance"])
            lines.append(f"{name}: {first:.3f} in the first minute, {_last(toy, name):.3f} in the last.")
    if model is not None:
        part = model[model["network"] == "model"]
        lines.append(f"The model of music: {part['distance'].iloc[0]:.2f} in the first minute, "
                     f"{part['distance'].iloc[-1]:.2f} in the last; halves of the recordings differ by "
                     f"{_last(model, 'recordings, halves'):.2f}.")  # fmt: skip
    return "\n\n".join(lines)


def _draw(toy: pd.DataFrame, path: Path, note: str) -> None:
    figure, axes = new_figure(width=5.6)
    for name, part in toy.groupby("network", sort=False):
        if name == "the law itself":
            axes[0][0].axhline(float(part["distance"].iloc[0]), color="black", linewidth=0.5, label=name)
        else:
            axes[0][0].plot(part["minute"], part["distance"], "o-", label=name)
    axes[0][0].set(yscale="log", xlabel="minute of the stream", ylabel="Fréchet distance to the law",
                   title=f"Drift of streams{note}")  # fmt: skip
    axes[0][0].legend(fontsize=7)
    save_figure(figure, path)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Drift of endless streams.")
    parser.add_argument("--quick", action="store_true", help="less training, two minutes")
    parser.add_argument("--check", action="store_true", help="compare with the bars; exit 1 if one is missed")
    parser.add_argument("--model", type=Path, help="a saved LiveMusicDiffusion")
    parser.add_argument("--corpus", type=Path, help="folder of recordings that the model was trained on")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/music_drift"))
    options = parser.parse_args(arguments)
    if (options.model is None) != (options.corpus is None):
        parser.error("give --model and --corpus together")
    return options


def main(arguments: Sequence[str] | None = None, size: Size | None = None) -> int:
    """Measure everything, write tables and picture, and give the exit code."""
    options = _parse(arguments)
    limit_threads()
    reduced = options.quick or size is not None
    size = size or (QUICK if options.quick else Size())
    began = time.process_time()
    toy = pd.DataFrame(toy_rows(size))
    model = None
    if options.model is not None:
        model = pd.DataFrame(model_rows(options.model, options.corpus, size))
    bars = drift_bars(toy, reduced)
    sections = [("What it says", _reading(toy, model)), ("Bars", bars_text(bars))]
    for name, table in (("law", toy), ("model", model)):
        if table is not None:
            indexed = table.set_index("network")
            write_table(options.out / f"{name}.csv", indexed)
            sections.append((name.capitalize(), markdown_table(indexed, digits=4)))
    _draw(toy, options.out / "music_drift.png", ", reduced run" if reduced else "")
    sections.append(("Picture", "![music_drift.png](music_drift.png)"))
    header = run_header(reduced, None if arguments is None else ["music_drift.py", *arguments])
    header["CPU seconds"] = f"{time.process_time() - began:.0f}"
    write_markdown(options.out / "report.md", "Drift of endless streams", header, sections)
    return check_exit_code(bars) if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
