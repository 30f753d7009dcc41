"""The command ``sciffusion molecules``: fit, sample and evaluate on files of SMILES.

Errors that the caller can mend are raised as ValueError, TypeError, OSError or ImportError;
``sciffusion.cli.main`` turns them into one line and exit status 2. Warnings become one line each on the error
stream. Files are written as a whole or not at all, and none is overwritten without ``--force``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from sciffusion.estimators.command_session import on_terminal, refuse_outputs, say, session, waiting
from sciffusion.training.checkpoints import write_atomically

from .diffusion import MoleculeDiffusion
from .grids import molecule_grid
from .metrics import Evaluation, evaluate
from .molecule_files import SMILES_COLUMN, read_molecules, read_properties, write_molecules
from .parsing import parse_smiles

__all__ = ["app"]

_SHOWN = 24  # molecules in a picture
_PICTURES = (".png", ".svg")  # what RDKit draws

app = typer.Typer(
    help="Molecules as SMILES or SELFIES with a diffusion model.",
    epilog="Files: CSV with a header, or .smi with one SMILES a line.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Data = Annotated[
    Path, typer.Argument(help="Molecules: CSV with a header, or .smi.", metavar="DATA", show_default=False)
]
Column = Annotated[str, typer.Option("--smiles", help="Column of SMILES, if not named so.", metavar="COLUMN")]
Separator = Annotated[str, typer.Option(help="What stands between cells.", metavar="TEXT")]
Seed = Annotated[int, typer.Option(help="Makes the result reproducible.", metavar="N")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")]
Threads = Annotated[int, typer.Option(help="Threads to compute with.", metavar="N", min=1)]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.", metavar="NAME")]


@app.command()
def fit(
    data: Data,
    out: Annotated[Path, typer.Option(help="Model file to write.", metavar="FILE", show_default=False)],
    smiles: Column = "",
    properties: Annotated[
        str, typer.Option(help="Columns of numbers to be conditioned on.", metavar="A,B")
    ] = "",
    representation: Annotated[str, typer.Option(help="selfies or smiles.", metavar="NAME")] = "selfies",
    process: Annotated[
        str, typer.Option(help="mask, uniform or uniform_absorbing.", metavar="NAME")
    ] = "mask",
    errors: Annotated[
        str, typer.Option(help="'drop' goes on without invalid SMILES.", metavar="HOW")
    ] = "raise",
    width: Annotated[int, typer.Option(help="Features of the network.", metavar="N", min=1)] = 128,
    depth: Annotated[int, typer.Option(help="Blocks of the network.", metavar="N", min=1)] = 4,
    batch_size: Annotated[int, typer.Option(help="Molecules of a step.", metavar="N", min=1)] = 128,
    max_steps: Annotated[int, typer.Option(help="Training steps at most.", metavar="N", min=1)] = 2000,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="File by which an interrupted fit goes on.", metavar="FILE", show_default=False),
    ] = None,
    device: Device = "auto",
    threads: Threads = 1,
    separator: Separator = ",",
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Fit a model and save it.

    --properties names columns on which draws can be conditioned later, by `sample --target`.
    """
    refuse_outputs([out], force)
    with session(threads):
        table = read_molecules(data, smiles, separator)
        y = read_properties(table, _names(properties))
        model = MoleculeDiffusion(
            representation=representation, process=process, width=width, depth=depth, batch_size=batch_size,
            max_steps=max_steps, checkpoint=checkpoint, device=device, random_state=seed,
            verbose=on_terminal(),
        )  # fmt: skip
        with waiting(f"fitting on {len(table)} molecules"):
            model.fit(table[SMILES_COLUMN], y, errors=errors)  # type: ignore[arg-type]  # checked by the fit
        model.set_params(verbose=False).save(out)
    report = model.report_
    dropped = f" ({len(report.invalid)} dropped)" if len(report.invalid) else ""
    learned = f", conditioned on {', '.join(model.property_names_)}" if model.property_names_ else ""
    say(f"Fitted on {report.n_valid} molecules{dropped}{learned}; saved {out}.")


@app.command()
def sample(
    model: Annotated[
        str, typer.Argument(help="Model file, from `fit`, or a published name.", metavar="MODEL")
    ],
    out: Annotated[Path, typer.Option(help="CSV or .smi file to write.", metavar="FILE", show_default=False)],
    count: Annotated[int, typer.Option("--count", "-n", help="Molecules.", metavar="N", min=1)] = 100,
    target: Annotated[
        list[str] | None,
        typer.Option(help="Property and value, with a tolerance if wished.", metavar="NAME=V[+-W]"),
    ] = None,
    maximise: Annotated[str, typer.Option(help="Property that is to be large.", metavar="NAME")] = "",
    scale: Annotated[float, typer.Option(help="Strength of the target or tilt.", metavar="X")] = 1.0,
    method: Annotated[str, typer.Option(help="auto, cfg, cbg or fk.", metavar="NAME")] = "auto",
    scaffold: Annotated[str, typer.Option(help="SMILES to decorate, * where.", metavar="SMILES")] = "",
    require_scaffold: Annotated[
        bool, typer.Option("--require-scaffold", help="Reject molecules without the scaffold.")
    ] = False,
    only_valid: Annotated[bool, typer.Option("--only-valid", help="Draw until all are molecules.")] = False,
    nfe: Annotated[
        int | None, typer.Option(help="Network evaluations of a draw.", metavar="N", show_default=False)
    ] = None,
    weights: Annotated[bool, typer.Option("--weights", help="Write weighted draws.")] = False,
    picture: Annotated[
        Path | None, typer.Option(help="PNG of the first molecules.", metavar="FILE", show_default=False)
    ] = None,
    device: Device = "auto",
    threads: Threads = 1,
    separator: Separator = ",",
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Draw molecules from a model.

    --target conditions a model that has learned the property (cfg), and steers any other (fk). --maximise
    tilts the model by exp(scale * property).
    """
    refuse_outputs([out], force, picture=picture, kinds=_PICTURES)
    with session(threads):
        estimator = _load(model, device)
        wanted = _reward(target or [], maximise)
        with waiting(f"drawing {count} molecules"):
            drawn = estimator.sample(
                count, reward=wanted, scale=scale,
                method=method,  # type: ignore[arg-type]  # checked by the draw
                scaffold=scaffold or None, nfe=nfe,
                require_scaffold=require_scaffold, only_valid=only_valid, return_weights=True,
                random_state=seed,
            )  # fmt: skip
        even = weights or drawn.log_normaliser is None
        molecules = drawn if even else drawn.resampled(seed)
        table = molecules.to_frame()
        table = table if weights else table.drop(columns="weight")
        write_molecules(out, table, separator)
        if picture is not None:
            _draw(picture, drawn.resampled(seed).smiles, scaffold)
    say(drawn.summary())
    say(f"Wrote {len(table)} molecules to {out}.")


@app.command("evaluate")
def evaluate_command(
    data: Data,
    reference: Annotated[
        Path,
        typer.Option(help="Molecules of the training set.", metavar="FILE", show_default=False),
    ],
    test: Annotated[
        Path | None,
        typer.Option(help="Molecules kept back from it.", metavar="FILE", show_default=False),
    ] = None,
    smiles: Column = "",
    out: Annotated[
        Path | None, typer.Option(help="CSV file to write.", metavar="FILE", show_default=False)
    ] = None,
    threads: Threads = 1,
    separator: Separator = ",",
    force: Force = False,
) -> None:
    """Compare drawn molecules with those a model was fitted on.

    Prints validity, uniqueness, novelty against --reference, and distances of scaffolds, fragments and
    properties to --test (to --reference without it).
    """
    refuse_outputs([out], force)
    with session(threads):
        drawn = list(read_molecules(data, smiles, separator)[SMILES_COLUMN])
        known = list(read_molecules(reference, smiles, separator)[SMILES_COLUMN])
        held = None if test is None else list(read_molecules(test, smiles, separator)[SMILES_COLUMN])
        with waiting(f"comparing {len(drawn)} molecules"):
            found = evaluate(drawn, known if held is None else held, training=known)
        Console().print(_score_table(found))
        if out is not None:
            frame = found.scores.rename_axis("metric").reset_index()
            write_molecules(out, frame, separator)
            say(f"Wrote {out}.")


# -------------------------------------------------------------------- input


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _load(model: str, device: str) -> MoleculeDiffusion:
    """Return the model of a file, or a published one."""
    path = Path(model)
    named = not path.suffix and len(path.parts) == 1 and not path.exists()
    estimator = MoleculeDiffusion.from_pretrained(model) if named else MoleculeDiffusion.load(path)
    estimator.set_params(device=device)
    return estimator


def _reward(targets: list[str], maximise: str) -> Any:
    """Return what is steered towards: values of properties, a property, or None."""
    if targets and maximise:
        raise ValueError("give --target or --maximise, not both")
    if maximise:
        return maximise
    return dict(map(_target, targets)) or None


def _target(text: str) -> tuple[str, Any]:
    """Read ``name=value`` or ``name=value+-tolerance``."""
    name, sign, rest = text.partition("=")
    value, plus, tolerance = rest.partition("+-")
    try:
        if not sign or not name.strip():
            raise ValueError
        number = float(value)
        return name.strip(), (number, float(tolerance)) if plus else number
    except ValueError:
        raise ValueError(f"--target must be NAME=VALUE or NAME=VALUE+-TOLERANCE, got {text!r}") from None


# -------------------------------------------------------------------- output


def _draw(path: Path, smiles: list[str], scaffold: str) -> None:
    """Write a picture of the first different valid molecules."""
    shown = list(dict.fromkeys(one for one in smiles if parse_smiles(one) is not None))[:_SHOWN]
    if not shown:
        raise ValueError("there is no valid molecule to draw; leave --picture out")
    grid = molecule_grid(shown, scaffold=scaffold or None)
    content = grid.png if path.suffix.lower() == ".png" else grid.svg.encode()
    write_atomically(path, lambda file: file.write(content))


def _score_table(found: Evaluation) -> Table:
    against = "" if found.n_reference is None else f", against {found.n_reference}"
    table = Table(
        title=f"{found.n_valid} of {found.n_given} are molecules{against}", title_justify="left", box=None
    )
    table.add_column("measure")
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("meaning")
    for name, row in found.to_frame().iterrows():
        table.add_row(str(name), f"{row['value']:.4f}", str(row["meaning"]))
    return table
