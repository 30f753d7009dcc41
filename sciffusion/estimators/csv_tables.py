"""Tables from CSV files, with errors that say what to mend.

Every cell is read as text first; what it means is decided by what its column is for. Empty cells and NA, NaN,
null, None are missing. The index of a table holds the lines of the file, the header being line 1, so that
messages can name them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = [
    "MOST_SHOWN",
    "as_numbers",
    "find_columns",
    "name_lines",
    "read_numbers",
    "read_table",
    "suggest_column",
]

#: Values, lines or names that a message shows at most.
MOST_SHOWN = 5

_MISSING = ["", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "<NA>"]
_BOOLEAN = {"true": 1.0, "false": 0.0}


def read_table(path: Path, separator: str = ",") -> pd.DataFrame:
    """Read a CSV file with a header, all cells as text.

    Parameters
    ----------
    path : Path
        The file, in UTF-8.
    separator : str
        What stands between the cells.

    Returns
    -------
    DataFrame
        Stripped texts, NaN where a cell is missing, without blank lines; the index holds line numbers.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is empty, is no table, or has two columns of one name.
    """
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "does not exist"
        raise FileNotFoundError(f"the data file {str(path)!r} {what}")
    try:
        table = pd.read_csv(
            path, sep=separator, dtype=str, encoding="utf-8-sig", keep_default_na=False, header=None,
            skip_blank_lines=False, skipinitialspace=True,
        )  # fmt: skip
    except pd.errors.EmptyDataError as error:
        raise ValueError(f"the data file {str(path)!r} is empty") from error
    except UnicodeDecodeError as error:
        raise ValueError(
            f"the data file {str(path)!r} is not UTF-8 text ({error}); save it as UTF-8"
        ) from error
    except pd.errors.ParserError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"the data file {str(path)!r} is no table: {reason}") from error
    # The header is read as a row of its own: pandas would rename columns of the same name.
    names = [name.strip() for name in table.iloc[0].fillna("")]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"the data file {str(path)!r} has several columns named {', '.join(map(repr, twice))}"
        )
    rows = pd.DataFrame({name: table[place].iloc[1:].str.strip() for place, name in enumerate(names)})
    rows.index = pd.RangeIndex(2, len(table) + 1)
    rows = rows.mask(rows.isin(_MISSING)).dropna(how="all")
    if rows.empty:
        raise ValueError(f"the data file {str(path)!r} has a header but no rows")
    return rows


def find_columns(table: pd.DataFrame, names: Iterable[str], option: str) -> list[str]:
    """Return the names, after checking that all are columns of the table.

    Raises
    ------
    ValueError
        Naming the option, the first missing column and similar ones.
    """
    found = [str(column) for column in table.columns]
    wanted = list(names)
    for name in wanted:
        if name not in found:
            raise ValueError(f"{option}: there is no column {name!r}; {suggest_column(name, found)}")
    return wanted


def as_numbers(column: pd.Series[str]) -> pd.Series[float] | None:
    """Return the column as float64, true and false as 1 and 0; None if it holds text."""
    lower = column.str.lower()
    if lower.dropna().isin(_BOOLEAN).all() and lower.notna().any():
        return lower.map(_BOOLEAN).astype(np.float64)
    numbers = pd.to_numeric(column, errors="coerce")
    return None if (numbers.isna() & column.notna()).any() else numbers.astype(np.float64)


def read_numbers(column: pd.Series[str], what: str) -> NDArray[np.float64]:
    """Return the column as float64, NaN where a cell is missing.

    Raises
    ------
    ValueError
        If a cell holds text; it says `what`, such as "the column 'age'", with the texts and their lines.
    """
    numbers = as_numbers(column)
    if numbers is not None:
        return np.array(numbers, dtype=np.float64)
    wrong = (pd.to_numeric(column, errors="coerce").isna() & column.notna()).to_numpy(dtype=np.bool_)
    values = ", ".join(map(repr, column[wrong].unique()[:MOST_SHOWN]))
    comma = " (a decimal comma? write a point)" if column[wrong].str.fullmatch(r"-?\d+,\d+").all() else ""
    raise ValueError(f"{what} must hold numbers, found {values} in {name_lines(column, wrong)}{comma}")


def suggest_column(name: str, columns: Sequence[str]) -> str:
    """Return what to say where a column is not there: another separator, similar names, or all names."""
    if len(columns) == 1 and any(mark in columns[0] for mark in (";", "\t", "|")):
        return f"the header is the single column {columns[0]!r}: give the right --separator"
    lower = {column.lower(): column for column in columns}
    close = [lower[match] for match in get_close_matches(name.lower(), lower, n=3, cutoff=0.6)]
    if close:
        return f"did you mean {' or '.join(map(repr, close))}?"
    shown = ", ".join(columns[:12]) + (", ..." if len(columns) > 12 else "")
    return f"the columns are {shown}"


def name_lines(table: pd.DataFrame | pd.Series[str], wrong: NDArray[np.bool_]) -> str:
    """Name the first offending lines of the file; the header is line 1."""
    lines = table.index[wrong]
    more = f", ... ({len(lines)} in all)" if len(lines) > MOST_SHOWN else ""
    return f"line{'s' if len(lines) > 1 else ''} {', '.join(map(str, lines[:MOST_SHOWN]))}{more}"
