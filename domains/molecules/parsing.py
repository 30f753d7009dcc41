"""One SMILES string read by RDKit, quietly, and the reason where it cannot be read.

RDKit writes to the error stream for every string that it refuses. It is silent here while it reads, and its
log is afterwards as it was. The reasons are found without that log: signs that are none of SMILES, brackets,
branches and rings left open, and then what RDKit calls problems of chemistry (valences, aromatic rings).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sciffusion.estimators.imports import optional_import

__all__ = ["invalid_reason", "parse_smiles", "quiet_rdkit"]

_EXTRA = "molecules"
_WHITE_SPACE = re.compile(r"\s")
_BRACKET = re.compile(r"\[[^\[\]]*\]")
_RING = re.compile(r"%\((\d+)\)|%(\d\d)|(\d)")


@contextmanager
def quiet_rdkit() -> Iterator[None]:
    """Silence RDKit's log inside the block; afterwards it is as it was.

    Raises
    ------
    ImportError
        If RDKit is not installed.
    """
    blocked = optional_import("rdkit.rdBase", _EXTRA).BlockLogs()
    try:
        yield
    finally:
        del blocked


def parse_smiles(smiles: str) -> Any:
    """Return the RDKit molecule of a SMILES string, or None if it is none.

    An empty string is no molecule here, and neither is one with white space in it, of which RDKit would take
    what follows the space for a name.

    Raises
    ------
    ImportError
        If RDKit is not installed.
    """
    if not isinstance(smiles, str) or not smiles or _WHITE_SPACE.search(smiles):
        return None
    chem = optional_import("rdkit.Chem", _EXTRA)
    with quiet_rdkit():
        molecule = chem.MolFromSmiles(smiles)
    return molecule if molecule is not None and molecule.GetNumAtoms() else None


def invalid_reason(smiles: Any) -> str | None:
    """Return why a string is no valid molecule, or None if it is one.

    Parameters
    ----------
    smiles : object
        What stands where a SMILES should; anything but a string has its type as the reason.

    Returns
    -------
    str or None
        Such as ``"ring 1 is never closed"`` or ``"Explicit valence for atom # 1 C, 5, is greater than
        permitted"``.
    """
    if not isinstance(smiles, str):
        return f"not a string but {type(smiles).__name__}"
    if not smiles.strip():
        return "empty string"
    if space := _WHITE_SPACE.search(smiles):
        return f"white space at position {space.start()}"
    if parse_smiles(smiles) is not None:
        return None
    return _open_signs(smiles) or _chemistry_problem(smiles) or "not readable as SMILES"


def _open_signs(smiles: str) -> str | None:
    """Return the bracket, branch or ring that is left open."""
    outside = _BRACKET.sub("", smiles)
    if "[" in outside or "]" in outside:
        return "a bracket [ ] is never closed, never opened, or nested"
    depth = 0
    for sign in outside:
        depth += (sign == "(") - (sign == ")")
        if depth < 0:
            return "a branch ) is closed that was never opened"
    if depth:
        return "a branch ( is never closed"
    open_rings: set[str] = set()
    for match in _RING.finditer(outside):
        open_rings ^= {next(number for number in match.groups() if number)}
    return f"ring {', '.join(sorted(open_rings))} is never closed" if open_rings else None


def _chemistry_problem(smiles: str) -> str | None:
    """Return what RDKit finds wrong with a string whose signs it can read."""
    chem = optional_import("rdkit.Chem", _EXTRA)
    with quiet_rdkit():
        molecule = chem.MolFromSmiles(smiles, sanitize=False)
        problems = chem.DetectChemistryProblems(molecule) if molecule is not None else ()
    return str(problems[0].Message()) if problems else None
