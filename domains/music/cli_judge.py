"""`sciffusion music evaluate`, `bench` and `models`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from rich.console import Console
from rich.table import Table

from sciffusion.estimators.command_session import counting, say, session, waiting
from sciffusion.training.checkpoints import write_atomically

from .cli_options import Device, Force, Model, Nfe, Seed, Threads, check_outputs, load_model, names_of
from .cli_recordings import find_recordings
from .judging import MEANINGS, judge
from .pretrained import list_pretrained, pretrained_card
from .speed import measure_speed, untrained_model

__all__ = ["bench", "evaluate", "models"]

_LIVE = 0.8  # real-time factor up to which a machine that does other things, too, plays live

Table_ = Annotated[Path | None, typer.Option(help="CSV file to write.", metavar="FILE", show_default=False)]


def evaluate(
    model: Annotated[
        str, typer.Argument(help="Model file, or published name.", metavar="MODEL", show_default=False)
    ],
    data: Annotated[
        list[Path],
        typer.Argument(
            help="Recordings that were not learnt: a corpus (its test set), folders, or files.",
            metavar="DATA...",
            show_default=False,
        ),
    ],
    training: Annotated[
        list[Path] | None,
        typer.Option(help="What it was fitted on, to look for copies.", metavar="DATA", show_default=False),
    ] = None,
    pieces: Annotated[int, typer.Option(help="Pieces to make.", metavar="N", min=1)] = 16,
    seconds: Annotated[float, typer.Option(help="Length of each.", metavar="S", min=4)] = 20.0,
    styles: Annotated[str, typer.Option(help="Only these styles of a corpus.", metavar="A,B")] = "",
    out: Table_ = None,
    nfe: Nfe = None,
    device: Device = "auto",
    threads: Threads = 1,
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Compare what a model makes with recordings that it has not learnt.

    Every measure stands beside three others: of recordings among themselves (as near as can be), of what the
    codec leaves of them (nearer the model cannot come but by chance), and of noise.

    Example: sciffusion music evaluate mine.safetensors corpus --training corpus
    """
    check_outputs([out], None, force)
    with session(threads):
        estimator = load_model(model, device)
        held = find_recordings(data, split="test", styles=names_of(styles))
        learnt = None
        if training:
            learnt = find_recordings(training, split="train", styles=names_of(styles)).files
        with waiting(f"making and judging {pieces} pieces"):
            found = judge(
                estimator, held.files, held.known(estimator.layout_.names), training=learnt, pieces=pieces,
                seconds=seconds, seed=seed, nfe=nfe,
            )  # fmt: skip
        Console().print(_score_table(found))
        if out is not None:
            _write_csv(out, found.rename_axis("measure").reset_index())
            say(f"Wrote {out}.")


def bench(
    model: Model = "",
    nfes: Annotated[str, typer.Option("--nfe", help="Evaluations a block.", metavar="A,B")] = "1,2,4,8,16",
    blocks: Annotated[int, typer.Option(help="Blocks that are timed.", metavar="N", min=3)] = 12,
    width: Annotated[int, typer.Option(help="Features, without a model.", metavar="N", min=1)] = 256,
    depth: Annotated[int, typer.Option(help="Layers, without a model.", metavar="N", min=1)] = 6,
    out: Table_ = None,
    device: Device = "auto",
    threads: Threads = 1,
    force: Force = False,
) -> None:
    """Say how fast this machine makes music, and with how many evaluations it can play live.

    Without a model it takes the first published one, or an untrained one of the default size, which costs
    the same.

    Example: sciffusion music bench mine.safetensors --nfe 2,4,8
    """
    check_outputs([out], None, force)
    counts = _counts(nfes)
    with session(threads):
        if model or list_pretrained():
            estimator = load_model(model, device)
        else:
            with waiting("building a model of this size"):
                estimator = untrained_model(width=width, depth=depth, device=device)
        with counting() as progress:
            found = measure_speed(estimator, counts, blocks=blocks, progress=progress)
    Console().print(_speed_table(found))
    say(_verdict(found))
    if out is not None:
        _write_csv(out, found)
        say(f"Wrote {out}.")


def models(
    name: Annotated[
        str, typer.Argument(help="Model whose card is printed.", metavar="[NAME]", show_default=False)
    ] = "",
) -> None:
    """List the published models, or print the card of one.

    Example: sciffusion music models
    """
    if name:
        say(pretrained_card(name).rstrip())
        return
    published = list_pretrained()
    say("\n".join(published) if published else "This version comes without trained weights for music.")


# -------------------------------------------------------------------- input and output


def _counts(text: str) -> list[int]:
    try:
        counts = sorted({int(one) for one in names_of(text)})
        if not counts or counts[0] < 1:
            raise ValueError
    except ValueError:
        raise ValueError(f"--nfe must be whole numbers such as 2,4,8, got {text!r}") from None
    return counts


def _score_table(found: pd.DataFrame) -> Table:
    table = Table(box=None)
    table.add_column("measure")
    for name in found.columns:
        table.add_column(str(name), justify="right", no_wrap=True)
    table.add_column("meaning")
    for measure, row in found.iterrows():
        cells = ["" if pd.isna(value) else f"{value:.4g}" for value in row]
        table.add_row(str(measure), *cells, MEANINGS[str(measure)])
    return table


def _speed_table(found: pd.DataFrame) -> Table:
    table = Table(box=None)
    for name in ("nfe", "a block (ms)", "slowest (ms)", "real-time factor", "audio s a second"):
        table.add_column(name, justify="right")
    for row in found.to_dict("records"):
        table.add_row(
            str(row["nfe"]), f"{1e3 * row['seconds']:.0f}", f"{1e3 * row['slowest']:.0f}",
            f"{row['real_time_factor']:.2f}", f"{1 / row['real_time_factor']:.1f}",
        )  # fmt: skip
    return table


def _verdict(found: pd.DataFrame) -> str:
    able = found[found["real_time_factor"] <= _LIVE]
    length = found["block_seconds"].iloc[0]
    if able.empty:
        return (
            f"This machine is too slow to play live (a block lasts {length:.2f} s): use a smaller model or "
            "another device; `generate` works all the same."
        )
    return (
        f"This machine plays live with up to {int(able['nfe'].max())} evaluations a block of {length:.2f} s."
    )


def _write_csv(path: Path, frame: pd.DataFrame) -> None:
    text = frame.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    write_atomically(path, lambda file: file.write(text.encode("utf-8")))
