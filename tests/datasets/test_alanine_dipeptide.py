"""`make_alanine_dipeptide`: the molecule, the law of both engines, the cache and what is refused."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sciffusion.datasets import (
    ParticleDataset,
    alanine_dipeptide_chains,
    make_alanine_dipeptide,
    particle_card,
)
from sciffusion.datasets import alanine_dipeptide as module
from sciffusion.datasets.alanine_dipeptide_system import (
    ATOM_NAMES,
    ATOM_TYPES,
    BONDS,
    CHIRAL_CENTRE,
    PHI,
    PSI,
    START,
    alanine_dipeptide_system,
    raised_masses,
)
from sciffusion.datasets.chain_diagnostics import autocorrelation_time, split_r_hat
from sciffusion.datasets.molecular_mechanics import MolecularMechanics
from sciffusion.datasets.molecular_mechanics_dynamics import BOLTZMANN, Replicas
from sciffusion.domains.boltzmann import dihedral_angles

pytest.importorskip("openmm")

SHORT: dict[str, Any] = {"columns": 4, "thinning": 5, "burn_in": 20, "cache": False, "random_state": 0}


@pytest.fixture(scope="module")
def small() -> ParticleDataset:
    return make_alanine_dipeptide(30, temperature=300.0, **SHORT)


def _replicas(temperatures: tuple[float, ...], columns: int, swap_every: int = 10) -> Replicas:
    mechanics = MolecularMechanics.from_openmm(alanine_dipeptide_system())
    return Replicas(
        mechanics, torch.from_numpy(START), temperatures=temperatures, columns=columns,
        masses=torch.from_numpy(raised_masses(mechanics.masses.double().numpy(), 4.0)), step=0.002,
        friction=20.0, swap_every=swap_every, generator=torch.Generator().manual_seed(0),
    )  # fmt: skip


def test_the_molecule_is_what_its_tables_say() -> None:
    lengths = np.linalg.norm(START[BONDS[:, 0]] - START[BONDS[:, 1]], axis=1)
    hydrogen = np.array([[ATOM_NAMES[place].split("-")[1][0] == "H" for place in pair] for pair in BONDS])
    assert (np.abs(lengths[hydrogen.any(axis=1)] - 0.105) < 0.005).all()
    heavy = lengths[~hydrogen.any(axis=1)]
    assert (heavy > 0.12).all()
    assert (heavy < 0.157).all()
    apart = np.linalg.norm(START[:, None] - START[None], axis=-1)
    assert ((apart > 0.0) & (apart < 0.16)).sum() == 2 * len(BONDS)  # no other two atoms are as near
    assert [ATOM_NAMES[place] for place in PHI] == ["ACE-C", "ALA-N", "ALA-CA", "ALA-C"]
    assert [ATOM_NAMES[place] for place in PSI] == ["ALA-N", "ALA-CA", "ALA-C", "NME-N"]
    centre, *around = START[list(CHIRAL_CENTRE)]
    assert np.linalg.det(np.array(around) - centre) > 0.0
    # Three methyl groups share types; all else differs.
    assert sorted(np.bincount(ATOM_TYPES)) == [1] * 13 + [3, 3, 3]


def test_the_start_is_a_minimum() -> None:
    mechanics = MolecularMechanics.from_openmm(alanine_dipeptide_system()).double()
    energy, forces = mechanics.energy_and_forces(torch.from_numpy(START)[None])
    assert float(energy) == pytest.approx(-133.39, abs=0.05)
    assert float(forces.abs().max()) < 40.0  # coordinates are rounded to 1e-4 nm


def test_the_set_says_what_it_holds(small: ParticleDataset) -> None:
    assert small.configurations.shape == small.forces.shape == (30, 22, 3)
    assert (small.units, small.length_unit, small.temperature) == ("kJ/mol", "nm", 300.0)
    assert small.kT == pytest.approx(2.494, abs=1e-3)
    np.testing.assert_allclose(small.configurations.mean(axis=1), 0.0, atol=1e-6)
    assert small.diagnostics["chain"].shape == (30,)
    assert set(small.diagnostics["chain"]) == set(range(4))
    ladder = small.diagnostics["temperatures"]
    assert (ladder[0], ladder[-1]) == pytest.approx((300.0, 600.0))
    assert (ladder[1:] / ladder[:-1] < 1.2).all()
    text = str(small.card)
    for word in ("300 K", "step 2 fs", "kJ/mol", "Amber99SB-ILDN", "nm", "OpenMM"):
        assert word in text
    system = particle_card("alanine_dipeptide")
    assert replace(small.card, sampling=system.sampling, citation=system.citation) == system


def test_chains_of_openmm_share_no_randomness_between_seeds() -> None:
    sizes = {"columns": 2, "thinning": 2, "burn_in": 10, "shuffle": False, "cache": False, "engine": "openmm"}
    first, second = (make_alanine_dipeptide(4, 600.0, random_state=seed, **sizes) for seed in (0, 1))
    for one in first.configurations:
        for other in second.configurations:
            assert np.abs(one - other).max() > 1e-6


@pytest.mark.parametrize("engine", ["torch", "openmm"])
def test_energies_and_forces_belong_to_the_configurations(engine: str) -> None:
    found = make_alanine_dipeptide(9, temperature=600.0, engine=engine, **SHORT | {"thinning": 10})  # type: ignore[arg-type]
    x = torch.from_numpy(found.configurations).double().requires_grad_()
    energies = found.energy(x)
    (gradient,) = torch.autograd.grad(energies.sum(), x)
    np.testing.assert_allclose(found.energies, energies.detach().numpy(), atol=0.05)
    np.testing.assert_allclose(found.forces, -gradient.numpy(), atol=8.0, rtol=2e-3)


def test_velocities_and_bonds_reach_their_temperature() -> None:
    replicas = _replicas((600.0,), 48)
    replicas.run(150)
    bonds, energy = replicas.mechanics.terms[0], []
    kinetic = []
    for _ in range(25):
        replicas.run(10)
        kinetic.append(float((replicas.velocities.square() / replicas.thermal.square()).mean()))
        with torch.inference_mode():
            energy.append(float(bonds(replicas.positions, False)[0].mean()))
    assert np.mean(kinetic) == pytest.approx(1.0, abs=0.02)
    # 21 stiff bonds, half a kT each; anharmonic coupling to the rest adds a little.
    assert np.mean(energy) / (0.5 * 21 * BOLTZMANN * 600.0) == pytest.approx(1.055, abs=0.05)


def test_exchange_moves_configurations_and_keeps_what_belongs_to_them() -> None:
    replicas = _replicas((500.0, 520.0, 540.0), 6, swap_every=1)
    replicas.run(40)
    # Nearly equal temperatures exchange nearly always.
    assert (replicas.swaps.rates() > 0.6).all()
    energies, gradient = replicas.mechanics.rows(replicas.positions, gradient=True)
    torch.testing.assert_close(replicas.energies, energies, rtol=1e-4, atol=1e-2)
    assert gradient is not None
    torch.testing.assert_close(replicas.gradient, gradient, rtol=1e-3, atol=1.0)


def test_exchanges_are_accepted_by_energies_over_kt_and_keep_thermal_velocities() -> None:
    replicas = _replicas((300.0, 600.0), 64)
    assert pytest.approx(1.380649e-23 * 6.02214076e23 / 1000.0, rel=1e-9) == BOLTZMANN
    gap = float(np.log(2.0)) / (1.0 / (BOLTZMANN * 300.0) - 1.0 / (BOLTZMANN * 600.0))
    accepted = 0
    for _ in range(8):
        cold = torch.zeros(64)
        replicas.energies, replicas._parity = torch.cat([cold, cold + gap]), 0
        thermal, places = replicas.velocities / replicas.thermal, replicas.positions + torch.arange(128.0)
        replicas.positions = places
        replicas._exchange()
        swapped = replicas.energies[:64] > 0.5 * gap
        accepted += int(swapped.sum())
        other = torch.arange(128).roll(64)
        order = torch.where(swapped.repeat(2), other, torch.arange(128))
        torch.testing.assert_close(replicas.velocities / replicas.thermal, thermal[..., order])
        torch.testing.assert_close(replicas.positions, places[..., order])
    assert abs(accepted / 512 - 0.5) < 4.0 * 0.5 / np.sqrt(512)  # a half, for exponents of log 2


def test_rows_know_their_chain_and_what_their_mean_is_worth(monkeypatch: pytest.MonkeyPatch) -> None:
    frames, columns = 40, 3
    draw = np.random.default_rng(0)
    x = draw.normal(size=(frames, columns, 22, 3))
    x[..., 0, 0] = np.arange(columns)
    energies = draw.normal(size=(1, frames, columns)).cumsum(axis=1)
    made = {
        "configurations": x.astype(np.float32), "forces": x.astype(np.float32), "energies": energies[0],
        "all_energies": energies, "swap_rates": np.empty(0),
    }  # fmt: skip
    monkeypatch.setattr(alanine_dipeptide_chains, "torch_chains", lambda *_, **__: made)
    given = SHORT | {"columns": columns}
    found = make_alanine_dipeptide(frames * columns, 600.0, **given)
    np.testing.assert_array_equal(found.diagnostics["chain"], found.configurations[:, 0, 0])
    rows = make_alanine_dipeptide(frames * columns, 600.0, **given | {"shuffle": False})
    np.testing.assert_array_equal(rows.diagnostics["chain"], rows.configurations[:, 0, 0])
    states = frames * columns
    independent = states / autocorrelation_time(energies[0])
    assert found.diagnostics["effective_size"] == pytest.approx(independent)
    phi = dihedral_angles(torch.from_numpy(made["configurations"]), PHI).numpy()
    assert found.diagnostics["r_hat_phi"] == pytest.approx(split_r_hat((phi > 0.0).astype(np.float64)))
    # Ten of 24 states that are as good as independent are worth ten.
    made |= {name: made[name][:8] for name in ("configurations", "forces", "energies")}
    made["all_energies"] = np.ones((1, 8, columns))
    few = make_alanine_dipeptide(10, 600.0, **given)
    assert few.diagnostics["effective_size"] == pytest.approx(10.0)
    np.testing.assert_array_equal(few.diagnostics["chain"], few.configurations[:, 0, 0])


def test_the_energy_has_gradients_even_if_it_was_first_asked_without() -> None:
    energy, x = module._Energy(), torch.from_numpy(START)[None]
    with torch.inference_mode():
        expected = energy(x).clone()
    leaf = x.clone().requires_grad_()
    found = energy(leaf)
    torch.testing.assert_close(found.detach(), expected)
    (gradient,) = torch.autograd.grad(found.sum(), leaf)
    assert float(gradient.abs().max()) > 0.0
    with pytest.raises(TypeError, match="a Tensor, got ndarray"):
        energy(START[None])  # type: ignore[arg-type]


def test_the_cache_is_keyed_by_the_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = SHORT | {"cache": True, "folder": tmp_path}
    first = make_alanine_dipeptide(8, **short)

    def never(*_: object) -> None:
        raise AssertionError("simulated again")

    monkeypatch.setattr(module, "_simulate", never)
    again = make_alanine_dipeptide(8, **short)
    np.testing.assert_array_equal(first.configurations, again.configurations)
    assert again.diagnostics["cpu_seconds"] == first.diagnostics["cpu_seconds"]
    for change in (
        {"temperature": 310.0},
        {"random_state": 1},
        {"step": 1.0},
        {"engine": "openmm"},
        {"n": 9},
    ):
        with pytest.raises(AssertionError, match="simulated again"):
            make_alanine_dipeptide(**{"n": 8} | short | change)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n": 0}, "n is 0, expected an integer >= 1"),
        ({"temperature": -300.0}, "temperature is -300"),
        ({"step": 0.0}, "step is 0"),
        ({"columns": 1}, "columns is 1, expected an integer >= 2"),
        ({"engine": "gromacs"}, "expected 'torch' or 'openmm'"),
        ({"burn_in": 1.5}, "burn_in is 1.5"),
        ({"n": 8.5}, "n is 8.5"),
        ({"random_state": -1}, "random_state is -1, expected an integer from 0"),
    ],
)
def test_what_cannot_be_used_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make_alanine_dipeptide(**{"n": 8} | SHORT | change)


@pytest.mark.parametrize("engine", ["torch", "openmm"])
def test_too_long_a_step_is_named(engine: str) -> None:
    with pytest.raises(FloatingPointError, match=r"step 30\.0 fs is too long"):
        make_alanine_dipeptide(8, **SHORT | {"step": 30.0, "thinning": 100, "engine": engine})


@pytest.mark.parametrize("name", ["temperature", "step", "friction", "hydrogen_mass"])
def test_what_is_no_number_is_named(name: str) -> None:
    with pytest.raises(TypeError, match=f"{name} is None, expected a number"):
        make_alanine_dipeptide(8, **SHORT | {name: None})


def test_without_openmm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openmm", None)
    with pytest.raises(ImportError, match=r"sciffusion\[boltzmann\]"):
        make_alanine_dipeptide(8, **SHORT)


def test_importing_the_data_sets_loads_no_openmm() -> None:
    code = "import sys, sciffusion.datasets; print('openmm' in sys.modules, 'torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split()[0] == "False"


@pytest.mark.slow
def test_both_engines_draw_one_law() -> None:
    # Bars are four standard errors over independent chains, of energies and of the share of extended phi.
    means, errors = [], []
    for engine, columns in (("torch", 64), ("openmm", 16)):
        found = make_alanine_dipeptide(
            12 * columns, temperature=600.0, engine=engine, columns=columns, thinning=250, burn_in=2500,  # type: ignore[arg-type]
            shuffle=False, cache=False, random_state=1,
        )  # fmt: skip
        phi = module._dihedral(found.configurations.astype(np.float64), PHI)
        measured = np.stack([found.energies, phi < -2.0, np.cos(phi)]).reshape(3, 12, columns)
        chains = measured.mean(axis=1)
        means.append(chains.mean(axis=1))
        errors.append(chains.std(axis=1, ddof=1) / np.sqrt(columns))
    assert errors[1][0] < 6.0
    assert errors[1][1] < 0.1
    difference = np.abs(means[0] - means[1])
    assert (difference < 4.0 * np.sqrt(errors[0] ** 2 + errors[1] ** 2)).all(), (means, errors)
