r"""The base inside gaps: location and scale of every missing value from known ones on both sides.

As for the steps ahead (`stack`, `spread`), the location is a non-negative stack of cheap values and the
scale a non-negative mixture of signals, see `gap_members`; both are fitted to values that were hidden from
copies of the training series (`gap_masks`). What steps ahead are there are classes of the harmonic distance
to the nearest known values here. The standardised residuals of hidden values have unit mean square in every
class, and neighbouring ones are correlated as in `gap_law`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .gap_law import estimate_persistence
from .gap_members import GapPlaces, gap_members, gap_signals, harmonic_distance
from .history import Floats
from .spread import Spread
from .stack import Stack, members_array

__all__ = ["GapBase", "GapFill"]

_EDGES = np.array([0.5, 0.75, 1.2, 2.5, 6.0])  # of the classes of harmonic distance
_CLIP = 8.0
_FLOOR = 1e-3  # of the unit, as in `spread`


class GapFill(NamedTuple):
    """Rows with location and scale where a value is missing.

    Attributes
    ----------
    location : ndarray of shape (rows, length)
        Observed values as they are.
    scale : ndarray of shape (rows, length)
        0 at observed values.
    """

    location: Floats
    scale: Floats


@dataclass(frozen=True, eq=False)
class GapBase:
    """The fitted gap base.

    Attributes
    ----------
    periods : tuple of int
    stack : Stack
    spread : Spread
        Weights a member or signal and class of distance.
    std : ndarray of shape (classes,)
        Root mean squares of the residuals that the scale alone standardised.
    phi : float in [0, 1)
        Persistence of residuals in a gap.
    """

    periods: tuple[int, ...]
    stack: Stack
    spread: Spread
    std: Floats
    phi: float

    @classmethod
    def fit(cls, copies: Floats, truth: Floats, periods: tuple[int, ...], units: Floats) -> GapBase:
        """Fit to copies of rows in which values were hidden.

        Parameters
        ----------
        copies : ndarray of shape (copies, rows, length)
            NaN where hidden or missing.
        truth : ndarray of shape (rows, length)
        periods : tuple of int
        units : ndarray of shape (rows,)
            Typical size of the changes of each row, > 0.
        """
        values = copies.reshape(-1, copies.shape[2])
        targets = np.tile(truth, (len(copies), 1))
        sizes = np.tile(units, len(copies))
        places = GapPlaces.of(values, np.isnan(values) & ~np.isnan(targets))
        members = gap_members(values, periods, places)
        signals = gap_signals(values, periods, places, sizes)
        wanted, scale = places.at(targets), sizes[places.row]
        stacked, median = members_array(members, tuple(members))
        known = np.isfinite(median)
        classes = _classes(places)
        unit = scale[:, None]
        stack = Stack.fit(
            tuple(members),
            _spread_out(stacked, classes),
            _spread_out(median, classes),
            _spread_out(np.where(known, wanted, np.nan), classes),
            unit,
        )
        location = _combined_location(stack, stacked, median, classes)
        signals |= _further_signals(stacked, location)
        left = np.where(known, wanted - location, np.nan)
        spread = Spread.fit(
            {name: _spread_out(one, classes) for name, one in signals.items()},
            _spread_out(left, classes),
            unit,
        )
        residual = (wanted - location) / _combined_scale(spread, signals, scale, classes)
        std = _root_mean_squares(residual, classes)
        return cls(periods, stack, spread, std, _persistence(places, residual / std[classes]))

    def fill(self, values: Floats, units: Floats, wanted: NDArray[np.bool_] | None = None) -> GapFill:
        """Return location and scale of what is missing in rows of shape (rows, length).

        Parameters
        ----------
        values : ndarray of shape (rows, length)
            NaN where missing; every row has a known value.
        units : ndarray of shape (rows,)
        wanted : ndarray of bool, shape (rows, length), optional
            Places to fill; by default all that are missing.
        """
        missing = np.isnan(values)
        places = GapPlaces.of(values, missing if wanted is None else wanted & missing)
        location, scale = values.copy(), np.zeros_like(values)
        if not len(places):
            return GapFill(location, scale)
        stacked, median = members_array(gap_members(values, self.periods, places), self.stack.names)
        signals = gap_signals(values, self.periods, places, units)
        classes = _classes(places)
        found = _combined_location(self.stack, stacked, median, classes)
        signals |= _further_signals(stacked, found)
        size = _combined_scale(self.spread, signals, units[places.row], classes)
        location[places.row, places.place] = found
        scale[places.row, places.place] = size * self.std[classes]
        return GapFill(location, scale)


def _classes(places: GapPlaces) -> NDArray[np.int64]:
    return np.searchsorted(_EDGES, harmonic_distance(places.left, places.right), side="left")


def _spread_out(values: Floats, classes: NDArray[np.int64]) -> Floats:
    """Return values of shape (..., n) as (..., n, classes), NaN in all but their own class."""
    result = np.full((*values.shape, len(_EDGES) + 1), np.nan)
    result[..., np.arange(len(classes)), classes] = values
    return result


def _combined_location(stack: Stack, members: Floats, median: Floats, classes: NDArray[np.int64]) -> Floats:
    result: Floats = median + ((members - median) * stack.weights[:, classes]).sum(axis=0)
    return result


def _combined_scale(
    spread: Spread, signals: dict[str, Floats], units: Floats, classes: NDArray[np.int64]
) -> Floats:
    result: Floats = _FLOOR * units
    for name, weights in zip(spread.names, spread.weights, strict=True):
        result = result + weights[classes] * signals[name]
    return result


def _further_signals(members: Floats, location: Floats) -> dict[str, Floats]:
    return {"disagreement": members.std(axis=0), "size": np.abs(location)}


def _root_mean_squares(residual: Floats, classes: NDArray[np.int64]) -> Floats:
    squares = np.clip(np.nan_to_num(residual), -_CLIP, _CLIP) ** 2
    count = len(_EDGES) + 1
    total = np.bincount(classes, weights=squares, minlength=count)
    pooled = (squares.sum() + 1.0) / (len(squares) + 1.0)
    # A class that is hardly ever seen has the deviation of all.
    result: Floats = np.sqrt((total + 20.0 * pooled) / (np.bincount(classes, minlength=count) + 20.0))
    return result


def _persistence(places: GapPlaces, residual: Floats) -> float:
    # Pairs known from one side alone are few, and their scale is the least certain.
    between = np.isfinite(places.left + places.right)
    following = (np.diff(places.row) == 0) & (np.diff(places.place) == 1) & between[1:]
    second = np.flatnonzero(following) + 1
    clipped = np.clip(np.nan_to_num(residual), -_CLIP, _CLIP)
    return estimate_persistence(
        clipped[second] * clipped[second - 1], places.left[second], places.right[second]
    )
