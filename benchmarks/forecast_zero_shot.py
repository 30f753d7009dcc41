"""One model for unseen series, against a fit to each set: `python benchmarks/forecast_zero_shot.py`.

Leave one set out, for `SETS` in turn: `ZeroShotForecaster` is trained on the histories of the twelve other
sets, hourly to monthly ones, and prompted with the set left out; nothing is fitted to it. Beside it, from the
same rolling origins (`forecast_protocol`): `DiffusionForecaster` fitted to the set, both with the network
off, the seasonal naive forecast and seasonal climatology, which learn nothing either. All at default
settings; the zero-shot model learns `HORIZON` steps at once for all sets and goes on from its own draws where
a set asks for more.

CPU seconds are those until the first forecast of the set: for zero-shot its training, which is shared by all
sets ever prompted, is given apart from the forecasts.
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
from forecast_cheap_peers import SeasonalClimatology, SeasonalNaive
from forecast_data import DATASETS, HISTORY, Histories, RollingSet, load
from forecast_models import ForecastModel
from forecast_ours import OurForecaster, paths_of_frame
from forecast_protocol import N_DRAWS, run_model, set_row
from measuring import limit_threads
from reporting import RowFile, markdown_table, run_header, write_markdown, write_table
from survival_pictures import new_figure, save_figure

__all__ = ["MODELS", "ZeroShot", "main", "relative", "zero_shot_bars"]

HORIZON = 24
ZERO, ZERO_OFF = "zero-shot", "zero-shot, network off"
FITTED, FITTED_OFF = "fitted", "fitted, network off"
NAIVE, CLIMATOLOGY = "SeasonalNaive", "SeasonalClim"
SETS = ("solar_hourly", "wind_hourly", "parking", "walmart_sales", "m4_hourly", "m4_monthly")
RATIOS = (0.7, 0.8, 1.0, 1.2, 1.5, 2.0, 3.0)
QUICK_SETS = ("walmart_sales",)
QUICK_TRAINING = ("m4_monthly", "m4_weekly")
SCORES = {"scrps": "Scaled CRPS", "energy": "Energy score of the path, scaled"}


class ZeroShot(ForecastModel):
    """`ZeroShotForecaster` trained on other sets; fitting to a set only keeps what it is called.

    Parameters
    ----------
    others : dict
        From names to histories of the other sets.
    **parameters
        Of the estimator, e.g. ``network_off=True``.
    """

    def __init__(self, others: dict[str, Histories], **parameters: Any) -> None:
        self.others, self.parameters = others, parameters

    def fit(self, histories: Histories) -> ZeroShot:
        """Train on the other sets."""
        from sciffusion.domains.forecasting import ZeroShotForecaster

        self.estimator_: Any = ZeroShotForecaster(
            **{"horizon": HORIZON, "random_state": 0, **self.parameters}
        )
        self.estimator_.fit({name: (one.frame(), one.season_length) for name, one in self.others.items()})
        return self

    def draws(self, histories: Histories, n_draws: int, seed: int) -> np.ndarray:
        """Draw paths after the histories, which are the prompt."""
        found = self.estimator_.sample(
            histories.horizon,
            n_samples=n_draws,
            df=histories.frame(),
            season_length=histories.season_length,
        )
        return paths_of_frame(found, histories, n_draws)


Make = Callable[[dict[str, Histories]], ForecastModel]

MODELS: dict[str, Make] = {
    ZERO: ZeroShot,
    ZERO_OFF: lambda others: ZeroShot(others, network_off=True),
    FITTED: lambda others: OurForecaster(),
    FITTED_OFF: lambda others: OurForecaster(network_off=True),
    NAIVE: lambda others: SeasonalNaive(),
    CLIMATOLOGY: lambda others: SeasonalClimatology(),
}


def run_row(rolling: RollingSet, name: str, others: dict[str, Histories]) -> dict[str, object]:
    """Fit and score one model on one set."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        windows, cost, _ = run_model(rolling, lambda: MODELS[name](others))
    row = {"dataset": rolling.name, "model": name, **set_row(windows), **cost}
    print(f"{rolling.name}, {name}: sCRPS {row['scrps']:.3f}, energy {row['energy']:.3f}", flush=True)
    return row


def relative(rows: pd.DataFrame, score: str) -> pd.DataFrame:
    """Give a score, one line a set, and the geometric mean of its ratio to that of the fitted model."""
    table = rows.pivot(index="dataset", columns="model", values=score).reindex(rows["dataset"].unique())
    table = table[[name for name in MODELS if name in table]]
    table.loc["mean over fitted"] = np.exp(np.log(table.div(table[FITTED], axis=0)).mean())
    return table


def zero_shot_bars(rows: pd.DataFrame, reduced: bool) -> list[Bar]:
    """Give the bars: better on average than the forecasts that learn nothing, on both scores."""
    bars = []
    for score, title in SCORES.items():
        mean = relative(rows, score).loc["mean over fitted"]
        for other in (NAIVE, CLIMATOLOGY):
            name = f"{title.split(' of')[0].lower()} of zero-shot over that of {other}, mean over sets"
            if reduced:
                bars.append(Bar(name, None, "needs the full run"))
            else:
                bars.append(compare(name, mean[ZERO] / mean[other], 1.0, at_most=True))
    return bars


def reading(rows: pd.DataFrame) -> str:
    """Put the numbers into words, where zero-shot loses first."""
    words = []
    for score, title in SCORES.items():
        table = relative(rows, score)
        sets, mean = table.iloc[:-1], table.iloc[-1]
        for other in (FITTED, ZERO_OFF, CLIMATOLOGY, NAIVE):
            worse = list(sets.index[sets[ZERO] > sets[other]])
            lost = f"worse on {', '.join(worse)}" if worse else "worse on none"
            words.append(
                f"- {title}: zero-shot {100 * (mean[ZERO] / mean[other] - 1):+.1f} % against {other}; {lost}."
            )
    seconds = rows.groupby("model", sort=False)[["fit_cpu", "predict_cpu"]].mean()
    words.append(
        f"- CPU seconds a set: training on the other sets {seconds.loc[ZERO, 'fit_cpu']:.1f} (once for all "
        f"prompts), a fit to the set {seconds.loc[FITTED, 'fit_cpu']:.1f}; forecasts from all origins "
        f"{seconds.loc[ZERO, 'predict_cpu']:.1f} and {seconds.loc[FITTED, 'predict_cpu']:.1f}."
    )
    return "\n".join(words)


def _draw(rows: pd.DataFrame, path: Path, note: str) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

    figure, axes = new_figure(columns=2, width=5.2, height=4.0)
    colours = {ZERO: "#c1440e", ZERO_OFF: "#e0a458", CLIMATOLOGY: "#5b7083", NAIVE: "#9fb1bd"}
    for panel, (score, title) in zip(axes[0], SCORES.items(), strict=True):
        sets = relative(rows, score).iloc[:-1]
        heights = np.arange(len(sets))
        for name, colour in colours.items():
            panel.semilogx(sets[name] / sets[FITTED], heights, "o", color=colour, label=name)
        panel.axvline(1.0, color="black", linewidth=0.8)
        panel.set_yticks(heights, list(sets.index) if panel is axes[0, 0] else [""] * len(sets))
        panel.xaxis.set_major_locator(FixedLocator(RATIOS))
        panel.xaxis.set_major_formatter(ScalarFormatter())
        panel.xaxis.set_minor_locator(NullLocator())
        panel.invert_yaxis()
        panel.set_title(title)
        panel.set_xlabel("over that of the model fitted to the set (left is better)")
    axes[0, 1].legend(fontsize=8)
    figure.suptitle(f"Prompted with a set that was left out{note}")
    save_figure(figure, path)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="One model for unseen series, against a fit to each set.")
    parser.add_argument("--quick", action="store_true", help="one set, few others to train on")
    parser.add_argument("--check", action="store_true", help="compare with the bars; exit 1 if one is missed")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/forecast_zero_shot"))
    parser.add_argument("--datasets", nargs="+", choices=list(DATASETS), metavar="SET")
    parser.add_argument("--resume", action="store_true", help="skip rows that the output folder already has")
    options = parser.parse_args(arguments)
    options.datasets = options.datasets or list(QUICK_SETS if options.quick else SETS)
    options.training = QUICK_TRAINING if options.quick else DATASETS
    options.reduced = options.quick or not set(SETS) <= set(options.datasets)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison, write tables and picture, and give the exit code."""
    options = _parse(arguments)
    limit_threads()
    settings: dict[str, object] = {"draws": N_DRAWS, "history": HISTORY, "horizon": HORIZON}
    rows_file = RowFile(options.out / "rows.csv", ("dataset", "model"), settings, options.resume)
    sets = {name: load(name) for name in dict.fromkeys((*options.training, *options.datasets))}
    for dataset in options.datasets:
        others = {name: sets[name].history(0) for name in options.training if name != dataset}
        for name in MODELS:
            if (dataset, name) not in rows_file:
                rows_file.add(run_row(sets[dataset], name, others))
    rows = rows_file.frame()
    bars = zero_shot_bars(rows, options.reduced)
    sections = [("Reading", reading(rows)), ("Bars", bars_text(bars))]
    for score, title in SCORES.items():
        write_table(options.out / f"{score}.csv", relative(rows, score))
        sections.append((title, markdown_table(relative(rows, score))))
    cost = rows.groupby("model", sort=False)[["fit_cpu", "predict_cpu", "coverage80", "coverage95"]].mean()
    sections.append(("CPU seconds a set and coverage, means over sets", markdown_table(cost)))
    _draw(rows, options.out / "forecast_zero_shot.png", " (reduced run)" if options.reduced else "")
    sections.append(("Picture", "![forecast_zero_shot.png](forecast_zero_shot.png)"))
    header = run_header(options.reduced, None if arguments is None else ["forecast_zero_shot.py", *arguments])
    write_markdown(options.out / "report.md", "Zero-shot forecasts of sets left out", header, sections)
    return check_exit_code(bars) if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
