"""The command that makes the published models of particles, in miniature."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from boltzmann_train import RECIPES, Recipe, main, quality_lines, training_seconds

from sciffusion import BoltzmannDiffusion
from sciffusion.datasets import make_dw4


def _tiny(self: Recipe, **_: Any) -> Any:
    return make_dw4(200, 2.0, columns=8, thinning=5, burn_in=100, cache=False, random_state=0)


@pytest.mark.filterwarnings("ignore:R-hat of the energy")
def test_a_model_and_its_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recipe, "data", _tiny)
    made, again = tmp_path / "made", tmp_path / "again"
    results = ["--results", str(tmp_path)]
    assert main(["double_well_4", "--quick", "--out", str(made), *results]) == 0
    file = made / "double_well_4.safetensors"
    model = BoltzmannDiffusion.load(file)
    assert (model.width, model.temperature_, model.checkpoint) == (8, 2.0, None)
    assert sorted(path.name for path in made.iterdir()) == [
        f"double_well_4.{ending}" for ending in ("json", "md", "safetensors")
    ]
    known = json.loads(file.with_suffix(".json").read_text())
    assert training_seconds(file) == known["cpu_seconds"] > 0.0
    assert np.isfinite(known["held_out"]).all()
    card = file.with_suffix(".md").read_text()
    for words in ("200 configurations", "temperature 2", "20 steps of 32", "reduced", "Apache-2.0",
                  "not measured yet", "boltzmann_train.py double_well_4"):  # fmt: skip
        assert words in card
    assert str(tmp_path) not in card
    given = ["--model", str(file), "--cpu-seconds", "123", "--out", str(again), *results]
    assert main(["double_well_4", *given]) == 0
    assert training_seconds(again / file.name) == 123.0
    assert "123 CPU seconds of training" in (again / "double_well_4.md").read_text()
    same = BoltzmannDiffusion.load(again / file.name)
    np.testing.assert_array_equal(
        same.sample(4, nfe=4, random_state=0).configurations,
        model.sample(4, nfe=4, random_state=0).configurations,
    )


def test_the_cost_of_a_resumed_fit_is_not_that_of_the_whole(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    assert math.isnan(training_seconds(file))
    file.with_suffix(".json").write_text(json.dumps({"cpu_seconds": 5.0, "resumed": True}))
    assert math.isnan(training_seconds(file))


def test_quality_is_read_from_results(tmp_path: Path) -> None:
    folder = tmp_path / "boltzmann_clusters"
    folder.mkdir()
    (folder / "pooled.csv").write_text(
        "task,method,w1_energy,mmd\nDW-4 a,VCG-SMC,0.031,0.0142\nDW-4 a,G-SMC,9,9\nLJ-13 a,VCG-SMC,8,8\n"
    )
    lines = quality_lines("double_well_4", tmp_path)
    assert "DW-4 a: w1_energy 0.031, mmd 0.0142" in lines[0]
    assert len(lines) == 2
    other = tmp_path / "boltzmann_peptide"
    other.mkdir()
    (other / "rows.csv").write_text("draws,js,delta_f\n600 K,0.1,2\nVCG-SMC,0.01,3.5\n")
    assert "VCG-SMC: js 0.01, delta_f 3.5" in quality_lines("alanine_dipeptide", tmp_path)[0]


def test_every_recipe_names_a_set_that_exists() -> None:
    from boltzmann_sets import SETS

    published = {"double_well_4", "lennard_jones_13", "alanine_dipeptide"}
    assert set(RECIPES) == published | {"double_well_4_energy"}
    assert {name for name, recipe in RECIPES.items() if recipe.published} == published
    assert all(recipe.particles is None or recipe.particles in SETS for recipe in RECIPES.values())
