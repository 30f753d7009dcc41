"""A protein through from_score, cooled and pulled, against closed forms (`benchmarks/boltzmann_protein.py`).

The model is the elastic network of the villin headpiece (35 alpha carbons, 99 dimensions without the rigid
motions) at 600 K, given to the sampler as a plain score function, as an outside model of a protein would be.
From it the samplers draw

    another temperature    300 K
    a restraint            on the distance of the chain's ends, from 1.02 to 1.5 nm: linearised, and as it is
    both                   at 300 K, with the linearised and with the true restraint

All these laws have exact means, covariances and log normalisers. Methods:

    PG             pure guidance: the score of the target law, no weights
    G-SMC          the same with weights and resampling
    Langevin-SMC   only the part of the drift that belongs to the noise is guided
    VCG, ECG       the drift controlled for the variance of the weights, or for an energy; -SMC resamples
    probes         VCG-SMC as a network would have it: divergences of score and restraint by random probes
    default share  VCG-SMC with the reward's default share instead of that of the restraint's own width

`mean` is the root mean square error of the mean in standard deviations of the law, `covariance` the relative
Frobenius error; their floors are those of as many exact draws as there are particles.
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
from boltzmann_protein_models import PATH, Reference, Setting, SystemValues, time_grid
from boltzmann_protein_pictures import draw_protein
from measuring import limit_threads
from reporting import RowFile, markdown_table, run_header, write_markdown, write_table

from sciffusion.domains.boltzmann import ElasticNetwork, load_villin
from sciffusion.sampling import SampleResult
from sciffusion.sampling.driftlite import DifferentiableReward, DriftLiteSampler

__all__ = ["SETTINGS", "Experiment", "file_settings", "main", "protein_bars", "summarise"]

COUNT, STEPS, SYSTEMS = 1000, 400, 4
COLD, PULLED, BOTH = "300 K", "restraint", "300 K and restraint"
SETTINGS = {
    setting.name: setting
    for setting in (
        Setting(COLD, 300.0),
        Setting("restraint, linearised", kind="linear"),
        Setting(PULLED, kind="true"),
        Setting("300 K and restraint, linearised", 300.0, "linear"),
        Setting(BOTH, 300.0, "true"),
    )
}
OURS, PLAIN, UNSCALED = "VCG-SMC", "G-SMC", "VCG-SMC, default share"
PROBES = {"VCG-SMC, one probe": 1, "VCG-SMC, four probes": 4}
METHODS: dict[str, dict[str, object]] = {
    "PG": {"control": "none", "weights": "none"},
    PLAIN: {"control": "none"},
    "Langevin-SMC": {"control": "langevin"},
    "VCG": {"control": "vcg", "resample": False},
    OURS: {"control": "vcg"},
    "ECG-SMC": {"control": "ecg"},
    **{name: {"control": "vcg"} for name in PROBES},
    UNSCALED: {"control": "vcg"},
}
#: Runs whose first system is in the picture.
SHOWN = tuple((setting, method) for setting in (COLD, BOTH) for method in ("PG", OURS))


class Experiment:
    """Runs of one setting, with its reference made once."""

    def __init__(self, network: ElasticNetwork, setting: Setting) -> None:
        self.network, self.setting = network, setting
        self.reference = Reference(network, setting)
        self._floors: dict[int, dict[str, float]] = {}

    def sampler(self, method: str) -> DriftLiteSampler:
        """Give the sampler of a method: what anybody with a score function would write."""
        score = self.network.score(600.0, PATH)
        given: dict[str, object] = {"divergence": score.divergence, "log_density": score.log_density}
        if method in PROBES:
            given = {"n_probes": PROBES[method]}
        return DriftLiteSampler.from_score(
            score, PATH, project=self.network.project, effective_dim=self.network.effective_dim,
            **given, **METHODS[method],
        )  # fmt: skip

    def sample(self, method: str, count: int, steps: int, systems: int) -> SampleResult:
        """Draw independent systems of particles."""
        restraint, kT = self.setting.restraint(self.network), self.setting.thermal_energy  # noqa: N806
        tilt: dict[str, object] = {}
        if restraint is not None:
            tilt["reward"] = restraint.reward(self.network, kT)
            if method in PROBES:
                tilt["reward"] = DifferentiableReward(lambda x: -restraint(x) / kT, n_probes=PROBES[method])
            if method != UNSCALED:
                tilt["reward_schedule"] = restraint.schedule(kT)
        return self.sampler(method).sample(
            time_grid(steps), count=count, systems=systems, shape=(self.network.n_atoms, 3),
            gamma=self.setting.gamma, generator=torch.Generator().manual_seed(0), **tilt,
        )  # fmt: skip

    def run(
        self, method: str, count: int, steps: int, systems: int
    ) -> tuple[list[dict[str, object]], list[SystemValues]]:
        """Measure a method: one row a system, and the estimates; rows without numbers where it broke off."""
        if count not in self._floors:
            self._floors[count] = self.reference.floors(count)
        key = {"setting": self.setting.name, "method": method, "count": count, "steps": steps}
        started = time.process_time()
        try:
            result = self.sample(method, count, steps, systems)
        except ValueError as error:
            print(f"{self.setting.name}; {method} broke off: {error}", flush=True)
            return [key | {"system": place} for place in range(systems)], []
        seconds = (time.process_time() - started) / systems
        measured, values = self.reference.rows(result, count)
        rows: list[dict[str, object]] = []
        for place, row in enumerate(measured):
            rows.append(key | {"system": place, "seconds": seconds, "nfe": result.nfe} | row)
            rows[-1] |= self._floors[count]
        return rows, values


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Give means over systems, with the error of the mean log Z and of the mean distance."""
    keys = ["setting", "method", "count", "steps"]
    groups = rows.groupby(keys, sort=False)
    table = groups.mean(numeric_only=True).drop(columns="system")
    table["log_z_standard_error"] = groups["log_z_error"].sem()
    table["length_error"] = table["length"] - table["length_exact"]
    table["length_standard_error"] = groups["length"].sem()
    table["mean_ratio"] = table["mean_error"] / table["mean_error_floor"]
    table["covariance_ratio"] = table["covariance_error"] / table["covariance_error_floor"]
    return table


def _value(table: pd.DataFrame, setting: str, method: str, column: str) -> float:
    key = (setting, method, COUNT, STEPS)
    return float(table.loc[key, column]) if key in table.index else float("nan")


def protein_bars(rows: pd.DataFrame, reduced: bool) -> list[Bar]:
    """Give the bars: exact within noise in every setting, and better than weights without control."""
    table, bars = summarise(rows), []
    for setting in SETTINGS:
        error, length = (_value(table, setting, OURS, name) for name in ("log_z_error", "length_error"))
        exact = _value(table, setting, OURS, "length_exact")
        limit = max(0.02 * exact, 3.0 * _value(table, setting, OURS, "length_standard_error"))
        bars += [
            compare(f"{setting}: absolute error of log Z", abs(error), 0.1, at_most=True),
            compare(f"{setting}: error of the mean distance", abs(length), limit, at_most=True, unit=" nm"),
        ]
        for name in ("mean", "covariance"):
            ratio = _value(table, setting, OURS, f"{name}_ratio")
            bars.append(compare(f"{setting}: error of the {name} over its floor", ratio, 2.0, at_most=True))
    for setting in (COLD, BOTH):
        plain, ours = (_value(table, setting, name, "covariance_error") for name in (PLAIN, OURS))
        bars.append(
            compare(f"{setting}: covariance error of G-SMC over ours", plain / ours, 2.0, at_most=False)
        )
    if reduced:
        return [Bar(bar.name, None, f"needs the full run of {COUNT} particles") for bar in bars]
    return bars


READING = """\
- The sampler is given a score function in nm, a path, and the projection that takes out the rigid motions: no
  more than an outside model of a protein has. Nothing is trained.
- Cooling is the hardest thing for weights without control: in 99 dimensions log Z of G-SMC is off by tens.
  VCG finds a control under which the weights hardly move; what is left of its error of log Z is that of the
  steps (second order: four times less with twice as many).
- Pulling is easier: there weights without control are not lost.
- Where there is a restraint, errors of mean and covariance are above their floors, for the samples have fewer
  ancestors than there are particles, and the floor is of independent draws.
- A narrow restraint needs its own share of the reward on the way (`DistanceRestraint.schedule`). The default
  share rises where the noise is as wide as data of unit variance, 1 nm here; the restraint is narrower by a
  factor of ten or more, too stiff for the steps at that noise, and the particles run away.
- Random probes for divergences, all that a network can afford, make log Z too large: their noise enters the
  weights by its exponential, whose mean is above 1.
- The law is at the end of the grid, with .002 nm of noise. Against the law without any, log Z differs by the
  column `log_z_error_clean` of rows.csv.
- An elastic network is a normal law. What these numbers say of the sampler holds for a score that is exact;
  they say nothing of the errors of a learned one, nor of a landscape with many basins.
"""

COLUMNS = {
    "log_z": "log Z", "log_z_error": "error", "log_z_standard_error": "its standard error",
    "log_z_claimed": "error claimed by a run", "mean_error": "mean", "mean_error_floor": "mean, floor",
    "covariance_error": "covariance", "covariance_error_floor": "covariance, floor",
    "length": "distance (nm)", "length_exact": "exact", "min_ess": "min ESS/N", "resamplings": "resamplings",
    "ancestors": "ancestors", "variance_guidance": "variance without control", "variance": "variance",
    "seconds": "CPU s",
}  # fmt: skip


def _sections(rows: pd.DataFrame) -> list[tuple[str, str]]:
    table, sections = summarise(rows), []
    for setting in (name for name in SETTINGS if name in set(rows["setting"])):
        part = table.xs(setting, level="setting").reset_index(["count", "steps"])
        part = part.loc[[name for name in METHODS if name in part.index]]
        heading = f"{setting}: {part['count'].iloc[0]} particles, {part['steps'].iloc[0]} steps"
        part = part.reindex(columns=list(COLUMNS)).rename(columns=COLUMNS)
        # Where particles ran away, figures of thirty digits say no more than this.
        sections.append((heading, markdown_table(part.where(part.abs() < 1e6))))
    return sections


def _plan(quick: bool) -> list[tuple[str, str, int, int, int]]:
    """Give (setting, method, count, steps, systems) of every run."""
    if quick:
        methods = ("PG", PLAIN, "Langevin-SMC", OURS)
        return [(setting, method, 400, 100, 2) for setting in (COLD, BOTH) for method in methods]
    most = (COLD, PULLED, BOTH)
    where = {OURS: tuple(SETTINGS), PLAIN: tuple(SETTINGS), "PG": (COLD, BOTH)}
    where |= {UNSCALED: (PULLED, BOTH), "VCG-SMC, four probes": (COLD, BOTH)}
    # What the bars need comes first.
    methods = dict.fromkeys((OURS, "PG", PLAIN, *METHODS))
    return [(name, method, COUNT, STEPS, SYSTEMS) for method in methods for name in where.get(method, most)]


def file_settings(quick: bool) -> dict[str, object]:
    """Give what rows must have in common: a full run must not go on from a reduced one."""
    return {"protocol": 1} | ({"reduced": True} if quick else {})


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A protein through from_score, against closed forms.")
    parser.add_argument("--quick", action="store_true", help="two settings, 400 particles, 100 steps")
    parser.add_argument("--check", action="store_true", help="compare with the bars; exit 1 if one is missed")
    parser.add_argument("--resume", action="store_true", help="skip runs that the output folder already has")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/boltzmann_protein"))
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment, write tables and picture, and give the exit code."""
    options = _parse(arguments)
    limit_threads()
    network = ElasticNetwork(load_villin().positions)
    experiments = {name: Experiment(network, setting) for name, setting in SETTINGS.items()}
    settings = file_settings(options.quick)
    file = RowFile(options.out / "rows.csv", ("setting", "method", "system"), settings, options.resume)
    for setting, method, count, steps, systems in _plan(options.quick):
        if (setting, method, 0) in file:
            continue
        rows, values = experiments[setting].run(method, count, steps, systems)
        if (setting, method) in SHOWN:
            values[0].save(options.out / "shown" / f"{setting}, {method}.npz")
        for row in rows:
            file.add(row)
        mean = pd.DataFrame(rows).mean(numeric_only=True)
        words = f"{setting}; {method}: log Z off by {mean.get('log_z_error', float('nan')):.3f}"
        print(f"{words}, {mean.get('seconds', float('nan')):.1f} s a system", flush=True)
    kept = {key: SystemValues.load(options.out / "shown" / f"{', '.join(key)}.npz") for key in SHOWN}
    rows = file.frame()
    bars = protein_bars(rows, options.quick)
    write_table(options.out / "summary.csv", summarise(rows))
    references = {name: experiment.reference for name, experiment in experiments.items()}
    note = " (reduced run)" if options.quick else ""
    draw_protein(references, kept, rows, options.out / "boltzmann_protein.png", note)
    sections = [("Picture", "![boltzmann_protein.png](boltzmann_protein.png)"), ("Bars", bars_text(bars))]
    if not options.quick:
        sections.append(("Reading", READING.rstrip()))
    header = run_header(options.quick, None if arguments is None else ["boltzmann_protein.py", *arguments])
    title = "A protein through from_score: cooled and pulled"
    write_markdown(options.out / "report.md", title, header, sections + _sections(rows))
    return check_exit_code(bars) if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
