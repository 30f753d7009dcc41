r"""`AnomalyMethods`: how unusual every value of a series is.

==============  ==========================================================================================
kind            score of a row
==============  ==========================================================================================
``forecast``    energy score of a forecast made before the row, in units of its spread (below)
``denoising``   what denoising leaves of the row's values when their block is hidden, see `gap_scores`
``combined``    the root of the sum of both squares
==============  ==========================================================================================

With draws :math:`X, X'` of a forecast and y what came, each channel over the standard deviation of its draws,

.. math:: s = E \lVert X - y \rVert - \tfrac12 E \lVert X - X' \rVert ,

the energy score (Gneiting and Raftery, *Strictly Proper Scoring Rules, Prediction, and Estimation*, 2007);
it is the CRPS for one channel. Forecasts start every quarter of a horizon, so a row is seen by one that is
at most that old: the score is causal. Denoising looks at both sides. All scores have no units and compare
across series.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from sciffusion.estimators.validation import check_integer

from .frame_output import values_frame
from .gap_scores import denoising_residuals
from .history import Floats, Integers, Windows
from .imputation_methods import GivenSeries
from .model import ForecastModel
from .panel import Panel

__all__ = ["AnomalyMethods"]

_KINDS = ("combined", "forecast", "denoising")
_DRAWS_A_WINDOW = 32
_WINDOWS_AT_ONCE = 4096
_FEWEST_KNOWN = 4  # values before a forecast
_LEAST_SPREAD = 0.1  # of the base's scale: draws at a bound have none


class AnomalyMethods:
    """The anomaly scores of `DiffusionForecaster`, which mixes this in."""

    model_: ForecastModel
    panel_: Panel
    seed_: int
    nfe: int
    _compute_device: Callable[[], torch.device]
    _series_to_complete: Callable[..., GivenSeries]

    def anomaly_score(
        self,
        X: Any = None,
        *,
        df: Any = None,
        kind: str = "combined",
        window: int = 1,
        nfe: int | None = None,
    ) -> Any:
        """Score every row by how little it fits the others of its series.

        Parameters
        ----------
        X : DataFrame or array-like, optional
            A long frame, or an array of shape (n, length[, channels]), of known or new series. By default the
            series that were fitted. Rows are judged by rows of the same series alone, so give the history
            of new rows along with them.
        df : DataFrame, optional
            The same as `X`, for frames.
        kind : {"combined", "forecast", "denoising"}, default "combined"
            "forecast" looks at the rows before only, "denoising" at those on both sides, "combined" at both.
        window : int, default 1
            Rows over which scores are averaged, about the length of the anomalies that are looked for: a
            change of shape shows in many small scores, an outlier in a single one. The rows lie around each
            row, with "forecast" before it.
        nfe : int, optional
            Network evaluations of a forecast, in place of the constructor's; denoising takes two.

        Returns
        -------
        DataFrame or ndarray
            Columns ``unique_id, ds, score`` in the order of the user's rows; for arrays of shape (n, length).
            The larger, the stranger; around 1 and below is usual. Missing rows have NaN, and with "forecast"
            those at the beginning that no forecast reaches: a context of known values, but at most a quarter
            of the rows and at least four, and all rows before one that is not 0, which tell no scale.
            "combined" relies on denoising there. A channel counts from where it has such a history.
        """
        if kind not in _KINDS:
            raise ValueError(f"kind must be one of {', '.join(map(repr, _KINDS))}, got {kind!r}")
        given = self._series_to_complete(X, df)
        steps = check_integer("nfe", self.nfe if nfe is None else nfe, low=2)
        rows = check_integer("window", window, low=1)
        scores = _averaged(self._scores(given.panel, kind, steps), rows, causal=kind == "forecast")
        if given.frame is None:
            return scores
        labels = given.panel.frame_format
        frame = given.frame[[labels.id_column, labels.time_column]]
        return values_frame(frame, given.panel, columns={"score": scores})

    def _scores(self, panel: Panel, kind: str, nfe: int) -> Floats:
        """Return scores of shape (series, length)."""
        device = self._compute_device()
        parts = []
        if kind != "denoising":
            parts.append(_forecast_scores(self.model_, panel, nfe=nfe, seed=self.seed_, device=device))
        if kind != "forecast":
            left = denoising_residuals(self.model_, panel, device=device)
            parts.append(_norm(left.reshape(panel.n_series, panel.n_channels, -1)))
        if len(parts) == 1:
            return parts[0]
        ahead, around = parts
        # Where no forecast reaches, denoising speaks for both.
        return np.hypot(np.where(np.isnan(ahead), around, ahead), around)


def _averaged(scores: Floats, window: int, *, causal: bool) -> Floats:
    """Average scores of shape (series, length) over the rows of a window that have one."""
    if window == 1:
        return scores
    seen = ~np.isnan(scores)
    before = window - 1 if causal else (window - 1) // 2
    padding = ((0, 0), (before, window - 1 - before))
    total, count = (
        np.lib.stride_tricks.sliding_window_view(np.pad(part, padding), window, axis=1).sum(axis=2)
        for part in (np.where(seen, scores, 0.0), seen.astype(np.float64))
    )
    return np.where(seen, total / np.maximum(count, 1.0), np.nan)


def _norm(left: Floats) -> Floats:
    """Return the norm over the channels of an array (series, channels, length); missing ones are left out."""
    seen = ~np.isnan(left)
    size = np.sqrt(np.where(seen, left**2, 0.0).sum(axis=1))
    return np.where(seen.any(axis=1), size, np.nan)


def _forecast_scores(
    model: ForecastModel, panel: Panel, *, nfe: int, seed: int, device: torch.device
) -> Floats:
    """Return energy scores of rolling forecasts, shape (series, length)."""
    stride = max(model.horizon // 4, 1)
    first = _first_origins(model, panel)
    units = _causal_units(model, panel, first)
    origins = _origins(first.min(axis=1), panel.length, stride)
    noise = model.starting_noise(panel.ids, _DRAWS_A_WINDOW, seed)
    result = np.full((panel.n_series, panel.length), np.nan)
    at_once = max(_WINDOWS_AT_ONCE // panel.n_channels, 1)
    for begin in range(0, len(origins), at_once):
        some = origins.take(np.arange(begin, min(begin + at_once, len(origins))))
        own = slice(int(some.row[0]), int(some.row[-1]) + 1)  # the base looks at these series alone
        series = model.base.series(panel.take(own))
        series.units = units[own].reshape(-1)
        each = _of_channels(Windows(some.row - own.start, some.origin), panel.n_channels)
        prepared = model.prepare(series, each)
        start = noise[torch.from_numpy(some.row)].reshape(len(each), _DRAWS_A_WINDOW, -1)
        draws = model.values(prepared, model.residuals(prepared, start, nfe=nfe, device=device))
        known = each.origin >= first[own].reshape(-1)[each.row]
        truth = np.where(known[:, None], series.targets(each, model.horizon), np.nan)
        scores = _energy(truth, draws, prepared.scale, panel.n_channels)[:, :stride]
        places = some.origin[:, None] + np.arange(1, stride + 1)
        inside = places < panel.length
        result[np.broadcast_to(some.row[:, None], places.shape)[inside], places[inside]] = scores[inside]
    return result


def _first_origins(model: ForecastModel, panel: Panel) -> Integers:
    """Return the place of each channel's first forecast, shape (series, channels); `length` if it has none.

    That is where a context of values is known, but at most a quarter of the rows since the first one and at
    least four, and one that is not 0: a channel that has only been 0 tells no scale.
    """
    seen = ~np.isnan(panel.values)
    wanted = np.clip((panel.length - seen.argmax(axis=1)) // 4, _FEWEST_KNOWN, None)
    enough = np.cumsum(seen, axis=1) >= np.minimum(wanted, max(model.n_context, _FEWEST_KNOWN))[:, None]
    enough &= np.logical_or.accumulate(seen & (panel.values != 0.0), axis=1)
    first: Integers = np.where(enough.any(axis=1), enough.argmax(axis=1), panel.length)
    return first


def _causal_units(model: ForecastModel, panel: Panel, first: Integers) -> Floats:
    """Return the sizes of the changes up to the first forecasts, shape (series, channels)."""
    early = np.where(np.arange(panel.length)[:, None] <= first[:, None], panel.values, np.nan)
    return model.base.series(replace(panel, values=early)).units.reshape(first.shape)


def _origins(first: Integers, length: int, stride: int) -> Windows:
    """Return the origins of the forecasts of each series, by series and not by row."""
    place: Integers = np.arange(length - 1)
    since = place - first[:, None]
    row, origin = np.nonzero((since >= 0) & (since % stride == 0))
    return Windows(row.astype(np.int64), origin.astype(np.int64))


def _of_channels(windows: Windows, n_channels: int) -> Windows:
    """Return the windows of series as those of their channels."""
    row = windows.row[:, None] * n_channels + np.arange(n_channels)
    return Windows(row.reshape(-1), np.repeat(windows.origin, n_channels))


def _energy(truth: Floats, draws: Floats, scale: Floats, n_channels: int) -> Floats:
    """Return energy scores over the channels, shape (windows, horizon), each channel over its spread.

    Parameters
    ----------
    truth : ndarray of shape (windows * channels, horizon)
        NaN where missing; such channels are left out.
    draws : ndarray of shape (windows * channels, draws, horizon)
    scale : ndarray of shape (windows * channels, horizon)
    n_channels : int
    """
    spread = np.maximum(draws.std(axis=1), _LEAST_SPREAD * scale)[:, None]
    away = ((draws - truth[:, None]) / spread).reshape(-1, n_channels, *draws.shape[1:])
    seen = ~np.isnan(away[:, :, 0])
    away = np.where(seen[:, :, None], away, 0.0)
    pairs = np.roll(away, away.shape[2] // 2 - 1, axis=2) - away  # another draw, not the antithetic one
    distance = np.sqrt((away**2).sum(axis=1)).mean(axis=1)
    apart = np.sqrt((pairs**2).sum(axis=1)).mean(axis=1)
    return np.where(seen.any(axis=1), distance - 0.5 * apart, np.nan)
