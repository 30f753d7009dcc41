"""Tilted molecules against exact reweighting: `python benchmarks/molecules_tilt.py`.

A small model of SELFIES is trained on MOSES molecules of at most 32 tokens with their QED as y (or read from
`--model`). The law aimed at is that of the model times exp(lambda QED), lambda = 1 in units of one over the
standard deviation of QED in training. What is exact about it is known from many unguided draws, weighted by
exp(lambda QED). At equal cost (rows times network evaluations of one row) are compared:

- *reweighted*: fewer unguided draws with the same weights;
- *best of 4*: the best of every four unguided draws, a quarter as many;
- *cfg, mean*: conditioned on the mean QED of the tilted law, guidance scales 1 and 2;
- *cfg, labels*: conditioned on values drawn from the tilted training labels, which is exact for a conditional
  model that is right;
- *cbg*: guided by the network of noisy molecules' QED, first order;
- *fk*: weighted particles; *fk, guided*: the same, led by that network.

The claim: weighted particles follow the tilted law, and the others do not. Distances are between whole laws
of QED: the first Wasserstein distance, in standard deviations of the training set, and Kolmogorov-Smirnov.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from bars import Bar, bars_text, check_exit_code, compare
from measuring import limit_threads, measure
from numpy.typing import NDArray
from reporting import RowFile, markdown_table, run_header, write_markdown, write_table
from scipy.stats import wasserstein_distance
from survival_pictures import new_figure, save_figure

from sciffusion.datasets import fetch_moses
from sciffusion.domains.molecules import MoleculeDiffusion, molecular_properties, molecule_tokenizer

__all__ = ["METHODS", "Tilt", "kolmogorov_smirnov", "main", "tilt_bars", "training_set"]

PROPERTY, LONGEST, STRENGTH = "qed", 32, 1.0
N_TRAIN, N_STEPS, N_REFERENCE, N_DRAWS, NFE, SEEDS = 3_000, 500, 2_000, 192, 16, 3
Floats = NDArray[np.float64]


def training_set(count: int) -> tuple[list[str], pd.Series]:
    """Give the first molecules of MOSES that are short enough as SELFIES, with their QED."""
    tokenizer, kept = molecule_tokenizer("selfies"), []
    for smiles in fetch_moses("train").frame["smiles"]:
        if len(smiles) < 1.25 * LONGEST and len(tokenizer.tokenize(tokenizer.from_smiles(smiles))) <= LONGEST:
            kept.append(smiles)
            if len(kept) == count:
                break
    return kept, molecular_properties(kept, [PROPERTY])[PROPERTY]


def fit_model(smiles: list[str], y: pd.Series, steps: int, **parameters: Any) -> MoleculeDiffusion:
    """Fit the model of the comparison."""
    settings: dict[str, Any] = {"width": 64, "depth": 3, "batch_size": 64, "learning_rate": 3e-3} | parameters
    model = MoleculeDiffusion(
        property_network=True, max_steps=steps, patience=None, random_state=0, device="cpu", **settings
    )
    fitted: MoleculeDiffusion = model.fit(smiles, y)
    return fitted


class Tilt:
    """A law times exp(lambda QED), with what is known of it from many draws.

    Parameters
    ----------
    model : MoleculeDiffusion
        Fitted on QED.
    labels : Series
        LogP of the training set.
    n_reference, n_draws, nfe : int
        Unguided draws for the exact law; rows of each method; evaluations of a row.
    """

    def __init__(
        self, model: MoleculeDiffusion, labels: pd.Series, n_reference: int, n_draws: int, nfe: int
    ) -> None:
        self.model, self.n_draws, self.nfe = model, n_draws, nfe
        self.labels, self.spread = labels.to_numpy(), float(labels.std())
        self.strength = STRENGTH / self.spread
        values = self.values(self.plain(n_reference, 10_000))
        self.untilted = values[np.isfinite(values)]
        self.weights = self._weights(self.untilted)

    def plain(self, count: int, seed: int, nfe: int | None = None) -> list[str]:
        """Draw without a reward, by the solver that the particles use."""
        drawn: list[str] = self.model.sample(
            count, nfe=nfe or self.nfe, solver="ancestral", random_state=seed
        )
        return drawn

    def values(self, smiles: Sequence[str]) -> Floats:
        """Give QED, -inf for what is no molecule."""
        table = molecular_properties(list(smiles), [PROPERTY], invalid=-np.inf)
        return table[PROPERTY].to_numpy(dtype=np.float64)

    def _weights(self, values: Floats) -> Floats:
        weights = np.exp(self.strength * (values - values.max()))
        return weights / weights.sum()

    @property
    def mean(self) -> float:
        """Mean QED of the tilted law."""
        return float(self.weights @ self.untilted)

    @property
    def mean_error(self) -> float:
        """Its standard error from the reference's size."""
        return float(np.sqrt(np.sum(self.weights**2 * (self.untilted - self.mean) ** 2)))

    @property
    def ess(self) -> float:
        """Effective number of reference draws."""
        return float(1.0 / np.sum(self.weights**2))

    # ---------------------------------------------------------------- methods: (smiles, weights, facts)

    def reweighted(self, seed: int) -> tuple[list[str], Floats]:
        """Draw without guidance and weigh."""
        smiles = self.plain(self.n_draws, seed)
        return smiles, self._weights(self.values(smiles))

    def best_of_four(self, seed: int) -> tuple[list[str], Floats]:
        """Keep the best of every four unguided draws."""
        smiles = np.array(self.plain(self.n_draws, seed), dtype=object).reshape(-1, 4)
        best = self.values(smiles.reshape(-1)).reshape(-1, 4).argmax(1)
        return _even(list(smiles[np.arange(len(smiles)), best]))

    def conditioned(self, scale: float) -> Callable[[int], tuple[list[str], Floats]]:
        """Draw given the mean of the tilted law; guidance has two evaluations a step."""

        def draw(seed: int) -> tuple[list[str], Floats]:
            count = self.n_draws if scale == 1.0 else self.n_draws // 2
            nfe = self.nfe if scale == 1.0 else 2 * self.nfe
            return _even(
                self.model.sample(
                    count, reward={PROPERTY: self.mean}, scale=scale, method="cfg", nfe=nfe,
                    solver="ancestral", random_state=seed,
                )
            )  # fmt: skip

        return draw

    def conditioned_on_labels(self, seed: int) -> tuple[list[str], Floats]:
        """Draw given values from the tilted labels."""
        chosen = np.random.default_rng(seed).choice(
            self.labels, size=(self.n_draws, 1), p=self._weights(self.labels)
        )
        return _even(
            self.model.sample(
                self.n_draws, condition=chosen, nfe=self.nfe, solver="ancestral", random_state=seed
            )
        )

    def classifier(self, seed: int) -> tuple[list[str], Floats]:
        """Guide by the network of noisy molecules' QED."""
        return _even(self._steered("cbg", seed).smiles)

    def particles(self, guide: bool) -> Callable[[int], tuple[list[str], Floats]]:
        """Weigh particles."""

        def draw(seed: int) -> tuple[list[str], Floats]:
            drawn = self._steered("fk", seed, guide=guide)
            return drawn.smiles, drawn.weights

        return draw

    def _steered(self, method: str, seed: int, **options: Any) -> Any:
        return self.model.sample(
            self.n_draws, reward=PROPERTY, scale=self.strength, method=method, nfe=self.nfe,
            return_weights=True, random_state=seed, **options,
        )  # fmt: skip

    def methods(self) -> dict[str, Callable[[int], tuple[list[str], Floats]]]:
        """Give the methods by name."""
        made = (
            self.reweighted, self.best_of_four, self.conditioned(1.0), self.conditioned(2.0),
            self.conditioned_on_labels, self.classifier, self.particles(False), self.particles(True),
        )  # fmt: skip
        return dict(zip(METHODS, made, strict=True))

    def row(self, smiles: list[str], weights: Floats) -> dict[str, float]:
        """Compare weighted draws with the tilted law."""
        values = self.values(smiles)
        counted = np.isfinite(values) & (weights > 0.0)
        values, weights = values[counted], weights[counted] / weights[counted].sum()
        mean = float(weights @ values)
        distance = wasserstein_distance(values, self.untilted, weights, self.weights) / self.spread
        return {
            "mean": mean, "std": float(np.sqrt(weights @ (values - mean) ** 2)), "W1": distance,
            "KS": kolmogorov_smirnov(values, self.untilted, weights, self.weights),
            "ESS": float(1.0 / np.sum(weights**2)), "different": float(len(set(smiles)) / len(smiles)),
            "rows": float(len(smiles)),
        }  # fmt: skip


METHODS = (
    "reweighted", "best of 4", "cfg, mean", "cfg, mean, scale 2", "cfg, labels", "cbg", "fk", "fk, guided",
)  # fmt: skip


def _even(smiles: Sequence[str]) -> tuple[list[str], Floats]:
    return list(smiles), np.full(len(smiles), 1.0 / len(smiles))


def kolmogorov_smirnov(x: Floats, y: Floats, x_weights: Floats, y_weights: Floats) -> float:
    """Give the largest distance between two weighted cumulative distributions."""
    points = np.union1d(x, y)

    def cumulative(values: Floats, weights: Floats) -> Floats:
        order = np.argsort(values)
        steps = np.concatenate([[0.0], np.cumsum(weights[order])])
        found: Floats = steps[np.searchsorted(values[order], points, side="right")]
        return found

    return float(np.abs(cumulative(x, x_weights) - cumulative(y, y_weights)).max())


def summarise(rows: pd.DataFrame, tilt: dict[str, float]) -> pd.DataFrame:
    """Give means over the seeds, with the spread of the distance."""
    grouped = rows.groupby("method", sort=False)
    table = grouped[["rows", "nfe", "mean", "std", "W1", "KS", "ESS", "different", "CPU seconds"]].mean()
    table.insert(5, "W1 +-", grouped["W1"].std())
    table.insert(3, "mean off by", table["mean"] - tilt["mean"])
    return table


def tilt_bars(rows: pd.DataFrame, tilt: dict[str, float], reduced: bool) -> list[Bar]:
    """Give the bars of the claim; a reduced run decides none."""
    means = rows.groupby("method")[["mean", "W1", "ESS"]].mean()
    count = rows["seed"].nunique()
    bars = []
    for method in ("fk", "fk, guided"):
        off = abs(means.loc[method, "mean"] - tilt["mean"])
        own = rows.loc[rows["method"] == method, "mean"].std() / np.sqrt(count)
        error = float(np.hypot(own, tilt["mean_error"]))
        bars.append(compare(f"{method}: standard errors off the tilted mean", off / error, 3.0, at_most=True))
    biased = [name for name in METHODS if name.startswith(("best", "cfg, mean"))]
    nearest = means.loc[biased, "W1"].min()
    ratio = means.loc["fk", "W1"] / nearest
    bars.append(compare("fk: W1 over that of the nearest of best of 4 and cfg", ratio, 0.5, at_most=True))
    gain = means.loc["fk, guided", "ESS"] / means.loc["reweighted", "ESS"]
    bars.append(compare("fk, guided: effective draws over those of reweighting", gain, 1.0, at_most=False))
    return [Bar(bar.name, None if reduced else bar.reached, bar.detail) for bar in bars]


def _draw(tilt: Tilt, drawn: dict[str, tuple[Floats, Floats]], path: Path, note: str) -> None:
    figure, axes = new_figure(columns=2, width=6.0, height=4.0)
    low, high = np.quantile(tilt.untilted, [0.001, 0.999])
    bins = np.linspace(low, high, 50)
    first, second = axes[0]
    first.hist(tilt.untilted, bins, density=True, color="#c9d1d9", label="model")
    first.hist(
        tilt.untilted, bins, weights=tilt.weights, density=True, color="#5b7083", alpha=0.6, label="tilted"
    )
    for name, (values, weights) in drawn.items():
        order = np.argsort(values)
        second.plot(values[order], np.cumsum(weights[order]), linewidth=1.2, label=name)
        if name in ("fk", "cfg, mean, scale 2", "best of 4"):
            first.hist(
                values, bins, weights=weights, density=True, histtype="step", linewidth=1.4, label=name
            )
    order = np.argsort(tilt.untilted)
    second.plot(tilt.untilted[order], np.cumsum(tilt.weights[order]), "k--", linewidth=1.6, label="tilted")
    first.set_ylabel("density")
    second.set_ylabel("share of molecules below")
    for panel in (first, second):
        panel.set_xlabel("QED")
        panel.legend(fontsize=7)
    figure.suptitle(f"Molecules tilted by exp(lambda QED){note}")
    save_figure(figure, path)


READING = """\
*mean off by* and *W1* (in standard deviations of QED in training) are distances to the tilted law as {n}
unguided draws give it, worth {ess:.0f} draws after reweighting: its own mean is {mean:.3f} +- {error:.3f},
that of the model without a tilt {plain:.3f}. *W1* of finite draws is never 0: that of *reweighted* is what
so many unguided draws reach. *ESS* counts weights alone; draws of particles share ancestors, so that they are
worth less than it says. *different* is the share of different strings among all drawn. Rewards are asked
about eight times on the way in *fk*, at no network evaluation; the network of *cbg* and *fk, guided* is small
and is not counted in *nfe* either. CPU seconds count everything."""


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Tilted molecules against exact reweighting.")
    parser.add_argument("--quick", action="store_true", help="a fifth of the training and of the draws")
    parser.add_argument("--check", action="store_true", help="compare with the bars; exit 1 if one is missed")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/molecules_tilt"))
    parser.add_argument("--model", type=Path, help="a MoleculeDiffusion file with logp among its properties")
    parser.add_argument("--train", type=int, help="molecules of the training set")
    parser.add_argument("--steps", type=int, help="training steps")
    parser.add_argument("--reference", type=int, help="unguided draws for the exact law")
    parser.add_argument("--draws", type=int, help="rows of each method")
    parser.add_argument("--nfe", type=int, default=NFE)
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--width", type=int, default=64)
    options = parser.parse_args(arguments)
    scale = 5 if options.quick else 1
    full = {"train": N_TRAIN, "steps": N_STEPS, "reference": N_REFERENCE, "draws": N_DRAWS}
    for name, value in full.items():
        if getattr(options, name) is None:
            setattr(options, name, value // scale // 4 * 4)
    options.seeds = options.seeds or (1 if options.quick else SEEDS)
    smaller = any(getattr(options, name) < value for name, value in full.items())
    options.reduced = smaller or options.seeds < SEEDS or options.nfe != NFE
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, draw by every method, write tables and picture, and give the exit code."""
    options = _parse(arguments)
    limit_threads()
    started = time.process_time()
    smiles, labels = training_set(options.train)
    if options.model is None:
        model = fit_model(smiles, labels, options.steps, width=options.width)
        model.save(_made(options.out) / "model.safetensors")
    else:
        model = MoleculeDiffusion.load(options.model)
    print(f"model after {time.process_time() - started:.0f} CPU s", flush=True)
    tilt = Tilt(model, labels, options.reference, options.draws, options.nfe)
    print(f"reference after {time.process_time() - started:.0f} CPU s: {tilt.mean:.3f}", flush=True)
    rows_file = RowFile(_made(options.out) / "rows.csv", ("method", "seed"), {"protocol": 1}, False)
    drawn: dict[str, tuple[Floats, Floats]] = {}
    for seed in range(options.seeds):
        for name, draw in tilt.methods().items():
            (strings, weights), cost = measure(lambda draw=draw, seed=seed: draw(seed))
            row = {"method": name, "seed": seed, "nfe": options.nfe * (2 if name.endswith("scale 2") else 1)}
            rows_file.add(row | tilt.row(strings, weights) | {"CPU seconds": cost.cpu_seconds})
            values = tilt.values(strings)
            drawn.setdefault(name, (values[np.isfinite(values)], weights[np.isfinite(values)]))
            print(name, seed, rows_file.frame().iloc[-1][["mean", "W1", "ESS"]].to_dict(), flush=True)
    return _report(options, tilt, rows_file.frame(), drawn, arguments)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _report(
    options: argparse.Namespace, tilt: Tilt, rows: pd.DataFrame,
    drawn: dict[str, tuple[Floats, Floats]], arguments: Sequence[str] | None,
) -> int:  # fmt: skip
    known = {"mean": tilt.mean, "mean_error": tilt.mean_error}
    table = summarise(rows, known)
    bars = tilt_bars(rows, known, options.reduced)
    write_table(options.out / "molecules_tilt.csv", table)
    note = " (reduced run)" if options.reduced else ""
    _draw(tilt, drawn, options.out / "molecules_tilt.png", note)
    reading = READING.format(
        n=options.reference, ess=tilt.ess, mean=tilt.mean, error=tilt.mean_error, plain=tilt.untilted.mean()
    )
    header = run_header(options.reduced, None if arguments is None else ["molecules_tilt.py", *arguments])
    sections = [
        ("Methods at equal cost", markdown_table(table)), ("Reading", reading),
        ("Picture", "![molecules_tilt.png](molecules_tilt.png)"), ("Bars", bars_text(bars)),
    ]  # fmt: skip
    write_markdown(options.out / "report.md", "Tilted molecules against exact reweighting", header, sections)
    return check_exit_code(bars) if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
