"""The command ``sciffusion forecast``: fit, predict, impute, score and backtest on CSV files.

Errors that the caller can mend are raised as ValueError, TypeError, OSError or ImportError;
``sciffusion.cli.main`` turns them into one line and exit status 2. Warnings become one line each on the error
stream. Files are written as a whole or not at all, and none is overwritten without ``--force``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from sciffusion.estimators.command_session import counting, on_terminal, say, session, waiting

from .cli_backtest import score_table, tables_of_backtest
from .cli_options import (
    DEFAULT_MODEL,
    Data,
    Device,
    Force,
    Frequency,
    Future,
    IdColumn,
    Levels,
    MaxSteps,
    ModelFile,
    NoNetwork,
    NSamples,
    Past,
    Picture,
    SeasonLength,
    Seed,
    Separator,
    Static,
    Target,
    Threads,
    TimeColumn,
    TimeFormat,
    numbers_of,
)
from .cli_series import FileOfSeries, filled_frame, load_model, new_model, without_only_id
from .cli_session import check_outputs, write_csv, write_picture
from .forecaster import DiffusionForecaster

__all__ = ["app"]

app = typer.Typer(
    help="Probabilistic forecasts of the series in a CSV file.",
    epilog="Columns are unique_id, ds and y unless you name others. Empty cells are missing values.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.command()
def fit(
    data: Data,
    horizon: Annotated[int, typer.Option(help="Rows ahead.", metavar="N", min=1, show_default=False)],
    out: Annotated[Path, typer.Option(help="Model file to write.", metavar="FILE")] = DEFAULT_MODEL,
    id_col: IdColumn = "unique_id",
    time_col: TimeColumn = "ds",
    target: Target = "y",
    past: Past = "",
    future: Future = "",
    static: Static = "",
    season_length: SeasonLength = "",
    frequency: Frequency = "",
    time_format: TimeFormat = "",
    max_steps: MaxSteps = None,
    no_network: NoNetwork = False,
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
    """Fit a model to all series of a file and save it.

    Rows may come in any order. Steps left out of a series count as missing, and missing values need no
    filling. Other columns than those named are left out.
    """
    check_outputs([out], None, force)
    with session(threads):
        model = new_model(
            horizon, id_col, time_col, target, past, future, static, season_length, frequency,
            max_steps=max_steps, no_network=no_network, device=device, seed=seed,
        ).set_params(checkpoint=checkpoint, verbose=on_terminal())  # fmt: skip
        frame = FileOfSeries.of(model, time_format, separator).read(data)
        say(f"Fitting {_size(frame, id_col)} ...")
        model.fit(frame)
        model.set_params(verbose=False, checkpoint=None).save(out)
    say(f"Saved {out}: step {model.panel_.frequency or 1}, {horizon} rows ahead.")


@app.command()
def predict(
    data: Annotated[
        Path | None,
        typer.Argument(
            help="CSV file of histories; default: those fitted.", metavar="DATA", show_default=False
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="CSV file to write.", metavar="FILE")] = Path("forecast.csv"),
    model_file: ModelFile = DEFAULT_MODEL,
    horizon: Annotated[
        int | None,
        typer.Option(help="Rows ahead; default: as fitted.", metavar="N", min=1, show_default=False),
    ] = None,
    level: Levels = "80,95",
    quantiles: Annotated[str, typer.Option(help="Quantiles in place of intervals.", metavar="Q,Q")] = "",
    samples: Annotated[
        Path | None, typer.Option(help="CSV file for the paths.", metavar="FILE", show_default=False)
    ] = None,
    future_data: Annotated[
        Path | None,
        typer.Option(help="CSV file of future covariates.", metavar="FILE", show_default=False),
    ] = None,
    plot: Picture = None,
    n_samples: NSamples = None,
    time_format: TimeFormat = "",
    seed: Annotated[
        int | None,
        typer.Option(help="Seed of the paths; default: of the fit.", metavar="N", show_default=False),
    ] = None,
    device: Device = "auto",
    threads: Threads = 1,
    separator: Separator = ",",
    force: Force = False,
) -> None:
    """Forecast the rows that follow each series.

    Writes the median and the bounds of central intervals (DiffusionForecaster-lo-80, ...). All numbers are
    read from the same joint paths, which --samples writes out.
    """
    check_outputs([out, samples], plot, force)
    levels, asked = numbers_of(level, "--level"), numbers_of(quantiles, "--quantiles")
    with session(threads):
        model = load_model(model_file, device)
        file = FileOfSeries.of(model, time_format, separator)
        frame = None if data is None else file.read(data)
        given: dict[str, Any] = {
            "h": horizon, "df": frame, "n_samples": n_samples, "random_state": seed,
            "futr_df": None if future_data is None else file.read(future_data, ahead=True),
        }  # fmt: skip
        with waiting("forecasting"):
            if asked:
                table = model.predict_quantiles(quantiles=asked, **given)
            else:
                table = model.predict(level=levels, **given)
            draws = model.sample(**given) if samples is not None or plot is not None else None
        write_csv(out, without_only_id(table, model.id_col), separator)
        say(f"Forecast {_size(table, model.id_col)}; saved {out}.")
        if samples is not None:
            assert draws is not None
            write_csv(samples, without_only_id(draws, model.id_col), separator)
            say(f"Paths: {samples}")
        if plot is not None:
            from .plots_forecast import plot_forecast

            shown = filled_frame(model, None) if frame is None else frame
            figure = plot_forecast(draws if asked else table, shown, draws=draws, **_names(model))
            write_picture(plot, figure)
            say(f"Picture: {plot}")


@app.command()
def impute(
    data: Data,
    out: Annotated[Path, typer.Option(help="CSV file to write.", metavar="FILE")] = Path("imputed.csv"),
    model_file: ModelFile = DEFAULT_MODEL,
    level: Levels = "80,95",
    samples: Annotated[
        Path | None, typer.Option(help="CSV file for completed copies.", metavar="FILE", show_default=False)
    ] = None,
    plot: Picture = None,
    n_samples: NSamples = None,
    time_format: TimeFormat = "",
    seed: Annotated[
        int | None,
        typer.Option(help="Seed of the draws; default: of the fit.", metavar="N", show_default=False),
    ] = None,
    device: Device = "auto",
    threads: Threads = 1,
    separator: Separator = ",",
    force: Force = False,
) -> None:
    """Fill missing values, empty cells as well as rows left out.

    Writes all rows: what was observed as it was, medians of draws elsewhere, the bounds of central intervals
    (y-lo-80, ...) and a column 'imputed' that is 1 where a value was missing. --samples writes the draws
    themselves, completed copies that vary as the series do.
    """
    check_outputs([out, samples], plot, force)
    levels = numbers_of(level, "--level")
    with session(threads):
        model = load_model(model_file, device)
        frame = filled_frame(model, FileOfSeries.of(model, time_format, separator).read(data))
        with waiting("imputing"):
            draws = model.impute(df=frame, n_samples=n_samples or model.n_samples, random_state=seed)
        table = _imputed_table(model, frame, draws, levels)
        write_csv(out, without_only_id(table, model.id_col), separator)
        say(f"Imputed {int(table['imputed'].sum())} of {len(table)} rows; saved {out}.")
        if samples is not None:
            write_csv(samples, without_only_id(draws, model.id_col), separator)
            say(f"Copies: {samples}")
        if plot is not None:
            from .plots_imputation import plot_imputation

            write_picture(plot, plot_imputation(draws, frame, **_names(model)))
            say(f"Picture: {plot}")


@app.command()
def anomaly(
    data: Data,
    out: Annotated[Path, typer.Option(help="CSV file to write.", metavar="FILE")] = Path("anomaly.csv"),
    model_file: ModelFile = DEFAULT_MODEL,
    threshold: Annotated[
        float | None,
        typer.Option(help="Rows above it are marked.", metavar="SCORE", show_default=False),
    ] = None,
    kind: Annotated[
        str, typer.Option(help="combined, denoising, or forecast (looks back only).", metavar="NAME")
    ] = "combined",
    window: Annotated[int, typer.Option(help="Rows to average scores over.", metavar="N", min=1)] = 1,
    plot: Picture = None,
    time_format: TimeFormat = "",
    device: Device = "auto",
    threads: Threads = 1,
    separator: Separator = ",",
    force: Force = False,
) -> None:
    """Score every row by how strange it is for the model.

    Writes names, times and scores, higher meaning stranger (about 1 is usual), and prints the highest five.
    Give the history of new rows along with them. With --threshold there is a column 'anomaly', 1 for the rows
    above it.
    """
    check_outputs([out], plot, force)
    with session(threads):
        model = load_model(model_file, device)
        frame = FileOfSeries.of(model, time_format, separator).read(data)
        with waiting("scoring"):
            scores = model.anomaly_score(df=frame, kind=kind, window=window)
        if threshold is not None:
            scores = scores.assign(anomaly=(scores["score"] > threshold).astype(int))
        write_csv(out, without_only_id(scores, model.id_col), separator)
        say(f"Scored {_size(scores, model.id_col)}; saved {out}. The highest scores:")
        highest = scores.nlargest(5, "score")
        say(without_only_id(highest, model.id_col).to_string(index=False, float_format="%.4g"))
        if plot is not None:
            from .plots_anomaly import plot_anomaly

            order = scores.groupby(model.id_col, sort=False)["score"].max().sort_values(ascending=False)
            figure = plot_anomaly(
                scores, frame, threshold=threshold, series=list(order.index[:3]), **_names(model)
            )
            write_picture(plot, figure)
            say(f"Picture: {plot}")


@app.command("backtest")
def backtest_command(
    data: Data,
    horizon: Annotated[int, typer.Option(help="Rows ahead.", metavar="N", min=1, show_default=False)],
    windows: Annotated[int, typer.Option(help="Origins a series.", metavar="N", min=1)] = 3,
    step: Annotated[
        int | None,
        typer.Option(help="Rows between origins; default: horizon.", metavar="N", min=1, show_default=False),
    ] = None,
    refit: Annotated[str, typer.Option(help="once, update or each.", metavar="WHEN")] = "once",
    out: Annotated[
        Path | None, typer.Option(help="CSV file for all scores.", metavar="FILE", show_default=False)
    ] = None,
    plot: Picture = None,
    level: Levels = "80,95",
    id_col: IdColumn = "unique_id",
    time_col: TimeColumn = "ds",
    target: Target = "y",
    past: Past = "",
    future: Future = "",
    static: Static = "",
    season_length: SeasonLength = "",
    frequency: Frequency = "",
    time_format: TimeFormat = "",
    n_samples: NSamples = 200,
    max_steps: MaxSteps = None,
    no_network: NoNetwork = False,
    device: Device = "auto",
    threads: Threads = 1,
    separator: Separator = ",",
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Forecast the last rows from earlier origins, and score that.

    Prints scaled CRPS and MASE (errors over those of the seasonal naive forecast within the history; less is
    better), the scaled energy score of whole paths, and the share of values that the intervals covered; for
    the model and for its linear base alone ('network off').
    """
    check_outputs([out], plot, force)
    levels = numbers_of(level, "--level")
    with session(threads):
        model = new_model(
            horizon, id_col, time_col, target, past, future, static, season_length, frequency,
            max_steps=max_steps, no_network=no_network, device=device, seed=seed,
        )  # fmt: skip
        frame = filled_frame(model, FileOfSeries.of(model, time_format, separator).read(data))
        options = {"refit": refit, "n_samples": n_samples, "levels": levels, "step": step}
        with counting() as progress:
            tables, draws = tables_of_backtest(model, frame, windows, options, progress)
        say(score_table(tables, windows))
        if out is not None:
            parts = [table.assign(model=name) for name, table in tables.items()]
            write_csv(out, without_only_id(pd.concat(parts, ignore_index=True), id_col), separator)
            say(f"\nScores: {out}")
        if plot is not None:
            from .plots_backtest import plot_backtest

            write_picture(plot, plot_backtest(tables, draws=draws, data=frame, **_names(model)))
            say(f"{'' if out else chr(10)}Picture: {plot}")


def _names(model: DiffusionForecaster) -> dict[str, Any]:
    """Return the columns' names as pictures take them."""
    names = {"id_col": model.id_col, "time_col": model.time_col}
    return {**names, "target": model.target}


def _size(frame: pd.DataFrame, id_col: str) -> str:
    count = frame[id_col].nunique()
    return f"{count} series, {len(frame)} rows" if count > 1 else f"{len(frame)} rows"


def _imputed_table(
    model: DiffusionForecaster, frame: pd.DataFrame, draws: pd.DataFrame, levels: list[float]
) -> pd.DataFrame:
    """Return the rows with medians for missing values, bounds and the column that tells which are filled."""
    targets = [model.target] if isinstance(model.target, str) else list(model.target)
    copies = draws["sample_id"].nunique()
    table = frame[[model.id_col, model.time_col, *targets]].copy()
    table["imputed"] = frame[targets].isna().any(axis=1).astype(int)
    for name in targets:
        drawn = draws[name].to_numpy(dtype=np.float64).reshape(copies, len(frame))
        table[name] = frame[name].fillna(pd.Series(np.median(drawn, axis=0), index=frame.index))
        for level in levels:
            lower, upper = np.percentile(drawn, [50 - level / 2, 50 + level / 2], axis=0)
            table[f"{name}-lo-{level:g}"], table[f"{name}-hi-{level:g}"] = lower, upper
    return table
