"""Coloured noise with and without its drift matched to it: `python benchmarks/core_noise.py`.

A stationary Gaussian series with 256 modes of power P_k ~ k^-p, mean 1, is sampled along the straight path
with its exact score (or one that is wrong by a known factor).  A sampler is then linear and every mode goes
its own way, so that the variance it produces follows from a recursion without drawing anything:

    V' = A_k^2 V + B_k^2,

with A_k and B_k read off each step of the library's own solver.  T points of time, uniform from noise to
tau = .96 (tau = 1 - t), strength w = sigma; the reference is the exact variance there (a last step to the
clean estimate would multiply both alike).  Compared: no noise (ODE), white noise, noise coloured by the
published calibration with the drift left as it is (the published rule), the same noise with the drift
matched; and white and matched noise with the second-order solver on half as many steps, which is the same
number of network evaluations, the calibration's rest bounded below by 1e-3 so that it stays smooth.

    KL = sum over modes of (r - 1 - ln r) / 2,   r = produced / exact variance.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import pandas as pd
import torch
from bars import Bar, bars_text, check_exit_code, compare
from measuring import limit_threads
from reporting import markdown_table, run_header, write_markdown, write_table
from survival_pictures import new_figure, save_figure
from torch import Tensor

from sciffusion.continuous import (
    ColoredNoise,
    ContinuousPrediction,
    DiagonalOperator,
    EulerMaruyama,
    PointwiseDenoiser,
    RectifiedFlow,
    Solver,
    StochasticHeun,
    align,
    no_strength,
    sigma_strength,
)
from sciffusion.exact import ExactDenoiser, GaussianTarget
from sciffusion.sampling import State

__all__ = ["Result", "exact_progress", "main", "noise_bars", "produced_ratio", "run_table", "spectrum"]

MODES = 256
LAST = 0.96
WHITE_HEUN, HEUN = "white, order 2", "matched, order 2"
FLOOR, SMALLEST = 1e-3, 1e-30
RULES = ("ODE", "white", "published", "matched", WHITE_HEUN, HEUN)
STEPS = (125, 250, 500, 1000, 2000)
QUICK_STEPS = (125, 250, 500)
SLOPES = (1.0, 2.0)
WRONG = (-0.3, -0.1, 0.1, 0.3)
SETTINGS = ((1.0, 1.0), (0.5, 1.0), (0.75, 1.73), (0.5, 25.0))


@dataclass(frozen=True)
class Result:
    """Variance produced over exact variance, mode by mode."""

    ratio: Tensor

    @property
    def divergence(self) -> float:
        """Kullback-Leibler divergence of the exact law from the produced one."""
        return float((0.5 * (self.ratio - 1.0 - self.ratio.log())).sum())

    @property
    def low(self) -> float:
        """Mean ratio of the 5 lowest modes."""
        return float(self.ratio[:5].mean())

    @property
    def high(self) -> float:
        """Mean ratio of the 50 highest modes."""
        return float(self.ratio[-50:].mean())


def spectrum(slope: float) -> Tensor:
    """Give the power of every mode, of mean 1."""
    power = torch.arange(1, MODES + 1, dtype=torch.float64) ** -slope
    return power / power.mean()


def exact_progress(slope: float, points: int) -> Tensor:
    """Give the published calibration in closed form: shape (points of tau in [0, 1], modes)."""
    power, tau = spectrum(slope), torch.linspace(0.0, 1.0, points, dtype=torch.float64)[:, None]
    total = tau**2 * power + (1.0 - tau) ** 2
    ratio = (1.0 + (1.0 - tau) * (tau * power - (1.0 - tau)) / total) * torch.sqrt(total / power)
    progress = (1.0 - (ratio - 1.0) ** 2).clamp(0.0, 1.0)
    low, high = progress.amin(0), progress.amax(0)
    return (progress - low) / (high - low)


class _WrongScore(PointwiseDenoiser):
    """The exact denoiser with the score of mode k times 1 + b k / k_max."""

    def __init__(self, exact: ExactDenoiser, wrong: float) -> None:
        self.path, self._exact = exact.path, exact
        self._factor = wrong * torch.arange(1, MODES + 1, dtype=torch.float64) / MODES

    def predict(self, x: Tensor, t: Tensor | float, condition: object = None) -> ContinuousPrediction:
        c = self.path.coefficients(t)
        value = self._exact.predict(x, t).to("x0", c, x).value
        score_change = self._factor * (align(c.alpha, x) * value - x) / align(c.sigma, x) ** 2
        # The bound keeps the velocity finite where there is hardly any signal.
        gain = c.sigma**2 / c.alpha.clamp_min(0.01)
        return ContinuousPrediction(value + align(gain, x) * score_change, "x0")


class _Impulse:
    """Noise of 1 in the second row and none in the first."""

    def draw(self, like: Tensor, generator: torch.Generator | None, t: Tensor, t_next: Tensor) -> Tensor:
        return torch.stack([torch.zeros_like(like[0]), torch.ones_like(like[0])])


def _solver(rule: str, slope: float, points: int, power: float, divider: float) -> Solver:
    if rule == "ODE":
        return EulerMaruyama(no_strength)
    if rule in ("white", WHITE_HEUN):
        return (EulerMaruyama if rule == "white" else StochasticHeun)(sigma_strength, _Impulse())
    floor = FLOOR if rule == HEUN else SMALLEST
    rest = (1.0 - exact_progress(slope, points) / divider).clamp_min(floor) ** (2.0 * power)

    def covariance(t: Tensor) -> DiagonalOperator:
        # The calibration is indexed by the step, as published, and interpolated between steps.
        place = float((1.0 - t) / LAST) * (points - 1)
        step = min(int(place), points - 2)
        return DiagonalOperator(torch.lerp(rest[step], rest[step + 1], place - step))

    noise = ColoredNoise(covariance, match_drift=rule != "published", white=_Impulse())
    return (StochasticHeun if rule == HEUN else EulerMaruyama)(sigma_strength, noise)


@cache
def produced_ratio(
    rule: str, slope: float, points: int, *, wrong: float = 0.0, power: float = 0.5, divider: float = 1.0
) -> Result:
    """Run the recursion and give what a rule produces."""
    target = GaussianTarget.diagonal(spectrum(slope).sqrt())
    exact = ExactDenoiser(target, RectifiedFlow())
    denoiser = exact if wrong == 0.0 else _WrongScore(exact, wrong)
    solver = _solver(rule, slope, points, power, divider)
    steps = (points - 1) // solver.nfe
    times = 1.0 - torch.linspace(0.0, LAST, steps + 1, dtype=torch.float64)
    start = torch.stack([torch.ones(MODES, dtype=torch.float64), torch.zeros(MODES, dtype=torch.float64)])
    variance = torch.ones(MODES, dtype=torch.float64)
    for t, t_next in pairwise(times):
        gain, noise = solver.step(State(x=start, t=t), t_next, denoiser).x
        variance = gain**2 * variance + noise**2
    # The step to the clean estimate multiplies both variances alike.
    c = exact.path.coefficients(times[-1])
    return Result(variance / (c.alpha**2 * target.variances + c.sigma**2))


def run_table(cases: dict[str, dict[str, object]], rules: Sequence[str] = RULES) -> pd.DataFrame:
    """Give one row a case and rule: the divergence and the ratios of low and high modes."""
    rows = []
    for name, case in cases.items():
        for rule in rules:
            result = produced_ratio(rule, **case)
            found = {"kl": result.divergence, "low": result.low, "high": result.high}
            rows.append({"case": name, "rule": rule, **case, **found})
    return pd.DataFrame(rows)


def _wide(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    words = rows.apply(lambda row: f"{row['kl']:.3g} ({row['low']:.2f}/{row['high']:.2f})", axis=1)
    table = rows.assign(words=words).pivot(index="case", columns="rule", values="words")
    ordered = table.reindex(index=rows["case"].unique(), columns=rows["rule"].unique())
    ordered.index.name = name
    return ordered


def noise_bars(steps: Sequence[int]) -> list[Bar]:
    """Give the bars on the exact score and on wrong ones."""
    bars = []
    for few, many in ((250, 500), (500, 1000)):
        name = f"matched KL falls from {few} to {many} points, p=1"
        if not {few, many} <= set(steps):
            bars.append(Bar(name, None, "needs the full run"))
            continue
        before, after = (produced_ratio("matched", 1.0, points).divergence for points in (few, many))
        bars.append(compare(name, before / after, 3.0, at_most=False, unit=" x"))
    for slope in SLOPES:
        name = f"published KL does not fall from 250 to 1000 points, p={slope:g}"
        rule = "matched" if slope == 1.0 else HEUN
        close = f"variance of low and high modes within 2 % at 1000 points, p={slope:g}, {rule}"
        if not {250, 1000} <= set(steps):
            bars += [Bar(name, None, "needs the full run"), Bar(close, None, "needs the full run")]
            continue
        few, many = (produced_ratio("published", slope, points).divergence for points in (250, 1000))
        bars.append(compare(name, few / many, 1.2, at_most=True, unit=" x"))
        matched = produced_ratio(rule, slope, 1000)
        gap = 100.0 * max(abs(matched.low - 1.0), abs(matched.high - 1.0))
        bars.append(compare(close, gap, 2.0, at_most=True, unit=" %"))
    for wrong in WRONG:
        ours, white = (
            produced_ratio(rule, 2.0, 250, wrong=wrong).divergence for rule in ("matched", "white")
        )
        name = f"matched KL over white KL, score wrong by b={wrong:+g}"
        bars.append(compare(name, ours / white, 1.0, at_most=True))
    return bars


def _draw(steps: Sequence[int], path: Path, note: str) -> None:
    figure, axes = new_figure(columns=3, width=4.2)
    for panel, slope in zip(axes[0], SLOPES, strict=False):
        for rule in RULES:
            panel.loglog(steps, [produced_ratio(rule, slope, n).divergence for n in steps], "o-", label=rule)
        panel.set(xlabel="points of time", ylabel="KL from the exact law", title=f"exact score, p={slope:g}")
        panel.set_xticks(steps, [str(n) for n in steps])
        panel.minorticks_off()
    panel = axes[0, 2]
    mode = torch.arange(1, MODES + 1)
    for rule in RULES:
        # The same colours as in the other panels, by the order of the rules.
        panel.semilogx(mode, produced_ratio(rule, 2.0, 250, wrong=-0.1).ratio, label=rule)
    panel.axhline(1.0, color="black", linewidth=0.6)
    panel.set(xlabel="mode", ylabel="variance over exact", title="wrong score (b=-.1), p=2, T=250")
    panel.legend(fontsize=8)
    figure.suptitle(f"Coloured noise with and without a matched drift{note}")
    save_figure(figure, path)


READING = """With the exact score the published rule settles at a wrong spectrum: its divergence does not
fall with more points, because the noise is coloured and the drift that should balance it is not. With the
drift matched the same noise is unbiased: every variance is off by O(1/T), the divergence falls as 1/T^2, and
with the second-order solver as 1/T^4.

Matching does not make colour useful by itself. On an exact score white noise is better than matched coloured
noise at either order. Where high modes are weak (p=2) the first-order matched rule is still off by 2.3 % in
the 50 highest modes at T=1000 (1.7 % with the calibration bounded below by 1e-3), which is why the bar of 2 %
for p=2 is put to the second-order solver. That one needs the bound: without it all modes finish together at
the end, the covariance turns ever faster there, and the same solver is off by 4.4 %, worse than first order.

On a wrong score the gain of colour is that of putting noise where the score can correct something. With the
step-size error out of the way (order 2) matched noise is better than white by a factor of 3 at b=-.3, where
the score is much too weak at high modes, by 24 % at b=-.1, level at b=+.1 and 5 % worse at b=+.3. The
published rule is far worse than white noise in all of them; of its settings only a divider that makes the
noise nearly white comes close to the exact law."""


def _cases(steps: Sequence[int]) -> dict[str, dict[str, dict[str, object]]]:
    exact = {f"p={s:g}, T={n}": {"slope": s, "points": n} for s in SLOPES for n in steps}
    wrong = {f"b={b:+g}": {"slope": 2.0, "points": 250, "wrong": b} for b in WRONG}
    settings = {
        f"power {power:g}, divider {divider:g}": {
            "slope": 2.0, "points": 250, "power": power, "divider": divider,
        }
        for power, divider in SETTINGS
    }  # fmt: skip
    return {"exact": exact, "wrong": wrong, "settings": settings}


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Coloured noise with and without a matched drift.")
    parser.add_argument("--quick", action="store_true", help="fewer points of time")
    parser.add_argument("--check", action="store_true", help="compare with the bars; exit 1 if one is missed")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/core_noise"))
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the recursions, write tables and picture, and give the exit code."""
    options = _parse(arguments)
    limit_threads()
    steps = QUICK_STEPS if options.quick else STEPS
    cases, sections = _cases(steps), []
    titles = {
        "exact": "Exact score: KL (variance ratio of the 5 lowest / 50 highest modes)",
        "wrong": "Score of mode k times 1 + b k / k_max, p=2, T=250",
        "settings": "Settings of the calibration, exact score, p=2, T=250",
    }
    for name, title in titles.items():
        rows = run_table(cases[name], RULES if name != "settings" else ("published", "matched"))
        write_table(options.out / f"{name}.csv", rows.set_index("case"))
        sections.append((title, markdown_table(_wide(rows, "case"))))
    bars = noise_bars(steps)
    _draw(steps, options.out / "core_noise.png", " (reduced run)" if options.quick else "")
    sections.append(("Picture", "![core_noise.png](core_noise.png)"))
    sections += [("Reading", READING), ("Bars", bars_text(bars))]
    header = run_header(options.quick, None if arguments is None else ["core_noise.py", *arguments])
    write_markdown(options.out / "report.md", "Coloured noise", header, sections)
    return check_exit_code(bars) if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
