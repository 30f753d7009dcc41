"""Where the rows of a frame stand: duplicates, gaps and mixed frequencies, refused with their series."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from .calendar import Integers
from .frame_columns import SeriesKey, Stamps

__all__ = ["GapWarning", "check_distinct", "check_frequencies", "check_lengths", "report_gaps", "too_hollow"]

_STRETCH = (
    12  # neighbours that far apart alike by chance: below 1e-7 a row, even with half of all rows missing
)
_ALIKE = 1.2  # months measured in days differ by less
_SPARSE = 50
_SHORT = 10_000


class GapWarning(UserWarning):
    """Stamps between the first and the last of a series were left out and count as missing values."""


def check_distinct(argument: str, key: SeriesKey, steps: Integers, stamps: Stamps) -> None:
    """Raise ValueError, naming series and stamp, if a series has two rows of one step."""
    order = _order(key.codes, steps)
    codes, sorted_steps = key.codes[order], steps[order]
    twice = (np.diff(codes) == 0) & (np.diff(sorted_steps) == 0)
    if not twice.any():
        return
    row = int(order[1:][twice][0])
    wrong = np.zeros(len(steps), dtype=bool)
    wrong[order[1:][twice]] = True
    zone = "" if stamps.wall is None or stamps.frame_format.time_zone is not None else (
        " (where clocks were set back, stamps need a time zone)"
    )  # fmt: skip
    raise ValueError(
        f"{argument} has more than one row of one stamp in {key.of_rows(wrong)}, first {stamps.text(row)} of "
        f"{key.names[key.codes[row]]!r}; keep or aggregate one of them{zone}"
    )


def check_lengths(key: SeriesKey, lengths: Integers) -> None:
    """Raise ValueError if a series is nearly all gap, as one wrong year in a stamp makes it."""
    rows = np.bincount(key.codes, minlength=len(lengths))
    hollow = np.flatnonzero(too_hollow(lengths, rows))
    if hollow.size:
        worst = hollow[0]
        raise ValueError(
            f"{key.of_series(hollow)} {'is' if hollow.size == 1 else 'are'} nearly all gap: {rows[worst]} "
            f"rows within {lengths[worst]} steps; look for wrong stamps, or give a longer frequency"
        )


def too_hollow(lengths: Integers, rows: Integers) -> NDArray[np.bool_]:
    """Return which series have so few of their rows that a stamp must be wrong."""
    return (lengths > _SHORT) & (lengths > _SPARSE * rows)


def report_gaps(key: SeriesKey, lengths: Integers, policy: str) -> None:
    """Warn about, refuse or pass over steps without a row, as `policy` says ("warn", "refuse", "fill")."""
    missing = lengths - np.bincount(key.codes, minlength=len(lengths))
    holed = np.flatnonzero(missing)
    if not holed.size or policy == "fill":
        return
    text = (
        f"{holed.size} of {len(lengths)} series have gaps, {int(missing.sum())} stamps in all: "
        f"{key.of_series(holed)}"
    )
    if policy == "refuse":
        raise ValueError(f"{text}; add the rows, with NaN where nothing is known")
    warnings.warn(f"{text}; the rows count as missing values", GapWarning, stacklevel=4)


def check_frequencies(key: SeriesKey, steps: Integers, frequency: str | None) -> None:
    """Raise ValueError if a series, or a long stretch of it, has a lower frequency than the others.

    A series of at least 4 rows whose stamps all are a multiple of several steps apart is of lower frequency,
    and so is a stretch of 12 neighbours that are several steps apart and alike.
    """
    order = _order(key.codes, steps)
    codes = key.codes[order]
    same = np.diff(codes) == 0
    distances = np.diff(steps[order])[same]
    owners = codes[1:][same]
    if not distances.size:
        return
    starts = np.flatnonzero(np.r_[True, np.diff(owners) != 0])
    common = np.gcd.reduceat(distances, starts)
    counts = np.diff(np.r_[starts, len(owners)])
    slow = owners[starts][(common > 1) & (counts >= 3)]
    changing = np.setdiff1d(_changing(distances, owners), slow)
    name = "1" if frequency is None else repr(frequency)
    remedy = "split the frame by frequency, or add the missing rows with NaN if values are missing"
    if slow.size:
        worst = int(common[owners[starts] == slow[0]][0])
        raise ValueError(
            f"{key.of_series(slow)} {'has' if slow.size == 1 else 'have'} a lower frequency than {name}: all "
            f"stamps of {key.names[slow[0]]!r} are multiples of {worst} steps apart; {remedy}"
        )
    if changing.size:
        raise ValueError(
            f"{key.of_series(changing)} {'changes' if changing.size == 1 else 'change'} to a lower "
            f"frequency than {name} for at least {_STRETCH} rows; {remedy}"
        )


def _changing(distances: Integers, owners: Integers) -> Integers:
    """Return the series with a stretch of neighbours that are alike and several steps apart."""
    if len(distances) < _STRETCH:
        return np.zeros(0, dtype=np.int64)
    windows = np.lib.stride_tricks.sliding_window_view(distances, _STRETCH)
    long = windows.min(axis=1) > 1
    candidates = np.flatnonzero(long & (owners[: len(long)] == owners[_STRETCH - 1 :]))
    alike = windows[candidates].max(axis=1) <= _ALIKE * windows[candidates].min(axis=1)
    return np.unique(owners[candidates[alike]])


def _order(codes: Integers, steps: Integers) -> NDArray[np.intp]:
    """Return the order by series and step, without sorting rows that are in order already."""
    later = (np.diff(codes) > 0) | ((np.diff(codes) == 0) & (np.diff(steps) >= 0))
    return np.arange(len(codes)) if later.all() else np.lexsort((steps, codes))
