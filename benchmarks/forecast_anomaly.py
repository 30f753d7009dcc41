"""Scores of anomalies on series whose anomalies are labelled: `python benchmarks/forecast_anomaly.py`.

Every method is fitted on the training part of a series, which holds no anomaly, and scores every row of the
test part. Our three scores are those of `DiffusionForecaster.anomaly_score` with default settings and
horizon 12; "off" is the combined score with the network off. References: the distance of the window around
a row to the nearest training window, an isolation forest of such windows, and the departure from the mean
of the phase in training over its deviation. Windows have one period of the series, at most `LONGEST_WINDOW`
rows.

A row's score is its own (point) or the mean over the window around it (window), as in
`anomaly_score(window=...)`. `roc_auc` is the area under the ROC curve, `precision` the average precision,
over rows of the test part. A row is a false alarm if it is labelled normal and its score is above the 99 %
quantile of the scores of the second half of the training part; the series without any anomaly counts only
there.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from bars import Bar, bars_text, check_exit_code
from measuring import limit_threads, measure
from reporting import RowFile, markdown_table, run_header, write_markdown, write_table
from survival_pictures import new_figure, save_figure

__all__ = ["LABELLED", "METHODS", "anomaly_bars", "main", "measured_rows", "scores_of", "window_mean"]

LABELLED = ("yahoo", "kdd_tsad_135", "mitdb", "ecg_diff_count")
QUIET = "daphnet_s06r02e0"
QUICK = ("yahoo", "kdd_tsad_135")
LONGEST_WINDOW = 64
MOST_TRAIN, MOST_TEST = 4000, 4000  # the last and the first rows that are used
HORIZON = 12
NEIGHBOURS, KNN, FOREST, PHASE = 1, "nearest window", "isolation forest", "seasonal z-score"
OURS, OFF = ("combined", "forecast", "denoising"), "combined, off"
METHODS = (*OURS, OFF, KNN, FOREST, PHASE)
SCORES = ("roc_auc", "precision", "false_alarms")
Scored = dict[str, np.ndarray]


def window_mean(scores: np.ndarray, window: int) -> np.ndarray:
    """Average over the window around each row, fewer rows at the ends; missing scores are left out."""
    seen = np.isfinite(scores)
    total, count = (
        np.convolve(np.where(seen, scores, 0.0) if first else seen.astype(float), np.ones(window), "same")
        for first in (True, False)
    )
    return total / np.maximum(count, 1e-9)


def _windows(values: np.ndarray, window: int) -> np.ndarray:
    """Give the window around each row as one line, the ends repeated."""
    before = (window - 1) // 2
    padded = np.pad(values, ((before, window - 1 - before), (0, 0)), mode="edge")
    cut = np.lib.stride_tricks.sliding_window_view(padded, window, axis=0)
    return cut.reshape(len(values), -1)


def _nearest(train: np.ndarray, values: np.ndarray, window: int) -> np.ndarray:
    """Give distances to the nearest training window; a window does not find itself or what overlaps it."""
    from sklearn.neighbors import NearestNeighbors

    known, asked = _windows(train, window), _windows(values, window)
    model = NearestNeighbors(n_neighbors=min(2 * window + 1, len(known))).fit(known)
    distance, place = model.kneighbors(asked)
    apart = np.abs(place - np.arange(len(asked))[:, None]) >= window
    own = np.arange(len(asked))[:, None] < len(train)
    allowed = apart | ~own
    first = np.where(allowed.any(axis=1), allowed.argmax(axis=1), -1)
    return distance[np.arange(len(asked)), first]


def _forest(train: np.ndarray, values: np.ndarray, window: int) -> np.ndarray:
    from sklearn.ensemble import IsolationForest

    model = IsolationForest(n_estimators=200, random_state=0).fit(_windows(train, window))
    return -model.score_samples(_windows(values, window))


def _phase(train: np.ndarray, values: np.ndarray, period: int) -> np.ndarray:
    phase = np.arange(len(train)) % period
    means = np.stack([train[phase == one].mean(axis=0) for one in range(period)])
    deviation = (train - means[phase]).std(axis=0)
    apart = (values - means[np.arange(len(values)) % period]) / np.where(deviation > 0, deviation, 1.0)
    return np.sqrt((apart**2).sum(axis=1))


def _ours(train: np.ndarray, values: np.ndarray, period: int, **settings: object) -> tuple[Scored, float]:
    """Give our scores and the CPU seconds of the fit."""
    from sciffusion import DiffusionForecaster

    model = DiffusionForecaster(
        horizon=HORIZON, season_length=period if 1 < period <= len(train) // 3 else None,
        random_state=0, device="cpu", **settings,
    )  # fmt: skip
    _, cost = measure(lambda: model.fit(train[None]))
    parts = {kind: model.anomaly_score(values[None], kind=kind)[0] for kind in ("forecast", "denoising")}
    around = parts["denoising"]
    ahead = np.where(np.isnan(parts["forecast"]), around, parts["forecast"])
    return {"combined": np.hypot(ahead, around), **parts}, cost.cpu_seconds


def scores_of(
    train: np.ndarray, values: np.ndarray, period: int, window: int, **settings: object
) -> tuple[Scored, dict[str, float]]:
    """Give every method's scores of all rows, those of training first, and CPU seconds of our fits.

    Parameters
    ----------
    train : ndarray of shape (rows, channels)
    values : ndarray of shape (rows, channels)
        Training part and test part.
    period, window : int
    **settings
        Of our estimator.
    """
    ours, seconds = _ours(train, values, period, **settings)
    off, off_seconds = _ours(train, values, period, **{**settings, "network_off": True})
    centre, deviation = train.mean(axis=0), train.std(axis=0)
    known, asked = ((part - centre) / np.where(deviation > 0, deviation, 1.0) for part in (train, values))
    scores = {**ours, OFF: off["combined"]}
    scores[KNN] = _nearest(known, asked, window)
    scores[FOREST] = _forest(known, asked, window)
    scores[PHASE] = _phase(known, asked, period)
    return scores, {**dict.fromkeys(OURS, seconds), OFF: off_seconds}


def measured_rows(name: str, scores: Scored, n_train: int, anomaly: np.ndarray, window: int) -> list[dict]:
    """Give a row for each method, of points and of windows."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    rows = []
    for method, values in scores.items():
        for smoothing, width in (("point", 1), ("window", window)):
            smooth = window_mean(values, width)
            test, limit = smooth[n_train:], np.quantile(smooth[n_train // 2 : n_train], 0.99)
            row = {"series": name, "method": method, "score_of": smoothing}
            row["false_alarms"] = float(np.mean(test[~anomaly] > limit))
            if anomaly.any():
                row["roc_auc"] = float(roc_auc_score(anomaly, test))
                row["precision"] = float(average_precision_score(anomaly, test))
            rows.append(row)
    return rows


def _run_series(name: str, rows_file: RowFile, settings: dict[str, object]) -> None:
    from sciffusion.datasets import labelled_series_loader

    data = labelled_series_loader(name)()
    train, test = data.train[-MOST_TRAIN:], data.test[:MOST_TEST]
    if name == QUIET:
        train, test = train[-1500:], test[:1500]
    period = max(int(data.card.period or 1), 1)
    window = min(max(period, HORIZON), LONGEST_WINDOW)
    scores, seconds = scores_of(train, np.concatenate([train, test]), period, window, **settings)
    for row in measured_rows(name, scores, len(train), data.anomaly[: len(test)], window):
        rows_file.add(row | {"fit_cpu": seconds.get(row["method"], float("nan"))})
    print(f"{name}: done", flush=True)


def _table(rows: pd.DataFrame, score: str, smoothing: str) -> pd.DataFrame:
    """Give a score, one line a method, one column a series, and the mean."""
    chosen = rows[rows["score_of"] == smoothing].dropna(subset=[score])
    table = chosen.pivot_table(index="method", columns="series", values=score, sort=False)
    return table.reindex([name for name in METHODS if name in table.index]).assign(
        mean=lambda one: one.mean(1)
    )


def anomaly_bars(rows: pd.DataFrame, reduced: bool) -> list[Bar]:
    """Give the bars: the combined score's mean is not below the references', of points and of windows.

    Fits stay within a minute of CPU time.
    """
    bars = []
    for smoothing in ("point", "window"):
        name = f"mean ROC AUC of the combined {smoothing} score at least the best reference's"
        if reduced:
            bars.append(Bar(name, None, "needs all series"))
            continue
        means = _table(rows, "roc_auc", smoothing)["mean"]
        best = means[[KNN, FOREST, PHASE]].max()
        own = means["combined"]
        bars.append(Bar(name, bool(own >= best), f"{own:.3f} against {best:.3f}"))
    longest = rows["fit_cpu"].max()
    bars.append(Bar("every fit within 60 CPU seconds", bool(longest <= 60), f"the longest {longest:.1f}"))
    return bars


def _draw(rows: pd.DataFrame, path: Path, note: str) -> None:
    figure, axes = new_figure(columns=2, width=5.2)
    for panel, smoothing in zip(axes[0], ("point", "window"), strict=True):
        table = _table(rows, "roc_auc", smoothing).drop(columns="mean")
        for name, values in table.iterrows():
            panel.plot(values.index, values, "o", label=name, alpha=0.7)
        panel.axhline(0.5, color="0.7", lw=0.8)
        panel.set_title(f"{smoothing} scores")
        panel.set_ylabel("ROC AUC")
        panel.tick_params(axis="x", labelsize=8)
    axes[0, 1].legend(fontsize=7)
    figure.suptitle(f"Labelled anomalies{note}")
    save_figure(figure, path)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Anomaly scores on labelled series.")
    parser.add_argument("--quick", action="store_true", help="two series, a short training")
    parser.add_argument("--check", action="store_true", help="exit 1 if a bar is missed")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/forecast_anomaly"))
    parser.add_argument("--series", nargs="+", choices=(*LABELLED, QUIET), metavar="SERIES")
    parser.add_argument("--resume", action="store_true", help="skip series that are in the output folder")
    options = parser.parse_args(arguments)
    options.series = options.series or (QUICK if options.quick else (*LABELLED, QUIET))
    options.reduced = options.quick or set(options.series) != {*LABELLED, QUIET}
    return options


def main(arguments: Sequence[str] | None = None, reading: Callable[[pd.DataFrame], str] | None = None) -> int:
    """Run the study, write tables and picture, and give the exit code."""
    options = _parse(arguments)
    limit_threads()
    settings: dict[str, object] = {"max_steps": 50, "n_members": 2} if options.quick else {}
    key = ("series", "method", "score_of")
    rows_file = RowFile(options.out / "rows.csv", key, {"protocol": 1, **settings}, options.resume)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in options.series:
            if (name, PHASE, "window") not in rows_file:
                _run_series(name, rows_file, settings)
    rows = rows_file.frame()
    bars = anomaly_bars(rows, options.reduced)
    sections = []
    for score, words in zip(SCORES, ("ROC AUC", "Average precision", "Share of false alarms"), strict=True):
        for smoothing in ("point", "window"):
            table = _table(rows, score, smoothing)
            write_table(options.out / f"{score}_{smoothing}.csv", table)
            sections.append((f"{words}, {smoothing} scores", markdown_table(table)))
    _draw(rows, options.out / "forecast_anomaly.png", " (reduced run)" if options.reduced else "")
    sections += [("Picture", "![forecast_anomaly.png](forecast_anomaly.png)"), ("Bars", bars_text(bars))]
    if reading is not None:
        sections.insert(0, ("Reading", reading(rows)))
    header = run_header(options.reduced, None if arguments is None else ["forecast_anomaly.py", *arguments])
    write_markdown(options.out / "report.md", "Anomalies in labelled series", header, sections)
    return check_exit_code(bars) if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
