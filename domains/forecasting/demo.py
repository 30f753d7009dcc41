"""Forecast the electric power of a household, fill a gap, ask for a peak, and write a page about it.

    python -m sciffusion.domains.forecasting.demo --out report/forecasting

The data are half a year of hourly means of a household near Paris, with hours and days missing. One model is
fitted on all but the last week. It forecasts each day of that week from the evening before, beside its own
linear base without the network; it fills the longest gap of the record, and a day of values that were hidden
from it; and it tells how probable a peak of the power is. ``--quick`` takes few rows and training steps:
enough to see that all works, not to judge.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sciffusion.datasets import DatasetUnavailableError, fetch_household_power_hourly
from sciffusion.estimators.imports import optional_import
from sciffusion.training.global_state import limited_threads

from .backtest import backtest
from .cli_backtest import OFF, OURS, score_table
from .demo_findings import DAYS, HORIZON, PEAK_KW, Findings, event_text, gap_text
from .demo_page import write_page
from .forecaster import DiffusionForecaster

__all__ = ["main"]

SERIES = "Global_active_power"
_ROWS, _QUICK_ROWS = 24 * 182, 24 * 105
_HIDDEN = slice(-24 * 15, -24 * 14)  # a day of the training data, as places from its end
_QUICK: dict[str, Any] = {"max_steps": 10, "n_members": 2, "width": 32, "batch_size": 32}


def main(arguments: Sequence[str] | None = None) -> Path:
    """Run the demonstration.

    Parameters
    ----------
    arguments : sequence of str, optional
        Command line; ``sys.argv[1:]`` by default.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    SystemExit
        With status 2 if the data cannot be had, after saying why and what helps.
    """
    options = _parser().parse_args(arguments)
    optional_import("matplotlib", "plots")
    folder = Path(options.out)
    frame = _frame(_QUICK_ROWS if options.quick else _ROWS)
    folder.mkdir(parents=True, exist_ok=True)
    _say(f"Power of a household, {len(frame)} hours, {int(frame['y'].isna().sum())} of them missing")
    found = Findings(frame)
    with limited_threads(1):
        _run(found, options.seed, _QUICK if options.quick else {})
    command = (
        f"python -m {__spec__.name if __spec__ else __name__} --out {shlex.quote(options.out)} "
        f"--seed {options.seed}{' --quick' if options.quick else ''}"
    )
    path = write_page(folder / "index.html", found, command, reduced=options.quick)
    _say(f"\n{score_table(found.tables, DAYS)}\n\n{event_text(found)}\n{gap_text(found)}\n")
    _say(f"{', '.join(f'{name} {value:.0f} s' for name, value in found.seconds.items())}")
    _say(f"Page: {path.resolve()}")
    return path


def _frame(rows: int) -> pd.DataFrame:
    try:
        data = fetch_household_power_hourly()
    except DatasetUnavailableError as error:
        print(f"The demonstration needs a data set that could not be had.\n{error}", file=sys.stderr)
        raise SystemExit(2) from error
    return data.frame[data.frame["unique_id"] == SERIES].tail(rows).reset_index(drop=True)


def _run(found: Findings, seed: int, parameters: dict[str, Any]) -> None:
    model = DiffusionForecaster(horizon=HORIZON, random_state=seed, **parameters)
    frame = found.frame
    with _timed(found, "backtest of two models"):
        for name, one in ((OURS, model), (OFF, DiffusionForecaster(horizon=HORIZON, network_off=True))):
            _say(f"  {name}: forecasting {DAYS} days ...")
            one.set_params(random_state=seed)
            result: Any = backtest(one, frame, HORIZON, DAYS, season_length=24, return_draws=True)
            found.tables[name] = result[0]
            found.draws = result[1] if name == OURS else found.draws
    train = frame.iloc[: -HORIZON * DAYS].reset_index(drop=True)
    hidden = train.copy()
    hidden.loc[train.index[_HIDDEN], "y"] = np.nan
    with _timed(found, "fit"):
        _say("  fitting with a day hidden ...")
        model.fit(hidden)
    until = frame.iloc[:-HORIZON]
    with _timed(found, "event"):
        found.event = model.event_probability((_highest, ">", PEAK_KW), df=until).iloc[0]
    with _timed(found, "imputation"):
        filled = model.impute(df=hidden, n_samples=100)
    found.covered = _coverage(filled, train)
    found.gap = _longest_gap(train)
    _draw(found, filled, hidden, train)


def _highest(paths: Any) -> Any:
    return paths.amax(-1)


def _coverage(filled: pd.DataFrame, train: pd.DataFrame) -> float:
    drawn = filled["y"].to_numpy().reshape(100, len(train))[:, _HIDDEN]
    lower, upper = np.quantile(drawn, [0.1, 0.9], axis=0)
    truth = train["y"].to_numpy()[_HIDDEN]
    return float(np.mean((lower <= truth) & (truth <= upper)))


def _longest_gap(train: pd.DataFrame) -> tuple[Any, Any]:
    missing = np.r_[False, train["y"].isna(), False].astype(np.int8)
    begins, ends = np.flatnonzero(np.diff(missing) == 1), np.flatnonzero(np.diff(missing) == -1)
    longest = int((ends - begins).argmax())
    return train["ds"].iloc[begins[longest]], train["ds"].iloc[ends[longest] - 1]


def _draw(found: Findings, filled: pd.DataFrame, hidden: pd.DataFrame, train: pd.DataFrame) -> None:
    from .plots import plot_calibration, plot_forecast, plot_imputation

    last = found.draws[found.draws["window"] == DAYS - 1].drop(columns=["window", "cutoff"])
    figures = optional_import("matplotlib.figure", "plots")

    def axes(*size: float, rows: int = 1, columns: int = 1) -> Any:
        figure = figures.Figure(figsize=size, layout="constrained")
        return figure, figure.subplots(rows, columns)

    pictures: dict[str, Any] = {
        "forecast": lambda ax: plot_forecast(last, found.frame, last=24 * 4, ax=ax),
        "gap": lambda ax: plot_imputation(
            filled, hidden, start=found.gap[0] - _days(3), stop=found.gap[1] + _days(3), ax=ax
        ),
        "hidden": lambda ax: plot_imputation(
            filled, hidden, truth=train, start=_stamp(train, _HIDDEN.start) - _days(2),
            stop=_stamp(train, _HIDDEN.stop) + _days(2), ax=ax,
        ),
        "week": lambda ax: plot_forecast(found.draws, found.frame, n_paths=0, last=24 * 3, ax=ax),
    }  # fmt: skip
    for name, call in pictures.items():
        found.figures[name], ax = axes(8.6, 3.4)
        call(ax)
        ax.set_title("")
        ax.set_title("", loc="left")
        ax.set_ylabel("kW", fontsize=9)
    found.figures["calibration"], pair = axes(8.6, 3.4, columns=2)
    plot_calibration(found.draws, found.frame, ax=pair)


def _days(count: int) -> pd.Timedelta:
    return pd.Timedelta(days=count)


def _stamp(frame: pd.DataFrame, place: int) -> Any:
    return frame["ds"].iloc[place]


def _say(text: str) -> None:
    print(text, flush=True)


@contextmanager
def _timed(found: Findings, name: str) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    found.seconds[name] = time.perf_counter() - begun


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sciffusion.domains.forecasting.demo",
        description="Forecast the electric power of a household and write a page about it.",
    )
    parser.add_argument("--out", default="report/forecasting", help="folder of the page (report/forecasting)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the model (0)")
    parser.add_argument("--quick", action="store_true", help="few rows and steps: to see that all works")
    return parser


if __name__ == "__main__":
    main()
