"""The reference sets: what is measured of two seeds, a miniature run, and bars that can be missed."""

from __future__ import annotations

import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from boltzmann_references import (
    EARLIER,
    energies_by_temperature,
    floors,
    pair_distances,
    reference_bars,
    summary,
)
from boltzmann_sets import SETS

from sciffusion.datasets import ParticleDataset, make_dw4

few_states = pytest.mark.filterwarnings("ignore:R-hat of the energy")


def test_distances_are_those_of_distinct_pairs() -> None:
    x = np.random.default_rng(0).standard_normal((2, 4, 3)).astype(np.float32)
    expected = [np.linalg.norm(item[i] - item[j]) for item in x for i, j in combinations(range(4), 2)]
    np.testing.assert_allclose(pair_distances(x), expected, rtol=1e-6)


@few_states
def test_a_quick_set_is_found_again(tmp_path: Path) -> None:
    wanted = SETS["dw4 T=2, trap .5"]
    first, again = (wanted.load(3, quick=True, folder=tmp_path) for _ in range(2))
    assert len(first) == 2000
    assert (first.temperature, first.energy.oscillator) == (2.0, 0.5)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(first.energies, again.energies)
    assert first.diagnostics["cpu_seconds"] == again.diagnostics["cpu_seconds"]


def _short(seed: int, columns: int = 16) -> ParticleDataset:
    return make_dw4(400, 1.0, columns=columns, thinning=10, burn_in=100, cache=False, random_state=seed)


@few_states
def test_tables_hold_what_the_sets_hold() -> None:
    runs = [_short(seed) for seed in (0, 1)]
    table = summary({"dw4 T=1": runs})
    for seed, run in enumerate(runs):
        row = table.loc[("dw4 T=1", seed)]
        assert row["mean E"] == pytest.approx(run.energies.mean())
        assert row["worst R-hat"] == run.diagnostics["r_hat"].max()
        assert row["error"] == pytest.approx(run.energies.std() / run.diagnostics["effective_size"] ** 0.5)
    distances = floors({"dw4 T=1": runs})
    sorted_apart = np.abs(np.sort(runs[0].energies) - np.sort(runs[1].energies)).mean()
    assert distances.loc["dw4 T=1", "W1 E"] == pytest.approx(sorted_apart)
    assert distances.loc["dw4 T=1", "draws"] == 200
    assert floors({"same": [runs[0], runs[0]]}).loc["same", "W1 RDF"] == 0.0


@few_states
def test_ladders_are_compared_rung_by_rung(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [_short(seed) for seed in (0, 1)]
    monkeypatch.setattr("boltzmann_references.LADDERS", {"dw4": "dw4 T=1"})
    table = energies_by_temperature({"dw4 T=1": runs})
    assert list(table.index) == [("dw4", 1.0), ("dw4", 1.5), ("dw4", 2.0)]
    mean = np.mean([run.diagnostics["mean_energies"][1] for run in runs])
    earlier, spread = EARLIER["dw4"][1.5]
    assert table.loc[("dw4", 1.5), "difference / spread"] == pytest.approx((mean - earlier) / spread)


def _planted(**changes: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    values = {"hat": 1.01, "rate": 0.3, "apart": 0.1, "difference": 0.1} | changes
    runs = pd.DataFrame(
        {
            "set": ["a", "a", "b", "b"],
            "seed": [0, 1, 0, 1],
            "mean E": [5.0, 5.0 + values["apart"], 9.0, 9.0],
            "error": [0.03, 0.04, 1.0, 1.0],
            "worst R-hat": [1.0, values["hat"], 1.0, 1.0],
            "rarest exchange": [values["rate"], 0.5, math.nan, math.nan],
        }
    ).set_index(["set", "seed"])
    return runs, pd.DataFrame({"difference / spread": [0.0, -values["difference"]]})


@pytest.mark.parametrize(
    ("changes", "missed"),
    [({}, 0), ({"hat": 1.03}, 1), ({"rate": 0.1}, 1), ({"apart": 0.21}, 1), ({"difference": 0.2}, 1)],
)
def test_each_bar_can_be_missed(changes: dict[str, float], missed: int) -> None:
    bars = reference_bars(*_planted(**changes), reduced=False)
    assert len(bars) == 4
    assert sum(bar.reached is False for bar in bars) == missed
    assert {bar.reached for bar in reference_bars(*_planted(**changes), reduced=True)} == {None}
