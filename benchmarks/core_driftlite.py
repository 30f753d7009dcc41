"""DriftLite on mixtures whose annealed and tilted laws are known: `python benchmarks/core_driftlite.py`.

Models are the mixtures of driftlite_models.py, 30 dimensions and 8 components, one for each of five seeds.
From their exact scores the samplers draw the annealed law (gamma = 2), laws tilted by a quadratic reward, and
both together, on the Ornstein-Uhlenbeck process and on a variance-exploding path. Methods:

    PG          pure guidance: the score of the target law, no weights
    G           the same with weights; G-SMC resamples
    VCG, ECG    the drift controlled for the variance of the weights, or for an energy; -SMC resamples

MMD, sliced Wasserstein distance (SWD) and total variation of the modes' masses (mode TV) compare weighted
samples with 2,000 exact draws; the floor is the same distance from as many exact draws as there are
particles. `variance` is the mean over steps of the variance of what drives the weights, over the fourth power
of the diffusion: without control, and with it along the same run. The error of log Z is against the law at
the end of the grid, at which the particles aim; against the data's law it differs by what the last noise
adds.
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
from driftlite_models import DIM, MixtureBatch, Reference, Setting, measure_distances, time_grid
from measuring import limit_threads
from reporting import RowFile, markdown_table, run_header, write_markdown, write_table
from survival_pictures import new_figure, save_figure

from sciffusion.sampling.driftlite import DriftLiteSampler

__all__ = ["Experiment", "driftlite_bars", "main", "summarise"]

SEEDS = (0, 1, 2, 3, 4)
COUNT, STEPS, REFERENCE_DRAWS = 1000, 300, 2000
NARROW, WIDE = "anneal, spread .1", "anneal, spread .3"
SETTINGS = {
    setting.name: setting
    for setting in (
        Setting(NARROW),
        Setting(WIDE, spread=0.3),
        Setting("tilt 2, equal variances", spread=0.0, gamma=1.0, tilt=2.0),
        Setting("tilt .5, equal variances", spread=0.0, gamma=1.0, tilt=0.5),
        Setting("anneal and tilt 2, spread .1", tilt=2.0),
        Setting("anneal, spread .1, variance exploding", exploding=True),
    )
}
METHODS: dict[str, dict[str, object]] = {
    "PG": {"control": "none", "weights": "none"},
    "G": {"control": "none", "resample": False},
    "G-SMC": {"control": "none"},
    "VCG": {"control": "vcg", "resample": False},
    "VCG-SMC": {"control": "vcg"},
    "ECG-SMC": {"control": "ecg"},
}
LEFT_RULE = "VCG-SMC, left rule"
ONE_PROBE = "VCG-SMC, one probe"
TWICE_NOISE = "VCG-SMC, twice the noise"
FURTHER: dict[str, dict[str, object]] = {
    LEFT_RULE: {"control": "vcg", "weights": "left"},
    ONE_PROBE: {"control": "vcg"},
    TWICE_NOISE: {"control": "vcg", "noise_scale": 2.0},
}
SWEPT = ("G-SMC", "VCG-SMC", "ECG-SMC")
COUNTS, STEP_COUNTS = (100, 4000), (25, 100, 1000)
#: Numbers of the published reference for this experiment (three seeds, spread .1).
PUBLISHED = pd.DataFrame(
    {
        "mmd": [0.030, 0.197, 0.46, 0.398, 0.033, 0.030, 0.036],
        "swd": [0.089, 0.467, 0.97, 0.87, 0.085, 0.080, 0.091],
        "mode TV": [0.035, 0.419, 0.63, 0.67, 0.037, 0.037, 0.064],
        "min ESS/N": [float("nan"), float("nan"), 0.001, 0.096, 0.411, 0.895, 0.851],
        "resamplings": [float("nan"), float("nan"), 0, 82, 0, 3, 10],
        "variance": [float("nan"), 41, 17, 82, 4.4, 4.4, 6.8],
        "log Z error": [float("nan"), float("nan"), -21.7, 10.1, -0.32, -0.31, -1.17],
    },
    index=pd.Index(["floor", "PG", "G", "G-SMC", "VCG", "VCG-SMC", "ECG-SMC"], name="method"),
)


class Experiment:
    """Runs of one setting on a batch of models, with references made once."""

    def __init__(self, setting: Setting, seeds: tuple[int, ...], draws: int = REFERENCE_DRAWS) -> None:
        self.setting, self.seeds = setting, seeds
        self.batch = MixtureBatch(setting, seeds)
        end = float(time_grid(setting, 2)[-1])
        places = range(len(seeds))
        self.references = [Reference(setting, self.batch, place, end, draws) for place in places]
        self._floors: dict[int, list[dict[str, float]]] = {}

    def sampler(self, method: str) -> DriftLiteSampler:
        """Give the sampler of a method."""
        if method == ONE_PROBE:
            return DriftLiteSampler.from_score(self.batch.score, self.setting.path, n_probes=1)
        settings = {**METHODS, **FURTHER}[method]
        return DriftLiteSampler(self.batch, self.setting.path, **settings)

    def floors(self, count: int, repeats: int = 3) -> list[dict[str, float]]:
        """Give, for every model, the mean distances of ``count`` exact draws from the reference."""
        if count not in self._floors:
            self._floors[count] = [self._floor(reference, count, repeats) for reference in self.references]
        return self._floors[count]

    @staticmethod
    def _floor(reference: Reference, count: int, repeats: int) -> dict[str, float]:
        equal = torch.full((count,), 1.0 / count, dtype=torch.float64)
        found = [reference.distances(reference.exact(count), equal) for _ in range(repeats)]
        return {f"{name}_floor": sum(row[name] for row in found) / repeats for name in found[0]}

    def run(self, method: str, count: int = COUNT, steps: int = STEPS) -> list[dict[str, object]]:
        """Run a method on all models and give one row a model."""
        generator = torch.Generator().manual_seed(1000 + steps)
        started = time.process_time()
        result = self.sampler(method).sample(
            time_grid(self.setting, steps), count=count, shape=(DIM,), systems=len(self.seeds),
            gamma=self.setting.gamma, reward=self.batch.reward(self.setting), generator=generator,
            dtype=torch.float64,
        )  # fmt: skip
        seconds = (time.process_time() - started) / len(self.seeds)
        samples = result.samples.reshape(len(self.seeds), count, DIM)
        equal = torch.zeros(samples.shape[:2], dtype=torch.float64)
        log_weights = equal if result.log_weights is None else result.log_weights.reshape(equal.shape)
        distances = measure_distances(self.references, samples, log_weights)
        rows = []
        for place, seed in enumerate(self.seeds):
            row: dict[str, object] = {"setting": self.setting.name, "method": method, "count": count}
            row |= {"steps": steps, "seed": seed, "seconds": seconds, "nfe": result.nfe}
            row |= distances[place] | self.floors(count)[place]
            row |= self._weights(result, place, count)
            rows.append(row)
        return rows

    def _weights(self, result: object, place: int, count: int) -> dict[str, float]:
        """Give what weights and controls did in one system."""
        trace = result.trace
        found = {
            "variance_guidance": float(trace["variance_guidance"][:, place].mean()),
            "variance": float(trace["variance_potential"][:, place].mean()),
            "variance_median": float(trace["variance_potential"][:, place].median()),
        }
        report = result.particles
        if report is None:
            return found
        estimate, reference = float(report.log_normaliser[place]), self.references[place]
        return found | {
            "min_ess": float(report.ess_history[:, place].min()) / count,
            "resamplings": int(report.resamplings[place]),
            "ancestors": int(report.unique_ancestors[place]),
            "log_z_error": estimate - reference.log_normaliser,
            "log_z_error_clean": estimate - reference.clean_log_normaliser,
            "log_z_standard_error": float(report.log_normaliser_error[place]),
        }


def summarise(
    rows: pd.DataFrame, keys: Sequence[str] = ("setting", "method", "count", "steps")
) -> pd.DataFrame:
    """Give means over models, with the mean absolute error of log Z and the mean ratio of variances."""
    rows = rows.assign(
        log_z_absolute=rows["log_z_error"].abs(), variance_ratio=rows["variance_guidance"] / rows["variance"]
    )
    return rows.drop(columns=["seed"]).groupby(list(keys), sort=False).mean(numeric_only=True)


def _value(table: pd.DataFrame, key: tuple[object, ...], column: str) -> float:
    return float(table.loc[key, column]) if key in table.index else float("nan")


def driftlite_bars(rows: pd.DataFrame, reduced: bool) -> list[Bar]:
    """Give the bars of the claim, for both spreads of the variances."""
    table, bars = summarise(rows), []
    for setting in (NARROW, WIDE):
        ours = (setting, "VCG-SMC", COUNT, STEPS)
        excess = _value(table, ours, "mmd") - _value(table, ours, "mmd_floor")
        error = _value(table, ours, "log_z_absolute")
        ratio = _value(table, ours, "variance_ratio")
        few = _value(table, (setting, "VCG-SMC", 100, STEPS), "mmd")
        many = _value(table, (setting, "G-SMC", COUNT, STEPS), "mmd")
        falling = [_value(table, (setting, LEFT_RULE, COUNT, n), "log_z_absolute") for n in (100, 300, 1000)]
        coarse = _value(table, (setting, "VCG-SMC", COUNT, 25), "log_z_absolute")
        bars += [
            compare(f"{setting}: VCG-SMC MMD above the floor", excess, 0.005, at_most=True),
            compare(f"{setting}: variance without control over with it", ratio, 15.0, at_most=False),
            compare(f"{setting}: absolute error of log Z at {STEPS} steps", error, 0.4, at_most=True),
            compare(f"{setting}: the same over that at 25 steps", error / coarse, 1.0, at_most=True),
            Bar(
                f"{setting}: error of log Z by the left rule falls with 100, 300, 1000 steps",
                falling[0] > falling[1] > falling[2],
                ", ".join(f"{value:.3f}" for value in falling),
            ),
            compare(
                f"{setting}: MMD of VCG-SMC with 100 over G-SMC with 1000", few / many, 1.0, at_most=True
            ),
        ]
    if reduced:
        return [Bar(bar.name, None, f"needs the full run of {len(SEEDS)} models") for bar in bars]
    return bars


def _plan(quick: bool) -> list[tuple[str, str, int, int]]:
    """Give (setting, method, count, steps) of every run but those at equal time."""
    if quick:
        return [(NARROW, method, COUNT, 100) for method in METHODS]
    plan = [(setting, method, COUNT, STEPS) for setting in SETTINGS for method in METHODS]
    for setting in (NARROW, WIDE):
        plan += [(setting, method, COUNT, STEPS) for method in FURTHER]
        plan += [(setting, method, count, STEPS) for method in SWEPT for count in COUNTS]
        swept = ("VCG-SMC", LEFT_RULE, "ECG-SMC")
        plan += [(setting, method, COUNT, steps) for method in swept for steps in STEP_COUNTS]
    return plan


def _equal_time(rows: pd.DataFrame, setting: str) -> list[tuple[str, str, int, int]]:
    """Give the runs of G-SMC that take as long as VCG-SMC, by more particles and by more steps."""
    table = summarise(rows[(rows["count"] == COUNT) & (rows["steps"] == STEPS)], ("setting", "method"))
    ours, probed, plain = (
        _value(table, (setting, name), "seconds") for name in ("VCG-SMC", ONE_PROBE, "G-SMC")
    )
    runs = [(round(COUNT * ours / plain), STEPS), (COUNT, round(STEPS * ours / plain))]
    runs.append((round(COUNT * probed / plain), STEPS))
    return [(setting, "G-SMC", count, steps) for count, steps in runs if (count, steps) != (COUNT, STEPS)]


READING = """\
- Pure guidance ends in wrong masses of the modes, and so do weights without control: all samples descend from
  one or two ancestors, although the last effective sample size is healthy. More particles in the same time
  do not mend it.
- On the easy tilt plain weights are good enough in MMD. There, control buys variance and a better log Z.
- VCG keeps the variance lower than ECG everywhere; in MMD the two are near each other but for few particles
  and for annealing with a tilt, where ECG is worse.
- One Hutchinson probe in place of the exact divergence costs no quality that could be seen here. With these
  cheap scores it costs less than twice the time; with a network it will cost a backward pass more.
- Spread .3 is the harder setting: a third of the particles have living descendants, and the MMD above the
  floor is that of fewer independent draws. This run is just below its bar of .005, but 13 runs that differ in
  their noise alone gave .0052 on average (standard error .0005): it stands on the bar rather than below it.
  Resampling less often makes it worse (.0078 at a threshold of .5, three runs); 1.5, 2 or 3 times the noise
  in the particles gave .0066, .0052 and .0054 (eight runs each), which helps nothing. More particles do help
  (N = 4000 below).
- The trapezoid rule (a construction of this library) takes most of the error of log Z away at no further
  evaluations but one; the left rule is the published one. What is left at many steps is the noise of the
  particles, of the size that the runs claim for themselves. With 25 steps the samples are visibly biased
  whatever the rule: the drift is of first order.
- At the end of the grid the law still has a little noise. Against the data's own law, log Z is off by about
  another .1 here (column `log_z_error_clean` of rows.csv); a smaller last time takes that away.
- Timed are the samplers with exact scores. Nothing here says how learned scores behave.
"""

COLUMNS = {
    "mmd": "MMD", "mmd_floor": "floor", "swd": "SWD", "mode_tv": "mode TV", "min_ess": "min ESS/N",
    "resamplings": "resamplings", "ancestors": "ancestors", "variance_guidance": "variance without control",
    "variance": "variance", "log_z_error": "log Z error", "log_z_standard_error": "its claimed error",
    "seconds": "CPU s",
}  # fmt: skip


def _shown(table: pd.DataFrame) -> str:
    return markdown_table(table[list(COLUMNS)].rename(columns=COLUMNS))


def _sections(rows: pd.DataFrame, equal: Sequence[tuple[str, str, int, int]]) -> list[tuple[str, str]]:
    table = summarise(rows)
    sections = []
    steps = int(rows["steps"].max()) if STEPS not in set(rows["steps"]) else STEPS
    for setting in rows["setting"].unique():
        part = table.xs((setting, COUNT, steps), level=("setting", "count", "steps"))
        sections.append((f"{setting}: N = {COUNT}, {steps} steps", _shown(part)))
    for setting in (NARROW, WIDE):
        inside = table.xs(setting, level="setting") if setting in rows["setting"].values else table[:0]
        by_count = inside[inside.index.isin([(m, n, STEPS) for m in SWEPT for n in (100, COUNT, 4000)])]
        if len(set(by_count.index.get_level_values("count"))) > 1:
            sections.append((f"{setting}: number of particles", _shown(_labelled(by_count, "count"))))
        names = ("VCG-SMC", LEFT_RULE, "ECG-SMC")
        by_steps = inside[inside.index.isin([(m, COUNT, n) for m in names for n in (25, 100, STEPS, 1000)])]
        if len(set(by_steps.index.get_level_values("steps"))) > 1:
            sections.append(
                (f"{setting}: number of steps", _shown(_labelled(by_steps.sort_index(), "steps")))
            )
        runs = [run[1:] for run in equal if run[0] == setting]
        if runs:
            runs = [("VCG-SMC", COUNT, STEPS), (ONE_PROBE, COUNT, STEPS), *runs]
            part = inside.loc[runs]
            part.index = pd.Index([f"{m}, N = {n}, {k} steps" for m, n, k in runs], name="run")
            sections.append((f"{setting}: equal time", _shown(part)))
    return sections


def _labelled(table: pd.DataFrame, level: str) -> pd.DataFrame:
    labels = zip(table.index.get_level_values("method"), table.index.get_level_values(level), strict=True)
    return table.set_axis(pd.Index([f"{method}, {value} {level}" for method, value in labels], name="run"))


def _margins(rows: pd.DataFrame) -> str:
    """Give the MMD of VCG-SMC above the floor for each model, with mean and standard error."""
    part = rows[(rows["method"] == "VCG-SMC") & (rows["count"] == COUNT) & (rows["steps"] == STEPS)]
    excess = part.assign(excess=part["mmd"] - part["mmd_floor"]).pivot(
        index="setting", columns="seed", values="excess"
    )
    excess = excess.reindex(part["setting"].unique())
    shown = excess.add_prefix("model ")
    shown["mean"], shown["standard error"] = excess.mean(axis=1), excess.sem(axis=1)
    return markdown_table(shown, digits=4)


def _published(rows: pd.DataFrame) -> str:
    """Give our means beside the published numbers."""
    names = {"mmd": "mmd", "swd": "swd", "mode_tv": "mode TV", "min_ess": "min ESS/N"}
    names |= {"resamplings": "resamplings", "variance": "variance", "log_z_error": "log Z error"}
    part = summarise(rows).xs((NARROW, COUNT, STEPS), level=("setting", "count", "steps"))
    floor = part.iloc[[0]].rename(index=lambda _: "floor")[["mmd_floor", "swd_floor", "mode_tv_floor"]]
    floor = floor.rename(columns=lambda name: names[name.removesuffix("_floor")])
    ours = pd.concat([floor, part[list(names)].rename(columns=names)]).reindex(PUBLISHED.index)
    pairs = {}
    for column in PUBLISHED:
        pairs[column] = ours[column]
        pairs[f"{column}, published"] = PUBLISHED[column].astype(float)
    return markdown_table(pd.DataFrame(pairs))


def _draw(rows: pd.DataFrame, path: Path, note: str) -> None:
    figure, axes = new_figure(columns=3, width=4.4)
    table = summarise(rows)
    names = [name for name in METHODS if name in set(rows["method"])]
    steps = STEPS if STEPS in set(rows["steps"]) else int(rows["steps"].max())
    full = rows[(rows["count"] == COUNT) & (rows["setting"] == NARROW) & (rows["steps"] == steps)]
    main = summarise(full, ("method",)).loc[names]
    axes[0, 0].barh(names, main["mmd"], color=["#c1440e" if "VCG" in name else "#5b7083" for name in names])
    axes[0, 0].axvline(float(main["mmd_floor"].mean()), color="black", linestyle="--", label="floor")
    axes[0, 0].invert_yaxis()
    axes[0, 0].set(xlabel="MMD to the exact law", title="Annealing, equal number of particles")
    axes[0, 0].legend()
    for method, marker in zip(SWEPT, "sod", strict=True):
        keys = [(NARROW, method, n, STEPS) for n in (100, COUNT, 4000)]
        found = [(key[2], _value(table, key, "mmd")) for key in keys if key in table.index]
        if found:
            axes[0, 1].loglog(*zip(*found, strict=True), f"{marker}-", label=method)
    axes[0, 1].set(xlabel="particles", ylabel="MMD", title="More particles")
    for method, marker in zip(("VCG-SMC", LEFT_RULE, "ECG-SMC"), "osd", strict=True):
        keys = [(NARROW, method, COUNT, n) for n in (25, 100, STEPS, 1000)]
        found = [(key[3], _value(table, key, "log_z_absolute")) for key in keys if key in table.index]
        if found:
            axes[0, 2].loglog(*zip(*found, strict=True), f"{marker}-", label=method)
    axes[0, 2].set(xlabel="steps", ylabel="absolute error of log Z", title="More steps")
    for panel in axes[0, 1:]:
        if panel.lines:
            panel.legend(fontsize=8)
    figure.suptitle(f"Annealed mixtures in 30 dimensions, means of {rows['seed'].nunique()} models{note}")
    save_figure(figure, path)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="DriftLite on mixtures whose annealed laws are known.")
    parser.add_argument("--quick", action="store_true", help="two models, one setting, 100 steps")
    parser.add_argument("--check", action="store_true", help="compare with the bars; exit 1 if one is missed")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/core_driftlite"))
    parser.add_argument("--resume", action="store_true", help="skip runs that the output folder already has")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment, write tables and picture, and give the exit code."""
    options = _parse(arguments)
    limit_threads()
    seeds = SEEDS[:2] if options.quick else SEEDS
    key = ("setting", "method", "count", "steps", "seed")
    file = RowFile(options.out / "rows.csv", key, {"protocol": 1, "seeds": list(seeds)}, options.resume)
    experiments: dict[str, Experiment] = {}

    def perform(plan: Sequence[tuple[str, str, int, int]]) -> None:
        for setting, method, count, steps in plan:
            if (setting, method, count, steps, seeds[0]) in file:
                continue
            if setting not in experiments:
                experiments[setting] = Experiment(SETTINGS[setting], seeds)
            rows = experiments[setting].run(method, count, steps)
            for row in rows:
                file.add(row)
            mean = pd.DataFrame(rows).mean(numeric_only=True)
            words = f"{setting}; {method}, N = {count}, {steps} steps: MMD {mean['mmd']:.4f}"
            print(f"{words} (floor {mean['mmd_floor']:.4f}), {mean['seconds']:.2f} s a model", flush=True)

    perform(_plan(options.quick))
    equal: list[tuple[str, str, int, int]] = []
    if not options.quick:
        equal = [run for setting in (NARROW, WIDE) for run in _equal_time(file.frame(), setting)]
        perform(equal)
    rows = file.frame()
    bars = driftlite_bars(rows, options.quick)
    write_table(options.out / "summary.csv", summarise(rows))
    _draw(rows, options.out / "core_driftlite.png", " (reduced run)" if options.quick else "")
    sections = [("Picture", "![core_driftlite.png](core_driftlite.png)"), ("Bars", bars_text(bars))]
    if not options.quick:
        sections.append(("Reading", READING.rstrip()))
        sections.append((f"Beside the published reference ({NARROW})", _published(rows)))
        sections.append(("MMD of VCG-SMC above the floor, by model", _margins(rows)))
    sections += _sections(rows, equal)
    header = run_header(options.quick, None if arguments is None else ["core_driftlite.py", *arguments])
    write_markdown(
        options.out / "report.md", "Annealing and tilting with controlled drifts", header, sections
    )
    return check_exit_code(bars) if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
