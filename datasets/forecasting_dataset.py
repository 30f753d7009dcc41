"""`ForecastingDataset`: a long frame of series, checked against its card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from .forecasting_cards import ForecastingCard

__all__ = ["ForecastingDataset", "long_frame", "regular_rows"]


@dataclass(frozen=True, eq=False, repr=False)
class ForecastingDataset:
    """Series in a long frame, with the way in which forecasts of them are judged.

    Parameters
    ----------
    frame : pandas.DataFrame
        Columns ``unique_id`` (text), ``ds`` (dates without time zone, or whole numbers), ``y`` (float64, NaN
        where missing) and the covariates (float64). The rows of a series follow each other in order of time,
        one a step of the frequency without gaps.
    card : ForecastingCard
        What is known about the set.

    Raises
    ------
    ValueError
        If the number of series, their lengths, the missing values or the covariates differ from the card's,
        or the rows of a series are not one step apart.
    """

    frame: pd.DataFrame
    card: ForecastingCard

    def __post_init__(self) -> None:
        """Refuse other series than the card describes."""
        self._check_size()
        self._check_columns()
        changes = self.frame["unique_id"].ne(self.frame["unique_id"].shift())
        if changes.sum() != self.card.n_series:
            raise ValueError(f"the rows of a series of {self.card.name} do not follow each other")
        for name, rows in self.frame.groupby("unique_id", sort=False)["ds"]:
            if not np.array_equal(rows, regular_rows(rows.iloc[0], len(rows), self.frequency)):
                raise ValueError(f"the rows of series {name!r} of {self.card.name} are not one step apart")

    def _check_size(self) -> None:
        lengths, missing = self.lengths, int(self.frame["y"].isna().sum())
        found = (len(lengths), len(self.frame), int(lengths.min()), int(lengths.max()), missing)
        card = self.card
        stated = (card.n_series, card.n_rows, card.shortest, card.longest, card.n_missing)
        if found != stated:
            raise ValueError(
                f"{card.name} has (series, rows, shortest, longest, missing) = {found}, its card says "
                f"{stated}: the file differs from {card.origin}"
            )

    def _check_columns(self) -> None:
        columns = ["unique_id", "ds", "y", *self.covariates]
        if list(self.frame.columns) != columns:
            raise ValueError(
                f"{self.card.name} has the columns {list(self.frame.columns)}, expected {columns}"
            )
        for covariate in self.covariates:
            self.card.describe(covariate)
        if np.isinf(self.frame[columns[2:]].to_numpy(dtype=np.float64)).any():
            raise ValueError(f"{self.card.name} holds infinite values")

    @property
    def lengths(self) -> pd.Series[int]:
        """Rows of each series, missing values counted, indexed by ``unique_id`` in the order of the frame."""
        return self.frame.groupby("unique_id", sort=False).size()

    @property
    def frequency(self) -> str | None:
        """Pandas' name of the step; None where ``ds`` counts steps."""
        return self.card.frequency

    @property
    def season_length(self) -> int:
        """Steps in a season."""
        return self.card.season_length

    @property
    def horizon(self) -> int:
        """Steps ahead that forecasts are judged on."""
        return self.card.horizon

    @property
    def n_windows(self) -> int:
        """Origins of a series from which forecasts are judged, ``horizon`` steps apart."""
        return self.card.n_windows

    @property
    def past_covariates(self) -> tuple[str, ...]:
        """Columns known up to the last row only."""
        return self.card.past

    @property
    def future_covariates(self) -> tuple[str, ...]:
        """Columns known in advance."""
        return self.card.future

    @property
    def static_covariates(self) -> tuple[str, ...]:
        """Columns that are constant within a series."""
        return self.card.static

    @property
    def covariates(self) -> tuple[str, ...]:
        """All columns besides ``unique_id``, ``ds`` and ``y``."""
        return (*self.card.past, *self.card.future, *self.card.static)

    def last(self, n_rows: int) -> pd.DataFrame:
        """Return the last ``n_rows`` rows of each series, all of a shorter one.

        Raises
        ------
        ValueError
            If ``n_rows`` is not positive.
        """
        if n_rows < 1:
            raise ValueError(f"n_rows must be at least 1, got {n_rows}")
        return self.frame.groupby("unique_id", sort=False).tail(n_rows).reset_index(drop=True)

    def arrays(self, max_length: int | None = None) -> NDArray[np.float64]:
        """Return the values as an array whose last column holds the last row of every series.

        Parameters
        ----------
        max_length : int, optional
            Columns at most; the earlier rows are left out. By default all rows of the longest series.

        Returns
        -------
        ndarray of shape (n_series, length)
            NaN where a value is missing and before a series began. Series of different ends share a column
            all the same: for equal dates look at ``frame``.

        Raises
        ------
        ValueError
            If ``max_length`` is not positive.
        """
        longest = self.card.longest if max_length is None else min(max_length, self.card.longest)
        rows = self.last(longest)
        lengths = rows.groupby("unique_id", sort=False).size().to_numpy()
        values = np.full((len(lengths), longest), np.nan)
        values[np.arange(longest) >= longest - lengths[:, None]] = rows["y"].to_numpy()
        return values

    def __repr__(self) -> str:
        """Return name, size and step."""
        step = self.frequency or "integers"
        return (
            f"ForecastingDataset({self.card.name!r}, {self.card.n_series} series of {self.card.lengths} "
            f"rows, step={step!r}, season={self.season_length}, horizon={self.horizon})"
        )


def regular_rows(first: object, length: int, frequency: str | None) -> pd.Index:
    """Return ``length`` times from ``first`` on, one step apart; whole numbers if ``frequency`` is None."""
    if frequency is None:
        return pd.RangeIndex(int(first), int(first) + length)  # type: ignore[call-overload]
    return pd.date_range(first, periods=length, freq=frequency)  # type: ignore[call-overload, no-any-return]


def long_frame(
    times: pd.Index, wide: pd.DataFrame | Mapping[str, ArrayLike], covariates: Sequence[str] = ()
) -> pd.DataFrame:
    """Return the long frame of series that share their times.

    Parameters
    ----------
    times : pandas.Index of length n
        Time of each row.
    wide : frame or mapping of str to array of shape (n,)
        Columns are series, except those named in ``covariates``, which all series share.
    covariates : sequence of str
        Columns of ``wide`` to repeat for each series.
    """
    table = pd.DataFrame(dict(wide)).reset_index(drop=True)
    names = [name for name in table.columns if name not in covariates]
    shared = {name: np.tile(table[name].to_numpy(dtype=np.float64), len(names)) for name in covariates}
    return pd.DataFrame(
        {
            "unique_id": np.repeat(np.array(names, dtype=object), len(table)),
            "ds": np.tile(np.asarray(times), len(names)),
            "y": table[names].to_numpy(dtype=np.float64).T.ravel(),
            **shared,
        }
    )
