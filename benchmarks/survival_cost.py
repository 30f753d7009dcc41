"""What fitting and predicting cost, and how the cost grows: `python benchmarks/survival_cost.py`.

Cohorts of any size are grown from the Rotterdam breast-cancer set: rows drawn with replacement, numbers and
times shaken a little so that no row is an exact copy; further covariates are noise. Every fit starts from the
raw frame. A prediction is the curves of all patients at 100 times; its peak memory leaves out the returned
array.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from bars import Bar, bars_text, check_exit_code, compare
from measuring import MEGABYTE, limit_threads, measure
from reporting import markdown_table, run_header, write_markdown, write_table
from survival_data import SurvivalData, load
from survival_models import OUR_DEFAULT
from survival_ours import OurModel, default_estimator
from survival_peers import Forest, SurvivalModel
from survival_pictures import new_figure, save_figure
from survival_run import warm_up

__all__ = ["FULL", "QUICK", "Plan", "cost_bars", "grow", "main", "run_costs"]

FOREST = "RSF"
FIT_ROWS, FIT_SECONDS, FOREST_RATIO = 3000, 30.0, 3.0
PATIENTS, DRAWS, PREDICT_SECONDS = 1000, 256, 3.0
MANY_PATIENTS, PEAK_MEGABYTES = 100_000, 1e9 / MEGABYTE
TIMES = 100
MakeOurs = Callable[[int | None], SurvivalModel]


@dataclass(frozen=True)
class Plan:
    """Sizes to measure: training rows, extra noise covariates, draws a patient, and patients."""

    rows: tuple[int, ...]
    extra_columns: tuple[int, ...]
    draws: tuple[int, ...]
    patients: tuple[int, ...]
    base_rows: int = 1000


FULL = Plan(
    rows=(250, 500, 1000, 2000, FIT_ROWS, 8000),
    extra_columns=(0, 20, 80, 320),
    draws=(64, DRAWS, 1024, 4096),
    patients=(1000, 10_000, MANY_PATIENTS),
)
QUICK = Plan((250, 500, 1000), (0, 40), (64, DRAWS), (1000, 10_000), base_rows=500)


def grow(data: SurvivalData, n: int, extra_columns: int = 0, seed: int = 0) -> SurvivalData:
    """Give a cohort of n rows like `data`: rows drawn again and shaken, with noise covariates beside.

    Numbers get normal noise of 5 % of their standard deviation, times are multiplied by exp(.05 times normal
    noise); events, categories and missing places stay.
    """
    generator = np.random.default_rng(seed)
    grown = data.take(generator.choice(len(data.time), size=n, replace=n > len(data.time)))
    X = grown.X.copy()
    for column in X.select_dtypes("number"):
        X[column] = X[column] + 0.05 * data.X[column].std() * generator.normal(size=n)
    names = [f"noise_{position}" for position in range(extra_columns)]
    noise = pd.DataFrame(generator.normal(size=(n, extra_columns)), columns=names)
    time = grown.time * np.exp(0.05 * generator.normal(size=n))
    return SurvivalData(data.name, pd.concat([X, noise], axis=1), time, grown.event)


def _measured(
    fitted: SurvivalModel, train: SurvivalData | None, X: pd.DataFrame, **labels: object
) -> dict[str, object]:
    """Measure a fit, where there is a training part, and a prediction."""
    row: dict[str, object] = {**labels, "patients": len(X)}
    if train is not None:
        _, fit = measure(lambda: fitted.fit(train))
        row |= {"rows": len(train.time), "columns": train.X.shape[1]}
        row |= {"fit_cpu": fit.cpu_seconds, "fit_mib": fit.peak_megabytes}
    times = np.linspace(1.0, 100.0, TIMES)
    curves, predict = measure(lambda: fitted.survival(X, times))
    beyond = max(predict.peak_megabytes - curves.nbytes / MEGABYTE, 0.0)
    row |= {"predict_cpu": predict.cpu_seconds, "predict_mib": beyond}
    words = (
        f"{name} {value:.2f}" if isinstance(value, float) else f"{name} {value}"
        for name, value in row.items()
    )
    print(", ".join(words), flush=True)
    return row


def run_costs(base: SurvivalData, plan: Plan, make_ours: MakeOurs) -> pd.DataFrame:
    """Measure everything in the plan; one row a measurement, `part` saying what it is for."""
    makers: dict[str, Callable[[], SurvivalModel]] = {OUR_DEFAULT: lambda: make_ours(None), FOREST: Forest}
    for name, make in makers.items():
        warm_up(name, make)
    patients = grow(base, PATIENTS, seed=1).X
    rows = [
        _measured(make(), grow(base, n), patients, part="training rows", model=name)
        for n in plan.rows
        for name, make in makers.items()
    ]
    for extra in plan.extra_columns:
        wide = grow(base, PATIENTS, extra, seed=1).X
        rows += [
            _measured(make(), grow(base, plan.base_rows, extra), wide, part="covariates", model=name)
            for name, make in makers.items()
        ]
    fitted = make_ours(None).fit(grow(base, plan.base_rows))
    rows += [
        _measured(_with_draws(fitted, draws), None, patients, part="draws", model=OUR_DEFAULT, draws=draws)
        for draws in plan.draws
    ]
    for n in plan.patients:
        rows.append(_measured(fitted, None, grow(base, n, seed=1).X, part="patients", model=OUR_DEFAULT))
    return pd.DataFrame(rows)


def _with_draws(model: SurvivalModel, draws: int) -> SurvivalModel:
    """Give a fitted model of ours that predicts with this many draws."""
    return OurModel(model.estimator, n_draws=draws) if isinstance(model, OurModel) else model


def _one(rows: pd.DataFrame, value: str, /, **labels: object) -> float | None:
    """Give the one measurement with these labels, None where it was not made."""
    found = rows[np.logical_and.reduce([rows[name] == label for name, label in labels.items()])]
    return float(found[value].iloc[0]) if len(found) else None


def _limit(name: str, value: float | None, limit: float, unit: str) -> Bar:
    if value is None:
        return Bar(name, None, "not measured in a reduced run")
    return compare(name, value, limit, at_most=True, unit=unit)


def cost_bars(rows: pd.DataFrame) -> list[Bar]:
    """Give the bars on cost; those whose size was not measured are not checked."""
    size = {"part": "training rows", "rows": FIT_ROWS}
    ours = _one(rows, "fit_cpu", model=OUR_DEFAULT, **size)
    forest = _one(rows, "fit_cpu", model=FOREST, **size)
    ratio = None if ours is None or forest is None else ours / forest
    predict = _one(rows, "predict_cpu", part="draws", draws=DRAWS, patients=PATIENTS)
    memory = _one(rows, "predict_mib", part="patients", patients=MANY_PATIENTS)
    return [
        _limit(f"fit at n = {FIT_ROWS}, CPU seconds", ours, FIT_SECONDS, " s"),
        _limit(f"fit at n = {FIT_ROWS} against the random forest's", ratio, FOREST_RATIO, " times"),
        _limit(f"{PATIENTS} patients x {DRAWS} draws predicted, CPU seconds", predict, PREDICT_SECONDS, " s"),
        _limit(f"peak memory with {MANY_PATIENTS} patients", memory, PEAK_MEGABYTES, " MiB"),
    ]


def _draw(rows: pd.DataFrame, path: Path, note: str) -> None:
    panels = [
        ("training rows", "rows", "fit_cpu", "CPU seconds of a fit"),
        ("covariates", "columns", "fit_cpu", "CPU seconds of a fit"),
        ("draws", "draws", "predict_cpu", f"CPU seconds for {PATIENTS} patients"),
        ("patients", "patients", "predict_mib", "MiB beyond the returned curves"),
    ]
    from matplotlib.ticker import NullFormatter

    figure, axes = new_figure(columns=len(panels), width=3.6)
    for panel, (part, size, value, label) in zip(axes[0], panels, strict=True):
        for name, lines in rows[rows["part"] == part].groupby("model", sort=False):
            panel.loglog(lines[size], lines[value], "o-", label=name)
        panel.xaxis.set_minor_formatter(
            NullFormatter()
        )  # labels between the powers of ten run into each other
        panel.yaxis.set_minor_formatter(NullFormatter())
        panel.set_xlabel(part)
        panel.set_ylabel(label)
        panel.legend(fontsize=8)
    figure.suptitle(f"How the cost grows{note}")
    save_figure(figure, path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write tables and picture, and give the exit code."""
    parser = argparse.ArgumentParser(description="What fitting and predicting cost.")
    parser.add_argument("--quick", action="store_true", help="smaller sizes")
    parser.add_argument("--check", action="store_true", help="compare with the bars; exit 1 if one is missed")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/survival_cost"))
    options = parser.parse_args(arguments)
    limit_threads()
    plan = QUICK if options.quick else FULL
    rows = run_costs(load("rotterdam"), plan, lambda draws: OurModel(default_estimator(), n_draws=draws))
    bars = cost_bars(rows)
    write_table(options.out / "cost.csv", rows)
    _draw(rows, options.out / "survival_cost.png", " (reduced run)" if options.quick else "")
    sections = [
        (
            f"Growth with {part}",
            markdown_table(lines.drop(columns="part").dropna(axis=1, how="all").set_index("model")),
        )
        for part, lines in rows.groupby("part", sort=False)
    ]
    sections += [("Picture", "![survival_cost.png](survival_cost.png)"), ("Bars", bars_text(bars))]
    header = run_header(options.quick, None if arguments is None else ["survival_cost.py", *arguments])
    write_markdown(options.out / "report.md", "Cost of survival models", header, sections)
    return check_exit_code(bars) if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
