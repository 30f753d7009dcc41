"""Checks of molecules that a user gives: what is no molecule is refused or left out, and always listed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sciffusion.estimators.imports import optional_import
from sciffusion.estimators.validation import check_choice

from .parallel import map_chunks
from .parsing import invalid_reason, parse_smiles, quiet_rdkit

__all__ = [
    "CheckedMolecules",
    "InputReport",
    "InvalidMoleculesError",
    "OnInvalid",
    "canonical_smiles",
    "check_smiles",
]

OnInvalid = Literal["raise", "drop"]
_N_SHOWN = 5
_LONGEST_SHOWN = 60


@dataclass(frozen=True, eq=False, repr=False)
class InputReport:
    """What was wrong with the molecules that were given.

    Parameters
    ----------
    n_given : int
        Number of rows.
    invalid : pandas.DataFrame
        One row for each that is no molecule: ``row`` (position, counted from 0), ``smiles`` (what was found)
        and ``reason``.
    n_repeated : int
        Valid rows that are a molecule met in an earlier row; these are kept.
    """

    n_given: int
    invalid: pd.DataFrame
    n_repeated: int

    @property
    def n_valid(self) -> int:
        """Number of rows that are molecules."""
        return self.n_given - len(self.invalid)

    @property
    def reasons(self) -> pd.Series[int]:
        """Number of rows of each reason, without what distinguishes atoms and rings, most frequent first."""
        kinds = self.invalid["reason"].str.replace(r"[#\d].*$", "...", regex=True)
        return kinds.value_counts().rename("rows")

    def __str__(self) -> str:
        """Return counts and the first rows that are no molecule."""
        lines = [
            f"{self.n_valid} of {self.n_given} rows are molecules, {self.n_repeated} of them met before"
            f"{'' if len(self.invalid) else '; none is invalid'}"
        ]
        lines += [
            f"  row {row}: {_shortened(smiles)} ({reason})"
            for row, smiles, reason in self.invalid.head(_N_SHOWN).itertuples(index=False)
        ]
        more = len(self.invalid) - _N_SHOWN
        return "\n".join([*lines, f"  and {more} more" * (more > 0)]).rstrip()

    def __repr__(self) -> str:
        """Return the counts."""
        return f"InputReport(n_given={self.n_given}, n_valid={self.n_valid}, n_repeated={self.n_repeated})"


class InvalidMoleculesError(ValueError):
    """Molecules were given of which some are none; ``report`` lists them."""

    def __init__(self, message: str, report: InputReport) -> None:
        super().__init__(message)
        self.report = report

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.report)


@dataclass(frozen=True, eq=False)
class CheckedMolecules:
    """The molecules that are left, in their order.

    Parameters
    ----------
    smiles : list of str
        Valid molecules, canonical where that was asked for.
    rows : ndarray of int
        Their positions among those given.
    report : InputReport
        What was left out.
    """

    smiles: list[str]
    rows: NDArray[np.intp]
    report: InputReport


def check_smiles(
    smiles: Any,
    *,
    errors: OnInvalid = "raise",
    canonical: bool = True,
    n_jobs: int | None = None,
    name: str = "smiles",
) -> CheckedMolecules:
    """Return the valid ones of the molecules that a user gave, with a report of the others.

    Parameters
    ----------
    smiles : sequence of str or of RDKit molecules, Series, or frame of one column
        The molecules.
    errors : {"raise", "drop"}
        Refuse them all, or leave out what is no molecule.
    canonical : bool
        Return canonical SMILES, or strings as they were given (RDKit molecules are written canonically).
    n_jobs : int or None
        Processes, see ``joblib``; about .2 ms a molecule.
    name : str
        Name of the argument in messages.

    Returns
    -------
    CheckedMolecules

    Raises
    ------
    TypeError
        If one string is given, or something that cannot be iterated over.
    ValueError
        If nothing is given, or nothing is left. `InvalidMoleculesError`, which carries the report, if
        ``errors="raise"`` and something is no molecule.
    ImportError
        If RDKit is not installed.
    """
    check_choice("errors", errors, get_args(OnInvalid))
    given = _as_list(smiles, name)
    if not given:
        raise ValueError(f"{name} is empty, expected at least one molecule")
    rows = [row for chunk in map_chunks(_read, given, n_jobs) for row in chunk]
    valid = [place for place, (found, _) in enumerate(rows) if found is not None]
    report = _report(given, rows, valid)
    if len(valid) < len(given) and (errors == "raise" or not valid):
        hint = "; errors='drop' leaves such rows out" if valid else ": nothing is left"
        raise InvalidMoleculesError(f"{name} holds what is no molecule{hint}. {report}", report)
    kept = [_written(given[place], str(rows[place][0]), canonical) for place in valid]
    return CheckedMolecules(kept, np.array(valid, dtype=np.intp), report)


def canonical_smiles(smiles: Sequence[str], *, n_jobs: int | None = None) -> list[str | None]:
    """Return RDKit's canonical SMILES of each string, None for those that are no molecule.

    Parameters
    ----------
    smiles : sequence of str
        Valid or not.
    n_jobs : int or None
        Processes, see ``joblib``.
    """
    chunks = map_chunks(partial(_read, reasons=False), list(smiles), n_jobs)
    return [found for chunk in chunks for found, _ in chunk]


def _as_list(smiles: Any, name: str) -> list[Any]:
    if isinstance(smiles, pd.DataFrame):
        if smiles.shape[1] != 1:
            raise ValueError(
                f"{name} is a frame with the columns {list(smiles.columns)}, expected one column of SMILES"
            )
        smiles = smiles.iloc[:, 0]
    if isinstance(smiles, str | bytes) or not isinstance(smiles, Iterable):
        raise TypeError(
            f"{name} must be a sequence of SMILES, got {type(smiles).__name__}: {_shortened(smiles)}; "
            "put a single molecule into a list"
        )
    if isinstance(smiles, np.ndarray):
        smiles = smiles.ravel() if smiles.ndim == 2 and smiles.shape[1] == 1 else smiles
        if smiles.ndim != 1:
            raise ValueError(f"{name} must have one dimension, got shape {smiles.shape}")
    return list(smiles)


def _is_molecule(item: Any) -> bool:
    return hasattr(item, "GetNumAtoms") and hasattr(item, "GetBonds")


def _read(items: Sequence[Any], reasons: bool = True) -> list[tuple[str | None, str]]:
    """Return (canonical SMILES or None, reason) of each item."""
    chem = optional_import("rdkit.Chem", "molecules")
    found: list[tuple[str | None, str]] = []
    with quiet_rdkit():
        for item in items:
            molecule = item if _is_molecule(item) else parse_smiles(item)
            if molecule is not None and molecule.GetNumAtoms():
                found.append((str(chem.MolToSmiles(molecule)), ""))
            else:
                empty = "a molecule without atoms" if _is_molecule(item) else ""
                found.append((None, (empty or invalid_reason(item) or "unreadable") if reasons else ""))
    return found


def _report(given: list[Any], rows: list[tuple[str | None, str]], valid: list[int]) -> InputReport:
    bad = [place for place, (found, _) in enumerate(rows) if found is None]
    invalid = pd.DataFrame(
        {
            "row": bad,
            "smiles": [given[place] for place in bad],
            "reason": pd.Series([rows[place][1] for place in bad], dtype=object),
        }
    )
    return InputReport(len(given), invalid, len(valid) - len({rows[place][0] for place in valid}))


def _written(item: Any, found: str, canonical: bool) -> str:
    return found if canonical or _is_molecule(item) else str(item)


def _shortened(item: Any) -> str:
    text = repr(item)
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."
