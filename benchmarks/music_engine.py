"""Playing without a gap on a busy machine: `python benchmarks/music_engine.py`.

*Block times.* A stream of the default size, its network as good as untrained, makes blocks of .96 s with 8, 4
and 2 evaluations on one core, beside none or several processes that only compute on that core.

*Soak.* The real engine is then played for 20 minutes of simulated time, a listener reading every 40 ms, with
blocks that take the recorded times. The load changes on the way: it grows and goes by steps, comes in bursts,
or comes at once. With and without the automatic fall in evaluations: underruns, silence, evaluations.

*Reaction.* On a quiet machine and beside the first load, with prebuffers of several lengths and the measured
one: underruns, and the time from a change of a control to its first sample.

Where the machine has other work to do, the loads are not the stated ones. Then record with priority over that
work (`--record times.csv` in a session of its own, whose group of processes comes first: with autogroups on
Linux, -20 in /proc/self/autogroup) and play from the file at leisure (`--recorded times.csv`).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from bars import Bar, bars_text, check_exit_code, compare
from measuring import limit_threads
from music_engine_traces import RecordedStream, record_times, untrained_stream
from reporting import markdown_table, run_header, write_markdown, write_table
from survival_pictures import new_figure, save_figure

from sciffusion.domains.music.engine import LiveEngine
from sciffusion.domains.music.engine_runs import PacedRun, SimulatedClock, simulated_run

__all__ = ["Size", "engine_bars", "main", "reaction_rows", "soak_rows", "time_rows"]

BLOCK_SECONDS = 0.96
READ_SECONDS = 0.04
MEASURED = "measured"
Times = Mapping[tuple[int, int], np.ndarray]
Phases = Sequence[tuple[float, int]]


@dataclass(frozen=True)
class Size:
    """How much is run."""

    width: int = 256
    depth: int = 6
    loads: tuple[int, ...] = (0, 7, 11, 15)
    blocks: int = 16
    seconds: float = 1200.0
    seeds: int = 3
    prebuffers: tuple[float, ...] = (1.2, 1.5, 2.0, 3.0)


QUICK = Size(loads=(0, 7, 11), blocks=4, seconds=240.0, seeds=1)


def phases(kind: str, size: Size) -> Phases:
    """Give the course of the load: from when on, how many processes."""
    loads, seconds = size.loads, size.seconds
    if kind == "grows and goes":
        steps = [*loads, *loads[-2::-1]]
        return [(seconds * place / len(steps), load) for place, load in enumerate(steps)]
    if kind == "comes in bursts":  # ten seconds of every minute
        starts = np.arange(0.0, seconds, 60.0)
        return [part for start in starts for part in ((start, loads[0]), (start + 50.0, loads[-2]))]
    # At once: minutes of nothing and of everything.
    return [(start, loads[-1] if place % 2 else loads[0])
            for place, start in enumerate(np.arange(0.0, seconds, 120.0))]  # fmt: skip


KINDS = ("grows and goes", "comes in bursts", "comes at once")


def play(times: Times, course: Phases, seconds: float, seed: int, **options: Any) -> PacedRun:
    """Play the engine on recorded times; a control changes every 7.3 seconds."""
    clock = SimulatedClock()
    engine = LiveEngine(RecordedStream(times, course, clock, seed), clock=clock, **options)

    def change() -> None:
        engine.set(loudness=0.0)

    changes: list[tuple[float, Callable[[], None]]] = [
        (moment, change) for moment in np.arange(10.0, seconds, 7.3)
    ]
    return simulated_run(engine, seconds, read_seconds=READ_SECONDS, at=changes)


def time_rows(recorded: pd.DataFrame) -> pd.DataFrame:
    """Summarise recorded times, and what the engine's model would make of those with 8 evaluations."""
    rows = []
    for (load, nfe), part in recorded.groupby(["load", "nfe"], sort=True):
        eight = recorded.loc[(recorded["load"] == load) & (recorded["nfe"] == 8), "seconds"].median()
        p50, p95, p99 = np.quantile(part["seconds"], [0.5, 0.95, 0.99], method="inverted_cdf")
        rows.append({
            "other processes": load, "nfe": nfe, "blocks": len(part), "p50": p50, "p95": p95, "p99": p99,
            "real-time factor": part["seconds"].mean() / BLOCK_SECONDS,
            "CPU seconds": part["cpu seconds"].median(),
            "p50 / model from 8": p50 / (eight * (nfe + 1) / 9),
        })  # fmt: skip
    return pd.DataFrame(rows)


def soak_rows(times: Times, size: Size) -> pd.DataFrame:
    """Play every course of the load with and without the fall in evaluations."""
    rows = []
    for kind in KINDS:
        for adapt in (True, False):
            runs = [
                play(times, phases(kind, size), size.seconds, seed, adapt=adapt) for seed in range(size.seeds)
            ]
            stats = [run.stats for run in runs]
            rows.append({
                "load": kind, "fall": adapt, "minutes": size.seconds * size.seeds / 60,
                "underruns": sum(part.underruns for part in stats),
                "silent seconds": sum(part.silent_seconds for part in stats),
                "mean nfe": float(np.mean([run.trace.nfe.mean() for run in runs])),
                "falls": sum(part.falls for part in stats),
                "reaction p50": float(np.mean([part.reaction_seconds for part in stats])),
                "reaction p95": float(np.mean([part.reaction_p95 for part in stats])),
            })  # fmt: skip
    return pd.DataFrame(rows)


def reaction_rows(times: Times, size: Size) -> pd.DataFrame:
    """Play on a quiet machine and beside the first load with several prebuffers."""
    rows = []
    for load in size.loads[:2]:
        for blocks in (*size.prebuffers, None):
            fixed = None if blocks is None else blocks * BLOCK_SECONDS
            runs = [play(times, [(0.0, load)], size.seconds, seed, prebuffer_seconds=fixed)
                    for seed in range(size.seeds)]  # fmt: skip
            stats = [run.stats for run in runs]
            prebuffer = float(np.mean([part.prebuffer_seconds for part in stats]))
            rows.append({
                "other processes": load, "prebuffer": MEASURED if blocks is None else f"{blocks:g} blocks",
                "seconds": prebuffer, "least expected": prebuffer - BLOCK_SECONDS,
                "reaction p50": float(np.mean([part.reaction_seconds for part in stats])),
                "reaction p95": float(np.mean([part.reaction_p95 for part in stats])),
                "underruns": sum(part.underruns for part in stats),
                "mean nfe": float(np.mean([run.trace.nfe.mean() for run in runs])),
            })  # fmt: skip
    return pd.DataFrame(rows)


def engine_bars(block_times: pd.DataFrame, soak: pd.DataFrame, reaction: pd.DataFrame) -> list[Bar]:
    """Give the bars of the claim."""
    quiet = block_times[(block_times["other processes"] == 0) & (block_times["nfe"] == 8)]
    fall = soak.set_index(["load", "fall"])["underruns"]
    known = reaction[reaction["prebuffer"] == MEASURED]
    late = float((known["reaction p95"] - known["seconds"]).max())
    return [
        compare("p99 of a block below its length, nothing beside it", float(quiet["p99"].max()),
                BLOCK_SECONDS, at_most=True, unit=" s"),
        compare("underruns with the fall, load that grows and goes", float(fall["grows and goes", True]), 0,
                at_most=True),
        compare("underruns without it", float(fall["grows and goes", False]), 1, at_most=False),
        compare("underruns with the measured prebuffer, steady load", float(known["underruns"].sum()), 0,
                at_most=True),
        compare("reactions (p95) later than the measured prebuffer and a read", late, READ_SECONDS,
                at_most=True, unit=" s"),
    ]  # fmt: skip


def _reading(block_times: pd.DataFrame, soak: pd.DataFrame, reaction: pd.DataFrame, from_file: bool) -> str:
    eight = block_times[block_times["nfe"] == 8].set_index("other processes")
    listed = ", ".join(f"{row.p50:.2f} s beside {load}" for load, row in eight.iterrows())
    own = eight["CPU seconds"].iloc[0]
    parts = [
        f"With 8 evaluations a block of .96 s takes {listed} other processes on its core (p50), of which "
        f"{own:.2f} s is its own work."
    ]
    for kind in KINDS:
        part = soak[soak["load"] == kind].set_index("fall")
        with_fall, without = (
            f"{part.loc[fall, 'underruns']} underruns and {part.loc[fall, 'silent seconds']:.1f} s of silence"
            for fall in (True, False)
        )
        parts.append(
            f"Load that {kind}: {with_fall} in {part.loc[True, 'minutes']:.0f} minutes with the fall, "
            f"{part.loc[True, 'mean nfe']:.1f} evaluations a block on average; {without} without it."
        )
    known = reaction[reaction["prebuffer"] == MEASURED].iloc[0]
    parts.append(
        f"With nothing beside it the measured prebuffer is {known['seconds']:.2f} s, and a change is heard "
        f"after {known['reaction p50']:.2f} s (p50), {known['reaction p95']:.2f} s (p95). What the player "
        "buffers comes on top."
    )
    parts.append(
        "A block that is under way cannot be shortened. Where a load comes so suddenly that one block takes "
        "longer than what is buffered when it is begun (the prebuffer less a block), the sound stops once, "
        "with the fall or without; with it the blocks after that one come in time."
    )
    if from_file:
        parts.append(
            "Block times come from a file (recorded.csv), recorded while the other work of the machine had "
            "to wait."
        )
    return "\n\n".join(parts)


def _draw(times: Times, size: Size, path: Path, note: str) -> None:
    figure, axes = new_figure(columns=2, width=6.5, height=4.0)
    course = phases("grows and goes", size)
    ends = [since for since, _ in course[1:]] + [size.seconds]
    for panel, adapt in zip(axes[0], (True, False), strict=True):
        run = play(times, course, size.seconds, 0, adapt=adapt)
        minutes = run.trace.seconds / 60
        panel.plot(minutes, run.trace.fill_seconds, color="#5b7083", linewidth=0.4, label="buffered, s")
        panel.step(minutes, run.trace.nfe, color="#c1440e", where="post", label="evaluations a block")
        late = minutes[1:][np.diff(run.trace.underruns) > 0]
        panel.plot(late, np.zeros(len(late)), "kx", label=f"underruns: {run.stats.underruns}")
        for (since, load), end in zip(course, ends, strict=True):
            panel.axvspan(
                since / 60, end / 60, color="black", alpha=0.15 * load / max(size.loads[-1], 1), linewidth=0
            )
            panel.text((since + end) / 120, 9.3, str(load), ha="center")
        word = "falling" if adapt else "fixed"
        panel.set(xlabel="minutes (above: other processes on the core)", ylim=(-0.4, 10),
                  title=f"Evaluations {word}{note}")  # fmt: skip
        panel.legend(loc="upper left", bbox_to_anchor=(0.0, 0.76), fontsize=8)
    save_figure(figure, path)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Playing without a gap on a busy machine.")
    parser.add_argument("--quick", action="store_true", help="fewer blocks recorded, shorter soaks")
    parser.add_argument("--check", action="store_true", help="compare with the bars; exit 1 if one is missed")
    parser.add_argument("--record", type=Path, metavar="CSV", help="only record block times, into this file")
    parser.add_argument("--recorded", type=Path, metavar="CSV", help="block times that --record wrote")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/music_engine"))
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None, size: Size | None = None) -> int:
    """Measure everything, write tables and picture, and give the exit code."""
    options = _parse(arguments)
    limit_threads()
    reduced = options.quick or size is not None
    size = size or (QUICK if options.quick else Size())
    began = time.process_time()
    if options.recorded is None:
        recorded = record_times(untrained_stream(size.width, size.depth), size.loads, size.blocks).round(4)
    else:
        recorded = pd.read_csv(options.recorded)
    if options.record is not None:
        write_table(options.record, recorded.set_index("load"))
        return 0
    times = {key: part["seconds"].to_numpy() for key, part in recorded.groupby(["load", "nfe"])}
    tables = {
        "times": time_rows(recorded),
        "soak": soak_rows(times, size),
        "reaction": reaction_rows(times, size),
    }
    bars = engine_bars(*tables.values())
    if reduced:  # the loads are met for so short a time that little is decided
        bars = [Bar(bar.name, None, "needs the full run") for bar in bars]
    sections = [
        ("What it says", _reading(*tables.values(), from_file=options.recorded is not None)),
        ("Bars", bars_text(bars)),
    ]
    for name, table in tables.items():
        indexed = table.set_index(table.columns[0])
        write_table(options.out / f"{name}.csv", indexed)
        sections.append((name.capitalize(), markdown_table(indexed)))
    write_table(options.out / "recorded.csv", recorded.set_index("load"))
    _draw(times, size, options.out / "music_engine.png", ", reduced run" if reduced else "")
    sections.append(("Picture", "![music_engine.png](music_engine.png)"))
    header = run_header(reduced, None if arguments is None else ["music_engine.py", *arguments])
    if options.recorded is not None:  # no folders of this machine
        header["command"] = header["command"].replace(str(options.recorded), options.recorded.name)
    header["CPU seconds"] = f"{time.process_time() - began:.0f}"
    write_markdown(options.out / "report.md", "Playing without a gap on a busy machine", header, sections)
    return check_exit_code(bars) if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
