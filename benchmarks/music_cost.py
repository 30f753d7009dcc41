"""What a second of music costs: `python benchmarks/music_cost.py`.

Blocks of .96 s after a context of 2 to 32 s, by four schemes in one run: plain outpainting, an
encoder-decoder and block-causal blocks with cached keys, and frames of codes by an autoregressive transformer
of the same width and depth; 1 to 50 evaluations a block. One thread, CPU time, the same treatment of linear
layers for all; cached evaluations are compared with masked ones of everything in the same run. Then the ratio
by width, by how linear layers are computed, and what a step of a whole session costs, codec included.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from bars import bars_text, check_exit_code
from measuring import limit_threads
from music_cost_report import cost_bars, draw, reading
from music_cost_rows import QUICK, Size, context_rows, setting_rows, width_rows
from music_cost_session import latency_rows, session_rows
from reporting import markdown_table, run_header, write_markdown, write_table

__all__ = ["main"]


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What a second of music costs.")
    parser.add_argument("--quick", action="store_true", help="fewer contexts and repeats")
    parser.add_argument("--compiled", action="store_true", help="also measure compiled layers")
    parser.add_argument("--check", action="store_true", help="compare with the bars; exit 1 if one is missed")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/music_cost"))
    return parser.parse_args(arguments)


def _collected(rows: Iterator[dict[str, Any]], name: str, folder: Path) -> pd.DataFrame:
    """Give a table, written anew with every row."""
    found: list[dict[str, Any]] = []
    for row in rows:
        found.append(row)
        table = pd.DataFrame(found)
        write_table(folder / f"{name}.csv", table.set_index(table.columns[0]))
        print(
            name, {key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()}
        )
    return pd.DataFrame(found)


def main(arguments: Sequence[str] | None = None, size: Size | None = None) -> int:
    """Measure everything, write tables and picture, and give the exit code."""
    options = _parse(arguments)
    limit_threads()
    reduced = options.quick or size is not None
    size = size or (QUICK if options.quick else Size())
    if options.compiled:
        size = replace(size, settings=(*size.settings, "compiled"))
    began = time.process_time()
    parts = {"session": session_rows, "latency": latency_rows, "context": context_rows,
             "widths": width_rows, "settings": setting_rows}  # fmt: skip
    tables = {name: _collected(rows(size), name, options.out) for name, rows in parts.items()}
    bars = cost_bars(tables["context"], tables["session"], size)
    draw(tables, size, options.out / "music_cost.png", ", reduced run" if reduced else "")
    sections = [("What it says", reading(tables, size)), ("Bars", bars_text(bars))]
    sections.append(("Picture", "![music_cost.png](music_cost.png)"))
    for name, table in tables.items():
        shown = table.set_index(table.columns[0])
        for column in shown.filter(like="difference"):
            shown[column] = [f"{value:.1e}" for value in shown[column]]
        sections.append((name.capitalize(), markdown_table(shown)))
    header = run_header(reduced, None if arguments is None else ["music_cost.py", *arguments])
    header["processor features"] = torch.backends.cpu.get_cpu_capability()
    header["CPU seconds"] = f"{time.process_time() - began:.0f}"
    write_markdown(options.out / "report.md", "What a second of music costs", header, sections)
    return check_exit_code(bars) if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
