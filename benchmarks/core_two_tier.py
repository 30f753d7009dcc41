"""Gradients through a frozen teacher: `python benchmarks/core_two_tier.py`; and what to predict.

**Two tiers.**  The gradient of score distillation, E[w(t) (eps_hat - eps)] for x = .2 + .5 N(0, 1), with the
exact denoiser of the mixture .3 N(-1.5, .4^2) + .7 N(1, .6^2) on the straight path, t uniform on [.02, .98]
and w(t) = 4 t (1 - t) exp(-((t - .7) / .15)^2).  One upstream pass (cost 1) is reused for K denoisings (cost
.1 each); times independent or stratified, uniform or importance-sampled in proportion to w.  Variances from
20,000 repetitions; ECM, the effective compute multiplier, is the cost of the plain estimator (K=1) over that
of another at equal variance.

**What to predict.**  Points of a two-dimensional mixture, embedded in D dimensions by a random rotation, each
learned by the same network predicting x0, eps or v, under the v loss, at equal training.  The errors are the
energy distance between generated points, projected back to the plane, and the data; and the length of what
is generated outside the plane (root mean square), where the data have nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from bars import Bar, bars_text, check_exit_code, compare
from low_rank import KINDS, WIDTHS, low_rank_table
from measuring import limit_threads
from reporting import markdown_table, run_header, write_markdown, write_table
from survival_pictures import new_figure, save_figure
from torch import Tensor

from sciffusion.continuous import RectifiedFlow
from sciffusion.exact import ExactDenoiser, GaussianMixtureTarget
from sciffusion.training import (
    ScoreDistillation,
    TimeSampler,
    TwoTierGradient,
    UniformTimes,
    WeightedTimes,
    effective_compute_multiplier,
)

__all__ = ["estimates", "main", "multiplier_table", "two_tier_bars", "weight"]

LOW, HIGH = 0.02, 0.98
UPSTREAM, DENOISING = 1.0, 0.1
COUNTS = (1, 2, 4, 8, 16)
REPETITIONS = 20_000
SMALLEST_ENERGY = 1e-4  # what the sampling noise of the estimate hides
KINDS_OF_TIMES = ("independent", "importance", "stratified", "both")


def weight(t: Tensor) -> Tensor:
    """Give the weight of the direction, 0 outside the interval of times."""
    inside = (t >= LOW) & (t <= HIGH)
    return torch.where(inside, 4.0 * t * (1.0 - t) * torch.exp(-(((t - 0.7) / 0.15) ** 2)), 0.0)


def _times(kind: str) -> TimeSampler:
    stratified = kind in ("stratified", "both")
    if kind in ("importance", "both"):
        # The tiny share outside the interval, where the weight vanishes, keeps the density positive.
        return WeightedTimes(weight=lambda t: weight(t) + 1e-6, stratified=stratified)
    return UniformTimes(low=LOW, high=HIGH, stratified=stratified)


def _direction() -> ScoreDistillation:
    centres = torch.tensor([-1.5, 1.0], dtype=torch.float64)
    stds = torch.tensor([0.4, 0.6], dtype=torch.float64)
    target = GaussianMixtureTarget.from_stds([0.3, 0.7], centres, stds)
    return ScoreDistillation(ExactDenoiser(target, RectifiedFlow()), weight)


def estimates(count: int, kind: str, repetitions: int, seed: int = 0) -> Tensor:
    """Give independent estimates of the gradient, each of one outer draw and ``count`` inner ones."""
    generator = torch.Generator().manual_seed(seed)
    x = 0.2 + 0.5 * torch.randn(repetitions, 1, generator=generator, dtype=torch.float64)
    found = TwoTierGradient(count, _times(kind)).mean_direction(x, _direction(), generator)[:, 0]
    # Importance sampling is for the integral over [0, 1], uniform times for the mean over the interval.
    return found / (HIGH - LOW) if kind in ("importance", "both") else found


def multiplier_table(counts: Sequence[int], repetitions: int) -> pd.DataFrame:
    """Give mean, standard error, variance and ECM of every estimator."""
    rows = []
    for count in counts:
        for place, kind in enumerate(KINDS_OF_TIMES):
            # One stream an estimator: their means must agree though nothing is shared.
            found = estimates(count, kind, repetitions, seed=100 * count + place)
            variance = float(found.var())
            rows.append(
                {
                    "K": count,
                    "times": kind,
                    "mean": float(found.mean()),
                    "standard_error": float(found.std()) / repetitions**0.5,
                    "variance": variance,
                    "cost": UPSTREAM + count * DENOISING,
                }
            )
    table = pd.DataFrame(rows)
    reference = table[(table["K"] == 1) & (table["times"] == "independent")].iloc[0]
    table["ecm"] = [
        effective_compute_multiplier(row.variance, row.cost, reference["variance"], reference["cost"])
        for row in table.itertuples()
    ]
    return table


def exact_gradient(points: int = 50) -> float:
    """Give the gradient by quadrature over x, times and noise."""
    nodes, node_weights = torch.from_numpy(_hermite(points)[0]), torch.from_numpy(_hermite(points)[1])
    t = LOW + (HIGH - LOW) * (torch.arange(200, dtype=torch.float64) + 0.5) / 200
    x = (0.2 + 0.5 * nodes)[:, None, None, None].expand(-1, points, 1, 1)
    noise = nodes[None, :, None, None].expand(points, -1, 1, 1)
    direction, total = _direction(), 0.0
    for time in t:
        found = direction(x, time.expand(points, points), noise)[..., 0, 0]
        total += float((found * node_weights[:, None] * node_weights).sum())
    return total / len(t)


def _hermite(points: int) -> tuple:
    from numpy.polynomial.hermite_e import hermegauss

    nodes, weights = hermegauss(points)
    return nodes, weights / weights.sum()


def two_tier_bars(table: pd.DataFrame, exact: float, reduced: bool) -> list[Bar]:
    """Give the bars: unbiased, and at least 4 times less cost with K=8, importance and strata."""
    errors = (table["mean"] - exact).abs() / table["standard_error"]
    bars = [compare("largest error of a mean, in standard errors", float(errors.max()), 4.0, at_most=True)]
    name = "ECM with K=8, importance sampling and strata"
    chosen = table[(table["K"] == 8) & (table["times"] == "both")]
    if reduced or chosen.empty:
        return [*bars, Bar(name, None, f"needs the full run of {REPETITIONS} repetitions")]
    return [*bars, compare(name, float(chosen["ecm"].iloc[0]), 4.0, at_most=False, unit=" x")]


def low_rank_bars(rows: pd.DataFrame, reduced: bool) -> list[Bar]:
    """Give the bar on low-rank data: predicting x0 leaves less outside the plane in the highest dimension."""
    name = "outside the plane at the highest D: x0 over the better of eps and v"
    if reduced:
        return [Bar(name, None, "needs the full run")]
    at_highest = rows[rows["D"] == rows["D"].max()].set_index("predicts")["outside"]
    return [compare(name, at_highest["x0"] / at_highest[["eps", "v"]].min(), 0.5, at_most=True)]


def _draw(table: pd.DataFrame, rows: pd.DataFrame, path: Path, note: str) -> None:
    figure, axes = new_figure(columns=3, width=4.2)
    for kind in KINDS_OF_TIMES:
        part = table[table["times"] == kind]
        axes[0, 0].semilogx(part["K"], part["ecm"], "o-", base=2, label=kind)
    axes[0, 0].set(xlabel="denoisings K per upstream pass", ylabel="effective compute multiplier")
    axes[0, 0].set(title="Two-tier gradients", ylim=(0.0, None))
    axes[0, 0].legend(fontsize=8, title="times")
    titles = {"energy": "energy distance in the plane", "outside": "RMS outside the plane"}
    for panel, (score, title) in zip(axes[0, 1:], titles.items(), strict=True):
        for kind in KINDS:
            part = rows[(rows["predicts"] == kind) & ((rows["D"] > 2) | (score == "energy"))]
            panel.loglog(part["D"], part[score].clip(lower=SMALLEST_ENERGY), "o-", label=kind)
        panel.set_xticks(sorted(set(rows["D"])), [str(dim) for dim in sorted(set(rows["D"]))])
        panel.minorticks_off()
        panel.set(xlabel="dimension D of the embedding", title=title)
        panel.legend(fontsize=8, title="predicts")
    figure.suptitle(f"Frozen teachers, and what to predict on low-rank data{note}")
    save_figure(figure, path)


READING = """Reuse, importance sampling and both together lower the cost of a gradient of given variance by
the factors of the first table, and none of them moves its mean: all means agree with the quadrature. With
importance sampling the noise of single denoisings dominates, so that strata of time add nothing to it; with
independent times they are worth up to 15 %. The best K depends on the ratio of the costs (here a pass of the
generator costs ten denoisings): beyond it more denoisings cost more than they save.

On low-rank data the kind of prediction decides. In the plane itself (D=2) v and eps are better than x0. In 32
dimensions they leave the plane: what a network of 256 units should then output is mostly noise, which it
cannot carry. x0 is in the plane whatever D is, and its law hardly changes with D. The numbers of eps at D=512
come from its start: where there is hardly any signal, an error of the noise is multiplied by
sigma/alpha. One seed each, one network, 1000 steps: the order of magnitude is what is shown."""


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Two-tier gradients, and what to predict.")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions and short training")
    parser.add_argument("--check", action="store_true", help="compare with the bars; exit 1 if one is missed")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/core_two_tier"))
    parser.add_argument("--resume", action="store_true", help="keep the networks already trained")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run both parts, write tables and picture, and give the exit code."""
    options = _parse(arguments)
    limit_threads()
    table = multiplier_table(COUNTS, 2000 if options.quick else REPETITIONS)
    exact = exact_gradient()
    quick = {"widths": WIDTHS[:2], "steps": 200} if options.quick else {}
    rows = low_rank_table(options.out / "low_rank.csv", options.resume, **quick)
    write_table(options.out / "multipliers.csv", table.set_index("K"))
    _draw(table, rows, options.out / "core_two_tier.png", " (reduced run)" if options.quick else "")
    bars = two_tier_bars(table, exact, options.quick) + low_rank_bars(rows, options.quick)
    wide = table.pivot(index="K", columns="times", values="ecm")[list(KINDS_OF_TIMES)]
    means = table.pivot(index="K", columns="times", values="mean")[list(KINDS_OF_TIMES)]
    sections = [
        ("Effective compute multiplier", markdown_table(wide, 1)),
        (f"Means of the estimates (exact: {exact:.5f})", markdown_table(means, 5)),
        ("What to predict on low-rank data", markdown_table(rows.set_index("D"), 4)),
        ("Picture", "![core_two_tier.png](core_two_tier.png)"),
        ("Reading", READING),
        ("Bars", bars_text(bars)),
    ]
    header = run_header(options.quick, None if arguments is None else ["core_two_tier.py", *arguments])
    write_markdown(options.out / "report.md", "Gradients through frozen teachers", header, sections)
    return check_exit_code(bars) if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
