"""Let a model play, ask it for chords on the way, and write a page about it.

    python -m sciffusion.domains.music.demo --out report/music

The model is a published one if this version has one; else a small one is fitted first, on a few scores that
FluidSynth renders, or, without FluidSynth, on simulated chords. It then plays in real time, as it would to a
listener: what was buffered, and what each block took, is measured. The same piece is made once more at once,
to show that a stream is the same music. ``--quick`` fits next to nothing: enough to see that all works.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from sciffusion.estimators.imports import optional_import
from sciffusion.training.checkpoints import write_atomically
from sciffusion.training.global_state import limited_threads

from .audio import write_audio
from .control_features import chroma
from .demo_model import SOURCES, DemoModel, find_model
from .demo_page import DemoFindings, write_page
from .demo_stream import asked_chroma, largest_difference, planned_chords, stream_live

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> Path:
    """Run the demonstration.

    Parameters
    ----------
    arguments : sequence of str, optional
        Command line; ``sys.argv[1:]`` by default.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    SystemExit
        With status 2 if the wanted source is not there, after saying what is missing.
    """
    options = _parser().parse_args(arguments)
    optional_import("matplotlib", "plots").use("Agg")
    folder = Path(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    with limited_threads(1):
        _say("Looking for a model")
        try:
            found = find_model(folder, options.seed, _say, source=options.source, quick=options.quick)
        except (ValueError, OSError, ImportError) as missing:
            print(f"The demonstration needs something that is not here.\n{missing}", file=sys.stderr)
            raise SystemExit(2) from missing
        ready = time.perf_counter() - begun
        _say(found.told)
        findings = _play(found, options.seconds, options.seed, folder)
    path = write_page(folder / "index.html", findings, reduced=options.quick)
    _say(findings.summary())
    _say(f"{ready:.0f} s until the model was there. Page: {path.resolve()}")
    return path


def _play(found: DemoModel, seconds: float, seed: int, folder: Path) -> DemoFindings:
    model = found.model
    block = int(model.block)
    length = block * model.codec_.hop / model.codec_.sample_rate
    blocks = max(1, round(seconds / length))
    plan = planned_chords(blocks) if "chroma" in model.layout_.names else {}
    _say(f"Playing {seconds:g} s in real time")
    run = stream_live(model, seconds, plan, seed)
    write_audio(folder / "stream.wav", run.audio)
    difference = largest_difference(model, run, plan, seed)
    findings = DemoFindings(found.source, found.told, seconds, length, plan, run.stats, difference)
    content = json.dumps(findings.to_json(), indent=2) + "\n"
    write_atomically(folder / "stats.json", lambda file: file.write(content.encode("utf-8")))
    _draw(found, run, asked_chroma(plan, blocks, block), folder)
    return findings


def _draw(found: DemoModel, run: Any, asked: Any, folder: Path) -> None:
    from .plots import plot_chroma, plot_spectrogram, plot_stream, plot_training
    from .plots_style import write_picture

    codec = found.model.codec_
    rate = codec.sample_rate / codec.hop
    samples = torch.from_numpy(run.audio.samples)[None]
    heard = chroma(samples, codec.sample_rate, codec.hop)[0].numpy()
    write_picture(folder / "spectrogram.png", plot_spectrogram(run.audio))
    write_picture(folder / "chroma.png", plot_chroma(heard, rate, asked=asked[: len(heard)]))
    length = int(found.model.block) / rate
    write_picture(folder / "stream.png", plot_stream(run.trace, run.block_times, length))
    write_picture(folder / "training.png", plot_training(found.model.history_))


def _say(text: str) -> None:
    print(text, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sciffusion.domains.music.demo",
        description="Let a model play in real time and write a page about it.",
    )
    parser.add_argument("--out", default="report/music", help="folder of the page (report/music)")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long it plays (30)")
    parser.add_argument("--seed", type=int, default=0, help="seed of fit and music (0)")
    parser.add_argument("--source", choices=("auto", *SOURCES), default="auto", help="of the model (auto)")
    parser.add_argument("--quick", action="store_true", help="fit next to nothing: to see that all works")
    return parser


if __name__ == "__main__":
    main()
