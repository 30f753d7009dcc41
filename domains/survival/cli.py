"""The command ``sciffusion survival``: fit, predict and evaluate on CSV files.

Errors that the caller can mend are raised as ValueError, TypeError, OSError or ImportError;
``sciffusion.cli.main`` turns them into one line and exit status 2. Warnings become one line each on the error
stream. Files are written as a whole or not at all, and none is overwritten without ``--force``.
"""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from rich.console import Console
from rich.table import Table

from sciffusion.datasets import find_leaks
from sciffusion.estimators.command_session import counting, refuse_outputs, say, session, waiting
from sciffusion.estimators.csv_tables import find_columns, read_table
from sciffusion.estimators.imports import optional_import
from sciffusion.training.checkpoints import write_atomically

from .csv_input import covariates, covariates_for, read_target, warn_of_identifiers
from .demo import OURS, demo_models
from .estimator import SDPMSurvival
from .evaluation import SCORES, Evaluation, evaluate
from .report import ReportContent, write_report
from .targets import SurvivalTarget

__all__ = ["app"]

app = typer.Typer(
    help="Survival analysis on CSV files with a diffusion model.",
    epilog="Times may be in any unit. Event: 1 or true = observed, 0 or false = censored.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Data = Annotated[
    Path,
    typer.Argument(help="CSV file with a header, one row a patient.", metavar="DATA", show_default=False),
]
ModelFile = Annotated[
    Path, typer.Argument(help="Model file, from `fit`.", metavar="MODEL", show_default=False)
]
Time = Annotated[str, typer.Option(help="Column of times.", metavar="COLUMN", show_default=False)]
Event = Annotated[str, typer.Option(help="Column of event flags.", metavar="COLUMN", show_default=False)]
EventValue = Annotated[
    str, typer.Option(help="Values of the event column that mean the event.", metavar="A,B")
]
Drop = Annotated[str, typer.Option(help="Columns to leave out, such as identifiers.", metavar="A,B")]
Categorical = Annotated[
    str, typer.Option(help="Columns of categories that look like numbers.", metavar="A,B")
]
Separator = Annotated[str, typer.Option(help="What stands between cells.", metavar="TEXT")]
Seed = Annotated[int, typer.Option(help="Makes the result reproducible.", metavar="N")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")]
Threads = Annotated[int, typer.Option(help="Threads to compute with.", metavar="N", min=1)]
MaxSteps = Annotated[
    int | None, typer.Option(help="Most training steps of a fit.", metavar="N", min=0, show_default=False)
]


@app.command()
def fit(
    data: Data,
    time: Time,
    event: Event,
    out: Annotated[Path, typer.Option(help="Model file to write.", metavar="FILE", show_default=False)],
    event_value: EventValue = "",
    categorical: Categorical = "",
    drop: Drop = "",
    calibrate: Annotated[str, typer.Option(help="'conformal' makes lower bounds safer.", metavar="HOW")] = "",
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="File by which an interrupted fit goes on.", metavar="FILE", show_default=False),
    ] = None,
    recipe: Annotated[str, typer.Option(help="'default', or 'paper' (slow).", metavar="NAME")] = "default",
    max_steps: MaxSteps = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.", metavar="NAME")] = "auto",
    threads: Threads = 1,
    separator: Separator = ",",
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Fit a model and save it.

    All columns besides time, event and --drop are covariates. Columns of text are categories, and empty cells
    are missing values, which the model handles.
    """
    refuse_outputs([out], force)
    with session(threads):
        X, target = _read(data, separator, time, event, event_value, categorical, drop)
        model = SDPMSurvival(
            recipe=recipe,  # type: ignore[arg-type]  # checked by the fit
            calibrate=calibrate or None,  # type: ignore[arg-type]
            random_state=seed,
            device=device,
            max_steps=max_steps,
            checkpoint=checkpoint,
        )
        with waiting(f"fitting on {len(X)} rows"):
            model.fit(X, target.time, target.event)
        model.save(out)
    say(f"Fitted on {len(X)} rows ({int(target.event.sum())} events), {X.shape[1]} covariates; saved {out}.")


@app.command()
def predict(
    model: Annotated[
        Path, typer.Argument(help="Model file, from `fit`.", metavar="MODEL", show_default=False)
    ],
    data: Data,
    out: Annotated[Path, typer.Option(help="CSV file to write.", metavar="FILE", show_default=False)],
    times: Annotated[str, typer.Option(help="Survival probabilities at these times.", metavar="T,T")] = "",
    quantiles: Annotated[str, typer.Option(help="Quantiles of the survival time.", metavar="Q,Q")] = "0.5",
    lower_bound: Annotated[
        float | None,
        typer.Option(help="Time survived with this probability.", metavar="P", show_default=False),
    ] = None,
    keep: Annotated[str, typer.Option(help="Columns to copy, such as identifiers.", metavar="A,B")] = "",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.", metavar="NAME")] = "auto",
    threads: Threads = 1,
    separator: Separator = ",",
    force: Force = False,
) -> None:
    """Predict for the patients of a CSV file.

    One row a patient, in the order of the file. The columns: those of --keep, then risk (higher = earlier
    event), restricted_mean (mean time up to the end of the model's follow-up), quantile_Q, survival_at_T and
    lower_bound_P. 'inf' means: later than the follow-up of the training data can tell.
    """
    refuse_outputs([out], force)
    points = _numbers(times, "--times")
    levels = _numbers(quantiles, "--quantiles")
    with session(threads):
        estimator = SDPMSurvival.load(model)
        estimator.set_params(device=device)
        table = read_table(data, separator)
        kept = find_columns(table, _names(keep), "--keep")
        X = _known_covariates(estimator, table)
        with waiting(f"predicting {len(X)} rows"):
            columns = _predictions(estimator, X, points, levels, lower_bound)
        clash = [name for name in kept if name in columns]
        if clash:
            raise ValueError(
                f"--keep: {clash[0]!r} is also the name of a predicted column; rename it in the data"
            )
        result = pd.DataFrame({**{name: table[name] for name in kept}, **columns})
        text = result.to_csv(index=False, sep=separator, float_format="%.6g", na_rep="", lineterminator="\n")
        write_atomically(out, lambda file: file.write(text.encode("utf-8")))
    say(f"Predicted {len(X)} rows; saved {out}.")


@app.command("evaluate")
def evaluate_command(
    data: Data,
    time: Time,
    event: Event,
    event_value: EventValue = "",
    categorical: Categorical = "",
    drop: Drop = "",
    group: Annotated[
        str, typer.Option(help="Column of groups that folds keep together.", metavar="COLUMN")
    ] = "",
    folds: Annotated[int, typer.Option(help="Folds of the cross-validation.", metavar="N", min=2)] = 5,
    peers: Annotated[bool, typer.Option(help="Compare with Cox regression and a forest.")] = True,
    report: Annotated[
        Path | None, typer.Option(help="HTML report to write.", metavar="FILE", show_default=False)
    ] = None,
    show_patients: Annotated[
        bool, typer.Option("--show-patients", help="Print covariates of three patients in the report.")
    ] = False,
    time_unit: Annotated[str, typer.Option(help="For the report, such as 'days'.", metavar="TEXT")] = "",
    max_steps: MaxSteps = None,
    threads: Threads = 1,
    separator: Separator = ",",
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Cross-validate the model on a CSV file, beside its peers.

    Prints scores on held-out rows and a self-check of the generator; --report writes both with pictures.
    """
    if report is not None:
        refuse_outputs([report], force)
        optional_import("matplotlib", "plots")
    with session(threads):
        table = read_table(data, separator)
        groups = table[find_columns(table, [group], "--group")[0]].to_numpy() if group else None
        dropped = ",".join([*_names(drop), *([group] if group else [])])
        X, target = _interpreted(table, time, event, event_value, categorical, dropped)
        models = demo_models(seed, peers, max_steps=max_steps)
        with counting() as progress:
            result = evaluate(models, X, target, folds=folds, groups=groups, seed=seed, progress=progress)
        Console().print(_score_table(result))
        say(f"\n{result.self_check(OURS)}")
        if report is not None:
            options = {
                "--time": time, "--event": event, "--event-value": event_value, "--categorical": categorical,
                "--drop": drop, "--group": group, "--folds": folds, "--max-steps": max_steps, "--seed": seed,
                "--time-unit": time_unit, "--report": report.name,
            }  # fmt: skip
            flags = ([] if peers else ["--no-peers"]) + (["--show-patients"] if show_patients else [])
            content = ReportContent(
                result,
                OURS,
                title=f"Survival models on {data.name}",
                time_unit=time_unit,
                facts=[("file", data.name), ("time, event", f"{time}, {event}")],
                command=_command(["evaluate", data.name], options, flags),
                seed=seed,
                show_covariates=show_patients,
            )
            write_report(report, content)
            say(f"\nReport: {report}")


# -------------------------------------------------------------------- input


def _read(
    data: Path, separator: str, time: str, event: str, event_value: str, categorical: str, drop: str
) -> tuple[pd.DataFrame, SurvivalTarget]:
    return _interpreted(read_table(data, separator), time, event, event_value, categorical, drop)


def _interpreted(
    table: pd.DataFrame, time: str, event: str, event_value: str, categorical: str, drop: str
) -> tuple[pd.DataFrame, SurvivalTarget]:
    target = read_target(table, time, event, _names(event_value))
    left_out = [time, event, *find_columns(table, _names(drop), "--drop")]
    X = covariates(table.drop(columns=left_out), _names(categorical))
    warn_of_identifiers(X)
    _warn_of_leaks(X, target)
    return X, target


def _warn_of_leaks(X: pd.DataFrame, target: SurvivalTarget) -> None:
    if not target.event.any() or np.ptp(target.time) == 0:
        return  # the fit will say what is wrong
    # Categories with a value of their own for every row are warned of as identifiers.
    few = [name for name in X if not isinstance(X[name].dtype, pd.CategoricalDtype) or X[name].nunique() < 50]
    leaks = find_leaks(X[few], target.time, target.event, random_state=0)
    for name, rows in leaks[leaks["suspect"]].groupby("column", sort=False):
        warnings.warn(
            f"the column {name!r} almost tells the outcome ({rows['reason'].iloc[0]}); if it is known only "
            f"after the event, leave it out with --drop {name}",
            UserWarning,
            stacklevel=2,
        )


def _known_covariates(estimator: SDPMSurvival, table: pd.DataFrame) -> pd.DataFrame:
    encoded = estimator._encoder_.columns
    if not hasattr(estimator, "feature_names_in_"):
        raise ValueError(
            "the model was fitted on an array without column names; fit it on a frame, or with "
            "`sciffusion survival fit`"
        )
    categorical = [column.name for column in encoded if column.categories is not None]
    return covariates_for(table, [str(name) for name in estimator.feature_names_in_], categorical)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _numbers(text: str, option: str) -> list[float]:
    values = []
    for item in _names(text):
        try:
            values.append(float(item))
        except ValueError as error:
            raise ValueError(f"{option} must be numbers with commas between them, found {item!r}") from error
    return values


# -------------------------------------------------------------------- work and output


def _predictions(
    estimator: SDPMSurvival,
    X: pd.DataFrame,
    times: Sequence[float],
    levels: Sequence[float],
    lower_bound: float | None,
) -> dict[str, Any]:
    columns: dict[str, Any] = {"risk": estimator.predict(X), "restricted_mean": estimator.predict_rmst(X)}
    if levels:
        quantiles = estimator.predict_quantile(X, levels)
        columns |= {f"quantile_{level:g}": quantiles[:, place] for place, level in enumerate(levels)}
    if times:
        survival = estimator.predict_survival_function(X, return_array=True, times=times)
        columns |= {f"survival_at_{time:g}": survival[:, place] for place, time in enumerate(times)}
    if lower_bound is not None:
        columns[f"lower_bound_{lower_bound:g}"] = estimator.predict_lower_bound(X, lower_bound)
    return columns


def _score_table(evaluation: Evaluation) -> Table:
    table = Table(
        title=f"Held-out scores, mean of {evaluation.n_folds} folds", title_justify="left", box=None
    )
    table.add_column("model")
    for name in [*SCORES.values(), "D-cal. p", "fit s"]:
        table.add_column(name, justify="right", no_wrap=True)
    for model, row in evaluation.summary().iterrows():
        scores = [f"{row[key]:.4f}" if key == "ibs" else f"{row[key]:.3f}" for key in SCORES]
        table.add_row(str(model), *scores, f"{row['d_calibration_p']:.3f}", f"{row['fit_seconds']:.1f}")
    for name, reason in evaluation.missing.items():
        table.caption = f"{table.caption or ''}{name} was not run: {reason}\n"
    return table


def _command(start: Sequence[str], options: Mapping[str, Any], flags: Sequence[str]) -> str:
    """Return the command line with the options that were given, without folders of this machine."""
    given = [str(part) for pair in options.items() if pair[1] not in ("", None) for part in pair]
    return shlex.join(["sciffusion", "survival", *start, *given, *flags])
