"""What a zero-shot forecaster is trained on and prompted with: sets of series, each with its season length.

A set is a long frame or an array, or a pair of one and its season length. Channels are taken for series of
their own: which of them go together is a property of the set that an unseen one does not tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from .arrays import panel_of_array
from .base_forecast import BaseSettings
from .calendar import default_season_length
from .fitting import season_lengths_of
from .frames import panel_of_frame
from .history import Floats
from .panel import Panel
from .zero_shot_base import shared_settings

__all__ = ["Columns", "Prompt", "read_prompt", "read_sets", "single_channels"]

_FEWEST = 2  # observed values of a series
_MOST_SEASONS = 2  # which the shared weights have places for


@dataclass(frozen=True)
class Columns:
    """Names of the columns of a long frame."""

    id_col: str
    time_col: str
    target: str


@dataclass(frozen=True, eq=False)
class Prompt:
    """Series, and their seasons as the shared model sees them.

    Attributes
    ----------
    panel : Panel
    settings : BaseSettings
    framed : bool
        Whether they came as a frame.
    """

    panel: Panel
    settings: BaseSettings
    framed: bool


def read_prompt(data: Any, season_length: Any, horizon: int, columns: Columns) -> Prompt:
    """Read series and their seasons.

    Parameters
    ----------
    data : DataFrame or array-like
        A long frame, or an array of shape (n, length) or (n, length, channels).
    season_length : None, int or sequence of int
        None takes that of the frame's frequency; for arrays there is no season then.
    horizon : int
        Steps ahead of a window.
    columns : Columns
    """
    framed = isinstance(data, pd.DataFrame) and columns.id_col in data
    if framed:
        panel = panel_of_frame(
            data[[columns.id_col, columns.time_col, columns.target]] if _has(data, columns) else data,
            id_col=columns.id_col,
            time_col=columns.time_col,
            target=columns.target,
            min_observed=_FEWEST,
        )
    else:
        panel = panel_of_array(data, min_observed=_FEWEST)
    seasons = season_lengths_of(season_length, default_season_length(panel.frequency))
    if len(seasons) > _MOST_SEASONS:
        raise ValueError(f"season_length must hold at most {_MOST_SEASONS} seasons, got {season_length!r}")
    return Prompt(panel, shared_settings(horizon, seasons, int(np.median(panel.lengths))), framed)


def read_sets(sets: Any, horizon: int, columns: Columns) -> dict[str, Prompt]:
    """Read a mapping of sets; errors name the set."""
    if not isinstance(sets, Mapping) or not sets:
        raise TypeError(
            "X must be a mapping from names to sets of series, each a frame or array or a pair of one and "
            f"its season length, got {sets!r:.80}"
        )
    found = {}
    for name, one in sets.items():
        data, season = one if isinstance(one, tuple) and len(one) == 2 else (one, None)
        try:
            found[str(name)] = read_prompt(data, season, horizon, columns)
            _check_length(found[str(name)].panel, horizon)
        except (TypeError, ValueError) as error:
            raise type(error)(f"set {name!r}: {error}") from error
    return found


def _check_length(panel: Panel, horizon: int) -> None:
    if panel.length <= horizon:
        raise ValueError(
            f"no series has a history and {horizon} values after it: the longest has {panel.length} rows; "
            "give longer series or a shorter horizon"
        )


def single_channels(panel: Panel) -> Panel:
    """Return the panel whose series are the channels of the series of another."""
    channels = panel.n_channels
    if channels == 1:
        return panel

    def repeated(values: Floats) -> Floats:
        return np.repeat(values, channels, axis=0)

    return replace(
        panel,
        ids=tuple((name, channel) for name in panel.ids for channel in panel.channel_names),
        values=np.moveaxis(panel.values, 2, 1).reshape(-1, panel.length, 1),
        lengths=np.repeat(panel.lengths, channels),
        last_step=np.repeat(panel.last_step, channels),
        past=repeated(panel.past),
        future=repeated(panel.future),
        static=repeated(panel.static),
        channel_names=("y",),
    )


def _has(frame: pd.DataFrame, columns: Columns) -> bool:
    return {columns.id_col, columns.time_col, columns.target} <= set(frame.columns)
