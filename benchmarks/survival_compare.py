"""Survival models side by side on ten leak-free sets: `python benchmarks/survival_compare.py`.

Five folds a set, one protocol for all (`survival_protocol`), one set of defaults for all sets. Peers: CoxPH,
Coxnet, random survival forest, gradient boosting, a DeepSurv-type network; on the sets under 700 rows also
SurvivalBoost and the SDPM paper's recipe. `--check` holds our default against its bars.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from bars import bars_text, check_exit_code
from measuring import limit_threads
from reporting import RowFile, markdown_table, run_header, write_markdown, write_table
from survival_data import DATASETS, SMALL_SET_ROWS, load
from survival_models import MODELS, OUR_DEFAULT, models_for
from survival_pictures import draw_comparison
from survival_protocol import FOLDS
from survival_run import ROW_KEY, Task, run_tasks, tasks_of
from survival_summary import (
    HIGHER_IS_BETTER,
    comparison_bars,
    cost_table,
    failures,
    per_set,
    small_sets,
    summary_table,
    wins_table,
)

__all__ = ["main"]

QUICK_SETS = ("veterans", "whas500", "gbsg2")
QUICK_FOLDS = 2
SCORE_NAMES = {
    "harrell": "Harrell C",
    "uno": "Uno C",
    "ibs": "Integrated Brier score",
    "auc": "Mean cumulative/dynamic AUC",
}


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Survival models side by side on ten leak-free sets.")
    parser.add_argument("--quick", action="store_true", help="three sets, two folds, no slow models")
    parser.add_argument("--check", action="store_true", help="compare with the bars; exit 1 if one is missed")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/survival_compare"))
    parser.add_argument("--datasets", nargs="+", choices=list(DATASETS), metavar="SET")
    parser.add_argument("--models", nargs="+", choices=list(MODELS), metavar="MODEL")
    parser.add_argument(
        "--folds", type=int, choices=range(1, FOLDS + 1), help="run only the first folds of five"
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes (seconds are CPU seconds either way)")
    parser.add_argument("--resume", action="store_true", help="skip rows that the output folder already has")
    options = parser.parse_args(arguments)
    quick_models = [name for name, model in MODELS.items() if model.in_quick or not options.quick]
    options.datasets = options.datasets or list(QUICK_SETS if options.quick else DATASETS)
    options.models = options.models or quick_models
    options.folds = options.folds or (QUICK_FOLDS if options.quick else FOLDS)
    options.reduced = (
        options.folds < FOLDS or set(options.datasets) != set(DATASETS) or set(options.models) != set(MODELS)
    )
    return options


def _missing_tasks(options: argparse.Namespace, rows: RowFile) -> list[Task]:
    tasks: list[Task] = []
    for name in options.datasets:
        data = load(name)
        models = {model: MODELS[model].make for model in models_for(data, options.models)}
        tasks += [
            task
            for task in tasks_of(data, models, options.folds)
            if (name, task[2].index, task[0]) not in rows
        ]
    return tasks


def _in_order(rows: pd.DataFrame, options: argparse.Namespace) -> pd.DataFrame:
    """Keep what this run asks for, in the order of sets, folds and models, however rows came in."""
    kept = rows[rows["dataset"].isin(options.datasets) & rows["model"].isin(options.models)]
    kept = kept[kept["fold"] < options.folds]
    order = {name: place for place, name in enumerate([*DATASETS, *MODELS])}
    by = {"dataset": kept["dataset"].map(order), "fold": kept["fold"], "model": kept["model"].map(order)}
    return kept.loc[pd.DataFrame(by).sort_values(list(by)).index].reset_index(drop=True)


def _sections(rows: pd.DataFrame, folder: Path, reduced: bool) -> list[tuple[str, str]]:
    small = rows[rows["dataset"].isin(small_sets(rows))]
    parts = {"all": (rows, "models run on all sets"), "small": (small, f"sets under {SMALL_SET_ROWS} rows")}
    sections = []
    for name, (part, words) in parts.items():
        if len(part):
            table = summary_table(part)
            write_table(folder / f"summary_{name}.csv", table)
            sections.append((f"Means and mean ranks: {words}", markdown_table(table)))
    for score in HIGHER_IS_BETTER:
        table = per_set(rows, score)
        write_table(folder / f"{score}.csv", table)
        sections.append((f"{SCORE_NAMES[score]}, mean over folds", markdown_table(table)))
    if OUR_DEFAULT in set(rows["model"]) and rows["model"].nunique() > 1:
        write_table(folder / "wins.csv", wins_table(rows))
        sections.append(("Sets on which our default is better", markdown_table(wins_table(rows))))
    seconds = per_set(rows, "fit_cpu")
    write_table(folder / "fit_seconds.csv", seconds)
    sections.append(("CPU seconds of one fit, mean over folds", markdown_table(seconds, 2)))
    write_table(folder / "cost.csv", cost_table(rows))
    words = "CPU seconds, and peak memory in MiB beyond what the process held"
    sections.append((words, markdown_table(cost_table(rows))))
    if len(failures(rows)):
        sections.append(("Failed folds", markdown_table(failures(rows))))
    pictures = draw_comparison(rows, folder, reduced)
    return [*sections, ("Pictures", "\n\n".join(f"![{name}]({name})" for name in pictures))]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison, write its tables and pictures, and give the exit code."""
    options = _parse(arguments)
    limit_threads()
    settings: dict[str, object] = {"splits": FOLDS, "protocol": 1}
    rows_file = RowFile(options.out / "rows.csv", ROW_KEY, settings, options.resume)
    tasks = _missing_tasks(options, rows_file)
    for done, row in enumerate(run_tasks(tasks, options.jobs), start=1):
        rows_file.add(row)
        result = row["error"] or f"IBS {row['ibs']:.4f}, Uno C {row['uno']:.4f}, fit {row['fit_cpu']:.1f} s"
        print(
            f"[{done}/{len(tasks)}] {row['dataset']} fold {row['fold']} {row['model']}: {result}", flush=True
        )
    rows = _in_order(rows_file.frame(), options)
    bars = comparison_bars(rows, options.reduced, list(MODELS))
    sections = [*_sections(rows, options.out, options.reduced), ("Bars", bars_text(bars))]
    header = run_header(options.reduced, None if arguments is None else ["survival_compare.py", *arguments])
    write_markdown(options.out / "report.md", "Survival models side by side", header, sections)
    return check_exit_code(bars) if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
