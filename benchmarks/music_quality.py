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
import hashlib
import sys
import time
from collections.abc import Callable, Sequence
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
from music_quality_scores import Judge, Set, hears_notes, log_mel_clips, mean_f1
from numpy.typing import NDArray
from reporting import RowFile, markdown_table, run_header, write_markdown, write_table

from sciffusion.domains.music.codec_files import load_codec
from sciffusion.domains.music.diffusion import LiveMusicDiffusion
from sciffusion.domains.music.metrics import drift, jensen_shannon_distance
from sciffusion.domains.music.metrics_chroma import audio_pitch_classes
from sciffusion.domains.music.metrics_frechet import frechet_distance
from sciffusion.domains.music.pretrained import list_pretrained, pretrained_file
from sciffusion.training.checkpoints import fingerprint

__all__ = ["QUICK", "Found", "Size", "main", "measure"]

Makers = dict[str, Callable[[], Set]]

#: Rows that are drawn besides those of the model.
SHOWN = ("real, other half", "codec round trip", "noise through the codec")


@dataclass(frozen=True)
class Rows:
    """Rows of a run that may go on later, and what its codec and model are known by."""

    file: RowFile
    codec: str
    model: str

    def known(self, name: str) -> dict[str, Any] | None:
        """Return a row that is there already, made by the same codec and model."""
        frame = self.file.frame()
        if frame.empty:
            return None
        same = frame[(frame["row"] == name) & (frame["made by"] == self.made_by(name))]
        return None if same.empty else dict(same.iloc[0].drop(["row", "made by"]))

    def add(self, name: str, row: dict[str, Any]) -> None:
        """Write a row."""
        self.file.add({"row": name, "made by": self.made_by(name), **row})

    def made_by(self, name: str) -> str:
        """Say what a row hangs on besides the corpus."""
        if name.startswith(("made", "continued")):
            return self.model
        return self.codec if "codec" in name else "corpus"


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Parameters
    ----------
    count : int
        Excerpts of every row.
    reference : int
        Excerpts of the reference.
    judged : int
        Excerpts by which the codec is judged, for each instrument.
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
    judged: int = 20
    seconds: float = 16.0
    prompt: float = 8.0
    training: int | None = None
    nfes: tuple[int, ...] = (2, 4, 8, 16)
    gated: int = 8
    streams: int = 6
    minutes: float = 2.5
    window: float = 15.0


QUICK = Size(count=6, reference=8, judged=4, seconds=12.0, training=40, nfes=(8,), streams=0)


def _baselines(first: list[Excerpt], known: Sequence[Piece], codec: Any, size: Size) -> Makers:
    """Return how the rows are made that need no model."""
    real, samples = [one.samples for one in first], round(size.seconds * RATE)
    truth = [one.notes for one in first]
    makers: Makers = {"real, other half": lambda: Set(real, truth)}
    if codec is not None:
        makers["codec round trip"] = lambda: Set(round_trip(codec, real), truth)
    makers["copies of training pieces"] = lambda: Set(
        [one.samples for one in excerpts(known, size.count, size.seconds, seed=3)]
    )
    makers["real moments in random order"] = lambda: Set(shuffled(real))
    makers["white noise"] = lambda: Set(noise_like(real))
    if codec is not None:
        makers["noise through the codec"] = lambda: Set(latent_noise(codec, len(real), samples))
    return makers


def _made(model: Any, first: list[Excerpt], size: Size) -> Makers:
    """Return how the rows of the model are made."""
    makers: Makers = {
        f"made, nfe {nfe}": lambda nfe=nfe: Set(played(model, len(first), size.seconds, nfe=nfe, seed=nfe))
        for nfe in size.nfes
    }
    cut = round(size.prompt * RATE)
    beginnings = [one._replace(samples=one.samples[:cut]) for one in first]
    makers[f"continued, nfe {size.gated}"] = lambda: Set(
        continued(model, beginnings, size.seconds, nfe=size.gated)
    )
    return makers


def _codec_table(pieces: Sequence[Piece], codec: Any, size: Size) -> pd.DataFrame:
    """Return note F1 by style on test excerpts, of real audio and of its round trip."""
    if codec is None or not hears_notes():
        return pd.DataFrame()
    test = [piece for piece in pieces if piece.split == "test"]
    rows = []
    for style in sorted({piece.style for piece in test}):
        own = [piece for piece in test if piece.style == style]
        parts = excerpts(own, size.judged, size.seconds, seed=4)
        real, truth = [one.samples for one in parts], [one.notes for one in parts]
        scores = {
            name: mean_f1(Set(sounds).heard(), truth)
            for name, sounds in (("real", real), ("codec", round_trip(codec, real)))
        }
        rows.append({"style": style, "excerpts": len(parts), **scores})
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


def _model_file(path: Path | None) -> Path | None:
    """Return the file of the model, by default the published one; None without any."""
    names = list_pretrained()
    return path or (pretrained_file(names[0]) if names else None)


def _examples(examples: dict[str, NDArray[np.float32]], size: Size) -> dict[str, NDArray[np.float32]]:
    """Return what is drawn: prompts with what follows them."""
    found = {name: one for name, one in examples.items() if name in SHOWN or name.startswith("made")}
    for name, one in examples.items():
        if name.startswith("continued"):
            stop, cut = round(size.prompt * RATE), round(min(5.0, size.prompt) * RATE)
            before = examples[SHOWN[0]][stop - cut : stop]
            found[f"{name} (from {cut / RATE:g} s on)"] = np.concatenate([before, one])
    return found


def _rows(options: argparse.Namespace, codec: Any, size: Size) -> Rows:
    """Return the rows of this run, those of an earlier one with the same settings among them."""
    settings = {"size": str(size), "styles": options.styles}
    made = "none" if codec is None else fingerprint({}, list(codec.description()[0].values()))
    path = _model_file(options.model)
    model = "none" if path is None else hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    file = RowFile(options.out / "rows.csv", ["row", "made by"], settings, options.resume)
    return Rows(file, str(made)[:16], model)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="How good the music is.")
    parser.add_argument("--corpus", type=Path, help="folder of rendered pieces")
    parser.add_argument("--styles", nargs="+", help="instruments of the model; all by default")
    parser.add_argument("--model", type=Path, help="a saved model; the published one by default")
    parser.add_argument("--codec", type=Path, help="a saved codec, judged where there is no model")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter excerpts, no drift")
    parser.add_argument("--resume", action="store_true", help="keep the rows of an earlier run")
    parser.add_argument("--check", action="store_true", help="exit 1 if a gate is missed")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/music_quality"))
    return parser.parse_args(arguments)


def _judge(reference: list[Excerpt], known: Sequence[Piece]) -> Judge:
    """Return what judges against the reference and the training pieces."""
    judged = Set([one.samples for one in reference], [one.notes for one in reference])
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


def measure(
    pieces: Sequence[Piece],
    model: Any,
    codec: Any,
    size: Size,
    styles: Sequence[str] | None = None,
    rows: Rows | None = None,
) -> tuple[Found, dict[str, NDArray[np.float32]]]:
    """Judge every row; a model or codec that is None leaves its rows out.

    Parameters
    ----------
    pieces, model, codec, size
        What is judged.
    styles : sequence of str, optional
        Of the rows; the codec is judged on all there are.
    rows : Rows, optional
        Where rows are written as they come; those that are there already are not judged again.

    Returns
    -------
    Found, and a piece of every row to look at
    """
    kept = _codec_table(pieces, codec, size)
    pieces = [piece for piece in pieces if styles is None or piece.style in styles]
    first, second = halves(pieces)
    ours = excerpts(first, size.count, size.seconds, seed=1)
    reference = excerpts(second, size.reference, size.seconds, seed=2)
    known = [piece for piece in pieces if piece.split == "train"][: size.training]
    judge = _judge(reference, known)
    made = {} if model is None else _made(model, ours, size)
    found, examples = {}, {}
    for name, make in (_baselines(ours, known, codec, size) | made).items():
        row = None if rows is None else rows.known(name)
        if row is None:
            judged = make()
            row, examples[name] = judge.score(judged), judged.pieces[0]
            if rows is not None:
                rows.add(name, row)
        elif name in SHOWN:
            examples[name] = make().pieces[0]
        found[name] = row
    table = pd.DataFrame(found).T.astype(float)
    table.index.name = "row"
    drifted, slope = _drift(model, judge, size)
    gated = tuple(name for name in made if name.endswith(f"nfe {size.gated}"))
    average = _random_halves([ours, reference])
    return Found(table, kept, drifted, slope, average, gated, None, judge.why_not), examples


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
    path, why_no_model = _model_file(options.model), None
    if model is None and path is None:
        why_no_model = "this version comes without trained weights, and --model was not given"
    elif model is None:
        model = LiveMusicDiffusion.load(path)
    if codec is None:
        codec = model.codec_ if model is not None else load_codec(options.codec) if options.codec else None
    rows = _rows(options, codec, size)
    found, examples = measure(pieces, model, codec, size, options.styles, rows)
    draw_spectrograms(_examples(examples, size), options.out / "spectrograms.png")
    header = run_header(reduced, None if arguments is None else ["music_quality.py", *arguments])
    header["excerpts"] = f"{size.count} a row, {size.reference} in the reference, {size.seconds:g} s each"
    header["CPU seconds"] = f"{time.process_time() - began:.0f}"
    found = replace(found, why_no_model=why_no_model)
    bars = found.write(options.out, header, ", reduced run" if reduced else "")
    return check_exit_code(bars) if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
