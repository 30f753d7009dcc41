"""`ForecastingCard`: what is known about a set of time series, and how forecasts of it are judged."""

from __future__ import annotations

from dataclasses import dataclass

from .cards import Card, Column, Origin

__all__ = ["ForecastingCard"]


@dataclass(frozen=True)
class ForecastingCard(Card):
    """Description of a set of series as its loader returns it.

    Every series stands on a regular grid of its frequency from its first row to its last; what was not
    measured is a row whose ``y`` is NaN.

    Parameters
    ----------
    name, title : str
        Short name as in ``list_forecasting_datasets``, and one line in words.
    citation, licence : str
        Where the series come from; terms of the file and of the package that carries it.
    origin : Origin
        File the series are read from.
    frequency : str or None
        Pandas' name of the step; None where ``ds`` counts steps as whole numbers.
    season_length, horizon, n_windows : int
        How forecasts are judged: ``horizon`` steps from each of ``n_windows`` origins that are ``horizon``
        steps apart, the last of them ``horizon`` steps before the end. A season has ``season_length`` steps.
    n_series, n_rows, shortest, longest, n_missing : int
        Number of series, rows of all, of the shortest and of the longest, and rows of all without a value.
    target : Column
        What ``y`` is, and its unit.
    series : str
        What distinguishes the series.
    columns : tuple of Column
        Meaning of every covariate.
    past, future, static : tuple of str
        Names of the covariates known up to the last row only, known in advance, and constant in a series.
    changes : tuple of str
        What the loader changes or leaves out.
    notes : tuple of str
        What a careful user should know besides.
    held_back : bool
        True for the sets on which no choice of this library was made, so that results on them are a check.
    """

    name: str
    title: str
    citation: str
    licence: str
    origin: Origin
    frequency: str | None
    season_length: int
    horizon: int
    n_windows: int
    n_series: int
    n_rows: int
    shortest: int
    longest: int
    target: Column
    series: str
    n_missing: int = 0
    columns: tuple[Column, ...] = ()
    past: tuple[str, ...] = ()
    future: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    held_back: bool = False

    @property
    def loader(self) -> str:
        """Name of the function that returns the set."""
        return f"fetch_{self.name}"

    @property
    def missing_share(self) -> float:
        """Share of the rows without a value, in [0, 1)."""
        return self.n_missing / self.n_rows

    @property
    def lengths(self) -> str:
        """Rows of a series in words."""
        return str(self.longest) if self.shortest == self.longest else f"{self.shortest} to {self.longest}"

    def facts(self) -> list[tuple[str, str]]:
        """Return (name, text) pairs of what is said in one line."""
        step = self.frequency or "whole numbers"
        return [
            ("loader", f"{self.loader}()"),
            (
                "size",
                f"{self.n_series} series of {self.lengths} rows, {self.missing_share:.1%} of them missing",
            ),
            ("series", self.series),
            ("y", str(self.target).removeprefix("y: ")),
            ("step", f"{step}, season of {self.season_length}"),
            ("judged on", f"{self.horizon} steps ahead from {self.n_windows} origins a series"),
            ("held back", "yes, no choice was made on it" if self.held_back else "no"),
            ("source", self.citation),
            ("file", str(self.origin)),
            ("licence", self.licence),
        ]

    def remarks(self) -> list[tuple[str, tuple[str, ...]]]:
        """Return (name, texts) pairs of what is said in a list; empty lists are left out."""
        lists = [
            ("covariates known up to now", self._described(self.past)),
            ("covariates known in advance", self._described(self.future)),
            ("constant covariates", self._described(self.static)),
            ("changed by the loader", self.changes),
            ("notes", self.notes),
        ]
        return [(key, values) for key, values in lists if values]

    def _described(self, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(str(self.describe(name)) for name in names))
