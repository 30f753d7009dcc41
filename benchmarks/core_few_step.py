"""One, two and four evaluations: `python benchmarks/core_few_step.py`.

Six normal laws of standard deviation .25 and unequal weight on a ring of radius 1.5. Consistency (sCM) and
trajectory (CTM) models are trained on it; solvers get the *exact* denoiser, so that their error is that of
the step alone. All start from the exact law at t = .99 of the trigonometric path. The error is the unbiased
energy distance to exact draws, mean over training seeds and batches of samples; for solvers that of the
better of equal steps in time and in log noise.

The second part aligns the steps of a grid with the exact denoiser (Align Your Steps) and asks what that does
to KLUB, the quantity it minimises, and to the samples.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from bars import Bar, bars_text, check_exit_code, compare
from few_step_models import BIASED, LEARNED, PATH, SOLVERS, START, TARGET, TEACHER, fit, jump, solve, starts
from measuring import limit_threads
from reporting import markdown_table, run_header, write_markdown, write_table
from survival_pictures import new_figure, save_figure
from torch import Tensor

from sciffusion.continuous import ERSDE, DPMSolverMultistep, PowerScale, Solver, VarianceExploding
from sciffusion.diagnostics.distances import energy_distance
from sciffusion.exact import ExactDenoiser, GaussianTarget
from sciffusion.sampling import (
    State,
    align_steps,
    gaussian_klub,
    klub,
    log_snr_grid,
    power_grid,
    refine_grid,
    sample,
)

__all__ = ["few_step_bars", "grid_errors", "learned_errors", "main", "optimiser_klub", "solver_errors"]

UPDATES, SEEDS, COUNT, BATCHES = 2500, 2, 3000, 3
EVALUATIONS = (1, 2, 4, 8, 16)
AFTER, ALIGNED, STOCHASTIC = "sCM distilled", "aligned", "reverse SDE, order 1"
#: Where the noisy part of a grid ends: noise of half the width of a mode, and of a fourteenth of it.
LAST_LOG_SNRS = (2.0, 4.0)
OPTIMAL_KLUB = 4.564


def _error(samples: Tensor, seed: int) -> float:
    exact = TARGET.draw(len(samples), torch.Generator().manual_seed(500 + seed))
    return float(energy_distance(samples, exact, unbiased=True))


def solver_errors(count: int, batches: int, evaluations: Sequence[int] = EVALUATIONS) -> pd.DataFrame:
    """Give the error of every solver at every budget, the better of its two spacings."""
    rows = []
    for nfe in evaluations:
        for name in SOLVERS:
            found = []
            for spacing in ("time", "log"):
                draws = [solve(name, spacing, nfe, count, seed) for seed in range(batches)]
                errors = [_error(draw, seed) for seed, draw in enumerate(draws) if draw is not None]
                if errors:
                    found.append(sum(errors) / len(errors))
            rows.append({"method": name, "nfe": nfe, "seed": 0, "energy": min(found), "cpu_seconds": 0.0})
    return pd.DataFrame(rows)


def learned_errors(updates: int, seeds: int, count: int, batches: int) -> tuple[pd.DataFrame, Tensor]:
    """Train every flow map and give its errors, and samples of one jump for the picture."""
    rows, shown = [], torch.empty(0)
    for name in LEARNED:
        for seed in range(1 if name == BIASED else seeds):
            model, seconds = fit(name, updates, seed)
            gammas = (1.0, 0.0) if name.startswith("CTM") else (1.0,)
            for gamma in gammas:
                for n_steps in (1, 2, 4):
                    draws = [jump(model, n_steps, gamma, count, batch) for batch in range(batches)]
                    error = sum(_error(draw, batch) for batch, draw in enumerate(draws)) / batches
                    label = name if gamma == 1.0 else f"{name}, no noise"
                    rows.append(
                        {
                            "method": label,
                            "nfe": n_steps,
                            "seed": seed,
                            "energy": error,
                            "cpu_seconds": seconds,
                        }
                    )
                    if name == AFTER and n_steps == 1 and seed == 0:
                        shown = draws[0]
            print(
                f"{name}, seed {seed}: {seconds:.0f} CPU s, one jump {rows[-3 * len(gammas)]['energy']:.5f}",
                flush=True,
            )
    return pd.DataFrame(rows), shown


def optimiser_klub(rows: int, n_levels: int) -> dict[str, float]:
    """Give KLUB in closed form of ten aligned steps and of two other grids, Gaussian data of std .5."""
    path, generator = VarianceExploding(0.002, 80.0), torch.Generator().manual_seed(1)
    data = 0.5 * torch.randn(rows, 1, generator=generator, dtype=torch.float64)
    denoiser = ExactDenoiser(GaussianTarget.isotropic(1, 0.5), path)
    grids = {
        ALIGNED: align_steps(denoiser, data, 10, generator, n_levels=n_levels).grid,
        "log-linear": log_snr_grid(path, 10),
        "power 7": power_grid(path, 10),
    }
    return {
        name: float(gaussian_klub(path.coefficients(grid).noise_to_signal, 0.5))
        for name, grid in grids.items()
    }


def _grids(rows: int, last_log_snr: float) -> dict[int, dict[str, Tensor]]:
    data = TARGET.draw(rows, torch.Generator().manual_seed(600))
    generator = torch.Generator().manual_seed(601)
    ends = {"start": START, "last_log_snr": last_log_snr}
    aligned = align_steps(TEACHER, data, 10, generator, n_levels=128, **ends).grid
    return {
        factor: {
            # The step to clean data stays one step, as in the other grids.
            ALIGNED: torch.cat([refine_grid(PATH, aligned[:-1], factor), aligned[-1:]]),
            "log-linear": log_snr_grid(PATH, 9 * factor + 1, **ends),
            "power 7": power_grid(PATH, 9 * factor + 1, **ends),
        }
        for factor in (1, 2, 4)
    }


def grid_errors(rows: int, count: int, batches: int) -> pd.DataFrame:
    """Give KLUB of each grid on the ring, and the error of two samplers on it."""
    solvers = {STOCHASTIC: ERSDE(1, PowerScale(2.0)), "DPM-Solver++ 2M": DPMSolverMultistep()}
    data = TARGET.draw(rows, torch.Generator().manual_seed(700))
    table = []
    for last in LAST_LOG_SNRS:
        for name, grid in (
            (name, grid) for part in _grids(rows, last).values() for name, grid in part.items()
        ):
            bound = float(klub(TEACHER, grid[:-1], data, torch.Generator().manual_seed(701))[0])
            row: dict[str, object] = {"last log SNR": last, "nfe": len(grid) - 1, "grid": name, "KLUB": bound}
            for label, solver in solvers.items():
                draws = [_sampled(solver, grid, count, seed) for seed in range(batches)]
                row[label] = sum(_error(draw, seed) for seed, draw in enumerate(draws)) / batches
            table.append(row)
    return pd.DataFrame(table)


def _sampled(solver: Solver, grid: Tensor, count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(800 + seed)
    return sample(TEACHER, solver, grid, state=State(x=starts(count, seed)), generator=generator).samples


def few_step_bars(
    means: pd.DataFrame, grids: pd.DataFrame, bounds: dict[str, float], reduced: bool
) -> list[Bar]:
    """Give the bars: one jump against the best solver with one, two and four evaluations, and the grids."""
    bars = []
    best = means.loc[list(SOLVERS)].min()
    for name in LEARNED[:3]:
        for nfe in (1, 2, 4):
            label = f"one jump of {name} below every solver at {nfe} evaluations"
            if reduced:
                bars.append(Bar(label, None, "needs the full training"))
            else:
                bars.append(compare(label, means.loc[name, 1], best[nfe], at_most=True))
    label = "KLUB of the aligned grid within 1 % of the optimum"
    bars.append(compare(label, bounds[ALIGNED], 1.01 * OPTIMAL_KLUB, at_most=True))
    first = grids[(grids["last log SNR"] == LAST_LOG_SNRS[0]) & (grids["nfe"] == 10)].set_index("grid")
    label = "aligned grid better than log-linear for the first-order reverse SDE, 10 evaluations"
    if reduced:
        return [*bars, Bar(label, None, "needs the full number of samples")]
    energies = first[STOCHASTIC]
    return [*bars, compare(label, energies[ALIGNED], energies["log-linear"], at_most=True)]


def _draw(
    means: pd.DataFrame, grids: pd.DataFrame, shown: Tensor, floor: float, path: Path, note: str
) -> None:
    figure, axes = new_figure(columns=5, width=3.3, height=3.6)
    lines, aligned, *clouds = axes[0]
    for name, values in means.iterrows():
        solver = name in SOLVERS
        known = values.dropna().clip(lower=floor)
        lines.loglog(
            known.index, known, "o--" if solver else "o-", label=name, color="0.55" if solver else None
        )
        if solver:
            lines.lines[-1].set_marker({"Euler": "v", "Heun": "s"}.get(str(name), "^"))
    lines.axhline(floor, color="black", linewidth=0.8, linestyle=":")
    lines.set_xticks(EVALUATIONS, [str(n) for n in EVALUATIONS])
    lines.set(xlabel="network evaluations", ylabel="energy distance", title=f"Quality against cost{note}")
    lines.set_ylim(0.7 * floor, 2.0)
    lines.legend(fontsize=6, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
    chosen = grids[grids["last log SNR"] == LAST_LOG_SNRS[0]]
    for name, part in chosen.groupby("grid", sort=False):
        aligned.loglog(part["nfe"], part[STOCHASTIC].clip(lower=floor), "o-", label=name)
    aligned.set(xlabel="network evaluations", title="First-order reverse SDE, three grids")
    aligned.set_xticks(sorted(grids["nfe"].unique()), [str(n) for n in sorted(grids["nfe"].unique())])
    aligned.minorticks_off()
    aligned.set_ylabel("energy distance")
    aligned.legend(fontsize=7)
    others = solve("Euler", "time", 2, len(shown), 0)
    assert others is not None
    exact = TARGET.draw(len(shown), torch.Generator().manual_seed(500))
    titles = ("Exact denoiser, Euler, 2 nfe", "sCM distilled, 1 nfe", "Exact draws")
    for panel, samples, title in zip(clouds, (others, shown, exact), titles, strict=True):
        panel.plot(*samples[:2000].mT, ".", markersize=1.5)
        panel.set(title=title, xlim=(-2.6, 2.6), ylim=(-2.6, 2.6), aspect="equal")
    save_figure(figure, path)


READING = """The solvers have the exact denoiser; the flow maps are networks of 13,000 weights trained for
the CPU seconds in the table. What is good: one jump of any of the first three is better than every solver
with four evaluations, and the distance of the distilled consistency model's is that of exact draws at this
number of samples. What is not: the picture shows some of its samples between the modes, where exact draws
have almost none, and the energy distance hardly sees them; this is two dimensions and a perfect teacher,
the training has to be paid, and with eight evaluations Euler's method on the exact denoiser is as good. A
second jump halves what error there is; four do not help further, because noise put back is also another
chance to err. Values below the two standard errors given, also negative ones, cannot be told from none.

`sCM from data, normalised by item` is the published normalisation of the tangent without a teacher. In two
dimensions it settles at another map than the exact one, because the mean of normalised tangents vanishes
elsewhere than the mean of tangents; dividing by one number for the batch has no such bias and is the
default without a teacher.

Aligned steps have the smallest KLUB by construction, here and in the closed form. KLUB is the divergence of
the whole run of a *first-order stochastic* sampler. Where the grid ends at noise of half the width of a
mode, that sampler gains from it at equal cost; where nine steps must also cover noise far below the data's
own scale, most of them go there and the last state gains nothing. For the second-order multistep solver
aligned steps are worse than log-linear ones: use them with the sampler that they are made for. The end of
the noisy part was chosen after seeing several (noise levels .22, .14, .05 and .02); both that it helps at
the first two and not at the last is part of the finding."""


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="One, two and four evaluations.")
    parser.add_argument("--quick", action="store_true", help="a fifth of the training, one seed")
    parser.add_argument("--check", action="store_true", help="compare with the bars; exit 1 if one is missed")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/core_few_step"))
    parser.add_argument("--updates", type=int)
    parser.add_argument("--count", type=int, help="samples in a batch")
    options = parser.parse_args(arguments)
    options.updates = options.updates or (UPDATES // 5 if options.quick else UPDATES)
    options.count = options.count or (COUNT // 3 if options.quick else COUNT)
    options.reduced = options.quick or options.updates < UPDATES or options.count < COUNT
    options.seeds, options.batches = (1, 1) if options.reduced else (SEEDS, BATCHES)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, sample, align, write tables and picture, and give the exit code."""
    options = _parse(arguments)
    limit_threads()
    learned, shown = learned_errors(options.updates, options.seeds, options.count, options.batches)
    rows = pd.concat([solver_errors(options.count, options.batches), learned], ignore_index=True)
    rows.to_csv(_made(options.out) / "rows.csv", index=False)
    means = rows.pivot_table(index="method", columns="nfe", values="energy", sort=False)
    seconds = learned.groupby("method", sort=False)["cpu_seconds"].mean().rename("CPU s of training")
    grids = grid_errors(options.count, options.count, options.batches)
    bounds = optimiser_klub(COUNT, 320)
    floors = [_error(TARGET.draw(options.count, torch.Generator().manual_seed(900 + k)), k) for k in range(8)]
    floor = 2.0 * float(torch.tensor(floors).std()) / options.batches**0.5
    bars = few_step_bars(means, grids, bounds, options.reduced)
    write_table(options.out / "energy.csv", means)
    write_table(options.out / "grids.csv", grids.set_index(["last log SNR", "nfe", "grid"]))
    note = " (reduced run)" if options.reduced else ""
    _draw(means, grids, shown, floor, options.out / "core_few_step.png", note)
    sections = [
        ("Energy distance to exact draws, by evaluations", markdown_table(means.join(seconds), 5)),
        ("", f"Two standard errors of this number for exact samples: {floor:.5f}."),
        (
            "Grids on the ring: KLUB, and energy distance of two samplers",
            markdown_table(grids.set_index("grid"), 5),
        ),
        (
            "KLUB of ten steps for Gaussian data, closed form",
            markdown_table(pd.DataFrame({"KLUB": bounds}).rename_axis("grid")),
        ),
        ("Reading", READING),
        ("Picture", "![core_few_step.png](core_few_step.png)"),
        ("Bars", bars_text(bars)),
    ]
    header = run_header(options.reduced, None if arguments is None else ["core_few_step.py", *arguments])
    write_markdown(options.out / "report.md", "Few network evaluations", header, sections)
    return check_exit_code(bars) if options.check else 0


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    sys.exit(main())
