"""`Panel`: the series that all parts of the forecaster work on, as right-aligned arrays.

All series of a panel share a frequency but may start and end anywhere. Rows count steps of the frequency: the
last row of series i stands at the absolute step ``last_step[i]`` and row ``j`` at
``last_step[i] - (length - 1 - j)``. Steps of dates count from 1970-01-01, so equal steps of two series are
the same moment and ``step % season_length`` is a phase that all series share. Rows before a series began hold
NaN, as does any value that is missing.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .calendar import Grid
from .calendar_features import calendar_features
from .frame_columns import names_text
from .frame_format import FrameFormat

__all__ = ["Panel"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_LARGEST = 1e100


@dataclass(frozen=True, eq=False)
class Panel:
    """Series of one frequency, right-aligned.

    Parameters
    ----------
    ids : tuple of hashable, length n
        Names of the series.
    values : ndarray of shape (n, length, channels), float64
        Observed values; NaN where missing and before a series began.
    lengths : ndarray of shape (n,), int64
        Rows of each series, missing values among them counted; the earlier rows are padding.
    last_step : ndarray of shape (n,), int64
        Absolute step of the last row of each series.
    frequency : str or None
        Pandas' name of the step ("h", "D", "W-SUN", "MS", "30min"); None where steps are plain integers.
    past : ndarray of shape (n, length, n_past), float64
        Covariates known up to the last row only.
    future : ndarray of shape (n, length + ahead, n_future), float64
        Covariates known in advance: the rows of ``values`` and ``ahead`` >= 0 more.
    static : ndarray of shape (n, n_static), float64
        Covariates that do not change.
    channel_names, past_names, future_names, static_names : tuple of str
        Names of the last axes.
    frame_format : FrameFormat
        How the user's frame looked: names and types of its columns, and where its stamps lie on their grid.

    Raises
    ------
    ValueError
        If the shapes do not fit together, or a value is infinite or beyond 1e100.
    """

    ids: tuple[Hashable, ...]
    values: Floats
    lengths: Integers
    last_step: Integers
    frequency: str | None
    past: Floats
    future: Floats
    static: Floats
    channel_names: tuple[str, ...] = ("y",)
    past_names: tuple[str, ...] = ()
    future_names: tuple[str, ...] = ()
    static_names: tuple[str, ...] = ()
    frame_format: FrameFormat = field(default_factory=FrameFormat)

    def __post_init__(self) -> None:
        count, length, channels = self.values.shape
        shapes: dict[str, tuple[Any, tuple[int, ...]]] = {
            "ids": ((len(self.ids),), (count,)),
            "lengths": (self.lengths.shape, (count,)),
            "last_step": (self.last_step.shape, (count,)),
            "channel_names": ((len(self.channel_names),), (channels,)),
            "past": (self.past.shape, (count, length, len(self.past_names))),
            "static": (self.static.shape, (count, len(self.static_names))),
            "future": (
                (*self.future.shape[:1], *self.future.shape[2:]),
                (count, len(self.future_names)),
            ),
        }
        for name, (found, wanted) in shapes.items():
            if tuple(found) != wanted:
                raise ValueError(f"{name} has shape {tuple(found)}, expected {wanted}")
        if self.future.shape[1] < length:
            raise ValueError(f"future has {self.future.shape[1]} rows, expected at least {length}")
        for name in ("values", "past", "future", "static"):
            numbers = getattr(self, name)
            if np.isinf(numbers).any():
                raise ValueError(f"{name} holds infinite values; replace them, or mark them missing with NaN")
            large = (np.abs(numbers) > _LARGEST).any(axis=tuple(range(1, numbers.ndim)))
            if large.any():
                names = names_text(self.ids[place] for place in np.flatnonzero(large))
                raise ValueError(
                    f"{name} holds numbers beyond {_LARGEST:g}, whose squares overflow, in series {names}; "
                    "use another unit, or mark them missing with NaN"
                )

    @classmethod
    def from_array(cls, values: Any, *, ids: Any = None, last_step: Any = None) -> Panel:
        """Return the panel of an array whose series all end at the same step.

        Parameters
        ----------
        values : array-like of shape (length,), (n, length) or (n, length, channels)
            The series; NaN where missing.
        ids : sequence of hashable, optional
            Names; 0, 1, ... by default.
        last_step : int or array-like of shape (n,), optional
            Absolute step of the last column; by default the columns count from 0.
        """
        array = np.array(values, dtype=np.float64)
        if array.ndim == 1:
            array = array[None, :, None]
        elif array.ndim == 2:
            array = array[..., None]
        if array.ndim != 3 or 0 in array.shape:
            raise ValueError(
                "X must have shape (n, length) or (n, length, channels), none of them 0, got "
                f"{np.shape(values)}"
            )
        count, length, channels = array.shape
        seen = np.asarray(np.isfinite(array).any(axis=2))
        begun = np.where(seen.any(axis=1), seen.argmax(axis=1), length)
        last = np.full(count, length - 1) if last_step is None else np.broadcast_to(last_step, (count,))
        names = ("y",) if channels == 1 else tuple(f"y{channel}" for channel in range(channels))
        return cls(
            ids=tuple(range(count)) if ids is None else tuple(ids),
            values=array,
            lengths=(length - begun).astype(np.int64),
            last_step=np.array(last, dtype=np.int64),
            frequency=None,
            past=np.zeros((count, length, 0)),
            future=np.zeros((count, length, 0)),
            static=np.zeros((count, 0)),
            channel_names=names,
        )

    @property
    def n_series(self) -> int:
        """Number of series."""
        return len(self.ids)

    @property
    def length(self) -> int:
        """Rows, padding counted."""
        return int(self.values.shape[1])

    @property
    def n_channels(self) -> int:
        """Values a series has at each step."""
        return int(self.values.shape[2])

    @property
    def ahead(self) -> int:
        """Rows for which the covariates known in advance go beyond the last value."""
        return int(self.future.shape[1]) - self.length

    @property
    def grid(self) -> Grid:
        """The numbered moments that the steps stand for."""
        return self.frame_format.grid(self.frequency)

    def calendar(self, steps: Any, *, harmonics: int = 1) -> Floats:
        """Return `calendar_features` of absolute steps of any shape, by the user's stamps and time zone."""
        columns = self.frame_format
        return calendar_features(
            steps,
            self.frequency,
            phase=columns.phase,
            offset=columns.offset,
            time_zone=columns.time_zone,
            harmonics=harmonics,
        )

    @property
    def steps(self) -> Integers:
        """Absolute step of every row, shape (n, length)."""
        return self.last_step[:, None] + np.arange(1 - self.length, 1)

    def until(self, rows_left_out: int) -> Panel:
        """Return the panel without its last rows, which then count as lying ahead.

        The covariates known in advance keep all their rows.
        """
        if not 0 <= rows_left_out < self.length:
            raise ValueError(f"rows_left_out must be in [0, {self.length}), got {rows_left_out}")
        kept = self.length - rows_left_out
        return replace(
            self,
            values=self.values[:, :kept],
            past=self.past[:, :kept],
            lengths=np.maximum(self.lengths - rows_left_out, 0),
            last_step=self.last_step - rows_left_out,
        )

    def take(self, series: Any) -> Panel:
        """Return the panel of some series, by position or mask."""
        index = np.atleast_1d(np.arange(self.n_series)[series])
        return replace(
            self,
            ids=tuple(self.ids[place] for place in index),
            values=self.values[index],
            lengths=self.lengths[index],
            last_step=self.last_step[index],
            past=self.past[index],
            future=self.future[index],
            static=self.static[index],
        )

    def steps_after(self, horizon: int) -> Integers:
        """Return the `horizon` absolute steps that follow each series, shape (n, horizon)."""
        return self.last_step[:, None] + np.arange(1, horizon + 1)
