"""The model of the demonstration: a published one, or a small one fitted on what this machine has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .audio import Audio
from .codec_training import fit_light_codec
from .corpus import render_corpus
from .corpus_table import load_corpus
from .demo_sound import simulated_music
from .diffusion import LiveMusicDiffusion
from .light_codec_network import CodecSizes
from .pretrained import list_pretrained, pretrained_file
from .recordings import load_recording

__all__ = ["SOURCES", "DemoModel", "find_model"]

#: Where the model may come from, the first that this machine has by default.
SOURCES = ("published", "scores", "simulated")

_RATE = 24_000
_PIECES = 8
_CODEC: dict[str, Any] = {
    "max_steps": 600, "batch_size": 8, "sizes": CodecSizes(
        fine=96, coarse=160, fine_blocks=1, coarse_blocks=1, head=256
    ),
}  # fmt: skip
_MODEL: dict[str, Any] = {
    "block": 12, "window": 6, "width": 96, "depth": 3, "n_heads": 4, "max_steps": 700, "batch_size": 8,
    "learning_rate": 1.5e-3, "warmup_steps": 50, "ema_decay": 0.99, "history_dropout": 0.1,
}  # fmt: skip
_QUICK_CODEC: dict[str, Any] = {
    "max_steps": 3, "batch_size": 2, "sizes": CodecSizes(
        fine=16, coarse=16, fine_blocks=1, coarse_blocks=1, head=16
    ),
}  # fmt: skip
_QUICK_MODEL: dict[str, Any] = {
    "block": 6, "window": 2, "width": 16, "depth": 1, "n_heads": 1, "max_steps": 3, "batch_size": 2,
    "warmup_steps": 1, "nfe": 2,
}  # fmt: skip


class DemoModel(NamedTuple):
    """A fitted model, and what it has learnt from.

    Parameters
    ----------
    model : LiveMusicDiffusion
    source : str
        One of `SOURCES`.
    told : str
        A sentence about it.
    """

    model: LiveMusicDiffusion
    source: str
    told: str


def find_model(
    folder: Path, seed: int, say: Callable[[str], object], *, source: str = "auto", quick: bool = False
) -> DemoModel:
    """Return a published model, or fit one.

    Parameters
    ----------
    folder : Path
        Rendered scores lie in its sub-folder ``corpus``.
    seed : int
        Of a fit.
    say : callable
        Told what is going on.
    source : str
        One of `SOURCES`, or "auto".
    quick : bool
        Fit so small a model that only the way it takes can be seen.

    Raises
    ------
    ValueError
        If a published model is wanted and there is none.
    FileNotFoundError, ImportError
        If scores are wanted and cannot be rendered, with what is missing.
    """
    if source == "published" or (source == "auto" and list_pretrained() and not quick):
        published = list_pretrained()
        if not published:
            raise ValueError("this version comes without trained weights for music; leave --source out")
        model = LiveMusicDiffusion.load(pretrained_file(published[0]))
        return DemoModel(model, "published", f"The published model {published[0]}.")
    if source == "scores" or (source == "auto" and not quick):
        try:
            return _of_scores(folder, seed, say, quick)
        except (FileNotFoundError, ImportError, ValueError) as missing:
            if source == "scores":
                raise
            say(f"  no scores: {missing}")
    say("  simulating recordings: chords of tones with overtones")
    recordings = simulated_music(3 if quick else 14, 4.0 if quick else 20.0, _RATE, seed=seed)
    minutes = sum(one.seconds for one in recordings) / 60
    told = (
        f"A small model, fitted here on {minutes:.1f} minutes of simulated chords (no instrument sounds so)."
    )
    return DemoModel(_fitted(recordings, seed, say, quick), "simulated", told)


def _of_scores(folder: Path, seed: int, say: Callable[[str], object], quick: bool) -> DemoModel:
    say("  rendering scores with FluidSynth")
    rendered = render_corpus(folder / "corpus", styles=("organ",), limit=_PIECES + 2)
    files = [entry.wav for entry in load_corpus(rendered.folder, split="train")]
    told = (
        f"A small model, fitted here on {len(files)} chorales of J. S. Bach, rendered from their scores on a "
        "synthetic organ."
    )
    return DemoModel(_fitted(files, seed, say, quick), "scores", told)


def _fitted(
    recordings: Sequence[Any], seed: int, say: Callable[[str], object], quick: bool
) -> LiveMusicDiffusion:
    heard = [
        Audio(load_recording(one, _RATE, sample_rate=None, name=f"recordings[{place}]"), _RATE)
        for place, one in enumerate(recordings)
    ]
    settings = _QUICK_CODEC if quick else _CODEC
    say(f"  training a codec for {settings['max_steps']} steps")
    codec = fit_light_codec(heard, sample_rate=_RATE, seed=seed, **settings)
    settings = _QUICK_MODEL if quick else _MODEL
    say(f"  fitting the model for {settings['max_steps']} steps")
    model = LiveMusicDiffusion(codec=codec, device="cpu", random_state=seed, **settings)
    model.fit(heard)
    return model
