"""One slider from regression to generation: `python benchmarks/core_slider.py`.

A stationary AR(1) series of length 8 (coefficient .8, variance 1) is seen through a moving average of three
values with noise of standard deviation .5. Everything is jointly normal, so the posterior p(x | y) = N(m, S)
is known, and with it the frontier

    MSE(rho) = (1 + rho^2) tr S,   W2^2(rho) = (1 - rho)^2 tr S,

W2 measured to the conditional law. Two ways along it, each with exact heads and with a trained network:

- *slider*: follow the straight curve of the two-time interpolant, stop where rho says, regress from there;
- *mix*: (1 - rho) times the answer at rho = 0 plus rho times that at rho = 1.

For 64 observations and 1024 draws each, mean and covariance of the answers give their MSE (the expectation
over x is exact) and the distance between normal laws with these moments, a lower bound of W2 that is attained
by normal answers.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from bars import Bar, bars_text, check_exit_code, compare
from measuring import limit_threads
from reporting import markdown_table, run_header, write_markdown, write_table
from survival_pictures import new_figure, save_figure
from torch import Tensor

from sciffusion.continuous import (
    GaussianHeads,
    NetworkHeads,
    TwoTimeHeads,
    TwoTimeInterpolant,
    TwoTimeObjective,
)
from sciffusion.exact import GaussianTarget
from sciffusion.networks import TwoTimeMLP
from sciffusion.sampling import posterior_mean_slider, restore
from sciffusion.training import TrainingOptions, fit_network

__all__ = ["DIM", "EXACT", "main", "measure_answers", "run_slider", "slider_bars", "train_heads"]

DIM, NOISE_STD, STEPS = 8, 0.5, 16
UPDATES, ROWS, OBSERVATIONS, DRAWS = 4000, 100_000, 64, 1024
RHOS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
PRIOR = GaussianTarget.autoregressive(DIM, 0.8)
_ONES = torch.ones(DIM, dtype=torch.float64)
BLUR = (torch.diag(_ONES) + torch.diag(_ONES[1:], 1) + torch.diag(_ONES[1:], -1)) / 3.0
INTERPOLANT = TwoTimeInterpolant(1.0)
EXACT = GaussianHeads.of_observation(INTERPOLANT, PRIOR.covariance, BLUR, NOISE_STD)
TRACE = float(EXACT.covariance.trace())


def _pairs(count: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = PRIOR.draw(count, generator)
    noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
    return x.float(), (x @ BLUR.mT + NOISE_STD * noise).float()


def train_heads(updates: int, rows: int) -> tuple[NetworkHeads, float]:
    """Train the network on simulated pairs and give it with its CPU seconds."""
    x, y = _pairs(rows, 0)
    network = TwoTimeMLP(DIM, width=96, depth=3, n_conditions=DIM, generator=torch.Generator().manual_seed(1))
    heads = NetworkHeads(network, INTERPOLANT, float((x - y).std()))
    options = TrainingOptions(
        max_steps=updates, batch_size=512, learning_rate=2e-3, learning_rate_schedule="cosine",
        warmup_steps=50, ema_relative_std=0.05, patience=None, evaluate_every=updates, threads=1,
    )  # fmt: skip
    began = time.process_time()
    fit_network(heads, TwoTimeObjective(), (x, y), options=options, seed=0)
    return heads, time.process_time() - began


def measure_answers(answers: Tensor, y: Tensor) -> tuple[float, float]:
    """Give MSE and squared W2 to the posterior, both over tr S, of answers (observations, draws, dim)."""
    wide = answers.double()
    mean = wide.mean(1)
    centred = wide - mean[:, None]
    covariance = centred.mT @ centred / (wide.shape[1] - 1)
    # The squared mean is too large by the variance of a mean of draws.
    spread = covariance.diagonal(dim1=-2, dim2=-1).sum(-1)
    bias = (mean - EXACT.mean(y.double())).square().sum(-1) - spread / wide.shape[1]
    root = _root(EXACT.covariance)
    cross = torch.linalg.eigvalsh(root @ covariance @ root).clamp_min(0.0).sqrt().sum(-1)
    error, distance = bias + TRACE + spread, bias + TRACE + spread - 2.0 * cross
    return float(error.mean()) / TRACE, float(distance.mean()) / TRACE


def _root(matrix: Tensor) -> Tensor:
    values, basis = torch.linalg.eigh(matrix)
    return (basis * values.clamp_min(0.0).sqrt()) @ basis.mT


def run_slider(heads: TwoTimeHeads, name: str, observations: int, draws: int) -> pd.DataFrame:
    """Give MSE and distance at every position of both sliders."""
    y = _pairs(observations, 2)[1]
    many = y[:, None].expand(observations, draws, DIM)
    std = (TRACE / DIM) ** 0.5
    answers, costs = {}, {}
    for rho in RHOS:
        result = restore(heads, many, rho, torch.Generator().manual_seed(3), n_steps=STEPS, posterior_std=std)
        answers[rho], costs[rho] = result.samples, result.nfe
    rows = []
    for rho in RHOS:
        mixing = costs[rho] if rho in (0.0, 1.0) else costs[0.0] + costs[1.0]
        mixed = posterior_mean_slider(answers[0.0], answers[1.0], rho)
        for way, found, nfe in (
            ("slider", answers[rho], costs[rho]),
            ("mix", mixed, mixing),
        ):
            error, distance = measure_answers(found, y)
            # Distance of the frontier at this error; below the least error there is none.
            reached = max(error - 1.0, 0.0) ** 0.5
            rows.append(
                {
                    "heads": name, "way": way, "rho": rho, "nfe": nfe, "MSE": error, "W2 squared": distance,
                    "frontier W2 squared": (1.0 - min(reached, 1.0)) ** 2,
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def slider_bars(rows: pd.DataFrame, reduced: bool) -> list[Bar]:
    """Give the bars: exact heads near the line, the trained network near both of its ends."""
    table = rows.set_index(["heads", "way", "rho"]).sort_index()
    line = (1.0 - rows["rho"]) ** 2, 1.0 + rows["rho"] ** 2
    off = (rows["W2 squared"] - line[0]).abs().combine((rows["MSE"] - line[1]).abs(), max)
    exact = off[(rows["heads"] == "exact") & (rows["way"] == "mix")].max()
    above = (
        table.loc[("exact", "slider"), "W2 squared"] - table.loc[("exact", "slider"), "frontier W2 squared"]
    )
    bars = [
        compare("mix of exact heads off the line, share of tr S", exact, 0.02, at_most=True),
        compare("slider of exact heads above the frontier, share of tr S", above.max(), 0.05, at_most=True),
    ]
    names = {
        "MSE of the trained regression over the least there is": ("slider", 0.0, "MSE", 1.10),
        "squared W2 of the trained draws, share of tr S": ("slider", 1.0, "W2 squared", 0.10),
    }
    for name, (way, rho, column, limit) in names.items():
        if reduced:
            bars.append(Bar(name, None, "needs the full training"))
        else:
            bars.append(compare(name, table.loc[("trained", way, rho), column], limit, at_most=True))
    return bars


def _draw(rows: pd.DataFrame, heads: TwoTimeHeads, path: Path, note: str) -> None:
    figure, axes = new_figure(columns=2, width=5.2, height=4.0)
    frontier, series = axes[0]
    rho = torch.linspace(0.0, 1.0, 101)
    frontier.plot(1.0 + rho**2, (1.0 - rho) ** 2, color="black", label="frontier")
    styles = {
        ("exact", "slider"): "C0o", ("exact", "mix"): "C0x",
        ("trained", "slider"): "C1o", ("trained", "mix"): "C1x",
    }  # fmt: skip
    for (name, way), part in rows.groupby(["heads", "way"], sort=False):
        frontier.plot(part["MSE"], part["W2 squared"], styles[name, way], label=f"{way}, {name} heads")
    frontier.set(xlabel="mean squared error / tr S", ylabel="squared W2 to p(x | y) / tr S")
    frontier.set_title(f"Distortion against perception{note}")
    frontier.legend(fontsize=8)
    x, y = _pairs(3, 4)
    std = (TRACE / DIM) ** 0.5
    many = y[2].expand(12, DIM)
    draws = restore(
        heads, many, 1.0, torch.Generator().manual_seed(0), n_steps=STEPS, posterior_std=std
    ).samples
    series.plot(draws.mT, color="C1", alpha=0.35, linewidth=1.0)
    series.plot(restore(heads, y[2], 0.0).samples, color="C1", linewidth=2.5, label="rho = 0: regression")
    series.plot([], [], color="C1", alpha=0.5, label="rho = 1: draws")
    series.plot(x[2], "k-", label="truth")
    series.plot(y[2], "k.", label="observation")
    series.set(xlabel="position", title="One observation, trained network")
    series.legend(fontsize=8)
    save_figure(figure, path)


READING = """All numbers are shares of tr S, the least mean squared error. With exact heads the mix lies on
the line: what is left is Monte Carlo error and that of 16 steps. The slider alone lies a little above it in
between, because the posterior variances are unequal here and one stop cannot suit all of them; with equal
ones it lies on the line (held by a test). It needs one evaluation less than the mix, and no second answer.

The network was trained on both times at once; its regression takes one evaluation and its draws 16. Its
answers at rho = 1 are compared with the whole posterior of each observation, not with the marginal law. The
distance is that of normal laws with the moments of the answers, so deviations of the trained answers from
normality are not in it. The last column is the frontier's distance at the MSE of the row."""


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="One slider from regression to generation.")
    parser.add_argument("--quick", action="store_true", help="a tenth of the training, fewer draws")
    parser.add_argument("--check", action="store_true", help="compare with the bars; exit 1 if one is missed")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/core_slider"))
    parser.add_argument("--updates", type=int)
    parser.add_argument("--observations", type=int)
    options = parser.parse_args(arguments)
    options.updates = options.updates or (UPDATES // 10 if options.quick else UPDATES)
    options.observations = options.observations or (OBSERVATIONS // 4 if options.quick else OBSERVATIONS)
    options.reduced = options.updates < UPDATES or options.observations < OBSERVATIONS
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, restore at every position, write tables and picture, and give the exit code."""
    options = _parse(arguments)
    limit_threads()
    trained, seconds = train_heads(options.updates, ROWS if not options.reduced else ROWS // 10)
    found = [
        run_slider(heads, name, options.observations, DRAWS)
        for name, heads in (("exact", EXACT), ("trained", trained))
    ]
    rows = pd.concat(found, ignore_index=True)
    bars = slider_bars(rows, options.reduced)
    write_table(options.out / "slider.csv", rows.set_index(["heads", "way", "rho"]))
    _draw(rows, trained, options.out / "core_slider.png", " (reduced run)" if options.reduced else "")
    sections = [
        ("MSE and squared W2 over tr S", markdown_table(rows.set_index("heads"), 4)),
        ("", f"Training took {seconds:.0f} CPU seconds; tr S = {TRACE:.3f}, {DIM} values."),
        ("Reading", READING),
        ("Picture", "![core_slider.png](core_slider.png)"),
        ("Bars", bars_text(bars)),
    ]
    header = run_header(options.reduced, None if arguments is None else ["core_slider.py", *arguments])
    write_markdown(options.out / "report.md", "From regression to generation", header, sections)
    return check_exit_code(bars) if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
