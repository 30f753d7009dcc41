r"""Vectors in which configurations are compared.

Cartesian coordinates depend on where a configuration lies, how it is turned and how its atoms are numbered.
Two ways out: to put both samples through random symmetries of the system, so that the laws that are compared
are the symmetrised ones; or to compare distances of pairs of atoms, which do not change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from .metrics_checks import Values, as_atom_types, as_configurations, default_generator
from .metrics_distances import AtomTypes

__all__ = ["Features", "Symmetries", "VectorChoice", "feature_vectors", "random_symmetry"]

Features = Literal["coordinates", "distances"]
Symmetries = Literal["particles", "molecule", "none"]


@dataclass(frozen=True)
class VectorChoice:
    """In which vectors configurations are compared; see `feature_vectors`."""

    features: Features = "coordinates"
    symmetries: Symmetries = "particles"
    atom_types: AtomTypes = None

    def vectors(self, configurations: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return one vector a configuration, float64 of shape ``(n, features)``."""
        return feature_vectors(
            configurations,
            features=self.features,
            symmetries=self.symmetries,
            atom_types=self.atom_types,
            generator=generator,
        )


def feature_vectors(
    configurations: Values,
    *,
    features: Features = "coordinates",
    symmetries: Symmetries = "particles",
    atom_types: AtomTypes = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return one vector a configuration.

    Parameters
    ----------
    configurations : array-like of shape (n, atoms, dimensions)
        In any unit of length.
    features : {"coordinates", "distances"}
        "coordinates": centred Cartesian coordinates after a random symmetry. "distances": distances of all
        pairs of atoms, with symmetries "particles" sorted among pairs of equal types. Mirror images, and a
        few configurations whose sorted distances agree, are not told apart by distances.
    symmetries : {"particles", "molecule", "none"}
        "particles": turns, mirror images, and exchange of atoms of equal type. "molecule": turns; atoms keep
        their numbers. "none": coordinates are only centred.
    atom_types : sequence of int of shape (atoms,), optional
        Only atoms of equal type are exchanged; all are equal by default.
    generator : torch.Generator, optional
        Draws the symmetries; a fixed seed by default.

    Returns
    -------
    Tensor
        Float64 of shape ``(n, atoms * dimensions)`` or ``(n, atoms * (atoms - 1) / 2)``.

    Raises
    ------
    ValueError
        For arguments of wrong shapes or values.
    """
    if features not in get_args(Features) or symmetries not in get_args(Symmetries):
        raise ValueError(
            f"features must be one of {get_args(Features)} and symmetries one of {get_args(Symmetries)}, "
            f"got {features!r} and {symmetries!r}"
        )
    x = as_configurations(configurations, "configurations")
    if features == "coordinates":
        return random_symmetry(x, symmetries, atom_types=atom_types, generator=generator).flatten(1)
    return _sorted_distances(x, atom_types if symmetries == "particles" else range(x.shape[1]))


def random_symmetry(
    configurations: Values,
    symmetries: Symmetries = "particles",
    *,
    atom_types: AtomTypes = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Centre configurations and put each through a symmetry of its own, drawn uniformly.

    Parameters
    ----------
    configurations, symmetries, atom_types, generator
        As for `feature_vectors`.

    Returns
    -------
    Tensor
        Float64 of shape ``(n, atoms, dimensions)``.
    """
    x = as_configurations(configurations, "configurations")
    x = x - x.mean(1, keepdim=True)
    if symmetries == "none":
        return x
    source = default_generator(generator)
    if symmetries == "particles":
        x = _exchanged(x, as_atom_types(atom_types, x.shape[1]), source)
    return x @ _turns(len(x), x.shape[2], symmetries == "particles", source).to(x.device)


def _exchanged(x: Tensor, types: np.ndarray, generator: torch.Generator) -> Tensor:
    """Return configurations whose atoms of equal type are numbered at random."""
    kinds = torch.as_tensor(np.unique(types, return_inverse=True)[1], device=generator.device)
    chance = torch.rand(x.shape[:2], generator=generator, dtype=torch.float64, device=generator.device)
    # Ordered by type first and chance second, atoms go to the places of their type.
    atoms = (2.0 * kinds + chance).argsort(1).to(x.device)
    places = kinds.argsort(stable=True).to(x.device)
    exchanged = torch.empty_like(x)
    exchanged[:, places] = x.gather(1, atoms[..., None].expand(x.shape))
    return exchanged


def _turns(count: int, dimensions: int, mirrors: bool, generator: torch.Generator) -> Tensor:
    """Return orthogonal matrices drawn uniformly, of determinant 1 without mirrors."""
    shape = (count, dimensions, dimensions)
    noise = torch.randn(shape, generator=generator, dtype=torch.float64, device=generator.device)
    turns: Tensor
    turns, upper = torch.linalg.qr(noise)
    # With a positive diagonal of R the factor Q is unique, and uniform as the noise is.
    turns = turns * upper.diagonal(dim1=-2, dim2=-1).sign()[:, None, :]
    if not mirrors:
        turns[..., 0] *= torch.linalg.det(turns).sign()[:, None]
    return turns


def _sorted_distances(x: Tensor, atom_types: AtomTypes | range) -> Tensor:
    """Return distances of all pairs, grouped by the types of their atoms and sorted in each group."""
    types = as_atom_types(None if atom_types is None else np.asarray(atom_types), x.shape[1])
    first, second = np.triu_indices(x.shape[1], 1)
    found: Tensor = torch.linalg.vector_norm(x[:, first] - x[:, second], dim=-1)
    pairs = np.sort(np.stack([types[first], types[second]]), axis=0)
    kinds, group = np.unique(pairs, axis=1, return_inverse=True)
    if kinds.shape[1] == found.shape[1]:
        return found
    groups = [found[:, np.flatnonzero(group.ravel() == kind)] for kind in range(kinds.shape[1])]
    return torch.cat([one.sort(1).values for one in groups], 1)
