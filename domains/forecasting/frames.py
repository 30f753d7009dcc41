"""From a long frame to a `Panel`: one row a series and stamp becomes right-aligned arrays.

What is in the frame, and what becomes of it:

==========================  =============================================================================
rows in any order           sorted; the series keep the order in which they come first
two rows of one stamp       refused
gap (a stamp left out)      a row of missing values, with a `GapWarning` unless asked otherwise
other or mixed frequencies  refused: stamps off the common grid, series whose stamps are all several steps
                            apart, and long stretches of them
missing y or covariate      kept as missing; NaN and ``pd.NA`` alike
nothing observed            refused, unless ``min_observed=0``
too short                   refused below `min_length` rows
constant series             legal
infinite or no number       refused; categories have to be encoded by the caller
undeclared column           left out, with a warning
==========================  =============================================================================

Every refusal is a ValueError or TypeError that names the series. Nothing of a series depends on other series
but the place on the grid, which the series with most rows decides, as it does the frequency if none is given.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .calendar import Grid, Integers
from .frame_columns import (
    SeriesKey,
    Stamps,
    names_text,
    pandas_frame,
    read_ids,
    read_numbers,
    read_stamps,
    require_columns,
)
from .frame_format import FrameFormat, moments_in_utc
from .frequency_inference import align_grid, infer_grid
from .panel import Panel
from .row_checks import check_distinct, check_frequencies, check_lengths, report_gaps
from .static_columns import read_static

__all__ = ["FrameRows", "panel_of_frame", "rows_of_frame"]

Floats = NDArray[np.float64]
Gaps = Literal["warn", "fill", "refuse"]


@dataclass(frozen=True)
class _Roles:
    """Names of the columns of a frame by what they are for."""

    id_column: str
    time_column: str
    target: tuple[str, ...]
    past: tuple[str, ...]
    future: tuple[str, ...]
    static: tuple[str, ...]

    @classmethod
    def of_panel(cls, panel: Panel) -> _Roles:
        """Return the roles that the frame of a panel had."""
        columns = panel.frame_format
        return cls(
            columns.id_column,
            columns.time_column,
            panel.channel_names,
            panel.past_names,
            panel.future_names,
            panel.static_names,
        )

    def __post_init__(self) -> None:
        names = [self.id_column, self.time_column, *self.changing, *self.static]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"a column can have one role only, got {names_text(twice)} in several")
        if not self.target:
            raise ValueError("target must name at least one column")

    @property
    def changing(self) -> tuple[str, ...]:
        """Columns with a value a row."""
        return (*self.target, *self.past, *self.future)


@dataclass(frozen=True, eq=False)
class FrameRows:
    """Where the rows of a frame stand: their series and absolute steps.

    Parameters
    ----------
    key : SeriesKey
        Series of the rows.
    steps : ndarray of shape (rows,), int64
        Absolute steps.
    stamps : Stamps
        The stamps as they were read.
    frame_format : FrameFormat
        Types and names of the columns, and the place of the stamps on the grid.
    frequency : str or None
        Name of the frequency; None for integers.
    """

    key: SeriesKey
    steps: Integers
    stamps: Stamps
    frame_format: FrameFormat
    frequency: str | None


def panel_of_frame(
    df: Any,
    *,
    id_col: str = "unique_id",
    time_col: str = "ds",
    target: str | Sequence[str] = "y",
    frequency: Any = None,
    past: str | Sequence[str] = (),
    future: str | Sequence[str] = (),
    static: str | Sequence[str] = (),
    static_df: Any = None,
    min_length: int = 1,
    min_observed: int = 1,
    gaps: Gaps = "warn",
    like: Panel | None = None,
) -> Panel:
    """Return the panel of a long frame with one row a series and stamp.

    Parameters
    ----------
    df : pandas.DataFrame
        Long frame, or another with a method ``to_pandas``. Its index is not looked at.
    id_col, time_col : str
        Columns of the series' ids, of any type, and of the stamps: datetimes (also with a time zone), ISO
        8601 texts, dates, periods or integers.
    target : str or sequence of str, default="y"
        Column of the values, or one a channel.
    frequency : str, int or pandas offset, optional
        Step of the stamps; by default inferred from the series with most rows. See `grid_of_frequency`; where
        a name is not anchored ("W", "QS") the stamps' own anchor is taken. Periods bring their own.
    past, future : str or sequence of str
        Columns of covariates that are known up to the last row only, and in advance.
    static : str or sequence of str
        Columns of covariates that do not change, in `df` or in `static_df`; all columns of the latter by
        default.
    static_df : pandas.DataFrame, optional
        One row a series.
    min_length : int, default=1
        Fewest rows a series may have, gaps counted.
    min_observed : int, default=1
        Fewest rows of a series in which a target is observed.
    gaps : {"warn", "fill", "refuse"}, default="warn"
        What to do about stamps that are left out: fill them with missing values, with or without a
        `GapWarning`, or raise.
    like : Panel, optional
        Panel with the same columns, frequency and static covariates, which are then taken from it: for rows
        that come later. Series that it knows need no static covariates.

    Returns
    -------
    Panel
        Series in the order in which they come first.

    Raises
    ------
    TypeError
        If `df` is no frame, or its stamps are no stamps.
    ValueError
        As the module's table says; series are named.
    """
    if gaps not in ("warn", "fill", "refuse"):
        raise ValueError(f"gaps must be 'warn', 'fill' or 'refuse', got {gaps!r}")
    frame = pandas_frame("df", df)
    table = None if static_df is None else pandas_frame("static_df", static_df)
    if like is None:
        static_names = _names("static", static) or _static_names(table, id_col)
        channels, past_names = _names("target", target), _names("past", past)
        roles = _Roles(id_col, time_col, channels, past_names, _names("future", future), static_names)
    else:
        roles = _Roles.of_panel(like)
    require_columns("df", frame, (roles.id_column, roles.time_column, *roles.changing))
    rows = _read_rows("df", frame, roles, frequency, like)
    numbers = read_numbers("df", frame, roles.changing, rows.key)
    panel = _assemble(
        rows, numbers, roles, read_static(frame, table, roles.id_column, roles.static, rows.key, like)
    )
    _check(rows, panel, min_length, min_observed, gaps, strict=like is None)
    if like is None:
        _report_unused(frame, table, roles)
    return panel


def rows_of_frame(argument: str, df: Any, panel: Panel) -> tuple[pd.DataFrame, FrameRows]:
    """Return a frame whose columns of ids and stamps are those of a panel, and where its rows stand.

    Raises
    ------
    ValueError
        If a stamp is off the panel's grid, or a series has a stamp twice.
    """
    frame = pandas_frame(argument, df)
    roles = _Roles.of_panel(panel)
    require_columns(argument, frame, (roles.id_column, roles.time_column))
    rows = _read_rows(argument, frame, roles, None, panel)
    check_distinct(argument, rows.key, rows.steps, rows.stamps)
    return frame, rows


def _read_rows(
    argument: str, frame: pd.DataFrame, roles: _Roles, frequency: Any, like: Panel | None
) -> FrameRows:
    key, id_dtype = read_ids(argument, frame, roles.id_column)
    stamps = read_stamps(argument, frame, roles.time_column)
    frame_format = replace(stamps.frame_format, id_column=roles.id_column, id_dtype=id_dtype)
    if like is None:
        grid, source = _grid(key, stamps, frequency)
        frame_format = frame_format.on(grid)
    else:
        _check_same_kind(argument, frame_format, like, stamps)
        grid, source = like.grid, "that of the series known already"
        frame_format = replace(like.frame_format, id_dtype=id_dtype)
    steps = _steps(argument, key, stamps, grid, source)
    return FrameRows(key, steps, stamps, frame_format, grid.name)


def _grid(key: SeriesKey, stamps: Stamps, frequency: Any) -> tuple[Grid, str]:
    """Return the grid of the stamps and where it comes from, for messages."""
    longest = int(np.bincount(key.codes).argmax())
    name = key.of_series(np.array([longest]))
    mine = key.codes == longest
    moments = np.unique(stamps.moments[mine])
    wall = None if stamps.wall is None else np.unique(stamps.wall[mine])
    if stamps.frame_format.period is not None:
        frequency = _start_frequency(stamps.frame_format.period)
    if frequency is None:
        grid = infer_grid(moments, wall)
        if grid is None:
            raise ValueError(
                f"the stamps of {name}, the one with most rows ({len(moments)}), have no common step; "
                "give the frequency, such as 'D' or 'h', or bring the stamps onto a grid"
            )
        return grid, f"inferred from {name}"
    aligned = align_grid(frequency, moments, wall)
    if aligned is None:
        raise ValueError(_misfit_text(frequency, name, moments, wall))
    return aligned, "given"


def _misfit_text(frequency: Any, name: str, moments: Integers, wall: Integers | None) -> str:
    if wall is None:
        return f"the stamps of {name} are integers; frequency must be an integer or None, got {frequency!r}"
    guess = infer_grid(moments, wall)
    if isinstance(frequency, int):
        return f"the stamps of {name} are dates; frequency must be a name such as 'D', got {frequency!r}"
    seen = "irregular" if guess is None else repr(guess.name)
    return f"the stamps of {name} do not have frequency {frequency!r}; theirs looks {seen}"


def _start_frequency(period: str) -> Any:
    """Return the frequency of the first moments of periods."""
    starts = pd.period_range("2000-01-01", periods=8, freq=period).start_time
    grid = infer_grid(np.asarray(starts.as_unit("ns").asi8), np.asarray(starts.as_unit("ns").asi8))
    return period if grid is None else grid.name


def _check_same_kind(argument: str, found: FrameFormat, like: Panel, stamps: Stamps) -> None:
    wanted = like.frame_format
    same_zone = (found.time_zone is None) == (wanted.time_zone is None)
    if (stamps.wall is None) == (like.frequency is None) and same_zone and found.period == wanted.period:
        return
    raise ValueError(
        f"{wanted.time_column!r} of {argument} has stamps {_kind_text(found, stamps.wall is None)}, expected "
        f"{_kind_text(wanted, like.frequency is None)} as before"
    )


def _kind_text(frame_format: FrameFormat, integers: bool) -> str:
    if integers:
        return "that are integers"
    if frame_format.period is not None:
        return f"that are periods of {frame_format.period!r}"
    zone = frame_format.time_zone
    return "that are dates without a time zone" if zone is None else f"that are dates in the time zone {zone}"


def _steps(argument: str, key: SeriesKey, stamps: Stamps, grid: Grid, source: str) -> Integers:
    steps = grid.steps(stamps.on(grid))
    zone = stamps.frame_format.time_zone
    off = moments_in_utc(steps, grid, zone) != stamps.moments
    if off.any():
        row = int(np.flatnonzero(off)[0])
        step = f"an integer step of {grid.stride}" if grid.name is None else repr(grid.name)
        zoned = "" if zone is None or grid.local else (
            "; steps shorter than a day are steps of elapsed time, which stamps by the local clock do not "
            "keep when it changes: convert the stamps to UTC"
        )  # fmt: skip
        raise ValueError(
            f"{argument} has {int(off.sum())} stamps off the common frequency {step} ({source}) in "
            f"{key.of_rows(off)}, first {stamps.text(row)} of {key.names[key.codes[row]]!r}; all series must "
            f"have one frequency{zoned}"
        )
    return steps


def _assemble(rows: FrameRows, numbers: Floats, roles: _Roles, static: Floats) -> Panel:
    key, steps, count = rows.key, rows.steps, len(rows.key.names)
    check_distinct("df", key, steps, rows.stamps)
    first = np.full(count, np.iinfo(np.int64).max)
    last = np.full(count, np.iinfo(np.int64).min)
    np.minimum.at(first, key.codes, steps)
    np.maximum.at(last, key.codes, steps)
    lengths = last - first + 1
    check_lengths(key, lengths)
    length = int(lengths.max())
    table = np.full((count, length, numbers.shape[1]), np.nan)
    table[key.codes, length - 1 - (last[key.codes] - steps)] = numbers
    n_target, n_past = len(roles.target), len(roles.past)
    return Panel(
        ids=key.names,
        values=np.ascontiguousarray(table[..., :n_target]),
        lengths=lengths,
        last_step=last,
        frequency=rows.frequency,
        past=np.ascontiguousarray(table[..., n_target : n_target + n_past]),
        future=np.ascontiguousarray(table[..., n_target + n_past :]),
        static=static,
        channel_names=roles.target,
        past_names=roles.past,
        future_names=roles.future,
        static_names=roles.static,
        frame_format=rows.frame_format,
    )


def _check(
    rows: FrameRows, panel: Panel, min_length: int, min_observed: int, gaps: str, *, strict: bool
) -> None:
    key = rows.key
    if strict:
        check_frequencies(key, rows.steps, panel.frequency)
    report_gaps(key, panel.lengths, gaps)
    short = np.flatnonzero(panel.lengths < min_length)
    if short.size:
        raise ValueError(
            f"{key.of_series(short)} {'has' if short.size == 1 else 'have'} fewer than {min_length} rows, "
            f"the fewest {int(panel.lengths[short].min())}; leave them out or add history"
        )
    observed = (~np.isnan(panel.values)).any(axis=2).sum(axis=1)
    bare = np.flatnonzero(observed < min_observed)
    if bare.size:
        raise ValueError(
            f"{key.of_series(bare)} {'has' if bare.size == 1 else 'have'} fewer than {min_observed} rows "
            f"with a value of {names_text(panel.channel_names)}; leave them out"
        )


def _report_unused(frame: pd.DataFrame, table: pd.DataFrame | None, roles: _Roles) -> None:
    used = {roles.id_column, roles.time_column, *roles.changing, *roles.static}
    unused = [name for name in frame.columns if name not in used]
    unused += [] if table is None else [name for name in table.columns if name not in used]
    if unused:
        warnings.warn(
            f"columns {names_text(unused)} are not used; declare them as past, future or static covariates",
            UserWarning,
            stacklevel=3,
        )


def _names(role: str, columns: Any) -> tuple[str, ...]:
    if isinstance(columns, str):
        return (columns,)
    if not isinstance(columns, Iterable):
        raise TypeError(f"the columns of {role!r} must be a name or a sequence of names, got {columns!r}")
    return tuple(columns)


def _static_names(table: pd.DataFrame | None, id_col: str) -> tuple[str, ...]:
    return () if table is None else tuple(name for name in table.columns if name != id_col)
