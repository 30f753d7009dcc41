"""Calling the network less often inside a run: `python benchmarks/core_budget.py`.

A fine grid of steps with a budget of network calls, spent in three ways (`BudgetedCompute`, and
`StaticRefresh` with even or amplification-weighted places), forecasts of second order between the calls; and
the honest baseline, a multistep solver (or Heun's) with as many steps as the budget has calls. Error = root
mean square distance of the samples from where the exact probability flow takes the same starts, which a
third-order run on a very fine grid gives. Cases: three mixtures with exact denoisers and a small network
trained on the first of them (its error is the distance from the *network's* own flow, so that only solving is
judged), each on grids even in time and even in the log signal-to-noise ratio.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from bars import Bar, bars_text, check_exit_code
from measuring import limit_threads
from reporting import markdown_table, run_header, write_markdown, write_table
from survival_pictures import new_figure, save_figure
from torch import Tensor, nn

from sciffusion.continuous import (
    Denoiser,
    DenoisingObjective,
    DPMSolverMultistep,
    EDMPreconditioning,
    Heun,
    NetworkDenoiser,
    Solver,
    VariancePreserving,
)
from sciffusion.exact import ExactDenoiser, GaussianMixtureTarget
from sciffusion.sampling import (
    BudgetedCompute,
    ComputePolicy,
    State,
    StaticRefresh,
    log_snr_grid,
    sample,
    uniform_grid,
)

PATH = VariancePreserving()
FINE_STEPS = 48
BUDGETS = (6, 8, 10, 12, 16, 24, 32)
BUDGETED, EVEN, WEIGHTED = "budgeted", "static, even", "static, weighted"
GRIDS: dict[str, Callable[[int], Tensor]] = {
    "time": uniform_grid,
    "log snr": lambda n_steps: log_snr_grid(PATH, n_steps),
}
POLICIES: dict[str, Callable[[int], ComputePolicy]] = {
    BUDGETED: BudgetedCompute,
    EVEN: StaticRefresh,
    WEIGHTED: lambda budget: StaticRefresh(budget, "amplification"),
}
BASELINES: dict[str, Solver] = {
    "multistep 2": DPMSolverMultistep(2),
    "multistep 3": DPMSolverMultistep(3),
    "Heun": Heun(),
}


def _clusters(dim: int, count: int, std: float) -> GaussianMixtureTarget:
    generator = torch.Generator().manual_seed(5)
    centres = torch.randn(count, dim, generator=generator, dtype=torch.float64)
    return GaussianMixtureTarget.from_stds([1.0] * count, centres, torch.full_like(centres, std))


def make_targets() -> dict[str, GaussianMixtureTarget]:
    """Give the three laws of data."""
    plane = torch.tensor([[-1.5, 0.5], [1.0, 1.0]], dtype=torch.float64)
    line, stds = torch.tensor([-1.5, 1.0], dtype=torch.float64), torch.tensor([0.4, 0.6], dtype=torch.float64)
    return {
        "two narrow modes, 2-D": GaussianMixtureTarget.from_stds(
            [0.3, 0.7], plane, torch.full_like(plane, 0.2)
        ),
        "two wide modes, 1-D": GaussianMixtureTarget.from_stds([0.3, 0.7], line, stds),
        "five modes, 8-D": _clusters(8, 5, 0.2),
    }


def train_network(target: GaussianMixtureTarget, n_steps: int) -> NetworkDenoiser:
    """Train a small network with Adam; the same weights for the same number of steps."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        width = 96
        layers = nn.Sequential(
            nn.Linear(target.dim + 1, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(),
            nn.Linear(width, target.dim),
        )  # fmt: skip

    def network(x: Tensor, time: Tensor, condition: Any) -> Tensor:
        return layers(torch.cat([x, time.expand(x.shape[0])[:, None]], -1))

    denoiser = NetworkDenoiser(network, PATH, preconditioning=EDMPreconditioning(1.0))
    objective = DenoisingObjective(PATH, "edm")
    optimizer = torch.optim.Adam(layers.parameters(), 2e-3)
    generator = torch.Generator().manual_seed(1)
    for _ in range(n_steps):
        x0 = target.draw(256, generator).to(torch.float32)
        times = torch.rand(256, generator=generator, dtype=torch.float64).clamp_min(1e-3)
        loss = objective(denoiser, x0, times, torch.randn(x0.shape, generator=generator)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    layers.requires_grad_(False).double()
    return denoiser


def case_rows(
    name: str, denoiser: Denoiser, dim: int, budgets: Sequence[int], count: int
) -> list[dict[str, Any]]:
    """Measure every way of spending on one law of data."""
    start = PATH.draw_prior((count, dim), torch.Generator().manual_seed(1), dtype=torch.float64)
    fine = log_snr_grid(PATH, 600, last_log_snr=8.0)
    exact = sample(denoiser, DPMSolverMultistep(3), fine, state=State(x=start)).samples
    rows = []

    def add(
        grid: str, way: str, budget: int, solver: Solver, times: Tensor, policy: ComputePolicy | None
    ) -> None:
        result = sample(denoiser, solver, times, state=State(x=start), policy=policy)
        error = float((result.samples - exact).square().mean().sqrt())
        rows.append(
            {"case": name, "grid": grid, "way": way, "budget": budget, "nfe": result.nfe, "error": error}
        )

    for grid, make in GRIDS.items():
        for budget in budgets:
            for way, policy in POLICIES.items():
                add(grid, way, budget, DPMSolverMultistep(2), make(FINE_STEPS), policy(budget))
            for way, solver in BASELINES.items():
                # Heun's last step, to clean data, takes one evaluation.
                steps = budget if solver.nfe == 1 else (budget + 1) // 2
                add(grid, way, budget, solver, make(steps), None)
    return rows


def run_all(budgets: Sequence[int], count: int, training_steps: int) -> pd.DataFrame:
    """Measure every case; a network is trained where there are steps for it."""
    rows = []
    targets = make_targets()
    for name, target in targets.items():
        rows += case_rows(name, ExactDenoiser(target, PATH), target.dim, budgets, count)
        print(f"done: {name}", flush=True)
    if training_steps:
        target = targets["two narrow modes, 2-D"]
        rows += case_rows("trained network, 2-D", train_network(target, training_steps), 2, budgets, count)
    return pd.DataFrame(rows)


def relative_errors(rows: pd.DataFrame) -> pd.DataFrame:
    """Give geometric means over cases of the error relative to even static refresh, one line a budget."""
    wide = rows.pivot_table(index=["case", "grid", "budget"], columns="way", values="error", sort=False)
    ratios = np.log(wide.div(wide[EVEN], axis=0))
    return np.exp(ratios.groupby(level=["grid", "budget"], sort=False).mean())


def overall(rows: pd.DataFrame) -> pd.Series:
    """Give geometric means over everything of the error relative to even static refresh."""
    return np.exp(np.log(relative_errors(rows)).mean())


def budget_bars(rows: pd.DataFrame) -> list[Bar]:
    """Give the bars: the cap holds in every run; on average no worse than even static refresh."""
    over = rows[rows["nfe"] > rows["budget"]]
    mean = float(overall(rows)[BUDGETED])
    return [
        Bar("calls never exceed the budget", over.empty, f"{len(over)} of {len(rows)} runs above it"),
        Bar("budgeted no worse than static even", mean <= 1.0, f"mean error ratio {mean:.2f}, asked <= 1"),
    ]


def _winners(rows: pd.DataFrame) -> str:
    wide = rows.pivot_table(index=["case", "grid", "budget"], columns="way", values="error", sort=False)
    counts = wide.idxmin(axis=1).groupby(level="grid", sort=False).value_counts()
    return "; ".join(f"{grid}: {way} {count}" for (grid, way), count in counts.items())


def _reading(rows: pd.DataFrame) -> str:
    wide = rows.pivot_table(index=["case", "grid", "budget"], columns="way", values="error", sort=False)
    best_solver = wide[list(BASELINES)].min(axis=1)
    lines = []
    for grid in GRIDS:
        part = wide.xs(grid, level="grid")
        solver = best_solver.xs(grid, level="grid")
        ratio = float(np.exp(np.log(part[BUDGETED] / solver).mean()))
        wins = int((part[BUDGETED] < solver).sum())
        lines.append(
            f"On grids even in {grid} the budgeted runs have {ratio:.2f} times the error of the best solver "
            f"with fewer steps (geometric mean), and beat it in {wins} of {len(part)} cells."
        )
    best_of_all = wide.groupby(level=["case", "budget"], sort=False).min()
    solvers_only = best_solver.groupby(level=["case", "budget"], sort=False).min()
    kept = int((best_of_all.drop(columns=list(BASELINES)).min(axis=1) < solvers_only).sum())
    lines.append(
        "Free to choose the grid as well, a policy is ahead of the best solver in "
        f"{kept} of {len(solvers_only)} cells. A policy repairs a grid that spends its steps in the wrong "
        "places; where the grid is good already, fewer steps of a multistep solver do as well or better, "
        "with less machinery."
    )
    return " ".join(lines)


def _draw(rows: pd.DataFrame, path: Path, note: str) -> None:
    cases = list(rows["case"].unique())
    figure, axes = new_figure(columns=len(GRIDS), width=5.2, height=4.0)
    styles = {BUDGETED: ("#c1440e", "o-"), EVEN: ("#e0a458", "s-"), WEIGHTED: ("0.7", "^-")}
    blues = dict(zip(BASELINES, ("#1f4e79", "#4f81bd", "#a5c4e5"), strict=True))
    for panel, grid in zip(axes[0], GRIDS, strict=True):
        part = rows[rows["grid"] == grid]
        means = np.exp(part.assign(log=np.log(part["error"])).groupby(["way", "budget"])["log"].mean())
        for way in [*POLICIES, *BASELINES]:
            colour, style = styles.get(way, (blues.get(way, "k"), "d--"))
            panel.loglog(means[way].index, means[way], style, color=colour, label=way, markersize=4)
        panel.set(xlabel="network calls", title=f"grids even in {grid}")
        panel.set_xticks(sorted(part["budget"].unique()), [str(b) for b in sorted(part["budget"].unique())])
        panel.minorticks_off()
    axes[0, 0].set_ylabel(f"error, geometric mean of {len(cases)} cases")
    axes[0, 1].legend(fontsize=8)
    figure.suptitle(f"{FINE_STEPS} steps on a budget (solid) against fewer steps (dashed){note}")
    save_figure(figure, path)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Calling the network less often inside a run.")
    parser.add_argument("--quick", action="store_true", help="fewer budgets and samples, no network")
    parser.add_argument("--check", action="store_true", help="compare with the bars; exit 1 if one is missed")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/core_budget"))
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write tables and picture, and give the exit code."""
    options = _parse(arguments)
    limit_threads()
    rows = run_all((6, 12, 24), 100, 0) if options.quick else run_all(BUDGETS, 256, 2000)
    bars, table = budget_bars(rows), relative_errors(rows)
    write_table(options.out / "rows.csv", rows.set_index("case"))
    write_table(options.out / "relative.csv", table)
    note = " (reduced run)" if options.quick else ""
    _draw(rows, options.out / "core_budget.png", note)
    flat = table.reset_index().set_index("grid")
    sections = [
        ("", _reading(rows)),
        (f"Error relative to {EVEN} refresh, geometric mean over cases", markdown_table(flat, digits=2)),
        ("Smallest error in how many cells", _winners(rows)),
        ("Picture", "![core_budget.png](core_budget.png)"),
        ("Bars", bars_text(bars)),
    ]
    for name, part in rows.groupby("case", sort=False):
        wide = part.pivot_table(index=["grid", "budget"], columns="way", values="error", sort=False)
        sections.append((f"Errors: {name}", markdown_table(wide.reset_index().set_index("grid"), digits=4)))
    header = run_header(options.quick, None if arguments is None else ["core_budget.py", *arguments])
    write_markdown(options.out / "report.md", "Network calls on a budget", header, sections)
    return check_exit_code(bars) if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
