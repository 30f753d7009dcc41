r"""What is known at an origin: past values of many series, and averages of them, without a look ahead.

A *row* is one series (one channel of one). An *origin* is a position in time: values up to and including it
are known. `Windows` pairs rows with origins; every quantity that a forecast uses is gathered for such pairs,
so all series and all origins are one array operation. Nothing read at origin o depends on values after o.

The exponential average with rate :math:`a` over the values seen so far is

.. math:: \ell_t = \frac{\sum_{k \ge 0} (1-a)^k\, m_{t-k}\, y_{t-k}}{\sum_{k \ge 0} (1-a)^k\, m_{t-k}},

where m is 1 for observed values and 0 for missing ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

__all__ = ["History", "Windows", "exponential_average", "gather", "seasonal_mean"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_LEAST_WEIGHT = 1e-9  # below it nothing has been seen


@dataclass(frozen=True, eq=False)
class Windows:
    """Pairs of a row and an origin.

    Attributes
    ----------
    row : ndarray of int64, shape (windows,)
    origin : ndarray of int64, shape (windows,)
        Position of the last known value; may be -1, where nothing is known.
    """

    row: Integers
    origin: Integers

    def __len__(self) -> int:
        return len(self.row)

    def take(self, selection: NDArray[np.bool_] | Integers) -> Windows:
        """Return some of the windows."""
        return Windows(self.row[selection], self.origin[selection])

    @classmethod
    def last(cls, n_rows: int, length: int) -> Windows:
        """Return the windows that know everything."""
        return cls(np.arange(n_rows), np.full(n_rows, length - 1))


def exponential_average(values: Floats, rate: float) -> Floats:
    """Return the average of the values seen so far, the recent ones counting most; NaN before the first."""
    seen = ~np.isnan(values)
    keep = [1.0, -(1.0 - rate)]
    total = lfilter([1.0], keep, np.where(seen, values, 0.0), axis=-1)
    weight = lfilter([1.0], keep, seen.astype(np.float64), axis=-1)
    enough = weight > _LEAST_WEIGHT
    result: Floats = np.where(enough, total / np.where(enough, weight, 1.0), np.nan)
    return result


def gather(values: Floats, windows: Windows, offsets: Integers) -> Floats:
    """Return ``values[row, origin + offset]``, NaN beyond the ends.

    Parameters
    ----------
    values : ndarray of shape (rows, length)
    windows : Windows
    offsets : ndarray of shape (k,) or (windows, k)

    Returns
    -------
    ndarray of shape (windows, k)
    """
    places = windows.origin[:, None] + offsets
    inside = (places >= 0) & (places < values.shape[1])
    found = values[windows.row[:, None], np.clip(places, 0, values.shape[1] - 1)]
    return np.where(inside, found, np.nan)


def seasonal_mean(values: Floats, windows: Windows, horizon: int, period: int, count: int) -> Floats:
    r"""Return the mean of the last `count` values at the phase of each step ahead.

    Parameters
    ----------
    values : ndarray of shape (rows, length)
    windows : Windows
    horizon, period, count : int
        Steps ahead, season length, and how many seasons to look back; missing values are left out.

    Returns
    -------
    ndarray of shape (windows, horizon)
        NaN where no value of that phase is known.
    """
    ahead = np.arange(1, horizon + 1)
    nearest = ahead - -(-ahead // period) * period  # the last known value of the same phase, <= 0
    total = np.zeros((len(windows), horizon))
    weight = np.zeros((len(windows), horizon))
    for season in range(count):
        found = gather(values, windows, nearest - season * period)
        seen = ~np.isnan(found)
        total += np.where(seen, found, 0.0)
        weight += seen
    return np.where(weight > 0, total / np.maximum(weight, 1.0), np.nan)


class History:
    """Past values of many rows.

    Parameters
    ----------
    values : ndarray of shape (rows, length)
        NaN where missing.

    Attributes
    ----------
    observed : ndarray of shape (rows, length)
        The values as given.
    """

    def __init__(self, values: Floats) -> None:
        self.observed = values
        seen = ~np.isnan(values)
        position = np.arange(values.shape[1])
        self._last_seen = np.maximum.accumulate(np.where(seen, position, -1), axis=1)
        self._between = _interpolated(values)

    @property
    def length(self) -> int:
        """Number of positions."""
        return int(self.observed.shape[1])

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return int(self.observed.shape[0])

    def context(self, windows: Windows, length: int) -> Floats:
        """Return the last `length` values before each origin, gaps filled from what is known there.

        Inside a gap values are interpolated linearly; after the last known value it is repeated. Positions
        before a row began hold its first known value; a row without any known value holds NaN.
        """
        offsets = np.arange(1 - length, 1)
        places = np.clip(windows.origin[:, None] + offsets, 0, self.length - 1)
        known_end = self._last_seen[windows.row, np.maximum(windows.origin, 0)]
        known_end = np.where(windows.origin >= 0, known_end, -1)
        places = np.minimum(places, np.maximum(known_end, 0)[:, None])
        filled = self._between[windows.row[:, None], places]
        return np.where(known_end[:, None] >= 0, filled, np.nan)


def _interpolated(values: Floats) -> Floats:
    """Return the rows with gaps interpolated and the first value before the beginning."""
    result = values.copy()
    position = np.arange(values.shape[1])
    for row in np.flatnonzero(np.isnan(values).any(axis=1)):
        seen = ~np.isnan(values[row])
        if seen.any():
            result[row] = np.interp(position, position[seen], values[row, seen])
    return result
