"""What ``sciffusion forecast backtest`` runs and prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from .backtest import Progress, backtest
from .calendar import default_season_length
from .forecaster import DiffusionForecaster
from .frames import panel_of_frame

__all__ = ["OFF", "OURS", "score_table", "tables_of_backtest"]

OURS, OFF = "DiffusionForecaster", "network off"

_COLUMNS = {
    "scaled_crps": "scaled CRPS", "mase": "MASE", "energy_score": "energy score",
}  # fmt: skip


def tables_of_backtest(
    model: DiffusionForecaster,
    frame: pd.DataFrame,
    windows: int,
    options: Mapping[str, Any],
    progress: Progress,
) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    """Backtest a forecaster and its base alone.

    Parameters
    ----------
    model : DiffusionForecaster
        Not fitted; its season length gives the scale of the scores.
    frame : DataFrame
        Series without steps left out.
    windows : int
        Origins a series.
    options : mapping
        Further arguments of `backtest`.
    progress : callable
        As for `backtest`, called over all forecasters.

    Returns
    -------
    tables : dict of str to DataFrame
        Scores by the name of the forecaster.
    draws : DataFrame
        Of the first of them.
    """
    models = (
        {OFF: model} if model.network_off else {OURS: model, OFF: clone(model).set_params(network_off=True)}
    )
    total = windows * len(models)
    tables: dict[str, pd.DataFrame] = {}
    draws: list[pd.DataFrame] = []
    for place, (name, one) in enumerate(models.items()):

        def show(done: int, of: int, what: str, start: int = place * windows, name: str = name) -> None:
            if done < of:
                progress(start + done, total, f"{name}: {what}")

        found: Any = backtest(
            one, frame, one.horizon, windows,
            season_length=_season(model, frame), target=model.target, id_col=model.id_col,
            time_col=model.time_col, future_covariates=tuple(model.future_covariates),
            return_draws=True, progress=show, **options,
        )  # fmt: skip
        tables[name] = found[0]
        draws.append(found[1])
    progress(total, total, "done")
    return tables, draws[0]


def _season(model: DiffusionForecaster, frame: pd.DataFrame) -> int:
    if model.season_length is not None:
        return int(np.atleast_1d(np.asarray(model.season_length))[0])
    panel = panel_of_frame(
        frame[[model.id_col, model.time_col, *_targets(model)]], id_col=model.id_col, time_col=model.time_col,
        target=model.target, frequency=model.frequency, min_observed=0, gaps="fill",
    )  # fmt: skip
    return default_season_length(panel.frequency)


def _targets(model: DiffusionForecaster) -> tuple[str, ...]:
    return (model.target,) if isinstance(model.target, str) else tuple(model.target)


def score_table(tables: Mapping[str, pd.DataFrame], windows: int) -> str:
    """Return the mean scores as lines of text, one a forecaster.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        As `tables_of_backtest` gives them.
    windows : int
        Origins a series.
    """
    first = next(iter(tables.values()))
    levels = [str(name) for name in first if str(name).startswith("coverage-")]
    heads = [*_COLUMNS.values(), *(f"in {name.removeprefix('coverage-')} %" for name in levels)]
    width = max(map(len, tables))
    series = len(first) // windows
    lines = [f"{series} series, {windows} {'origin' if windows == 1 else 'origins'} each; means"]
    lines += ["", " " * width + "".join(f"  {head:>12}" for head in heads)]
    for name, table in tables.items():
        weight = table["n_observed"].to_numpy(dtype=np.float64)
        cells = [f"{table[column].mean():12.3f}" for column in _COLUMNS]
        for level in levels:
            covered = np.nan_to_num(table[level].to_numpy(dtype=np.float64)) @ weight / max(weight.sum(), 1.0)
            cells.append(f"{100 * covered:10.1f} %")
        lines.append("  ".join([f"{name:{width}}", *cells]))
    return "\n".join(lines)
