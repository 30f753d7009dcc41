"""Energies of clusters: values by hand, symmetries, forces and second derivatives."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import torch

from sciffusion.datasets import DoubleWell, LennardJones

SYSTEMS = {
    "dw4": DoubleWell(),
    "dw4 tilted": DoubleWell(a=0.7, oscillator=0.5),
    "lj13": LennardJones(),
    "lj13 free": LennardJones(n=5, epsilon=0.3, r_min=1.4, oscillator=0.0),
}


def _configurations(system: DoubleWell | LennardJones, batch: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    grid = torch.from_numpy(system.grid())
    scale = 2.0 if isinstance(system, DoubleWell) else 1.0
    noise = torch.randn(batch, *grid.shape, generator=generator, dtype=torch.float64)
    return scale * grid + 0.1 * noise + 3.0


@pytest.fixture(params=list(SYSTEMS), ids=list(SYSTEMS))
def system(request: pytest.FixtureRequest) -> DoubleWell | LennardJones:
    return SYSTEMS[request.param]


@pytest.mark.parametrize("distance", [0.5, 2.0, 4.0, 5.5])
def test_double_well_of_two_by_hand(distance: float) -> None:
    x = torch.tensor([[[1.0, 2.0], [1.0, 2.0 + distance]]], dtype=torch.float64)
    y = distance - 4.0
    assert float(DoubleWell(n=2)(x)) == pytest.approx(-4.0 * y**2 + 0.9 * y**4)
    tilted = DoubleWell(n=2, a=0.3, oscillator=2.0)
    harmonic = 0.5 * 2.0 * 2 * (distance / 2) ** 2
    assert float(tilted(x)) == pytest.approx(0.3 * y - 4.0 * y**2 + 0.9 * y**4 + harmonic)


def test_lennard_jones_of_two_by_hand() -> None:
    def energy(distance: float, **changes: float) -> float:
        x = torch.tensor([[[5.0, 0.0, 0.0], [5.0 + distance, 0.0, 0.0]]], dtype=torch.float64)
        return float(LennardJones(n=2, **changes)(x))

    assert energy(1.0) == pytest.approx(-1.0 + 0.25)
    assert energy(1.0, oscillator=0.0) == pytest.approx(-1.0)
    assert energy(2.0, oscillator=3.0) == pytest.approx(2.0**-12 - 2.0 * 2.0**-6 + 3.0)
    assert energy(0.5, oscillator=0.0, epsilon=0.1, r_min=0.5) == pytest.approx(-0.1)


def test_the_sum_is_over_distinct_pairs(system: DoubleWell | LennardJones) -> None:
    x = _configurations(system)
    total = torch.zeros(len(x), dtype=torch.float64)
    for first, second in combinations(range(system.n), 2):
        squared = (x[:, first] - x[:, second]).square().sum(dim=1)
        total = total + system.pair_terms(squared)[0]
    centred = x - x.mean(dim=1, keepdim=True)
    torch.testing.assert_close(system(x), total + 0.5 * system.oscillator * centred.square().sum(dim=(1, 2)))


def test_energies_ignore_place_direction_mirror_and_numbering(system: DoubleWell | LennardJones) -> None:
    x = _configurations(system)
    generator = torch.Generator().manual_seed(1)
    size = (system.dimensions, system.dimensions)
    turn, _ = torch.linalg.qr(torch.randn(size, generator=generator, dtype=torch.float64))
    mirror = torch.ones(system.dimensions, dtype=torch.float64)
    mirror[0] = -1.0
    order = torch.randperm(system.n, generator=generator)
    energies, forces = system.energy_and_forces(x)
    for matrix in (turn, turn * mirror):
        moved, moved_forces = system.energy_and_forces((x @ matrix)[:, order] - 7.0)
        torch.testing.assert_close(moved, energies)
        torch.testing.assert_close(moved_forces, (forces @ matrix)[:, order])


def test_forces_are_minus_the_gradient(system: DoubleWell | LennardJones) -> None:
    x = _configurations(system).requires_grad_()
    energies, forces = system.energy_and_forces(x.detach())
    (gradient,) = torch.autograd.grad(system(x).sum(), x)
    torch.testing.assert_close(energies, system(x).detach())
    torch.testing.assert_close(forces, -gradient)
    torch.testing.assert_close(forces.sum(dim=1), torch.zeros_like(forces[:, 0]), atol=1e-9, rtol=0.0)
    step = 1e-5
    for atom, axis in ((0, 0), (system.n - 1, system.dimensions - 1)):
        shift = torch.zeros_like(x)
        shift[:, atom, axis] = step
        slope = (system(x + shift) - system(x - shift)) / (2.0 * step)
        torch.testing.assert_close(-slope.detach(), forces[:, atom, axis], rtol=1e-5, atol=1e-5)


def test_second_derivatives_are_those_of_differences(system: DoubleWell | LennardJones) -> None:
    x = _configurations(system, batch=2)
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(system(leaf).sum(), leaf, create_graph=True)
    (curvature,) = torch.autograd.grad((gradient * direction).sum(), leaf)
    step = 1e-5
    forces = [system.energy_and_forces(x + sign * step * direction)[1] for sign in (1.0, -1.0)]
    expected = -(forces[0] - forces[1]) / (2.0 * step)
    torch.testing.assert_close(curvature, expected, rtol=1e-5, atol=1e-4)


def test_single_precision_agrees_with_double(system: DoubleWell | LennardJones) -> None:
    x = _configurations(system)
    energies, forces = system.energy_and_forces(x.float())
    exact, exact_forces = system.energy_and_forces(x.float().double())
    assert energies.dtype == forces.dtype == torch.float32
    torch.testing.assert_close(energies.double(), exact, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(forces.double(), exact_forces, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["dw4", "lj13"])
def test_overlapping_particles_have_finite_energies_and_part(name: str) -> None:
    system = SYSTEMS[name]
    x = _configurations(system, batch=1)
    x[:, 1] = x[:, 0]
    x[:, 1, 0] += 0.2 * system.shortest
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(system(leaf).sum(), leaf)
    energies, forces = system.energy_and_forces(x)
    assert torch.isfinite(energies).all()
    torch.testing.assert_close(forces, -gradient, rtol=1e-9, atol=1e-9 * float(forces.abs().max()))
    assert float(forces[0, 1, 0] - forces[0, 0, 0]) > 0.0
    x[:, 1] = x[:, 0]
    for values in system.energy_and_forces(x.float()):
        assert torch.isfinite(values).all()


def test_thirteen_particles_on_an_icosahedron_reach_the_known_minimum() -> None:
    golden = (1.0 + math.sqrt(5.0)) / 2.0
    corners = [np.roll((0.0, a, b * golden), turn) for turn in range(3) for a in (-1, 1) for b in (-1, 1)]
    shape = torch.tensor(np.array([(0.0, 0.0, 0.0), *corners]))
    scales = torch.linspace(0.4, 0.7, 2001, dtype=torch.float64)
    energies = LennardJones(oscillator=0.0)(scales[:, None, None] * shape)
    assert float(energies.min()) == pytest.approx(-44.3268, abs=1e-4)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_grids_are_centred_with_neighbours_apart(dimensions: int) -> None:
    grid = LennardJones(n=9, r_min=2.0, dimensions=dimensions).grid()
    assert grid.shape == (9, dimensions)
    np.testing.assert_allclose(grid.mean(axis=0), 0.0, atol=1e-12)
    distances = np.linalg.norm(grid[:, None] - grid[None], axis=2) + 9.0 * np.eye(9)
    assert distances.min() == pytest.approx(2.2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: DoubleWell(n=1), "n is 1"),
        (lambda: DoubleWell(n=True), "n is True"),
        (lambda: DoubleWell(c=0.0), "c is 0"),
        (lambda: DoubleWell(offset=math.nan), "offset"),
        (lambda: LennardJones(dimensions=0), "dimensions"),
        (lambda: LennardJones(r_min=-1.0), "r_min"),
        (lambda: LennardJones(epsilon=-1.0), "epsilon"),
        (lambda: LennardJones(oscillator=math.inf), "oscillator"),
        (lambda: LennardJones()(torch.zeros(2, 12, 3)), r"\(2, 12, 3\), expected \(batch, 13, 3\)"),
        (lambda: LennardJones()(torch.zeros(13, 3)), r"expected \(batch, 13, 3\)"),
    ],
)
def test_bad_systems_are_refused(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("positions", "words"),
    [
        (np.zeros((2, 4, 2)), r"a Tensor, got ndarray; torch\.from_numpy"),
        ([[0.0]], "a Tensor, got list"),
        (torch.zeros(2, 4, 2, dtype=torch.int64), "floating-point numbers, got torch.int64"),
    ],
)
def test_positions_that_are_no_tensors_of_real_numbers_are_named(positions: object, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        DoubleWell()(positions)  # type: ignore[arg-type]


def test_numbers_of_numpy_are_whole_numbers() -> None:
    system = DoubleWell(n=np.int64(3), dimensions=np.int32(3))  # type: ignore[arg-type]
    assert repr(system) == repr(DoubleWell(n=3, dimensions=3))
