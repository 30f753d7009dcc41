"""Checks of configurations and of what comes with them, before any work is done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = [
    "Floats",
    "check_bonds",
    "check_configurations",
    "check_forces",
    "check_kinds",
    "check_virial",
    "refuse_constraints",
    "refuse_flat",
]

Floats = NDArray[np.float64]

#: Distances below this share of the spread of a configuration are an overlap.
_OVERLAP = 1e-4
#: The mean virial of forces that belong to the temperature is 1; conversions of units are off by factors of
#: at least two (kT against kJ/mol at room temperature: 2.5; kcal against kJ: 4.2; nm against Angstrom: 10).
_VIRIAL_RANGE = (0.7, 1.4)
_ROWS_FOR_VIRIAL = 200
#: Stiff bonds vary by some hundredths of their length, constrained ones by the tolerance of a solver.
_CONSTRAINED = 1e-4


def check_configurations(name: str, value: Any, *, shape: tuple[int, int] | None = None) -> Floats:
    """Return configurations as float64 of shape ``(n, atoms, dimensions)``, each with its centre at 0.

    Parameters
    ----------
    name : str
        Of the argument, for errors.
    value : array-like or Tensor of shape (n, atoms, dimensions)
        Positions of two atoms or more, in one to three dimensions.
    shape : tuple of int, optional
        Atoms and dimensions that they must have.

    Raises
    ------
    TypeError
        For anything that does not hold real numbers.
    ValueError
        For another shape, values that are NaN or infinite, or atoms at the same place, naming the first
        configuration.
    """
    positions = _numbers(name, value)
    if positions.ndim != 3:
        hint = ""
        if positions.ndim == 2:
            hint = "; reshape rows of coordinates with X.reshape(len(X), atoms, dimensions)"
        raise ValueError(f"{name} must have shape (n, atoms, dimensions), got shape {positions.shape}{hint}")
    n, atoms, dimensions = positions.shape
    if shape is not None and (atoms, dimensions) != shape:
        raise ValueError(
            f"{name} must have {shape[0]} atoms in {shape[1]} dimensions, as in fit, got shape "
            f"{positions.shape}"
        )
    if n < 1 or atoms < 2 or not 1 <= dimensions <= 3:
        raise ValueError(
            f"{name} must hold at least one configuration of two atoms or more in one to three dimensions, "
            f"got shape {positions.shape}"
        )
    _refuse_not_finite(name, positions)
    centred: Floats = positions - positions.mean(1, keepdims=True)
    _refuse_overlaps(name, centred)
    return centred


def _numbers(name: str, value: Any) -> Floats:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "fiu":
            raise TypeError
        return array.astype(np.float64)
    except (TypeError, ValueError):
        kind = getattr(value, "dtype", type(value).__name__)
        raise TypeError(f"{name} must be an array of real numbers, got {kind}") from None


def _refuse_not_finite(name: str, values: Floats) -> None:
    wrong = ~np.isfinite(values).all((1, 2))
    if wrong.any():
        raise ValueError(
            f"{name} must be finite; configuration {int(wrong.argmax())} holds NaN or infinite values "
            f"({int(wrong.sum())} of {len(values)} do); remove such frames first"
        )


def _refuse_overlaps(name: str, centred: Floats) -> None:
    first, second = np.triu_indices(centred.shape[1], 1)
    for start in range(0, len(centred), 4096):
        part = centred[start : start + 4096]
        distances = np.linalg.norm(part[:, first] - part[:, second], axis=-1)
        spread = np.sqrt(np.square(part).sum((1, 2)) / part.shape[1])
        overlap = distances <= _OVERLAP * spread[:, None]
        if overlap.any():
            row, pair = (int(place) for place in np.argwhere(overlap)[0])
            raise ValueError(
                f"atoms {first[pair]} and {second[pair]} of configuration {start + row} of {name} lie at the "
                f"same place (distance {distances[row, pair]:.3g}): such a configuration has no finite "
                "energy; remove it, or check that every atom has its own coordinates"
            )


def check_forces(value: Any, like: Floats) -> Floats:
    """Return forces as float64 of the shape of the configurations, with mean 0 over the atoms.

    Raises
    ------
    TypeError, ValueError
        For anything but finite numbers of that shape, or for forces that are 0 in all configurations.
    """
    forces = _numbers("forces", value)
    if forces.shape != like.shape:
        raise ValueError(f"forces must have the shape of X, {like.shape}, got {forces.shape}")
    _refuse_not_finite("forces", forces)
    centred: Floats = forces - forces.mean(1, keepdims=True)
    if not centred.any():
        raise ValueError("forces are 0 in all configurations; leave them out if they are not known")
    return centred


def check_virial(positions: Floats, forces: Floats, kt: float, weights: Floats, units: str) -> None:
    r"""Refuse forces that do not belong to configurations at this temperature.

    For configurations of :math:`D = (n - 1) d` free coordinates drawn from :math:`e^{-U/kT}`, integration by
    parts gives :math:`-E[x \cdot f] = D\,kT`, whatever the system: wrong units of energy, of length or of
    temperature show.

    Raises
    ------
    ValueError
        If the mean is off by more than forces and temperature that fit allow.
    """
    if len(positions) < _ROWS_FOR_VIRIAL:
        return  # the mean says too little
    dof = (positions.shape[1] - 1) * positions.shape[2]
    virial = -(positions * forces).sum((1, 2)) / (dof * kt)
    mean = float(np.average(virial, weights=weights))
    effective = weights.sum() ** 2 / np.square(weights).sum()
    error = 4.0 * float(virial.std()) / np.sqrt(effective)
    # Forces in a smaller unit have a larger spread, too, which must not hide them.
    error /= max(0.5 * abs(mean), 1.0)
    if not _VIRIAL_RANGE[0] - error <= mean <= _VIRIAL_RANGE[1] + error:
        raise ValueError(
            f"forces do not fit the temperature: the mean of -x.f is {mean:.3g} kT a degree of freedom, and "
            f"1 for configurations and forces that belong together (kT = {kt:.4g} with units={units!r}); "
            "check the units of energy (units='kJ/mol' takes kelvin and kJ/mol), of length (forces are "
            "energies over the length of X), the temperature, and the sign of the forces"
        )


def check_kinds(kinds: Any, atoms: int) -> tuple[int, ...]:
    """Return the kinds of the atoms, numbered from 0; all alike where none are given.

    Raises
    ------
    TypeError, ValueError
        For anything but one whole number or name an atom.
    """
    if kinds is None:
        return (0,) * atoms
    # Sets and mappings have no order of atoms, and an array of no axes has no length.
    ordered = isinstance(kinds, Sequence) or getattr(kinds, "ndim", 0) == 1
    if isinstance(kinds, str | bytes) or not ordered:
        raise TypeError(f"atom_types must hold one number or name an atom, got {kinds!r:.60}")
    if len(kinds) != atoms:
        raise ValueError(f"atom_types must have one entry an atom, {atoms} in all, got {len(kinds)}")
    _, numbers = np.unique(np.asarray([str(kind) for kind in kinds]), return_inverse=True)
    return tuple(int(number) for number in numbers)


def check_bonds(bonds: Any, atoms: int) -> tuple[tuple[int, int], ...]:
    """Return bonds as pairs of atoms.

    Raises
    ------
    TypeError, ValueError
        For anything but pairs of different atoms.
    """
    if bonds is None:
        return ()
    try:
        pairs = np.asarray(bonds)
        if pairs.size and (pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "iu"):
            raise ValueError
    except ValueError:
        raise TypeError(f"bonds must be pairs of whole numbers, got {bonds!r:.80}") from None
    for one, other in pairs.tolist():
        if not (0 <= one < atoms and 0 <= other < atoms and one != other):
            raise ValueError(
                f"bonds must join different atoms between 0 and {atoms - 1}, got ({one}, {other})"
            )
    return tuple((int(one), int(other)) for one, other in pairs.tolist())


def refuse_constraints(positions: Floats) -> None:
    """Refuse configurations in which the distance of two atoms hardly varies.

    Raises
    ------
    ValueError
        Naming the pair.
    """
    first, second = np.triu_indices(positions.shape[1], 1)
    some = positions[:: max(len(positions) // 2000, 1)]
    distances = np.linalg.norm(some[:, first] - some[:, second], axis=-1)
    relative = distances.std(0) / distances.mean(0)
    if len(some) > 1 and relative.min() < _CONSTRAINED:
        pair = int(relative.argmin())
        raise ValueError(
            f"the distance of atoms {first[pair]} and {second[pair]} is the same in all configurations of X "
            f"(it varies by {relative[pair]:.1g} of its length): constrained bonds have no density in these "
            "coordinates; simulate without constraints, with a time step that allows it"
        )


def refuse_flat(positions: Floats) -> None:
    """Refuse configurations whose atoms lie in one plane, or on one line, throughout.

    Their law has no density in all dimensions: that of planar ones is one in two. Three atoms, or two in the
    plane, always do and may.

    Raises
    ------
    ValueError
        If there are atoms enough to fill space, and they never do.
    """
    atoms, dimensions = positions.shape[1:]
    if atoms <= dimensions:
        return
    some = positions[:: max(len(positions) // 2000, 1)]
    extents = np.linalg.svd(some, compute_uv=False)
    flat = (extents[:, 1:] / extents[:, :1]).max(0) < _CONSTRAINED
    if flat.any():
        place = "on a line" if flat[0] else "in a plane"
        raise ValueError(
            f"the atoms of every configuration of X lie {place}, and such a law has no density in "
            f"{dimensions} dimensions; leave out the coordinates that do not vary, as in X[..., :2]"
        )
