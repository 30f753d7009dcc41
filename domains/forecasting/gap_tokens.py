r"""Windows with gaps as the network sees them, for training and for drawing.

A window has the tokens of a forecast, L of context and h ahead, but any of them may be unknown: a missing
value enters by location and scale of the gap base (`gap_base`), a known one by itself. Values are
standardised over the whole window, unknown ones by their location. Nothing of the windows' inputs differs
from that of a forecast otherwise, so one network learns both. Tokens before a series began hold its first
known value and count as known, marked as missing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .base_forecast import BaseSettings, Series
from .gap_base import GapBase, GapFill
from .gap_masks import artificial_gaps
from .history import Floats, Integers, Windows
from .ridge import standardise
from .tokens import WindowTokens, token_count, token_inputs

__all__ = ["GapWindows", "fit_gap_base", "gap_training_tokens"]

_CLIP = 10.0
_MOST_CELLS = 100_000  # values of the rows that gaps are learned from
_ROUNDS = 3  # of masks of each kind, of which the base sees one
_SHORTEST_LONGEST = 24  # the longest artificial block is at least this long


@dataclass(frozen=True, eq=False)
class GapWindows:
    """Tokens of windows with gaps, in the units of the series.

    Attributes
    ----------
    location : ndarray of shape (windows, tokens)
        Known values, and locations of unknown ones.
    scale : ndarray of shape (windows, tokens)
        Of unknown tokens, > 0; of no meaning at known ones.
    unknown, outside : ndarray of bool, shape (windows, tokens)
        Tokens to draw, and tokens beyond the ends of the series.
    """

    location: Floats
    scale: Floats
    unknown: NDArray[np.bool_]
    outside: NDArray[np.bool_]

    @classmethod
    def cut(
        cls, fill: GapFill, missing: NDArray[np.bool_], row: Integers, places: Integers, begin: Integers
    ) -> GapWindows:
        """Cut windows from filled rows.

        Parameters
        ----------
        fill : GapFill
            Of the rows.
        missing : ndarray of bool, shape (rows, length)
        row : ndarray of int64, shape (windows,)
        places : ndarray of int64, shape (windows, tokens)
            May lie beyond the ends.
        begin : ndarray of int64, shape (windows,)
            First place of each window's series.
        """
        last = missing.shape[1] - 1
        outside = (places < begin[:, None]) | (places > last)
        inside = np.clip(places, begin[:, None], last)
        unknown = missing[row[:, None], inside] & ~outside
        return cls(
            fill.location[row[:, None], inside], fill.scale[row[:, None], inside], unknown, outside
        )  # fmt: skip

    def inputs(self, series: Series, settings: BaseSettings, windows: Windows, n_departures: int) -> Floats:
        """Return the network's inputs before standardisation, shape (windows, inputs).

        Parameters
        ----------
        series : Series
        settings : BaseSettings
        windows : Windows
            Their origins are the last tokens of the context.
        n_departures : int
            Members whose departures a forecast shows; gaps show none.
        """
        n_context = token_count(settings)
        standard = standardise(self.location, series.units[windows.row][:, None])
        value = np.clip(standard.values, -_CLIP, _CLIP)
        ratio = np.where(self.unknown, self.scale / standard.scale, 1.0)
        return token_inputs(
            series, settings, windows,
            value=value,
            log_scale=np.log(np.maximum(ratio, 1e-9)),
            missing=(self.unknown | self.outside)[:, :n_context],
            departures=np.zeros((len(windows), n_departures, settings.horizon)),
            deviation=standard.scale,
        )  # fmt: skip


def fit_gap_base(
    series: Series, settings: BaseSettings, generator: np.random.Generator
) -> tuple[GapBase, Integers, Floats]:
    """Fit the gap base to a panel.

    Returns
    -------
    GapBase
    ndarray of int64, shape (chosen,)
        Rows that it was fitted to; of very many rows, evenly spaced ones.
    ndarray of shape (copies, chosen, length)
        These rows with artificial gaps.
    """
    values = series.history.observed
    rows = np.flatnonzero((~np.isnan(values)).any(axis=1))
    rows = rows[:: -(-len(rows) * values.shape[1] // _MOST_CELLS)]
    longest = min(max(2 * settings.horizon, _SHORTEST_LONGEST), max(values.shape[1] // 8, 1))
    truth = values[rows]
    masks = [artificial_gaps(truth, longest, generator) for _ in range(_ROUNDS)]
    copies = np.where(np.concatenate(masks), np.nan, truth)
    # A row of which all was hidden would be a row without any known value.
    copies = np.where(np.isnan(copies).all(axis=2, keepdims=True), truth, copies)
    base = GapBase.fit(copies[: len(masks[0])], truth, settings.periods, series.units[rows])
    return base, rows, copies


def gap_training_tokens(
    series: Series,
    settings: BaseSettings,
    base: GapBase,
    rows: Integers,
    copies: Floats,
    windows: Windows,
    count: int,
    n_departures: int,
    generator: np.random.Generator,
) -> WindowTokens:
    """Return training windows with artificial gaps.

    Parameters
    ----------
    series : Series
    settings : BaseSettings
    base, rows, copies
        What `fit_gap_base` returned.
    windows : Windows
        To choose from.
    count : int
        How many are wanted; fewer come back where a window has no gap.
    n_departures : int
        See `GapWindows.inputs`.
    generator : numpy.random.Generator
    """
    position = np.full(series.n_rows, -1)
    position[rows] = np.arange(len(rows))
    possible = np.flatnonzero(position[windows.row] >= 0)
    windows = windows.take(np.sort(generator.choice(possible, count)) if len(possible) else possible)
    copy = generator.integers(len(copies), size=len(windows))
    row = copy * len(rows) + position[windows.row]
    places = windows.origin[:, None] + _offsets(settings)
    flat = copies.reshape(-1, copies.shape[2])
    fill = base.fill(flat, np.tile(series.units[rows], len(copies)))
    cut = GapWindows.cut(fill, np.isnan(flat), row, places, series.begin[windows.row])
    truth = series.history.observed[windows.row[:, None], np.clip(places, 0, flat.shape[1] - 1)]
    residual = np.where(cut.unknown, (truth - cut.location) / np.where(cut.unknown, cut.scale, 1.0), np.nan)
    tokens = WindowTokens(
        cut.inputs(series, settings, windows, n_departures),
        residual,
        cut.unknown,
        np.ones(len(windows), dtype=bool),
        series.absolute_step(windows),
    )
    return tokens.take(np.flatnonzero(np.isfinite(residual).any(axis=1)))


def _offsets(settings: BaseSettings) -> Integers:
    """Return the places of a window's tokens from its origin."""
    return np.arange(1 - token_count(settings), settings.horizon + 1)
