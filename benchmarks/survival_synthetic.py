"""A cohort whose true curves are known: `python benchmarks/survival_synthetic.py`.

Times follow a Cox-Weibull model on the covariates of WHAS500,

    T = (-ln u / (lambda exp(b'x)))^(1/nu),  S(t | x) = exp(-lambda exp(b'x) t^nu),

with lambda = 1e-10, nu = 4, x standardised, coefficients b uniform on (-1, 1), censoring uniform on (0, c)
and c set for an event rate of 25, 50 or 75 %. Five draws of b and of the split (a fifth of the rows is the
test part) for each rate. Curves are compared with the true ones at 1000 times on [0, 800], past the follow-up
too:

    KS  = mean over patients of max_t |S(t | x) - estimate|,
    ISE = mean over patients of the integral of (S - estimate)^2 dt.

CoxPH and the Weibull regression know the family of the true model; the forest and ours do not.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from bars import Bar, bars_text, check_exit_code
from measuring import limit_threads
from reporting import RowFile, markdown_table, run_header, write_markdown, write_table
from sklearn.model_selection import train_test_split
from survival_data import SurvivalData, load
from survival_models import NETWORK_OFF, OUR_DEFAULT, PAPER_RECIPE
from survival_ours import OurModel, default_estimator, network_off_estimator, paper_estimator
from survival_parametric import WeibullTimes
from survival_peers import CoxRidge, Forest, SurvivalModel
from survival_pictures import new_figure, save_figure

from sciffusion.datasets import make_cox_weibull

__all__ = ["Study", "curve_errors", "main", "make_study", "run_study", "summarise", "synthetic_bars"]

RATES = (0.25, 0.5, 0.75)
SEEDS = 5
TIMES = np.linspace(0.0, 800.0, 1000)
FOREST = "RSF"
MODELS: dict[str, Callable[[], SurvivalModel]] = {
    "CoxPH": CoxRidge,
    "Weibull AFT": WeibullTimes,
    FOREST: Forest,
    OUR_DEFAULT: lambda: OurModel(default_estimator()),
    NETWORK_OFF: lambda: OurModel(network_off_estimator()),
    PAPER_RECIPE: lambda: OurModel(paper_estimator()),
}


@dataclass(frozen=True)
class Study:
    """Training part, test part and the true S(t | x) of the test rows at `TIMES`."""

    train: SurvivalData
    test: SurvivalData
    true_curves: np.ndarray


def make_study(rate: float, seed: int) -> Study:
    """Simulate one cohort and split it, stratified on the event."""
    cohort = make_cox_weibull(load("whas500").X, event_rate=rate, random_state=seed)
    data = SurvivalData("cox_weibull", cohort.X, cohort.time, cohort.event)
    rows = np.arange(len(data.time))
    train, test = train_test_split(rows, test_size=0.2, stratify=data.event, random_state=seed)
    return Study(data.take(train), data.take(test), cohort.truth.survival(cohort.X.iloc[test], TIMES))


def curve_errors(true_curves: np.ndarray, curves: np.ndarray, times: np.ndarray) -> tuple[float, float]:
    """Give mean KS distance and mean integrated squared error of curves (rows, times)."""
    difference = np.abs(true_curves - curves)
    return float(difference.max(axis=1).mean()), float(np.trapezoid(difference**2, times, axis=1).mean())


def run_study(model: SurvivalModel, study: Study) -> tuple[float, float]:
    """Fit a model and give its curve errors on the test part."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        curves = model.fit(study.train).survival(study.test.X, TIMES)
    return curve_errors(study.true_curves, curves, TIMES)


def summarise(rows: pd.DataFrame, score: str) -> pd.DataFrame:
    """Give means over the draws, one line a model, one column a rate."""
    grouped = rows.groupby(["model", "rate"], sort=False)[score]
    return grouped.mean().unstack("rate").reindex(rows["model"].unique())


def synthetic_bars(rows: pd.DataFrame, reduced: bool) -> list[Bar]:
    """Give the bars: a smaller mean KS than the forest's and the paper recipe's at each rate."""
    table = summarise(rows, "ks")
    bars = []
    for rate in RATES:
        for other in (FOREST, PAPER_RECIPE):
            name = f"mean KS below {other} at {rate:.0%} events"
            if reduced or rate not in table or not {OUR_DEFAULT, other} <= set(table.index):
                bars.append(Bar(name, None, f"needs the full run of {SEEDS} draws"))
                continue
            ours, theirs = table.loc[OUR_DEFAULT, rate], table.loc[other, rate]
            bars.append(Bar(name, bool(ours < theirs), f"{ours:.3f} against {theirs:.3f}"))
    return bars


def _draw(rows: pd.DataFrame, path: Path, note: str) -> None:
    figure, axes = new_figure(columns=2, width=4.6)
    labels = {"ks": "mean KS distance to the true curve", "ise": "mean integrated squared error"}
    for panel, (score, label) in zip(axes[0], labels.items(), strict=True):
        for name, values in summarise(rows, score).iterrows():
            panel.plot([f"{rate:.0%}" for rate in values.index], values, "o-", label=name)
        panel.set_xlabel("event rate")
        panel.set_ylabel(label)
        panel.set_ylim(bottom=0)
    axes[0, 1].legend(fontsize=8)
    figure.suptitle(f"Cox-Weibull cohorts with known curves{note}")
    save_figure(figure, path)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A cohort whose true curves are known.")
    parser.add_argument("--quick", action="store_true", help="one draw, without the paper's recipe")
    parser.add_argument("--check", action="store_true", help="compare with the bars; exit 1 if one is missed")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/survival_synthetic"))
    parser.add_argument("--models", nargs="+", choices=list(MODELS), metavar="MODEL")
    parser.add_argument("--seeds", type=int, help="draws of the coefficients")
    parser.add_argument(
        "--first-seed", type=int, default=0, help="other draws than the table's, for choosing"
    )
    parser.add_argument("--resume", action="store_true", help="skip rows that the output folder already has")
    options = parser.parse_args(arguments)
    options.models = options.models or [name for name in MODELS if not options.quick or name != PAPER_RECIPE]
    options.seeds = options.seeds or (1 if options.quick else SEEDS)
    complete = options.seeds >= SEEDS and options.first_seed == 0 and set(options.models) == set(MODELS)
    options.reduced = not complete
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study, write tables and picture, and give the exit code."""
    options = _parse(arguments)
    limit_threads()
    rows_file = RowFile(options.out / "rows.csv", ("rate", "seed", "model"), {"protocol": 1}, options.resume)
    for rate in RATES:
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            study = make_study(rate, seed)
            for name in options.models:
                if (rate, seed, name) in rows_file:
                    continue
                ks, ise = run_study(MODELS[name](), study)
                rows_file.add({"rate": rate, "seed": seed, "model": name, "ks": ks, "ise": ise})
                print(f"{rate:.0%} events, draw {seed}, {name}: KS {ks:.3f}, ISE {ise:.1f}", flush=True)
    rows = rows_file.frame()
    bars = synthetic_bars(rows, options.reduced)
    sections = []
    for score, words in (("ks", "Mean KS distance"), ("ise", "Mean integrated squared error")):
        write_table(options.out / f"{score}.csv", summarise(rows, score))
        sections.append((f"{words}, by event rate", markdown_table(summarise(rows, score))))
    _draw(rows, options.out / "survival_synthetic.png", " (reduced run)" if options.reduced else "")
    sections += [("Picture", "![survival_synthetic.png](survival_synthetic.png)"), ("Bars", bars_text(bars))]
    header = run_header(options.reduced, None if arguments is None else ["survival_synthetic.py", *arguments])
    write_markdown(options.out / "report.md", "Survival curves against the truth", header, sections)
    return check_exit_code(bars) if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
