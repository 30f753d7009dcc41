"""The frequency of a series' stamps, found from its most common step.

Months are looked for first (all stamps on the first day, the last day, the same day up to the 28th, or the
first or last business day of their months), then business days (weekdays only, weekends left out), then the
most common distance of neighbours. Where distances are not all multiples of the most common one, the smallest
is tried; a common step that a few stamps do not keep is returned all the same, and the check of every stamp
against the grid then names those.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from .calendar import DAY, Grid, Integers, grid_of_frequency, month_of_day

__all__ = ["align_grid", "infer_grid"]

_MONTH_UNITS = ("start", "end", "business start", "business end")
_MAJORITY = 0.6


def infer_grid(moments: Integers, wall: Integers | None = None) -> Grid | None:
    """Return the grid that distinct, sorted stamps lie on, None if they have no common step.

    Parameters
    ----------
    moments : ndarray of int64
        Integers, or nanoseconds after 1970-01-01 (of UTC where there is a time zone).
    wall : ndarray of int64, optional
        Nanoseconds of the local clock; None for integer stamps.
    """
    if len(moments) < 3:
        return None
    if wall is None:
        return _tick_grid(moments, "integer")
    if _mode(np.diff(moments)) < 23 * DAY // 24:
        return _tick_grid(moments, "tick")
    grid = _month_grid(wall) if np.diff(wall).min() >= 28 * DAY else None
    return grid or _business_grid(wall) or _tick_grid(wall, "tick")


def align_grid(frequency: Any, moments: Integers, wall: Integers | None) -> Grid | None:
    """Return the grid of a frequency with the phase of the stamps, None if the stamps are on no such grid.

    Hours may be stamped at half past, days at noon and months on the 15th. A name that is anchored ("W-MON",
    "QS-FEB") keeps its anchor, one that is not ("W", "QS") takes that of the stamps.
    """
    grid = grid_of_frequency(frequency)
    if (wall is None) != (grid.unit == "integer"):
        return None
    stamps = wall if wall is not None and grid.local else moments
    if grid.unit in ("integer", "tick"):
        aligned = replace(grid, phase=_mode(stamps % grid.stride))
    else:
        aligned = _with_offset(grid, stamps)
    anchored = isinstance(frequency, pd.offsets.BaseOffset) or (
        isinstance(frequency, str) and "-" in frequency
    )
    if anchored and aligned.name != grid.name:
        return None
    return aligned


def _with_offset(grid: Grid, wall: Integers) -> Grid:
    """Return a grid of business days or months with the offset and the phase of stamps."""
    base = Grid(grid.unit)
    offset = _mode(wall - base.stamps(base.steps(wall))) if grid.unit == "start" else _mode(wall % DAY)
    offset = offset if offset < 28 * DAY else 0
    units = replace(base, offset=offset).steps(wall)
    return Grid(grid.unit, grid.stride, _mode(units % grid.stride), offset)


def _month_grid(wall: Integers) -> Grid | None:
    days, time = wall // DAY, wall % DAY
    months = month_of_day(days)
    stride = _common_step(np.diff(months))
    if stride is None or stride < 1 or np.ptp(time) > 0:
        return None
    phase = int(months[0] % stride)
    for unit in _MONTH_UNITS:
        if np.array_equal(Grid(unit).stamps(months), days * DAY):
            return Grid(unit, stride, phase, int(time[0]))
    after = wall - Grid("start").stamps(months)
    if np.ptp(after) == 0 and after[0] < 28 * DAY:
        return Grid("start", stride, phase, int(after[0]))
    return None


def _business_grid(wall: Integers) -> Grid | None:
    """Return business days if more neighbours are equally far apart in them than in days, else None."""
    grid = Grid("business", 1, 0, _mode(wall % DAY))
    numbers, days = grid.steps(wall), wall // DAY
    stride = _common_step(np.diff(numbers))
    if stride is None or not ((days + 3) % 7 < 5).all():
        return None
    alike = (np.diff(numbers) == stride).mean()
    if alike <= (np.diff(days) == _mode(np.diff(days))).mean():
        return None
    return replace(grid, stride=stride, phase=int(numbers[0] % stride))


def _tick_grid(moments: Integers, unit: str) -> Grid | None:
    distances = np.diff(moments)
    stride = _common_step(distances)
    if stride is None:
        stride = _mode(distances)
        if (distances % stride != 0).mean() > 1 - _MAJORITY:
            return None
    return Grid(unit, stride, _mode(moments % stride))


def _common_step(distances: Integers) -> int | None:
    """Return the most common or the smallest distance, whichever divides all; None if neither does."""
    for step in (_mode(distances), int(distances.min())):
        if step > 0 and not (distances % step).any():
            return step
    return None


def _mode(values: Integers) -> int:
    distinct, counts = np.unique(values, return_counts=True)
    return int(distinct[counts.argmax()])
