"""How a backtest cuts a long frame at a cutoff, and how the draws from there become an array."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["Window", "WindowPlan", "cut_window", "draws_of_frame", "ordered_frame"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class WindowPlan:
    """How the frame is cut, and the names of its columns."""

    horizon: int
    n_windows: int
    step: int
    id_col: str
    time_col: str
    target: tuple[str, ...]
    future: tuple[str, ...]

    def rows_left_out(self, window: int) -> int:
        """Return the rows of each series after the cutoff of a window."""
        return self.horizon + (self.n_windows - 1 - window) * self.step


@dataclass(frozen=True)
class Window:
    """The frame at one cutoff."""

    history: pd.DataFrame
    since_last: pd.DataFrame
    ahead: pd.DataFrame


def ordered_frame(data: pd.DataFrame, plan: WindowPlan) -> pd.DataFrame:
    """Return the rows in order of series and time, every series long enough."""
    missing = [
        name for name in (plan.id_col, plan.time_col, *plan.target, *plan.future) if name not in data.columns
    ]
    if missing:
        raise ValueError(f"data has no column {missing[0]!r}, only {list(map(str, data.columns))}")
    place = pd.factorize(data[plan.id_col])[0]
    frame = data.assign(_place=place).sort_values(["_place", plan.time_col], kind="stable")
    frame = frame.drop(columns="_place").reset_index(drop=True)
    lengths = frame.groupby(plan.id_col, sort=False).size()
    needed = plan.rows_left_out(0) + 1
    short = lengths[lengths < needed]
    if len(short):
        raise ValueError(
            f"series {short.index[0]!r} has {short.iloc[0]} rows, but {plan.n_windows} windows of "
            f"{plan.horizon} rows at a step of {plan.step} and one row of history need {needed}"
            f"{f'; {len(short) - 1} more series are too short' if len(short) > 1 else ''}"
        )
    return frame


def cut_window(frame: pd.DataFrame, plan: WindowPlan, number: int) -> Window:
    """Return history, rows since the last cutoff and rows ahead of one window."""
    groups = frame.groupby(plan.id_col, sort=False)
    from_end = groups.cumcount(ascending=False).to_numpy()  # 0 for the last row of a series
    left_out = plan.rows_left_out(number)
    seen = from_end >= left_out
    fresh = seen & (from_end < left_out + plan.step)
    ahead = ~seen & (from_end >= left_out - plan.horizon)
    parts = (frame[rows].reset_index(drop=True) for rows in (seen, fresh, ahead))
    return Window(*parts)


def draws_of_frame(found: pd.DataFrame, ahead: pd.DataFrame, plan: WindowPlan, n_samples: int) -> Floats:
    """Return draws of shape (n, n_samples, horizon, channels) in the order of the rows ahead."""
    names = ahead[plan.id_col].drop_duplicates()
    place = found[plan.id_col].map(pd.Series(range(len(names)), index=names))
    ordered = found.assign(_place=place).sort_values(["_place", "sample_id", plan.time_col])
    shape = (len(names), n_samples, plan.horizon)
    if len(ordered) != np.prod(shape) or ordered["_place"].isna().any():
        raise ValueError(
            f"the forecaster gave {len(ordered)} rows of {ordered[plan.id_col].nunique()} series, "
            f"expected {shape[0]} series x {shape[1]} draws x {shape[2]} rows"
        )
    times = ordered[plan.time_col].to_numpy().reshape(shape)
    wanted = ahead[plan.time_col].to_numpy().reshape(shape[0], 1, shape[2])
    wrong = (times != wanted).any(axis=(1, 2))
    if wrong.any():
        raise ValueError(
            f"the times of the draws of series {names.iloc[int(wrong.argmax())]!r} are not those of its "
            "rows: data must have one row a time without gaps (NaN where the target is missing)"
        )
    return ordered[list(plan.target)].to_numpy(dtype=np.float64).reshape(*shape, len(plan.target))
