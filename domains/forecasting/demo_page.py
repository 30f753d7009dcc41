"""The page of the demonstration: one HTML file with its pictures inside, no script."""

from __future__ import annotations

import base64
import io
from html import escape
from os import PathLike
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import numpy as np

from sciffusion.estimators.imports import optional_import
from sciffusion.training.checkpoints import write_atomically

from .demo_findings import Findings, event_text, gap_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["write_page"]

# Without a date and with fixed identifiers, the same numbers give the same file.
_STYLE = {"svg.hashsalt": "sciffusion", "svg.fonttype": "path", "font.size": 10}

_ALT = {
    "forecast": "fan chart of the last day, with what happened",
    "week": "fan charts of the seven days",
    "calibration": "histogram of the transform, and coverage against level",
    "gap": "draws in the longest gap",
    "hidden": "draws on the hidden day, with its values",
}

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { --ink: #222; --soft: #5c6166; --line: #d9dcdf; --accent: #0072b2; }
body { margin: 0; background: #f4f5f6; color: var(--ink);
       font: 16px/1.55 "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 58rem; margin: 0 auto; padding: 2.2rem 3rem 3rem; background: #fff; }
h1 { font-size: 1.8rem; line-height: 1.25; margin: 0 0 .3rem; font-weight: 600; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; padding-top: .8rem; border-top: 1px solid var(--line); }
p { margin: .5rem 0; max-width: 48rem; }
.soft { color: var(--soft); }
figure { margin: .8rem 0; }
img { width: 100%; height: auto; display: block; }
table { border-collapse: collapse; margin: .8rem 0; font-size: .94rem; }
th, td { padding: .35rem 1.2rem .35rem 0; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; }
code { font-family: ui-monospace, Menlo, Consolas, monospace; font-size: .88em; overflow-wrap: anywhere; }
@media (max-width: 44rem) { main { padding: 1.4rem; } }
</style>
</head>
<body>
<main>
<h1>$title</h1>
<p class="soft">$subtitle</p>
<h2>The last day, forecast the evening before</h2>
$forecast
<p>$event</p>
<h2>A week, a day at a time</h2>
<p>One fit, before the first of these days; each forecast starts from what was known the evening before.</p>
$week
$table
<h2>Can the intervals be believed?</h2>
$calibration
<p class="soft">Seven days of one house are few: the bars show what chance alone can do.</p>
<h2>Gaps</h2>
<p>The longest gap of the record, $gap_begin to $gap_end, drawn given both of its sides. What it was is not
known.</p>
$gap
<p>$hidden_text</p>
$hidden
<h2>How this page was made</h2>
<p><code>$command</code></p>
<p class="soft">$times</p>
</main>
</body>
</html>
""")


def write_page(path: str | PathLike[str], found: Findings, command: str, *, reduced: bool) -> Path:
    """Write the page, and its pictures as PNG files beside it.

    Parameters
    ----------
    path : path-like
        The HTML file; its folder must exist.
    found : Findings
        What to show.
    command : str
        What the reader would type to make the page again.
    reduced : bool
        Whether the run was a short one, which the page then says.
    """
    target, frame = Path(path), found.frame
    begin, end = (f"{stamp:%d %B %Y}" for stamp in frame["ds"].iloc[[0, -1]])
    note = "A reduced run: few rows and training steps; its numbers judge nothing. " if reduced else ""
    page = _PAGE.substitute(
        title="Electric power of a household: forecasts, gaps, a peak",
        subtitle=f"{note}Hourly means from {begin} to {end}, {int(frame['y'].isna().sum())} of {len(frame)} "
        "hours missing. Source: Hebrail and Berard, Individual household electric power consumption (UCI).",
        event=escape(event_text(found)),
        hidden_text=escape(
            f"A day whose values are known was hidden before the fit (vermilion). {gap_text(found)}"
        ),
        table=_table(found),
        gap_begin=f"{found.gap[0]:%d %B, %H:%M}",
        gap_end=f"{found.gap[1]:%d %B, %H:%M}",
        command=escape(command),
        times=escape(", ".join(f"{name}: {value:.0f} s" for name, value in found.seconds.items())),
        **{name: _picture(name, figure) for name, figure in found.figures.items()},
    )
    for name, figure in found.figures.items():
        _save(target.parent / f"{name}.png", figure)
    write_atomically(target, lambda file: file.write(page.encode("utf-8")))
    return target


def _table(found: Findings) -> str:
    heads = {"scaled_crps": "scaled CRPS", "mase": "MASE", "energy_score": "energy score"}
    levels = ("coverage-80", "coverage-95")
    titles = ["", *heads.values(), "in 80 %", "in 95 %"]
    rows = ["<tr>" + "".join(f"<th>{escape(title)}</th>" for title in titles) + "</tr>"]
    for name, table in found.tables.items():
        cells = [f"{table[column].mean():.3f}" for column in heads]
        cells += [
            f"{100 * np.average(table[column], weights=table['n_observed']):.0f} %" for column in levels
        ]
        rows.append(f"<tr><td>{escape(name)}</td>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return f"<table>{''.join(rows)}</table>"


def _picture(name: str, figure: Figure) -> str:
    matplotlib = optional_import("matplotlib", "plots")
    buffer = io.BytesIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f'<figure><img alt="{_ALT[name]}" src="data:image/svg+xml;base64,{data}"></figure>'


def _save(path: Path, figure: Figure) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=140)
    write_atomically(path, lambda file: file.write(buffer.getvalue()))
