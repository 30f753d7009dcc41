"""What fitting and forecasting cost, and how the cost grows: `python benchmarks/forecast_cost.py`.

At default settings, one thread, CPU seconds and peak memory beyond the start of the call:

* a fit on each of the thirteen real sets (at most 1,400 rows a series), the paths from its end, and beside
  them AutoETS of statsforecast, one model a series fitted to its last 400 rows, with its forecast;
* 100 paths x 24 steps x 10 series;
* growth with the number of series, their length, the horizon and the number of paths, on simulated hourly
  series (a daily and a weekly season, a random walk and noise), the same series for both models.

AutoETS refits at every forecast; ours is fitted once and then forecasts from any later origin.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
from bars import Bar, bars_text, check_exit_code, compare
from forecast_data import DATASETS, Histories, load
from forecast_models import ForecastModel
from forecast_ours import OurForecaster
from forecast_statistical_peers import AutoETS
from measuring import limit_threads, measure
from reporting import markdown_table, run_header, write_markdown, write_table
from survival_pictures import new_figure, save_figure

__all__ = ["FULL", "OURS", "PEER", "QUICK", "Plan", "cost_bars", "main", "run_costs", "simulated"]

OURS, PEER = "ours", "AutoETS"
FIT_SECONDS, PATHS_SECONDS = 60.0, 1.0
SERIES, PATHS, STEPS = 10, 100, 24
SEASON = 24
FIRST_MOMENT = np.datetime64("2024-01-01T00", "h")
Make = Callable[[], ForecastModel]


@dataclass(frozen=True)
class Plan:
    """Sizes to measure; `peer_series` and longer panels are left to ours alone."""

    datasets: tuple[str, ...]
    series: tuple[int, ...]
    lengths: tuple[int, ...]
    horizons: tuple[int, ...]
    paths: tuple[int, ...]
    base_length: int = 1000
    peer_series: int = 10


FULL = Plan(
    datasets=DATASETS,
    series=(1, 10, 100),
    lengths=(200, 1000, 4000),
    horizons=(6, 24, 96),
    paths=(PATHS, 1000, 10_000),
)
QUICK = Plan(("m4_monthly",), (1, 10), (200, 1000), (6, 24), (PATHS, 1000))


def simulated(series: int, length: int, horizon: int, seed: int = 0) -> Histories:
    """Give hourly series: a daily and a weekly season, a random walk and noise, all of random sizes."""
    generator = np.random.default_rng(seed)
    rows = np.arange(length)
    size, phase = generator.uniform(0.5, 2.0, (2, series, 1)), generator.uniform(0.0, 24.0, (2, series, 1))
    values = 20.0 + size[0] * np.sin(2 * np.pi * (rows + phase[0]) / SEASON)
    values = values + 0.5 * size[1] * np.sin(2 * np.pi * (rows + phase[1]) / (7 * SEASON))
    values = values + 0.05 * np.cumsum(generator.normal(size=(series, length)), axis=1)
    values = values + 0.3 * generator.normal(size=(series, length))
    times = FIRST_MOMENT + rows
    return Histories(tuple(range(series)), (times,) * series, tuple(values), SEASON, horizon)


def _measured(make: Make, histories: Histories, paths: int, **labels: object) -> dict[str, object]:
    """Measure a fit and the paths from the end of the histories."""
    model = make()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, fit = measure(lambda: model.fit(histories))
        _, draw = measure(lambda: model.draws(histories, paths, 0))
    row: dict[str, object] = {
        **labels,
        "series": len(histories.ids),
        "length": max(map(len, histories.values)),
        "horizon": histories.horizon,
        "paths": paths,
        "fit_cpu": fit.cpu_seconds,
        "paths_cpu": draw.cpu_seconds,
        "fit_mib": fit.peak_megabytes,
        "paths_mib": draw.peak_megabytes,
    }
    print(", ".join(f"{k} {v:.2f}" if isinstance(v, float) else str(v) for k, v in row.items()), flush=True)
    return row


def run_costs(plan: Plan, ours: Make, peer: Make, read: Callable[[str], Histories]) -> pd.DataFrame:
    """Measure everything in the plan; one row a measurement, `part` saying what it is for."""
    makers = {OURS: ours, PEER: peer}
    for make in makers.values():  # imports and compilations are in nobody's seconds
        _measured(make, simulated(2, 200, 6), 10, part="warm-up")
    rows = [
        _measured(make, read(name), PATHS, part="real sets", dataset=name, model=model)
        for name in plan.datasets
        for model, make in makers.items()
    ]
    base = {"series": SERIES, "length": plan.base_length, "horizon": STEPS}
    grown = [("series", size) for size in plan.series]
    grown += [("length", size) for size in plan.lengths]
    grown += [("horizon", size) for size in plan.horizons]
    done: dict[tuple[int, ...], list[dict[str, object]]] = {}
    for part, size in grown:
        sizes = {**base, part: size}
        key = tuple(sizes.values())
        if key not in done:  # the base size belongs to all three
            done[key] = [
                _measured(make, simulated(**sizes), PATHS, part=part, model=model)
                for model, make in makers.items()
                if model == OURS or sizes["series"] <= plan.peer_series
            ]
        rows += [{**row, "part": part} for row in done[key]]
    return pd.DataFrame(rows + _many_paths(ours, plan))


def _many_paths(make: Make, plan: Plan) -> list[dict[str, object]]:
    """Measure different numbers of paths from one fit."""
    histories = simulated(SERIES, plan.base_length, STEPS)
    fitted = make().fit(histories)
    rows: list[dict[str, object]] = []
    for paths in plan.paths:
        _, draw = measure(lambda count=paths: fitted.draws(histories, count, 0))
        row: dict[str, object] = {"part": "paths", "model": OURS, "series": SERIES, "paths": paths}
        row |= {"length": plan.base_length, "horizon": STEPS}
        rows.append({**row, "paths_cpu": draw.cpu_seconds, "paths_mib": draw.peak_megabytes})
        print(f"paths, {OURS}, {paths}: {draw.cpu_seconds:.2f}", flush=True)
    return rows


def cost_bars(rows: pd.DataFrame) -> list[Bar]:
    """Give the bars: the dearest fit on a real set, and the paths of ten series."""
    ours = rows[rows["model"] == OURS]
    real = ours[ours["part"] == "real sets"]
    bars = []
    name = "dearest fit on a real set, CPU seconds"
    if set(real["dataset"]) == set(DATASETS):
        bars.append(compare(name, float(real["fit_cpu"].max()), FIT_SECONDS, at_most=True, unit=" s"))
    else:
        bars.append(Bar(name, None, f"needs all {len(DATASETS)} sets"))
    drawn = ours[(ours["part"] == "paths") & (ours["paths"] == PATHS)]
    name = f"{PATHS} paths x {STEPS} steps x {SERIES} series, CPU seconds"
    seconds = float(drawn["paths_cpu"].iloc[0])
    return [*bars, compare(name, seconds, PATHS_SECONDS, at_most=True, unit=" s")]


def ratios(rows: pd.DataFrame) -> pd.DataFrame:
    """Give our seconds beside the peer's on each real set, fit and one forecast, and their ratio."""
    real = rows[rows["part"] == "real sets"].copy()
    real["seconds"] = real["fit_cpu"] + real["paths_cpu"]
    table = real.pivot(index="dataset", columns="model", values="seconds").reindex(real["dataset"].unique())
    table["ours / AutoETS"] = table[OURS] / table[PEER]
    kept = real[real["model"] == OURS].set_index("dataset")
    return kept[["series", "length", "horizon", "fit_cpu", "paths_cpu", "fit_mib", "paths_mib"]].join(
        table[[PEER, "ours / AutoETS"]].rename(columns={PEER: "AutoETS, s"})
    )


def reading(rows: pd.DataFrame) -> str:
    """Put the numbers into words."""
    table = ratios(rows)
    ratio = table["ours / AutoETS"]
    words = [
        f"- A fit costs {table['fit_cpu'].min():.0f} to {table['fit_cpu'].max():.0f} CPU seconds and up to "
        f"{table['fit_mib'].max():.0f} MiB on the real sets; {PATHS} paths of all series of a set at most "
        f"{table['paths_cpu'].max():.2f} s.",
        f"- Of one fit and one forecast, AutoETS (a model a series, no paths) takes less on "
        f"{int((ratio > 1).sum())} of {len(ratio)} sets (ours / AutoETS from {ratio.min():.2f} to "
        f"{ratio.max():.0f}). A second forecast costs ours only the paths, AutoETS the fit again.",
    ]
    for part in ("series", "length", "horizon"):
        lines = rows[(rows["part"] == part) & (rows["model"] == OURS)]
        first, last = lines.iloc[0], lines.iloc[-1]
        fit, draw = (last[name] / first[name] for name in ("fit_cpu", "paths_cpu"))
        words.append(
            f"- {last[part] / first[part]:.0f} times the {part} cost {fit:.1f} times the seconds of a fit "
            f"and {draw:.1f} times those of the paths; the fit's peak goes from {first['fit_mib']:.0f} to "
            f"{last['fit_mib']:.0f} MiB."
        )
    return "\n".join(words)


def _draw(rows: pd.DataFrame, path: Path, note: str) -> None:
    from matplotlib.ticker import NullFormatter

    figure, axes = new_figure(columns=4, width=3.6)
    for panel, part in zip(axes[0], ("series", "length", "horizon", "paths"), strict=True):
        for model, lines in rows[rows["part"] == part].groupby("model", sort=False):
            if part != "paths" and model == OURS:
                panel.loglog(lines[part], lines["fit_cpu"], "o-", color="#c1440e", label="ours, fit")
            if model == OURS:
                panel.loglog(lines[part], lines["paths_cpu"], "s--", color="#e0a458", label="ours, paths")
            else:
                panel.loglog(lines[part], lines["paths_cpu"], "D-", color="#5b7083", label="AutoETS, all")
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.yaxis.set_minor_formatter(NullFormatter())
        panel.set_xlabel(part)
    axes[0, 0].set_ylabel("CPU seconds")
    axes[0, 0].legend(fontsize=8)
    figure.suptitle(f"How the cost grows{note}")
    save_figure(figure, path)


def _sections(rows: pd.DataFrame, bars: list[Bar]) -> list[tuple[str, str]]:
    sections = [("Reading", reading(rows)), ("Bars", bars_text(bars))]
    sections.append(("Real sets: CPU seconds and MiB", markdown_table(ratios(rows), digits=2)))
    for part in ("series", "length", "horizon", "paths"):
        lines = rows[rows["part"] == part].drop(columns=["part", "dataset"]).set_index("model")
        sections.append((f"Growth with {part}", markdown_table(lines, digits=2)))
    return [*sections, ("Picture", "![forecast_cost.png](forecast_cost.png)")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write tables and picture, and give the exit code."""
    parser = argparse.ArgumentParser(description="What fitting and forecasting cost.")
    parser.add_argument("--quick", action="store_true", help="one set, smaller sizes")
    parser.add_argument("--check", action="store_true", help="compare with the bars; exit 1 if one is missed")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/forecast_cost"))
    options = parser.parse_args(arguments)
    limit_threads()
    plan = QUICK if options.quick else FULL
    rows = run_costs(plan, OurForecaster, AutoETS, lambda name: load(name).history(0))
    bars = cost_bars(rows)
    write_table(options.out / "cost.csv", rows.set_index("part"))
    _draw(rows, options.out / "forecast_cost.png", " (reduced run)" if options.quick else "")
    header = run_header(options.quick, None if arguments is None else ["forecast_cost.py", *arguments])
    header["peer"] = f"statsforecast {metadata.version('statsforecast')}"
    write_markdown(options.out / "report.md", "Cost of forecasting", header, _sections(rows, bars))
    return check_exit_code(bars) if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
