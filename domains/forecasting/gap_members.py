r"""Cheap values for gaps, from known values on both sides, and things that have the size of their errors.

For a missing value at distances l and r from the nearest known ones, with :math:`S^{m,K}_t` the mean of the
known values among :math:`y_{t \pm km}`, :math:`k = 1..K`, for season length m, the members are

==================  ======================================================================================
line                :math:`(r\,y_{t-l} + l\,y_{t+r}) / (l + r)`; the nearest value where one side is unknown
level a             the average of known values on both sides with weights :math:`(1-a)^{|k|}`
season, K           :math:`S^{m,K}_t`
season, K + ...     :math:`S^{m,K}_t` and the line or level of the departures :math:`y - S^{m,K}`
==================  ======================================================================================

The signals of the scale are averages, on both sides of the gap, over the row, and over the same phase, of the
changes between known values and of the error that the line makes for known values, times the root of

.. math:: d = \frac{l\,r}{l + r},

to which the deviation of a Brownian bridge is proportional.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from .gap_law import distances_to_known
from .history import Floats
from .members import season_name

__all__ = ["GapPlaces", "gap_members", "gap_signals", "harmonic_distance"]

_LEVELS = (0.15, 0.4)
_RATES = (0.03, 0.3)
_COUNTS = ((1, 4), (1, 3))  # seasons on either side of the main season, and of the others
_LEAST_WEIGHT = 1e-9


@dataclass(frozen=True, eq=False)
class GapPlaces:
    """Places of rows at which something is wanted, and their distances to known values.

    Attributes
    ----------
    row, place : ndarray of int64, shape (n,)
    left, right : ndarray of shape (n,)
        Distances to the nearest known values; infinite where there is none.
    """

    row: NDArray[np.int64]
    place: NDArray[np.int64]
    left: Floats
    right: Floats

    @classmethod
    def of(cls, values: Floats, wanted: NDArray[np.bool_]) -> GapPlaces:
        """Return the wanted places of rows in which NaN marks what is not known."""
        left, right = distances_to_known(np.isnan(values))
        row, place = np.nonzero(wanted)
        return cls(row, place, left[row, place], right[row, place])

    def __len__(self) -> int:
        return len(self.row)

    def at(self, table: Floats) -> Floats:
        """Return a table's entries at the places."""
        result: Floats = table[self.row, self.place]
        return result


def harmonic_distance(left: Floats, right: Floats) -> Floats:
    """Return l r / (l + r), and the one distance where the other is infinite."""
    near, far = np.minimum(left, right), np.maximum(left, right)
    return np.where(np.isinf(far), near, near / (1.0 + near / np.where(np.isinf(far), 1.0, far)))


def gap_members(values: Floats, periods: tuple[int, ...], places: GapPlaces) -> dict[str, Floats]:
    """Return what each member puts at the places, each of shape (n,); NaN where it has nothing to go by."""
    members = {"line": places.at(_line(values))}
    for rate in _LEVELS:
        members[f"level {rate:g}"] = places.at(_two_sided(values, rate))
    for number, period in enumerate(periods):
        for count in _COUNTS[min(number, 1)]:
            name = f"{season_name(number)}, {count}"
            season = _season(values, period, count)
            departures = values - season
            mean = places.at(season)
            members[name] = mean
            members[f"{name} + line"] = mean + places.at(_line(departures))
            for rate in _LEVELS:
                members[f"{name} + level {rate:g}"] = mean + places.at(_two_sided(departures, rate))
    return members


def gap_signals(
    values: Floats, periods: tuple[int, ...], places: GapPlaces, units: Floats
) -> dict[str, Floats]:
    """Return the signals of the scale by name, each of shape (n,), without NaN.

    Parameters
    ----------
    values : ndarray of shape (rows, length)
    periods : tuple of int
    places : GapPlaces
    units : ndarray of shape (rows,)
        Stand in where a row tells nothing.
    """
    root = np.sqrt(harmonic_distance(places.left, places.right))
    root = np.where(np.isfinite(root), root, 1.0)
    fallback = units[places.row]
    changes, errors = _changes(values)
    lasting = _filled(_row_mean(changes)[places.row], fallback)
    signals = {"unit": fallback, "changes": lasting, "changes, distance": lasting * root}
    for name, table in (("changes", changes), ("line's errors", errors)):
        for rate in _RATES:
            local = _filled(places.at(_two_sided(table, rate)), lasting)
            signals[f"{name} {rate:g}"] = local
            signals[f"{name} {rate:g}, distance"] = local * root
    for number, period in enumerate(periods):
        count = max(_COUNTS[min(number, 1)])
        phase = _filled(places.at(_season(errors, period, count)), lasting)
        signals[f"line's errors, {season_name(number)}, distance"] = phase * root
        departures = np.abs(values - _season(values, period, count))
        signals[f"departures, {season_name(number)}"] = _filled(
            places.at(_season(departures, period, count)), lasting
        )
        if number == 0:
            for rate in _RATES:
                local = _filled(places.at(_two_sided(departures, rate)), lasting)
                signals[f"departures {rate:g}"] = local
    return signals


def _filled(values: Floats, fallback: Floats) -> Floats:
    return np.where(np.isnan(values), fallback, values)


def _row_mean(table: Floats) -> Floats:
    seen = ~np.isnan(table)
    count = seen.sum(axis=1)
    total = np.where(seen, table, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _neighbours(values: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the places of the last known value up to each place and of the next from it on, or -1."""
    length = values.shape[1]
    seen = ~np.isnan(values)
    place = np.arange(length)
    last = np.maximum.accumulate(np.where(seen, place, -1), axis=1)
    following = np.minimum.accumulate(np.where(seen, place, length)[:, ::-1], axis=1)[:, ::-1]
    return last, np.where(following == length, -1, following)


def _between(
    values: Floats, last: NDArray[np.int64], following: NDArray[np.int64], place: NDArray[np.int64]
) -> Floats:
    """Return the line between two places of each row, at others; a side of -1 takes the other's value."""
    before = np.take_along_axis(values, np.maximum(last, 0), axis=1)
    after = np.take_along_axis(values, np.maximum(following, 0), axis=1)
    share = (place - last) / np.maximum(following - last, 1)
    line = before + np.clip(share, 0.0, 1.0) * (after - before)
    return np.where(last < 0, np.where(following < 0, np.nan, after), np.where(following < 0, before, line))


def _line(values: Floats) -> Floats:
    """Return rows with gaps interpolated linearly, the nearest value at the ends."""
    return _between(values, *_neighbours(values), np.arange(values.shape[1]))


def _changes(values: Floats) -> tuple[Floats, Floats]:
    """Return at known places the change per root of time, and the error of the line without that place."""
    last, following = _neighbours(values)
    length = values.shape[1]
    place = np.arange(length)
    earlier = np.concatenate([np.full((len(values), 1), -1), last[:, :-1]], axis=1)
    later = np.concatenate([following[:, 1:], np.full((len(values), 1), -1)], axis=1)
    before = np.take_along_axis(values, np.maximum(earlier, 0), axis=1)
    lag = np.where(earlier < 0, np.nan, place - earlier)
    changes = np.abs(values - before) / np.sqrt(lag)
    distance = harmonic_distance(np.maximum(lag, 1.0), np.maximum(later - place, 1).astype(np.float64))
    errors = np.abs(values - _between(values, earlier, later, place)) / np.sqrt(distance)
    return changes, np.where((earlier < 0) | (later < 0), np.nan, errors)


def _two_sided(values: Floats, rate: float) -> Floats:
    """Return the average of the known values around each place, itself left out if known, near ones first."""
    seen = ~np.isnan(values)
    keep = [1.0, -(1.0 - rate)]
    both = np.stack([np.where(seen, values, 0.0), seen.astype(np.float64)])
    forward = lfilter([1.0], keep, both, axis=-1)
    backward = lfilter([1.0], keep, both[..., ::-1], axis=-1)[..., ::-1]
    total, weight = forward + backward - 2.0 * both
    enough = weight > _LEAST_WEIGHT
    result: Floats = np.where(enough, total / np.where(enough, weight, 1.0), np.nan)
    return result


def _season(values: Floats, period: int, count: int) -> Floats:
    """Return the mean of the known values up to `count` seasons before and after each place."""
    seen = ~np.isnan(values)
    filled = np.where(seen, values, 0.0)
    total, weight = np.zeros_like(filled), np.zeros_like(filled)
    for number in range(1, count + 1):
        back = number * period
        if back >= values.shape[1]:
            break
        total[:, back:] += filled[:, :-back]
        weight[:, back:] += seen[:, :-back]
        total[:, :-back] += filled[:, back:]
        weight[:, :-back] += seen[:, back:]
    return np.where(weight > 0, total / np.maximum(weight, 1.0), np.nan)
