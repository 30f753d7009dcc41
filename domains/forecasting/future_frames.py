"""Covariates known in advance, from a frame of the rows ahead."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .frame_columns import marked_text, names_text, read_numbers, require_columns
from .frame_format import stamp_index
from .frames import rows_of_frame
from .panel import Panel
from .static_columns import series_places

__all__ = ["future_of_frame"]


def future_of_frame(futr_df: Any, panel: Panel, horizon: int) -> Panel:
    """Return a panel with the covariates of the `horizon` rows that follow each series.

    Parameters
    ----------
    futr_df : pandas.DataFrame or None
        Exactly `horizon` rows for every series of the panel, in any order, at the stamps that follow it, with
        the future covariates in full. Columns that are none are not looked at. May be None if the panel has
        no future covariates, or enough of them already.
    panel : Panel
        Series to forecast.
    horizon : int
        Rows ahead.

    Raises
    ------
    ValueError
        If rows are missing, too many or at other stamps, or a covariate is missing; the series are named.
    """
    if futr_df is None:
        if panel.future_names and panel.ahead < horizon:
            raise ValueError(
                f"futr_df is missing: the covariates {names_text(panel.future_names)} of the {horizon} "
                "rows ahead are needed for every series"
            )
        return panel
    if not panel.future_names:
        return panel
    frame, rows = rows_of_frame("futr_df", futr_df, panel)
    require_columns("futr_df", frame, panel.future_names)
    key = rows.key
    series = series_places(panel, key)
    _check_series(panel, key.of_series(np.flatnonzero(series < 0)) if (series < 0).any() else None, series)
    place = rows.steps - panel.last_step[series[key.codes]] - 1
    _check_rows(panel, series[key.codes], place, horizon)
    numbers = read_numbers("futr_df", frame, panel.future_names, key)
    missing: NDArray[np.bool_] = np.isnan(numbers)
    if missing.any():
        raise ValueError(
            f"{marked_text(panel.future_names, missing)} of futr_df is missing in {key.of_rows(missing)}; "
            "what is known in advance must be given for every row"
        )
    ahead = np.empty((panel.n_series, horizon, len(panel.future_names)))
    ahead[series[key.codes], place] = numbers
    return replace(panel, future=np.concatenate([panel.future[:, : panel.length], ahead], axis=1))


def _check_series(panel: Panel, unknown: str | None, series: Any) -> None:
    if unknown is not None:
        raise ValueError(f"futr_df has rows of {unknown}, not among those to forecast")
    absent = np.setdiff1d(np.arange(panel.n_series), series)
    if absent.size:
        names = names_text(panel.ids[number] for number in absent)
        raise ValueError(f"futr_df has no rows of series {names}")


def _check_rows(panel: Panel, series: Any, place: Any, horizon: int) -> None:
    """Raise ValueError unless every series has exactly the rows 0 ... horizon - 1, known to be distinct."""
    inside = (place >= 0) & (place < horizon)
    found = np.bincount(series, minlength=panel.n_series)
    fitting = np.bincount(series[inside], minlength=panel.n_series)
    wrong = np.flatnonzero((found != horizon) | (fitting != horizon))
    if not wrong.size:
        return
    first = wrong[0]
    stamps = stamp_index(panel.last_step[first] + np.array([1, horizon]), panel.frequency, panel.frame_format)
    raise ValueError(
        f"futr_df must have exactly the {horizon} rows that follow each series; it has not for series "
        f"{names_text(panel.ids[number] for number in wrong)}: {panel.ids[first]!r} has {found[first]} rows, "
        f"{fitting[first]} of them among the {horizon} stamps from {stamps[0]} to {stamps[1]}"
    )
