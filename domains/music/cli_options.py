"""Options that several sub-commands of ``sciffusion music`` share, and what they are read into."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from sciffusion.estimators.command_session import refuse_outputs
from sciffusion.estimators.imports import optional_import

from .chords import parse_chords
from .control_input import check_given
from .diffusion import LiveMusicDiffusion
from .pretrained import list_pretrained, pretrained_file

__all__ = [
    "Chords", "Device", "Force", "Loudness", "Model", "Nfe", "Roll", "Seed", "Style", "Tempo", "Threads",
    "asked_controls", "check_outputs", "load_model", "names_of", "style_of",
]  # fmt: skip


Model = Annotated[
    str,
    typer.Argument(
        help="Model file, from `fit`, or the name of a published model (without one: the first published).",
        metavar="[MODEL]",
    ),
]
Seed = Annotated[int, typer.Option(help="Makes the result reproducible.", metavar="N", min=0)]
Force = Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")]
Threads = Annotated[int, typer.Option(help="Threads to compute with.", metavar="N", min=1)]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.", metavar="NAME")]
Nfe = Annotated[
    int | None,
    typer.Option(help="Network evaluations a block.", metavar="N", show_default=False, min=1),
]
Chords = Annotated[
    str,
    typer.Option(help="Chords with their seconds, over and over; N is none.", metavar="'C:maj*4 A:min*4'"),
]
Loudness = Annotated[
    float | None, typer.Option(help="Level in dBFS, such as -20.", metavar="DB", show_default=False)
]
Tempo = Annotated[
    float | None, typer.Option(help="Quarter notes a minute.", metavar="BPM", show_default=False)
]
Style = Annotated[str, typer.Option(help="Tag, or tags with weights: organ=1,piano=2.", metavar="TAG")]
Roll = Annotated[
    Path | None, typer.Option(help="Notes to play: a MIDI file.", metavar="FILE", show_default=False)
]


def names_of(text: str) -> list[str]:
    """Return names that commas separate."""
    return [name.strip() for name in text.split(",") if name.strip()]


def load_model(model: str, device: str = "auto") -> LiveMusicDiffusion:
    """Return the model of a file, or a published one; "" is the first published one.

    Raises
    ------
    ValueError
        If there is no such model, with what to do.
    """
    path = Path(model)
    named = not model or (not path.suffix and len(path.parts) == 1 and not path.exists())
    if not named:
        estimator = LiveMusicDiffusion.load(path)
    else:
        published = list_pretrained()
        if not published:
            what = f"there is no published model {model!r}" if model else "no model was named"
            raise ValueError(
                f"{what}, and this version comes without trained weights for music; fit one: `sciffusion "
                "music render-corpus corpus`, then `sciffusion music fit corpus --out model.safetensors` "
                "(or give `fit` your own recordings)"
            )
        estimator = LiveMusicDiffusion.load(pretrained_file(model or published[0]))
    estimator.set_params(device=device, verbose=False)
    return estimator


def asked_controls(
    model: LiveMusicDiffusion,
    seconds: float,
    *,
    chords: str = "",
    loudness: float | None = None,
    tempo: float | None = None,
    style: str = "",
    roll: Path | None = None,
) -> dict[str, Any]:
    """Return what the options ask for, as `LiveMusicDiffusion.sample` takes it.

    Parameters
    ----------
    model : LiveMusicDiffusion
        Fitted.
    seconds : float
        How long chords go on.
    chords, loudness, tempo, style, roll
        As on the command line; empty or None where nothing is asked for.

    Raises
    ------
    ValueError
        For a control that the model does not have, or a value that cannot be read.
    """
    codec = model.codec_
    asked: dict[str, Any] = {
        "chroma": parse_chords(chords, seconds, codec.sample_rate / codec.hop) if chords else None,
        "loudness": loudness,
        "tempo": tempo,
        "style": style_of(style),
        "roll": roll,
    }
    given = {name: value for name, value in asked.items() if value is not None}
    return check_given(given, model.layout_, "controls")


def style_of(text: str) -> Any:
    """Return a tag, weights of tags, or None of nothing.

    Raises
    ------
    ValueError
        For weights that are no numbers.
    """
    if not text:
        return None
    if "=" not in text:
        return text
    weights: dict[str, float] = {}
    for part in names_of(text):
        tag, _, weight = part.partition("=")
        try:
            weights[tag.strip()] = float(weight)
        except ValueError:
            raise ValueError(f"--style must be TAG or TAG=WEIGHT,TAG=WEIGHT, got {text!r}") from None
    return weights


def check_outputs(
    paths: Sequence[Path | None], picture: Path | None, force: bool, option: str = "--picture"
) -> None:
    """Refuse, before any work, files that could not be written, and pictures without matplotlib.

    See `refuse_outputs` for what is raised; an ImportError if matplotlib is missing.
    """
    refuse_outputs(paths, force, picture=picture, option=option)
    if picture is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            optional_import("matplotlib", "plots").use("Agg")
