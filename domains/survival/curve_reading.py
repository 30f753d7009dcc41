"""Reading curves off generated draws: what all predictions of `SDPMSurvival` stand on."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from .conformal_bound import censoring_survival_at
from .draws import Draws
from .kaplan_meier import KaplanMeierCurves
from .step_functions import step_functions

__all__ = ["CurveReading", "Effort", "Functions", "times_array"]

Floats = NDArray[np.float64]
Functions = NDArray[np.object_]
Quantity = Literal["event", "censoring"]

#: Draws behind each curve and network evaluations for a draw; None leaves the fitted model's own number.
Effort = tuple[int | None, int | None]

_FAR = 1.1  # times the longest training time: held-out patients may be followed a little longer


class CurveReading:
    """Kaplan-Meier curves of all rows, for an estimator that can draw (``_over_chunks``)."""

    unique_times_: Floats
    _tail_shape_: float | None
    _over_chunks: Callable[..., list[Any]]

    def _longest_time(self) -> np.float64:
        check_is_fitted(self)
        longest: np.float64 = self.unique_times_[-1]
        return longest

    def _survival_and_follow_up(self, X: Any, times: Floats) -> tuple[Floats, Floats]:
        """Return S(t | x) = P(T > t) and P(C >= t | x) at one time a row."""

        def read(draws: Draws, rows: slice) -> Floats:
            at = times[rows, None]
            event = draws.curves()
            censoring = draws.curves("censoring")
            return np.concatenate([event.survival_at(at), censoring_survival_at(censoring, at)], axis=1)

        both = np.concatenate(self._over_chunks(X, read))
        return both[:, 0], both[:, 1]

    def _from_curves(
        self,
        X: Any,
        effort: Effort,
        read: Callable[[KaplanMeierCurves, slice], Floats],
        of: Quantity = "event",
    ) -> Floats:
        """Return what `read` finds on the Kaplan-Meier curves of all rows."""

        def reduce(draws: Draws, rows: slice) -> Floats:
            return read(draws.curves(of), rows)

        return np.concatenate(self._over_chunks(X, reduce, n_draws=effort[0], nfe=effort[1]))

    def _curve_values(
        self,
        X: Any,
        of: Quantity,
        times: ArrayLike | None,
        effort: Effort,
        read: Callable[[KaplanMeierCurves, ArrayLike], Floats],
    ) -> Floats:
        self._longest_time()
        points = self.unique_times_ if times is None else checked_times(times)
        return self._from_curves(X, effort, lambda curves, rows: read(curves, points), of)

    def _event_curve_values(
        self,
        X: Any,
        times: ArrayLike | None,
        effort: Effort,
        read: Callable[[KaplanMeierCurves, ArrayLike], Floats],
        continued: Callable[[Floats, Floats, Floats, float, float], Floats],
    ) -> Floats:
        """Return values of curves of the event, continued beyond the longest training time."""
        last = float(self._longest_time())
        points = None if times is None else checked_times(times)
        if points is None or self._tail_shape_ is None or points.max() <= last or last == 0.0:
            return self._curve_values(X, "event", points, effort, read)
        if points.max() > _FAR * last:
            warnings.warn(
                f"times up to {points.max():g} were asked for, and the longest training time is {last:g}: "
                "curves are continued beyond it by a Weibull hazard, which no observation supports",
                UserWarning,
                stacklevel=3,
            )
        values = self._curve_values(X, "event", np.append(points, last), effort, read)
        return continued(values[:, :-1], values[:, -1:], points, last, self._tail_shape_)

    def _functions(self, values: Floats, times: ArrayLike | None, before: float) -> Functions:
        points = self.unique_times_ if times is None else checked_times(times)
        ascending, first = np.unique(points, return_index=True)
        return step_functions(ascending, values[:, first], before=before)


def times_array(name: str, values: ArrayLike) -> Floats:
    """Return values as float64, or raise a ValueError that names them."""
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must hold numbers, got {values!r:.80}") from error


def checked_times(times: ArrayLike) -> Floats:
    """Return the ``times`` argument of a prediction, or raise a ValueError."""
    points = np.atleast_1d(times_array("times", times))
    if points.ndim != 1 or points.size == 0 or not np.isfinite(points).all() or (points < 0.0).any():
        raise ValueError("times must be a list of finite times >= 0, in the unit of the training times")
    return points
