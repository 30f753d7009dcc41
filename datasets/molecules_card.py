"""`MoleculeCard`: what is known about a set of molecules."""

from __future__ import annotations

from dataclasses import dataclass

from .cards import Card, Column, Origin

__all__ = ["MoleculeCard"]


@dataclass(frozen=True)
class MoleculeCard(Card):
    """Description of a set of molecules as its loader returns it.

    Strings are those of the file: none is left out, rewritten or reordered, not even those that
    RDKit refuses.

    Parameters
    ----------
    name, title : str
        Short name as in ``list_molecule_datasets``, and one line in words.
    loader : str
        Name of the function that returns the set.
    argument : tuple of (str, str) or None
        Name and value of the argument of the loader that asks for this set, if it has one.
    citation, licence : str
        Where the molecules come from; terms of the data and of the package that carries the file.
    origin : Origin
        File the set is read from.
    n_rows, n_distinct, n_invalid : int
        Rows, different strings, and rows whose string RDKit 2026.9.1 refuses.
    columns : tuple of Column
        Meaning of every column, ``smiles`` first.
    targets : tuple of str
        Columns of measured numbers that a model may be conditioned on.
    notes : tuple of str
        What a careful user should know besides.
    """

    name: str
    title: str
    loader: str
    citation: str
    licence: str
    origin: Origin
    n_rows: int
    n_distinct: int
    n_invalid: int
    columns: tuple[Column, ...]
    argument: tuple[str, str] | None = None
    targets: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """Where the set comes from: "load" (in an installed package) or "fetch" (downloaded once)."""
        return self.loader.partition("_")[0]

    @property
    def call(self) -> str:
        """The call that returns the set."""
        argument = "" if self.argument is None else f"{self.argument[0]}={self.argument[1]!r}"
        return f"{self.loader}({argument})"

    def facts(self) -> list[tuple[str, str]]:
        """Return (name, text) pairs of what is said in one line."""
        return [
            ("loader", self.call),
            ("molecules", f"{self.n_rows} rows, {self.n_distinct} different strings"),
            ("invalid", f"{self.n_invalid} rows are refused by RDKit 2026.9.1"),
            ("targets", ", ".join(self.targets) or "none"),
            ("source", self.citation),
            ("file", str(self.origin)),
            ("licence", self.licence),
        ]

    def remarks(self) -> list[tuple[str, tuple[str, ...]]]:
        """Return (name, texts) pairs of what is said in a list; empty lists are left out."""
        lists = [("columns", tuple(map(str, self.columns))), ("notes", self.notes)]
        return [(key, values) for key, values in lists if values]
