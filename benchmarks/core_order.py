"""How fast solvers converge, measured: `python benchmarks/core_order.py`.

Deterministic solvers follow the probability flow of the mixture .3 N(-1.5, .4^2) + .7 N(1, .6^2), on a
variance-preserving and on a straight path (signal and noise end at .01), from 97 quantiles of the noisy law
in uniform steps of time. The flow is known exactly; the error is the largest one over the quantiles.

Stochastic solvers sample N(0, .7^2) on a variance-exploding path from noise 20, in steps uniform in its log.
The sampler is linear, so the variance that it reaches is computed without drawing; the error is its relative
one. It is taken at two ends of the noise, .01 and 1: for some solvers the leading errors cancel by accident
over a whole run.

The order is the slope of the error at the last doubling of steps. azula runs its own samplers in the same run
where it is installed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

import pandas as pd
from bars import Bar, bars_text, check_exit_code
from measuring import limit_threads
from order_peers import PEER_DETERMINISTIC, PEER_STOCHASTIC, peer_is_there, peer_run, peer_variance
from order_report import draw, order_table, peer_table, reading
from reporting import markdown_table, run_header, write_markdown, write_table

from sciffusion.continuous import (
    ERSDE,
    AncestralDDPM,
    DPMSolverMultistep,
    Euler,
    EulerMaruyama,
    Heun,
    NoiseSource,
    PowerScale,
    RectifiedFlow,
    Solver,
    StochasticHeun,
    VarianceExploding,
    VariancePreserving,
    WhiteNoise,
)
from sciffusion.exact import ExactDenoiser, GaussianTarget
from sciffusion.sampling import State, sample, uniform_grid
from sciffusion.testing import measure_weak_order, reference_problem

__all__ = ["deterministic_rows", "main", "order_bars", "weak_rows"]

STEPS, WEAK_STEPS = (16, 32, 64, 128, 256, 512), (20, 40, 80, 160, 320, 640)
QUICK_STEPS, QUICK_WEAK_STEPS = (16, 32, 64, 128), (20, 40, 80, 160)
PATHS = {
    "vp": VariancePreserving.from_alpha_min(0.01, sigma_min=0.01),
    "flow": RectifiedFlow(alpha_min=0.01, sigma_min=0.01),
}
ENDS = {"noise .01": 0.01, "noise 1": 1.0}
DETERMINISTIC: dict[str, Solver] = {
    "Euler, time": Euler(),
    "Euler, relative noise": Euler("noise_to_signal"),
    "DPM-Solver++ 1": DPMSolverMultistep(1),
    "Heun, time": Heun(),
    "Heun, relative noise": Heun("noise_to_signal"),
    "DPM-Solver++ 2": DPMSolverMultistep(2),
    "DPM-Solver++ 3": DPMSolverMultistep(3),
}
SCALES = {
    "no noise": PowerScale(1.0), "power 1.5": PowerScale(1.5), "power 2": PowerScale(2.0), "default": None
}  # fmt: skip
STOCHASTIC: dict[str, Callable[[NoiseSource], Solver]] = {
    "ancestral, posterior": lambda noise: AncestralDDPM("posterior", noise),
    "ancestral, upper": lambda noise: AncestralDDPM("upper", noise),
    "Euler-Maruyama": lambda noise: EulerMaruyama(noise=noise),
    "stochastic Heun": lambda noise: StochasticHeun(noise=noise),
    **{
        f"ER-SDE {order}, {name}": lambda noise, order=order, scale=scale: ERSDE(order, scale, noise)
        for order in (1, 2, 3)
        for name, scale in SCALES.items()
    },
}
#: Ours and theirs that are the same method, so that their errors must be the same.
SAME = {"Euler, relative noise": "azula Euler", "DPM-Solver++ 1": "azula DDIM",
        "Heun, relative noise": "azula Heun", "DPM-Solver++ 2": "azula xEAB 2",
        "DPM-Solver++ 3": "azula xEAB 3", "ancestral, posterior": "azula DDPM"}  # fmt: skip


def _row(solver: str, order: int, problem: str, steps: int, nfe: int, error: float) -> dict[str, object]:
    library = "azula" if solver.startswith("azula") else "sciffusion"
    return {"solver": solver, "library": library, "claimed": order, "problem": problem,
            "steps": steps, "nfe": nfe, "error": error}  # fmt: skip


def deterministic_rows(steps: Sequence[int], with_peer: bool) -> list[dict[str, object]]:
    """Measure every deterministic solver on both paths."""
    rows = []
    for name, path in PATHS.items():
        problem = reference_problem(path)
        for count in steps:
            for solver_name, solver in DETERMINISTIC.items():
                state = State(x=problem.start)
                result = sample(problem.denoiser, solver, uniform_grid(count), state=state)
                error = float((result.samples - problem.exact).abs().max())
                rows.append(_row(solver_name, solver.order, name, count, result.nfe, error))
            for peer_name, peer in PEER_DETERMINISTIC.items() if with_peer else ():
                samples, nfe = peer_run(peer, name, problem.denoiser, problem.start, count)
                error = float((samples - problem.exact).abs().max())
                rows.append(_row(peer_name, peer.claimed, name, count, nfe, error))
    return rows


def weak_rows(steps: Sequence[int], with_peer: bool) -> list[dict[str, object]]:
    """Measure the variance that every stochastic solver reaches, at both ends of the noise."""
    rows = []
    for problem, end in ENDS.items():
        for name, make in STOCHASTIC.items():
            measured = measure_weak_order(make, steps, end)
            solver = make(WhiteNoise())
            for count, error in zip(steps, measured.errors, strict=True):
                rows.append(_row(name, solver.order, problem, count, solver.nfe * count, error))
        exact = ExactDenoiser(GaussianTarget.isotropic(1, std=0.7), VarianceExploding(end, 20.0))
        for name, peer in PEER_STOCHASTIC.items() if with_peer else ():
            for count in steps:
                variance = peer_variance(peer, exact, 0.7**2 + 20.0**2, count, end)
                error = abs(variance / (0.7**2 + end**2) - 1.0)
                rows.append(_row(name, peer.claimed, problem, count, count, error))
    return rows


def _orders(rows: pd.DataFrame, solver: str) -> dict[str, float]:
    """Give the order at the last doubling for each problem of a solver."""
    table = order_table(rows[rows["solver"] == solver])
    return {column[:-6]: float(table[column].iloc[0]) for column in table if column.endswith(" order")}


def _ratios(rows: pd.DataFrame, solver: str, other: str) -> dict[str, float]:
    """Give the error of a solver over that of another at the largest number of steps of each problem."""
    last = rows[rows["steps"] == rows["steps"].max()].pivot(index="problem", columns="solver", values="error")
    both = last[[solver, other]].dropna()
    return {str(problem): float(ratio) for problem, ratio in (both[solver] / both[other]).items()}


def order_bars(rows: pd.DataFrame, reduced: bool) -> list[Bar]:
    """Give the bars: orders within .15 of 1 or 2, 3 at least 2.1, weak ones too; same method, same error."""
    names = [*DETERMINISTIC, *STOCHASTIC]
    if reduced:
        missing = "needs the full run, whose last doubling is asymptotic"
        return [Bar(f"order of {name}", None, missing) for name in names] + _same_bars(rows)
    bars = []
    for name in names:
        claimed = int(rows.loc[rows["solver"] == name, "claimed"].iloc[0])
        observed = _orders(rows, name)
        detail = ", ".join(f"{problem} {order:.2f}" for problem, order in observed.items())
        if name in STOCHASTIC:
            # Errors that cancel at one end of the noise must not hide the order.
            low = min(observed.values())
            if claimed >= 3 and name.endswith("no noise"):
                bars.append(Bar(f"weak order of {name} at least 2.1", low >= 2.1, detail))
            elif claimed >= 3:
                # With noise the differences of estimates are noisy, which leaves multistep solvers weak order
                # 2 in the limit; on the way the error crosses zero, so that a doubling may show anything.
                # What must show is the smaller error.
                ratios = _ratios(rows, name, name.replace("3", "2", 1))
                detail = ", ".join(f"{problem} {ratio:.3f}" for problem, ratio in ratios.items())
                title = f"error of {name} over that of order 2 at most .7"
                bars.append(Bar(title, max(ratios.values()) <= 0.7, detail))
            else:
                near = bool(abs(low - claimed) <= 0.15)
                bars.append(Bar(f"weak order of {name} within .15 of {claimed}", near, detail))
        elif claimed >= 3:
            bars.append(Bar(f"order of {name} at least 2.1", min(observed.values()) >= 2.1, detail))
        else:
            near = all(abs(order - claimed) <= 0.15 for order in observed.values())
            bars.append(Bar(f"order of {name} within .15 of {claimed}", near, detail))
    return bars + _same_bars(rows)


def _same_bars(rows: pd.DataFrame) -> list[Bar]:
    bars = []
    wide = rows.pivot(index=["problem", "steps"], columns="solver", values="error")
    for ours, theirs in SAME.items():
        name = f"{ours} has the error of {theirs}"
        if theirs not in wide:
            bars.append(Bar(name, None, "azula is not installed"))
            continue
        both = wide[[ours, theirs]].dropna()
        gap = float((both[ours] / both[theirs] - 1.0).abs().max())
        bars.append(Bar(name, gap <= 1e-3, f"largest relative difference {gap:.2g}"))
    return bars


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="How fast solvers converge, measured.")
    parser.add_argument("--quick", action="store_true", help="a quarter of the largest number of steps")
    parser.add_argument("--check", action="store_true", help="compare with the bars; exit 1 if one is missed")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/core_order"))
    parser.add_argument("--steps", type=int, nargs="+", help="numbers of steps, growing (a reduced run)")
    options = parser.parse_args(arguments)
    options.reduced = options.quick or options.steps is not None
    options.weak_steps = options.steps or (QUICK_WEAK_STEPS if options.quick else WEAK_STEPS)
    options.steps = options.steps or (QUICK_STEPS if options.quick else STEPS)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure all solvers, write tables and picture, and give the exit code."""
    options = _parse(arguments)
    limit_threads()
    began, with_peer = time.perf_counter(), peer_is_there()
    deterministic = pd.DataFrame(deterministic_rows(options.steps, with_peer))
    weak = pd.DataFrame(weak_rows(options.weak_steps, with_peer))
    rows = pd.concat([deterministic, weak], ignore_index=True)
    write_table(options.out / "rows.csv", rows.set_index("solver"))
    bars = order_bars(rows, options.reduced)
    note = ", reduced run" if options.reduced else ""
    sections = [("What it says", reading(rows, with_peer))]
    for heading, part, label in (
        ("Deterministic solvers", deterministic, "largest error"),
        ("Stochastic solvers, weak order", weak, "relative error of the variance"),
    ):
        name = heading.split()[0].lower()
        write_table(options.out / f"{name}.csv", order_table(part))
        draw(part, options.out / f"{name}.png", label, note)
        sections.append((heading, f"{markdown_table(order_table(part))}\n\n![{name}.png]({name}.png)"))
    sections += [("azula", peer_table(with_peer)), ("Bars", bars_text(bars))]
    header = run_header(options.reduced, None if arguments is None else ["core_order.py", *arguments])
    header["versions"] += f", azula {metadata.version('azula') if with_peer else 'not installed'}"
    header["seconds"] = f"{time.perf_counter() - began:.0f}"
    write_markdown(options.out / "report.md", "How fast solvers converge", header, sections)
    return check_exit_code(bars) if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
