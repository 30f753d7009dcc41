"""Molecules from files and to files: CSV with a column of SMILES, or ``.smi`` with one a line.

A ``.smi`` file holds a SMILES at the start of each line, and what follows after white space is a name; empty
lines and those that begin with ``#`` are skipped. A CSV file has a header.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from sciffusion.estimators.csv_tables import find_columns, name_lines, read_numbers, read_table
from sciffusion.training.checkpoints import write_atomically

__all__ = ["SMILES_COLUMN", "find_smiles_column", "read_molecules", "read_properties", "write_molecules"]

#: Name of the column of SMILES in files that are written.
SMILES_COLUMN = "smiles"

_LINES = (".smi", ".smiles", ".txt")
_USUAL = ("smiles", "canonical_smiles", "smi", "structure", "mol")


def read_molecules(path: Path, column: str = "", separator: str = ",") -> pd.DataFrame:
    """Read a file of molecules.

    Parameters
    ----------
    path : Path
        CSV with a header, or lines if it ends in ``.smi``, ``.smiles`` or ``.txt``.
    column : str
        Column of SMILES; by default one of a usual name.
    separator : str
        What stands between cells.

    Returns
    -------
    DataFrame
        Text, with the SMILES in a column ``smiles`` (renamed if need be), indexed by the lines of the file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is empty, has no such column, or SMILES are missing in some lines, which are named.
    """
    if path.suffix.lower() in _LINES:
        return _read_lines(path)
    table = read_table(path, separator)
    found = find_smiles_column(table, column)
    missing = table[found].isna().to_numpy(dtype=np.bool_)
    if missing.any():
        raise ValueError(f"the column {found!r} of {path.name} is empty in {name_lines(table, missing)}")
    return table.rename(columns={found: SMILES_COLUMN})


def find_smiles_column(table: pd.DataFrame, column: str = "") -> str:
    """Return the name of the column of SMILES, given or of a usual name.

    Raises
    ------
    ValueError
        If there is no such column.
    """
    if column:
        return find_columns(table, [column], "--smiles")[0]
    lower = {str(name).lower(): str(name) for name in table.columns}
    for name in _USUAL:
        if name in lower:
            return lower[name]
    raise ValueError(
        f"there is no column named {SMILES_COLUMN!r} among {', '.join(map(str, table.columns[:12]))}; say "
        "with --smiles which one holds the SMILES"
    )


def read_properties(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame | None:
    """Return columns of numbers by their names, NaN where a cell is empty; None for no names.

    Raises
    ------
    ValueError
        If a column is missing or holds text.
    """
    if not names:
        return None
    columns = find_columns(table, names, "--properties")
    return pd.DataFrame(
        {name: read_numbers(table[name], f"the column {name!r}") for name in columns}, index=table.index
    )


def write_molecules(path: Path, table: pd.DataFrame, separator: str = ",") -> None:
    """Write a table with a column ``smiles`` as CSV, or only the SMILES if the path ends in ``.smi``."""
    if path.suffix.lower() in _LINES:
        text = "".join(f"{one}\n" for one in table[SMILES_COLUMN])
    else:
        text = table.to_csv(index=False, sep=separator, float_format="%.6g", lineterminator="\n")
    write_atomically(path, lambda file: file.write(text.encode("utf-8")))


def _read_lines(path: Path) -> pd.DataFrame:
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "does not exist"
        raise FileNotFoundError(f"the data file {str(path)!r} {what}")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"the data file {str(path)!r} is not UTF-8 text ({error}); save it as UTF-8"
        ) from error
    parts = {
        number: line.split(maxsplit=1)
        for number, line in enumerate(lines, start=1)
        if line.strip() and not line.lstrip().startswith("#")
    }
    if not parts:
        raise ValueError(f"the data file {str(path)!r} holds no molecules")
    return pd.DataFrame({SMILES_COLUMN: [part[0] for part in parts.values()]}, index=pd.Index(parts))
