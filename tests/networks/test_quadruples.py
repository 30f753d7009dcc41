"""Signed volumes of bonded particles: counts, gradients, signs."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sciffusion.networks.quadruples import Quadruples, QuadrupleTerms, find_quadruples, volumes

BUTANE = ((0, 1), (1, 2), (2, 3))
METHANE = ((0, 1), (0, 2), (0, 3), (0, 4))


def _positions(count: int, atoms: int) -> Tensor:
    generator = torch.Generator().manual_seed(atoms)
    return torch.randn(count, atoms, 3, generator=generator, dtype=torch.float64)


def _terms(
    x: Tensor, kinds: tuple[int, ...], bonds: tuple[tuple[int, int], ...], **options: object
) -> QuadrupleTerms:
    found = Quadruples.of(x, kinds, bonds, **options)  # type: ignore[arg-type]
    assert found is not None
    return QuadrupleTerms(found, len(kinds), 4).double()


def test_quadruples_are_all_chains_and_all_threes_around_a_centre() -> None:
    assert find_quadruples((0,) * 4, BUTANE)[0] == (((0, 1), (1, 2), (2, 3)),)
    stars = find_quadruples((0, 1, 1, 1, 1), METHANE)[0]
    assert len(stars) == math.comb(4, 3)
    assert all(edge[0] == 0 for star in stars for edge in star)
    # Ethane: nine torsions, and four threes around each carbon; a ring of three has no torsion.
    ethane = ((0, 1), *((0, place) for place in (2, 3, 4)), *((1, place) for place in (5, 6, 7)))
    edges, names, _ = find_quadruples((0, 0, *(1,) * 6), ethane)
    assert len(edges) == 9 + 8
    assert len(set(names)) == 1 + 2
    assert find_quadruples((0,) * 3, ((0, 1), (1, 2), (2, 0)))[0] == ()


def test_signs_are_seen_where_numbering_does_not_matter_and_a_centre_is_named() -> None:
    kinds = (0, 1, 2, 3, 3)
    assert not any(find_quadruples(kinds, METHANE)[2])
    edges, _, signed = find_quadruples(kinds, METHANE, (0, 1, 2, 3))
    ends = [tuple(sorted(edge[1] for edge in star)) for star in edges]
    assert dict(zip(ends, signed, strict=True)) == {
        (1, 2, 3): True, (1, 2, 4): True, (1, 3, 4): False, (2, 3, 4): False
    }  # fmt: skip
    # A centre without bonds is added as it was named.
    alone = find_quadruples((0,) * 4, (), (2, 0, 1, 3))
    assert alone == ((((2, 0), (2, 1), (2, 3)),), [(1, 0, 0, 0, 0)], (True,))


def test_shares_are_volumes_over_lengths_and_slopes_their_gradients() -> None:
    x = _positions(5, 4).requires_grad_()
    for bonds in (BUTANE, METHANE[:3]):
        terms = _terms(x.detach(), (0, 1, 2, 3), bonds)
        found = volumes(x, terms.ends)
        a, b, c = (x[:, 1] - x[:, 0], x[:, 2] - x[:, 0], x[:, 3] - x[:, 0])
        volume = torch.linalg.det(torch.stack([a, b, c], 1))
        edges = (terms.ends.mT @ x).unflatten(1, (-1, 3))[:, 0]
        torch.testing.assert_close(
            found.share[:, 0], volume / edges.norm(dim=-1).prod(-1), rtol=1e-6, atol=0.0
        )
        (gradient,) = torch.autograd.grad(volume.sum(), x)
        force = terms.forces(found.slopes, found.square)
        torch.testing.assert_close(force, gradient, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("signed", [False, True])
def test_data_are_measured_by_kind_and_weight(signed: bool) -> None:
    x, weights = _positions(6, 5), torch.tensor([1.0, 2.0, 0.0, 0.0, 1.0, 0.0])
    chiral = (0, 1, 2, 3) if signed else None
    kinds = (0, 1, 2, 3, 3)
    found = Quadruples.of(x, kinds, METHANE, weights, chiral)
    again = Quadruples.of(x[[0, 1, 1, 4]], kinds, METHANE, None, chiral)
    assert found is not None
    assert again is not None
    for name in ("means", "stds", "squares"):
        torch.testing.assert_close(getattr(found, name), getattr(again, name))
    assert bool(found.means[0] != 0.0) is signed
    assert found.kinds[0] == found.kinds[1] != found.kinds[2]
    torch.testing.assert_close(found.stds[0], found.stds[1])


def test_excess_is_of_the_size_one_with_and_without_noise() -> None:
    # A centre nearly in the plane of its neighbours, as planar groups are.
    generator = torch.Generator().manual_seed(0)
    flat = torch.tensor([[0.0, 0, 0], [1, 0, 0], [-0.5, 0.8, 0], [-0.5, -0.8, 0]], dtype=torch.float64)
    x = flat + 0.03 * torch.randn(4000, 4, 3, generator=generator, dtype=torch.float64)
    terms = _terms(x, (0, 1, 2, 3), METHANE[:3])
    for level in (0.001, 0.03, 0.1, 0.3, 1.0, 10.0):
        alpha = 1.0 / math.sqrt(1.0 + level**2)
        noisy = alpha * (x + level * torch.randn(x.shape, generator=generator, dtype=torch.float64))
        noise = torch.full((len(x),), 0.25 * math.log(level), dtype=torch.float64)
        _, excess, _ = terms.start(noisy, torch.zeros(len(x), 4, dtype=torch.float64), noise)
        assert 0.6 < float(excess.square().mean().sqrt()) < 1.6


def test_there_are_none_in_the_plane_or_without_bonds() -> None:
    assert Quadruples.of(torch.randn(5, 4, 2), (0,) * 4, BUTANE) is None
    assert Quadruples.of(torch.randn(5, 4, 3), (0,) * 4, ()) is None
