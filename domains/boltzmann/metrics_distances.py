r"""Measures on the line: energies and distances of pairs of atoms.

The first Wasserstein distance between two weighted samples on the line is exact,

.. math:: W_1 = \int |F(r) - G(r)|\,dr

with F and G their distribution functions. For energies it is in their unit. For the radial distribution it is
that between the distances of a pair drawn at random from a configuration drawn by weight, in the unit of
length: no histogram is involved.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .metrics_checks import Values, as_atom_types, as_configurations, as_weights, weighted_energies

__all__ = ["RadialDistribution", "energy_distance_w1", "pair_distances", "radial_distribution", "radial_w1"]

AtomTypes = Sequence[int] | NDArray[np.integer] | None
Normalisation = Literal["density", "shell"]


class RadialDistribution(NamedTuple):
    """Histogram of distances between atoms.

    Parameters
    ----------
    edges : ndarray of shape (bins + 1,)
        In the unit of length.
    values : ndarray of shape (bins,)
        See `radial_distribution`.
    """

    edges: NDArray[np.float64]
    values: NDArray[np.float64]

    @property
    def middles(self) -> NDArray[np.float64]:
        """Middles of the bins."""
        return (self.edges[1:] + self.edges[:-1]) / 2


def energy_distance_w1(
    energies: Values,
    reference_energies: Values,
    *,
    log_weights: Values | None = None,
    reference_log_weights: Values | None = None,
) -> float:
    """Return the first Wasserstein distance between weighted energies and those of a reference.

    Parameters
    ----------
    energies, reference_energies : array-like of shape (n,) and (m,)
        Both in one unit, in which the result is.
    log_weights, reference_log_weights : array-like of shape (n,) and (m,), optional
        Of any normalisation.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        For energies or weights of wrong shapes or values.
    """
    x, w = weighted_energies(energies, log_weights, "")
    y, v = weighted_energies(reference_energies, reference_log_weights, "reference_")
    return line_w1(x, y.to(x.device), w, v.to(x.device))


def pair_distances(
    configurations: Values, *, atom_types: AtomTypes = None, pair: tuple[int, int] | None = None
) -> Tensor:
    """Return the distances between atoms.

    Parameters
    ----------
    configurations : array-like of shape (n, atoms, dimensions)
        In any unit of length.
    atom_types : sequence of int of shape (atoms,), optional
        Needed with ``pair``.
    pair : (int, int), optional
        Only pairs of an atom of the first and one of the second type.

    Returns
    -------
    Tensor
        Float64 of shape ``(n, pairs)``, every pair once.

    Raises
    ------
    ValueError
        For configurations or types of wrong shapes or values, or if there is no such pair.
    """
    x = as_configurations(configurations, "configurations")
    first, second = pairs_of(x.shape[1], atom_types, pair)
    apart: Tensor = torch.linalg.vector_norm(x[:, first] - x[:, second], dim=-1)
    return apart


def pairs_of(
    atoms: int, atom_types: AtomTypes, pair: tuple[int, int] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the positions of the atoms of every pair, each pair once."""
    first, second = np.triu_indices(atoms, 1)
    if pair is None:
        return first, second
    if atom_types is None:
        raise ValueError("pair names types of atoms: give atom_types, too")
    types = as_atom_types(atom_types, atoms)
    wanted = np.sort(np.asarray(pair))
    found = np.sort(np.stack([types[first], types[second]]), axis=0)
    kept = (found == wanted[:, None]).all(0)
    if not kept.any():
        raise ValueError(
            f"there is no pair of atoms of types {tuple(pair)}; there are types {np.unique(types).tolist()}"
        )
    return first[kept], second[kept]


def radial_distribution(
    configurations: Values,
    *,
    log_weights: Values | None = None,
    bins: int = 100,
    range: tuple[float, float] | None = None,
    normalisation: Normalisation = "density",
    atom_types: AtomTypes = None,
    pair: tuple[int, int] | None = None,
) -> RadialDistribution:
    r"""Return the weighted histogram of the distances between atoms.

    Parameters
    ----------
    configurations : array-like of shape (n, atoms, dimensions)
        In any unit of length.
    log_weights : array-like of shape (n,), optional
        Of any normalisation.
    bins : int
        Number of bins.
    range : (float, float), optional
        First and last edge; from 0 to the largest distance by default.
    normalisation : {"density", "shell"}
        "density": the probability density p(r) of the distance of a pair drawn at random; it integrates to 1
        over all distances, those outside of the range included. "shell": that over the surface of the shell,
        :math:`p(r) / (2 \pi r)` in two dimensions, :math:`p(r) / (4 \pi r^2)` in three, averaged over the
        bin, the density of the vector between the atoms. A free cluster has no bulk density by which liquids
        are normalised to 1 far out.
    atom_types, pair
        As for `pair_distances`.

    Returns
    -------
    RadialDistribution
        Edges and values; the values are in the inverse unit of length ("density") or of area or volume
        ("shell").

    Raises
    ------
    ValueError
        For arguments of wrong shapes or values.
    """
    x = as_configurations(configurations, "configurations")
    w = as_weights(log_weights, len(x), "log_weights", x.device)
    distances = pair_distances(x, atom_types=atom_types, pair=pair)
    if bins < 1 or normalisation not in get_args(Normalisation):
        raise ValueError(
            f"bins must be at least 1 and normalisation one of {get_args(Normalisation)}, got {bins} and "
            f"{normalisation!r}"
        )
    low, high = (0.0, float(distances.max())) if range is None else map(float, range)
    if not (np.isfinite(high) and 0.0 <= low < high):
        raise ValueError(f"range must be increasing and not negative, got ({low}, {high})")
    edges = np.linspace(low, high, bins + 1)
    shares = (w[:, None] / distances.shape[1]).expand(distances.shape)
    mass, _ = np.histogram(distances.cpu().numpy(), bins=edges, weights=shares.cpu().numpy())
    return RadialDistribution(edges, mass / _sizes(edges, x.shape[2], normalisation))


def _sizes(edges: NDArray[np.float64], dimensions: int, normalisation: Normalisation) -> NDArray[np.float64]:
    """Return lengths of bins, or the areas or volumes of their shells."""
    if normalisation == "density":
        return np.asarray(np.diff(edges))
    if dimensions not in (2, 3):
        raise ValueError(f"normalisation='shell' needs 2 or 3 dimensions, got {dimensions}")
    ball = {2: np.pi, 3: 4.0 / 3.0 * np.pi}[dimensions]
    return np.asarray(np.diff(ball * edges**dimensions))


def radial_w1(
    configurations: Values,
    reference: Values,
    *,
    log_weights: Values | None = None,
    reference_log_weights: Values | None = None,
    atom_types: AtomTypes = None,
    pair: tuple[int, int] | None = None,
) -> float:
    """Return the first Wasserstein distance between distances of atoms and those of a reference.

    Parameters
    ----------
    configurations, reference : array-like of shape (n, atoms, dimensions) and (m, atoms, dimensions)
        Both in one unit of length, in which the result is.
    log_weights, reference_log_weights : array-like of shape (n,) and (m,), optional
        Of any normalisation.
    atom_types, pair
        As for `pair_distances`.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        For arguments of wrong shapes or values.
    """
    x = pair_distances(configurations, atom_types=atom_types, pair=pair)
    y = pair_distances(reference, atom_types=atom_types, pair=pair).to(x.device)
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"both must have the same atoms, got {x.shape[1]} and {y.shape[1]} pairs of them")
    w = as_weights(log_weights, len(x), "log_weights", x.device)
    v = as_weights(reference_log_weights, len(y), "reference_log_weights", x.device)
    return line_w1(x.flatten(), y.flatten(), spread(w, x), spread(v, y))


def spread(weights: Tensor, values: Tensor) -> Tensor:
    """Return weights of configurations as weights of their pairs, flattened."""
    return (weights[:, None] / values.shape[1]).expand(values.shape).reshape(-1)


def line_w1(x: Tensor, y: Tensor, w: Tensor, v: Tensor) -> float:
    """Return the first Wasserstein distance on the line for weights of sum 1."""
    places, order = torch.cat([x, y]).sort()
    # The difference of the distribution functions is constant between neighbouring places.
    difference = torch.cat([w, -v])[order].cumsum(0)
    return float((difference[:-1].abs() * places.diff()).sum())
