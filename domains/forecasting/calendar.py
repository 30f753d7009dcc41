r"""Steps and stamps: the regular moments of a frequency, numbered so that a number means the same everywhere.

A `Grid` numbers the moments of a frequency. With the stride :math:`k` and the phase :math:`p`, step :math:`s`
is the moment

===================  ==========================================================================
unit                 moment of step :math:`s`
===================  ==========================================================================
integer              the integer :math:`p + s k`
tick                 :math:`p + s k` nanoseconds after 1970-01-01 00:00
business             business day :math:`p + s k` after Thursday, 1970-01-01, plus the offset
start, end           first or last day of month :math:`p + s k` after January 1970, plus the offset
business start, end  first or last business day of that month, plus the offset
===================  ==========================================================================

with :math:`0 \le p < k`, so that step 0 is the first such moment from 1970 on. Minutes, hours, days and weeks
are ticks; quarters and years are strides of 3 and 12 months. ``step % season_length`` is therefore a phase
that all series of a frequency share, whenever they begin. `Grid.stamps` and `Grid.steps` are exact inverses.

In a time zone, strides of whole days and longer are steps of the local calendar, and shorter ones are steps
of elapsed time (of UTC): the hour that is missing in spring and the one that comes twice in autumn are then
neither a gap nor a duplicate.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from math import gcd
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

__all__ = ["Grid", "default_season_length", "grid_of_frequency", "stamps_of_steps", "steps_of_stamps"]

Integers = NDArray[np.int64]

DAY = 86_400 * 10**9
_TICKS = {
    "D": DAY, "h": 3_600 * 10**9, "min": 60 * 10**9, "s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1,
}  # fmt: skip
_OLD_TICKS = {"H": "h", "T": "min", "S": "s", "L": "ms", "U": "us", "N": "ns"}
_OLD_MONTHS = {"M": "ME", "BM": "BME", "Q": "QE", "BQ": "BQE", "A": "YE", "Y": "YE", "AS": "YS", "BA": "BYE",
               "BY": "BYE", "BAS": "BYS"}  # fmt: skip
_WEEKDAYS = ("THU", "FRI", "SAT", "SUN", "MON", "TUE", "WED")  # day 0 of 1970 was a Thursday
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_SIDES = {"S": "start", "E": "end", "BS": "business start", "BE": "business end"}
_PART = re.compile(r"(\d*)([A-Za-z]+)(?:-([A-Z]{3}))?")


@dataclass(frozen=True)
class Grid:
    """The numbered moments of a frequency.

    Parameters
    ----------
    unit : {"integer", "tick", "business", "start", "end", "business start", "business end"}
        What the stride counts: integers, nanoseconds, business days, or months of which a day is taken.
    stride : int
        Units from one step to the next.
    phase : int
        Unit of step 0, in [0, stride).
    offset : int
        Nanoseconds from the day of business days and months to the moment, such as a time of the day; a tick
        holds it in its phase.
    """

    unit: str
    stride: int = 1
    phase: int = 0
    offset: int = 0

    @property
    def name(self) -> str | None:
        """Pandas' name of the frequency; None for integers."""
        if self.unit == "integer":
            return None
        if self.unit == "business":
            return _multiple(self.stride, "B")
        return self._tick_name() if self.unit == "tick" else self._month_name()

    def _tick_name(self) -> str:
        if self.stride % (7 * DAY) == 0:
            return _multiple(self.stride // (7 * DAY), f"W-{_WEEKDAYS[self.phase // DAY % 7]}")
        unit = next(name for name, length in _TICKS.items() if self.stride % length == 0)
        return _multiple(self.stride // _TICKS[unit], unit)

    def _month_name(self) -> str:
        side = next(letter for letter, unit in _SIDES.items() if unit == self.unit)
        business, end = ("B" if len(side) == 2 else ""), side[-1]
        if self.stride % 12 == 0:
            return _multiple(self.stride // 12, f"{business}Y{end}-{_MONTHS[self.phase % 12]}")
        if self.stride % 3 == 0:
            anchor = self.phase % 3 + (9 if end == "E" else 0)
            return _multiple(self.stride // 3, f"{business}Q{end}-{_MONTHS[anchor]}")
        return _multiple(self.stride, f"{business}M{end}")

    @property
    def local(self) -> bool:
        """Whether steps follow the local calendar of a time zone, and not elapsed time."""
        return self.unit != "tick" or self.stride % DAY == 0

    def stamps(self, steps: ArrayLike) -> Integers:
        """Return the moments of absolute steps: integers, or nanoseconds after 1970-01-01 00:00.

        Raises
        ------
        ValueError
            If a moment lies outside the years 1678 to 2261, which nanoseconds cannot count.
        """
        number = np.asarray(steps, dtype=np.int64)
        self._check_range(number)
        units = self.phase + number * self.stride
        if self.unit in ("integer", "tick"):
            return units
        days = _day_of_business(units) if self.unit == "business" else _day_of_month(units, self.unit)
        return days * DAY + self.offset

    def steps(self, stamps: ArrayLike) -> Integers:
        """Return the last step at or before each moment; where `stamps` of it differs, the moment is none."""
        moment = np.asarray(stamps, dtype=np.int64)
        if self.unit in ("integer", "tick"):
            return (moment - self.phase) // self.stride
        days = (moment - self.offset) // DAY
        units = _business_of_day(days) if self.unit == "business" else month_of_day(days)
        steps = (units - self.phase) // self.stride
        return steps - (self.stamps(steps) > moment)

    def _check_range(self, steps: Integers) -> None:
        if self.unit == "integer" or steps.size == 0:
            return
        days = {"tick": 1 / DAY, "business": 1.4}.get(self.unit, 30.44) * self.stride
        extreme = max(abs(int(steps.min())), abs(int(steps.max())))
        if extreme * days > 106_400:
            raise ValueError(
                f"step {extreme} of frequency {self.name!r} lies outside the years 1678 to 2261, "
                "which pandas' nanoseconds can count; use integers as stamps"
            )


def grid_of_frequency(frequency: Any) -> Grid:
    """Return the grid of a frequency as pandas numbers and anchors it.

    Parameters
    ----------
    frequency : None, int, str, pandas offset, Timedelta or timedelta64
        A name ("h", "30min", "D", "B", "W-MON", "MS", "QE-DEC", "YS", multiples of them such as "2W", and the
        names of older pandas such as "H" and "M"), or an offset; an int, or None for 1, counts integers.

    Raises
    ------
    ValueError
        If the name is not known or its moments are not regular enough to be numbered (half months, business
        hours, custom calendars).
    """
    if frequency is None:
        return Grid("integer")
    if isinstance(frequency, Integral) and not isinstance(frequency, bool | np.timedelta64):
        if frequency < 1:
            raise ValueError(f"frequency must be a positive number of steps or a name, got {frequency}")
        return Grid("integer", int(frequency))
    if isinstance(frequency, pd.offsets.BaseOffset):
        frequency = frequency.freqstr
    elif not isinstance(frequency, str):
        length = int(pd.Timedelta(frequency).as_unit("ns").value)
        return _regular(Grid("tick", length), frequency)
    return _grid_of_name(frequency)


@lru_cache(maxsize=256)
def _grid_of_name(name: str) -> Grid:
    parts = [match.groups() for match in _PART.finditer(name)]
    if not parts or "".join(match.group() for match in _PART.finditer(name)) != name:
        raise _unknown(name)
    if len(parts) == 1:
        return _regular(_grid_of_part(name, *parts[0]), name)
    grids = [_grid_of_part(name, *part) for part in parts]
    if any(grid.unit != "tick" for grid in grids):
        raise _unknown(name)
    return _regular(Grid("tick", sum(grid.stride for grid in grids)), name)


def _grid_of_part(name: str, count: str, unit: str, anchor: str | None) -> Grid:
    multiple = int(count or 1)
    unit = _OLD_TICKS.get(unit, _OLD_MONTHS.get(unit, unit))
    if unit in _TICKS and anchor is None:
        return Grid("tick", multiple * _TICKS[unit])
    if unit == "W" and (anchor or "SUN") in _WEEKDAYS:
        return Grid("tick", multiple * 7 * DAY, _WEEKDAYS.index(anchor or "SUN") * DAY)
    if unit == "B" and anchor is None:
        return Grid("business", multiple)
    match = re.fullmatch(r"(B?)([MQY])([SE])", unit)
    if match is None or (anchor is not None and (anchor not in _MONTHS or match[2] == "M")):
        raise _unknown(name)
    base = {"M": 1, "Q": 3, "Y": 12}[match[2]]
    month = _MONTHS.index(anchor) if anchor else (0 if match[3] == "S" else 11)
    return Grid(_SIDES[match[1] + match[3]], multiple * base, month % base)


def _regular(grid: Grid, name: Any) -> Grid:
    if grid.stride < 1:
        raise ValueError(f"frequency must be longer than nothing, got {name!r}")
    return grid


def _unknown(name: str) -> ValueError:
    return ValueError(
        f"frequency {name!r} is not one that steps can be counted in; expected a multiple of ns, us, ms, "
        "s, min, "
        "h, D, B, W, MS, ME, QS, QE, YS, YE (or of BMS, BME, BQS, BQE, BYS, BYE), or integers as stamps"
    )


def _multiple(count: int, name: str) -> str:
    return name if count == 1 else f"{count}{name}"


def _day_of_business(number: Integers) -> Integers:
    return (number + 3) // 5 * 7 + (number + 3) % 5 - 3


def _business_of_day(days: Integers) -> Integers:
    # A weekend counts as the Friday before it.
    return (days + 3) // 7 * 5 + np.minimum((days + 3) % 7, 4) - 3


def month_of_day(days: Integers) -> Integers:
    """Return the month after January 1970 of a day after 1970-01-01."""
    return days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)


def _day_of_month(months: Integers, unit: str) -> Integers:
    after = months + 1 if unit.endswith("end") else months
    days = after.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    if unit.endswith("end"):
        days = days - 1
    late = (days + 3) % 7 - 4  # 1 on Saturdays, 2 on Sundays
    if unit == "business start":
        return days + np.where(late > 0, 3 - late, 0)
    return days - np.maximum(late, 0) if unit == "business end" else days


def stamps_of_steps(
    steps: ArrayLike, frequency: Any, *, phase: int | None = None, offset: int = 0
) -> NDArray[Any]:
    """Return the moments of absolute steps.

    Parameters
    ----------
    steps : array-like of int
        Absolute steps, of any shape.
    frequency : None, int, str or pandas offset
        See `grid_of_frequency`.
    phase, offset : int, optional
        Where the moments lie within the stride, see `Grid`; by default where the name says.

    Returns
    -------
    ndarray of the shape of `steps`
        datetime64[ns], or int64 where the frequency counts integers.

    Examples
    --------
    >>> stamps_of_steps([0, 1, 2], "ME").astype("datetime64[D]").tolist()
    [datetime.date(1970, 1, 31), datetime.date(1970, 2, 28), datetime.date(1970, 3, 31)]
    """
    grid = grid_of_frequency(frequency)
    grid = replace(grid, phase=grid.phase if phase is None else phase, offset=offset)
    moments = grid.stamps(steps)
    return moments if grid.unit == "integer" else moments.astype("datetime64[ns]")


def steps_of_stamps(stamps: Any, frequency: Any, *, phase: int | None = None, offset: int = 0) -> Integers:
    """Return the absolute steps of moments, the inverse of `stamps_of_steps`.

    Parameters
    ----------
    stamps : array-like of datetime64 without a time zone, or of int
        Moments, of any shape.
    frequency, phase, offset
        As in `stamps_of_steps`.

    Raises
    ------
    ValueError
        If a moment is missing or lies between two steps.
    """
    grid = grid_of_frequency(frequency)
    grid = replace(grid, phase=grid.phase if phase is None else phase, offset=offset)
    array = np.asarray(stamps)
    if grid.unit != "integer":
        array = array.astype("datetime64[ns]")
        if np.isnat(array).any():
            raise ValueError("stamps holds missing stamps (NaT)")
    moments = array.astype(np.int64)
    steps = grid.steps(moments)
    wrong = grid.stamps(steps) != moments
    if wrong.any():
        raise ValueError(
            f"stamps holds {array[wrong].flat[0]}, which is no moment of frequency {grid.name!r}"
        )
    return steps


def default_season_length(frequency: Any) -> int:
    """Return the number of steps of the cycle that series of a frequency most often have.

    A day for steps of a minute to a day (h 24, 30min 48, 10min 144), an hour or a second for shorter ones, a
    week for days (D 7, B 5), a year for longer ones (W 52, MS 12, QS 4, YS 1), and 1 for integers. A stride
    that does not divide the cycle takes the fewest steps that make whole cycles (2D 7, 7h 24).

    Parameters
    ----------
    frequency : None, int, str or pandas offset
        See `grid_of_frequency`.
    """
    grid = grid_of_frequency(frequency)
    cycle = {"integer": 1, "business": 5}.get(grid.unit, 12)
    if grid.unit == "tick":
        cycle = _tick_cycle(grid.stride)
    return 1 if grid.unit == "integer" else cycle // gcd(cycle, grid.stride)


def _tick_cycle(stride: int) -> int:
    if stride % (7 * DAY) == 0:
        return 52 * 7 * DAY
    if stride % DAY == 0:
        return 7 * DAY
    if stride < _TICKS["s"]:
        return _TICKS["s"]
    return DAY if stride >= _TICKS["min"] else _TICKS["h"]
