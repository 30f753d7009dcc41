"""Posterior samplers against the exact posterior: `python benchmarks/core_posterior.py`.

Two targets whose posterior is known in closed form:

- *two modes*: .5 N(-2, .2^2) + .5 N(2, .2^2), one reading y = x + N(0, 1.5^2) with y = 1;
- *six modes*: six elongated normal laws on a ring of radius 2.5 in the plane, and two instruments with
  operators and noises of their own, y1 = x_1 + N(0, .8^2) = 1.2 and y2 = .6 x_1 - 1.2 x_2 + N(0, 2^2) = -.5.

Every sampler makes 400 equal Euler-Maruyama steps of the reverse equation from t = 1 to 1e-3 on the path
alpha^2 = exp(-10 t^2) with 3000 particles; five seeds. "Exact score" uses the denoiser of the exact
posterior; the others use that of the prior with guidance. `posterior_spread` compares the states at eight
times with 8192 atoms drawn from the prior. The claim: it flags every sampler with the wrong law and passes
the exact one.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from bars import Bar, bars_text, check_exit_code
from measuring import limit_threads
from reporting import RowFile, markdown_table, run_header, write_markdown, write_table
from survival_pictures import new_figure, save_figure
from torch import Tensor

from sciffusion.continuous import EulerMaruyama, VariancePreserving
from sciffusion.diagnostics import PosteriorSpread, posterior_spread
from sciffusion.exact import ExactDenoiser, GaussianMixtureTarget, GaussianTarget
from sciffusion.sampling import TraceRecorder, sample, uniform_grid
from sciffusion.sampling.guidance import Likelihood, PosteriorGuidance

__all__ = ["EXACT", "METHODS", "PUBLISHED", "Problem", "main", "posterior_bars", "problems", "run_sampler"]

PATH = VariancePreserving(0.0, 20.0)
STEPS, PARTICLES, SEEDS, ATOMS, TIMES = 400, 3000, 5, 8192, 8
EXACT = "exact score"
#: Guidance of each sampler; None stands for the denoiser of the exact posterior.
METHODS: dict[str, Callable[[list[Likelihood]], PosteriorGuidance] | None] = {
    EXACT: None,
    "DPS": lambda readings: PosteriorGuidance(readings, "dps"),
    "DPS, zeta = 1": lambda readings: PosteriorGuidance(readings, "dps", zeta=1.0),
    "PiGDM": lambda readings: PosteriorGuidance(readings, "pigdm"),
    "TMPD": lambda readings: PosteriorGuidance(readings, "tmpd"),
}
#: Mean, standard deviation and mass of x < 0 of two-mode samples that an independent program gave.
PUBLISHED = {
    EXACT: (1.42, 1.39, 0.143),
    "DPS": (1.60, 1.18, 0.097),
    "PiGDM": (1.34, 1.46, 0.162),
    "TMPD": (0.88, 1.77, 0.280),
}
PUBLISHED_WITHIN = (0.08, 0.08, 0.02)


@dataclass(frozen=True)
class Problem:
    """A prior, its readings and the exact posterior."""

    name: str
    prior: GaussianMixtureTarget
    readings: list[Likelihood]
    posterior: GaussianMixtureTarget
    centres: Tensor

    def modes(self, x: Tensor) -> Tensor:
        """Give the number of the nearest centre."""
        return torch.cdist(x, self.centres).argmin(-1)


def _problem(name: str, prior: GaussianMixtureTarget, parts: list[tuple[Tensor, float, float]]) -> Problem:
    readings = [Likelihood(row[None], torch.tensor([y]), noise) for row, y, noise in parts]
    posterior = prior.observed(
        torch.stack([row for row, _, _ in parts]),
        torch.tensor([y for _, y, _ in parts], dtype=torch.float64),
        torch.tensor([noise for _, _, noise in parts], dtype=torch.float64),
    )
    return Problem(name, prior, readings, posterior, torch.stack([part.mean for part in prior.components]))


def problems() -> list[Problem]:
    """Give the two problems."""
    two = GaussianMixtureTarget.from_stds([0.5, 0.5], torch.tensor([-2.0, 2.0]), torch.tensor([0.2, 0.2]))
    ring = []
    for number in range(6):
        angle = math.pi * number / 3.0 + 0.2
        out = torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float64)
        along = torch.tensor([-math.sin(angle), math.cos(angle)], dtype=torch.float64)
        covariance = 0.15**2 * torch.outer(out, out) + 0.5**2 * torch.outer(along, along)
        ring.append(GaussianTarget.full(covariance, 2.5 * out))
    six = GaussianMixtureTarget(torch.ones(6, dtype=torch.float64), ring)
    one = torch.ones(1, dtype=torch.float64)
    first, second = (
        torch.tensor([1.0, 0.0], dtype=torch.float64),
        torch.tensor([0.6, -1.2], dtype=torch.float64),
    )
    return [
        _problem("two modes", two, [(one, 1.0, 1.5)]),
        _problem("six modes", six, [(first, 1.2, 0.8), (second, -0.5, 2.0)]),
    ]


def run_sampler(
    problem: Problem, method: str, seed: int, *, steps: int = STEPS, particles: int = PARTICLES,
    atoms: int = ATOMS,
) -> tuple[Tensor, PosteriorSpread]:  # fmt: skip
    """Run one sampler and give its samples with the report of the diagnostic."""
    make = METHODS[method]
    denoiser = ExactDenoiser(problem.posterior if make is None else problem.prior, PATH)
    result = sample(
        denoiser, EulerMaruyama(), uniform_grid(steps, end=1e-3), shape=(particles, problem.prior.dim),
        guidance=() if make is None else make(problem.readings), hooks=[TraceRecorder()],
        generator=torch.Generator().manual_seed(seed), dtype=torch.float64,
    )  # fmt: skip
    report = posterior_spread(
        problem.prior, PATH, problem.readings, result.trace["x"], result.trace["x_times"],
        modes=problem.modes, n_times=TIMES, n_atoms=atoms,
        generator=torch.Generator().manual_seed(1000 + seed),
    )  # fmt: skip
    return result.samples, report


def _row(
    problem: Problem, method: str, seed: int, samples: Tensor, report: PosteriorSpread
) -> dict[str, Any]:
    final = report.final
    distance = 0.5 * sum(abs(a - b) for a, b in zip(final.masses, final.exact_masses, strict=True))
    return {
        "problem": problem.name, "method": method, "seed": seed, "mean": float(samples[:, 0].mean()),
        "std": float(samples.var(0).sum().sqrt()), "mass 0": final.masses[0], "ratio": final.ratio,
        "mass distance": distance, "final": ", ".join(final.verdicts), "verdicts": ", ".join(report.verdicts),
        "passed": report.passed,
    }  # fmt: skip


def exact_row(problem: Problem, count: int = 1_000_000) -> dict[str, Any]:
    """Give the exact moments, from draws of the exact posterior."""
    draws = problem.posterior.draw(count, torch.Generator().manual_seed(0))
    return {
        "mean": float(draws[:, 0].mean()), "std": float(draws.var(0).sum().sqrt()),
        "mass 0": float((problem.modes(draws) == 0).double().mean()), "ratio": 1.0, "mass distance": 0.0,
    }  # fmt: skip


def summarise(rows: pd.DataFrame, problem: Problem, reduced: bool) -> pd.DataFrame:
    """Give means over the seeds, the verdicts and how often each sampler passed."""
    part = rows[rows["problem"] == problem.name].fillna({"final": "", "verdicts": ""})
    grouped = part.groupby("method", sort=False)
    table = grouped[["mean", "std", "mass 0", "ratio", "mass distance"]].mean()
    table["passed"] = grouped["passed"].agg(lambda flags: f"{int(flags.sum())} of {len(flags)}")
    table["final verdicts"] = grouped["final"].agg(
        lambda words: " / ".join(dict.fromkeys(word or "passes" for word in words))
    )
    known = exact_row(problem, 50_000 if reduced else 1_000_000)
    exact = pd.DataFrame([known | {"passed": "-", "final verdicts": "-"}], index=["exact"])
    table = pd.concat([exact, table])
    return table.rename(columns={"mean": "mean x_1", "std": "spread", "mass 0": "mass of mode 0"})


def posterior_bars(rows: pd.DataFrame, reduced: bool) -> list[Bar]:
    """Give the bars: every wrong sampler flagged and the exact one passed at every seed; known values."""
    bars = []
    for (problem, method), part in rows.groupby(["problem", "method"], sort=False):
        exact = method == EXACT
        name = f"{problem}: {method} {'passes' if exact else 'is flagged'} at every seed"
        count = int((part["passed"] == exact).sum())
        reached = None if reduced else count == len(part)
        bars.append(Bar(name, reached, f"{count} of {len(part)}"))
    means = rows[rows["problem"] == "two modes"].groupby("method")[["mean", "std", "mass 0"]].mean()
    for method, known in PUBLISHED.items():
        if method not in means.index:
            continue
        found = means.loc[method].to_numpy()
        near = all(abs(a - b) <= c for a, b, c in zip(found, known, PUBLISHED_WITHIN, strict=True))
        words = "mean {:.2f}, spread {:.2f}, left mass {:.3f}".format(*found)
        name = f"two modes: {method} ends as the independent program says"
        bars.append(Bar(name, None if reduced else near, f"{words} against {known}"))
    for method, word in (("DPS", "under-spread"), ("TMPD", "over-spread")):
        part = rows[(rows["problem"] == "two modes") & (rows["method"] == method)]
        count = int(part["final"].fillna("").str.contains(word).sum())
        name = f"two modes: {method} is called {word} at the end"
        bars.append(Bar(name, None if reduced else count == len(part), f"{count} of {len(part)}"))
    return bars


def _draw(reports: dict[tuple[str, str], PosteriorSpread], path: Path, note: str) -> None:
    names = list(dict.fromkeys(problem for problem, _ in reports))
    figure, axes = new_figure(columns=len(names), width=5.0)
    for panel, name in zip(axes[0], names, strict=True):
        for (problem, method), report in reports.items():
            if problem == name:
                times = [row.t for row in report.rows]
                panel.plot(times, [row.ratio for row in report.rows], "o-", markersize=4, label=method)
        panel.axhline(1.0, color="black", linewidth=0.8)
        panel.set_xlabel("time (the run goes from right to left)")
        panel.set_title(name)
    axes[0, 0].set_ylabel("spread of the states / exact spread")
    axes[0, 0].legend(fontsize=8)
    figure.suptitle(f"Posterior samplers against the exact law of the noisy values{note}")
    save_figure(figure, path)


READING = """\
*ratio* is the spread of the samples over the exact spread (roots of the covariance trace); *mass distance*
the total variation between mode masses, each sample counted to modes as the atoms say; *passed* counts the
seeds in which no compared time had a verdict, *final verdicts* are those on the samples alone. What is good:
the diagnostic passes the exact score, flags the others, and says in which way each is wrong. What is not: it
needs a sampler run and atoms of the prior, and a sampler that ends nearly right is caught by its states on
the way."""


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Posterior samplers against the exact posterior.")
    parser.add_argument("--quick", action="store_true", help="one seed, a third of the particles and steps")
    parser.add_argument("--check", action="store_true", help="compare with the bars; exit 1 if one is missed")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/core_posterior"))
    parser.add_argument("--seeds", type=int, help="number of seeds")
    parser.add_argument("--particles", type=int)
    parser.add_argument("--steps", type=int)
    options = parser.parse_args(arguments)
    scale = 3 if options.quick else 1
    options.seeds = options.seeds or (1 if options.quick else SEEDS)
    options.particles = options.particles or PARTICLES // scale
    options.steps = options.steps or STEPS // scale
    options.reduced = options.seeds < SEEDS or options.particles < PARTICLES or options.steps < STEPS
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all samplers, write tables and picture, and give the exit code."""
    options = _parse(arguments)
    limit_threads()
    rows_file = RowFile(options.out / "rows.csv", ("problem", "method", "seed"), {"protocol": 1}, False)
    reports: dict[tuple[str, str], PosteriorSpread] = {}
    settings = {"steps": options.steps, "particles": options.particles}
    settings["atoms"] = ATOMS if not options.reduced else ATOMS // 4
    for problem in problems():
        for seed in range(options.seeds):
            for method in METHODS:
                samples, report = run_sampler(problem, method, seed, **settings)
                reports.setdefault((problem.name, method), report)
                rows_file.add(_row(problem, method, seed, samples, report))
                print(f"{problem.name}, {method}, seed {seed}: {report.verdicts or 'passes'}", flush=True)
    rows = rows_file.frame()
    bars = posterior_bars(rows, options.reduced)
    sections = []
    for problem in problems():
        table = summarise(rows, problem, options.reduced)
        write_table(options.out / f"{problem.name.replace(' ', '_')}.csv", table)
        sections.append((problem.name.capitalize(), markdown_table(table)))
    _draw(reports, options.out / "core_posterior.png", " (reduced run)" if options.reduced else "")
    sections += [
        ("Reading", READING), ("Picture", "![core_posterior.png](core_posterior.png)"),
        ("Bars", bars_text(bars)),
    ]  # fmt: skip
    header = run_header(options.reduced, None if arguments is None else ["core_posterior.py", *arguments])
    write_markdown(
        options.out / "report.md", "Posterior samplers against the exact posterior", header, sections
    )
    return check_exit_code(bars) if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
