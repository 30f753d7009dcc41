r"""Symmetries of networks for particles: rotations, reflections, translations, exchange of equal particles.

A network f of positions :math:`x` (rows are particles) that respects the symmetries of space obeys

.. math::
   f(x Q^\top) = f(x) Q^\top, \qquad f(x + 1 c^\top) = f(x), \qquad f(\Pi x) = \Pi f(x)

for every rotation (and, unless particles are chiral, reflection) Q, every shift c of all particles, and every
permutation :math:`\Pi` of particles of one type.  Rotations and the mirror of one axis together make all
orthogonal matrices, so each is checked by itself and the error says which fails.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

__all__ = ["assert_equivariant"]

Network = Callable[[Tensor, Tensor], Tensor]
Change = Callable[[Tensor], Tensor]

#: Configurations in a batch, and rotations, shifts and permutations of each kind that are tried.
ITEMS, TRIALS = 5, 3


def assert_equivariant(
    network: Network,
    shape: Sequence[int],
    *,
    atom_types: Sequence[int] | Tensor | None = None,
    reflections: bool = True,
    centred: bool = False,
    scale: float = 1.0,
    tolerance: float = 1e-9,
    dtype: torch.dtype = torch.float64,
) -> None:
    """Check that a network of particles respects the symmetries of space.

    Parameters
    ----------
    network : callable
        From positions ``(batch, atoms, dimensions)`` and one number an item ``(batch,)`` that tells the noise
        to vectors of the shape of the positions.  A module is copied and the copy checked in ``dtype``, so
        that rounding cannot hide or fake a fault.
    shape : sequence of int
        Atoms and dimensions of one configuration; at least two atoms.
    atom_types : sequence of int, optional
        Type of every atom, shape ``(atoms,)``: only atoms of one type are exchanged.  None for all equal;
        all different where none may be exchanged (a molecule whose bonds the network knows).
    reflections : bool, default True
        False for networks that are meant to tell mirror images apart.
    centred : bool, default False
        Ask also that the output moves no centre of mass: its sum over atoms is 0.
    scale : float, default 1
        Standard deviation of the coordinates tried; of the shifts, too.
    tolerance : float, default 1e-9
        Largest difference allowed, relative to the largest entry of the output.
    dtype : torch.dtype, default float64
        Of the positions; with float32 a tolerance near 1e-4 is fair.

    Raises
    ------
    AssertionError
        Naming every symmetry that is broken, and by how much; or if the output is no tensor of the shape of
        the positions, is not finite, or is 0 everywhere (as that of a network whose last layer starts at 0:
        give it other weights, or nothing is checked).
    ValueError
        For a shape of fewer than two atoms, or types that do not fit it.
    """
    atoms, dimensions = _checked_shape(shape)
    types = _checked_types(atom_types, atoms)
    if isinstance(network, nn.Module):
        network = copy.deepcopy(network).to(dtype).eval()
    generator = torch.Generator().manual_seed(0)
    x = scale * torch.randn(ITEMS, atoms, dimensions, generator=generator, dtype=torch.float64)
    noise = torch.linspace(-1.0, 1.0, ITEMS, dtype=torch.float64)

    def field(values: Tensor) -> Tensor:
        with torch.no_grad():
            found = network(values.to(dtype), noise.to(dtype))
        return _checked_output(found, values).to(torch.float64)

    expected = field(x)
    size = float(expected.abs().max())
    if size == 0.0:
        raise AssertionError(
            "the output is 0 for every configuration tried, so that nothing can be checked; give the network "
            "weights that are not 0"
        )
    gaps: dict[str, float] = {}
    for name, inward, outward in _symmetries(types, dimensions, reflections, scale, generator):
        gap = float((field(inward(x)) - outward(expected)).abs().max()) / size
        gaps[name] = max(gap, gaps.get(name, 0.0))
    if centred:
        gaps["centre of mass"] = float(expected.mean(1).abs().max()) / size
    broken = [
        f"{_LAWS[name]} (relative difference {gap:.3g})" for name, gap in gaps.items() if gap > tolerance
    ]
    if broken:
        raise AssertionError("broken symmetries: " + "; ".join(broken))


_LAWS = {
    "rotation": "rotation: rotated configurations must give rotated outputs",
    "reflection": "reflection: mirror images must give mirrored outputs",
    "translation": "translation: a shift of all atoms must leave the output as it is",
    "permutation": "permutation: exchanged atoms of one type must give exchanged outputs",
    "centre of mass": "centre of mass: the output must sum to 0 over the atoms",
}


def _symmetries(
    types: Tensor, dimensions: int, reflections: bool, scale: float, generator: torch.Generator
) -> Iterator[tuple[str, Change, Change]]:
    """Yield the name of a symmetry, what it does to positions, and what it must do to outputs."""
    exchangeable = bool((types[:, None] == types).sum(1).max() > 1)
    for _ in range(TRIALS):
        if dimensions > 1:
            turn = _rotation(dimensions, generator)
            yield "rotation", _product(turn), _product(turn)
        shift = scale * torch.randn(dimensions, generator=generator, dtype=torch.float64)
        yield "translation", _sum(shift), lambda values: values
        if exchangeable:
            order = _permutation(types, generator)
            yield "permutation", _reorder(order), _reorder(order)
    if reflections:
        mirror = torch.eye(dimensions, dtype=torch.float64)
        mirror[0, 0] = -1.0
        yield "reflection", _product(mirror), _product(mirror)


def _product(matrix: Tensor) -> Change:
    return lambda values: values @ matrix.mT


def _sum(shift: Tensor) -> Change:
    return lambda values: values + shift


def _reorder(order: Tensor) -> Change:
    return lambda values: values[:, order]


def _rotation(dimensions: int, generator: torch.Generator) -> Tensor:
    """Draw a rotation: the orthogonal factor of a normal matrix, its determinant made 1."""
    normal = torch.randn(dimensions, dimensions, generator=generator, dtype=torch.float64)
    orthogonal: Tensor = torch.linalg.qr(normal)[0]
    orthogonal[:, 0] *= torch.sign(torch.linalg.det(orthogonal))
    return orthogonal


def _permutation(types: Tensor, generator: torch.Generator) -> Tensor:
    """Draw an order of the atoms that moves some of them, each to a place of its own type."""
    places = torch.arange(len(types))
    order = places
    while torch.equal(order, places):
        order = places.clone()
        for kind in set(types.tolist()):
            members = places[types == kind]
            order[members] = members[torch.randperm(len(members), generator=generator)]
    return order


def _checked_shape(shape: Sequence[int]) -> tuple[int, int]:
    if len(shape) != 2 or shape[0] < 2 or shape[1] < 1:
        raise ValueError(f"shape must be (atoms, dimensions) with at least two atoms, got {tuple(shape)}")
    return int(shape[0]), int(shape[1])


def _checked_types(atom_types: Sequence[int] | Tensor | None, atoms: int) -> Tensor:
    types = torch.zeros(atoms, dtype=torch.int64) if atom_types is None else torch.as_tensor(atom_types)
    if tuple(types.shape) != (atoms,):
        raise ValueError(f"atom_types must have shape ({atoms},), one type an atom, got {tuple(types.shape)}")
    return types


def _checked_output(found: object, values: Tensor) -> Tensor:
    if not isinstance(found, Tensor) or found.shape != values.shape:
        kind = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise AssertionError(f"the output must be a Tensor of shape {tuple(values.shape)}, got {kind}")
    if not bool(found.isfinite().all()):
        raise AssertionError("the output must be finite")
    return found
