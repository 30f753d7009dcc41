"""Hands and mirror images: signs, invariances, exactness of folding, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sciffusion.domains.boltzmann.chirality import (
    check_centre,
    common_hand,
    fold_mirror_images,
    hand_of,
    reflected,
)

CENTRE = (0, 1, 2, 3)


def _draws(count: int, seed: int = 0) -> Tensor:
    """Draw L-shaped tetrahedra that are distorted but keep their hand, turned at random."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.tensor([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, -1, -1.0]]).double()
    noise = 0.1 * torch.rand(count, 5, 3, generator=generator, dtype=torch.float64)
    turns, _ = torch.linalg.qr(torch.randn(count, 3, 3, generator=generator, dtype=torch.float64))
    turns = turns * torch.linalg.det(turns)[:, None, None]
    return (corners + noise) @ turns


def _distances(x: Tensor) -> Tensor:
    return torch.cdist(x, x)


def test_the_hand_is_that_of_the_axes() -> None:
    axes = torch.cat([torch.zeros(1, 3), torch.eye(3)])
    assert float(hand_of(axes, CENTRE)) == 1.0
    assert float(hand_of(axes, (0, 2, 1, 3))) == -1.0
    assert float(hand_of(axes, (0, 2, 3, 1))) == 1.0
    flat = axes.clone()
    flat[3] = torch.tensor([1.0, 1.0, 0.0])
    assert float(hand_of(flat, CENTRE)) == 0.0


def test_rigid_motion_keeps_the_hand_and_mirrors_change_it() -> None:
    x = _draws(50)
    assert (hand_of(x, CENTRE) == 1).all()
    assert (hand_of(x + 5.0, CENTRE) == 1).all()
    assert (hand_of(reflected(x), CENTRE) == -1).all()
    torch.testing.assert_close(_distances(reflected(x)), _distances(x))
    torch.testing.assert_close(reflected(reflected(x)), x)
    torch.testing.assert_close(reflected(x).mean(1), x.mean(1))


def test_folding_recovers_the_law_that_was_mirrored_exactly() -> None:
    x = _draws(4000)
    coin = torch.rand(len(x), generator=torch.Generator().manual_seed(9)) < 0.5
    mixture = torch.where(coin[:, None, None], reflected(x), x)
    folded = fold_mirror_images(mixture, CENTRE)
    torch.testing.assert_close(folded.configurations, x)
    assert torch.equal(folded.reflected, coin)
    assert folded.share == pytest.approx(float(coin.double().mean()))
    other = fold_mirror_images(mixture, CENTRE, hand=-1)
    torch.testing.assert_close(other.configurations, reflected(x))
    assert torch.equal(other.reflected, ~coin)


def test_folding_keeps_the_expectation_of_a_law_with_unequal_shapes() -> None:
    # Draws of p(x) = (q(x) + q(Sx)) / 2 with weights: means of a function that tells the hands apart.
    x = _draws(3000, seed=3)
    coin = torch.rand(len(x), generator=torch.Generator().manual_seed(5)) < 0.5
    mixture = torch.where(coin[:, None, None], reflected(x), x)
    weights = torch.softmax(_distances(mixture)[:, 0, 4] * 3.0, 0)  # the same for a mirror image

    def signed(y: Tensor) -> Tensor:
        first, second, third = (y[:, place] - y[:, 0] for place in (1, 2, 4))
        return (first * torch.linalg.cross(second, third)).sum(-1)

    expected = (weights * signed(x)).sum()
    found = (weights * signed(fold_mirror_images(mixture, CENTRE).configurations)).sum()
    torch.testing.assert_close(found, expected)
    assert abs(float((weights * signed(mixture)).sum())) < 0.2 * abs(float(expected))


def test_centres_are_plain_numbers_in_any_form() -> None:
    assert check_centre(None, (5, 2)) is None
    for form in ((0, 1, 2, 4), [0, 1, 2, 4], np.array([0, 1, 2, 4]), torch.tensor([0, 1, 2, 4])):
        assert check_centre(form, (5, 3)) == (0, 1, 2, 4)
    for wrong in (5, "0123", (0.0, 1, 2, 3), (True, 0, 2, 3), np.array([0.5, 1, 2, 3])):
        with pytest.raises(TypeError, match="chiral_centre must hold four numbers of atoms"):
            check_centre(wrong, (5, 3))
    for odd in ((0, 1, 2), (0, 1, 2, 5), (-1, 0, 1, 2), (0, 1, 1, 2)):
        with pytest.raises(ValueError, match="chiral_centre must be four different atoms between 0 and 4"):
            check_centre(odd, (5, 3))
    with pytest.raises(ValueError, match="chiral_centre needs three dimensions"):
        check_centre((0, 1, 2, 3), (5, 2))


def test_the_hand_of_all_is_that_of_each() -> None:
    x = _draws(20).numpy()
    assert common_hand(x, CENTRE) == 1
    assert common_hand(reflected(torch.from_numpy(x)).numpy(), CENTRE) == -1
    x[7] *= -1.0
    with pytest.raises(ValueError, match=r"one hand in all configurations of X; 95\.0% have the first"):
        common_hand(x, CENTRE)
    x[7, :4, 2] = 0.0
    with pytest.raises(ValueError, match="one plane with its neighbours in configuration 7"):
        common_hand(x, CENTRE)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: hand_of(torch.zeros(3, 5, 2), CENTRE), "atoms, 3"),
        (lambda: hand_of(torch.zeros(3, 5, 3), (0, 1, 2)), "four different atoms between 0 and 4"),
        (lambda: hand_of(torch.zeros(3, 5, 3), (0, 1, 1, 2)), "four different"),
        (lambda: hand_of(torch.zeros(3, 5, 3), (0, 1, 2, 5)), "four different"),
        (lambda: fold_mirror_images(torch.zeros(3, 5, 3), CENTRE, hand=0), "hand must be 1 or -1"),
        (lambda: fold_mirror_images(torch.zeros(5, 3), CENTRE), "n, atoms, 3"),
    ],
)
def test_what_cannot_be_used_is_refused(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()
