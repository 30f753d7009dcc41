"""Updates and streams against refits, and adaptive intervals under a planted change.

`python benchmarks/forecast_streaming.py [--quick] [--check] [--out DIR]`

Part 1: on real sets a forecaster is fitted before the first origin and then, one horizon later each time,
left as it is (`frozen`: new histories only), updated (`update`), updated with some training steps
(`update + steps`), or fitted again (`refit`). `rolling` and `fresh` are sessions of a stream that take every
row by itself. All forecast from the same origins; cost is CPU seconds for one origin after the first, and for
one row in streams, forecasts included.

Part 2: errors of simulated series double in size, or their level drifts away, halfway through. Conformal
intervals of 80 % are forecast before each row, with levels fixed or adapted.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from bars import Bar, bars_text, check_exit_code, compare
from forecast_data import RollingSet, load
from measuring import limit_threads, measure
from reporting import markdown_table, run_header, write_markdown, write_table
from survival_pictures import new_figure, save_figure

from sciffusion.domains.forecasting import DiffusionForecaster, metrics

DATASETS = ("electricity_hourly", "m4_hourly", "walmart_sales")
N_DRAWS = 200
N_STEPS = 50
LEVEL = 80.0
READING = """\
- All variants know the same rows at each origin, so the table tells what the fitted parts are worth, apart
  from the histories.
- On electricity_hourly, whose stretch is the end of a year, refits score much worse than the frozen model; on
  the other two sets all are within 6 %. The mean over sets is therefore no advice against refitting.
- Streams are charged for one row, the others for one origin, a horizon of rows. The base is computed anew at
  each push in both modes, so CPU seconds fall by less than network evaluations do.
- An update extends the ridge only; stack, spread and recalibration are those of the fit, which a refit would
  move. Stretches are short: how long a fit stays good is not measured here.
- After a change adaptive intervals owe their coverage to wider bounds; for a drifting level, which the
  stack does not follow as a refit would, they become several times as wide."""


def default_model(horizon: int, season: int, **settings: Any) -> DiffusionForecaster:
    """Give the forecaster that part 1 studies."""
    return DiffusionForecaster(horizon=horizon, season_length=season, random_state=0, **settings)


def _array(values: Sequence[np.ndarray]) -> np.ndarray:
    """Give series as one array that ends with their ends."""
    length = max(map(len, values))
    array = np.full((len(values), length), np.nan)
    for row, one in zip(array, values, strict=True):
        row[length - len(one) :] = one
    return array


def _variants(
    first: DiffusionForecaster, make: Callable[[], DiffusionForecaster], n_steps: int
) -> dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]]:
    """Give what each variant does with all rows so far and the new ones: forecast draws."""
    models = {name: copy.copy(first) for name in ("frozen", "update", "update + steps")}
    streams = {mode: first.stream(n_samples=N_DRAWS, mode=mode) for mode in ("rolling", "fresh")}

    def updated(name: str, **how: Any) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        return lambda _, new: models[name].update(new, **how).sample(n_samples=N_DRAWS)

    def streamed(mode: str) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        return lambda _, new: list(streams[mode].run(new.T))[-1]

    return {
        "frozen": updated("frozen", refit_base=False),
        "update": updated("update"),
        "update + steps": updated("update + steps", n_steps=n_steps),
        "refit": lambda every, _: make().fit(every).sample(n_samples=N_DRAWS),
        "rolling": streamed("rolling"),
        "fresh": streamed("fresh"),
    }


def run_set(
    rolling: RollingSet, make: Callable[[], DiffusionForecaster], n_windows: int, n_steps: int = N_STEPS
) -> pd.DataFrame:
    """Give one row a variant and origin: mean sCRPS of the series, and CPU seconds."""
    horizon, season = rolling.whole.horizon, rolling.whole.season_length
    first = make().fit(_array(rolling.history(0).values))
    rows = []
    variants = _variants(first, make, n_steps)
    for window in range(1, n_windows):
        every = _array(rolling.history(window).values)
        scale = np.array([metrics.seasonal_naive_scale(y, season) for y in rolling.history(window).values])
        for name, act in variants.items():
            draws, cost = measure(lambda act=act, every=every: act(every, every[:, -horizon:]))
            found = metrics.draw_quantiles(draws, metrics.DECILES)
            score = float(np.nanmean(metrics.scaled_crps(rolling.truth(window), found, scale)))
            per = horizon if name in ("rolling", "fresh") else 1
            rows.append({"set": rolling.name, "origin": window, "variant": name, "scrps": score,
                         "cpu": cost.cpu_seconds / per})  # fmt: skip
        print(rolling.name, window, flush=True)
    return pd.DataFrame(rows)


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Give sCRPS against that of the refit (geometric mean of the sets), and CPU seconds an origin."""
    by_set = rows.groupby(["variant", "set"], sort=False)[["scrps", "cpu"]].mean()
    score, cpu = by_set["scrps"].unstack(), by_set["cpu"].unstack()
    relative = score / score.loc["refit"]
    table = pd.DataFrame({
        "sCRPS / refit": np.exp(np.log(relative).mean(axis=1)),
        "worst set": relative.max(axis=1),
        "CPU s": cpu.mean(axis=1),
        "CPU / refit": (cpu / cpu.loc["refit"]).mean(axis=1),
    })  # fmt: skip
    return table.loc[list(rows["variant"].unique())]


def run_changes(n_steps: int = 200, n_series: int = 8, gamma: float = 0.05) -> pd.DataFrame:
    """Give the coverage of 80 % intervals of the next value, by time, for each kind of change."""
    rows = []
    for change in ("none", "variance", "level"):
        generator = np.random.default_rng(7)
        X = np.sin(np.arange(300 + n_steps) * np.pi / 6) + 0.5 * generator.standard_normal(
            (n_series, 300 + n_steps)
        )
        half = 300 + n_steps // 2
        if change == "variance":
            X[:, half:] += 0.5 * np.sqrt(3.0) * generator.standard_normal((n_series, n_steps // 2))
        if change == "level":
            X[:, half:] += np.cumsum(0.5 * generator.standard_normal((n_series, n_steps // 2)), axis=1)
        model = DiffusionForecaster(horizon=4, season_length=12, network_off=True, random_state=0)
        model.fit(X[:, :300])
        fixed = model.conformal_
        for step in range(n_steps):
            y = X[:, 300 + step]
            for name, state in (("fixed", fixed), ("adaptive", model.conformal_)):
                adapted, model.conformal_ = model.conformal_, state
                found = model.predict_interval(1, level=LEVEL, method="adaptive")[:, 0, :, 0]
                model.conformal_ = adapted
                rows.append({"change": change, "levels": name, "step": step,
                             "covered": ((y >= found[:, 0]) & (y <= found[:, 1])).mean(),
                             "width": (found[:, 1] - found[:, 0]).mean()})  # fmt: skip
            model.update(y[:, None], gamma=gamma, refit_base=False)
    return pd.DataFrame(rows)


def coverage_table(changes: pd.DataFrame) -> pd.DataFrame:
    """Give coverage and width before and after the change, by change and kind of level."""
    half = changes["step"].max() // 2
    labelled = changes.assign(when=np.where(changes["step"] <= half, "before", "after"))
    table = labelled.groupby(["change", "levels", "when"], sort=False)[["covered", "width"]].mean().unstack()
    table.columns = [f"{score} {when}" for score, when in table.columns]
    table.index = pd.Index([f"{change}, {levels}" for change, levels in table.index], name="change, levels")
    return table


def streaming_bars(summary: pd.DataFrame | None, coverage: pd.DataFrame) -> list[Bar]:
    """Compare with what the methods claim."""
    bars = []
    names = ("update costs little against a refit", "update loses little against a refit",
             "rolling paths score as fresh ones")  # fmt: skip
    if summary is None:
        bars += [Bar(name, None, "needs the full run") for name in names]
    else:
        gap = summary.loc["rolling", "sCRPS / refit"] / summary.loc["fresh", "sCRPS / refit"]
        bars += [
            compare(names[0], summary.loc["update", "CPU / refit"], 0.1, at_most=True),
            compare(names[1], summary.loc["update", "sCRPS / refit"], 1.02, at_most=True),
            compare(names[2], gap, 1.01, at_most=True),
        ]
    for change in ("variance", "level"):
        if summary is None:
            bars.append(Bar(f"adaptive coverage after a change of {change}", None, "needs the full run"))
            continue
        found = {levels: abs(coverage.loc[f"{change}, {levels}", "covered after"] - LEVEL / 100)
                 for levels in ("fixed", "adaptive")}  # fmt: skip
        bars.append(compare(f"adaptive coverage after a change of {change}", found["adaptive"], 0.04,
                            at_most=True))  # fmt: skip
        bars.append(compare(f"nearer than fixed levels ({change})", found["fixed"] - found["adaptive"], 0.0,
                            at_most=False))  # fmt: skip
    return bars


def _draw(summary: pd.DataFrame, changes: pd.DataFrame, path: Path, note: str) -> None:
    figure, axes = new_figure(columns=2, width=5.2)
    left, right = axes[0]
    left.scatter(summary["CPU s"], summary["sCRPS / refit"])
    for name, row in summary.iterrows():
        left.annotate(str(name), (row["CPU s"], row["sCRPS / refit"]), xytext=(4, 4),
                      textcoords="offset points")  # fmt: skip
    left.set(xscale="log", xlabel="CPU seconds an origin (streams: a row)", ylabel="sCRPS / that of a refit",
             title=f"Updates and streams{note}")  # fmt: skip
    left.margins(x=0.25)
    left.axhline(1.0, color="0.7", zorder=0)
    chosen = changes[changes["change"] == "variance"]
    for name, part in chosen.groupby("levels", sort=False):
        rolled = part.set_index("step")["covered"].rolling(20, min_periods=5).mean()
        right.plot(rolled.index, rolled, label=f"{name} levels")
    right.axhline(LEVEL / 100, color="0.7", zorder=0)
    right.axvline(chosen["step"].max() / 2, color="0.7", linestyle=":", zorder=0)
    right.set(xlabel="row (errors double at the dotted line)", ylabel="coverage, mean of 20 rows",
              title=f"80 % intervals under a change{note}")  # fmt: skip
    right.legend(frameon=False)
    save_figure(figure, path)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Updates and streams against refits.")
    parser.add_argument("--quick", action="store_true", help="one set, two origins, small networks")
    parser.add_argument("--check", action="store_true", help="compare with the bars; exit 1 if one is missed")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/forecast_streaming"))
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study, write tables and picture, and give the exit code."""
    options = _parse(arguments)
    limit_threads()
    small = {"n_members": 2, "width": 32, "max_steps": 50} if options.quick else {}
    parts = []
    for name in DATASETS[-1:] if options.quick else DATASETS:
        rolling = load(name)
        horizon, season = rolling.whole.horizon, rolling.whole.season_length

        def make(horizon: int = horizon, season: int = season) -> DiffusionForecaster:
            return default_model(horizon, season, **small)

        parts.append(run_set(rolling, make, 2 if options.quick else min(rolling.n_windows, 5)))
    rows, changes = pd.concat(parts, ignore_index=True), run_changes(100 if options.quick else 200)
    summary, coverage = summarise(rows), coverage_table(changes)
    bars = streaming_bars(None if options.quick else summary, coverage)
    for file, table in (("rows", rows), ("summary", summary), ("coverage", coverage)):
        write_table(options.out / f"{file}.csv", table)
    note = " (reduced run)" if options.quick else ""
    _draw(summary, changes, options.out / "forecast_streaming.png", note)
    sections = [
        ("Updates and streams against refits", markdown_table(summary)),
        ("Coverage of 80 % intervals under a planted change", markdown_table(coverage)),
        ("Picture", "![forecast_streaming.png](forecast_streaming.png)"),
        ("Bars", bars_text(bars)),
    ]
    if not options.quick:
        sections.append(("Reading", READING))
    header = run_header(options.quick, None if arguments is None else ["forecast_streaming.py", *arguments])
    write_markdown(options.out / "report.md", "Updates and streams of forecasts", header, sections)
    return check_exit_code(bars) if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
