"""Later rows of known series, and new series, joined to a panel."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .calendar import Integers
from .frame_columns import names_text
from .frame_format import stamp_index
from .panel import Panel
from .row_checks import GapWarning, too_hollow

__all__ = ["extend_panel"]

Floats = NDArray[np.float64]


def extend_panel(panel: Panel, new: Panel, *, keep: int | None = None, gaps: str = "warn") -> Panel:
    """Return the rows of two panels in one: the known series with their new rows, then the new series.

    Parameters
    ----------
    panel, new : Panel
        Panels of one grid and the same columns. `new` may repeat rows of `panel`; a value that either has is
        taken, and where both have one they must agree to 1e-9 of it.
    keep : int, optional
        Rows to keep of each series, the last ones; by default all.
    gaps : {"warn", "fill", "refuse"}, default="warn"
        What to do about rows that are missing between the end of a series and its new rows: they become
        missing values, with or without a `GapWarning`, or are refused.

    Returns
    -------
    Panel
        Without covariates of rows ahead, which belonged to another end; series without new rows keep theirs.

    Raises
    ------
    ValueError
        If the panels do not fit, values of one row disagree or static covariates changed; the series are
        named.
    """
    _check_alike(panel, new)
    places = _series_places(panel, new)
    ids = panel.ids + tuple(
        name for name, place in zip(new.ids, places, strict=True) if place >= panel.n_series
    )
    old_places = np.arange(panel.n_series)
    _check_gaps(panel, new, places, gaps)
    first = np.full(len(ids), np.iinfo(np.int64).max)
    last = np.full(len(ids), np.iinfo(np.int64).min)
    for part, where in ((panel, old_places), (new, places)):
        first[where] = np.minimum(first[where], part.last_step - part.lengths + 1)
        last[where] = np.maximum(last[where], part.last_step)
    lengths = last - first + 1
    lengths = lengths if keep is None else np.minimum(lengths, keep)
    table = _joined(
        _spread(panel, old_places, last, lengths), _spread(new, places, last, lengths), ids, last, panel
    )
    n_channels, n_past = panel.n_channels, len(panel.past_names)
    return replace(
        panel,
        ids=ids,
        values=table[..., :n_channels],
        past=table[..., n_channels : n_channels + n_past],
        future=table[..., n_channels + n_past :],
        lengths=lengths,
        last_step=last,
        static=_static(panel, new, places),
        frame_format=_common_format(panel, new),
    )


def _check_alike(panel: Panel, new: Panel) -> None:
    if panel.grid != new.grid:
        raise ValueError(
            f"new rows have frequency {new.frequency!r} ({new.grid}), expected {panel.frequency!r} "
            f"({panel.grid})"
        )
    for name in ("channel_names", "past_names", "future_names", "static_names"):
        if getattr(panel, name) != getattr(new, name):
            raise ValueError(f"new rows have {name} {getattr(new, name)}, expected {getattr(panel, name)}")


def _series_places(panel: Panel, new: Panel) -> Integers:
    """Return the places of the new panel's series in the joined one."""
    known = {name: place for place, name in enumerate(panel.ids)}
    for name in new.ids:
        known.setdefault(name, len(known))
    return np.array([known[name] for name in new.ids], dtype=np.int64)


def _check_gaps(panel: Panel, new: Panel, places: Integers, policy: str) -> None:
    both = np.flatnonzero(places < panel.n_series)
    old = places[both]
    first, old_first = (part.last_step - part.lengths + 1 for part in (new, panel))
    missing = np.maximum(first[both] - panel.last_step[old], old_first[old] - new.last_step[both]) - 1
    holed = np.flatnonzero(missing > 0)
    if not holed.size:
        return
    names = names_text(panel.ids[place] for place in old[holed])
    span = np.maximum(new.last_step[both], panel.last_step[old]) - np.minimum(first[both], old_first[old]) + 1
    if too_hollow(span, new.lengths[both] + panel.lengths[old]).any():
        raise ValueError(f"new rows are too far from those known of series {names}: {missing.max()} steps")
    text = (
        f"{int(missing[holed].sum())} rows are missing between the known and the new rows of series {names}"
    )
    if policy == "refuse":
        raise ValueError(f"{text}; add them, with NaN where nothing is known")
    if policy == "warn":
        warnings.warn(f"{text}; they count as missing values", GapWarning, stacklevel=3)


def _spread(panel: Panel, places: Integers, last: Integers, lengths: Integers) -> Floats:
    """Return the rows of a panel as right-aligned arrays that end at other steps."""
    table = np.concatenate([panel.values, panel.past, panel.future[:, : panel.length]], axis=2)
    length = int(lengths.max())
    column = length - 1 - (last[places][:, None] - panel.steps)
    row = np.arange(panel.length)
    inside = (column >= length - lengths[places][:, None]) & (row >= panel.length - panel.lengths[:, None])
    spread = np.full((len(last), length, table.shape[2]), np.nan)
    series = np.broadcast_to(places[:, None], column.shape)
    spread[series[inside], column[inside]] = table[inside]
    return spread


def _joined(old: Floats, new: Floats, ids: tuple[Any, ...], last: Integers, panel: Panel) -> Floats:
    differ = ~np.isclose(old, new, rtol=1e-9, atol=0, equal_nan=True) & ~np.isnan(old) & ~np.isnan(new)
    if differ.any():
        series, row, column = (int(place[0]) for place in np.nonzero(differ))
        step = last[series] - (old.shape[1] - 1 - row)
        stamp = stamp_index(np.array([step]), panel.frequency, panel.frame_format)[0]
        name = (*panel.channel_names, *panel.past_names, *panel.future_names)[column]
        raise ValueError(
            "new rows disagree with known ones of series "
            f"{names_text(ids[i] for i in np.unique(np.nonzero(differ)[0]))}: "
            f"{name!r} of {ids[series]!r} at {stamp} was {old[series, row, column]:g} and is now "
            f"{new[series, row, column]:g}"
        )
    return np.where(np.isnan(old), new, old)


def _static(panel: Panel, new: Panel, places: Integers) -> Floats:
    known = places < panel.n_series
    changed = (new.static[known] != panel.static[places[known]]).any(axis=1)
    if changed.any():
        names = names_text(panel.ids[place] for place in places[known][changed])
        raise ValueError(f"static covariates of series {names} are others than before")
    return np.concatenate([panel.static, new.static[~known]])


def _common_format(panel: Panel, new: Panel) -> Any:
    same = panel.frame_format.id_dtype == new.frame_format.id_dtype
    return panel.frame_format if same else replace(panel.frame_format, id_dtype="object")
