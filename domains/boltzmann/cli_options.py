"""Options that several sub-commands of ``sciffusion boltzmann`` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Count", "Data", "Device", "Force", "Model", "Oscillator", "Picture", "Seed", "Threads", "Xyz"]

Data = Annotated[
    Path,
    typer.Argument(
        help="Configurations: .npz, .npy, or .xyz with several models.", metavar="DATA", show_default=False
    ),
]
Model = Annotated[str, typer.Argument(help="Model file, from `fit`, or a published name.", metavar="MODEL")]
Count = Annotated[int, typer.Option("--count", "-n", help="Configurations.", metavar="N", min=2)]
Seed = Annotated[int, typer.Option(help="Makes the result reproducible.", metavar="N")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")]
Threads = Annotated[int, typer.Option(help="Threads to compute with.", metavar="N", min=1)]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.", metavar="NAME")]
Picture = Annotated[
    Path | None,
    typer.Option(help="PNG, SVG or PDF of distances and energies.", metavar="FILE", show_default=False),
]
Xyz = Annotated[
    Path | None,
    typer.Option(
        "--xyz", help="Models for a viewer; nm become Ångström.", metavar="FILE", show_default=False
    ),
]
Oscillator = Annotated[
    float | None,
    typer.Option(help="Strength of a harmonic trap.", metavar="K", show_default=False),
]
