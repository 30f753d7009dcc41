"""The benchmark of the clusters: exact free energies, pooling, bars, and a miniature of the whole."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boltzmann_clusters
import numpy as np
import pandas as pd
import pytest
import torch
from boltzmann_clusters import main
from boltzmann_clusters_free_energy import (
    annealing_constant,
    integrate_energies,
    log_partition,
    tilting_constant,
)
from boltzmann_clusters_report import FLOOR, PUBLISHED, cluster_bars, reading
from boltzmann_clusters_rows import (
    METHODS,
    TASKS,
    Plan,
    SystemDraws,
    draw_systems,
    measure,
    pooled,
    trap,
    weights_row,
)
from boltzmann_sets import SETS

from sciffusion.datasets import make_dw4
from sciffusion.domains.boltzmann import BoltzmannReference

LADDER = np.array([0.4, 0.47, 0.55, 0.65, 0.78, 0.95, 1.2, 1.5, 2.0])


class _Springs:
    """Energy k / 2 sum |x|^2 of centred positions: everything about it is known."""

    def __init__(self, n: int, dimensions: int, strength: float) -> None:
        self.n, self.dimensions, self.strength = n, dimensions, strength

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return 0.5 * self.strength * (x - x.mean(1, keepdim=True)).square().sum((1, 2))

    def log_partition(self, temperature: float) -> float:
        dof = (self.n - 1) * self.dimensions
        return 0.5 * dof * math.log(2.0 * math.pi * temperature / self.strength)


def test_partition_functions_of_springs() -> None:
    springs = _Springs(4, 2, 0.7)
    exact = log_partition(springs, 2.0, math.sqrt(2.0 / 0.7), 1000)
    assert exact.value == pytest.approx(springs.log_partition(2.0), rel=1e-12)
    assert exact.error < 1e-9
    other = log_partition(springs, 2.0, 2.0, 20_000)
    assert 0.0 < other.error < 0.02
    assert abs(other.value - springs.log_partition(2.0)) < 4.0 * other.error


def test_energies_of_springs_are_integrated_along_the_ladder() -> None:
    springs = _Springs(13, 3, 1.0)
    found = integrate_energies(LADDER, 18.0 * LADDER, 2.0, 0.4)
    expected = springs.log_partition(2.0) - springs.log_partition(0.4)
    assert found == pytest.approx(expected, rel=1e-3)


def test_the_constant_of_annealing_is_that_of_springs(tmp_path: Path) -> None:
    springs = _Springs(13, 3, 1.0)
    training = SimpleNamespace(energy=springs, temperature=1.0, dimensions=3)
    ladder = {"temperatures": LADDER, "mean_energies": 18.0 * LADDER}
    runs: Any = [SimpleNamespace(temperature=0.4, diagnostics=ladder)] * 2
    known = annealing_constant(training, runs, tmp_path, quick=True)  # type: ignore[arg-type]
    expected = springs.log_partition(0.4) - 2.5 * springs.log_partition(1.0)
    assert known.value == pytest.approx(expected, abs=0.05)
    assert known.error < 0.05


def test_the_constant_of_tilting_is_that_of_springs() -> None:
    x = np.random.default_rng(0).standard_normal((20_000, 4, 2))
    few: Any = SimpleNamespace(configurations=x, kT=2.0, diagnostics={"effective_size": 20_000})
    known = tilting_constant(few, trap(0.5, 4, 2).value)
    assert abs(known.value + 3.0 * math.log(1.25)) < 4.0 * known.error
    assert known.error < 0.01


def test_derivatives_of_the_trap() -> None:
    x = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = (x - x.mean(1, keepdim=True)).requires_grad_()
    spring = trap(0.8, 4, 2)
    (slope,) = torch.autograd.grad(spring.value(x).sum(), x)
    torch.testing.assert_close(spring.gradient(x.detach()), slope)
    assert spring.laplacian(x).tolist() == pytest.approx([0.8 * 6] * 3)  # of the 6 free coordinates


def _system(energy_shift: float, log_weights: np.ndarray, seed: int) -> SystemDraws:
    x = np.random.default_rng(seed).standard_normal((len(log_weights), 4, 2)).astype(np.float32)
    ones = np.ones(1)
    ess = np.full((3, 1), 0.5)
    return SystemDraws(x + energy_shift, log_weights, ess, 0.5 * ones, 2.0 * ones, ones * seed, 1.0, 0.0)


def test_systems_count_alike_whatever_their_weights_sum_to() -> None:
    systems = [_system(0.0, np.log([1.0, 3.0]), 1), _system(0.0, np.full(8, 50.0), 2)]
    together = pooled(systems)
    weights = np.exp(together.log_weights)
    np.testing.assert_allclose(weights, [0.25, 0.75, *[0.125] * 8])
    row = weights_row(systems)
    assert (row["log_normaliser"], row["cpu_seconds"], row["cpu_ms"]) == (1.5, 2.0, 200.0)
    assert row["log_normaliser_error"] == pytest.approx(0.5)


def test_measures_of_a_system_and_of_all() -> None:
    x = np.random.default_rng(5).standard_normal((300, 4, 2))
    reference = BoltzmannReference(x, kT=1.0, energy=lambda y: y.square().sum((1, 2)))
    systems = [_system(0.0, np.zeros(50), seed) for seed in (1, 2, 3)]
    found = measure(systems, reference)
    each = [reference.compare(one.configurations)["delta_nll"] for one in systems]
    assert found.loc["delta_nll", "mean"] == pytest.approx(np.mean(each))
    assert found.loc["delta_nll", "deviation"] == pytest.approx(np.std(each, ddof=1))
    assert found.loc["delta_nll", "pooled"] == pytest.approx(np.mean(each))  # of equal sizes
    assert found.loc["n", "pooled"] == 150


class _Counting:
    """A model that counts how often it is asked, and has one broken particle."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def sample(self, n: int, **settings: Any) -> SimpleNamespace:
        self.asked.append(settings)
        x = np.random.default_rng(settings["random_state"]).standard_normal((n, 4, 2))
        x[0] = np.nan
        return SimpleNamespace(
            configurations=x, log_weights=np.zeros(n), ess=np.full((2, 1), 0.25), unique_ancestors=n // 2,
            resamplings=np.array([3]), log_normaliser=np.array([1.5]),
        )  # fmt: skip


def test_draws_are_kept_by_model_and_broken_particles_counted(tmp_path: Path) -> None:
    model, plan = _Counting(), Plan(particles=10, most_systems=2)
    task = TASKS["dw4_tilting"]
    first, again = (
        draw_systems(model, "a", task, "VCG-SMC", plan, tmp_path, tell=lambda _: None) for _ in range(2)
    )
    assert len(model.asked) == 2
    np.testing.assert_array_equal(first[1].configurations, again[1].configurations)
    assert first[0].lost == pytest.approx(0.1)
    assert len(first[0].configurations) == len(first[0].log_weights) == 9
    assert first[0].ancestors.tolist() == [0.5]
    assert {one["random_state"] for one in model.asked} == {0, 1}
    assert model.asked[0]["temperature"] == 2.0
    assert model.asked[0]["potential"].laplacian(torch.zeros(1, 4, 2)).item() == 3.0
    draw_systems(model, "b", task, "VCG-SMC", plan, tmp_path, tell=lambda _: None)
    assert len(model.asked) == 4


def _planted(**changes: float) -> pd.DataFrame:
    rows = []
    for stem, values in (("dw4_annealing", (0.04, 0.4, 0.02)), ("lj13_annealing", (0.3, 3.0, 0.1))):
        ours, plain, mmd = values
        ours, plain, mmd = changes.get("ours", ours), changes.get("plain", plain), changes.get("mmd", mmd)
        rows += [
            {"stem": stem, "method": "VCG-SMC", "w1_energy": ours, "mmd": mmd, "cpu_seconds": 100.0,
             "lost": changes.get("lost", 0.0)},
            {"stem": stem, "method": "G-SMC", "w1_energy": plain, "mmd": 0.5, "cpu_seconds": 50.0},
            {"stem": stem, "method": FLOOR, "w1_energy": changes.get("floor", 0.01)},
        ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("changes", "fit", "missed"),
    [
        ({}, 500.0, 0),
        ({"ours": 0.5}, 500.0, 3),
        ({"ours": 0.5, "plain": 3.0, "floor": 0.4}, 500.0, 0),
        ({"plain": 0.1}, 500.0, 2),
        ({"mmd": 0.05}, 500.0, 1),
        ({}, 3000.0, 1),
        ({}, 4000.0, 2),
        ({"lost": 0.01}, 500.0, 2),
    ],
)
def test_each_bar_can_be_missed(changes: dict[str, float], fit: float, missed: int) -> None:
    training = {"dw4": fit, "lj13": fit}
    bars = cluster_bars(_planted(**changes), training, reduced=False)
    assert len(bars) == 10
    assert sum(bar.reached is False for bar in bars) == missed
    assert {bar.reached for bar in cluster_bars(_planted(**changes), training, reduced=True)} == {None}


def test_an_unknown_cost_is_not_reached_silently() -> None:
    bars = cluster_bars(_planted(), {}, reduced=False)
    assert [bar.reached for bar in bars].count(None) == 2
    assert [bar.reached for bar in cluster_bars(_planted()[:3], {}, reduced=False)].count(None) == 2


def test_the_reading_says_what_the_numbers_say() -> None:
    more = {"log_normaliser": 1.5, "known": 1.25, "known_error": 0.1, "min_ess": 0.8, "ancestors": 0.3}
    rows = _planted().assign(task=_planted()["stem"], log_normaliser_error=0.2, cpu_ms=4.0, **more)
    text = reading(rows)
    assert "W1(E) of VCG-SMC is 0.04, 0.01 for the floor, and 10.0 times as large for G-SMC" in text
    assert "+0.250 from the known one (errors 0.2 and 0.1)" in text


def test_every_published_row_names_a_task_and_a_method() -> None:
    assert set(PUBLISHED) == set(TASKS)
    for rows in PUBLISHED.values():
        assert set(rows) <= set(METHODS)
        assert {len(numbers) for numbers in rows.values()} == {5}


class _Tiny:
    """Short chains in place of a set of the benchmarks."""

    def __init__(self, name: str) -> None:
        self.wanted = SETS[name]
        self.load = lru_cache(self._load)

    def _load(self, seed: int = 0, **_: Any) -> Any:
        return make_dw4(
            300, self.wanted.temperature, oscillator=self.wanted.oscillator, columns=8, thinning=5,
            burn_in=200, cache=False, random_state=seed,
        )  # fmt: skip


@pytest.mark.filterwarnings("ignore:R-hat of the energy")
def test_the_whole_in_miniature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = {name: _Tiny(name) for name in SETS if name.startswith("dw4")}
    monkeypatch.setattr(boltzmann_clusters, "SETS", tiny)
    few = replace(TASKS["dw4_tilting"], systems={"VCG-SMC": 5})
    tasks = {"dw4_annealing": TASKS["dw4_annealing"], "dw4_tilting": few}
    monkeypatch.setattr(boltzmann_clusters, "TASKS", tasks)
    monkeypatch.setattr(boltzmann_clusters, "QUICK", Plan(particles=20, most_systems=2, nfe=6))
    command = ["--quick", "--check", "--only", "dw4", "--out", str(tmp_path)]
    assert main(command) == 0
    table = pd.read_csv(tmp_path / "pooled.csv")
    rows = table[table["stem"] == "dw4_annealing"].set_index("method")
    assert list(rows.index) == [*METHODS, FLOOR]
    assert rows.loc["VCG-SMC", "n"] == 40
    assert "log densities" in rows.loc["ECG-SMC", "note"]
    assert math.isnan(rows.loc["pure guidance", "min_ess"])
    assert 0.0 < rows.loc["VCG-SMC", "min_ess"] <= 1.0
    assert rows.loc["G-SMC, equal time", "n"] >= 20  # one system, of no fewer particles than the others
    # Known without the model: log Z(1) - 2 log Z(2) of four particles, by 10^5 and more draws.
    assert rows.loc["VCG-SMC", "known"] == pytest.approx(-8.4, abs=0.6)
    text = (tmp_path / "report.md").read_text()
    assert "REDUCED" in text
    assert "not comparable with the paper" in text
    assert ".031 (.007)" in text
    for name in ("dw4_annealing.png", "dw4_tilting.png"):
        assert (tmp_path / name).stat().st_size > 10_000
    drawn = {path: path.stat().st_mtime_ns for path in (tmp_path / "draws").rglob("*.npz")}
    monkeypatch.setattr(boltzmann_clusters, "draw_task", lambda task, *_: f"{task.stem}.png")
    assert main(command) == 0
    assert drawn == {path: path.stat().st_mtime_ns for path in (tmp_path / "draws").rglob("*.npz")}
