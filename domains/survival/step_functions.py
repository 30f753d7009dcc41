"""Right-continuous step functions as scikit-survival users know them.

f(z) = y_i for x_i <= z < x_{i+1}. The object is callable and has ``x``, ``y`` and ``domain``, so metrics and
scorers that ask an estimator for survival functions accept it. scikit-survival itself is not imported.

Two things differ, both for the better of survival curves: an array in gives an array of the same shape out,
also for one element, and ``before`` can say what holds between the lower end of the domain and x_0
(1 for a survival function) where scikit-survival repeats y_0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["StepFunction", "step_functions"]

FloatArray = NDArray[np.float64]


class StepFunction:
    """A callable right-continuous step function.

    Parameters
    ----------
    x : array-like of shape (n_points,)
        Where the function steps, strictly ascending, in the unit of the times.
    y : array-like of shape (n_points,)
        Value from x_i on.
    before : float, optional
        Value between the lower end of the domain and x_0; y_0 if not given.
    domain : tuple of (float or None, float or None)
        Closed interval outside which a call raises; None stands for x_0 below and x_{n-1} above. An upper
        end beyond x_{n-1}, such as infinity, extends the last value.

    Raises
    ------
    ValueError
        If x and y are not one-dimensional of equal length >= 1, or x does not ascend.
    """

    def __init__(
        self,
        x: ArrayLike,
        y: ArrayLike,
        *,
        before: float | None = None,
        domain: tuple[float | None, float | None] = (0.0, None),
    ) -> None:
        self.x: FloatArray = np.asarray(x, dtype=np.float64)
        self.y: FloatArray = np.asarray(y, dtype=np.float64)
        if self.x.ndim != 1 or self.x.shape != self.y.shape or self.x.size == 0:
            raise ValueError(
                f"x and y must be one-dimensional and equally long, got {self.x.shape} and {self.y.shape}"
            )
        if not (np.diff(self.x) > 0).all():
            raise ValueError("x must be strictly ascending")
        self.before = float(self.y[0] if before is None else before)
        lower = self.x[0] if domain[0] is None else domain[0]
        upper = self.x[-1] if domain[1] is None else domain[1]
        self._domain = (float(lower), float(upper))

    @property
    def domain(self) -> tuple[float, float]:
        """Closed interval of the arguments that a call accepts."""
        return self._domain

    def __call__(self, x: ArrayLike) -> FloatArray | np.float64:
        """Evaluate the function.

        Parameters
        ----------
        x : float or array-like
            Arguments within ``domain``.

        Returns
        -------
        float or ndarray
            Values in the shape of ``x``.

        Raises
        ------
        ValueError
            If an argument is not finite or lies outside the domain.
        """
        points = np.asarray(x, dtype=np.float64)
        if not np.isfinite(points).all():
            raise ValueError("x must be finite")
        lower, upper = self._domain
        if ((points < lower) | (points > upper)).any():
            raise ValueError(
                f"x must lie within the domain [{lower:g}, {upper:g}], "
                f"got values from {points.min():g} to {points.max():g}"
            )
        passed = np.searchsorted(self.x, points, side="right")
        values: FloatArray | np.float64 = np.concatenate([[self.before], self.y])[passed]
        return values

    def __eq__(self, other: object) -> bool:
        """Compare points, values and domain."""
        if not isinstance(other, StepFunction):
            return NotImplemented
        return (
            np.array_equal(self.x, other.x)
            and np.array_equal(self.y, other.y)
            and self.before == other.before
            and self.domain == other.domain
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Show points and values."""
        return f"StepFunction(x={self.x!r}, y={self.y!r}, before={self.before!r}, domain={self.domain!r})"


def step_functions(
    x: ArrayLike,
    values: ArrayLike,
    *,
    before: float | None = None,
    domain: tuple[float | None, float | None] = (0.0, None),
) -> NDArray[np.object_]:
    """Wrap each row of a table into a step function over common points.

    Parameters
    ----------
    x : array-like of shape (n_points,)
        Common points, strictly ascending.
    values : array-like of shape (rows, n_points)
        One function a row.
    before, domain
        As for `StepFunction`.

    Returns
    -------
    ndarray of shape (rows,) and dtype object
        The functions, as scikit-survival's estimators return them.
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2:
        raise ValueError(f"values must have shape (rows, n_points), got {table.shape}")
    functions = np.empty(len(table), dtype=object)
    for row, y in enumerate(table):
        functions[row] = StepFunction(x, y, before=before, domain=domain)
    return functions
