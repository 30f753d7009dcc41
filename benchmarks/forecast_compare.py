"""Forecasters side by side on thirteen real sets: `python benchmarks/forecast_compare.py`.

Rolling origin, one protocol for all (`forecast_protocol`), one configuration of each model for all sets.
Baselines: seasonal naive, seasonal climatology, ridge with residual quantiles, AutoTheta, AutoETS, MSTL, a
multi-quantile network of our network's size, DeepAR. `--check` holds our default against its bars.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import pandas as pd
from bars import bars_text, check_exit_code
from forecast_data import DATASETS, HISTORY
from forecast_lineup import MODELS, OUR_DEFAULT
from forecast_pictures import draw_comparison
from forecast_protocol import N_DRAWS, ROW_KEY, run_tasks
from forecast_reading import reading
from forecast_summary import (
    comparison_bars,
    coverage_table,
    failures,
    per_set,
    relative_to_best_peer,
    summary_table,
    wins_table,
)
from measuring import limit_threads
from reporting import RowFile, markdown_table, run_header, write_markdown, write_table

__all__ = ["main"]

PEER_PACKAGES = ("statsforecast", "gluonts")
QUICK_SETS = ("solar_hourly", "walmart_sales", "m4_monthly")
SCORE_NAMES = {
    "scrps": "Scaled CRPS, mean over series and windows",
    "mase": "MASE of the median, mean over series and windows",
    "energy": "Scaled energy score of the path, mean over series and windows",
    "variogram": "Scaled variogram score of the path, mean over series and windows",
    "wql": "Weighted quantile loss, pooled over series and windows",
}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Forecasters side by side on thirteen real sets.")
    parser.add_argument("--quick", action="store_true", help="three sets, no slow models")
    parser.add_argument("--check", action="store_true", help="compare with the bars; exit 1 if one is missed")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/forecast_compare"))
    parser.add_argument("--datasets", nargs="+", choices=list(DATASETS), metavar="SET")
    parser.add_argument("--models", nargs="+", choices=list(MODELS), metavar="MODEL")
    parser.add_argument("--jobs", type=int, default=1, help="processes (seconds are CPU seconds either way)")
    parser.add_argument("--resume", action="store_true", help="skip rows that the output folder already has")
    options = parser.parse_args(arguments)
    quick_models = [name for name, model in MODELS.items() if model.in_quick or not options.quick]
    options.datasets = options.datasets or list(QUICK_SETS if options.quick else DATASETS)
    options.models = options.models or quick_models
    options.reduced = set(options.datasets) != set(DATASETS) or set(options.models) != set(MODELS)
    return options


def _in_order(rows: pd.DataFrame, options: argparse.Namespace) -> pd.DataFrame:
    """Keep what this run asks for, in the order of sets and models, however rows came in."""
    kept = rows[rows["dataset"].isin(options.datasets) & rows["model"].isin(options.models)]
    order = {name: place for place, name in enumerate([*DATASETS, *MODELS])}
    by = {"dataset": kept["dataset"].map(order), "model": kept["model"].map(order)}
    return kept.loc[pd.DataFrame(by).sort_values(list(by)).index].reset_index(drop=True)


def _sections(rows: pd.DataFrame, folder: Path, reduced: bool) -> list[tuple[str, str]]:
    words = f"At most {HISTORY} rows before the first origin; {N_DRAWS} draws from each origin."
    tables = [("summary", "Mean ranks, calibration and cost", summary_table(rows))]
    tables += [(score, heading, per_set(rows, score)) for score, heading in SCORE_NAMES.items()]
    tables.append(("coverage", "Coverage of 80 / 95 % intervals, percent of targets", coverage_table(rows)))
    if OUR_DEFAULT in set(rows["model"]) and rows["model"].nunique() > 1:
        tables.append(("wins", "Sets on which our default is better", wins_table(rows)))
        tables.append(("best", "sCRPS over that of the best baseline", relative_to_best_peer(rows)))
    seconds = rows.assign(seconds=rows["fit_cpu"] + rows["predict_cpu"])
    tables.append(("seconds", "CPU seconds, one fit and all forecasts", per_set(seconds, "seconds")))
    sections = [("Reading", f"{reading(rows)}\n- {words}")]
    for name, heading, table in tables:
        write_table(folder / f"{name}.csv", table)
        sections.append((heading, markdown_table(table)))
    if len(failures(rows)):
        sections.append(("Failed", markdown_table(failures(rows))))
    pictures = draw_comparison(rows, folder, reduced)
    return [*sections, ("Picture", "\n\n".join(f"![{name}]({name})" for name in pictures))]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison, write its tables and picture, and give the exit code."""
    options = _parse(arguments)
    limit_threads()
    settings: dict[str, object] = {"draws": N_DRAWS, "history": HISTORY, "protocol": 1}
    rows_file = RowFile(options.out / "rows.csv", ROW_KEY, settings, options.resume)
    tasks = [
        (dataset, model, MODELS[model].make, options.out / "windows")
        for dataset in options.datasets
        for model in options.models
        if (dataset, model) not in rows_file
    ]
    for done, row in enumerate(run_tasks(tasks, options.jobs), start=1):
        rows_file.add(row)
        result = row["error"] or f"sCRPS {row['scrps']:.3f}, {row['fit_cpu'] + row['predict_cpu']:.1f} s"
        print(f"[{done}/{len(tasks)}] {row['dataset']} {row['model']}: {result}", flush=True)
    rows = _in_order(rows_file.frame(), options)
    bars = comparison_bars(rows, options.reduced, list(MODELS))
    sections = [*_sections(rows, options.out, options.reduced), ("Bars", bars_text(bars))]
    header = run_header(options.reduced, None if arguments is None else ["forecast_compare.py", *arguments])
    header["versions"] += "".join(f", {name} {_version(name)}" for name in PEER_PACKAGES)
    write_markdown(options.out / "report.md", "Forecasters side by side", header, sections)
    return check_exit_code(bars) if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
