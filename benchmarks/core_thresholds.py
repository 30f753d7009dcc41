"""Two thresholds: when models agree and when they find the latent: `python benchmarks/core_thresholds.py`.

Data are white noise in d dimensions with a latent of variance beta along one direction. A model is the exact
denoiser of the sample covariance of n points: the best that a linear network can learn from them. For every
n / d, forty pairs of models are fitted to disjoint sets of n points each, and measured are

- agreement: mean cosine of samples that the two models make of the same noise (`sample_agreement`; Heun's
  method, 40 steps; the first ten pairs),
- recovery: squared overlap of the model's first principal direction with the planted one,

against their limits for large n and d (`sciffusion.diagnostics.linear_theory`). The table for beta = 1 stands
beside reference values measured independently before (means over 3 draws, d = 150). For three pairs,
recovery is also measured as a user would, without knowing the direction: `latent_recovery` on 4000 generated
against 4000 held-out samples, whose ratio is 1 for a perfect sampler. At the threshold itself, n = d for
beta = 1, the approach to the limit is measured over growing d.

Small perceptrons, really trained (d = 20, beta = 3), show what of this holds for networks.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from bars import Bar, bars_text, check_exit_code, compare
from measuring import limit_threads
from reporting import markdown_table, run_header, write_markdown, write_table
from survival_pictures import new_figure, save_figure
from thresholds_trained import spiked, trained_curve
from torch import Tensor

from sciffusion.continuous import Heun, VariancePreserving
from sciffusion.diagnostics import (
    latent_recovery,
    principal_directions,
    same_noise_cosine,
    sample_agreement,
    spike_overlap,
)
from sciffusion.exact import ExactDenoiser, GaussianTarget
from sciffusion.sampling import log_snr_grid

__all__ = ["linear_rows", "main", "summarise", "threshold_bars", "threshold_rows"]

DIM = 150
DRAWS = 40
#: Draws, of these, for which samples are made and for which recovery is measured without the direction.
AGREEMENT_DRAWS, RATIO_DRAWS = 10, 3
THRESHOLD_DIMS = (75, 150, 300, 600)
RATIOS = (0.25, 0.5, 1.0, 1.5, 2.0, 4.0, 8.0)
STRENGTHS = (1.0, 3.0)
TRAINED_RATIOS = (0.5, 1.0, 2.0, 4.0, 16.0, 64.0)
PATH = VariancePreserving()
#: Measured before, d = 150, beta = 1: squared overlap and same-noise cosine.
REFERENCE = pd.DataFrame(
    {
        "reference overlap^2": [0.05, 0.05, 0.06, 0.20, 0.28, 0.64, 0.75],
        "reference cosine": [0.22, 0.43, 0.72, 0.82, 0.87, 0.94, 0.97],
    },
    index=pd.Index(RATIOS, name="n/d"),
)


def _fit(rows: Tensor) -> GaussianTarget:
    return GaussianTarget.full(rows.mT @ rows / rows.shape[0])


def _overlap(rows: Tensor) -> float:
    """Give the squared overlap of the first principal direction with the planted one, the first axis."""
    return float(principal_directions(rows, 1)[0, 0] ** 2)


def _agreement(targets: Sequence[GaussianTarget], generator: torch.Generator) -> float:
    models = [ExactDenoiser(target, PATH) for target in targets]
    return sample_agreement(
        *models,
        Heun("noise_to_signal"),
        log_snr_grid(PATH, 40),
        shape=(64, targets[0].dim),
        generator=generator,
        dtype=torch.float64,
    ).cosine


def _recovery_ratio(target: GaussianTarget, strength: float, generator: torch.Generator) -> float:
    generated = target.draw(4000, generator)
    held_out = spiked(4000, target.dim, strength, generator)
    found = latent_recovery(generated, held_out, 1, generator=generator, n_splits=4, n_groups=2)
    return found.ratio


def linear_rows(draws: int, dim: int, ratios: Sequence[float], strengths: Sequence[float]) -> pd.DataFrame:
    """Measure pairs of linear models; one row a draw, size and strength."""
    rows: list[dict[str, float]] = []
    for strength in strengths:
        for ratio in ratios:
            for draw in range(draws):
                generator = torch.Generator().manual_seed(len(rows))
                data = [spiked(round(ratio * dim), dim, strength, generator) for _ in range(2)]
                row = {"beta": strength, "n/d": ratio, "draw": draw}
                row["overlap^2"] = (_overlap(data[0]) + _overlap(data[1])) / 2.0
                targets = [_fit(part) for part in data] if draw < AGREEMENT_DRAWS else []
                row["cosine"] = _agreement(targets, generator) if targets else float("nan")
                diagnosed = draw < RATIO_DRAWS
                row["recovery ratio"] = (
                    _recovery_ratio(targets[0], strength, generator) if diagnosed else float("nan")
                )
                rows.append(row)
    return pd.DataFrame(rows)


def threshold_rows(dims: Sequence[int], numbers: int) -> pd.DataFrame:
    """Measure the overlap at the threshold, n = d and beta = 1, for growing d; one line a dimension."""
    rows = []
    for dim in dims:
        generator = torch.Generator().manual_seed(dim)
        draws = max(8, round(numbers * (min(dims) / dim) ** 1.5))
        found = pd.Series([_overlap(spiked(dim, dim, 1.0, generator)) for _ in range(draws)])
        error = found.std() / draws**0.5
        rows.append({"d": dim, "draws": draws, "overlap^2": found.mean(), "standard error": error})
    return pd.DataFrame(rows).set_index("d")


def summarise(rows: pd.DataFrame, strength: float) -> pd.DataFrame:
    """Give means over draws beside the theory, one line a size."""
    part = rows[rows["beta"] == strength].groupby("n/d")
    table = pd.DataFrame(
        {
            "overlap^2": part["overlap^2"].mean(),
            "sd": part["overlap^2"].std(),
            "theory overlap^2": [spike_overlap(ratio, strength) for ratio in part.groups],
            "cosine": part["cosine"].mean(),
            "theory cosine": [same_noise_cosine(ratio) for ratio in part.groups],
            "recovery ratio": part["recovery ratio"].mean(),
        }
    )
    return table.join(REFERENCE) if strength == 1.0 else table


def threshold_bars(rows: pd.DataFrame, at_threshold: pd.DataFrame, reduced: bool) -> list[Bar]:
    """Give the bars on overlap and agreement of the linear models."""
    weak, strong = (summarise(rows, strength) for strength in STRENGTHS)
    gaps = (weak["overlap^2"] - weak["theory overlap^2"]).abs()
    bars = [
        compare(f"beta=1, n/d={ratio:g}: |overlap^2 - theory|", gaps[ratio], 0.08, at_most=True)
        for ratio in weak.index
        if ratio >= 2.0
    ]
    bars += [
        compare("beta=1, n/d=1: the models agree", weak["cosine"][1.0], 0.65, at_most=False),
        compare(
            f"beta=1, n/d=1, d={at_threshold.index[-1]}: nothing is recovered",
            at_threshold["overlap^2"].iloc[-1],
            0.12,
            at_most=True,
        ),
        compare("beta=3, n/d=0.25: the models do not agree", strong["cosine"][0.25], 0.35, at_most=True),
        compare("beta=3, n/d=0.25: the latent shows", strong["overlap^2"][0.25], 0.15, at_most=False),
    ]
    words = f"needs the full run: d = {DIM} and {DRAWS} draws"
    return [Bar(bar.name, None, words) for bar in bars] if reduced else bars


def _draw(rows: pd.DataFrame, trained: pd.DataFrame, path: Path, note: str) -> None:
    figure, axes = new_figure(columns=3, width=4.2, height=3.8)
    fine = torch.logspace(-1.0, 1.3, 120, dtype=torch.float64).tolist()
    red, blue = "#c1440e", "#2f6690"
    for panel, strength in zip(axes[0], STRENGTHS, strict=False):
        table = summarise(rows, strength)
        panel.plot(fine, [spike_overlap(r, strength) for r in fine], color=red, label="recovery, theory")
        panel.plot(fine, [same_noise_cosine(r) for r in fine], color=blue, label="agreement, theory")
        panel.errorbar(
            table.index, table["overlap^2"], table["sd"], fmt="o", color=red, label="recovery, measured"
        )
        panel.plot(table.index, table["cosine"], "s", color=blue, label="agreement, measured")
        panel.axvline(1.0 / strength**2, color="black", linewidth=0.8, linestyle=":")
        panel.set_title(f"linear models, beta = {strength:g}")
    panel = axes[0, 2]
    for (steps, part), style in zip(trained.groupby("steps"), (":", "-"), strict=False):
        means = part.groupby("n/d").mean()
        panel.plot(means.index, means["overlap^2"], "o" + style, color=red, label=f"recovery, {steps} steps")
        panel.plot(means.index, means["cosine"], "s" + style, color=blue, label=f"agreement, {steps} steps")
    panel.plot(means.index, means["overlap^2 of its data"], "kx", label="principal direction of the data")
    panel.set_title("trained perceptrons, d = 20, beta = 3")
    for panel in axes[0]:
        panel.set(xscale="log", xlabel="training points / dimension", ylim=(-0.03, 1.03))
    axes[0, 0].set_ylabel("squared overlap, cosine")
    axes[0, 0].legend(fontsize=7, loc="upper left")
    axes[0, 2].legend(fontsize=7, loc="lower right")
    figure.suptitle(f"Two thresholds{note}")
    save_figure(figure, path)


READING = """Recovery follows the theory and has its threshold (dotted) at n/d = 1/beta^2; agreement grows
smoothly around n = d. They are different things. For beta = 1 two models agree with a cosine of about .72 at
n = d and know next to nothing of the latent. For beta = 3 recovery begins at n/d = .11, where the models
hardly agree, and at n/d = .25 a quarter of the squared overlap is there at a cosine of .23. Near the
threshold the overlap of single draws scatters widely (column sd).

The limit of 0 at the threshold itself is approached slowly, about like d^(-1/3): at d = 150 the mean overlap
is .12 to .13, and the earlier reference of .06 lies within the scatter of its three draws. A bar of .12 at
d = 150 would be decided by chance, so it is set at d = 600.

The recovery ratio is what a user without the planted direction sees: of the size of the squared overlap with
that direction, and noisier, since the generated samples are finite, too.

The trained perceptrons find the direction as soon as the principal directions of their own data show it,
whether they are trained briefly or long. Their agreement is another matter: trained long, they fit their own
points and agree far later than linear models do; stopped early, they agree with each other sooner. Agreement
depends on the training as much as on the data. Two pairs of networks for each size and one architecture: an
illustration, on which no bar rests."""


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="When models agree, and when they find the latent.")
    parser.add_argument("--quick", action="store_true", help="d = 40, three draws, briefly trained networks")
    parser.add_argument("--check", action="store_true", help="compare with the bars; exit 1 if one is missed")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/core_thresholds"))
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study, write tables and picture, and give the exit code."""
    options = _parse(arguments)
    limit_threads()
    draws, dim, lengths, pairs = (3, 40, (150,), 1) if options.quick else (DRAWS, DIM, (150, 2000), 2)
    rows = linear_rows(draws, dim, RATIOS, STRENGTHS)
    print("linear models measured", flush=True)
    trained = pd.concat([trained_curve(TRAINED_RATIOS, steps=steps, pairs=pairs) for steps in lengths])
    at_threshold = threshold_rows((20, 40) if options.quick else THRESHOLD_DIMS, 30 if options.quick else 600)
    bars = threshold_bars(rows, at_threshold, options.quick)
    write_table(options.out / "rows.csv", rows.set_index(["beta", "n/d", "draw"]))
    write_table(options.out / "trained.csv", trained.set_index(["steps", "n/d", "pair"]))
    sections = []
    for strength in STRENGTHS:
        table = summarise(rows, strength)
        write_table(options.out / f"beta_{strength:g}.csv", table)
        sections.append((f"Linear models, beta = {strength:g}, d = {dim}", markdown_table(table)))
    write_table(options.out / "threshold.csv", at_threshold)
    sections.append(("At the threshold, beta = 1 and n = d", markdown_table(at_threshold)))
    means = trained.drop(columns="pair").groupby(["steps", "n/d"]).mean().reset_index("n/d")
    sections.append(("Trained perceptrons, d = 20, beta = 3", markdown_table(means)))
    _draw(rows, trained, options.out / "core_thresholds.png", " (reduced run)" if options.quick else "")
    sections += [
        ("Picture", "![core_thresholds.png](core_thresholds.png)"),
        ("Bars", bars_text(bars)),
        ("Reading", READING),
    ]
    header = run_header(options.quick, None if arguments is None else ["core_thresholds.py", *arguments])
    write_markdown(options.out / "report.md", "Two thresholds: agreement and recovery", header, sections)
    return check_exit_code(bars) if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
