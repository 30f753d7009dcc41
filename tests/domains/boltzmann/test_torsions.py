"""Dihedral angles and maps: known angles, symmetry, exact divergences, weights, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sciffusion.domains.boltzmann.torsions import (
    dihedral_angles,
    in_arc,
    jensen_shannon_divergence,
    ramachandran_divergence,
    ramachandran_map,
)


def _chain(angle: float) -> Tensor:
    """Place four points so that the far bond is turned by the angle, clockwise along the axis."""
    far = [math.cos(angle), -math.sin(angle), 0.0]
    points = [[1.0, 0.0, 0.3], [0.0, 0.0, 0.0], [0.0, 0.0, -1.5], [0.7 * far[0], 0.7 * far[1], -1.9]]
    return torch.tensor(points, dtype=torch.float64)


def _turn(seed: int) -> Tensor:
    draw = torch.randn(3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    matrix, _ = torch.linalg.qr(draw)
    return matrix * torch.linalg.det(matrix)


@pytest.mark.parametrize("degrees", [-179.0, -120.0, -60.0, -1.0, 0.0, 30.0, 90.0, 180.0])
def test_known_angles(degrees: float) -> None:
    found = dihedral_angles(_chain(math.radians(degrees)), (0, 1, 2, 3))
    assert math.degrees(float(found)) == pytest.approx(degrees, abs=1e-9)


def test_clockwise_is_positive() -> None:
    # Looked at along the axis, from +z down: the near bond points to 12 o'clock (+x), and -y lies clockwise
    # of +x when the viewer looks against +z with +x up.
    near, axis_start, axis_end, far = [1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, -1.0, -1.0]
    points = torch.tensor([near, axis_start, axis_end, far])
    assert float(dihedral_angles(points, (0, 1, 2, 3))) == pytest.approx(math.pi / 2)


def test_rigid_motion_keeps_angles_and_mirrors_change_their_sign() -> None:
    x = torch.randn(20, 6, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    places = [(0, 1, 2, 3), (5, 2, 4, 1)]
    angles = dihedral_angles(x, places)
    assert angles.shape == (20, 2)
    torch.testing.assert_close(dihedral_angles(x @ _turn(2).T + 3.0, places), angles)
    torch.testing.assert_close(dihedral_angles(-x, places), -angles)
    torch.testing.assert_close(dihedral_angles(x, [place[::-1] for place in places]), angles)


def test_the_gradient_is_that_of_differences() -> None:
    x = torch.randn(3, 4, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda y: dihedral_angles(y, (0, 1, 2, 3)).cos(), (x.requires_grad_(),))


def test_a_map_counts_weights_in_the_bins_of_the_torus() -> None:
    phi = np.array([-math.pi, -math.pi + 0.1, math.pi, 3.0 * math.pi + 0.1, 0.1])
    psi = np.array([0.1, 0.1, 0.1, 0.1 - 2.0 * math.pi, -0.1])
    log_weights = np.log([1.0, 2.0, 3.0, 4.0, 10.0]) + 700.0
    found = ramachandran_map(phi, psi, log_weights=log_weights, bins=4, smoothing=0.0)
    expected = np.zeros((4, 4))
    expected[0, 2], expected[2, 1] = 0.5, 0.5
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_an_angle_just_below_the_seam_has_a_bin() -> None:
    found = ramachandran_map([np.nextafter(-math.pi, -4.0)], [0.0], bins=8, smoothing=0.0)
    assert found.sum() == 1.0


def test_smoothing_is_the_gaussian_on_the_torus() -> None:
    bins, width = 32, 1.5
    found = ramachandran_map([-math.pi + 0.01], [0.01], bins=bins, smoothing=width)
    distance = np.arange(bins)[:, None] + bins * np.arange(-3, 4)
    line = np.exp(-0.5 * (distance / width) ** 2).sum(axis=1)
    expected = np.outer(line, np.roll(line, bins // 2))
    np.testing.assert_allclose(found, expected / expected.sum(), atol=1e-6)


def test_divergence_of_known_distributions() -> None:
    assert jensen_shannon_divergence([0.3, 0.7], [3.0, 7.0]) == pytest.approx(0.0, abs=1e-15)
    assert jensen_shannon_divergence([1.0, 0.0], [0.0, 1.0]) == pytest.approx(math.log(2.0))
    # P = (1, 0), Q = (1/2, 1/2), M = (3/4, 1/4)
    expected = 0.5 * math.log(4 / 3) + 0.25 * math.log(2 / 3) + 0.25 * math.log(2.0)
    assert jensen_shannon_divergence([1.0, 0.0], [0.5, 0.5]) == pytest.approx(expected)
    assert jensen_shannon_divergence([0.5, 0.5], [1.0, 0.0]) == pytest.approx(expected)


def test_importance_weights_give_the_divergence_of_the_weighted_law() -> None:
    draw = np.random.default_rng(0)
    uniform = draw.uniform(-math.pi, math.pi, (2, 200_000))
    target = draw.vonmises(0.5, 2.0, (2, 200_000))
    log_weights = (2.0 * np.cos(uniform - 0.5)).sum(axis=0)
    close = ramachandran_divergence((*uniform, log_weights), tuple(target), bins=32)
    far = ramachandran_divergence(tuple(uniform), tuple(target), bins=32)
    # 1024 bins and 70 000 effective draws put the floor of two samples near 1024 / (8 * 50 000).
    assert close < 0.004
    assert far > 0.2


def test_arcs_run_upwards_and_across_the_seam() -> None:
    angles = np.radians([-170.0, -10.0, 0.0, 10.0, 126.0, 170.0, 370.0])
    across = in_arc(angles, math.radians(150.0), math.radians(-150.0))
    assert across.tolist() == [True, False, False, False, False, True, False]
    basin = in_arc(angles, 0.0, math.radians(126.0))
    assert basin.tolist() == [False, False, True, True, False, False, True]
    assert in_arc(angles, 1.0, 1.0).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: dihedral_angles(torch.zeros(2, 4, 2), (0, 1, 2, 3)), "atoms, 3"),
        (lambda: dihedral_angles(torch.zeros(2, 4, 3), (0, 1, 2)), r"\(4,\) or \(k, 4\)"),
        (lambda: dihedral_angles(torch.zeros(2, 4, 3), (0, 1, 2, 4)), "between 0 and 3"),
        (lambda: dihedral_angles(torch.zeros(2, 4, 3), (0, 1, 2, 1)), "four different atoms"),
        (lambda: ramachandran_map([0.0], [0.0, 1.0]), "one shape"),
        (lambda: ramachandran_map([0.0], [math.nan]), "psi must be finite"),
        (lambda: ramachandran_map([0.0], [0.0], bins=1), "bins must be"),
        (lambda: ramachandran_map([0.0], [0.0], smoothing=-1.0), "smoothing must be"),
        (lambda: jensen_shannon_divergence([0.5, 0.5], [1.0]), "one shape"),
        (lambda: jensen_shannon_divergence([0.0, 0.0], [1.0, 0.0]), "first must be"),
    ],
)
def test_what_cannot_be_used_is_refused(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()
