"""Options that several sub-commands of ``sciffusion forecast`` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "DEFAULT_MODEL",
    "Data",
    "Device",
    "Force",
    "Frequency",
    "Future",
    "IdColumn",
    "Levels",
    "MaxSteps",
    "ModelFile",
    "NSamples",
    "NoNetwork",
    "Past",
    "Picture",
    "SeasonLength",
    "Seed",
    "Separator",
    "Static",
    "Target",
    "Threads",
    "TimeColumn",
    "TimeFormat",
    "names_of",
    "numbers_of",
]

#: Model file that is written and read where none is named.
DEFAULT_MODEL = Path("model.safetensors")

Data = Annotated[
    Path,
    typer.Argument(
        help="CSV file with a header, a row a series and time.", metavar="DATA", show_default=False
    ),
]
ModelFile = Annotated[Path, typer.Option("--model", help="Model file, from `fit`.", metavar="FILE")]
IdColumn = Annotated[
    str, typer.Option(help="Column of series' names; a file without it is one series.", metavar="COLUMN")
]
TimeColumn = Annotated[str, typer.Option(help="Column of times.", metavar="COLUMN")]
TimeFormat = Annotated[
    str, typer.Option(help="Such as %d/%m/%Y; default: numbers, ISO dates.", metavar="TEXT")
]
Target = Annotated[str, typer.Option(help="Column of values; of several, one a channel.", metavar="A,B")]
Past = Annotated[str, typer.Option(help="Covariates known up to now.", metavar="A,B")]
Future = Annotated[str, typer.Option(help="Covariates known in advance.", metavar="A,B")]
Static = Annotated[str, typer.Option(help="Covariates constant in a series.", metavar="A,B")]
SeasonLength = Annotated[str, typer.Option(help="Rows of the seasons, the main one first.", metavar="N,N")]
Frequency = Annotated[str, typer.Option(help="Pandas' name of the step, such as h, D, MS.", metavar="NAME")]
Levels = Annotated[str, typer.Option("--level", help="Levels of the intervals, in per cent.", metavar="P,P")]
NSamples = Annotated[
    int | None, typer.Option(help="Paths to draw a series.", metavar="N", min=1, show_default=False)
]
MaxSteps = Annotated[
    int | None, typer.Option(help="Most training steps of a fit.", metavar="N", min=1, show_default=False)
]
NoNetwork = Annotated[bool, typer.Option("--no-network", help="Fit only the linear base: fast, Gaussian.")]
Picture = Annotated[
    Path | None,
    typer.Option("--plot", help="Picture to draw (PNG, SVG or PDF).", metavar="FILE", show_default=False),
]
Seed = Annotated[int, typer.Option(help="Makes the result reproducible.", metavar="N")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.", metavar="NAME")]
Threads = Annotated[int, typer.Option(help="Threads to compute with.", metavar="N", min=1)]
Separator = Annotated[str, typer.Option(help="What stands between cells.", metavar="TEXT")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")]


def names_of(text: str) -> list[str]:
    """Return what stands between commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def numbers_of(text: str, option: str) -> list[float]:
    """Return the numbers between commas.

    Raises
    ------
    ValueError
        Naming the option and what is no number.
    """
    values = []
    for item in names_of(text):
        try:
            values.append(float(item))
        except ValueError as error:
            raise ValueError(f"{option} must be numbers with commas between them, found {item!r}") from error
    return values
