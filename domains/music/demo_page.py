"""The page of the demonstration: the sound, what was asked for, and how the stream kept up."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from sciffusion.training.checkpoints import write_atomically

from .stream_stats import StreamStats

__all__ = ["DemoFindings", "write_page"]

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Live music</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 56rem; margin: 2rem auto;
       padding: 0 1rem }}
h1 {{ font-size: 1.6rem }} h2 {{ font-size: 1.15rem; margin-top: 2rem }}
img {{ max-width: 100%; height: auto }} audio {{ width: 100% }}
td {{ padding: .15rem 1.5rem .15rem 0 }}
.note {{ background: #fff4e0; padding: .6rem .9rem; border-radius: 6px }}
</style>
</head>
<body>
<h1>{seconds:g} seconds of live music</h1>
{note}
<p>{told} Every {block:.2f} s it makes a block of sound, given the blocks before it, in {nfe} network
evaluations.</p>
<audio controls src="stream.wav"></audio>
<h2>What sounds</h2>
{spectrogram}
<h2>What was asked for</h2>
<p>{asked} Frames show the pitch classes asked for, blue what sounds.</p>
{chroma}
<h2>How it kept up</h2>
<table>{rows}</table>
{stream}
<h2>Training</h2>
{training}
</body>
</html>
"""


class DemoFindings(NamedTuple):
    """What the demonstration found.

    Parameters
    ----------
    source, told : str
        Where the model is from.
    seconds, block_seconds : float
        Length of the music and of a block.
    plan : mapping of int to str
        Chords asked for, by the block from which on.
    stats : StreamStats
    difference : float
        Largest difference of a sample between the stream and the same piece made at once.
    """

    source: str
    told: str
    seconds: float
    block_seconds: float
    plan: Mapping[int, str]
    stats: StreamStats
    difference: float

    def summary(self) -> str:
        """Return what is printed at the end."""
        stats = self.stats
        return (
            f"{self.seconds:g} s played, {stats.underruns} underruns, real-time factor "
            f"{stats.real_time_factor:.2f} (a block of {self.block_seconds:.2f} s took {stats.p50:.2f} s); "
            f"stream and the same piece made at once differ by {self.difference:.1e} at most."
        )

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        chords = {f"{block * self.block_seconds:.2f}": chord for block, chord in self.plan.items()}
        return {
            "source": self.source, "model": self.told, "seconds": self.seconds,
            "block_seconds": self.block_seconds, "chords_from_second": chords,
            "largest_difference_from_sample": self.difference, **self.stats.to_json(),
        }  # fmt: skip


def write_page(path: Path, found: DemoFindings, *, reduced: bool) -> Path:
    """Write the page; its pictures lie beside it and are part of it, too.

    Parameters
    ----------
    path : Path
        The page; ``stream.wav`` and the pictures lie in its folder.
    found : DemoFindings
    reduced : bool
        Whether the model was fitted for show only.
    """
    note = "<p class=note>A reduced run: its model has learnt nothing, only the way was tried.</p>"
    text = _PAGE.format(
        seconds=found.seconds, told=escape(found.told), block=found.block_seconds, nfe=found.stats.nfe,
        note=note if reduced else "", asked=escape(_asked(found)), rows=_rows(found),
        **{
            name: _picture(path.with_name(f"{name}.png"), label)
            for name, label in (
                ("spectrogram", "spectrogram of the stream"), ("chroma", "pitch classes over time"),
                ("stream", "audio buffered, evaluations and block times"), ("training", "losses of the fit"),
            )
        },
    )  # fmt: skip
    write_atomically(path, lambda file: file.write(text.encode("utf-8")))
    return path


def _picture(path: Path, label: str) -> str:
    content = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<img alt="{escape(label)}" src="data:image/png;base64,{content}">'


def _asked(found: DemoFindings) -> str:
    if not found.plan:
        return "The model follows no chords."
    parts = [
        f"{chord or 'nothing'} from {block * found.block_seconds:.1f} s"
        for block, chord in found.plan.items()
    ]
    return f"Asked for: {', '.join(parts)}."


def _rows(found: DemoFindings) -> str:
    stats = found.stats
    rows = {
        "underruns (the sound had to be faded out)": str(stats.underruns),
        "a block takes, median": f"{stats.p50:.3f} s of {found.block_seconds:.2f} s",
        "a block takes, .99 quantile": f"{stats.p99:.3f} s",
        "real-time factor (below 1 plays without end)": f"{stats.real_time_factor:.2f}",
        "audio made ahead, at most": f"{stats.prebuffer_seconds:.2f} s",
        "largest difference from the same piece made at once": f"{found.difference:.1e} of full scale",
    }
    return "".join(f"<tr><td>{escape(name)}</td><td>{value}</td></tr>" for name, value in rows.items())
