"""How good the music is, on pieces held out by piece: `python benchmarks/music_quality.py --corpus FOLDER`.

One half of the test pieces is the reference; everything else is judged against it by the same measures
(`music_quality_scores.py`): the other half, its round trip through the codec, copies of training pieces,
white noise, noise through the codec, moments in random order, and what the model makes of nothing and of the
beginnings of test pieces, at several numbers of evaluations. Gates (`music_quality_bars.py`): on each
embedding no farther from real than a third of the way from the codec's round trip to white noise, and, which
is harder, to noise through the codec; a pitch-class distance at most twice that of real halves; note F1 of
the round trip at least .9 of that of real audio, for each instrument; no more passages near training pieces
than held-out music has. Nothing is chosen on these pieces.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from bars import Bar, bars_text, check_exit_code
from measuring import limit_threads
from music_quality_bars import quality_bars, reading
from music_quality_data import RATE, Excerpt, Piece, excerpts, halves, read_pieces
from music_quality_pictures import draw_scores, draw_spectrograms
from music_quality_rows import continued, latent_noise, noise_like, played, round_trip, shuffled
from music_quality_scores import Judge, Set, log_mel_clips, mean_f1
from reporting import markdown_table, run_header, write_markdown, write_table

from sciffusion.domains.music.codec_files import load_codec
from sciffusion.domains.music.diffusion import LiveMusicDiffusion
from sciffusion.domains.music.metrics import drift, jensen_shannon_distance
from sciffusion.domains.music.metrics_chroma import audio_pitch_classes
from sciffusion.domains.music.metrics_frechet import frechet_distance
from sciffusion.domains.music.pretrained import list_pretrained, pretrained_file

__all__ = ["QUICK", "Found", "Size", "main", "measure"]


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Parameters
    ----------
    count : int
        Excerpts of every row.
    reference : int
        Excerpts of the reference.
    seconds, prompt : float
        Duration of an excerpt, and of the beginnings that are continued.
    training : int or None
        Training recordings in the memorisation check; all by default.
    nfes : tuple of int
        Evaluations a block; the gates are about `gated`.
    streams : int
        Long streams for the drift, of `minutes` each, in windows of `window` seconds.
    """

    count: int = 20
    reference: int = 40
    seconds: float = 16.0
    prompt: float = 8.0
    training: int | None = None
    nfes: tuple[int, ...] = (2, 4, 8, 16)
    gated: int = 8
    streams: int = 6
    minutes: float = 2.5
    window: float = 15.0


QUICK = Size(count=6, reference=8, seconds=12.0, training=40, nfes=(8,), streams=0)


def _baselines(first: list[Excerpt], copies: list[Excerpt], codec: Any, size: Size) -> dict[str, Set]:
    """Return the rows that need no model."""
    real = [one.samples for one in first]
    truth, styles = [one.notes for one in first], [one.style for one in first]
    sets = {"real, other half": Set(real, truth, styles)}
    if codec is not None:
        sets["codec round trip"] = Set(round_trip(codec, real), truth, styles)
    sets["copies of training pieces"] = Set([one.samples for one in copies])
    sets["real moments in random order"] = Set(shuffled(real))
    sets["white noise"] = Set(noise_like(real))
    if codec is not None:
        samples = round(size.seconds * RATE)
        sets["noise through the codec"] = Set(latent_noise(codec, len(real), samples))
    return sets


def _made(model: Any, first: list[Excerpt], size: Size) -> dict[str, Set]:
    """Return what the model makes."""
    sets = {
        f"made, nfe {nfe}": Set(played(model, len(first), size.seconds, nfe=nfe, seed=nfe))
        for nfe in size.nfes
    }
    cut = round(size.prompt * RATE)
    beginnings = [one._replace(samples=one.samples[:cut]) for one in first]
    sets[f"continued, nfe {size.gated}"] = Set(continued(model, beginnings, size.seconds, nfe=size.gated))
    return sets


def _codec_table(sets: dict[str, Set], judge: Judge, reference: list[Excerpt], codec: Any) -> pd.DataFrame:
    """Return note F1 by style on all excerpts, of real audio and of its round trip."""
    if codec is None or judge.why_not:
        return pd.DataFrame()
    real, ours = sets["real, other half"], sets["codec round trip"]
    more = Set(round_trip(codec, [one.samples for one in reference]))
    styles = [*real.styles, *judge.reference.styles]
    truth = [*real.truth, *judge.reference.truth]
    heard = {
        "real": [*real.heard(), *judge.reference.heard()],
        "codec": [*ours.heard(), *more.heard()],
    }
    rows = [
        {"style": style, "excerpts": styles.count(style),
         **{name: mean_f1(notes, truth, styles, style) for name, notes in heard.items()}}
        for style in sorted(set(styles))
    ]  # fmt: skip
    table = pd.DataFrame(rows).set_index("style")
    table["share kept"] = table["codec"] / table["real"]
    return table


def _random_halves(groups: Sequence[list[Excerpt]], repeats: int = 20) -> float:
    """Return the mean pitch-class distance between random halves, by piece, of real excerpts."""
    shares: dict[str, np.ndarray] = {}
    for one in [one for group in groups for one in group]:
        found = audio_pitch_classes(torch.from_numpy(one.samples), RATE)
        shares[one.piece] = shares.get(one.piece, np.zeros(12)) + found
    table, random = np.stack(list(shares.values())), np.random.default_rng(0)
    values = []
    for _ in range(repeats):
        order = random.permutation(len(table))
        parts = np.array_split(table[order], 2)
        values.append(jensen_shannon_distance(*(part.sum(0) for part in parts)))
    return float(np.mean(values))


def _drift(model: Any, judge: Judge, size: Size) -> tuple[pd.DataFrame, dict[str, float]]:
    """Return the Fréchet distance of each window of long streams, and the line through it."""
    if model is None or size.streams == 0:
        return pd.DataFrame(), {}
    seconds = 60.0 * size.minutes
    streams = torch.from_numpy(np.stack(played(model, size.streams, seconds, nfe=size.gated, seed=1000)))
    real = log_mel_clips(judge.reference.tensor())
    length = round(size.window * RATE)
    windows = [
        streams[:, start : start + length] for start in range(0, streams.shape[1] - length + 1, length)
    ]
    found = drift([frechet_distance(log_mel_clips(part), real) for part in windows], size.window)
    table = pd.DataFrame({"minutes": found.minutes, "FD log-mel": found.values})
    table["level dB"] = [10.0 * float(part.square().mean().clamp_min(1e-12).log10()) for part in windows]
    return table, {
        "slope": found.slope, "error": found.error, "minutes": size.minutes,
        "streams": float(size.streams), "first": found.values[0], "last": found.values[-1],
    }  # fmt: skip


def _model(path: Path | None) -> tuple[Any, str | None]:
    """Return the model, or why there is none."""
    names = list_pretrained()
    if path is None and not names:
        return None, "this version comes without trained weights, and --model was not given"
    return LiveMusicDiffusion.load(pretrained_file(names[0]) if path is None else path), None


def _examples(sets: dict[str, Set], size: Size) -> dict[str, np.ndarray]:
    """Return one piece of every row to look at, prompts with what follows them."""
    shown = ("real, other half", "codec round trip", *(name for name in sets if name.startswith("made")),
             "noise through the codec")  # fmt: skip
    found = {name: sets[name].pieces[0] for name in shown if name in sets}
    for name in sets:
        if name.startswith("continued"):
            cut = min(round(5.0 * RATE), round(size.prompt * RATE))
            before = sets["real, other half"].pieces[0][round(size.prompt * RATE) - cut :][:cut]
            found[f"{name} (from 5 s on)"] = np.concatenate([before, sets[name].pieces[0]])
    return found


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="How good the music is.")
    parser.add_argument("--corpus", type=Path, help="folder of rendered pieces")
    parser.add_argument("--model", type=Path, help="a saved model; the published one by default")
    parser.add_argument("--codec", type=Path, help="a saved codec, judged where there is no model")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter excerpts, no drift")
    parser.add_argument("--check", action="store_true", help="exit 1 if a gate is missed")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/music_quality"))
    return parser.parse_args(arguments)


def _judge(reference: list[Excerpt], known: Sequence[Piece]) -> Judge:
    """Return what judges against the reference and the training pieces."""
    judged = Set(
        [one.samples for one in reference],
        [one.notes for one in reference],
        [one.style for one in reference],
    )
    return Judge(judged, (piece.samples() for piece in known))  # one after the other: they fill gigabytes


@dataclass(frozen=True)
class Found:
    """All that was measured."""

    table: pd.DataFrame
    kept: pd.DataFrame
    drifted: pd.DataFrame
    slope: dict[str, float]
    halves: float
    judged: tuple[str, ...]
    why_no_model: str | None
    left_out: list[str]

    def write(self, folder: Path, header: dict[str, str], note: str) -> list[Bar]:
        """Write tables, picture and report; give the gates."""
        bars = quality_bars(self.table, self.kept, self.halves, self.judged, self.why_no_model)
        words = reading(self.table, self.kept, self.halves, self.judged, self.slope, self.why_no_model)
        sections = [("What it says", words), ("Gates", bars_text(bars))]
        for name, part in (("quality", self.table), ("codec", self.kept), ("drift", self.drifted)):
            if not part.empty:
                shown = part if part.index.name else part.set_index("minutes")
                write_table(folder / f"{name}.csv", shown)
                sections.append((name.capitalize(), markdown_table(shown)))
        if self.left_out:
            sections.append(("Left out", "\n".join(f"- {reason}" for reason in self.left_out)))
        draw_scores(self.table, self.drifted, folder / "music_quality.png", note)
        pictures = [f"![{name}]({name})" for name in ("music_quality.png", "spectrograms.png")]
        sections.append(("Pictures", "\n\n".join(pictures)))
        write_markdown(folder / "report.md", "How good the music is", header, sections)
        return bars


def measure(pieces: Sequence[Piece], model: Any, codec: Any, size: Size) -> tuple[Found, dict[str, Set]]:
    """Judge every row; a model or codec that is None leaves its rows out."""
    first, second = halves(pieces)
    ours = excerpts(first, size.count, size.seconds, seed=1)
    reference = excerpts(second, size.reference, size.seconds, seed=2)
    known = [piece for piece in pieces if piece.split == "train"][: size.training]
    judge = _judge(reference, known)
    sets = _baselines(ours, excerpts(known, size.count, size.seconds, seed=3), codec, size)
    if model is not None:
        sets |= _made(model, ours, size)
    table = pd.DataFrame({name: judge.score(one) for name, one in sets.items()}).T.astype(float)
    table.index.name = "row"
    drifted, slope = _drift(model, judge, size)
    judged = tuple(name for name in sets if name.endswith(f"nfe {size.gated}"))
    kept = _codec_table(sets, judge, reference, codec)
    found = Found(table, kept, drifted, slope, _random_halves([ours, reference]), judged, None, judge.why_not)
    return found, sets


def main(
    arguments: Sequence[str] | None = None,
    size: Size | None = None,
    *,
    pieces: Sequence[Piece] | None = None,
    model: Any = None,
    codec: Any = None,
) -> int:
    """Judge everything, write tables and pictures, and give the exit code.

    ``pieces``, ``model`` and ``codec`` take the place of files.
    """
    options = _parse(arguments)
    limit_threads()
    reduced = options.quick or size is not None
    size = size or (QUICK if options.quick else Size())
    began = time.process_time()
    if pieces is None:
        if options.corpus is None:
            raise SystemExit("give --corpus FOLDER: sciffusion music render-corpus makes one")
        pieces = read_pieces(options.corpus)
    why_no_model = None
    if model is None:
        model, why_no_model = _model(options.model)
    if codec is None:
        codec = model.codec_ if model is not None else load_codec(options.codec) if options.codec else None
    found, sets = measure(pieces, model, codec, size)
    draw_spectrograms(_examples(sets, size), options.out / "spectrograms.png")
    header = run_header(reduced, None if arguments is None else ["music_quality.py", *arguments])
    header["excerpts"] = f"{size.count} a row, {size.reference} in the reference, {size.seconds:g} s each"
    header["CPU seconds"] = f"{time.process_time() - began:.0f}"
    found = replace(found, why_no_model=why_no_model)
    bars = found.write(options.out, header, ", reduced run" if reduced else "")
    return check_exit_code(bars) if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
