"""Are the paths joint, or only their steps right: `python benchmarks/forecast_joint.py`.

Three forecasts with *the same marginals*: the very same draws of our forecaster at each step, put together

* as it drew them;
* at random, each step on its own (*independent steps*);
* in the order of paths of a Gaussian copula with the correlation rho^|i-j| of an autoregression of first
  order, rho fitted to the ranks of the training residuals of all lags (*AR(1) copula*): what is laid over
  marginal forecasts where joint paths are wanted.

All that can differ is how the steps of a path go together. Rolling origins on the thirteen real sets as in
`forecast_protocol`; energy score over scale and root of horizon, variogram score of y / scale (p = .5), and
the CRPS of the mean over the horizon, over the scale, which is what a planner adds up. A score is also given
as a ratio to that of independent steps, averaged over sets in logarithms.
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
from bars import Bar, bars_text, check_exit_code, compare
from forecast_data import DATASETS, RollingSet, load
from forecast_models import paths_from_marginals
from forecast_ours import OurForecaster
from measuring import limit_threads
from reporting import RowFile, markdown_table, run_header, write_markdown, write_table
from scipy.stats import norm, rankdata
from survival_pictures import new_figure, save_figure

from sciffusion.domains.forecasting import metrics

__all__ = ["ar1_paths", "copula_correlation", "independent_paths", "joint_bars", "main", "run_set"]

OURS, INDEPENDENT, COPULA = "ours", "independent steps", "AR(1) copula"
SCORES = {"energy": "Energy score", "variogram": "Variogram score", "mean": "CRPS of the horizon's mean"}
SETS = DATASETS
QUICK_SETS = ("m4_hourly", "walmart_sales")
N_DRAWS = 512
RHO_GRID = np.linspace(-0.5, 0.999, 1500)


def copula_correlation(residuals: np.ndarray) -> float:
    """Fit rho to residuals of shape (windows, horizon), which may hold NaN.

    The ranks of each step are turned into normal scores; rho makes rho^k closest, in squares weighted by the
    number of pairs of steps k apart, to their mean correlations at all lags.
    """
    complete = residuals[np.isfinite(residuals).all(axis=1)]
    scores = norm.ppf((rankdata(complete, axis=0) - 0.5) / len(complete))
    correlation = np.corrcoef(scores, rowvar=False)
    lags = np.arange(1, len(correlation))
    wanted = np.array([np.diag(correlation, lag).mean() for lag in lags])
    misses = ((RHO_GRID[:, None] ** lags - wanted) ** 2) @ (len(correlation) - lags)
    return float(RHO_GRID[misses.argmin()])


def independent_paths(draws: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Put the draws (n, n_draws, horizon) of each step together at random."""
    return paths_from_marginals(np.sort(draws, axis=1), generator.random(draws.shape))


def ar1_paths(draws: np.ndarray, rho: float, generator: np.random.Generator) -> np.ndarray:
    """Put the draws of each step together in the order of autoregressive paths."""
    noise = generator.normal(size=draws.shape)
    template = noise.copy()
    for step in range(1, draws.shape[2]):
        template[..., step] = rho * template[..., step - 1] + np.sqrt(1 - rho**2) * noise[..., step]
    return paths_from_marginals(np.sort(draws, axis=1), template)


def _scores(truth: np.ndarray, draws: np.ndarray, scale: np.ndarray) -> dict[str, float]:
    unit = scale[:, None]
    known = np.isfinite(truth)
    weight = known / np.maximum(known.sum(axis=1, keepdims=True), 1)
    mean = (np.where(known, truth, 0.0) * weight).sum(axis=1, keepdims=True)
    means = (draws * weight[:, None]).sum(axis=2)[..., None]
    return {
        "energy": float(np.nanmean(metrics.scaled_energy_score(truth, draws, scale, fair=True))),
        "variogram": float(np.nanmean(metrics.variogram_score(truth / unit, draws / unit[:, None]))),
        "mean": float(np.nanmean(metrics.crps(mean, means, fair=True)[:, 0] / scale)),
    }


def run_set(
    rolling: RollingSet, make: Callable[[], Any], residuals: Callable[[Any], np.ndarray]
) -> list[dict[str, object]]:
    """Score the three forecasts on one set; `residuals` gives those of the training windows of a model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = make().fit(rolling.history(0))
        rho = copula_correlation(residuals(model))
        parts = []
        for window in range(rolling.n_windows):
            history, truth = rolling.history(window), rolling.truth(window)
            scale = np.array([metrics.seasonal_naive_scale(y, history.season_length) for y in history.values])
            # The later half of the paths mirrors the earlier one: pairs would flatter the order they came in.
            draws = model.draws(history, 2 * N_DRAWS, window)[:, :N_DRAWS]
            generator = np.random.default_rng(window)
            paths = {
                OURS: draws,
                INDEPENDENT: independent_paths(draws, generator),
                COPULA: ar1_paths(draws, rho, generator),
            }
            parts += [{"model": name, **_scores(truth, one, scale)} for name, one in paths.items()]
    means = pd.DataFrame(parts).groupby("model", sort=False).mean()
    return [
        {"dataset": rolling.name, "model": name, **row.to_dict(), "rho": rho}
        for name, row in means.iterrows()
    ]


def training_residuals(model: OurForecaster) -> np.ndarray:
    """Give the standardised out-of-fold residuals of the training windows, shape (windows, horizon)."""
    from sciffusion.domains.forecasting.base_forecast import BaseForecaster

    estimator = model.estimator_
    settings = estimator.model_.base.settings
    _, training = BaseForecaster.fit(estimator.panel_, settings, most_windows=estimator.max_windows)
    return np.asarray(training.residuals)


def relative(rows: pd.DataFrame, score: str) -> pd.DataFrame:
    """Give a score over that of independent steps, one line a set, and the geometric mean over sets."""
    table = rows.pivot(index="dataset", columns="model", values=score)
    table = table.reindex(rows["dataset"].unique())[[OURS, COPULA, INDEPENDENT]]
    ratio = table.div(table[INDEPENDENT], axis=0)
    ratio.loc["mean"] = np.exp(np.log(ratio).mean())
    return ratio


def joint_bars(rows: pd.DataFrame, reduced: bool) -> list[Bar]:
    """Give the bars: on average better than both others on energy and on variogram score."""
    bars = []
    for score in ("energy", "variogram"):
        mean = relative(rows, score).loc["mean"]
        for other in (INDEPENDENT, COPULA):
            name = f"{SCORES[score].lower()} over that of {other}, mean over sets"
            if reduced:
                bars.append(Bar(name, None, f"needs all {len(SETS)} sets"))
            else:
                bars.append(compare(name, mean[OURS] / mean[other], 1.0, at_most=True))
    return bars


def reading(rows: pd.DataFrame) -> str:
    """Put the numbers into words, those sets first on which ours is not the best."""
    words = []
    for score, title in SCORES.items():
        table = relative(rows, score)
        sets = table.drop(index="mean")
        behind = [name for name in sets.index if sets.loc[name, OURS] > sets.loc[name].drop(OURS).min()]
        mean = table.loc["mean"]
        missed = f", not on {', '.join(behind)}" if behind else ""
        words.append(
            f"- {title}: ours {100 * (mean[OURS] - 1):+.1f} % against independent steps, the AR(1) copula "
            f"{100 * (mean[COPULA] - 1):+.1f} %; ours is the best on "
            f"{len(sets) - len(behind)} of {len(sets)} sets{missed}."
        )
    rho = rows.groupby("dataset", sort=False)["rho"].first()
    words.append(
        "- rho of the copula: " + ", ".join(f"{name} {value:.2f}" for name, value in rho.items()) + "."
    )
    return "\n".join(words)


def _draw(rows: pd.DataFrame, path: Path, note: str) -> None:
    figure, axes = new_figure(columns=len(SCORES), width=4.2, height=3.8)
    for panel, (score, title) in zip(axes[0], SCORES.items(), strict=True):
        table = relative(rows, score)
        heights = np.arange(len(table))
        panel.plot(100 * (table[COPULA] - 1), heights, "D", color="#5b7083", label=COPULA)
        panel.plot(100 * (table[OURS] - 1), heights, "o", color="#c1440e", label=OURS)
        panel.axvline(0, color="black", linewidth=0.8)
        panel.axhline(len(table) - 1.5, color="black", linewidth=0.4)
        panel.set_yticks(heights, list(table.index) if panel is axes[0, 0] else [""] * len(table))
        panel.invert_yaxis()
        panel.set_title(title)
        panel.set_xlabel("against independent steps, %")
    axes[0, 0].legend(fontsize=8)
    figure.suptitle(f"The same marginals, put together in three ways{note} (left is better)")
    save_figure(figure, path)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Are the paths joint, or only their steps right.")
    parser.add_argument("--quick", action="store_true", help="two sets")
    parser.add_argument("--check", action="store_true", help="compare with the bars; exit 1 if one is missed")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/forecast_joint"))
    parser.add_argument("--datasets", nargs="+", choices=list(DATASETS), metavar="SET")
    parser.add_argument("--resume", action="store_true", help="skip sets that the output folder already has")
    options = parser.parse_args(arguments)
    options.datasets = options.datasets or list(QUICK_SETS if options.quick else SETS)
    options.reduced = not set(SETS) <= set(options.datasets)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison, write tables and picture, and give the exit code."""
    options = _parse(arguments)
    limit_threads()
    rows_file = RowFile(options.out / "rows.csv", ("dataset", "model"), {"draws": N_DRAWS}, options.resume)
    for name in options.datasets:
        if (name, OURS) in rows_file:
            continue
        for row in run_set(load(name), OurForecaster, training_residuals):
            rows_file.add(row)
            print(", ".join(str(value) for value in row.values()), flush=True)
    rows = rows_file.frame()
    bars = joint_bars(rows, options.reduced)
    sections = [("Reading", reading(rows)), ("Bars", bars_text(bars))]
    for score, title in SCORES.items():
        write_table(options.out / f"{score}.csv", rows.pivot(index="dataset", columns="model", values=score))
        sections.append((f"{title}, over that of independent steps", markdown_table(relative(rows, score))))
    _draw(rows, options.out / "forecast_joint.png", " (reduced run)" if options.reduced else "")
    sections.append(("Picture", "![forecast_joint.png](forecast_joint.png)"))
    header = run_header(options.reduced, None if arguments is None else ["forecast_joint.py", *arguments])
    write_markdown(options.out / "report.md", "Joint paths against shuffled ones", header, sections)
    return check_exit_code(bars) if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
