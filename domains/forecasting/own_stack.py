r"""Weights of single series: the stack's, moved towards what the past of one series says.

For the windows of one row the weights minimise the loss of the stack (see `stack`) with the common weights as
prior and a strength :math:`\lambda` that all rows share. It is chosen on the later part of the windows, by
weights fitted to the earlier part: of a few strengths, among them the infinite one (common weights for all),
the one with the least absolute error. Series that have nothing of their own to tell keep the common weights,
as do series that were not in the fit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .history import Floats, Integers
from .stack import Stack, fit_weights, step_ranges

__all__ = ["OwnStack"]

_STRENGTHS = (0.002, 0.01, 0.05, 0.3)
_EARLIER = 0.7  # share of the windows that strengths are compared on the rest of
_MOST_ROWS = 200
_FEWEST_WINDOWS = 20
_ITERATIONS = 3
_FOLDS = 3
_GAIN = 0.005  # by which own weights must be better than the common ones to be used


@dataclass(frozen=True, eq=False)
class OwnStack:
    """Weights of the rows of a training panel.

    Attributes
    ----------
    rows : tuple of str
        Names of the rows that have weights of their own.
    weights : ndarray of shape (rows, members, ranges)
        For each range of steps ahead.
    """

    rows: tuple[str, ...]
    weights: Floats

    @classmethod
    def fit(
        cls,
        stack: Stack,
        names: tuple[str, ...],
        row: Integers,
        origin: Integers,
        members: Floats,
        median: Floats,
        targets: Floats,
        units: Floats,
    ) -> tuple[OwnStack, Floats] | None:
        """Fit the weights of each row; None where common weights do as well.

        Parameters
        ----------
        stack : Stack
            The common weights.
        names : tuple of str
            Names of all rows.
        row, origin : ndarray of shape (windows,)
        members, median, targets, units : ndarray
            As for `Stack.fit`.

        Returns
        -------
        OwnStack
        ndarray of shape (windows, members, horizon)
            For each training window weights that have not seen its third of the row's time: with those that
            have, residuals would be too small.
        """
        present = np.unique(row)
        if not 1 < len(present) <= _MOST_ROWS or len(row) < _FEWEST_WINDOWS * len(present):
            return None
        departures, wanted = (members - median) / units, (targets - median) / units
        edges = np.array([np.quantile(origin[row == one], _EARLIER) for one in present])
        edge = edges[np.searchsorted(present, row)]
        early, later = origin <= edge, origin > edge + targets.shape[1]
        if not later.any():
            return None
        problem = _Problem(stack, present, row, departures, wanted)
        errors = {strength: problem.error(problem.fit(early, strength), later) for strength in _STRENGTHS}
        best = min(errors, key=lambda one: errors[one])
        if errors[best] > (1.0 - _GAIN) * problem.error(None, later):
            return None
        own = cls(tuple(names[one] for one in present), problem.fit(np.ones_like(early), best))
        return own, problem.unseen(origin, best)

    def weights_of(self, names: list[str], stack: Stack) -> Floats:
        """Return the weights of rows by name, shape (rows, members, horizon); the common ones if unknown."""
        place = {name: number for number, name in enumerate(self.rows)}
        ranges = step_ranges(stack.weights.shape[1])
        result = np.repeat(stack.weights[None], len(names), axis=0)
        for number, name in enumerate(names):
            if name in place:
                result[number] = self.weights[place[name]][:, ranges]
        return result


@dataclass(frozen=True, eq=False)
class _Problem:
    """The windows that weights of rows are fitted to."""

    stack: Stack
    present: Integers
    row: Integers
    departures: Floats
    wanted: Floats

    def fit(self, chosen: NDArray[np.bool_], strength: float) -> Floats:
        """Return weights of shape (rows, members, ranges)."""
        ranges = step_ranges(self.wanted.shape[1])
        result = np.empty((len(self.present), len(self.departures), int(ranges[-1]) + 1))
        for number, one in enumerate(self.present):
            here = np.flatnonzero(chosen & (self.row == one))
            for part in range(result.shape[2]):
                steps = np.flatnonzero(ranges == part)
                prior = self.stack.weights[:, steps[0]]
                result[number, :, part] = fit_weights(
                    self.departures[:, here][..., steps], self.wanted[here][:, steps], prior, strength,
                    iterations=_ITERATIONS,
                )  # fmt: skip
        return result

    def unseen(self, origin: Integers, strength: float) -> Floats:
        """Return weights of shape (windows, members, horizon) fitted without the window's block of time."""
        edges = np.stack(
            [np.quantile(origin[self.row == one], np.arange(1, _FOLDS) / _FOLDS) for one in self.present]
        )
        number = np.searchsorted(self.present, self.row)
        fold = (origin[:, None] > edges[number]).sum(axis=1)
        ranges = step_ranges(self.wanted.shape[1])
        result = np.empty((len(origin), len(self.departures), len(ranges)))
        for part in range(_FOLDS):
            here = fold == part
            result[here] = self.fit(~here, strength)[number[here]][:, :, ranges]
        return result

    def error(self, weights: Floats | None, chosen: NDArray[np.bool_]) -> float:
        """Return the mean absolute error of the chosen windows; of common weights if None are given."""
        departures, wanted = self.departures[:, chosen], self.wanted[chosen]
        if weights is None:
            combined = np.einsum("kwh,kh->wh", departures, self.stack.weights)
        else:
            own = weights[np.searchsorted(self.present, self.row[chosen])]
            own = own[:, :, step_ranges(wanted.shape[1])]
            combined = np.einsum("kwh,wkh->wh", departures, own)
        return float(np.nanmean(np.abs(wanted - combined)))
