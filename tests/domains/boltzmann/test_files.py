"""Configurations in files: read as written, and refused where they do not belong together."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sciffusion.domains.boltzmann.files import Configurations, read_configurations, write_configurations
from sciffusion.domains.boltzmann.files_xyz import read_xyz, write_xyz


def whole() -> Configurations:
    source = np.random.default_rng(0)
    x = source.normal(size=(5, 3, 2)).astype(np.float32)
    return Configurations(
        configurations=x, energies=source.normal(size=5), forces=-x,
        log_weights=np.array([0, 1, -np.inf, 2, 3.0]),
        temperature=300.0, units="kJ/mol", length_unit="nm", atom_types=np.array([0, 1, 1]),
        bonds=np.array([[0, 1]]), names=("C", "H1", "Hé"), system="dw4", oscillator=0.5, ess=np.ones((4, 2)),
        families=np.arange(5), resamplings=np.array([3, 0]),
    )  # fmt: skip


def test_all_fields_come_back(tmp_path: Path) -> None:
    path, given = tmp_path / "a.npz", whole()
    write_configurations(path, given)
    found = read_configurations(path)
    for name in Configurations.__dataclass_fields__:
        value = getattr(given, name)
        assert type(getattr(found, name)) is type(value), name
        np.testing.assert_array_equal(getattr(found, name), value)
    assert found.configurations.dtype == np.float32
    assert list(tmp_path.iterdir()) == [path]  # nothing else is left behind


def test_plain_arrays_are_enough(tmp_path: Path) -> None:
    x = whole().configurations
    np.save(tmp_path / "a.npy", x)
    np.savez(tmp_path / "b.npz", x=x, something=np.ones(3))
    for name in ("a.npy", "b.npz"):
        found = read_configurations(tmp_path / name)
        np.testing.assert_array_equal(found.configurations, x)
        assert found.energies is None
        assert found.units is None
        assert len(found) == 5


def test_energies_keep_double_precision_and_old_single_ones_are_read(tmp_path: Path) -> None:
    given = whole()
    large = np.array([-1e6, 1e-6, 0.1, 1e6 + 1e-9, 1 / 3])
    write_configurations(tmp_path / "a.npz", replace(given, energies=large))
    np.testing.assert_array_equal(read_configurations(tmp_path / "a.npz").energies, large)
    np.savez(tmp_path / "old.npz", x=given.configurations, energies=large.astype(np.float32))
    found = read_configurations(tmp_path / "old.npz").energies
    assert found is not None
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, large.astype(np.float32))


def test_xyz_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "a.xyz"
    x = np.random.default_rng(0).normal(size=(4, 3, 3))
    write_xyz(path, x, ["O", "H", "H"], scale=10.0, comments=[f"model {i}" for i in range(4)])
    found, names = read_xyz(path)
    np.testing.assert_allclose(found, 10.0 * x, atol=6e-7)
    assert names == ("O", "H", "H")
    assert path.read_text().split("\n")[:2] == ["3", "model 0"]
    assert len(read_configurations(path)) == 4
    write_xyz(path, x[..., :2])
    flat, names = read_xyz(path)
    assert np.all(flat[..., 2] == 0.0)
    assert names == ("Ar",) * 3


def test_nothing_pickled_is_loaded(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (Path(tmp_path / "executed").touch, ())

    np.savez(tmp_path / "a.npz", x=np.array([Trap()], dtype=object))
    (tmp_path / "b.npy").write_bytes(pickle.dumps(Trap()))
    for name in ("a.npz", "b.npy"):
        with pytest.raises(ValueError, match="pickled objects, which are never loaded"):
            read_configurations(tmp_path / name)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"positions": np.ones((2, 2, 2))}, "no array 'x' of configurations; it has positions"),
        ({"x": np.ones((2, 2))}, r"shape \(n, atoms, dimensions\)"),
        ({"x": np.ones((2, 2, 2), dtype=int)}, "real numbers"),
        ({"x": np.full((2, 2, 2), np.nan)}, "x has NaN or infinite values in 2 of 2 rows"),
        ({"x": np.ones((2, 2, 2)), "energies": np.ones(3)}, r"energies must have shape \(2,\)"),
        ({"x": np.ones((2, 2, 2)), "forces": np.ones((2, 2, 3))}, "forces must have shape"),
        ({"x": np.ones((2, 2, 2)), "units": "eV"}, "units must be one of"),
        ({"x": np.ones((2, 2, 2)), "temperature": -1.0}, "temperature must be positive"),
        ({"x": np.ones((2, 2, 2)), "temperature": np.ones(2)}, "one value each"),
        ({"x": np.ones((2, 2, 2)), "energies": np.array(["a", "b"])}, "real numbers as energies"),
        ({"x": np.ones((2, 2, 2)), "forces": np.full((2, 2, 2), "a")}, "real numbers as forces"),
        ({"x": np.ones((2, 2, 2)), "log_weights": np.array([0.0, np.nan])}, "log_weights must be finite"),
        ({"x": np.ones((2, 2, 2)), "log_weights": np.full(2, -np.inf)}, "not all -inf"),
        ({"x": np.ones((2, 2, 2)), "atom_types": np.array([0.0, np.nan])}, "atom_types must be whole"),
        ({"x": np.ones((2, 2, 2)), "bonds": np.array([["a", "b"]])}, "bonds must be whole numbers"),
        ({"x": np.ones((2, 2, 2)), "ess": np.ones(3)}, r"ess must have shape \(steps, systems\)"),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=message) as refused:
        read_configurations(tmp_path / "a.npz")
    assert "a.npz" in str(refused.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_configurations(tmp_path / "no.npz")
    with pytest.raises(ValueError, match="must end in one of"):
        read_configurations(tmp_path / "a.pdb")
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(ValueError, match="damaged"):
        read_configurations(tmp_path / "a.npz")
    (tmp_path / "a.npz").write_bytes(b"plain text" * 9)
    with pytest.raises(ValueError, match="no file of arrays, or holds pickled objects"):
        read_configurations(tmp_path / "a.npz")
    (tmp_path / "a.xyz").write_bytes(bytes(range(256)))
    with pytest.raises(ValueError, match=r"'a\.xyz' is no text"):
        read_configurations(tmp_path / "a.xyz")
    header = (
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (100000000000000, 4, 2), }".ljust(117) + b"\n"
    )
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(ValueError, match=r"damaged \((MemoryError|ValueError)\)"):
        read_configurations(tmp_path / "a.npy")
    with pytest.raises(ValueError, match=r"ending in \.npz"):
        write_configurations(tmp_path / "a.npy", whole())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("two\n", "line 1 must be a number of atoms"),
        ("2\n\nH 0 0 0\n", "must have 2 lines 'name x y z'"),
        ("1\n\nH 0 0\n", "must have 1 lines"),
        ("1\n\nH 0 0 0\n1\n\nO 0 0 0\n", "line 4 has other atoms"),
    ],
)
def test_damaged_xyz_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.xyz").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_configurations(tmp_path / "a.xyz")


def test_xyz_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    x = np.zeros((2, 2, 3))
    with pytest.raises(ValueError, match="1 to 3 dimensions"):
        write_xyz(tmp_path / "a.xyz", x[0])
    with pytest.raises(ValueError, match="2 words"):
        write_xyz(tmp_path / "a.xyz", x, ["H"])
    with pytest.raises(ValueError, match="2 single lines"):
        write_xyz(tmp_path / "a.xyz", x, comments=["a\nb", "c"])
