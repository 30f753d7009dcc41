"""Minutes on end through the real server to the real page: `python benchmarks/music_soak.py`.

A server in a process of its own streams a model of the default size to the page of the player in headless
Chromium. Every second, dropouts, fill, evaluations a block and resident memory are noted; every four seconds
the page asks the server for SHA-256 of exactly the samples that its audio thread has played and compares it
with its own: one sample lost, doubled or changed between the model and the loudspeaker and they differ for
good. Then three pages play at once, and a fourth one asks for more than the server takes.

Without ``--model`` the published model is taken, or, where there is none, one of the same size after a single
step of training: what it plays is noise, what it costs is the same.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from bars import Bar, bars_text, check_exit_code, compare
from music_soak_pages import (
    Listener,
    chromium_path,
    descendants,
    pause,
    resident_megabytes,
    running_chromium,
    soak_server,
)
from reporting import markdown_table, run_header, write_markdown, write_table
from survival_pictures import new_figure, save_figure

__all__ = ["main", "memory_slope", "soak_bars", "summary"]

FULL_MINUTES = 20.0
SETTLED = 0.25  # share of a run after which memory is looked at
FLAT_MEGABYTES = 0.5  # a minute
PLAYED_SHARE = 0.98
LISTENERS = 3


@dataclass(frozen=True)
class Size:
    """How long a run is, in minutes."""

    one: float = FULL_MINUTES
    three: float = 3.0


QUICK = Size(one=1.0, three=0.5)


def make_model(folder: Path) -> tuple[Path, str]:
    """Return a model file and what it is: the published one, or an all but random one of the same size."""
    from sciffusion.domains.music.demo_sound import simulated_music
    from sciffusion.domains.music.diffusion import LiveMusicDiffusion
    from sciffusion.domains.music.pretrained import list_pretrained, pretrained_file

    published = list_pretrained()
    if published:
        return Path(pretrained_file(published[0])), f"published model {published[0]}"
    model = LiveMusicDiffusion(codec_steps=1, max_steps=1, batch_size=2, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(simulated_music(2, 20.0, seed=0))
    path = folder / "soak.safetensors"
    model.save(path)
    return path, "default size, weights all but random"


def listen(listeners: list[Listener], minutes: float, server: int, part: str) -> list[dict[str, Any]]:
    """Note every second how the pages and the server do."""
    rows = []
    began = time.monotonic()
    while time.monotonic() - began < 60 * minutes:
        pause(1.0, listeners)
        browser = [process for process in descendants(os.getpid()) if process != server]
        memory = {"server MiB": resident_megabytes([server]), "browser MiB": resident_megabytes(browser)}
        for listener in listeners:
            at = time.monotonic() - began
            load = os.getloadavg()[0]
            rows.append({"part": part, "seconds": round(at, 2), **listener.row(), **memory, "load": load})
    return rows


def memory_slope(rows: pd.DataFrame, column: str) -> float:
    """Return the growth of memory in MiB a minute after the first quarter of a run."""
    settled = rows[rows["seconds"] >= SETTLED * rows["seconds"].max()]
    return float(np.polyfit(settled["seconds"] / 60, settled[column], 1)[0])


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one row a listener."""
    parts = []
    for (part, listener), group in rows.groupby(["part", "listener"], sort=False):
        last, first = group.iloc[-1], group.iloc[0]
        parts.append({
            "listeners": part, "page": listener, "minutes": (last["seconds"] - first["seconds"]) / 60,
            "played share": (last["played"] - first["played"]) / (last["seconds"] - first["seconds"]),
            "dropouts": int(last["underruns"]), "gaps": int(group["gap"].any()),
            "proven s": int(last["proven"]), "p50 s": last["step_p50"], "p95 s": last["step_p95"],
            "p99 s": last["step_p99"], "block s": last["block_seconds"], "fill min s": group["fill"].min(),
            "nfe mean": group["nfe"].mean(), "nfe min": group["nfe"].min(),
            "falls": int(last["nfe_falls"]), "load": group["load"].mean(),
        })  # fmt: skip
    return pd.DataFrame(parts)


def soak_bars(rows: pd.DataFrame, table: pd.DataFrame, refusal: str, full: bool) -> list[Bar]:
    """Give the bars."""
    one, three = table[table["listeners"] == "one"].iloc[0], table[table["listeners"] == "three"]
    alone = rows[rows["part"] == "one"]
    bars = [
        Bar(f"{FULL_MINUTES:.0f} minutes", True if full else None, f"{one['minutes']:.1f} minutes played"),
        compare("no dropout with one listener", one["dropouts"], 0, at_most=True),
        compare("no gap with one listener", one["gaps"], 0, at_most=True),
        compare("what was proven reaches the end", one["proven s"], alone["played"].max() - 15,
                at_most=False, unit=" s"),
        compare("played as time went by", one["played share"], PLAYED_SHARE, at_most=False),
        compare("p99 of a block's time below its length", one["p99 s"], one["block s"], at_most=True,
                unit=" s"),
    ]  # fmt: skip
    for column in ("server MiB", "browser MiB"):
        slope, name = memory_slope(alone, column), f"flat memory of the {column.split()[0]}"
        detail = f"{slope:+.2f} MiB a minute"
        bars.append(
            compare(name, slope, FLAT_MEGABYTES, at_most=True, unit=" MiB/min")
            if full
            else Bar(name, None, f"{detail}, needs the full run")
        )
    bars += [
        compare("no gap with three listeners", three["gaps"].sum(), 0, at_most=True),
        compare("no dropout with three listeners", three["dropouts"].sum(), 0, at_most=True),
        Bar(
            "one listener too many is told so",
            refusal.endswith("Try again later."),
            refusal or "nothing",
        ),
    ]
    return bars


def _draw(rows: pd.DataFrame, path: Path, note: str) -> None:
    figure, axes = new_figure(columns=3, width=4.4)
    fill, nfe, memory = axes[0]
    alone, three = rows[rows["part"] == "one"], rows[rows["part"] == "three"]
    fill.plot(alone["seconds"] / 60, alone["fill"], color="#c1440e", linewidth=0.8)
    fill.set(xlabel="minutes", ylabel="audio ahead, s", title=f"One listener{note}", ylim=(0, None))
    for name, group in three.groupby("listener"):
        nfe.plot(group["seconds"], group["nfe"], drawstyle="steps-post", label=str(name))
    nfe.set(xlabel="seconds", ylabel="evaluations a block", title="Three listeners at once", ylim=(0, None))
    nfe.legend()
    for column, colour in (("server MiB", "#c1440e"), ("browser MiB", "#5b7083")):
        memory.plot(alone["seconds"] / 60, alone[column], color=colour, label=column.split()[0])
    memory.set(xlabel="minutes", ylabel="resident memory, MiB", title="Memory, one listener", ylim=(0, None))
    memory.legend()
    save_figure(figure, path)


def _reading(rows: pd.DataFrame, table: pd.DataFrame, refusal: str, model: str) -> str:
    one, three = table[table["listeners"] == "one"].iloc[0], table[table["listeners"] == "three"]
    alone = rows[rows["part"] == "one"]
    slope = memory_slope(alone, "server MiB")
    return "\n\n".join([
        f"Model: {model}. One page heard {one['minutes']:.1f} minutes with {one['dropouts']} dropouts; "
        f"fingerprints of what was made and what was played agreed up to second {one['proven s']}. A block "
        f"of {one['block s']:.2f} s took {one['p50 s']:.2f} s (median) and {one['p99 s']:.2f} s (p99) at "
        f"{one['nfe mean']:.1f} evaluations; the server's memory grew by {slope:+.2f} MiB a minute after the "
        f"first quarter.",
        f"Three pages asked for music at once on {os.cpu_count()} cores, with Chromium on them too, and "
        f"{three['page'].nunique()} were given it: "
        f"{int(three['dropouts'].sum())} dropouts and {int(three['gaps'].sum())} gaps; evaluations fell to "
        f"{three['nfe min'].min():.0f} at the lowest and were {three['nfe mean'].mean():.1f} on average. A "
        f"further page was told: {refusal!r}",
        f"The load of the machine was {rows['load'].mean():.1f} on average, all other work on it included.",
    ])  # fmt: skip


def run(size: Size, model: Path | None) -> tuple[pd.DataFrame, str, str]:
    """Play; give the rows, what a listener too many was told, and what the model is."""
    with tempfile.TemporaryDirectory() as folder:
        path, words = (model, f"`{model.name}`") if model else make_model(Path(folder))
        with soak_server(path, LISTENERS) as (url, server), running_chromium() as browser:
            first = Listener(browser, url, "first")
            first.wait_for("playing")
            rows = listen([first], size.one, server, "one")
            listeners = [first]
            for name in ("second", "third"):
                # A machine that cannot keep up with more says so, instead of letting all of them stutter.
                other = Listener(browser, url, name)
                if other.wait_for("playing", "refused") == "playing":
                    listeners.append(other)
            extra = Listener(browser, url, "too many")
            extra.wait_for("refused")
            refusal = str(extra.page.text_content("#notice-text"))
            extra.close()
            before = first.row()["underruns"]
            three = listen(listeners, size.three, server, "three")
            for row in three:
                row["underruns"] -= before if row["listener"] == "first" else 0
    return pd.DataFrame(rows + three), refusal, words


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Minutes on end through the real server to the real page.")
    parser.add_argument(
        "--quick", action="store_true", help="one minute, and half a minute of three listeners"
    )
    parser.add_argument("--check", action="store_true", help="compare with the bars; exit 1 if one is missed")
    parser.add_argument("--minutes", type=float, help="of one listener, in place of 20")
    parser.add_argument("--model", type=Path, help="model file")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/music_soak"))
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None, size: Size | None = None) -> int:
    """Play, write tables and picture, and give the exit code."""
    options = _parse(arguments)
    if chromium_path() is None:
        print("there is no Chromium on this machine: install it (Debian: apt install chromium)")
        return 2
    size = size or (QUICK if options.quick else Size())
    if options.minutes is not None:
        size = Size(one=options.minutes, three=size.three)
    full = size.one >= FULL_MINUTES
    rows, refusal, words = run(size, options.model)
    table = summary(rows)
    bars = soak_bars(rows, table, refusal, full)
    write_table(options.out / "soak.csv", rows.set_index("part"))
    write_table(options.out / "summary.csv", table.set_index("listeners"))
    _draw(rows, options.out / "music_soak.png", "" if full else ", reduced run")
    sections = [
        ("What it says", _reading(rows, table, refusal, words)), ("Bars", bars_text(bars)),
        ("Listeners", markdown_table(table.set_index("listeners"), 2)),
        ("Picture", "![music_soak.png](music_soak.png)"),
    ]  # fmt: skip
    header = run_header(not full, None if arguments is None else ["music_soak.py", *arguments])
    write_markdown(options.out / "report.md", "Live music, minutes on end", header, sections)
    return check_exit_code(bars) if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
