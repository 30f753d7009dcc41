r"""Rolling-origin backtest: forecast the end of every series from several cutoffs and score the draws.

With horizon h, step s and W windows, window w = 0, ..., W-1 of a series of T rows has the history
:math:`y_1, \dots, y_{c_w}` with cutoff :math:`c_w = T - h - (W - 1 - w) s` and is scored on the h rows after
it. Nothing after a cutoff is shown to the forecaster before the forecast from there is made.

What the forecaster does between windows is `refit`:

- ``"once"``: fitted before the first cutoff; from later ones it forecasts with the parameters it has, out of
  the histories up to there (``sample(..., df=histories)``, or ``update`` if its `sample` takes no ``df``);
- ``"update"``: fitted before the first cutoff; at later ones it is given the new rows (``update(rows)``);
- ``"each"``: fitted anew at every cutoff.

The scores are those of :mod:`sciffusion.domains.forecasting.metrics`; all that are scaled are divided by the
seasonal naive error of the series up to the cutoff, so they can be averaged over series of any unit. A series
that is constant up to the cutoff has no scale and gets NaN there.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import clone

from . import metrics
from .backtest_windows import Window, WindowPlan, cut_window, draws_of_frame, ordered_frame

__all__ = ["Forecaster", "Progress", "backtest"]

Floats = NDArray[np.float64]
Progress = Callable[[int, int, str], None]
Refit = Literal["once", "update", "each"]


class Forecaster(Protocol):
    """What a backtest asks of a forecaster.

    It may also have ``update(rows)``, which takes rows that follow those it knows, and its `sample` may take
    ``df``, histories to forecast from without a refit, and ``futr_df``, covariates of the rows ahead.
    """

    def fit(self, df: pd.DataFrame) -> Any:
        """Fit on a long frame."""

    def sample(self, h: int, *, n_samples: int) -> pd.DataFrame:
        """Draw the h rows after each series: ids, times, ``sample_id`` and the target columns."""


def backtest(
    forecaster: Any,
    data: pd.DataFrame,
    horizon: int,
    n_windows: int,
    step: int | None = None,
    *,
    refit: Refit = "once",
    season_length: int = 1,
    n_samples: int = 200,
    levels: Sequence[float] = (80, 95),
    target: str | Sequence[str] = "y",
    future_covariates: Sequence[str] = (),
    id_col: str = "unique_id",
    time_col: str = "ds",
    return_draws: bool = False,
    progress: Progress | None = None,
) -> pd.DataFrame | tuple[pd.DataFrame, pd.DataFrame]:
    """Score a forecaster on the last windows of every series.

    Parameters
    ----------
    forecaster : Forecaster
        Unfitted or fitted; it is copied and not changed.
    data : pandas.DataFrame
        Long frame, one row a series and time without gaps, NaN where a target is missing. Covariates are
        passed on; those after a cutoff only if they stand in `future_covariates`.
    horizon : int
        Rows ahead that are forecast and scored, >= 1.
    n_windows : int
        Windows of each series, >= 1; the last one ends with the series.
    step : int, optional
        Rows between cutoffs, >= 1; the horizon by default.
    refit : {"once", "update", "each"}
        What happens between windows, see the module.
    season_length : int
        Rows of a season, for the scale of the scores; 1 scales by the naive error.
    n_samples : int
        Draws from each cutoff, >= 2; an interval of level p % needs about 200 / (100 - p) or more.
    levels : sequence of float
        Nominal coverages in per cent of the intervals that are scored.
    target : str or sequence of str
        Target columns; several are scored as one joint forecast.
    future_covariates : sequence of str
        Covariates known in advance, passed to `sample` as ``futr_df``.
    id_col, time_col : str
        Names of the other columns.
    return_draws : bool
        Return the draws as well.
    progress : callable, optional
        Called with the number of windows done, the number of all, and what comes next.

    Returns
    -------
    scores : pandas.DataFrame
        A row a window and series: id, ``window``, ``cutoff`` (time of the last row seen), ``n_observed``
        (targets scored), ``scale`` (mean over targets), ``crps`` (in the unit of the series),
        ``scaled_crps``, ``mase``, ``energy_score`` and ``variogram_score`` (scaled), and for each level
        ``coverage-80``, ``width-80`` (scaled).
    draws : pandas.DataFrame
        Only with `return_draws`: the frames that the forecaster gave, with ``window`` and ``cutoff``.

    Raises
    ------
    ValueError
        If an argument or column is unusable, a series is too short (it is named), `refit` asks for a call
        that the forecaster does not have, or its draws are not those that were asked for.
    """
    targets = (target,) if isinstance(target, str) else tuple(target)
    stride = horizon if step is None else step
    _check_counts(horizon=horizon, n_windows=n_windows, step=stride, season_length=season_length)
    if n_samples < 2:
        raise ValueError(f"n_samples must be >= 2, got {n_samples}")
    plan = WindowPlan(horizon, n_windows, stride, id_col, time_col, targets, tuple(future_covariates))
    frame = ordered_frame(data, plan)
    runner = _Runner(_copy(forecaster), refit)
    scores, draws = [], []
    report = progress or _silent
    for number in range(n_windows):
        report(number, n_windows, f"window {number + 1} of {n_windows}")
        window = cut_window(frame, plan, number)
        found = runner.forecast(window, plan, n_samples)
        paths = draws_of_frame(found, window.ahead, plan, n_samples)
        scores.append(_scores(window, paths, plan, season_length, levels).assign(window=number))
        if return_draws:
            cutoffs = window.history.groupby(id_col, sort=False)[time_col].last()
            draws.append(found.assign(window=number, cutoff=found[id_col].map(cutoffs)))
    report(n_windows, n_windows, "done")
    table = pd.concat(scores, ignore_index=True)
    table.insert(1, "window", table.pop("window"))
    return (table, pd.concat(draws, ignore_index=True)) if return_draws else table


class _Runner:
    """A forecaster that is brought from cutoff to cutoff in the way that was asked for."""

    def __init__(self, forecaster: Any, refit: str) -> None:
        if refit not in ("once", "update", "each"):
            raise ValueError(f"refit must be 'once', 'update' or 'each', got {refit!r}")
        takes_histories = "df" in inspect.signature(forecaster.sample).parameters
        self.forecaster, self.refit, self.fitted = forecaster, refit, False
        if refit == "once" and not takes_histories:
            self.refit = "update"
        if self.refit == "update" and not hasattr(forecaster, "update"):
            raise ValueError(
                f"refit={refit!r} needs a forecaster with update(rows)"
                f"{' or sample(..., df=histories)' if refit == 'once' else ''}, "
                f"{type(forecaster).__name__} has none; use refit='each'"
            )

    def forecast(self, window: Window, plan: WindowPlan, n_samples: int) -> pd.DataFrame:
        """Return the draws from a cutoff."""
        further: dict[str, pd.DataFrame] = {}
        if plan.future:
            further["futr_df"] = window.ahead[[plan.id_col, plan.time_col, *plan.future]]
        if self.refit == "each" or not self.fitted:
            self.forecaster = _copy(self.forecaster)
            self.forecaster.fit(window.history)
            self.fitted = True
        elif self.refit == "update":
            self.forecaster.update(window.since_last)
        else:
            further["df"] = window.history
        found: pd.DataFrame = self.forecaster.sample(plan.horizon, n_samples=n_samples, **further)
        return found


def _silent(done: int, total: int, what: str) -> None:
    """Report nothing."""


def _copy(forecaster: Any) -> Any:
    """Return an unfitted copy of an estimator, a plain copy of anything else."""
    return clone(forecaster) if hasattr(forecaster, "get_params") else copy.deepcopy(forecaster)


def _check_counts(**counts: int) -> None:
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(f"{name} must be a whole number >= 1, got {value!r}")


def _scales(history: pd.DataFrame, plan: WindowPlan, season_length: int) -> Floats:
    """Return the seasonal naive error of each series and target, shape (n, channels)."""
    groups = history.groupby(plan.id_col, sort=False)
    return np.array(
        [
            [
                metrics.seasonal_naive_scale(rows[name].to_numpy(dtype=np.float64), season_length)
                for name in plan.target
            ]
            for _, rows in groups
        ]
    )


def _scores(
    window: Window, draws: Floats, plan: WindowPlan, season_length: int, levels: Sequence[float]
) -> pd.DataFrame:
    """Return the scores of one window, a row a series."""
    groups = window.history.groupby(plan.id_col, sort=False)
    y = window.ahead[list(plan.target)].to_numpy(dtype=np.float64).reshape(draws.shape[0], *draws.shape[2:])
    scales = _scales(window.history, plan, season_length)
    unit, scaled = y / scales[:, None], draws / scales[:, None, None]
    ones = np.ones(len(y))
    deciles = metrics.draw_quantiles(scaled, metrics.DECILES)
    columns: dict[str, Any] = {
        plan.id_col: window.history[plan.id_col].drop_duplicates().to_numpy(),
        "cutoff": groups[plan.time_col].last().to_numpy(),
        "n_observed": np.count_nonzero(~np.isnan(y), axis=(1, 2)),
        "scale": scales.mean(axis=1),
        "crps": metrics.mean_over_event(metrics.crps(y, draws)),
        "scaled_crps": metrics.scaled_crps(unit, deciles, ones),
        "mase": metrics.mase(unit, metrics.draw_quantiles(scaled, [0.5])[:, 0], ones),
        "energy_score": metrics.scaled_energy_score(unit, scaled, ones),
        "variogram_score": metrics.variogram_score(unit, scaled),
    }
    for level in levels:
        columns[f"coverage-{level:g}"] = metrics.interval_coverage(y, draws, level / 100)
        columns[f"width-{level:g}"] = metrics.interval_width(unit, scaled, level / 100)
    return pd.DataFrame(columns)
