"""What each part of the forecaster is worth: `python benchmarks/forecast_ablation.py`.

Each variant (`forecast_variants`) is the forecaster at default settings with one part exchanged, fitted and
judged on *development windows*: the rolling origins of `forecast_protocol` on histories from which the
windows of the comparison were cut off first, so nothing here has seen those. On the fitted default the number
of network evaluations (nfe) and the solver are varied. Scores are relative to the default's, averaged over
sets in logarithms; coverage is the mean over targets of 80 and 95 % intervals.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from forecast_data import DATASETS, HISTORY, Histories, RollingSet, load
from forecast_protocol import N_DRAWS, score_window, set_row
from forecast_variants import DEFAULT, VARIANTS
from measuring import limit_threads, measure
from reporting import RowFile, markdown_table, run_header, write_markdown, write_table
from survival_pictures import new_figure, save_figure

from sciffusion.continuous import DPMSolverMultistep, Euler, Heun
from sciffusion.domains.forecasting import metrics

__all__ = ["SOLVERS", "development_set", "main", "run_variant", "summary"]

SETS = ("solar_hourly", "wind_hourly", "walmart_sales", "m4_daily", "m4_monthly")
QUICK_SETS = ("walmart_sales",)
QUICK_VARIANTS = (DEFAULT, "network off", "raw target")
EVALUATIONS = (2, 4, 6, 8, 16, 32)
SOLVERS: dict[str, tuple[Callable[[], Any], int]] = {
    "Heun": (Heun, 2),
    "Euler": (Euler, 1),
    "multistep 2": (lambda: DPMSolverMultistep(2), 1),
}
"""Solvers, the default's first, and how many evaluations each of their steps takes."""

Draw = Callable[[Histories, int], np.ndarray]


def development_set(name: str) -> RollingSet:
    """Give a set without its last windows, those of the comparison."""
    whole = load(name)
    left_out = whole.n_windows * whole.whole.horizon
    cut = Histories(
        whole.whole.ids,
        tuple(times[:-left_out] for times in whole.whole.times),
        tuple(values[:-left_out] for values in whole.whole.values),
        whole.whole.season_length,
        whole.whole.horizon,
    )
    return RollingSet(name, cut, whole.n_windows)


def _judged(rolling: RollingSet, draw: Draw) -> dict[str, float]:
    """Score the draws from all origins."""
    parts, seconds = [], 0.0
    for window in range(rolling.n_windows):
        history = rolling.history(window)
        scale = np.array([metrics.seasonal_naive_scale(y, history.season_length) for y in history.values])
        draws, cost = measure(lambda seen=history, seed=window: draw(seen, seed))
        seconds += cost.cpu_seconds
        parts.append(pd.DataFrame(score_window(rolling.truth(window), draws, scale)))
    return {**set_row(pd.concat(parts, ignore_index=True)), "draw_cpu": seconds}


def _solved(model: Any, nfe: int, solver: str) -> Draw:
    """Give draws of a fitted model with another solver or number of evaluations."""
    from sciffusion.estimators.random_state import integer_seed
    from sciffusion.sampling import sample

    make, cost = SOLVERS[solver]
    estimator = model.estimator_

    def run(denoiser: Any, grid: Any, state: Any, condition: Any) -> Any:
        return sample(denoiser, make(), grid, state=state, condition=condition).samples

    def draw(histories: Histories, seed: int) -> np.ndarray:
        fitted = estimator.model_
        panel = estimator._request(None, None, histories.frame(), None).panel
        series = fitted.base.series(panel)
        prepared = fitted.prepare(series, series.last_windows())
        noise = fitted.starting_noise(panel.ids, N_DRAWS, integer_seed(seed) + 1)[:, 0]
        # The grid of the forecaster has a step for every second evaluation.
        grid = 2 * (nfe // cost)
        residuals = fitted.residuals(prepared, noise, nfe=grid, device=estimator._compute_device(), run=run)
        found: np.ndarray = fitted.values(prepared, residuals)
        return found

    return draw


def run_variant(rolling: RollingSet, name: str, evaluations: Sequence[int]) -> list[dict[str, object]]:
    """Fit and score a variant on one set; on the default the solvers follow."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, fit = measure(lambda: VARIANTS[name].fit(rolling.history(0)))
        scores = _judged(rolling, lambda seen, seed: model.draws(seen, N_DRAWS, seed))
        rows = [_row(rolling, name, scores, fit)]
        if name != DEFAULT:
            return rows
        for solver in SOLVERS:
            for nfe in evaluations:
                scores = _judged(rolling, _solved(model, nfe, solver))
                rows.append(_row(rolling, f"{solver}, {nfe} nfe", scores, fit))
    return rows


def _row(rolling: RollingSet, name: str, scores: dict[str, float], fit: Any) -> dict[str, object]:
    kept = ("scrps", "energy", "variogram", "coverage80", "coverage95", "targets")
    row: dict[str, object] = {"dataset": rolling.name, "variant": name}
    row |= {score: scores[score] for score in kept}
    row |= {"fit_cpu": fit.cpu_seconds, "draw_cpu": scores["draw_cpu"]}
    print(", ".join(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()), flush=True)
    return row


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Give one line a variant: scores over the default's, coverage in per cent, seconds."""
    lines = {}
    for name in rows["variant"].unique():
        own = rows[rows["variant"] == name].set_index("dataset")
        default = rows[rows["variant"] == DEFAULT].set_index("dataset").loc[own.index]
        line = {
            score: float(np.exp(np.log(own[score] / default[score]).mean()))
            for score in ("scrps", "energy", "variogram")
        }
        line["sets worse"] = f"{int((own['scrps'] > default['scrps']).sum())} of {len(own)}"
        for level in (80, 95):
            line[f"cover {level}"] = float(100 * np.average(own[f"coverage{level}"], weights=own["targets"]))
        line |= {"fit s": float(own["fit_cpu"].mean()), "draw s": float(own["draw_cpu"].mean())}
        lines[name] = line
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("variant")


def reading(table: pd.DataFrame) -> str:
    """Put the numbers into words: what each part is worth, and what was not worth it."""
    words = []
    for name in [one for one in table.index if one in VARIANTS and one != DEFAULT]:
        scrps, energy = (100 * (table.loc[name, score] - 1) for score in ("scrps", "energy"))
        verdict = "worse" if min(scrps, energy) > 0 else "better" if max(scrps, energy) < 0 else "mixed"
        words.append(
            f"- {name} ({VARIANTS[name].question}): sCRPS {scrps:+.1f} %, energy score {energy:+.1f} %, "
            f"worse than the default on {table.loc[name, 'sets worse']} sets: {verdict}."
        )
    solved = table[[" nfe" in name for name in table.index]]
    if len(solved):
        good = solved[solved["energy"] <= solved["energy"].min() * 1.002]
        words.append(
            f"- Cheapest within 0.2 % of the best energy score of all solvers: {good['draw s'].idxmin()}."
        )
    words.append("- Positive per cents mean that the part is worth having. Development windows, few sets: "
                 "differences under a per cent say little.")  # fmt: skip
    return "\n".join(words)


def _draw(table: pd.DataFrame, path: Path, note: str) -> None:
    figure, axes = new_figure(columns=2, width=5.6, height=3.8)
    shown = table[[name in VARIANTS and name != DEFAULT for name in table.index]]
    heights = np.arange(len(shown))
    axes[0, 0].barh(heights - 0.2, 100 * (shown["scrps"] - 1), 0.4, label="sCRPS", color="#c1440e")
    axes[0, 0].barh(heights + 0.2, 100 * (shown["energy"] - 1), 0.4, label="energy score", color="#e0a458")
    axes[0, 0].set_yticks(heights, list(shown.index))
    axes[0, 0].invert_yaxis()
    axes[0, 0].axvline(0, color="black", linewidth=0.8)
    axes[0, 0].set_xlabel("% above the default (right is worse)")
    axes[0, 0].legend(fontsize=8)
    for solver in SOLVERS:
        names = [name for name in table.index if name.startswith(f"{solver}, ")]
        nfe = [int(name.split(", ")[1].split()[0]) for name in names]
        axes[0, 1].semilogx(nfe, 100 * (table.loc[names, "energy"] - 1), "o-", base=2, label=solver)
    axes[0, 1].axhline(0, color="black", linewidth=0.8)
    axes[0, 1].set_xlabel("network evaluations")
    axes[0, 1].set_ylabel("energy score, % above the default")
    axes[0, 1].legend(fontsize=8)
    figure.suptitle(f"What each part is worth{note}")
    save_figure(figure, path)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What each part of the forecaster is worth.")
    parser.add_argument("--quick", action="store_true", help="one set, three variants")
    parser.add_argument("--check", action="store_true", help="accepted for uniformity: there is no bar here")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/forecast_ablation"))
    parser.add_argument("--datasets", nargs="+", choices=list(DATASETS), metavar="SET")
    parser.add_argument("--resume", action="store_true", help="skip rows that the output folder already has")
    options = parser.parse_args(arguments)
    options.datasets = options.datasets or list(QUICK_SETS if options.quick else SETS)
    options.variants = QUICK_VARIANTS if options.quick else tuple(VARIANTS)
    options.evaluations = (2, 8) if options.quick else EVALUATIONS
    options.reduced = options.quick or not set(SETS) <= set(options.datasets)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the ablation, write table and picture, and give the exit code."""
    options = _parse(arguments)
    limit_threads()
    settings: dict[str, object] = {"draws": N_DRAWS, "history": HISTORY, "windows": "development"}
    rows_file = RowFile(options.out / "rows.csv", ("dataset", "variant"), settings, options.resume)
    for dataset in options.datasets:
        rolling = development_set(dataset)
        for name in options.variants:
            if (dataset, name) not in rows_file:
                for row in run_variant(rolling, name, options.evaluations):
                    rows_file.add(row)
    table = summary(rows_file.frame())
    write_table(options.out / "ablation.csv", table)
    _draw(table, options.out / "forecast_ablation.png", " (reduced run)" if options.reduced else "")
    heading = "Scores over the default's, coverage in per cent, CPU seconds a set"
    sections = [("Reading", reading(table)), (heading, markdown_table(table))]
    sections.append(("Picture", "![forecast_ablation.png](forecast_ablation.png)"))
    header = run_header(options.reduced, None if arguments is None else ["forecast_ablation.py", *arguments])
    write_markdown(options.out / "report.md", "What each part is worth", header, sections)
    return 0


if __name__ == "__main__":
    sys.exit(main())
