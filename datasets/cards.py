"""What is known about a data set, written down beside it.

A card answers, before anybody fits a model: what one row is, what the time and the event mean and in which
unit, which share of the rows is censored, which columns of the original file tell the outcome and were
therefore dropped, where the file came from and under which licence it travels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from textwrap import fill, indent

__all__ = ["Card", "Column", "DatasetCard", "Origin"]


@dataclass(frozen=True)
class Column:
    """Meaning of one column, or of all columns that match a pattern.

    Parameters
    ----------
    name : str
        Column name as in ``SurvivalDataset.X``, or a shell pattern such as ``"X*_at"``.
    meaning : str
        What was measured.
    unit : str
        Unit of measurement; empty for categories and dimensionless scores.
    """

    name: str
    meaning: str
    unit: str = ""

    def describes(self, column: str) -> bool:
        """Whether this entry covers ``column``."""
        return fnmatchcase(column, self.name)

    def __str__(self) -> str:
        """Return ``name: meaning [unit]``."""
        unit = f" [{self.unit}]" if self.unit else ""
        return f"{self.name}: {self.meaning}{unit}"


@dataclass(frozen=True)
class Origin:
    """The file a data set is read from.

    Parameters
    ----------
    package, version : str
        Distribution that carries the file, and the version the card was written from.
    member : str
        Path of the file inside the distribution.
    sha256 : str
        SHA-256 of the file, 64 hexadecimal digits.
    """

    package: str
    version: str
    member: str
    sha256: str

    def __str__(self) -> str:
        """Return where the file lies and its hash."""
        return f"{self.member} in {self.package} {self.version} (SHA-256 {self.sha256})"


class Card(ABC):
    """What the cards of all kinds of data sets share: how columns are looked up and how a card is printed."""

    name: str
    title: str
    columns: tuple[Column, ...]

    @abstractmethod
    def facts(self) -> list[tuple[str, str]]:
        """Return (name, text) pairs of what is said in one line."""

    @abstractmethod
    def remarks(self) -> list[tuple[str, tuple[str, ...]]]:
        """Return (name, texts) pairs of what is said in a list; empty lists are left out."""

    def describe(self, column: str) -> Column:
        """Return the entry that covers ``column``.

        Raises
        ------
        KeyError
            If no entry of the card covers it.
        """
        for entry in self.columns:
            if entry.describes(column):
                return entry
        raise KeyError(f"the card of {self.name!r} does not describe a column {column!r}")

    def __str__(self) -> str:
        """Return the card as plain text, 100 characters wide."""
        lines = [self.title, "=" * len(self.title)]
        facts = self.facts()
        margin = max(len(key) for key, _ in facts) + 2
        for key, value in facts:
            lines.append(fill(f"{key + ':':<{margin}}{value}", 100, subsequent_indent=" " * margin))
        for key, values in self.remarks():
            lines += ["", f"{key}:"]
            lines += [indent(fill(f"- {value}", 96, subsequent_indent="  "), "  ") for value in values]
        return "\n".join(lines)

    def to_markdown(self) -> str:
        """Return the card as a Markdown section headed by its title."""
        lines = [f"## {self.title}", ""]
        lines += [f"- **{key}**: {value}" for key, value in self.facts()]
        for key, values in self.remarks():
            lines += ["", f"### {key.capitalize()}", ""]
            lines += [f"- {value}" for value in values]
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class DatasetCard(Card):
    """Description of a survival data set as its loader returns it.

    Parameters
    ----------
    name, title : str
        Short name as in ``list_datasets``, and one line in words.
    kind : {"load", "fetch", "make"}
        In an installed dependency, downloaded once, or simulated.
    citation : str
        Study the data come from.
    licence : str
        Terms of the file and of the package that carries it.
    origin : Origin or None
        File the data are read from; None for simulated data.
    n_rows, n_events : int
        Rows, and rows whose event was observed.
    time_unit, event_meaning : str
        Unit of ``time``, and what ``event = True`` says.
    columns : tuple of Column
        Meaning of every column of ``X``.
    dropped : tuple of str
        What the loader leaves out and why.
    leaks : tuple of str
        Columns of common distributions of this set that tell the outcome. None is in ``X``.
    notes : tuple of str
        What a careful user should know besides.
    groups : str
        What rows of one group share; empty where rows are independent.
    """

    name: str
    title: str
    kind: str
    citation: str
    licence: str
    n_rows: int
    n_events: int
    time_unit: str
    event_meaning: str
    columns: tuple[Column, ...]
    origin: Origin | None = None
    dropped: tuple[str, ...] = ()
    leaks: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())
    groups: str = ""

    @property
    def censored_share(self) -> float:
        """Share of the rows without an observed event, in [0, 1]."""
        return 1.0 - self.n_events / self.n_rows

    @property
    def loader(self) -> str:
        """Name of the function that returns the set."""
        return f"{self.kind}_{self.name}"

    def facts(self) -> list[tuple[str, str]]:
        """Return (name, text) pairs of what is said in one line."""
        return [
            ("loader", f"{self.loader}()"),
            ("rows", f"{self.n_rows}, of which {self.censored_share:.1%} censored"),
            ("time", self.time_unit),
            ("event", self.event_meaning),
            ("groups", self.groups or "none, rows are independent"),
            ("source", self.citation),
            ("file", str(self.origin) if self.origin else "none, the rows are simulated"),
            ("licence", self.licence),
        ]

    def remarks(self) -> list[tuple[str, tuple[str, ...]]]:
        """Return (name, texts) pairs of what is said in a list; empty lists are left out."""
        lists = [
            ("columns", tuple(str(column) for column in self.columns)),
            ("dropped by the loader", self.dropped),
            ("known leaks", self.leaks),
            ("notes", self.notes),
        ]
        return [(key, values) for key, values in lists if values]
