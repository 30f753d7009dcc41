"""`sciffusion music render-corpus` and `fit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sciffusion.estimators.command_session import counting, on_terminal, say, session, waiting

from .cli_options import Device, Force, Seed, Threads, check_outputs, names_of
from .cli_recordings import Recordings, find_recordings
from .corpus import render_corpus
from .corpus_scores import COLLECTIONS
from .corpus_synthesizer import PROGRAMS
from .corpus_table import TABLE
from .diffusion import LiveMusicDiffusion

__all__ = ["fit", "render_corpus_command"]

INTERRUPTED = 130  # exit status after Ctrl-C, as shells have it


def render_corpus_command(
    out: Annotated[Path, typer.Argument(help="Folder of the corpus.", metavar="FOLDER", show_default=False)],
    collection: Annotated[
        str, typer.Option(help=f"Of music21: {', '.join(COLLECTIONS)}.", metavar="NAME")
    ] = "bach_chorales",
    styles: Annotated[
        str, typer.Option(help=f"Instruments, of {', '.join(PROGRAMS)}.", metavar="A,B")
    ] = "organ,piano",
    transpose: Annotated[
        str, typer.Option(help="Further keys, in semitones, such as -3,2.", metavar="A,B")
    ] = "",
    limit: Annotated[
        int | None, typer.Option(help="Only the first pieces.", metavar="N", min=1, show_default=False)
    ] = None,
    sample_rate: Annotated[int, typer.Option(help="Samples a second.", metavar="HZ")] = 24_000,
    soundfont: Annotated[
        Path | None,
        typer.Option(help="General MIDI soundfont; found if not named.", metavar="FILE", show_default=False),
    ] = None,
    reverb: Annotated[bool, typer.Option(help="FluidSynth's room.")] = True,
    jobs: Annotated[int, typer.Option(help="Processes.", metavar="N", min=1)] = 1,
) -> None:
    """Render scores to training audio, with FluidSynth and a soundfont of this machine.

    An interrupted render goes on when the command is given again. Scores: music21 (pip install
    'sciffusion[scores]'); FluidSynth: the packages fluidsynth and fluid-soundfont-gm.

    Example: sciffusion music render-corpus corpus --limit 50 --jobs 2
    """
    with session(1), counting() as progress:
        rendered = render_corpus(
            out, collection=collection, styles=names_of(styles), transpose=_semitones(transpose),
            limit=limit, sample_rate=sample_rate, soundfont=soundfont, reverb=reverb, jobs=jobs,
            progress=progress,
        )  # fmt: skip
    say(f"{rendered.summary()}; in {out}.")


def fit(
    data: Annotated[
        list[Path],
        typer.Argument(
            help="Corpus, folders of sound files, or files.", metavar="DATA...", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option(help="Model file to write.", metavar="FILE", show_default=False)],
    controls: Annotated[
        str,
        typer.Option(
            help="Of chroma, loudness, roll, tempo, style. By default chroma and loudness, and the styles of "
            "a corpus. Styles of other recordings are the names of their folders.",
            metavar="A,B",
        ),
    ] = "",
    styles: Annotated[str, typer.Option(help="Only these styles of a corpus.", metavar="A,B")] = "",
    codec: Annotated[
        str, typer.Option(help="'light' trains one first; or the file of a codec.", metavar="NAME|FILE")
    ] = "light",
    codec_steps: Annotated[
        int | None, typer.Option(help="Training steps of the codec.", metavar="N", show_default=False, min=1)
    ] = None,
    max_steps: Annotated[
        int | None, typer.Option(help="Training steps of the model.", metavar="N", show_default=False, min=1)
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Windows a step.", metavar="N", show_default=False, min=1)
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Of the model.", metavar="X", show_default=False)
    ] = None,
    block: Annotated[
        int | None, typer.Option(help="Latent frames a block.", metavar="N", show_default=False, min=1)
    ] = None,
    window: Annotated[
        int | None, typer.Option(help="Blocks that are seen.", metavar="N", show_default=False, min=2)
    ] = None,
    width: Annotated[
        int | None, typer.Option(help="Features of the network.", metavar="N", show_default=False, min=1)
    ] = None,
    depth: Annotated[
        int | None, typer.Option(help="Layers of the network.", metavar="N", show_default=False, min=1)
    ] = None,
    heads: Annotated[
        int | None, typer.Option(help="Heads of attention.", metavar="N", show_default=False, min=1)
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="File by which an interrupted fit goes on; OUT.checkpoint by default, removed at the end.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Picture of the training.", metavar="FILE", show_default=False)
    ] = None,
    device: Device = "auto",
    threads: Threads = 1,
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Fit a model on recordings and save it.

    Ctrl-C saves what was learnt; the same command then goes on. Of a rendered corpus the training set is
    learnt and the validation set watched; of other recordings a share is kept back.

    Example: sciffusion music fit recordings/ --out mine.safetensors --max-steps 5000
    """  # fmt: skip
    check_outputs([out], picture, force)
    kept = checkpoint or out.with_name(out.name + ".checkpoint")
    given: dict[str, Any] = {
        "codec_steps": codec_steps, "max_steps": max_steps, "batch_size": batch_size,
        "learning_rate": learning_rate, "block": block, "window": window, "width": width, "depth": depth,
        "n_heads": heads,
    }  # fmt: skip
    with session(threads):
        training, watched = _training_data(data, names_of(styles))
        names = names_of(controls) or _default_controls(training)
        model = LiveMusicDiffusion(
            codec=codec if codec == "light" else Path(codec), controls=names, checkpoint=kept,
            device=device, random_state=seed, verbose=on_terminal(),
            **{name: value for name, value in given.items() if value is not None},
        )  # fmt: skip
        _fit(model, training, watched, names, kept)
        model.set_params(verbose=False, checkpoint=None).save(out)
        if picture is not None:
            from .plots import plot_training
            from .plots_style import write_picture

            write_picture(picture, plot_training(model.history_))
    if checkpoint is None:
        for path in (kept, kept.with_name(kept.name + ".codec")):
            path.unlink(missing_ok=True)
    say(f"Fitted on {len(training.files)} recordings{_told(model)}; saved {out}.")


def _fit(
    model: LiveMusicDiffusion,
    training: Recordings,
    watched: Recordings | None,
    names: list[str],
    checkpoint: Path,
) -> None:
    more: dict[str, Any] = {}
    if watched is not None:
        more = {"validation": watched.files, "validation_controls": watched.known(names)}
    try:
        with waiting(f"fitting on {len(training.files)} recordings"):
            model.fit(training.files, training.known(names), **more)
    except KeyboardInterrupt:
        typer.echo(f"\nStopped. The same command goes on from {checkpoint}.", err=True)
        raise typer.Exit(INTERRUPTED) from None


def _training_data(data: list[Path], styles: list[str]) -> tuple[Recordings, Recordings | None]:
    """Return what is learnt, and what is watched where a corpus has it."""
    training = find_recordings(data, split="train", styles=styles)
    corpora = [path for path in data if (path / TABLE).is_file()]
    if not corpora:
        return training, None
    try:
        return training, find_recordings(corpora, split="validation", styles=styles)
    except ValueError:  # few pieces: none is in the validation set
        return training, None


def _default_controls(training: Recordings) -> list[str]:
    # The names of folders of other recordings may mean anything; those of a corpus are instruments.
    several = len(training.tags) > 1 and all("roll" in one for one in training.controls)
    return ["chroma", "loudness", *(["style"] if several else [])]


def _told(model: LiveMusicDiffusion) -> str:
    losses = model.history_.best_loss
    held = f", held-out loss {float(losses[0]):.3f}" if losses[0] == losses[0] else ""
    return f", controls {', '.join(model.layout_.names) or 'none'}{held}"


def _semitones(text: str) -> list[int]:
    try:
        return [int(one) for one in names_of(text)]
    except ValueError:
        raise ValueError(f"--transpose must be whole semitones such as -3,2, got {text!r}") from None
