"""`sciffusion music generate`, `stream` and `serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sciffusion.estimators.command_session import counting, say, session, waiting

from .audio import read_audio, write_audio
from .cli_options import (
    Chords,
    Device,
    Force,
    Loudness,
    Model,
    Nfe,
    Roll,
    Seed,
    Style,
    Tempo,
    Threads,
    asked_controls,
    check_outputs,
    load_model,
)
from .cli_streaming import (
    MOST_CHORD_SECONDS,
    StreamResult,
    Tap,
    play_stream,
    prepare_changes,
    record_stream,
    write_stats,
)
from .diffusion import LiveMusicDiffusion
from .server import serve
from .server_offer import Offer

__all__ = ["generate", "serve_command", "stream_command"]

_SECONDS = 30.0  # of a stream into a file

Prompt = Annotated[Path | None, typer.Option(help="Sound to go on from.", metavar="FILE", show_default=False)]


def generate(
    model: Model = "",
    out: Annotated[Path, typer.Option(help="Sound file to write.", metavar="FILE")] = Path("music.wav"),
    seconds: Annotated[float, typer.Option(help="Length of a piece.", metavar="S")] = 20.0,
    count: Annotated[int, typer.Option("--count", "-n", help="Pieces.", metavar="N", min=1)] = 1,
    prompt: Prompt = None,
    joined: Annotated[bool, typer.Option("--joined", help="Write the prompt before the piece.")] = False,
    chords: Chords = "",
    loudness: Loudness = None,
    tempo: Tempo = None,
    style: Style = "",
    roll: Roll = None,
    nfe: Nfe = None,
    spectrogram: Annotated[
        Path | None, typer.Option(help="Picture of the first piece.", metavar="FILE", show_default=False)
    ] = None,
    device: Device = "auto",
    threads: Threads = 1,
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Make pieces, and write them to sound files.

    Several pieces are FILE with -1, -2, ... before the ending.

    Example: sciffusion music generate mine.safetensors --seconds 30 --chords 'C:maj*4 A:min*4' --out new.wav
    """
    files = [out] if count == 1 else [out.with_stem(f"{out.stem}-{place}") for place in range(1, count + 1)]
    if joined and (prompt is None or count > 1):
        raise ValueError("--joined needs one piece and a --prompt that it can be joined to")
    check_outputs(files, spectrogram, force, "--spectrogram")
    with session(threads):
        estimator = load_model(model, device)
        controls = asked_controls(
            estimator, seconds, chords=chords, loudness=loudness, tempo=tempo, style=style, roll=roll
        )
        with waiting(f"making {count * seconds:g} s of music"):
            asked: dict[str, Any] = {"controls": controls, "seed": seed, "nfe": nfe}
            if joined:
                pieces = [estimator.continue_audio(prompt, seconds, joined=True, **asked)]
            else:
                pieces = estimator.sample(seconds, n=count, prompt=prompt, **asked)
        for path, piece in zip(files, pieces, strict=True):
            write_audio(path, piece)
        if spectrogram is not None:
            from .plots import plot_spectrogram
            from .plots_style import write_picture

            write_picture(spectrogram, plot_spectrogram(pieces[0], notes=roll))
    say(f"Wrote {', '.join(map(str, files))} ({pieces[0].seconds:g} s each).")


def stream_command(
    model: Model = "",
    seconds: Annotated[
        float | None,
        typer.Option(
            help="How long; 30 by default, with --play until Ctrl-C.", metavar="S", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Sound file of all blocks, without a gap.", metavar="FILE", show_default=False),
    ] = None,
    play: Annotated[bool, typer.Option("--play", help="Play it on the sound card.")] = False,
    sound_device: Annotated[str, typer.Option(help="Sound card, if not the default.", metavar="NAME")] = "",
    midi: Annotated[str, typer.Option(help="MIDI input that steers it, with --play.", metavar="PORT")] = "",
    stats: Annotated[
        Path | None,
        typer.Option(help="JSON file of how it kept up.", metavar="FILE", show_default=False),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Picture of how it kept up.", metavar="FILE", show_default=False)
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(
            help="Change on the way: seconds, a control (chords, loudness, tempo, style, nfe) and its value; "
            "'off' releases it.",
            metavar="S:NAME=VALUE",
        ),
    ] = None,
    prompt: Prompt = None,
    chords: Chords = "",
    loudness: Loudness = None,
    tempo: Tempo = None,
    style: Style = "",
    nfe: Nfe = None,
    lowest_nfe: Annotated[
        int, typer.Option(help="Evaluations to which it falls to keep up.", metavar="N", min=1)
    ] = 2,
    device: Device = "auto",
    threads: Threads = 1,
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Stream in real time, into a file or to the sound card, and say how it kept up.

    Example: sciffusion music stream mine.safetensors --seconds 60 --out live.wav --stats live.json
    --at 20:style=organ --at 40:style=off
    """
    if out is None and not play:
        raise ValueError("give --out FILE to write the stream, or --play to hear it (or both)")
    if play and picture is not None:
        raise ValueError("--picture goes without --play")
    check_outputs([out, stats], picture, force)
    length = _SECONDS if seconds is None and not play else seconds
    with session(threads):
        estimator = load_model(model, device)
        controls = asked_controls(
            estimator, length or MOST_CHORD_SECONDS, chords=chords, loudness=loudness, tempo=tempo,
            style=style,
        )  # fmt: skip
        changes = prepare_changes(estimator, at or [], length)
        tap = Tap(estimator.stream(seed=seed, nfe=nfe, context=prompt, controls=controls), out is not None)
        with counting() as progress:
            if length is None or play:
                result = play_stream(
                    tap, length, changes, lowest_nfe=lowest_nfe, progress=progress,
                    device=sound_device or None, midi_port=midi,
                )  # fmt: skip
            else:
                result = record_stream(tap, length, changes, lowest_nfe=lowest_nfe, progress=progress)
        if out is not None:
            write_audio(out, tap.audio(length or result.heard_seconds))
        if stats is not None:
            write_stats(stats, result, seed=seed)
        if picture is not None:
            _draw_run(picture, result, tap.block_times)
    say(result.summary())
    if out is not None:
        say(f"Wrote {out}.")


def serve_command(
    model: Model = "",
    host: Annotated[
        str, typer.Option(help="Address; any but this machine's own asks for a token.", metavar="NAME")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.", metavar="N", min=0, max=65535)] = 8765,
    token: Annotated[
        str, typer.Option(help="What pages have to know; made where one is needed.", metavar="TEXT")
    ] = "",
    max_sessions: Annotated[int, typer.Option(help="Streams at once.", metavar="N", min=1)] = 4,
    open_browser: Annotated[bool, typer.Option("--open", help="Show the page in your browser.")] = False,
    contexts: Annotated[
        list[Path] | None,
        typer.Option("--context", help="Sound file that a stream can begin with.", metavar="FILE"),
    ] = None,
    nfe: Nfe = None,
    device: Device = "auto",
    threads: Threads = 1,
) -> None:
    """Serve the player: a web page of this machine that plays the model and steers it.

    Ends with Ctrl-C.

    Example: sciffusion music serve mine.safetensors --open
    """
    with session(threads):
        estimator = load_model(model, device)
        offer = build_offer(estimator, model or "Live music", contexts or [])

        def make_stream(*, seed: int, nfe: int | None = nfe, context: Any = None) -> Any:
            return estimator.stream(seed=seed, nfe=nfe, context=context)

        serve(
            make_stream, host=host, port=port, open_browser=open_browser, token=token or None,
            max_sessions=max_sessions, offer=offer,
            announce=lambda url: say(f"Playing at {url} - Ctrl-C ends it."),
        )  # fmt: skip


def _draw_run(path: Path, result: StreamResult, block_times: list[float]) -> None:
    from .plots import plot_stream
    from .plots_style import write_picture

    if result.trace is not None:
        write_picture(path, plot_stream(result.trace, block_times, result.block_seconds))


def build_offer(model: LiveMusicDiffusion, title: str, contexts: list[Path]) -> Offer:
    """Return what pages are told that they can ask of a model."""
    names = model.layout_.names
    return Offer(
        title=Path(title).stem if title else "Live music", controls=names, styles=model.layout_.styles,
        contexts={path.stem: read_audio(path) for path in contexts},
        hears_midi="chroma" in names or "roll" in names, hears_audio="partner" in names,
    )  # fmt: skip
