"""Probabilities of events against brute force: `python benchmarks/forecast_events.py`.

Two chaotic systems are observed with errors (see `forecast_events_truth`). Thresholds are set that the
highest, or the mean, of the next observations exceeds with probability 10, 3, 1, .3 and .1 % according to
brute force, and a forecaster, fitted to other trajectories, is asked for the same probabilities:

- At a random time: one threshold for all, and the mean over many histories of the forecast probabilities.
  A forecaster meets this if its forecasts are calibrated, sharp or not.
- Given the history: a threshold for each history, from the exact law given what was observed. This asks for
  all that can be known; a calibrated forecaster that knows less has wider tails and gives more.
- The estimator: importance sampling against the share of hits among very many paths of the same fitted model,
  and how many evaluations plain paths would need for its standard errors.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from bars import Bar, bars_text, check_exit_code
from forecast_events_truth import EVENTS, SYSTEMS, Study, make_study
from measuring import limit_threads, measure
from reporting import RowFile, markdown_table, run_header, write_markdown
from survival_pictures import new_figure, save_figure

from sciffusion import DiffusionForecaster

__all__ = ["event_bars", "law_rows", "main", "saving_rows", "study_of"]

PROBABILITIES = (0.1, 0.03, 0.01, 0.003, 0.001)
FACTOR = 1.5
HORIZON, CONTEXT, LENGTH = 8, 16, 100
TRAINED, OFF = "trained", "network off"
RANDOM, GIVEN = "at a random time", "given the history"
#: Paths that importance sampling spends on finding the event, gradients counted as two more.
SEARCH_PATHS = 256 + 6 * 8 * 3 + 17 * 32
SETTINGS = {
    "max_windows": 40000, "n_members": 2, "width": 192, "max_steps": 1500, "batch_size": 256, "dropout": 0.0,
    "gap_share": 0.0, "rolling_share": 0.0, "patience": None, "weight_decay": 1e-4,
}  # fmt: skip


def study_of(system: str, quick: bool = False) -> Study:
    """Simulate a system at the size of the run."""
    pool = {"Lorenz-63": 10000, "FitzHugh-Nagumo": 3000}[system] // (5 if quick else 1)
    sizes = {"n_train": 200, "n_histories": 8, "n_moments": 100, "n_states": 2000} if quick else {
        "n_train": 600, "n_histories": 24, "n_moments": 1200, "n_states": 8000}  # fmt: skip
    return make_study(SYSTEMS[system], n_pool=pool, length=LENGTH, context=CONTEXT, horizon=HORIZON, **sizes)


def fitted(study: Study, model: str, quick: bool = False) -> DiffusionForecaster:
    """Fit to the training trajectories."""
    options = (
        {"network_off": True} if model == OFF else dict(SETTINGS, **({"max_steps": 100} if quick else {}))
    )
    return DiffusionForecaster(horizon=HORIZON, nonnegative=False, random_state=0, **options).fit(study.train)


def law_rows(
    study: Study, model: DiffusionForecaster, n_paths: int, question: str
) -> list[dict[str, float | str]]:
    """Compare the shares of hits among plain paths with the true probabilities."""
    paths = torch.from_numpy(model.sample(study.histories, n_samples=n_paths, random_state=1))
    rows = []
    for name, event in EVENTS.items():
        values = event.function(paths.flatten(0, 1)).reshape(len(paths), -1).numpy()
        for probability in PROBABILITIES:
            thresholds = study.thresholds(event, probability)
            ratios = (values > thresholds[:, None]).mean(1) / probability
            rows.append({
                "question": question, "event": name, "probability": probability, "ratio": ratios.mean(),
                "error": ratios.std() / len(ratios) ** 0.5,
                "median": np.median(ratios) if question == GIVEN else np.nan,
            })  # fmt: skip
    return rows


def saving_rows(
    study: Study, model: DiffusionForecaster, n_histories: int, n_paths: int
) -> list[dict[str, float | str]]:
    """Compare importance sampling with plain paths of the same model, on the first histories."""
    event = EVENTS["highest above"]
    histories = study.histories[:n_histories]
    paths = torch.from_numpy(model.sample(histories, n_samples=n_paths, random_state=2))
    values = event.function(paths.flatten(0, 1)).reshape(n_histories, -1).numpy()
    rows = []
    for level in (0.1, 0.01, 0.001):
        thresholds = np.quantile(values, 1.0 - level, axis=1)
        counted = (values > thresholds[:, None]).mean(1)
        found, cost = measure(
            lambda at=thresholds: model.event_probability(
                (event.function, ">", at), X=histories, method="importance", n_samples=1000
            )
        )
        plain = counted * (1.0 - counted) / found.standard_error**2
        errors = np.hypot(found.standard_error, np.sqrt(counted * (1.0 - counted) / n_paths))
        rows.append({
            "level": level, "importance / counted": found.probability.mean() / counted.mean(),
            "error of it": np.sqrt((errors**2).sum()) / counted.sum(),
            "worst in errors": (np.abs(found.probability - counted) / errors).max(),
            "relative error": np.median(found.standard_error / found.probability),
            "times fewer evaluations": np.median(plain) / (1000 + SEARCH_PATHS),
            "CPU s a series": cost.cpu_seconds / n_histories,
        })  # fmt: skip
    return rows


def event_bars(law: pd.DataFrame, reduced: bool) -> list[Bar]:
    """Give the bars: every probability at a random time within a factor 1.5 of brute force."""
    bars = []
    asked = law[(law["model"] == TRAINED) & (law["question"] == RANDOM)]
    for (system, event), rows in asked.groupby(["system", "event"], sort=False):
        name = f"{system}, {event}: within a factor {FACTOR} from 1e-1 to 1e-3"
        worst = rows.loc[np.abs(np.log(rows["ratio"].clip(lower=1e-9))).idxmax()]
        detail = f"worst ratio {worst['ratio']:.2f}, at {worst['probability']:g}"
        reached = bool(1.0 / FACTOR <= worst["ratio"] <= FACTOR)
        bars.append(Bar(name, None if reduced else reached, detail))
    return bars


def _draw(law: pd.DataFrame, path: Path, note: str) -> None:
    systems = list(law["system"].unique())
    kinds = [(system, question) for system in systems for question in (RANDOM, GIVEN)]
    figure, axes = new_figure(columns=len(kinds), width=3.6)
    for panel, (system, question) in zip(axes[0], kinds, strict=True):
        panel.axhspan(1.0 / FACTOR, FACTOR, color="#5b7083", alpha=0.2, label=f"factor {FACTOR}")
        shown = law[(law["system"] == system) & (law["question"] == question)]
        for (model, event), rows in shown.groupby(["model", "event"], sort=False):
            style = "o-" if model == TRAINED else "s--"
            colour = "#c1440e" if event == "highest above" else "#e0a458"
            kept = rows[rows["ratio"] > 0.0]
            panel.plot(kept["probability"], kept["ratio"], style, color=colour, label=f"{model}, {event}")
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_xlabel("probability by brute force")
        panel.set_title(f"{system}, {question}{note}", fontsize=9)
    axes[0, 0].set_ylabel("mean estimate over it")
    axes[0, 0].legend(fontsize=7)
    save_figure(figure, path)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Event probabilities against brute force.")
    parser.add_argument("--quick", action="store_true", help="short training, few histories")
    parser.add_argument("--check", action="store_true", help="compare with the bars; exit 1 if one is missed")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/forecast_events"))
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS))
    parser.add_argument(
        "--resume", action="store_true", help="skip systems that the output folder already has"
    )
    options = parser.parse_args(arguments)
    options.reduced = options.quick or set(options.systems) != set(SYSTEMS)
    return options


def _run_system(system: str, quick: bool, law: RowFile, saving: RowFile) -> None:
    study = study_of(system, quick)
    for name in (OFF, TRAINED):
        model, cost = measure(lambda name=name: fitted(study, name, quick))
        print(f"{system}, {name}: fitted in {cost.cpu_seconds:.0f} CPU s", flush=True)
        rows = law_rows(study.at_random_times(), model, 20 if quick else 50, RANDOM)
        rows += law_rows(study, model, 200 if quick else 600, GIVEN)
        for row in rows:
            law.add({"system": system, "model": name, **row, "fit CPU s": cost.cpu_seconds})
        if name == TRAINED:
            for row in saving_rows(study, model, 2 if quick else 3, 1000 if quick else 6000):
                saving.add({"system": system, **row})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, write tables and picture, and give the exit code."""
    options = _parse(arguments)
    limit_threads()
    law = RowFile(
        options.out / "law.csv", ("system", "model", "question", "event", "probability"),
        {"quick": options.quick}, options.resume,
    )  # fmt: skip
    saving = RowFile(
        options.out / "saving.csv", ("system", "level"), {"quick": options.quick}, options.resume
    )
    for system in options.systems:
        if (system, 0.001) not in saving:
            _run_system(system, options.quick, law, saving)
    table = law.frame()
    bars = event_bars(table, options.reduced)
    _draw(table, options.out / "forecast_events.png", " (reduced run)" if options.reduced else "")
    wide = table.pivot_table(
        index=["system", "question", "model", "event"], columns="probability", values="ratio", sort=False
    )
    wide.index = [", ".join(parts) for parts in wide.index]
    sections = [
        ("Mean estimate over the probability by brute force", markdown_table(wide, 2)),
        ("Each row in full", markdown_table(table.set_index("system"), 3)),
        ("The estimator on the fitted model", markdown_table(saving.frame().set_index("system"), 3)),
        ("Picture", "![forecast_events.png](forecast_events.png)"),
        ("Bars", bars_text(bars)),
    ]
    header = run_header(options.reduced, None if arguments is None else ["forecast_events.py", *arguments])
    write_markdown(options.out / "report.md", "Event probabilities against brute force", header, sections)
    return check_exit_code(bars) if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
