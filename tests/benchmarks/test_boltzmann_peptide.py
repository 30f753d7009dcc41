"""The benchmark of alanine dipeptide: what is measured, flattened torsions, and a miniature of the whole."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from boltzmann_peptide import OURS, WEIGHTED, peptide_bars, run
from boltzmann_peptide_pictures import draw_pictures
from boltzmann_peptide_rows import KT_COLD, draw_model, energies_of, measure_draws, part, reweighted, squared
from boltzmann_peptide_sets import (
    QUICK,
    Draws,
    cooled,
    flattened,
    from_dataset,
    from_file,
    openmm_set,
    training_set,
)

from sciffusion.datasets import ParticleDataset
from sciffusion.datasets.alanine_dipeptide_system import CHIRAL_CENTRE, START
from sciffusion.domains.boltzmann import Configurations, hand_of, write_configurations
from sciffusion.domains.boltzmann.chirality import reflected

pytest.importorskip("openmm")

SIZES = replace(
    QUICK, training=96, training_columns=8, reference_columns=8, reference_frames=8, burn_in=100, draws=24,
    particles=12, openmm_frames=8,
)  # fmt: skip


class _Copies:
    """Stands in for a model: rows of the training set, every second one mirrored, with weights of energy."""

    def __init__(self, training: ParticleDataset) -> None:
        self.training = training
        self.asked: list[dict[str, Any]] = []

    def sample(self, n: int, **settings: Any) -> SimpleNamespace:
        self.asked.append(settings)
        x = torch.from_numpy(self.training.configurations[:n])
        x = torch.where(torch.arange(n)[:, None, None] % 2 == 0, reflected(x), x)
        log_weights = np.linspace(-1.0, 0.0, n)
        weighted = settings["control"] != "guidance"
        return SimpleNamespace(
            configurations=x.numpy(),
            log_weights=log_weights if weighted else np.zeros(n),
            ess=np.full((3, 2), 0.5) if weighted else np.empty((0, 2)),
            reflected_share=None,
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sets")


@pytest.fixture(scope="module")
def training(folder: Path) -> ParticleDataset:
    return training_set(SIZES, folder=folder)


@pytest.fixture(scope="module")
def reference(folder: Path) -> Draws:
    return flattened(SIZES, 0, folder)


def test_flattened_draws_carry_the_energy_without_the_bias(reference: Draws, folder: Path) -> None:
    np.testing.assert_allclose(reference.energies, energies_of(reference.configurations), atol=0.05)
    # The bias is a function of the two torsions alone: draws with both alike have weights alike.
    spread = reference.log_weights.std()
    assert spread > 0.1
    design = [np.ones(len(reference.phi))]
    for angle in (reference.phi, reference.psi):
        design += [wave(n * angle) for n in range(1, 7) for wave in (np.cos, np.sin)]
    matrix = np.stack(design, axis=1)
    fitted = matrix @ np.linalg.lstsq(matrix, reference.log_weights, rcond=None)[0]
    np.testing.assert_allclose(fitted, reference.log_weights, atol=2e-2)
    again = flattened(SIZES, 0, folder)
    np.testing.assert_array_equal(again.energies, reference.energies)


def test_importance_weights_are_those_of_the_two_temperatures(training: ParticleDataset) -> None:
    hot = from_dataset(training)
    weighted = reweighted(hot)
    slope = np.polyfit(hot.energies, weighted.log_weights, 1)[0]
    assert slope == pytest.approx(-(1.0 / KT_COLD - 0.5 / KT_COLD), rel=1e-9)


def test_a_sample_of_the_reference_is_nearer_than_another_law(reference: Draws) -> None:
    same = measure_draws(reference, reference)
    assert same["js"] == pytest.approx(0.0, abs=1e-12)
    assert same["energy_w1"] == pytest.approx(0.0, abs=1e-9)
    moved = Draws(
        reflected(reference.configurations), reference.energies + 5.0, reference.log_weights,
        reference.groups, 1.0,
    )  # fmt: skip
    other = measure_draws(moved, reference)
    assert other["js"] > 0.1
    assert other["energy_w1"] == pytest.approx(5.0, rel=1e-6)


def test_parts_are_drawn_by_weight(reference: Draws) -> None:
    heavy = np.where(np.arange(len(reference.energies)) == 5, 0.0, -np.inf)
    found = part(reference.with_weights(heavy), 7)
    assert (found.energies == reference.energies[5]).all()
    assert (found.log_weights == 0.0).all()


def test_the_squared_map_of_equal_bins_is_the_map() -> None:
    x = torch.from_numpy(START).float()[None]
    one = Draws(x, energies_of(x), np.zeros(1), np.zeros(1, dtype=np.int64), 0.0)
    # A single smoothed bump: squared it is narrower, which a divergence sees.
    assert 0.0 < squared(one, one) < math.log(2.0)


def test_dynamics_cools_and_leaves_out_what_has_burst(training: ParticleDataset) -> None:
    hot = part(from_dataset(training), 16)
    broken = hot.configurations.clone()
    broken[3, 4] = broken[3, 8]
    start = Draws(broken, hot.energies, np.arange(16.0), hot.groups, 0.0)
    found = cooled(start, 0.1)
    assert 14 <= len(found.energies) <= 16
    assert found.energies.mean() < hot.energies.mean() - 5.0
    assert set(found.log_weights) <= set(range(16))
    assert found.cpu_seconds > 0.0


def test_the_whole_in_miniature(training: ParticleDataset, folder: Path, tmp_path: Path) -> None:
    model = _Copies(training)
    rows, at_home, sets = run(model, from_dataset(training), SIZES, folder)
    assert {OURS, WEIGHTED, "pure guidance", "G-SMC", "600 K", "300 K, OpenMM"} <= set(rows.index)
    assert rows.loc["300 K", "js"] == pytest.approx(0.0, abs=1e-12)
    assert rows.loc[OURS, "mirrored"] == pytest.approx(0.5)
    assert rows.loc[OURS, "least_ess"] == pytest.approx(0.5)
    assert (hand_of(sets[OURS].configurations, CHIRAL_CENTRE) == 1).all()
    assert (sets["pure guidance"].log_weights == 0.0).all()
    assert model.asked[-1]["temperature"] == 600.0
    assert at_home.shape[0] == 2
    draw_pictures(sets, tmp_path)
    for name in ("ramachandran.png", "profiles.png"):
        assert (tmp_path / name).stat().st_size > 10_000


def test_draws_without_weights_count_alike(training: ParticleDataset) -> None:
    found = draw_model(_Copies(training), "VCG-SMC", SIZES)
    assert np.ptp(found.draws.log_weights) == pytest.approx(1.0)
    assert math.isnan(draw_model(_Copies(training), "pure guidance", SIZES).least_ess)


def test_a_file_stands_in_for_the_training_set(training: ParticleDataset, tmp_path: Path) -> None:
    path = tmp_path / "hot.npz"
    known = Configurations(
        configurations=training.configurations, energies=training.energies, temperature=600.0
    )
    write_configurations(path, known)
    found = from_file(path)
    np.testing.assert_array_equal(found.energies, training.energies)
    assert len(set(found.groups)) == len(training)
    write_configurations(path, replace(known, temperature=300.0))
    with pytest.raises(ValueError, match="at 600 K, found temperature 300"):
        from_file(path)


def test_openmm_chains_are_at_300_kelvin(folder: Path) -> None:
    found = openmm_set(SIZES, folder=folder)
    assert len(found.energies) == SIZES.openmm_columns * SIZES.openmm_frames
    assert set(found.groups) == set(range(SIZES.openmm_columns))


def test_the_bar_can_be_missed() -> None:
    rows = pd.DataFrame({"js": {OURS: 0.2, WEIGHTED: 0.1}})
    assert peptide_bars(rows, reduced=False)[0].reached is False
    assert peptide_bars(rows.rename(index={OURS: WEIGHTED, WEIGHTED: OURS}), reduced=False)[0].reached is True
    assert peptide_bars(rows, reduced=True)[0].reached is None
