"""`make_dw4` and `make_lj13`: the law, the diagnostics, the cache and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sciffusion.datasets import ParticleDataset, make_dw4, make_lj13
from sciffusion.datasets import particles_simulated as module
from sciffusion.datasets.chain_diagnostics import autocorrelation_time
from sciffusion.datasets.particles_cache import cached_arrays
from sciffusion.datasets.particles_simulated import temperature_ladder, turned_and_renumbered
from sciffusion.datasets.replica_exchange import ReplicaTrajectories

SHORT: dict[str, Any] = {"columns": 8, "thinning": 20, "burn_in": 200, "cache": False, "random_state": 0}

few_states = pytest.mark.filterwarnings("ignore:R-hat of the energy")


@pytest.fixture(scope="module")
def wells() -> ParticleDataset:
    return make_dw4(8000, temperature=2.0, columns=200, thinning=40, burn_in=600, cache=False, random_state=0)


def test_the_set_says_what_it_holds(wells: ParticleDataset) -> None:
    assert wells.configurations.shape == wells.forces.shape == (8000, 4, 2)
    assert wells.configurations.dtype == wells.forces.dtype == np.float32
    assert (wells.kT, wells.units, wells.length_unit) == (2.0, "reduced", "reduced")
    assert wells.card.n_atoms == wells.n_atoms == len(wells.names)
    assert wells.card.dimensions == wells.dimensions
    assert repr(wells).startswith("ParticleDataset(dw4: 8000 configurations of 4 particles")
    assert "make_dw4" in str(wells.card)
    np.testing.assert_allclose(wells.configurations.mean(axis=1), 0.0, atol=1e-5)


def test_energies_and_forces_are_those_of_the_energy_after_turning(wells: ParticleDataset) -> None:
    x = torch.from_numpy(wells.configurations.astype(np.float64)).requires_grad_()
    energies = wells.energy(x)
    (gradient,) = torch.autograd.grad(energies.sum(), x)
    np.testing.assert_allclose(wells.energies, energies.detach().numpy(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(wells.forces, -gradient.numpy(), rtol=1e-3, atol=1e-3)


def test_mean_energy_of_the_double_wells(wells: ParticleDataset) -> None:
    # -19.515 with spread 3.1 in 40,000 states of long chains; the effective size gives this set's error
    error = 3.1 / np.sqrt(wells.diagnostics["effective_size"])
    assert error < 0.1
    assert abs(wells.energies.mean() + 19.515) < 4.0 * error


def test_positions_have_the_symmetry_of_the_law(wells: ParticleDataset) -> None:
    x = wells.configurations.astype(np.float64)
    of_atoms = (x**2).mean(axis=2)  # one number an atom and configuration
    errors = of_atoms.std(axis=0) / np.sqrt(len(x))
    assert (np.abs(of_atoms.mean(axis=0) - of_atoms.mean()) < 4.0 * errors).all()
    angle = np.arctan2(x[:, 0, 1], x[:, 0, 0])
    resultant = abs(np.exp(1j * angle).mean())
    assert resultant < 3.0 / np.sqrt(len(x))
    area = x[:, 0, 0] * x[:, 1, 1] - x[:, 0, 1] * x[:, 1, 0]  # changes sign in a mirror
    assert abs(np.sign(area).mean()) < 4.0 / np.sqrt(len(x))


def test_the_virial_theorem_holds(wells: ParticleDataset) -> None:
    virial = -(wells.configurations.astype(np.float64) * wells.forces).sum(axis=(1, 2))
    error = virial.std() / np.sqrt(wells.diagnostics["effective_size"])
    assert abs(virial.mean() - 6.0 * wells.kT) < 4.0 * error  # kT for each of 3 x 2 free coordinates
    assert error < 0.1 * 6.0 * wells.kT


def _kept(energies: np.ndarray[Any, Any]) -> ReplicaTrajectories:
    nothing = np.empty((0, 0), np.float32)
    return ReplicaTrajectories((1.0,), (0,), nothing, nothing, energies[None].astype(np.float32), np.empty(0))


def test_the_effective_size_is_that_of_the_mean_of_the_rows_drawn() -> None:
    frames, columns = 400, 5
    constant = _kept(np.ones((frames, columns)))  # as good as independent
    chains = _kept(np.random.default_rng(0).standard_normal((frames, columns)).cumsum(axis=0))
    states = frames * columns
    independent = states / autocorrelation_time(chains.energies[0])
    assert independent < 0.1 * states

    def size(n: int, found: ReplicaTrajectories) -> float:
        plan = module._Plan("dw4", n, 1.0, (1.0,), columns, 1, 0, 10, True)
        return float(module._diagnostics(plan, found, 0)["effective_size"])

    # All states: those that are independent. Rows of independent states: all of them. Both: variances add up.
    assert size(states, chains) == pytest.approx(independent)
    assert size(100, constant) == pytest.approx(100.0)
    assert 1.0 / size(100, chains) == pytest.approx(1.0 / independent + 1.0 / 100 - 1.0 / states)


@few_states
def test_a_trap_draws_particles_together() -> None:
    free, trapped = (make_dw4(64, oscillator=k, **SHORT) for k in (0.0, 5.0))
    assert (trapped.configurations**2).mean() < 0.8 * (free.configurations**2).mean()


@few_states
def test_lennard_jones_at_a_high_temperature() -> None:
    found = make_lj13(500, temperature=2.0, **(SHORT | {"columns": 32, "burn_in": 600}))
    assert found.configurations.shape == (500, 13, 3)
    assert found.diagnostics["swap_rates"].shape == (0,)
    error = 9.7 / np.sqrt(found.diagnostics["effective_size"])
    assert abs(found.energies.mean() - 30.7) < 4.0 * error


@few_states
def test_rows_in_the_order_of_the_chains_have_their_energies() -> None:
    found = make_dw4(100, shuffle=False, **SHORT)
    energies = found.energy(torch.from_numpy(found.configurations))
    np.testing.assert_allclose(found.energies, energies.numpy(), rtol=1e-4, atol=1e-4)
    apart = np.abs(found.configurations[8:] - found.configurations[:-8]).mean()
    assert apart < 0.5 * np.abs(found.configurations[1:] - found.configurations[:-1]).mean()


def test_random_turns_keep_shapes_and_rotate_forces_alike() -> None:
    generator = np.random.default_rng(0)
    x = generator.standard_normal((2000, 3, 2)).astype(np.float32)
    moved, forces = turned_and_renumbered(x, 2.0 * x, generator)
    np.testing.assert_allclose(forces, 2.0 * moved, rtol=1e-5, atol=1e-6)

    def distances(points: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        pairs = np.linalg.norm(points[:, :, None] - points[:, None], axis=3).reshape(len(points), -1)
        return np.sort(pairs, axis=1)

    np.testing.assert_allclose(distances(moved), distances(x), rtol=1e-4, atol=1e-5)
    angle = np.arctan2(moved[:, 0, 1], moved[:, 0, 0])
    assert abs(np.exp(1j * angle).mean()) < 3.0 / np.sqrt(2000)


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [
        (1.0, (1.0, 1.5, 2.0)),
        (1.45, (1.45, 2.0)),
        (3.0, (3.0,)),
        (0.9, (0.9, 1.0, 1.5, 2.0)),
    ],
)
def test_ladders_begin_at_the_temperature(temperature: float, expected: tuple[float, ...]) -> None:
    assert temperature_ladder(temperature, (1.0, 1.5, 2.0)) == pytest.approx(expected)


def test_ladders_are_extended_downwards_in_small_steps() -> None:
    ladder = np.array(temperature_ladder(0.5, (1.0, 1.5, 2.0)))
    assert ladder[0] == 0.5
    assert (ladder[1:4] / ladder[:3] < 1.171).all()
    assert set(ladder[-3:]) == {1.0, 1.5, 2.0}


def test_chains_that_disagree_are_warned_of() -> None:
    with pytest.warns(UserWarning, match=r"R-hat of the energy at temperature 0\.4 is .* Remedy"):
        make_lj13(100, temperature=0.4, columns=4, thinning=1, burn_in=0, cache=False, random_state=0)


@few_states
def test_the_seed_decides_everything() -> None:
    first, again = make_dw4(100, **SHORT), make_dw4(100, **SHORT)
    other = make_dw4(100, **(SHORT | {"random_state": 1}))
    np.testing.assert_array_equal(first.configurations, again.configurations)
    assert not np.array_equal(first.configurations, other.configurations)
    drawn = [make_dw4(100, **(SHORT | {"random_state": np.random.RandomState(5)})) for _ in range(2)]
    np.testing.assert_array_equal(drawn[0].energies, drawn[1].energies)


@few_states
def test_the_cache_finds_a_set_by_all_its_settings(tmp_path: Path) -> None:
    kept: dict[str, Any] = SHORT | {"cache": True, "folder": tmp_path}
    first = make_dw4(100, **kept)
    (file,) = (tmp_path / "particles").iterdir()
    written = file.stat().st_mtime_ns
    again = make_dw4(100, **kept)
    np.testing.assert_array_equal(first.configurations, again.configurations)
    np.testing.assert_array_equal(first.diagnostics["r_hat"], again.diagnostics["r_hat"])
    assert first.diagnostics["cpu_seconds"] == again.diagnostics["cpu_seconds"] > 0.0
    assert file.stat().st_mtime_ns == written
    for changes in ({"random_state": 1}, {"oscillator": 0.1}, {"thinning": 21}):
        make_dw4(100, **(kept | changes))
    assert len(list((tmp_path / "particles").iterdir())) == 4
    make_dw4(100, **(kept | {"random_state": None}))
    assert len(list((tmp_path / "particles").iterdir())) == 4


@pytest.mark.parametrize("damage", [b"", b"not an archive", None])
def test_a_damaged_file_of_the_cache_is_made_anew(tmp_path: Path, damage: bytes | None) -> None:
    def simulate(value: float) -> Callable[[], dict[str, np.ndarray[Any, Any]]]:
        return lambda: {"values": np.array([value])}

    cached_arrays("set", {"seed": 1}, simulate(1.0), folder=tmp_path)
    assert cached_arrays("set", {"seed": 1}, simulate(2.0), folder=tmp_path)["values"][0] == 1.0
    (file,) = (tmp_path / "particles").iterdir()
    file.write_bytes(file.read_bytes()[:60] if damage is None else damage)
    assert cached_arrays("set", {"seed": 1}, simulate(3.0), folder=tmp_path)["values"][0] == 3.0
    assert cached_arrays("set", {"seed": 1}, simulate(4.0), folder=tmp_path)["values"][0] == 3.0


def test_no_damage_to_a_file_of_the_cache_goes_unnoticed(tmp_path: Path) -> None:
    # Any byte may be wrong, in the arrays, in their headers, and in the table of contents of the archive.
    truth = {"values": np.arange(6.0).reshape(2, 3), "more": np.arange(3, dtype=np.float32)}
    cached_arrays("set", {"seed": 1}, lambda: truth, folder=tmp_path)
    (file,) = (tmp_path / "particles").iterdir()
    good, draw, made = file.read_bytes(), np.random.default_rng(0), []

    def simulate() -> dict[str, np.ndarray[Any, Any]]:
        made.append(1)
        return truth

    places = {*draw.integers(len(good), size=150).tolist(), *range(len(good) - 150, len(good))}
    for place in places:
        wrong = bytearray(good)
        wrong[place] ^= int(draw.integers(1, 256))
        file.write_bytes(bytes(wrong))
        found = cached_arrays("set", {"seed": 1}, simulate, folder=tmp_path)
        assert list(found) == list(truth)
        for name, array in truth.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype
    assert 150 < len(made) < len(places)  # dates in the archive may be anything


def test_files_of_the_cache_without_names_are_read(tmp_path: Path) -> None:
    cached_arrays("set", {"seed": 1}, lambda: {"values": np.ones(1)}, folder=tmp_path)
    (file,) = (tmp_path / "particles").iterdir()
    with np.load(file) as archive:
        kept = {name: archive[name] for name in archive.files if name != "names_json"}
    assert len(kept) == 2
    np.savez(file, **kept)
    again = cached_arrays("set", {"seed": 1}, lambda: {"values": np.zeros(1)}, folder=tmp_path)
    assert list(again) == ["values"]
    assert again["values"][0] == 1.0


def test_a_folder_that_cannot_be_is_found_before_the_simulation(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    def never() -> dict[str, np.ndarray[Any, Any]]:
        raise AssertionError("simulated")

    with pytest.raises(OSError, match="file"):
        cached_arrays("set", {"seed": 1}, never, folder=tmp_path / "file")


def test_arrays_that_cannot_be_kept_are_returned(tmp_path: Path) -> None:
    def simulate() -> dict[str, np.ndarray[Any, Any]]:
        (tmp_path / "particles").rmdir()  # as a full disk would, this stops the file from being written
        return {"values": np.ones(1)}

    with pytest.warns(UserWarning, match="set could not be kept .* simulated again"):
        found = cached_arrays("set", {"seed": 1}, simulate, folder=tmp_path)
    assert found["values"][0] == 1.0


@few_states
def test_numbers_of_numpy_find_the_set_of_pythons(tmp_path: Path) -> None:
    given: dict[str, Any] = {"n": 40, "columns": 4, "thinning": 1, "burn_in": 3, "random_state": 5}
    ladder = {"temperatures": [1.0, 2.0], "folder": tmp_path}
    first = make_dw4(**given, **ladder)
    others = {name: np.int64(value) for name, value in given.items()}
    again = make_dw4(**others, **ladder | {"temperatures": np.array([1, 2])}, temperature=np.float32(1.0))  # type: ignore[arg-type]
    np.testing.assert_array_equal(first.configurations, again.configurations)
    assert len(list((tmp_path / "particles").iterdir())) == 1


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"temperature": "1"}, TypeError, "temperature is '1', expected a number"),
        ({"temperature": None}, TypeError, "temperature is None"),
        ({"temperatures": 1.0}, TypeError, "temperatures is 1.0, expected a sequence"),
        ({"temperatures": ["1", "2"]}, TypeError, "temperatures is"),
        ({"oscillator": None}, TypeError, "oscillator is None"),
        ({"burn_in": -1}, ValueError, "burn_in is -1"),
        ({"random_state": -1}, ValueError, "random_state is -1, expected an integer from 0"),
        ({"random_state": 2**64}, ValueError, "random_state is 18446744073709551616"),
        ({"random_state": 1.5}, ValueError, "cannot be used to seed"),
    ],
)
def test_what_is_no_number_is_refused_before_the_simulation(
    changes: dict[str, Any], kind: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("simulated")

    monkeypatch.setattr(module, "_simulate", never)
    for make in (make_dw4, make_lj13):
        with pytest.raises(kind, match=message):
            make(10, **{"cache": False} | changes)


def test_a_file_with_other_settings_is_not_taken(tmp_path: Path) -> None:
    cached_arrays("set", {"seed": 1}, lambda: {"values": np.zeros(1)}, folder=tmp_path)
    cached_arrays("set", {"seed": 2}, lambda: {"values": np.ones(1)}, folder=tmp_path)
    first, second = sorted((tmp_path / "particles").iterdir())
    second.replace(first)
    values = [
        cached_arrays("set", {"seed": seed}, lambda: {"values": np.full(1, 7.0)}, folder=tmp_path)["values"]
        for seed in (1, 2)
    ]
    assert [float(value[0]) for value in values] == [7.0, 7.0]  # one is of the other seed, one is missing


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_dw4(0), "n is 0"),
        (lambda: make_dw4(10.5), "n is 10.5"),
        (lambda: make_dw4(temperature=0.0), "temperature is 0"),
        (lambda: make_dw4(temperature=float("nan")), "temperature is nan"),
        (lambda: make_dw4(temperatures=[1.5, 2.0]), "expected temperature = 1.0 in it"),
        (lambda: make_dw4(temperatures=[1.0, 0.5]), "rising strictly"),
        (lambda: make_dw4(columns=1), "columns is 1"),
        (lambda: make_dw4(thinning=0), "thinning is 0"),
        (lambda: make_dw4(oscillator=-1.0), "oscillator is -1"),
        (lambda: make_lj13(oscillator=0.0), "particles evaporate"),
        (lambda: make_lj13(oscillator=float("inf")), "oscillator is inf"),
    ],
)
def test_bad_arguments_are_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"configurations": np.zeros((5, 8), np.float32)}, "configurations has shape"),
        ({"energies": np.zeros(3)}, "energies has shape"),
        ({"forces": np.full((2, 3, 2), np.nan, np.float32)}, "forces holds NaN"),
        ({"temperature": -1.0}, "temperature is -1"),
        ({"units": "eV"}, "units is 'eV'"),
        ({"length_unit": "A"}, "length_unit is 'A'"),
        ({"names": ("a",)}, "there are 1 names"),
        ({"atom_types": np.zeros(4, int)}, "atom_types has shape"),
        ({"bonds": np.array([[0, 3]])}, "numbered 0 to 2"),
        ({"bonds": np.array([[1, 1]])}, "join different atoms"),
        ({"bonds": np.zeros(2, int)}, r"expected \(b, 2\)"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(
    wells: ParticleDataset, changes: dict[str, Any], message: str
) -> None:
    good: dict[str, Any] = {
        "configurations": np.zeros((2, 3, 2), np.float32),
        "energies": np.zeros(2),
        "forces": np.zeros((2, 3, 2), np.float32),
        "temperature": 300.0,
        "units": "kJ/mol",
        "length_unit": "nm",
        "atom_types": np.zeros(3, np.int64),
        "bonds": np.array([[0, 2]]),
        "names": ("a", "b", "c"),
        "energy": wells.energy,
        "card": wells.card,
    }
    assert ParticleDataset(**good).kT == pytest.approx(2.494338785)
    with pytest.raises(ValueError, match=message):
        ParticleDataset(**(good | changes))
