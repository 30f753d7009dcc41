"""What each choice of the estimator is worth: `python benchmarks/survival_ablation.py`.

Variants with one choice changed are compared by the protocol of the comparison, but on data sets that are not
among its ten, so that choosing by this table does not spoil that one. With `--sweep`, the default predicts
with 2 to 64 network evaluations and with 64 to 4096 draws instead.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
from bars import Bar, bars_text, check_exit_code
from measuring import limit_threads
from reporting import RowFile, markdown_table, run_header, write_markdown, write_table
from survival_data import DEVELOPMENT_SETS, SurvivalData, load
from survival_models import OUR_DEFAULT
from survival_ours import OurModel, default_estimator
from survival_pictures import new_figure, save_figure
from survival_protocol import Fold, folds
from survival_run import ROW_KEY, Task, run_fold, run_tasks, warm_up
from survival_summary import mean_ranks, per_set
from survival_variants import VARIANTS

__all__ = ["SWEEPS", "main", "sweep_tasks"]

SWEEPS = {"nfe": (2, 4, 8, 16, 32, 64), "draws": (64, 128, 256, 512, 1024, 2048, 4096)}
SCORES = ("ibs", "uno", "harrell", "auc", "d_calibration", "fit_cpu", "predict_cpu")


class _Fitted(OurModel):
    """A fitted estimator that several lines of a sweep share."""

    def fit(self, data: SurvivalData) -> OurModel:
        """Keep the fit there is."""
        return self


def sweep_tasks(fold: Fold) -> Iterator[Task]:
    """Yield one task for each nfe (a fit of its own) and each number of draws (all with the same fit)."""
    for nfe in SWEEPS["nfe"]:
        yield f"nfe {nfe}", lambda nfe=nfe: OurModel(default_estimator(nfe=nfe)), fold
    fitted = default_estimator()
    OurModel(fitted).fit(fold.train)
    for draws in SWEEPS["draws"]:
        yield f"draws {draws}", lambda draws=draws: _Fitted(fitted, n_draws=draws), fold


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What each choice of the estimator is worth.")
    parser.add_argument("--quick", action="store_true", help="one set, one fold")
    parser.add_argument("--check", action="store_true", help="exit 1 if a fold failed")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/survival_ablation"))
    parser.add_argument("--datasets", nargs="+", choices=DEVELOPMENT_SETS, metavar="SET")
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), metavar="NAME")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--sweep", action="store_true", help="nfe and draws of the default instead")
    parser.add_argument("--resume", action="store_true", help="skip rows that the output folder already has")
    options = parser.parse_args(arguments)
    options.datasets = options.datasets or list(DEVELOPMENT_SETS[:1] if options.quick else DEVELOPMENT_SETS)
    options.variants = options.variants or list(VARIANTS)
    return options


def _rows(options: argparse.Namespace, rows_file: RowFile) -> Iterator[dict[str, object]]:
    for name in options.datasets:
        chosen = list(folds(load(name), options.folds))[: 1 if options.quick else None]
        if options.sweep:
            yield from _sweep_rows([fold for fold in chosen if not _is_swept(fold, rows_file)])
            continue
        tasks = [(model, VARIANTS[model], fold) for fold in chosen for model in options.variants]
        missing = [task for task in tasks if (name, task[2].index, task[0]) not in rows_file]
        yield from run_tasks(missing, options.jobs)


def _is_swept(fold: Fold, rows_file: RowFile) -> bool:
    names = [f"{argument} {value}" for argument, values in SWEEPS.items() for value in values]
    return all((fold.test.name, fold.index, name) in rows_file for name in names)


def _sweep_rows(chosen: Sequence[Fold]) -> Iterator[dict[str, object]]:
    warm_up(OUR_DEFAULT, VARIANTS[OUR_DEFAULT])
    for fold in chosen:
        for task in sweep_tasks(fold):
            yield run_fold(*task, warm=False)


def _summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Give means over sets of every score, and the mean rank on IBS."""
    table = pd.DataFrame({score: per_set(rows, score).mean() for score in SCORES})
    table.insert(0, "ibs rank", mean_ranks(rows, "ibs"))
    table.index.name = "variant"
    return table


def _draw_sweep(rows: pd.DataFrame, path: Path) -> None:
    figure, axes = new_figure(columns=2 * len(SWEEPS), width=3.4)
    table = _summary(rows)
    for position, (argument, values) in enumerate(SWEEPS.items()):
        lines = table.loc[[f"{argument} {value}" for value in values]]
        for panel, score in zip(axes[0, 2 * position :], ("ibs", "predict_cpu"), strict=False):
            panel.semilogx(values, lines[score], "o-")
            panel.set_xlabel(argument)
            panel.set_ylabel({"ibs": "integrated Brier score", "predict_cpu": "CPU seconds a fold"}[score])
    save_figure(figure, path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the ablation or the sweep, write its tables, and give the exit code."""
    options = _parse(arguments)
    limit_threads()
    name = "sweep" if options.sweep else "ablation"
    settings: dict[str, object] = {"protocol": 1, "folds": options.folds, "table": name}
    rows_file = RowFile(options.out / f"{name}_rows.csv", ROW_KEY, settings, options.resume)
    for row in _rows(options, rows_file):
        rows_file.add(row)
        result = row["error"] or f"IBS {row['ibs']:.4f}"
        print(f"{row['dataset']} fold {row['fold']} {row['model']}: {result}", flush=True)
    rows = rows_file.frame().drop_duplicates(list(ROW_KEY), keep="last")
    sections = [("Means over sets", markdown_table(_summary(rows), 4))]
    for score in ("ibs", "uno"):
        sections.append((f"{score}, mean over folds", markdown_table(per_set(rows, score), 4)))
    write_table(options.out / f"{name}.csv", _summary(rows))
    if options.sweep:
        _draw_sweep(rows, options.out / "survival_sweep.png")
        sections.append(("Picture", "![survival_sweep.png](survival_sweep.png)"))
    failed = int((rows["error"].fillna("") != "").sum())
    bars = [Bar("every variant ran on every fold", failed == 0, f"{failed} failed")]
    header = run_header(options.quick, None if arguments is None else ["survival_ablation.py", *arguments])
    sections.append(("Bars", bars_text(bars)))
    write_markdown(options.out / f"{name}.md", "What each choice is worth", header, sections)
    return check_exit_code(bars) if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
