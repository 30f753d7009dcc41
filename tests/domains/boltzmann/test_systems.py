"""The systems of the command line, and the units of their energies."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from sciffusion import datasets
from sciffusion.datasets import make_alanine_dipeptide
from sciffusion.domains.boltzmann.files import Configurations
from sciffusion.domains.boltzmann.metrics import energies_of
from sciffusion.domains.boltzmann.systems import SYSTEMS, element_names, simulate_system, system_energy
from sciffusion.domains.boltzmann.units import thermal_energy


def test_thermal_energy_in_each_unit() -> None:
    assert thermal_energy(2.0, "reduced") == 2.0
    joule = 1.380649e-23 * 6.02214076e23 * 300.0
    assert thermal_energy(300.0, "kJ/mol") == pytest.approx(joule / 1000)
    assert thermal_energy(300.0, "kcal/mol") == pytest.approx(joule / 4184)
    with pytest.raises(ValueError, match="units must be one of"):
        thermal_energy(300.0, "eV")
    with pytest.raises(ValueError, match="temperature must be positive"):
        thermal_energy(0.0, "reduced")


@pytest.mark.parametrize(("name", "oscillator"), [("dw4", None), ("dw4", 0.5)])
def test_energies_are_found_again_by_name(name: str, oscillator: float | None) -> None:
    found, dataset = simulate_system(name, 40, 2.0, oscillator=oscillator, seed=0)
    assert found.configurations.shape[1] == SYSTEMS[name].atoms
    assert found.temperature == 2.0
    energy = system_energy(found.system, found.oscillator)
    # In double precision: the energies of the configurations as the file holds them.
    np.testing.assert_array_equal(energies_of(energy, found.configurations), found.energies)
    exact = dataset.energy(torch.from_numpy(dataset.configurations).double())
    np.testing.assert_allclose(found.energies, exact, rtol=1e-12)
    np.testing.assert_allclose(dataset.energies, found.energies, atol=1e-4)  # of the simulation, in single


def test_lennard_jones_energy_has_the_trap_that_the_file_names() -> None:
    x = torch.randn(3, 13, 3, generator=torch.Generator().manual_seed(0)).double() * 3
    plain, tight = (system_energy("lj13", k) for k in (1.0, 3.0))
    assert plain is not None
    assert tight is not None
    centred = x - x.mean(1, keepdim=True)
    torch.testing.assert_close(tight(x) - plain(x), centred.square().sum((1, 2)))


def test_peptide_energies_are_those_of_its_configurations(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openmm")
    short = {"columns": 2, "thinning": 2, "burn_in": 10, "cache": False}
    monkeypatch.setattr(datasets, "make_alanine_dipeptide", partial(make_alanine_dipeptide, **short))
    found, dataset = simulate_system("alanine-dipeptide", 6, 600.0, seed=0)
    assert found.energies is not None
    x = torch.from_numpy(found.configurations).double()
    energy = system_energy("alanine-dipeptide")
    assert energy is not None
    torch.testing.assert_close(energy(x), dataset.energy(x), rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(found.energies, dataset.energy(x), rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(dataset.energies, found.energies, atol=0.05)  # of the simulation, in single


def test_unknown_systems() -> None:
    assert system_energy(None) is None
    assert system_energy("argon") is None
    with pytest.raises(ValueError, match="there is no system 'argon'"):
        simulate_system("argon", 10, 1.0)
    with pytest.raises(ValueError, match="has no trap"):
        simulate_system("alanine-dipeptide", 10, 300.0, oscillator=1.0)


def test_elements_of_a_peptide_are_first_letters() -> None:
    x = np.zeros((1, 3, 3))
    named = Configurations(configurations=x, names=("CA", "HH31", "O"), length_unit="nm")
    assert element_names(named) == ["C", "H", "O"]
    assert element_names(Configurations(configurations=x)) is None
    reduced = Configurations(configurations=x, names=("1", "2", "3"), length_unit="reduced")
    assert element_names(reduced) is None
