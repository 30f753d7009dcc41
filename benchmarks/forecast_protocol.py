"""How one forecaster is judged on one set: rolling origin, the same draws-based scores for all.

From each origin a model gives `N_DRAWS` draws of the next horizon. Per series and window:

* `scrps`: pinball loss over the nine deciles, doubled, over the mean absolute error that the seasonal naive
  forecast made up to that origin (the *scale*); `mase`: error of the median over the same scale;
* `energy`: energy score of the whole path over scale and root of horizon; `variogram` of y / scale (p .5);
* `coverage80`, `coverage95` and `width80`, `width95` (over the scale) of central intervals.

Missing targets are left out (`targets` counts the others). A set's score is the mean over series and windows;
its coverage the mean over targets. `wql` is the pooled weighted quantile loss. Seconds are CPU seconds of one
thread for one fit and for the forecasts from all origins; models that learn nothing before an origin do all
their work in the latter.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from forecast_data import Histories, RollingSet, load, rolling_set
from forecast_models import ForecastModel
from measuring import limit_threads, measure

from sciffusion.domains.forecasting import metrics

__all__ = ["N_DRAWS", "ROW_KEY", "SCORES", "Factory", "run_model", "run_tasks", "score_window", "set_row"]

Factory = Callable[[], ForecastModel]
Task = tuple[str, str, Factory, Path]

N_DRAWS = 256
ROW_KEY = ("dataset", "model")
SCORES = ("scrps", "mase", "energy", "variogram")
INTERVALS = (80, 95)
WARM_UP_ROWS = 160
_warmed: set[str] = set()


def score_window(truth: np.ndarray, draws: np.ndarray, scale: np.ndarray) -> dict[str, np.ndarray]:
    """Score draws (n, n_draws, horizon) of one window, one value a series for each column of the tables."""
    if draws.shape != (len(truth), N_DRAWS, truth.shape[1]):
        raise ValueError(f"draws have shape {draws.shape}, expected {(len(truth), N_DRAWS, truth.shape[1])}")
    if not np.isfinite(draws).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(draws))} draws are not finite")
    deciles = metrics.draw_quantiles(draws, metrics.DECILES)
    unit = scale[:, None]
    columns = {
        "scrps": metrics.scaled_crps(truth, deciles, scale),
        "mase": metrics.mase(truth, metrics.draw_quantiles(draws, [0.5])[:, 0], scale),
        "energy": metrics.scaled_energy_score(truth, draws, scale),
        "variogram": metrics.variogram_score(truth / unit, draws / unit[:, None]),
        "targets": np.count_nonzero(~np.isnan(truth), axis=1),
        "pinball": metrics.scaled_crps(truth, deciles, np.ones(len(truth))),
        "size": np.nansum(np.abs(truth), axis=1),
    }
    for level in INTERVALS:
        columns[f"coverage{level}"] = metrics.interval_coverage(truth, draws, level / 100)
        columns[f"width{level}"] = metrics.interval_width(truth, draws, level / 100) / scale
    return columns


def _scales(history: Histories) -> np.ndarray:
    return np.array([metrics.seasonal_naive_scale(y, history.season_length) for y in history.values])


def run_model(rolling: RollingSet, make: Factory) -> tuple[pd.DataFrame, dict[str, float], bool]:
    """Fit and score one model on one set.

    Returns
    -------
    DataFrame
        One row a window and series, with the columns of `score_window`.
    dict
        CPU seconds and peak memory.
    bool
        Whether the draws are paths.
    """
    model, origins = make(), range(rolling.n_windows)
    histories = [rolling.history(window) for window in origins]
    _, fitting = measure(lambda: model.fit(histories[0]))
    draws, predicting = measure(
        lambda: [np.asarray(model.draws(histories[window], N_DRAWS, window)) for window in origins]
    )
    parts = [
        pd.DataFrame(
            {
                "window": window,
                "unique_id": histories[window].ids,
                **score_window(rolling.truth(window), draws[window], _scales(histories[window])),
            }
        )
        for window in origins
    ]
    cost_columns = {
        "fit_cpu": fitting.cpu_seconds,
        "predict_cpu": predicting.cpu_seconds,
        "fit_mib": fitting.peak_megabytes,
        "predict_mib": predicting.peak_megabytes,
    }
    return pd.concat(parts, ignore_index=True), cost_columns, model.joint


def set_row(windows: pd.DataFrame) -> dict[str, float]:
    """Give a set's scores from those of its windows."""
    weight = windows["targets"] / windows["targets"].sum()
    row = {name: float(windows[name].mean()) for name in SCORES}
    row["wql"] = float((windows["pinball"] * windows["targets"]).sum() / windows["size"].sum())
    for level in INTERVALS:
        for name in (f"coverage{level}", f"width{level}"):
            row[name] = float((windows[name] * weight).sum())
    row["windows"] = len(windows)
    row["targets"] = int(windows["targets"].sum())
    return row


def _warm_up(name: str, make: Factory) -> None:
    """Fit a model once on a made-up set, so that imports are in nobody's seconds; errors show later."""
    if name in _warmed:
        return
    _warmed.add(name)
    rows = np.arange(WARM_UP_ROWS)
    times = pd.date_range("2020-01-01", periods=WARM_UP_ROWS, freq="D")
    y = np.sin(2 * np.pi * rows / 7) + np.random.default_rng(0).normal(size=WARM_UP_ROWS)
    frame = pd.DataFrame({"unique_id": "a", "ds": times, "y": y})
    made_up = rolling_set("made up", frame, season_length=7, horizon=7, n_windows=1)
    try:
        run_model(made_up, make)
    except Exception as error:
        print(f"warm-up of {name}: {type(error).__name__}: {error}", flush=True)


def _run_task(dataset: str, name: str, make: Factory, folder: Path) -> dict[str, Any]:
    """Give the row of one model on one set; an error becomes a row with NaN and the error's words."""
    limit_threads()
    row: dict[str, Any] = {"dataset": dataset, "model": name}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rolling = load(dataset)
        _warm_up(name, make)
        try:
            windows, cost, joint = run_model(rolling, make)
        except Exception as error:
            words = f"{type(error).__name__}: {error}".replace("\n", " ")[:300]
            return {**row, **dict.fromkeys(SCORES, float("nan")), "error": words}
    folder.mkdir(parents=True, exist_ok=True)
    windows.to_csv(folder / f"{dataset}__{name.replace(' ', '_')}.csv", index=False)
    return {**row, **set_row(windows), **cost, "joint": joint, "error": ""}


def run_tasks(tasks: Sequence[Task], jobs: int = 1) -> Iterator[dict[str, Any]]:
    """Yield rows as they are ready, in processes of their own where `jobs` > 1."""
    if jobs == 1:
        yield from (_run_task(*task) for task in tasks)
        return
    from joblib import Parallel, delayed

    parallel = Parallel(n_jobs=jobs, return_as="generator_unordered")
    yield from parallel(delayed(_run_task)(*task) for task in tasks)
