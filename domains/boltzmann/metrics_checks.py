"""What the measures of weighted configurations ask of their arguments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

__all__ = [
    "Values",
    "as_atom_types",
    "as_configurations",
    "as_energies",
    "as_weights",
    "check_same_system",
    "default_generator",
    "weighted_energies",
]

#: Arrays, nested sequences or tensors of numbers.
Values = ArrayLike | Tensor


def as_configurations(values: Values, name: str, least: int = 1) -> Tensor:
    """Return configurations ``(n, atoms, dimensions)`` in float64, on the device they came on.

    Parameters
    ----------
    values : array-like or Tensor
        The configurations.
    name : str
        Of the argument, for errors.
    least : int
        Smallest number of configurations that makes sense.

    Raises
    ------
    TypeError
        If they are no real numbers.
    ValueError
        For another shape, too few configurations or atoms, or values that are not finite.
    """
    found = _as_tensor(values, name)
    if found.ndim != 3 or found.shape[1] < 2 or found.shape[2] < 1:
        raise ValueError(
            f"{name} must have shape (n, atoms, dimensions) with at least 2 atoms, got {tuple(found.shape)}"
        )
    if found.shape[0] < least:
        raise ValueError(f"{name} must hold at least {least} configurations, got {found.shape[0]}")
    bad = int((~found.isfinite()).flatten(1).any(1).sum())
    if bad:
        raise ValueError(f"{name} must be finite, got {bad} configurations with NaN or infinite coordinates")
    return found


def as_weights(
    log_weights: Values | None, count: int, name: str, device: torch.device | None = None
) -> Tensor:
    """Return weights of sum 1, float64 of shape ``(count,)``, from log weights of any normalisation.

    Raises
    ------
    TypeError
        If they are no real numbers.
    ValueError
        For another number of them, NaN, +inf, or -inf for all.
    """
    if log_weights is None:
        return torch.full((count,), 1.0 / count, dtype=torch.float64, device=device)
    found = _as_tensor(log_weights, name).to(device)
    if found.shape != (count,):
        raise ValueError(f"{name} must have shape ({count},), one a configuration, got {tuple(found.shape)}")
    if bool(found.isnan().any()) or bool((found == torch.inf).any()) or bool((found == -torch.inf).all()):
        raise ValueError(f"{name} must be finite or -inf, and not all -inf")
    return torch.softmax(found, 0)


def as_energies(values: Values, name: str, count: int | None = None, weights: Tensor | None = None) -> Tensor:
    """Return energies in float64, shape ``(n,)``; 0 where they are not finite and the weight is 0.

    Raises
    ------
    TypeError
        If they are no real numbers.
    ValueError
        For another shape or number, or energies that are not finite where the weight is not 0.
    """
    found = _as_tensor(values, name)
    if found.ndim != 1 or len(found) == 0 or len(found) != (len(found) if count is None else count):
        wanted = "n" if count is None else count
        raise ValueError(f"{name} must have shape ({wanted},), one a configuration, got {tuple(found.shape)}")
    infinite = ~found.isfinite()
    counted = infinite if weights is None else infinite & (weights.to(found.device) > 0)
    bad = int(counted.sum())
    if bad:
        raise ValueError(
            f"{name} must be finite, got {bad} of {len(found)} that are NaN or infinite; overlapping atoms "
            "give infinite energies: give these configurations log weight -inf if they are to be left out"
        )
    return found.masked_fill(infinite, 0.0)


def weighted_energies(energies: Values, log_weights: Values | None, prefix: str) -> tuple[Tensor, Tensor]:
    """Return energies and their weights, of arguments named with a prefix."""
    count = energies.numel() if isinstance(energies, Tensor) else int(np.size(np.asarray(energies)))
    if count == 0:
        raise ValueError(f"{prefix}energies must have shape (n,), got none")
    device = energies.device if isinstance(energies, Tensor) and energies.device.type != "mps" else None
    weights = as_weights(log_weights, count, f"{prefix}log_weights", device)
    return as_energies(energies, f"{prefix}energies", weights=weights), weights


def as_atom_types(values: Sequence[int] | ArrayLike | Tensor | None, atoms: int) -> NDArray[np.int64]:
    """Return the type of every atom, shape ``(atoms,)``; all 0 for None.

    Raises
    ------
    ValueError
        For another shape or values that are no whole numbers.
    """
    if values is None:
        return np.zeros(atoms, dtype=np.int64)
    found = np.asarray(values.cpu() if isinstance(values, Tensor) else values)
    if found.shape != (atoms,) or not np.issubdtype(found.dtype, np.integer):
        raise ValueError(
            f"atom_types must be {atoms} integers, one an atom, got {found.dtype} of shape {found.shape}"
        )
    return found.astype(np.int64)


def check_same_system(configurations: Tensor, reference: Tensor) -> None:
    """Raise ValueError unless both have the same numbers of atoms and of dimensions."""
    if configurations.shape[1:] != reference.shape[1:]:
        raise ValueError(
            "configurations and reference must have the same atoms and dimensions, got "
            f"{tuple(configurations.shape[1:])} and {tuple(reference.shape[1:])}"
        )


def default_generator(generator: torch.Generator | None) -> torch.Generator:
    """Return the generator given, or one with a fixed seed, so that measures can be compared."""
    return torch.Generator().manual_seed(0) if generator is None else generator


def _as_tensor(values: Values, name: str) -> Tensor:
    try:
        found = values.detach() if isinstance(values, Tensor) else torch.as_tensor(np.array(values))
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be an array of real numbers: {error}") from None
    if found.is_complex() or found.dtype == torch.bool:
        raise TypeError(f"{name} must be an array of real numbers, got {found.dtype}")
    return (found.cpu() if found.device.type == "mps" else found).to(torch.float64)
