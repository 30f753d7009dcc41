"""What the light codec leaves of music: `python benchmarks/music_codec.py --corpus DIR [--codec FILE]`.

*Round trips* of excerpts of the corpus's test pieces, judged by log-mel difference, spectral convergence and
the notes that basic-pitch hears against the notes that were played; beside them what phases alone and
magnitudes alone lose, and round trips whose latents carry normal noise, as those of a generator do.

*Pieces.* Encoding and decoding in pieces of several sizes against doing it at once.

*Cost.* CPU seconds a second of audio on one thread.

*Channels.* Codecs of other widths, each trained equally and briefly (``--channels``).

Without ``--codec`` the codec is trained on the corpus's training pieces first.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from bars import Bar, bars_text, check_exit_code, compare
from measuring import limit_threads
from music_codec_rows import NOISES, cost_row, equality_rows, played_rows
from music_peers_audio import why_no_notes
from music_quality_data import RATE, Excerpt, excerpts, read_pieces
from music_quality_pictures import draw_spectrograms
from reporting import markdown_table, run_header, write_markdown, write_table
from survival_pictures import new_figure, save_figure

from sciffusion.domains.music import Audio
from sciffusion.domains.music.codec_training import fit_light_codec
from sciffusion.domains.music.light_codec import LightCodec

__all__ = ["codec_bars", "main", "summary"]

ROUND_TRIP, ORIGINAL = "round trip", "original"
SHARE_OF_F1, MOST_CPU, EQUAL = 0.9, 0.03, 1e-4
#: F1 of the original below which the transcription does not hear what is played.
HEARD = 0.4


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Give means by version and style, and the F1 as a share of the original's."""
    scores = [name for name in ("note F1", "log-mel dB", "spectral convergence") if name in rows]
    table = rows.groupby(["version", "style"], sort=False)[scores].mean().reset_index()
    if "note F1" in table:
        original = table[table["version"] == ORIGINAL].set_index("style")["note F1"]
        table.insert(3, "share of original F1", table["note F1"] / table["style"].map(original))
    return table


def codec_bars(table: pd.DataFrame, equality: pd.DataFrame, cost: dict[str, float]) -> list[Bar]:
    """Give the bars."""
    bars = []
    found = table[table["version"] == ROUND_TRIP].set_index("style")
    for style in found.index:
        name = f"a round trip of {style} keeps the notes that are heard in the original"
        if "note F1" not in found:
            bars.append(Bar(name, None, "basic-pitch is not installed"))
            continue
        bars.append(
            compare(name, float(found.loc[style, "share of original F1"]), SHARE_OF_F1, at_most=False)
        )
    for side in ("encode", "decode in blocks"):
        bars.append(compare(f"CPU seconds a second, {side}", cost[side], MOST_CPU, at_most=True))
    for side in ("latents", "audio over peak"):
        bars.append(compare(f"pieces equal the whole, {side}", equality[side].max(), EQUAL, at_most=True))
    return bars


def _reading(table: pd.DataFrame, cost: dict[str, float], codec: LightCodec) -> str:
    parameters = sum(value.numel() for value in codec.network.parameters())
    rate = codec.sample_rate / codec.hop
    lines = [
        f"The codec has {parameters / 1e6:.1f} million parameters, {codec.channels} numbers a latent frame "
        f"and {rate:g} latent frames a second; decoded audio lags by {1e3 * codec.delay / RATE:.0f} ms. "
        f"A second of audio takes {1e3 * cost['encode']:.1f} CPU ms to encode and "
        f"{1e3 * cost['decode in blocks']:.1f} to decode in blocks of 24 frames."
    ]
    for style, part in table.groupby("style", sort=False):
        rows = part.set_index("version")
        text = (
            f"{str(style).capitalize()}: a round trip differs by "
            f"{rows.loc[ROUND_TRIP, 'log-mel dB']:.1f} dB in log-mel bands, of which true magnitudes under "
            f"integrated phases account for {rows.loc['phases alone', 'log-mel dB']:.1f} dB"
        )
        if "note F1" in rows:
            text += (
                f"; the notes heard in it have an F1 of {rows.loc[ROUND_TRIP, 'note F1']:.3f}, those of the "
                f"original {rows.loc[ORIGINAL, 'note F1']:.3f}, with noise of "
                f"{NOISES[-1]} standard deviations on the latents "
                f"{rows.loc[f'noise {NOISES[-1]}', 'note F1']:.3f}"
            )
            if rows.loc[ORIGINAL, "note F1"] < HEARD:
                text += " (basic-pitch hears so few notes of this sound that the share says little)"
        lines.append(text + ".")
    return "\n\n".join(lines)


def _draw(table: pd.DataFrame, path: Path, note: str) -> None:
    scores = [name for name in ("note F1", "log-mel dB", "spectral convergence") if name in table]
    figure, axes = new_figure(columns=len(scores), width=4.4)
    order = list(dict.fromkeys(table["version"]))
    for panel, score in zip(axes[0], scores, strict=True):
        for style, part in table.groupby("style", sort=False):
            panel.plot(part[score], [order.index(name) for name in part["version"]], "o-", label=style)
        panel.set_yticks(range(len(order)), order)
        panel.invert_yaxis()
        panel.set_xlabel(score)
    axes[0][0].legend()
    figure.suptitle(f"What is left of test pieces{note}")
    save_figure(figure, path)


def _recordings(folder: Path, seconds: float | None) -> list[Audio]:
    """Give the training pieces, up to a total duration."""
    found, total = [], 0.0
    for piece in read_pieces(folder):
        if piece.split != "train" or (seconds is not None and total >= seconds):
            continue
        found.append(Audio(piece.samples(), RATE))
        total += found[-1].seconds
    return found


def _channel_rows(
    folder: Path, channels: Sequence[int], steps: int, judged: Sequence[Excerpt], notes: bool
) -> list[dict[str, Any]]:
    """Train a codec of every width equally, on an hour, and judge its round trips."""
    recordings, rows = _recordings(folder, 3600.0), []
    for width in channels:
        codec = fit_light_codec(recordings, channels=width, max_steps=steps, seed=0)
        table = summary(pd.DataFrame(played_rows(codec, judged, notes=notes)[0]))
        kept = table[table["version"].isin([ROUND_TRIP, "noise 0.3"])]
        rows += [{"channels": width, "steps": steps, **row} for row in kept.to_dict("records")]
    return rows


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What the light codec leaves of music.")
    parser.add_argument("--corpus", type=Path, required=True, help="folder of rendered pieces")
    parser.add_argument("--codec", type=Path, help="a trained codec; by default one is trained")
    parser.add_argument("--save", type=Path, help="where to write the codec that was trained")
    parser.add_argument("--steps", type=int, help="training steps, by default those of fit_light_codec")
    parser.add_argument("--channels", type=int, nargs="*", default=[], help="widths to compare")
    parser.add_argument("--channel-steps", type=int, default=600, help="training steps of each of them")
    parser.add_argument("--count", type=int, default=40, help="excerpts")
    parser.add_argument("--seconds", type=float, default=10.0, help="their duration")
    parser.add_argument("--quick", action="store_true", help="few excerpts, and little training")
    parser.add_argument("--check", action="store_true", help="compare with the bars; exit 1 if one is missed")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/music_codec"))
    options = parser.parse_args(arguments)
    if options.quick:
        options.count, options.steps = min(options.count, 6), options.steps or 60
    return options


def _codec(options: argparse.Namespace) -> LightCodec:
    if options.codec is not None:
        return LightCodec.load(options.codec)
    steps = {} if options.steps is None else {"max_steps": options.steps}
    codec = fit_light_codec(_recordings(options.corpus, 1800.0 if options.quick else None), seed=0, **steps)
    if options.save is not None:
        codec.save(options.save)
    return codec


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure everything, write tables and pictures, and give the exit code."""
    options = _parse(arguments)
    limit_threads()
    began, notes = time.process_time(), why_no_notes() is None
    codec = _codec(options)
    trained = time.process_time() - began
    test = [piece for piece in read_pieces(options.corpus) if piece.split == "test"]
    judged = excerpts(test, options.count, options.seconds)
    rows, examples = played_rows(codec, judged, notes=notes)
    table = summary(pd.DataFrame(rows))
    audio = torch.stack([torch.from_numpy(excerpt.samples) for excerpt in judged[:2]])
    whole = min(audio.shape[1] // codec.hop, 50) * codec.hop
    equality = pd.DataFrame(equality_rows(codec, audio[:, :whole]))
    cost = cost_row(codec)
    bars = codec_bars(table, equality, cost)
    if options.quick and options.codec is None:
        bars = [Bar(bar.name, None, "needs a fully trained codec") for bar in bars]
    sections = [("What it says", _reading(table, cost, codec)), ("Bars", bars_text(bars))]
    shown = equality.set_index("frames a piece").map(lambda value: f"{value:.1e}")
    tables = {"round_trips": table.set_index("version"), "pieces": shown,
              "cost": pd.DataFrame([cost], index=pd.Index(["CPU s a second"], name="side"))}  # fmt: skip
    if options.channels:
        found = _channel_rows(options.corpus, options.channels, options.channel_steps, judged[:16], notes)
        tables["channels"] = pd.DataFrame(found).set_index("channels")
    for name, part in tables.items():
        write_table(options.out / f"{name}.csv", part)
        sections.append((name.replace("_", " ").capitalize(), markdown_table(part, 4)))
    _draw(table, options.out / "music_codec.png", ", reduced run" if options.quick else "")
    draw_spectrograms(examples, options.out / "spectrograms.png")
    pictures = "![music_codec.png](music_codec.png)\n\n![spectrograms.png](spectrograms.png)"
    sections.append(("Pictures", pictures))
    words = sys.argv[1:] if arguments is None else arguments
    # Folders of this machine say nothing to a reader: their names do.
    named = [Path(word).name if "/" in word else word for word in words]
    header = run_header(options.quick, ["music_codec.py", *named])
    header["excerpts"] = f"{len(judged)} of {options.seconds:g} s from test pieces"
    header["CPU seconds"] = f"{time.process_time() - began:.0f}, of which training {trained:.0f}"
    write_markdown(options.out / "report.md", "What the light codec leaves of music", header, sections)
    return check_exit_code(bars) if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
