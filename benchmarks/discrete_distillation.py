"""One-step students of a masked diffusion, by fixed points: `python benchmarks/discrete_distillation.py`.

The teacher is the exact denoiser of the bench chain (3 tokens, 4 sites). In one step it can only give the
product of the marginal laws, .263 in total variation (TV) from the chain; with many steps it has no error. A
student maps four noise tokens to the laws of four sites; its law is averaged over all 81 noises exactly. It
is trained by `FixedPointDistillation`: drafts are masked at a rate r and refined by the teacher, and the
student moves towards the law of the refined ones. That law's fixed point is known exactly, too: `fixed point`
is its own distance from the chain, which no amount of training could take away.

`closed` is the share of the teacher's gap in one step that is gone: 1 - TV / TV(product of marginals). The
method is a construction of this library after the abstract of arXiv 2605.21484; its published numbers are of
images and have nothing to do with these.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from bars import Bar, bars_text, check_exit_code, compare
from measuring import limit_threads
from reporting import markdown_table, run_header, write_markdown, write_table
from survival_pictures import new_figure, save_figure
from torch import Tensor, nn

from sciffusion.discrete import Mask
from sciffusion.exact import MarkovChainOracle
from sciffusion.training import TrainingOptions, fit_network
from sciffusion.training.fixed_point import (
    DriftGradient,
    FixedPointDistillation,
    refinement_kernel,
    stationary_law,
)

__all__ = ["Student", "Trial", "distillation_bars", "fixed_point_rows", "main", "student_row"]

ORACLE = MarkovChainOracle.bench_a()
TEACHER = ORACLE.denoiser(Mask(3), "denoiser")
SEQUENCES = torch.cartesian_prod(*[torch.arange(3)] * 4)
LAW = torch.exp(ORACLE.log_likelihood(SEQUENCES))
SHARES, REFINEMENTS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0), (1, 2, 4)
BATCH, STEPS, QUICK_STEPS = 256, 600, 60
READING = """\
- One step of the student stands for what the teacher needs many steps for: the best student is at .034, 87
  percent of the gap closed, where 92 were possible. The teacher needs about 8 steps for that distance.
- What a student can reach is decided by how drafts are refined, not by the student: the students stand
  within .02 to .04 of their own exact fixed points, and with one refining step at r = .5 no training could
  close more than 67 percent. This chain's student, by itself, could come within .002 (fitted to the chain
  directly by likelihood).
- Smaller shares have less bias and say less a step: at r = .3 neither gradient has quite arrived in these
  600 steps. More refining steps at r = .5 buy the same for one evaluation of the teacher each.
- The exchange gradient is nearer to the fixed point than straight through at small shares, for three to
  four times the time; with large shares they agree. Straight through was far worse with a learning rate of
  .001 (.14 at r = .5 after 700 steps, and the exchange gradient .13 to .14 as well).
- One seed each: the distance of the students to their fixed points, .02 to .04, is also how far two runs
  may be apart. Features are one-hot bigrams of four sites; images or long sequences need features that are
  learned.
"""


@dataclass(frozen=True)
class Trial:
    """One student: how its drafts are refined and how it learns."""

    gradient: DriftGradient
    share: float
    refinements: int = 1


TRIALS = (
    Trial("straight_through", 0.3),
    Trial("straight_through", 0.5),
    Trial("straight_through", 0.7),
    Trial("exchange", 0.3),
    Trial("exchange", 0.5),
    Trial("exchange", 0.7),
    Trial("exchange", 0.5, 2),
    Trial("exchange", 0.5, 4),
)
BANDWIDTHS: dict[str, tuple[float, ...]] = {"straight_through": (0.3, 1.0), "exchange": (0.3,)}


class Student(nn.Module):
    """Four noise tokens to the logits of four sites."""

    def __init__(self, width: int = 128, seed: int = 0) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(12, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 12)
        )
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                scale = parameter.shape[-1] ** -0.5 if parameter.ndim == 2 else 0.0
                parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))

    def forward(self, noise: Tensor) -> Tensor:
        """Return logits of shape ``(items, 4, 3)``."""
        logits: Tensor = self.layers(nn.functional.one_hot(noise, 3).float().flatten(1))
        return logits.reshape(-1, 4, 3)

    def law(self) -> Tensor:
        """Give the exact law of a sample."""
        with torch.no_grad():
            sites = torch.softmax(self(SEQUENCES).double(), -1)
        return torch.stack([sites[:, place][:, SEQUENCES[:, place]] for place in range(4)]).prod(0).mean(0)


def distance(law: Tensor, other: Tensor = LAW) -> float:
    """Give the total variation."""
    return 0.5 * float((law - other).abs().sum())


def fixed_law(share: float, refinements: int) -> Tensor:
    """Give the exact fixed point."""
    return stationary_law(refinement_kernel(TEACHER, 4, share, refinements))


GAP = distance(refinement_kernel(TEACHER, 4, 1.0)[0])


def fixed_point_rows() -> pd.DataFrame:
    """Give the exact distance of the fixed point from the chain, by share and refining steps."""
    rows = {
        share: [distance(fixed_law(share, steps)) for steps in REFINEMENTS] for share in SHARES
    }  # fmt: skip
    columns = [f"{steps} refining step{'s' if steps > 1 else ''}" for steps in REFINEMENTS]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("masked share r")


def student_row(trial: Trial, steps: int, seed: int = 0) -> dict[str, object]:
    """Train a student and measure its law."""
    started, student = time.process_time(), Student(seed=seed)
    noise = torch.randint(3, (16_384, 4), generator=torch.Generator().manual_seed(seed))
    objective = FixedPointDistillation(
        TEACHER, fraction=(trial.share, trial.share), refinements=trial.refinements,
        bandwidths=BANDWIDTHS[trial.gradient], gradient=trial.gradient,
    )  # fmt: skip
    options = TrainingOptions(
        max_steps=steps, batch_size=BATCH, learning_rate=3e-3, learning_rate_schedule="cosine",
        gradient_clip=None,
    )  # fmt: skip
    fit_network(student, objective, (noise,), options=options, seed=seed)
    law, aim = student.law(), fixed_law(trial.share, trial.refinements)
    return {
        "gradient": trial.gradient.replace("_", " "), "r": trial.share, "refinements": trial.refinements,
        "TV": distance(law), "closed": 1.0 - distance(law) / GAP, "fixed point": distance(aim),
        "possible": 1.0 - distance(aim) / GAP, "TV to fixed point": distance(law, aim),
        "CPU s": time.process_time() - started,
    }  # fmt: skip


def distillation_bars(rows: pd.DataFrame, biases: pd.DataFrame, reduced: bool) -> list[Bar]:
    """Give the bars: what the fixed point says, and what students reach."""
    one, two = biases[biases.columns[0]], biases[biases.columns[1]]
    ends = f"{one.iloc[0]:.3f} at r = {SHARES[0]}, {one.iloc[-1]:.3f} at r = 1"
    bars = [
        Bar("the bias of the fixed point rises with r", bool(one.is_monotonic_increasing), ends),
        compare("bias at r = .5 with two refining steps over one", two[0.5] / one[0.5], 0.6, at_most=True),
    ]  # fmt: skip
    names = ("share of the gap closed by the best student", "the same, straight through")
    if reduced:
        return bars + [Bar(name, None, "needs the full run") for name in names]
    straight = rows[rows["gradient"] == "straight through"]
    bars.append(compare(names[0], float(rows["closed"].max()), 0.6, at_most=False))
    bars.append(compare(names[1], float(straight["closed"].max()), 0.4, at_most=False))
    return bars


def _draw(rows: pd.DataFrame, biases: pd.DataFrame, path: Path, note: str) -> None:
    figure, axes = new_figure(width=6.0, height=4.0)
    axis = axes[0, 0]
    for column, style in zip(biases.columns, ("-", "--", ":"), strict=True):
        label = f"fixed point, {column}"
        axis.plot(biases.index, biases[column], style, color="#5b7083", label=label)
    for (name, steps), part in rows.groupby(["gradient", "refinements"], sort=False):
        marker = {1: "o", 2: "s", 4: "^"}[int(steps)]
        colour = "#c1440e" if name == "exchange" else "#e0a458"
        label = f"student, {name}, {steps} refining"
        axis.plot(part["r"], part["TV"], marker, color=colour, label=label)
    axis.axhline(GAP, color="black", lw=0.8)
    axis.text(0.02, GAP + 0.004, "teacher in one step", fontsize=8)
    axis.set_ylim(0.0, 1.12 * GAP)
    axis.set_xlabel("masked share r")
    axis.set_ylabel(f"total variation to the chain{note}")
    axis.legend(frameon=False, fontsize=7)
    save_figure(figure, path)


def run(steps: int, trials: Sequence[Trial], report: Callable[[str], None] = print) -> pd.DataFrame:
    """Train all students."""
    rows = []
    for trial in trials:
        rows.append(student_row(trial, steps))
        report(f"{trial}: TV {rows[-1]['TV']:.3f}, {rows[-1]['CPU s']:.0f} CPU s")
    return pd.DataFrame(rows)


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="short training of every student")
    parser.add_argument("--check", action="store_true", help="exit 1 naming each bar that is missed")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/discrete_distillation"))
    options = parser.parse_args(arguments)
    limit_threads()
    started = time.process_time()
    biases = fixed_point_rows()
    rows = run(QUICK_STEPS if options.quick else STEPS, TRIALS)
    bars = distillation_bars(rows, biases, options.quick)
    header = run_header(options.quick) | {"CPU time": f"{time.process_time() - started:.0f} s"}
    write_table(options.out / "rows.csv", rows.set_index("gradient"))
    write_table(options.out / "fixed_points.csv", biases)
    _draw(rows, biases, options.out / "discrete_distillation.png", ", REDUCED" if options.quick else "")
    sections = [
        ("", __doc__.split("\n\n", 1)[1].strip()),
        (f"Students, {QUICK_STEPS if options.quick else STEPS} steps of {BATCH} drafts",
         markdown_table(rows.set_index("gradient"))),
        ("Distance of the exact fixed point from the chain", markdown_table(biases)),
        *([] if options.quick else [("Reading", READING)]),
        ("Bars", bars_text(bars)),
        ("", "![](discrete_distillation.png)"),
    ]  # fmt: skip
    write_markdown(options.out / "report.md", "One-step students of a masked diffusion", header, sections)
    return check_exit_code(bars) if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
