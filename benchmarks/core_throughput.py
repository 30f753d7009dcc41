"""What the driver costs beside the network: `python benchmarks/core_throughput.py`.

One network, one grid and one method (first-order deterministic steps, DDIM) by three programs: this library's
`sample`, azula's `DDIMSampler`, and a bare loop with its coefficients computed beforehand,

    for of_x, of_x0, time in steps: x = of_x * x + of_x0 * network(x, time),

all at the same number of network evaluations, in float32 on one thread. The network is a stack of equal
layers, as many as take the time asked for. Rounds of the three are interleaved and the cost of each is the
least CPU time over the rounds, which other work on the machine raises least; the median is given beside it.
Overhead is the CPU time of a step whose network returns its input. The multistep and Heun's methods are
measured for it too, where azula has the same kind of solver.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from bars import Bar, bars_text, check_exit_code, compare
from measuring import limit_threads, measure
from reporting import markdown_table, run_header, write_markdown, write_table
from survival_pictures import new_figure, save_figure
from torch import Tensor, nn

from sciffusion.continuous import (
    ERSDE,
    DPMSolverMultistep,
    Heun,
    NetworkDenoiser,
    PowerScale,
    Solver,
    VariancePreserving,
)
from sciffusion.sampling import State, sample, uniform_grid

OURS, PEER, BARE = "sciffusion", "azula", "bare loop"
BATCH, DIM, WIDTH = 64, 64, 256
MILLISECONDS = (0.0, 0.5, 1.0, 5.0)
SLOWDOWN = 1.05
PATH = VariancePreserving.from_alpha_min(1e-3, sigma_min=1e-3)
SOLVERS: dict[str, Solver] = {
    "DDIM": DPMSolverMultistep(1),
    "multistep, order 2": DPMSolverMultistep(2),
    "Heun": Heun(),
    "ER-SDE, order 2": ERSDE(2, PowerScale(2.0)),
}

Network = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Timing:
    """CPU seconds of the repeated runs of one program."""

    seconds: list[float] = field(default_factory=list)

    @property
    def least(self) -> float:
        """Least CPU time."""
        return min(self.seconds)

    @property
    def median(self) -> float:
        """Median CPU time."""
        return statistics.median(self.seconds)


def make_network(milliseconds: float) -> Network:
    """Give a network of about the cost asked for; at 0 it returns its input."""
    if milliseconds == 0.0:
        return lambda x, time: x
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first, last = nn.Linear(DIM, WIDTH), nn.Linear(WIDTH, DIM)
        layer = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.SiLU())
    values = torch.zeros(BATCH, WIDTH)
    with torch.inference_mode():
        for _ in range(50):
            layer(values)
        rounds = [_seconds(lambda: [layer(values) for _ in range(20)]) for _ in range(10)]
    count = max(1, round(1e-3 * milliseconds / (min(rounds) / 20)))

    def network(x: Tensor, time: Tensor) -> Tensor:
        hidden = first(x) + time
        for _ in range(count):
            hidden = layer(hidden)
        return last(hidden)

    return network


def _seconds(call: Callable[[], Any]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def our_run(network: Network, n_steps: int, start: Tensor, solver: Solver) -> Callable[[], Tensor]:
    """Give a run of this library."""
    denoiser = NetworkDenoiser(lambda x, time, condition: network(x, time), PATH)

    def run() -> Tensor:
        generator = torch.Generator().manual_seed(0)
        grid = uniform_grid(n_steps)
        return sample(denoiser, solver, grid, state=State(x=start), generator=generator).samples

    return run


def bare_run(network: Network, n_steps: int, start: Tensor) -> Callable[[], Tensor]:
    """Give the bare loop, its coefficients computed beforehand."""
    grid = uniform_grid(n_steps)
    c = PATH.coefficients(grid)
    ratio = c.sigma[1:] / c.sigma[:-1]
    of_x0 = c.alpha[1:] - ratio * c.alpha[:-1]
    steps = list(zip(ratio.tolist(), of_x0.tolist(), grid[:-1].to(start.dtype), strict=True))

    def run() -> Tensor:
        x = start
        with torch.inference_mode():
            for of_x, of_clean, now in steps:
                x = of_x * x + of_clean * network(x, now)
        return x

    return run


def peer_run(
    network: Network, n_steps: int, start: Tensor, name: str = "DDIMSampler"
) -> Callable[[], Tensor]:
    """Give a run of azula; ImportError where it is not installed."""
    from azula import denoise, noise
    from azula import sample as samplers

    class Peer(denoise.Denoiser):
        def __init__(self) -> None:
            super().__init__()
            self.schedule = noise.VPSchedule(alpha_min=1e-3, sigma_min=1e-3)

        def forward(self, x_t: Tensor, t: Tensor, **kwargs: object) -> Any:
            return denoise.DiracPosterior(mean=network(x_t, t))

    sampler = getattr(samplers, name)(Peer(), steps=n_steps, silent=True)
    return lambda: sampler(start)


def _programs(network: Network, n_steps: int, start: Tensor) -> dict[str, Callable[[], Tensor]]:
    programs = {
        OURS: our_run(network, n_steps, start, DPMSolverMultistep(1)),
        BARE: bare_run(network, n_steps, start),
    }
    try:
        programs[PEER] = peer_run(network, n_steps, start)
    except ImportError:
        print("azula is not installed: left out")
    return programs


def time_programs(programs: dict[str, Callable[[], Tensor]], rounds: int) -> dict[str, Timing]:
    """Time programs in interleaved rounds, each round in another order, after one run of each."""
    timings = {name: Timing() for name in programs}
    for run in programs.values():
        run()
    names = list(programs)
    for number in range(rounds):
        for place in range(len(names)):
            name = names[(number + place) % len(names)]
            timings[name].seconds.append(_seconds(programs[name]))
    return timings


def throughput_rows(milliseconds: float, n_steps: int, rounds: int) -> list[dict[str, Any]]:
    """Measure the three programs with one network."""
    network = make_network(milliseconds)
    start = torch.randn(BATCH, DIM, generator=torch.Generator().manual_seed(0))
    programs = _programs(network, n_steps, start)
    results = {name: run() for name, run in programs.items()}
    timings = time_programs(programs, rounds)
    rows = []
    for name, timing in timings.items():
        _, cost = measure(programs[name])
        rows.append(
            {
                "network ms": milliseconds,
                "program": name,
                "samples / s": BATCH / timing.least,
                "of bare loop": timing.least / timings[BARE].least,
                "of bare loop, medians": timing.median / timings[BARE].median,
                "us / step": 1e6 * timing.least / n_steps,
                "peak MiB": cost.peak_megabytes,
                "differs by": float((results[name] - results[BARE]).abs().max()),
            }
        )
        print(rows[-1], flush=True)
    return rows


def overhead_rows(n_steps: int, rounds: int) -> list[dict[str, Any]]:
    """Measure a step of each solver with a network that costs nothing."""
    start = torch.randn(BATCH, DIM, generator=torch.Generator().manual_seed(0))
    network = make_network(0.0)
    programs = {
        f"{OURS}, {name}": our_run(network, n_steps, start, solver) for name, solver in SOLVERS.items()
    }
    programs[f"{BARE}, DDIM"] = bare_run(network, n_steps, start)
    peers = {"DDIM": "DDIMSampler", "multistep, order 2": "xEABSampler", "Heun": "HeunSampler"}
    with suppress(ImportError):
        for name, peer in peers.items():
            programs[f"{PEER}, {name}"] = peer_run(network, n_steps, start, peer)
    timings = time_programs(programs, rounds)
    rows = []
    for label, timing in timings.items():
        program, solver = label.split(", ", 1)
        rows.append({"solver": solver, "program": program, "us / step": 1e6 * timing.least / n_steps})
    return rows


def throughput_bars(table: pd.DataFrame, reduced: bool) -> list[Bar]:
    """Give the bars: equal results, and no more than 5 % slower than the bare loop at 5 ms an evaluation."""
    ours = table[table["program"] == OURS]
    bars = [compare("largest difference from the bare loop", ours["differs by"].max(), 1e-4, at_most=True)]
    name = "CPU time of the bare loop's with a network of 5 ms"
    slow = ours.loc[ours["network ms"] == 5.0, "of bare loop"]
    if reduced or slow.empty:
        return [*bars, Bar(name, None, "needs the full run")]
    return [*bars, compare(name, float(slow.iloc[0]), SLOWDOWN, at_most=True)]


def _draw(table: pd.DataFrame, overhead: pd.DataFrame, path: Path, note: str) -> None:
    figure, axes = new_figure(columns=2, width=5.2)
    colours = {OURS: "#c1440e", PEER: "#5b7083", BARE: "0.7"}
    relative = table[table["network ms"] > 0.0].pivot_table(
        index="network ms", columns="program", values="of bare loop"
    )
    for name in relative.columns:
        axes[0, 0].plot(relative.index, relative[name], "o-", color=colours[name], label=name)
    axes[0, 0].axhline(SLOWDOWN, color="black", linewidth=0.8, linestyle=":")
    axes[0, 0].set(xlabel="milliseconds an evaluation", ylabel="CPU time / that of the bare loop")
    axes[0, 0].legend(fontsize=8)
    wide = overhead.pivot_table(index="solver", columns="program", values="us / step")
    wide = wide.reindex(SOLVERS)
    for place, name in enumerate([BARE, PEER, OURS]):
        if name in wide:
            heights = [k + 0.27 * (place - 1) for k in range(len(wide))]
            axes[0, 1].barh(heights, wide[name].fillna(0.0), 0.25, color=colours[name], label=name)
    axes[0, 1].set_yticks(range(len(wide)), list(wide.index))
    axes[0, 1].invert_yaxis()
    axes[0, 1].set(xlabel="microseconds a step beside the network")
    axes[0, 1].legend(fontsize=8)
    figure.suptitle(f"The cost of sampling beside the network{note}")
    save_figure(figure, path)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What the driver costs beside the network.")
    parser.add_argument("--quick", action="store_true", help="fewer steps and rounds, two networks")
    parser.add_argument("--check", action="store_true", help="compare with the bars; exit 1 if one is missed")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/core_throughput"))
    return parser.parse_args(arguments)


def run_all(milliseconds: Sequence[float], n_steps: int, rounds: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measure everything: one table of the programs and one of the solvers' overhead."""
    rows = [row for cost in milliseconds for row in throughput_rows(cost, n_steps, rounds)]
    return pd.DataFrame(rows), pd.DataFrame(overhead_rows(4 * n_steps, rounds))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write tables and picture, and give the exit code."""
    options = _parse(arguments)
    limit_threads()
    costs, n_steps, rounds = ((0.0, 1.0), 20, 5) if options.quick else (MILLISECONDS, 50, 15)
    table, overhead = run_all(costs, n_steps, rounds)
    bars = throughput_bars(table, options.quick)
    write_table(options.out / "throughput.csv", table)
    write_table(options.out / "overhead.csv", overhead)
    note = " (reduced run)" if options.quick else ""
    _draw(table, overhead, options.out / "core_throughput.png", note)
    reading = (
        f"Batch {BATCH} of {DIM} values, {n_steps} steps, least CPU time of {rounds} interleaved rounds. "
        "`of bare loop` is the ratio of CPU times: what is above 1 is paid for coefficients in float64, "
        "times of single elements, hooks, policies and checks at every step. With a network that costs "
        "nothing the ratio says only that this is more than a multiplication and an addition; the overhead "
        "in microseconds says how much, and it does not grow with the network. It is measured with nothing "
        "between the steps; after milliseconds of network the caches are cold and a step costs several times "
        "that, the more so the busier the machine is."
    )
    sections = [
        ("", reading),
        ("One network, three programs", markdown_table(table.set_index("network ms"), digits=4)),
        ("Overhead of a step", markdown_table(overhead.set_index("solver"), digits=1)),
        ("Picture", "![core_throughput.png](core_throughput.png)"),
        ("Bars", bars_text(bars)),
    ]
    header = run_header(options.quick, None if arguments is None else ["core_throughput.py", *arguments])
    write_markdown(options.out / "report.md", "Throughput against a bare loop", header, sections)
    return check_exit_code(bars) if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
