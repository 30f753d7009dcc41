"""Train a model of live music on a rendered corpus, the one that is published or one of your own.

    sciffusion music render-corpus corpus
    python benchmarks/music_train.py --corpus corpus --codec codec.safetensors --out model.safetensors

Training pieces alone are learnt from; validation pieces watch; test pieces are not opened. A codec file that
does not exist is made first. A run that is stopped goes on from its checkpoint.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

from sciffusion.domains.music.audio import read_audio
from sciffusion.domains.music.codec_training import fit_light_codec
from sciffusion.domains.music.corpus_table import CorpusEntry, load_corpus
from sciffusion.domains.music.diffusion import LiveMusicDiffusion
from sciffusion.estimators.devices import resolve_device


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="folder of render-corpus")
    parser.add_argument("--codec", type=Path, required=True, help="a trained codec; made if there is none")
    parser.add_argument("--codec-styles", nargs="+", default=["organ", "piano"], help="what it learns from")
    parser.add_argument("--codec-steps", type=int, default=4500)
    parser.add_argument("--out", type=Path, required=True, help="file of the model")
    parser.add_argument("--styles", nargs="+", default=["piano"], help="styles of the corpus to learn")
    parser.add_argument("--longest", type=float, default=120.0, help="seconds; longer pieces are left out")
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=1.5e-3)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--clean-noise", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="auto")
    return parser.parse_args(arguments)


def recordings(options: argparse.Namespace, split: str, styles: list[str]) -> list[CorpusEntry]:
    """Return the pieces of a split that are not too long."""
    entries = load_corpus(options.corpus, split=split, styles=styles)
    return [entry for entry in entries if entry.seconds <= options.longest]


def train_codec(options: argparse.Namespace) -> None:
    """Train a codec on the training pieces and save it."""
    audio = [read_audio(entry.wav) for entry in recordings(options, "train", options.codec_styles)]
    codec = fit_light_codec(
        audio, max_steps=options.codec_steps, seed=options.seed, verbose=True,
        device=resolve_device(options.device),
        checkpoint=options.codec.with_suffix(".checkpoint"),
    )  # fmt: skip
    codec.save(options.codec)


def tags(entries: list[CorpusEntry], styles: list[str]) -> list[dict[str, str]] | None:
    """Return the style of each piece, where there is more than one."""
    return [{"style": entry.style} for entry in entries] if len(styles) > 1 else None


def main(arguments: list[str]) -> int:
    """Train and save."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    if not options.codec.is_file():
        train_codec(options)
    train = recordings(options, "train", options.styles)
    validation = recordings(options, "validation", options.styles)
    styles = options.styles if len(options.styles) > 1 else ()
    model = LiveMusicDiffusion(
        codec=options.codec,
        controls=("chroma", "loudness", *(["style"] if styles else [])),
        styles=tuple(styles), width=options.width, depth=options.depth,
        max_steps=options.steps, batch_size=options.batch_size, learning_rate=options.learning_rate,
        warmup_steps=100, ema_decay=0.995, clean_noise=options.clean_noise,
        random_state=options.seed, device=options.device, verbose=True,
        checkpoint=options.out.with_suffix(".checkpoint"),
    )  # fmt: skip
    started = time.process_time()
    model.fit(
        [entry.wav for entry in train], tags(train, options.styles),
        validation=[entry.wav for entry in validation],
        validation_controls=tags(validation, options.styles),
    )  # fmt: skip
    model.save(options.out)
    print(f"{len(train)} recordings, {time.process_time() - started:.0f} CPU s")
    for step, loss, held_out in zip(
        model.history_.steps, model.history_.train_loss[:, 0], model.history_.held_out_loss[:, 0], strict=True
    ):
        print(f"step {step}: loss {loss:.4f}, held out {held_out:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
