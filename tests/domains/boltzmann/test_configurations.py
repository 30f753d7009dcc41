"""What is checked of configurations, forces, kinds and bonds before any work is done."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sciffusion.datasets import make_dw4, make_lj13
from sciffusion.domains.boltzmann.configurations import (
    check_bonds,
    check_configurations,
    check_forces,
    check_kinds,
    check_virial,
    refuse_constraints,
    refuse_flat,
)


def _positions(count: int = 20, atoms: int = 4) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, atoms, 3))


@pytest.mark.parametrize(
    "form",
    [np.float32, np.float64, lambda x: torch.from_numpy(x), lambda x: torch.from_numpy(x).float(), list],
)
def test_forms_of_positions_agree_and_are_centred(form: Any) -> None:
    x = _positions()
    given = form(x.tolist() if form is list else x)
    before = np.asarray(given.tolist() if hasattr(given, "tolist") else given)
    found = check_configurations("X", given)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, x - x.mean(1, keepdims=True), atol=1e-6)
    after = np.asarray(given.tolist() if hasattr(given, "tolist") else given)
    np.testing.assert_array_equal(after, before)


def test_wrong_positions_are_named() -> None:
    x = _positions()
    with pytest.raises(ValueError, match=r"X.reshape\(len\(X\), atoms, dimensions\)"):
        check_configurations("X", x.reshape(20, 12))
    for wrong in (x[..., None], x[:, :1], x[:0], np.zeros((3, 2, 4))):
        with pytest.raises(ValueError, match="X must h"):
            check_configurations("X", wrong)
    with pytest.raises(ValueError, match="4 atoms in 2 dimensions"):
        check_configurations("X", x, shape=(4, 2))
    for wrong in ("abc", None, x.astype(complex), [["a"]], [[1.0], [1.0, 2.0]]):
        with pytest.raises(TypeError, match="X must be an array of real numbers"):
            check_configurations("X", wrong)
    x[7, 1, 2] = np.nan
    x[9, 1, 2] = np.inf
    with pytest.raises(ValueError, match=r"configuration 7 holds NaN or infinite values \(2 of 20"):
        check_configurations("X", x)


def test_overlapping_atoms_are_named() -> None:
    x = _positions()
    x[5, 2] = x[5, 1] + 1e-6
    with pytest.raises(ValueError, match="atoms 1 and 2 of configuration 5 of X lie at the same place"):
        check_configurations("X", x)
    with pytest.raises(ValueError, match="atoms 0 and 1 of configuration 0"):
        check_configurations("X", np.zeros((3, 4, 3)))


def test_forces_have_the_shape_of_positions_and_mean_zero() -> None:
    x = _positions()
    found = check_forces(x + 1.0, x)
    np.testing.assert_allclose(found.mean(1), 0.0, atol=1e-12)
    with pytest.raises(ValueError, match="forces must have the shape of X"):
        check_forces(x[:3], x)
    with pytest.raises(ValueError, match="forces must be finite; configuration 3"):
        check_forces(np.where(np.arange(20)[:, None, None] == 3, np.nan, x), x)
    for nothing in (0.0 * x, np.broadcast_to([1.0, 2.0, 3.0], x.shape)):  # of the whole, none inside it
        with pytest.raises(ValueError, match="forces are 0 in all configurations"):
            check_forces(nothing, x)


@pytest.mark.parametrize("count", [2, 50, 250, 2000])
def test_right_forces_of_a_harmonic_cluster_pass(count: int) -> None:
    x = _positions(count)
    x -= x.mean(1, keepdims=True)
    check_virial(x, -2.0 * x, 2.0, np.ones(count), "reduced")


@pytest.mark.parametrize("factor", [4.184, 1 / 4.184, 10.0, -1.0, 2.48, 0.4])
def test_wrong_units_of_forces_are_refused(factor: float) -> None:
    x = _positions(2000)
    x -= x.mean(1, keepdims=True)
    with pytest.raises(ValueError, match=r"forces do not fit the temperature.*units='kJ/mol'"):
        check_virial(x, -2.0 * factor * x, 2.0, np.ones(2000), "kJ/mol")


def test_the_virial_is_a_weighted_mean() -> None:
    x = _positions(2000)
    x -= x.mean(1, keepdims=True)
    factors = np.where(np.arange(2000) < 1000, 1.0, 5.0)[:, None, None]
    weights = np.where(np.arange(2000) < 1000, 2.0, 0.0)
    check_virial(x, -factors * x, 1.0, weights, "reduced")
    with pytest.raises(ValueError, match="forces do not fit"):
        check_virial(x, -factors * x, 1.0, np.ones(2000), "reduced")


@pytest.mark.filterwarnings("ignore:R-hat of the energy")
@pytest.mark.parametrize("make", [make_dw4, make_lj13])
def test_right_forces_of_simulated_clusters_pass_with_few_rows(make: Any) -> None:
    data = make(256, temperature=2.0, columns=32, burn_in=150, thinning=10, cache=False, random_state=0)
    positions = check_configurations("X", data.configurations)
    forces = check_forces(data.forces, positions)
    refuse_constraints(positions)
    for count in (10, 199, 201, 256):
        check_virial(positions[:count], forces[:count], data.kT, np.ones(count), "reduced")
    # Units that are far off show in few rows, too, though forces near walls are widely spread.
    for factor in (10.0, 120.0, 1e4, -1.0, -120.0, 0.1):
        with pytest.raises(ValueError, match="forces do not fit"):
            check_virial(positions, factor * forces, data.kT, np.ones(256), "reduced")


def test_constrained_bonds_are_refused_and_stiff_ones_are_not() -> None:
    x = _positions(300)
    arm = x[:, 1] - x[:, 0]
    arm /= np.linalg.norm(arm, axis=1, keepdims=True)
    x[:, 1] = x[:, 0] + 0.1 * arm
    with pytest.raises(ValueError, match=r"atoms 0 and 1 is the same in all .* simulate without constraints"):
        refuse_constraints(x.astype(np.float32).astype(np.float64))
    x[:, 1] = x[:, 0] + arm * np.random.default_rng(1).normal(0.1, 0.002, (300, 1))
    refuse_constraints(x)


def test_flat_configurations_are_refused_where_there_are_atoms_to_fill_space() -> None:
    x = _positions(300)
    refuse_flat(x)
    refuse_flat(x[:, :3])  # three atoms lie in a plane always
    refuse_flat(x[..., :1])
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(300, 3, 3)))[0]
    with pytest.raises(ValueError, match=r"in a plane, and such a law has no density in 3 .*X\[..., :2\]"):
        refuse_flat((x - x.mean(1, keepdims=True)) * [1.0, 1.0, 0.0] @ turn)
    for flat in (x * [1.0, 0.0, 0.0], x[..., :2] * [0.0, 1.0]):
        with pytest.raises(ValueError, match="on a line"):
            refuse_flat(flat - flat.mean(1, keepdims=True))
    x[:299, :, 2] = 0.0  # one that is not flat is enough
    refuse_flat(x - x.mean(1, keepdims=True))


def test_kinds_are_numbers_or_names() -> None:
    assert check_kinds(None, 3) == (0, 0, 0)
    assert check_kinds(["N", "C", "N"], 3) == (1, 0, 1)
    assert check_kinds(np.array([7, 6, 7]), 3) == (1, 0, 1)
    with pytest.raises(ValueError, match="one entry an atom, 3 in all, got 2"):
        check_kinds([0, 1], 3)
    for wrong in ("CCC", 3, {"N", "C", "O"}, {0: "N", 1: "C", 2: "O"}, np.array(3)):
        with pytest.raises(TypeError, match="atom_types must hold"):
            check_kinds(wrong, 3)


def test_bonds_are_pairs_of_different_atoms() -> None:
    assert check_bonds(None, 3) == ()
    assert check_bonds([], 3) == ()
    assert check_bonds(np.array([[0, 1], [1, 2]]), 3) == ((0, 1), (1, 2))
    for wrong in ([(0, 3)], [(1, 1)], [(-1, 0)]):
        with pytest.raises(ValueError, match="bonds must join different atoms between 0 and 2"):
            check_bonds(wrong, 3)
    for odd in ([0, 1], [(0, 1, 2)], [(0.0, 1.0)], [(0, 1), (2,)]):
        with pytest.raises(TypeError, match="bonds must be pairs"):
            check_bonds(odd, 3)
