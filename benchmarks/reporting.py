"""Tables and headers that every benchmark writes: CSV and Markdown, with the conditions of the run.

A header names date, processor, command, versions and whether the run was reduced. It holds no path and no
host name. Files are written under a temporary name and moved into place, so that a reader never sees half a
file and an interrupted run keeps what it had.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Sequence
from datetime import datetime
from importlib import metadata
from pathlib import Path

import pandas as pd

__all__ = ["RowFile", "markdown_table", "run_header", "write_markdown", "write_table", "write_text"]

PACKAGES = ("numpy", "pandas", "scipy", "scikit-learn", "torch", "scikit-survival", "lifelines", "hazardous")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _command(arguments: Sequence[str]) -> str:
    """Give the command as typed from the repository root, without the folder it wrote to."""
    kept, skip = [], False
    for word in arguments[1:]:
        if skip or word.startswith("--out"):
            skip = not skip and word == "--out"
            continue
        kept.append(f'"{word}"' if " " in word else word)
    return " ".join(["python", f"benchmarks/{Path(arguments[0]).name}", *kept])


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def run_header(reduced: bool, arguments: Sequence[str] | None = None) -> dict[str, str]:
    """Give the conditions of this run as an ordered mapping of words."""
    return {
        "date": datetime.now().astimezone().date().isoformat(),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {platform.system()}",
        "command": _command(sys.argv if arguments is None else arguments),
        "run": "REDUCED: something was left out, not the published numbers" if reduced else "full",
        "versions": ", ".join(
            [f"python {platform.python_version()}", *(f"{name} {_version(name)}" for name in PACKAGES)]
        ),
    }


def write_text(path: Path, text: str) -> None:
    """Write a file by moving a finished temporary one into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV, its index included."""
    write_text(path, table.to_csv())


def markdown_table(table: pd.DataFrame, digits: int = 3) -> str:
    """Give a table in Markdown, numbers rounded, missing ones as a dash."""

    def cell(value: object) -> str:
        if isinstance(value, float):
            return "-" if value != value else f"{value:.{digits}f}"
        return str(value)

    names = [str(table.index.name or ""), *map(str, table.columns)]
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    for label, row in zip(table.index, table.itertuples(index=False), strict=True):
        lines.append("| " + " | ".join([str(label), *map(cell, row)]) + " |")
    return "\n".join(lines)


def write_markdown(
    path: Path, title: str, header: dict[str, str], sections: Sequence[tuple[str, str]]
) -> None:
    """Write a report: title, conditions of the run, then (heading, text) sections."""
    parts = [f"# {title}", "\n".join(f"- {name}: {value}" for name, value in header.items())]
    parts += [f"## {heading}\n\n{text}" if heading else text for heading, text in sections]
    write_text(path, "\n\n".join(parts) + "\n")


class RowFile:
    """Rows of a running benchmark in a CSV file, each written as it comes, so that a run can be resumed.

    Parameters
    ----------
    path : Path
        The CSV file. A JSON file of the same stem holds `settings`.
    key : sequence of str
        Columns that name a row.
    settings : dict
        What rows must have in common to stand in one table.
    resume : bool
        Keep the rows already there; otherwise start anew.

    Raises
    ------
    ValueError
        When resuming a file whose settings differ.
    """

    def __init__(self, path: Path, key: Sequence[str], settings: dict[str, object], resume: bool) -> None:
        self.path, self.key, self._rows = path, list(key), []
        settings_path = path.with_suffix(".json")
        if resume and path.exists():
            found = json.loads(settings_path.read_text()) if settings_path.exists() else None
            if found != settings:
                raise ValueError(
                    f"resume: {path.name} was made with {found}, this run has {settings}; use a new --out"
                )
            self._rows = pd.read_csv(path).to_dict("records")
        write_text(settings_path, json.dumps(settings, indent=1) + "\n")

    def __contains__(self, key: tuple[object, ...]) -> bool:
        """Say whether a row of this key is there."""
        return any(tuple(row[name] for name in self.key) == key for row in self._rows)

    def add(self, row: dict[str, object]) -> None:
        """Add one row and write the file."""
        self._rows.append(row)
        write_text(self.path, self.frame().to_csv(index=False))

    def frame(self) -> pd.DataFrame:
        """Give all rows."""
        return pd.DataFrame(self._rows)
