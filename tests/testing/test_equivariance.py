"""The check of symmetries passes a right network, and names the one symmetry that a wrong network breaks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from sciffusion.testing import assert_equivariant

WEIGHTS = torch.tensor([1.0, 2.0, -1.0, 0.5], dtype=torch.float64)


def _right(x: Tensor, noise: Tensor) -> Tensor:
    """Central forces between all pairs, stronger with less noise."""
    pairs = x[:, :, None] - x[:, None]
    strength = torch.exp(-(pairs**2).sum(-1, keepdim=True) - noise[:, None, None, None])
    return (strength * pairs).sum(2)


def _turned_by_axes(x: Tensor, noise: Tensor) -> Tensor:
    return _right(x, noise) * torch.arange(1.0, 1.0 + x.shape[-1], dtype=x.dtype)


def _handed(x: Tensor, noise: Tensor) -> Tensor:
    """Add a cross product, or a quarter turn in the plane: it turns with x, but not with its mirror."""
    force = _right(x, noise)
    if x.shape[-1] == 2:
        return force + torch.stack([-force[..., 1], force[..., 0]], -1)
    around = torch.linalg.cross(force, _right(2.0 * x, noise))
    return force + around


def _held_at_origin(x: Tensor, noise: Tensor) -> Tensor:
    return _right(x, noise) - 0.1 * x


def _numbered(x: Tensor, noise: Tensor) -> Tensor:
    return _right(x, noise) * WEIGHTS[:, None].to(x)


WRONG = {
    "rotation": _turned_by_axes,
    "reflection": _handed,
    "translation": _held_at_origin,
    "permutation": _numbered,
}


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_right_network_passes(dimensions: int) -> None:
    assert_equivariant(_right, (4, dimensions), centred=True)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("symmetry", list(WRONG))
def test_the_one_broken_symmetry_is_named(symmetry: str, dimensions: int) -> None:
    with pytest.raises(AssertionError) as caught:
        assert_equivariant(WRONG[symmetry], (4, dimensions))
    named = [other for other in WRONG if f"{other}:" in str(caught.value)]
    assert named == [symmetry]


def test_every_broken_symmetry_is_named() -> None:
    def broken(x: Tensor, noise: Tensor) -> Tensor:
        return _numbered(_turned_by_axes(x, noise), noise) - x

    with pytest.raises(AssertionError, match=r"rotation: .*translation: .*permutation: "):
        assert_equivariant(broken, (4, 3))


def test_handed_networks_are_allowed_where_reflections_are_not_asked() -> None:
    assert_equivariant(_handed, (4, 3), reflections=False)


@pytest.mark.parametrize(("types", "right"), [([0, 1, 2, 3], True), ([0, 1, 1, 0], False)])
def test_only_atoms_of_one_type_are_exchanged(types: list[int], right: bool) -> None:
    if right:
        assert_equivariant(_numbered, (4, 3), atom_types=types)
    else:
        with pytest.raises(AssertionError, match="permutation"):
            assert_equivariant(_numbered, (4, 3), atom_types=types)


def test_a_moved_centre_of_mass_is_named() -> None:
    def drifting(x: Tensor, noise: Tensor) -> Tensor:
        pull = _right(x, noise)
        return pull * (pull**2).sum(-1, keepdim=True)

    assert_equivariant(drifting, (4, 3))
    with pytest.raises(AssertionError, match="centre of mass"):
        assert_equivariant(drifting, (4, 3), centred=True)


class _Module(nn.Module):
    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        return self.gain * _right(x, noise)


def test_modules_are_checked_in_float64_and_left_alone() -> None:
    module = _Module(1.0)
    assert_equivariant(module, (5, 3), tolerance=1e-12)
    assert module.gain.dtype == torch.float32
    assert module.training


def test_small_faults_are_found() -> None:
    with pytest.raises(AssertionError, match="translation"):
        assert_equivariant(lambda x, noise: _right(x, noise) + 1e-7 * x, (4, 3))


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (_Module(0.0), "is 0 for every"),
        (lambda x, noise: _right(x, noise).sum(-1), "must be a Tensor of shape"),
        (lambda x, noise: None, "got NoneType"),
        (lambda x, noise: x / 0.0, "finite"),
    ],
)
def test_outputs_that_check_nothing_are_refused(network: Callable[..., object], reason: str) -> None:
    with pytest.raises(AssertionError, match=reason):
        assert_equivariant(network, (4, 3))


@pytest.mark.parametrize(
    ("shape", "types", "reason"), [((1, 3), None, "two atoms"), ((4, 3), [0, 1], "atom_types")]
)
def test_wrong_arguments_are_refused(shape: tuple[int, int], types: list[int] | None, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        assert_equivariant(_right, shape, atom_types=types)
