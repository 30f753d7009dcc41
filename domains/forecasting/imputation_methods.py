"""`ImputationMethods`: fill missing values by draws or by their medians."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from sklearn.utils.validation import check_is_fitted

from sciffusion.estimators.chunking import DEFAULT_BUDGET_BYTES, chunk_slices
from sciffusion.estimators.random_state import integer_seed
from sciffusion.estimators.validation import check_integer

from .arrays import panel_of_other_rows
from .frame_columns import names_text, pandas_frame
from .frame_output import draws_frame, values_frame
from .gap_draws import draw_gaps
from .gap_ends import draw_ends
from .history import Floats
from .model import ForecastModel
from .panel import Panel

__all__ = ["GivenSeries", "ImputationMethods"]

_SAMPLE = "sample_id"
_ENDS_BYTES = DEFAULT_BUDGET_BYTES  # of completed copies at a time while their ends are drawn


class GivenSeries(NamedTuple):
    """Series as they were given: their panel, and the frame they came in, if any."""

    panel: Panel
    frame: pd.DataFrame | None


class ImputationMethods:
    """The imputation of `DiffusionForecaster`, which mixes this in."""

    model_: ForecastModel
    panel_: Panel
    framed_: bool
    seed_: int
    n_samples: int
    nfe: int
    _compute_device: Callable[[], torch.device]
    _panel_of_frame: Callable[..., Panel]

    def impute(
        self,
        X: Any = None,
        n_samples: int | None = None,
        *,
        df: Any = None,
        nfe: int | None = None,
        random_state: Any = None,
    ) -> Any:
        """Replace every missing value, by the median of draws or by joint draws.

        Draws are joint over gaps, channels and the borders of the windows they are made in. Values between
        known ones are drawn given both sides; values before the first known one of a series given what
        follows; values after the last known one are forecasts from there. Known values are returned as they
        were, to the last bit.

        Parameters
        ----------
        X : DataFrame or array-like, optional
            A long frame, or an array of shape (n, length[, channels]), with NaN where values are missing, of
            known or new series. By default the series that were fitted, at every stamp of their grid.
        n_samples : int, optional
            Completed copies of the data. By default one is made, of the medians of the constructor's
            `n_samples` draws: the best single guess of each value, but smoother than the series itself;
            ``n_samples=1`` gives a copy that varies as the series does.
        df : DataFrame, optional
            The same as `X`, for frames.
        nfe : int, optional
            Network evaluations of a draw, for every half window, in place of the constructor's.
        random_state : int, RandomState or None
            Source of the draws; by default that of the fit, so that calls agree.

        Returns
        -------
        DataFrame or ndarray
            The user's rows, columns, order and index with values filled; with `n_samples` a frame of the rows
            of each copy in turn, told apart by a column ``sample_id``. For arrays the shape of X, or
            (n, n_samples, length[, channels]).

        Raises
        ------
        ValueError
            If a series has no known value (in some channel); it is named.

        Notes
        -----
        Missing rows of a frame are filled only where the frame has a row; add rows with NaN for the others.
        """
        given = self._series_to_complete(X, df)
        count = self.n_samples if n_samples is None else n_samples
        completed = self._completed(
            given.panel,
            check_integer("n_samples", count, low=1),
            nfe=check_integer("nfe", self.nfe if nfe is None else nfe, low=2),
            seed=self.seed_ if random_state is None else integer_seed(random_state),
            median=n_samples is None,
        )
        if given.frame is not None:
            return _framed(given.frame, given.panel, completed, single=n_samples is None)
        chosen = completed[:, 0] if n_samples is None else completed
        return chosen[..., 0] if given.panel.n_channels == 1 and np.ndim(X) != 3 else chosen

    def _series_to_complete(self, X: Any, df: Any) -> GivenSeries:
        check_is_fitted(self)
        if X is not None and df is not None:
            raise ValueError("give the series either as X or as df, not both")
        given = df if X is None else X
        if given is None:
            panel = self.panel_
            frame = _frame_of_panel(panel) if self.framed_ else None
        elif isinstance(given, pd.DataFrame) and (df is not None or self.framed_):
            panel, frame = self._panel_of_frame(given, like=self.panel_), pandas_frame("df", given)
        else:
            panel, frame = panel_of_other_rows(given, framed=self.framed_), None
        if frame is None:  # what is missing at the beginning of an array is missing, not padding
            panel = replace(panel, lengths=np.full(panel.n_series, panel.length))
        if panel.n_channels != self.panel_.n_channels:
            raise ValueError(f"X has {panel.n_channels} channels, expected {self.panel_.n_channels}")
        _refuse_unknown(panel)
        return GivenSeries(panel, frame)

    def _completed(self, panel: Panel, n_samples: int, *, nfe: int, seed: int, median: bool) -> Floats:
        """Return completed values of shape (series, samples or 1, length, channels)."""
        device = self._compute_device()
        rows = np.arange(panel.length) >= panel.length - panel.lengths[:, None]
        lacking = (np.isnan(panel.values).any(axis=2) & rows).any(axis=1)
        result = np.repeat(panel.values[:, None], 1 if median else n_samples, axis=1)
        if not lacking.any():
            return result
        places = np.flatnonzero(lacking)
        drawn = draw_gaps(
            self.model_, panel.take(places), n_samples,
            nfe=nfe, seed=seed, device=device, reduce=_median if median else np.asarray,
        )  # fmt: skip
        result[places] = drawn
        open_ended = np.flatnonzero(np.isnan(panel.values[:, -1]).any(axis=1))
        bytes_per_series = 24 * n_samples * panel.length * panel.n_channels
        for some in chunk_slices(len(open_ended), bytes_per_series, _ENDS_BYTES):
            ending = open_ended[some]
            ends = np.repeat(result[ending], n_samples, axis=1) if median else result[ending]
            draw_ends(self.model_, panel.take(ending), ends, nfe=nfe, seed=seed + 1, device=device)
            result[ending] = _median(ends) if median else ends
        return np.where(np.isnan(panel.values[:, None]), result, panel.values[:, None])


def _median(draws: Floats) -> Floats:
    return np.median(draws, axis=1, keepdims=True)


def _refuse_unknown(panel: Panel) -> None:
    """Raise ValueError if a channel of a series has no known value."""
    empty = np.asarray(np.isnan(panel.values).all(axis=1))
    if not empty.any():
        return
    names = names_text(panel.ids[place] for place in np.flatnonzero(empty.any(axis=1)))
    channels = names_text(panel.channel_names[place] for place in np.flatnonzero(empty.any(axis=0)))
    raise ValueError(f"nothing is known of {channels} in series {names}; leave them out to impute the others")


def _frame_of_panel(panel: Panel) -> pd.DataFrame:
    """Return the rows of a panel as a long frame."""
    frame = draws_frame(panel, panel.values[:, None], steps=panel.steps).drop(columns=_SAMPLE)
    own = np.arange(panel.length) >= panel.length - panel.lengths[:, None]
    return frame[own.reshape(-1)].reset_index(drop=True)


def _framed(frame: pd.DataFrame, panel: Panel, completed: Floats, *, single: bool) -> pd.DataFrame:
    """Return the user's frame filled, or as many copies of it as there are draws."""
    if single:
        return values_frame(frame, panel, completed[:, 0])
    numbers = np.arange(panel.n_series * panel.length).reshape(panel.n_series, panel.length)
    where = values_frame(frame, panel, columns={_SAMPLE: numbers})[_SAMPLE].to_numpy()
    n_copies, n_rows = completed.shape[1], len(frame)
    copies = frame.take(np.tile(np.arange(n_rows), n_copies))
    drawn = np.moveaxis(completed, 2, 1).reshape(-1, n_copies, panel.n_channels)[where]
    for channel, name in enumerate(panel.channel_names):
        copies[name] = np.swapaxes(drawn[..., channel], 0, 1).reshape(-1)
    place = list(frame.columns).index(panel.frame_format.time_column) + 1
    copies.insert(place, _SAMPLE, np.repeat(np.arange(n_copies), n_rows))
    return copies
