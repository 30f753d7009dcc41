"""Tokens led towards a reward, against exact reweighting: `python benchmarks/discrete_guidance.py`.

On the bench chain (3 tokens, 4 sites, all 81 sequences known) the target is the chain's law times
exp(scale * reward), the reward counting tokens 2 and neighbours 1, 2. Models and classifiers are exact, so
every difference is the method's. What is compared is the law of one returned sequence:

    unguided            the model alone
    best of 8           the one of 8 unguided samples with the largest reward
    reweighted of 8     one of 8 unguided samples, drawn by its weight
    CFG                 the model with the condition "high" (the tilt of scale 1) against the one without
    CBG, CBG first      the classifier of "high" at every token of every site, or by its gradient
    FK of 8             8 steered particles, the reward asked of 4 draws of clean tokens in every other step
    FK led of 8         the same, proposed by CBG first and weighed back
    tilt of 8           8 particles proposed by CBG and weighed (discrete Feynman-Kac tilt, experimental)

Methods of 8 make 16 steps, the others as many as cost the same: 128 evaluations of the network for a returned
sequence. Laws of unguided samples, best of 8, CFG and CBG are propagated exactly; those of particles are
averaged over many systems, and the floor is the mean distance of as many exact draws. `all weights` is the
law of all particles with the weights of their systems, at 16 evaluations a particle.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from bars import Bar, bars_text, check_exit_code, compare
from discrete_guidance_models import LENGTH, REWARD, SEQUENCES, ChainModel, place_of, tilted
from measuring import limit_threads
from reporting import markdown_table, run_header, write_markdown, write_table
from survival_pictures import new_figure, save_figure
from torch import Tensor

from sciffusion.discrete import Ancestral, Mask, Uniform
from sciffusion.exact.token_law import propagate_tokens
from sciffusion.sampling import (
    DiscreteTilt,
    GuidedDenoiser,
    SampleResult,
    TokenSteering,
    sample,
    uniform_grid,
)
from sciffusion.sampling.guidance import DiscreteClassifier, DiscreteClassifierFree, Guidance

__all__ = ["exact_rows", "guidance_bars", "main", "particle_rows"]

PROCESSES = {"mask": Mask(3), "uniform": Uniform(3)}
SCALES, COUNT, STEPS, SYSTEMS, QUICK_SYSTEMS = (1.0, 2.0), 8, 16, 4_000, 500
VALUES = torch.unique(REWARD)
READING = """\
- At scale 1 guidance by an exact conditional model or an exact classifier aims at the tilt itself; what is
  left is the error of the steps, which falls as one over their number. For uniform noise CBG needs several
  times the steps of CFG, since its tilt of a site is right only for small steps.
- At scale 2 CFG and CBG keep a distance of .04 (mask) to .07 (uniform) at 128 evaluations, where eight
  times the steps have not brought an eighth of the error: the tilt of noisy laws is not the noise of the
  tilted law. On this chain the bias is small; the mean reward is nearly right, the sequences behind it less
  so.
- The first order is no substitute here: too weak for masks (a gradient knows nothing of how unlikely a
  token is) and too strong for uniform noise. It is that of a sum over sequences, linear in each site; a
  trained network may be smoother.
- Best of 8 reaches the mean of a weaker tilt and another law: it has no scale that could be set to the one
  that is wanted.
- Steering without a classifier is nearer to the tilt than best of 8 and reweighting at equal cost, but not
  near: eight particles hold too few good sequences, and one drawn from each system inherits that. With all
  weights and normalisers the particles are right in the mean, and the distances of those rows are noise.
- The tilt of 8 costs the same evaluations of the network and is within the noise of drawing of the
  sampler's own law tilted. It needs a weight that knows noisy tokens, here the exact classifier: this is
  the best that a learned one could do. Its classifier is asked for up to 13 (mask) or 9 (uniform) sequences
  a step and item.
- Weights of a poor proposal are skew: for uniform noise the normaliser of "FK led" comes out 4 to 8 percent
  low in this run, by 1.3 and 3.2 of its own standard errors, and its all-weights rows are the noisiest.
"""


class _Given:
    """A guided denoiser with its condition, as propagation wants it."""

    def __init__(self, model: ChainModel, guidance: tuple[Guidance, ...], condition: str | None) -> None:
        self.path, self._condition = model.path, condition
        self._guided = GuidedDenoiser(model, guidance)

    def __call__(self, state: Any, condition: Any = None, cache: Any = None) -> Any:
        return self._guided(state, self._condition)


def reward_law(law: Tensor) -> Tensor:
    """Give the law of the reward's values."""
    return torch.stack([law[value == REWARD].sum() for value in VALUES])


def best_of(law: Tensor, count: int) -> Tensor:
    """Give the law of the sequence of largest reward among independent ones, ties broken at random."""
    of_values = reward_law(law)
    below = torch.cat([torch.zeros(1, dtype=torch.float64), of_values.cumsum(0).clamp_max(1.0)])
    largest = below[1:] ** count - below[:-1] ** count
    share = largest / of_values
    return law * share[(REWARD[:, None] == VALUES).double().argmax(-1)]


def distance(law: Tensor, other: Tensor) -> float:
    """Give the total variation."""
    return 0.5 * float((law - other).abs().sum())


def floor(law: Tensor, draws: int) -> float:
    """Give the mean total variation of the shares of exact draws, in their normal approximation."""
    return float(torch.sqrt(law * (1.0 - law) / (2.0 * torch.pi * draws)).sum())


def _row(process: str, scale: float, method: str, cost: int, law: Tensor) -> dict[str, object]:
    target = tilted(scale)
    return {
        "process": process, "scale": scale, "method": method, "cost": cost,
        "mean reward": float(law @ REWARD), "target": float(target @ REWARD),
        "TV of rewards": distance(reward_law(law), reward_law(target)), "TV": distance(law, target),
        "rewards": [float(share) for share in reward_law(law)],
    }  # fmt: skip


def _propagated(model: ChainModel, steps: int, *guidance: Guidance, condition: str | None = None) -> Tensor:
    given = _Given(model, guidance, condition)
    reached = propagate_tokens(given, Ancestral(), uniform_grid(steps), LENGTH)
    clean = (reached.sequences < 3).all(-1)
    return reached.probabilities[clean]


def exact_rows(process: str, scale: float) -> list[dict[str, object]]:
    """Measure the methods whose law can be propagated, at 16 and at 128 evaluations."""
    model, budget = ChainModel(PROCESSES[process]), COUNT * STEPS
    base, rows = _propagated(model, STEPS), []
    rows.append(_row(process, scale, "unguided", STEPS, base))
    rows.append(_row(process, scale, f"best of {COUNT}", budget, best_of(base, COUNT)))
    for cost in (STEPS, budget):
        free = DiscreteClassifierFree(scale)
        law = _propagated(model, cost // free.nfe, free, condition="high")
        rows.append(_row(process, scale, "CFG", cost, law))
        for method, mode, function in (
            ("CBG", "exact", model.log_class), ("CBG first", "first_order", model.log_class_onehot)
        ):  # fmt: skip
            guidance = DiscreteClassifier(function, mode, scale, dtype=torch.float64)
            rows.append(_row(process, scale, method, cost, _propagated(model, cost, guidance)))
    return rows


def _particles(model: ChainModel, scale: float) -> dict[str, tuple[Any, tuple[Guidance, ...]]]:
    """Give particles and guidance of every weighted method."""

    def reward(x: Tensor) -> Tensor:
        return REWARD[place_of(x)]

    first = DiscreteClassifier(model.log_class_onehot, "first_order", scale, dtype=torch.float64)
    tilt = DiscreteTilt(lambda x, t: scale * model.log_class(x, t), COUNT)
    weighed = TokenSteering(reward, COUNT, scale=scale, every=0, threshold=0.0)
    led = TokenSteering(reward, COUNT, scale=scale, every=2, guidance_proposes=True)
    return {
        f"reweighted of {COUNT}": (weighed, ()),
        f"FK of {COUNT}": (TokenSteering(reward, COUNT, scale=scale, every=2), ()),
        f"FK led of {COUNT}": (led, (first,)),
        f"tilt of {COUNT}": (tilt, (tilt.proposal(chunk=2**20),)),
    }


def _weighted_laws(result: SampleResult) -> tuple[Tensor, Tensor]:
    """Give the law of one draw a system, and that of all particles with their systems' normalisers."""
    assert result.log_weights is not None
    assert result.log_normaliser is not None
    weights = result.log_weights.exp().reshape(-1, COUNT)
    place = place_of(result.samples)
    laws = []
    for systems in (torch.ones_like(weights[:, 0]), result.log_normaliser.exp()):
        shares = (weights * systems[:, None]).flatten() / systems.sum()
        laws.append(torch.zeros(len(SEQUENCES), dtype=torch.float64).index_add_(0, place, shares))
    return laws[0], laws[1]


def particle_rows(process: str, scale: float, systems: int) -> list[dict[str, object]]:
    """Measure the methods with particles: one drawn from each system, and all of them by weight."""
    model, rows = ChainModel(PROCESSES[process]), []
    normaliser = float(torch.log(_propagated(model, STEPS) @ torch.exp(scale * REWARD)))
    for method, (particles, guidance) in _particles(model, scale).items():
        result = sample(
            model, Ancestral(), uniform_grid(STEPS), shape=(systems * COUNT, LENGTH), guidance=guidance,
            particles=particles, generator=torch.Generator().manual_seed(0),
        )  # fmt: skip
        assert result.ess_history is not None
        assert result.log_normaliser is not None
        z = torch.exp(result.log_normaliser - normaliser)
        error = float(z.std()) / systems**0.5
        extra = {
            "ESS/N": float(result.ess_history[-1].mean()) / COUNT,
            "lowest ESS/N": float(result.ess_history.amin(0).mean()) / COUNT,
            "Z over truth": float(z.mean()), "its standard error": error,
        }  # fmt: skip
        drawn, weighted = _weighted_laws(result)
        rows.append(_row(process, scale, method, COUNT * STEPS, drawn) | extra)
        rows.append(_row(process, scale, f"{method}, all weights", STEPS, weighted) | extra)
    return rows


def _value(rows: pd.DataFrame, process: str, scale: float, method: str, column: str, cost: int = 0) -> float:
    part = rows[(rows["process"] == process) & (rows["scale"] == scale) & (rows["method"] == method)]
    part = part[part["cost"] == cost] if cost else part
    return float(part[column].iloc[0])


def _draw(rows: pd.DataFrame, path: Path, note: str) -> None:
    figure, axes = new_figure(columns=2, width=5.6, height=4.0)
    shown = ["unguided", f"best of {COUNT}", "CFG", "CBG", "CBG first", f"reweighted of {COUNT}",
             f"FK of {COUNT}", f"tilt of {COUNT}"]  # fmt: skip
    for axis, process in zip(axes[0], PROCESSES, strict=True):
        part = rows[(rows["process"] == process) & (rows["scale"] == SCALES[-1])]
        part = part.sort_values("cost").drop_duplicates("method", keep="last").set_index("method")
        target, values = reward_law(tilted(SCALES[-1])).numpy(), VALUES.numpy()
        axis.bar(values, target, width=0.9, color="#d9d9d9", label="exact tilt", zorder=0)
        for place, method in enumerate(shown):
            offset = 0.1 * (place - (len(shown) - 1) / 2)
            shares = part.loc[method, "rewards"]
            axis.plot(values + offset, shares, "osD^vPX*"[place], ms=5, label=method)
        axis.set_title(f"{process}, scale {SCALES[-1]:g}{note}")
        axis.set_xlabel("reward of a returned sequence")
    axes[0, 0].set_ylabel("share")
    axes[0, 1].legend(frameon=False, fontsize=8)
    save_figure(figure, path)


def guidance_bars(rows: pd.DataFrame, reduced: bool) -> list[Bar]:
    """Give the bars of the claims."""
    bars = []
    for process in PROCESSES:
        strong, steered, tilt = SCALES[-1], f"FK of {COUNT}", f"tilt of {COUNT}"
        best = _value(rows, process, strong, f"best of {COUNT}", "TV")
        for method, limit in ((steered, 0.8), (tilt, 0.2)):
            name = f"{process}: TV of {method} over that of best of {COUNT} at scale {strong:g}"
            ours = _value(rows, process, strong, method, "TV")
            bars.append(compare(name, ours / best, limit, at_most=True))
        name = f"{process}: TV of {tilt} by all weights at scale {strong:g}"
        ours = _value(rows, process, strong, f"{tilt}, all weights", "TV")
        bars.append(compare(name, ours, 0.04, at_most=True))
        for scale in SCALES:
            for method in _particles(ChainModel(PROCESSES[process]), scale):
                z, error = (_value(rows, process, scale, method, name)
                            for name in ("Z over truth", "its standard error"))  # fmt: skip
                name = f"{process}: standard errors between the normaliser of {method} and truth, {scale:g}"
                bars.append(compare(name, abs(z - 1.0) / error, 4.0, at_most=True))
        name = f"{process}: TV of CBG at scale 1 in {COUNT * STEPS} steps over that in {STEPS}"
        ours, few = (_value(rows, process, 1.0, "CBG", "TV", cost) for cost in (COUNT * STEPS, STEPS))
        bars.append(compare(name, ours / few, 0.2, at_most=True))
        ratio = [
            _value(rows, process, strong, method, "ESS/N") for method in (tilt, f"reweighted of {COUNT}")
        ]
        name = f"{process}: ESS of {tilt} over that of reweighting, scale {strong:g}"
        bars.append(compare(name, ratio[0] / ratio[1], 1.5, at_most=False))
    if not reduced:
        return bars
    decided = ("standard errors", "TV of CBG", "ESS of")
    missing = "needs the full run, with more systems"
    return [
        bar
        if bar.reached is None or any(word in bar.name for word in decided)
        else Bar(bar.name, None, missing)
        for bar in bars
    ]


def _sections(rows: pd.DataFrame, systems: int) -> list[tuple[str, str]]:
    sections = []
    columns = ["cost", "mean reward", "TV of rewards", "TV", "ESS/N", "lowest ESS/N", "Z over truth"]
    for (process, scale), part in rows.groupby(["process", "scale"], sort=False):
        target = tilted(float(scale))
        text = (
            f"The target's mean reward is {float(target @ REWARD):.3f}; the floor of the distance is "
            f"{floor(target, systems):.3f} for one draw of each of {systems} systems."
        )
        table = markdown_table(part.set_index("method")[columns])
        sections.append((f"{process}, scale {scale:g}", f"{text}\n\n{table}"))
    return sections


def run(quick: bool, report: Callable[[str], None] = print) -> pd.DataFrame:
    """Measure everything."""
    rows: list[dict[str, object]] = []
    for process in PROCESSES:
        for scale in SCALES:
            started = time.process_time()
            rows += exact_rows(process, scale)
            rows += particle_rows(process, scale, QUICK_SYSTEMS if quick else SYSTEMS)
            report(f"{process}, scale {scale:g}: {time.process_time() - started:.0f} CPU s")
    return pd.DataFrame(rows)


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer systems of particles")
    parser.add_argument("--check", action="store_true", help="exit 1 naming each bar that is missed")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/discrete_guidance"))
    options = parser.parse_args(arguments)
    limit_threads()
    started = time.process_time()
    rows = run(options.quick)
    bars = guidance_bars(rows, options.quick)
    header = run_header(options.quick) | {"CPU time": f"{time.process_time() - started:.0f} s"}
    write_table(
        options.out / "rows.csv", rows.drop(columns="rewards").set_index(["process", "scale", "method"])
    )
    _draw(rows, options.out / "discrete_guidance.png", ", REDUCED" if options.quick else "")
    sections = [("", __doc__.split("\n\n", 1)[1].strip())]
    sections += _sections(rows, QUICK_SYSTEMS if options.quick else SYSTEMS)
    sections += [("Reading", READING)] if not options.quick else []
    sections += [("Bars", bars_text(bars)), ("", "![](discrete_guidance.png)")]
    write_markdown(options.out / "report.md", "Tokens led towards a reward", header, sections)
    return check_exit_code(bars) if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
