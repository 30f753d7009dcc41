"""Missing values of real series, filled: `python benchmarks/forecast_imputation.py`.

Of each set the first four fifths of the rows are for fitting. In the rest values are hidden: one by one with
probability .2 or .5, or in blocks of 2 rows to a horizon that cover about .3; what is not hidden is known to
all methods, on both sides of every gap. Methods:

* ours: `DiffusionForecaster.impute` with default settings, and with the network off;
* linear interpolation, and the mean of the nearest known values one season before and after (linear where
  neither is known), as point forecasts;
* both with errors: 100 errors that the method makes when values of the training part are hidden in the same
  way, added to its point forecast.

`crps` is that of each hidden value over the mean absolute error of the seasonal naive forecast of its series,
so the mean absolute error where a method gives a point; `coverage80` and `coverage95` are those of central
intervals.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from bars import Bar, bars_text, check_exit_code
from forecast_data import load
from measuring import limit_threads, measure
from reporting import RowFile, markdown_table, run_header, write_markdown, write_table
from survival_pictures import new_figure, save_figure

from sciffusion.domains.forecasting.gap_masks import artificial_gaps
from sciffusion.domains.forecasting.metrics import seasonal_naive_scale

__all__ = [
    "DATASETS",
    "KINDS",
    "METHODS",
    "imputation_bars",
    "linear",
    "main",
    "run_set",
    "scored",
    "seasonal",
]

DATASETS = (
    "electricity_hourly",
    "solar_hourly",
    "household_power_hourly",
    "parking",
    "wikipedia_traffic",
    "m4_hourly",
)
QUICK = ("wikipedia_traffic", "m4_hourly")
KINDS = ("random 20 %", "random 50 %", "blocks")
OURS, OFF = "DiffusionForecaster", "network off"
LINEAR, SEASONAL = "linear", "seasonal"
ERRORS = " + errors"
METHODS = (OURS, OFF, LINEAR, SEASONAL, LINEAR + ERRORS, SEASONAL + ERRORS)
N_DRAWS = 100
TEST_SHARE = 0.2
SHORTEST_LONGEST = 8


def linear(values: np.ndarray) -> np.ndarray:
    """Fill rows linearly, their ends with the nearest known value."""
    place = np.arange(values.shape[1])
    filled = values.copy()
    for row in filled:
        known = ~np.isnan(row)
        row[~known] = np.interp(place[~known], place[known], row[known])
    return filled


def seasonal(values: np.ndarray, season: int) -> np.ndarray:
    """Fill rows with the mean of the known values one season away, linearly where there is none."""
    around = np.full((2, *values.shape), np.nan)
    if season < values.shape[1]:
        around[0, :, season:] = values[:, :-season]
        around[1, :, :-season] = values[:, season:]
    count = (~np.isnan(around)).sum(axis=0)
    mean = np.nansum(around, axis=0) / np.maximum(count, 1)
    return np.where(np.isnan(values), np.where(count > 0, mean, linear(values)), values)


def scored(draws: np.ndarray, truth: np.ndarray, scale: np.ndarray) -> dict[str, float]:
    """Score draws (n, draws) of values (n,), CRPS over a scale (n,)."""
    order = np.sort(draws, axis=1)
    count = draws.shape[1]
    weight = 2.0 * np.arange(1, count + 1) - count - 1
    crps = np.abs(draws - truth[:, None]).mean(axis=1) - (order * weight).sum(axis=1) / count**2
    row = {"crps": float(np.mean(crps / scale)), "hidden": len(truth)}
    if count > 1:
        for level in (80, 95):
            tail = (1 - level / 100) / 2
            low, high = np.quantile(draws, [tail, 1 - tail], axis=1)
            row[f"coverage{level}"] = float(np.mean((low <= truth) & (truth <= high)))
    return row


def _cube(rows: Sequence[np.ndarray]) -> np.ndarray:
    length = max(map(len, rows))
    return np.stack([np.pad(row, (length - len(row), 0), constant_values=np.nan) for row in rows])


def _with_errors(
    filled: np.ndarray, hidden: np.ndarray, method: object, train: np.ndarray, mask: np.ndarray
) -> np.ndarray:
    """Give draws (hidden values, N_DRAWS): a fill plus errors of the same method in the training part."""
    generator = np.random.default_rng(0)
    found = method(np.where(mask, np.nan, train))  # type: ignore[operator]
    draws = []
    for row in range(len(filled)):
        errors = (train[row] - found[row])[mask[row]]
        errors = errors if len(errors) else np.zeros(1)
        points = filled[row, hidden[row]]
        draws.append(points[:, None] + generator.choice(errors, (len(points), N_DRAWS)))
    return np.concatenate(draws)


def _models(train: np.ndarray, season: int, horizon: int, settings: dict[str, object]) -> dict:
    from sciffusion import DiffusionForecaster

    models = {}
    for name, off in ((OURS, False), (OFF, True)):
        model = DiffusionForecaster(
            horizon=horizon, season_length=season, network_off=off, random_state=0, device="cpu", **settings
        )
        _, cost = measure(lambda one=model: one.fit(train))
        models[name] = (model, cost.cpu_seconds)
    return models


def run_set(name: str, settings: dict[str, object]) -> list[dict]:
    """Give the rows of a set, one a method and kind of gap."""
    rolling = load(name)
    season, horizon = rolling.whole.season_length, rolling.whole.horizon
    values = _cube(rolling.whole.values)
    cut = round((1 - TEST_SHARE) * values.shape[1])
    train, scale = values[:, :cut], np.array([seasonal_naive_scale(y, season) for y in values[:, :cut]])
    models = _models(train, season, horizon, settings)
    longest = max(horizon, SHORTEST_LONGEST)
    masks = artificial_gaps(values, longest, np.random.default_rng(1))
    practice = artificial_gaps(train, longest, np.random.default_rng(2))
    masks[:, :, :cut] = False
    rows = []
    for kind, hidden, mask in zip(KINDS, masks, practice, strict=True):
        holes = np.where(hidden, np.nan, values)
        truth, unit = values[hidden], np.broadcast_to(scale[:, None], values.shape)[hidden]
        draws: dict[str, np.ndarray] = {}
        for model_name, (model, _) in models.items():
            draws[model_name] = np.moveaxis(model.impute(holes, N_DRAWS), 1, 2)[hidden]
        for point, method in ((LINEAR, linear), (SEASONAL, lambda one: seasonal(one, season))):
            filled = method(holes)
            draws[point] = filled[hidden][:, None]
            draws[point + ERRORS] = _with_errors(filled, hidden, method, train, mask)
        for method_name in METHODS:
            cost = models[method_name][1] if method_name in models else float("nan")
            row = {"dataset": name, "kind": kind, "method": method_name, "fit_cpu": cost}
            rows.append(row | scored(draws[method_name], truth, unit))
    return rows


def _table(rows: pd.DataFrame, score: str) -> pd.DataFrame:
    """Give means over the sets, one line a method, one column a kind of gap."""
    table = rows.dropna(subset=[score]).groupby(["method", "kind"], sort=False)[score].mean().unstack("kind")
    return table.reindex(index=[name for name in METHODS if name in table.index], columns=list(KINDS))


def imputation_bars(rows: pd.DataFrame, reduced: bool) -> list[Bar]:
    """Give the bars: at each kind of gap a smaller mean CRPS than linear and seasonal interpolation."""
    table = _table(rows, "crps")
    bars = []
    for kind in KINDS:
        for other in (LINEAR, SEASONAL):
            name = f"CRPS below {other} interpolation, {kind}"
            if reduced:
                bars.append(Bar(name, None, "needs all sets"))
                continue
            ours, theirs = table.loc[OURS, kind], table.loc[other, kind]
            bars.append(Bar(name, bool(ours < theirs), f"{ours:.3f} against {theirs:.3f}"))
    longest = rows["fit_cpu"].max()
    bars.append(Bar("every fit within 60 CPU seconds", bool(longest <= 60), f"the longest {longest:.1f}"))
    return bars


def _draw(rows: pd.DataFrame, path: Path, note: str) -> None:
    figure, axes = new_figure(width=8.0, height=3.8)
    table, panel = _table(rows, "crps"), axes[0, 0]
    width = 0.8 / len(table)
    for place, (name, values) in enumerate(table.iterrows()):
        panel.bar(np.arange(len(KINDS)) + place * width - 0.4, values, width, label=name, align="edge")
    panel.set_xticks(np.arange(len(KINDS)), KINDS)
    panel.set_ylabel("CRPS over the seasonal naive error")
    panel.legend(fontsize=8)
    panel.set_title(f"Hidden values of {rows['dataset'].nunique()} sets{note}")
    save_figure(figure, path)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Missing values of real series, filled.")
    parser.add_argument("--quick", action="store_true", help="two sets, a short training")
    parser.add_argument("--check", action="store_true", help="exit 1 if a bar is missed")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/forecast_imputation"))
    parser.add_argument("--datasets", nargs="+", choices=DATASETS, metavar="SET")
    parser.add_argument("--resume", action="store_true", help="skip sets that the output folder already has")
    options = parser.parse_args(arguments)
    options.datasets = options.datasets or (QUICK if options.quick else DATASETS)
    options.reduced = options.quick or set(options.datasets) != set(DATASETS)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study, write tables and picture, and give the exit code."""
    options = _parse(arguments)
    limit_threads()
    settings: dict[str, object] = {"max_steps": 50, "n_members": 2} if options.quick else {}
    key = ("dataset", "kind", "method")
    rows_file = RowFile(options.out / "rows.csv", key, {"protocol": 1, **settings}, options.resume)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in options.datasets:
            if (name, KINDS[-1], METHODS[-1]) not in rows_file:
                for row in run_set(name, settings):
                    rows_file.add(row)
                print(f"{name}: done", flush=True)
    rows = rows_file.frame()
    bars = imputation_bars(rows, options.reduced)
    sections = []
    for score, words in (
        ("crps", "CRPS over the seasonal naive error, mean over the sets"),
        ("coverage80", "Coverage of 80 % intervals"),
        ("coverage95", "Coverage of 95 % intervals"),
    ):
        write_table(options.out / f"{score}.csv", _table(rows, score))
        sections.append((words, markdown_table(_table(rows, score))))
    for kind in KINDS:
        chosen = rows[rows["kind"] == kind].pivot_table(
            index="dataset", columns="method", values="crps", sort=False
        )
        sections.append((f"CRPS by set, {kind}", markdown_table(chosen)))
    _draw(rows, options.out / "forecast_imputation.png", " (reduced run)" if options.reduced else "")
    sections += [("Picture", "![forecast_imputation.png](forecast_imputation.png)")]
    sections += [("Bars", bars_text(bars))]
    header = run_header(
        options.reduced, None if arguments is None else ["forecast_imputation.py", *arguments]
    )
    write_markdown(options.out / "report.md", "Missing values filled", header, sections)
    return check_exit_code(bars) if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
