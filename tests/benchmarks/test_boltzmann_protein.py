"""The protein benchmark on five beads: references, a miniature run, the picture's data, and the bars."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from boltzmann_protein import (
    BOTH,
    COLD,
    COUNT,
    OURS,
    PLAIN,
    SETTINGS,
    STEPS,
    UNSCALED,
    Experiment,
    file_settings,
    protein_bars,
    summarise,
)
from boltzmann_protein_models import HOT, PATH, Reference, Setting, SystemValues, time_grid
from boltzmann_protein_pictures import draw_protein
from reporting import RowFile

from sciffusion.domains.boltzmann import ElasticNetwork

NAMES = ("linear", "true")
PROBED = "VCG-SMC, one probe"


def _network() -> ElasticNetwork:
    beads = 0.4 * torch.randn(5, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return ElasticNetwork(beads, cutoff=5.0)


def _setting(kind: str = "", temperature: float = 300.0) -> Setting:
    return Setting("mini", temperature, kind, distance=1.0, stiffness=300.0)


def test_grids_fall_to_the_noise_that_references_have() -> None:
    grid = time_grid(20)
    assert bool((grid[1:] < grid[:-1]).all())
    assert float(PATH.coefficients(grid[-1]).noise_to_signal) == pytest.approx(0.002)


@pytest.mark.parametrize("temperature", [300.0, HOT])
def test_references_without_restraint_are_boltzmann_laws(temperature: float) -> None:
    network = _network()
    reference = Reference(network, _setting("", temperature))
    hot, gamma = network.law(HOT).variances, HOT / temperature
    torch.testing.assert_close(reference.covariance.diagonal(), hot / gamma, rtol=0.01, atol=0.0)
    spread = 2.0 * math.pi * hot
    exact = 0.5 * float(((1.0 - gamma) * spread.log()).sum()) - 0.5 * len(hot) * math.log(gamma)
    assert reference.clean_log_normaliser == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize("kind", NAMES)
def test_exact_draws_are_measured_at_the_floor_and_others_above(kind: str) -> None:
    network, equal = _network(), torch.full((4000,), 1.0 / 4000, dtype=torch.float64)
    reference, free = Reference(network, _setting(kind)), Reference(network, _setting())
    floors = reference.floors(4000)
    assert floors["mean_error_floor"] == pytest.approx(1.0 / math.sqrt(4000), rel=0.4)
    wrong = network.from_modes(free.law.draw(4000, torch.Generator().manual_seed(0)))
    values = reference._distances(SystemValues.of(network, wrong, equal))
    assert values["mean_error"] > 5.0 * floors["mean_error_floor"]
    right = network.from_modes(reference.law.draw(4000, torch.Generator().manual_seed(0)))
    assert SystemValues.of(network, right, equal).mean_length == pytest.approx(
        reference.mean_length, abs=0.01
    )


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    experiment = Experiment(_network(), _setting("true"))
    rows = [row for name in (OURS, PROBED) for row in experiment.run(name, 400, 100, 2)[0]]
    return summarise(pd.DataFrame(rows)).droplevel(["setting", "count", "steps"])


@pytest.mark.parametrize("method", [OURS, PROBED])
def test_a_miniature_run_measures_what_it_says(table: pd.DataFrame, method: str) -> None:
    row = table.loc[method]
    assert row["nfe"] == 101
    assert row["length"] == pytest.approx(row["length_exact"], rel=0.03)
    assert row["mean_ratio"] < 4.0
    assert 0.5 < row["min_ess"] <= 1.0


def test_the_normaliser_of_a_miniature_run_is_right_without_probes(table: pd.DataFrame) -> None:
    assert abs(table.loc[OURS, "log_z_error"]) < 0.3
    # The noise of a probe enters the weights by its exponential, whose mean is above 1.
    assert table.loc[PROBED, "log_z_error"] > table.loc[OURS, "log_z_error"]


def test_a_narrow_restraint_needs_its_own_share() -> None:
    narrow = Setting("narrow", 300.0, "true", distance=1.0, stiffness=3000.0)
    found = Experiment(_network(), narrow).run(UNSCALED, 100, 60, 1)[0][0]
    assert not abs(float(found.get("log_z_error", math.nan))) < 1.0  # far off, or broken off


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    network, kept, references, rows = _network(), {}, {}, []
    for name, kind in ((COLD, ""), (BOTH, "true")):
        experiment = Experiment(network, replace(_setting(kind), name=name))
        references[name] = experiment.reference
        for method in ("PG", OURS):
            measured, values = experiment.run(method, 50, 20, 1)
            values[0].save(tmp_path / "values.npz")
            kept[name, method] = SystemValues.load(tmp_path / "values.npz")
            assert torch.equal(kept[name, method].covariance, values[0].covariance)
            rows += measured
    draw_protein(references, kept, pd.DataFrame(rows), tmp_path / "picture.png", "")
    assert (tmp_path / "picture.png").stat().st_size > 10_000


def test_a_full_run_does_not_go_on_from_a_reduced_one(tmp_path: Path) -> None:
    def rows(quick: bool, resume: bool) -> RowFile:
        return RowFile(tmp_path / "rows.csv", ("setting",), file_settings(quick), resume)

    rows(True, False).add({"setting": COLD})
    assert (COLD,) in rows(True, True)
    with pytest.raises(ValueError, match=r"resume: .*reduced"):
        rows(False, True)


def _planted(**changes: float) -> pd.DataFrame:
    base = {
        "mean_error": 0.04, "mean_error_floor": 0.03, "covariance_error": 0.2, "covariance_error_floor": 0.18,
        "length": 1.26, "length_exact": 1.262, "log_z_error": 0.03,
    }  # fmt: skip
    runs = [(OURS, base | changes), (PLAIN, base | {"covariance_error": 1.0})]
    return pd.DataFrame(
        {"setting": setting, "method": method, "count": COUNT, "steps": STEPS, "system": place} | values
        for setting in SETTINGS
        for method, values in runs
        for place in range(2)
    )


@pytest.mark.parametrize(
    ("changes", "missed"),
    [
        ({}, 0),
        ({"log_z_error": -0.2}, 5),
        ({"log_z_error": math.nan}, 5),
        ({"length": 1.2}, 5),
        ({"mean_error": 0.07}, 5),
        ({"covariance_error": 0.6}, 7),
    ],
)
def test_each_bar_can_be_missed(changes: dict[str, float], missed: int) -> None:
    bars = protein_bars(_planted(**changes), reduced=False)
    assert len(bars) == 22
    assert sum(bar.reached is False for bar in bars) == missed


def test_a_reduced_run_decides_nothing() -> None:
    assert {bar.reached for bar in protein_bars(_planted(), reduced=True)} == {None}
