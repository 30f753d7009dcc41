r"""Dihedral angles, their weighted maps, and the Jensen-Shannon divergence between maps.

*Dihedral angle* of four points, with the bonds :math:`b_1, b_2, b_3` from each to the next and the normals
:math:`m = b_1 \times b_2`, :math:`n = b_2 \times b_3`:

.. math:: \varphi = \operatorname{atan2}(|b_2|\, b_1 \cdot n,\; m \cdot n) \in (-\pi, \pi],

0 for cis and :math:`\pi` for trans; positive if, looked at along :math:`b_2`, the far bond is turned
clockwise from the near one (IUPAC). A mirror image has the opposite sign.

*Map.* Bins of equal width around both circles, with the weights of the draws, convolved with a Gaussian on
the torus whose standard deviation is given in bins. Smoothing lowers what the chance of empty bins adds to a
divergence; it is the same on both sides of a comparison.

*Jensen-Shannon divergence* of two maps P and Q, in nats, with M = (P + Q) / 2:

.. math:: \operatorname{JS}(P, Q) = \tfrac12 \sum P \log \frac PM + \tfrac12 \sum Q \log \frac QM
   \in [0, \log 2].

Between two finite samples of one law it is above 0: it means nothing without the same number between two
samples of the reference (the floor).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from .metrics_checks import Values, as_weights

__all__ = [
    "dihedral_angles",
    "in_arc",
    "jensen_shannon_divergence",
    "ramachandran_divergence",
    "ramachandran_map",
]

Floats = NDArray[np.float64]


def dihedral_angles(configurations: Tensor, places: ArrayLike) -> Tensor:
    """Return dihedral angles; differentiable, so that rewards can be written with them.

    Parameters
    ----------
    configurations : Tensor of shape (..., atoms, 3)
        Positions in any unit.
    places : array-like of int of shape (4,) or (k, 4)
        The four atoms of each angle, in order.

    Returns
    -------
    Tensor of shape (...,) or (..., k)
        In radians, in (-pi, pi].

    Raises
    ------
    ValueError
        For other shapes, atoms that do not exist, or one atom named twice in an angle.
    """
    four = _checked_places(configurations, places)
    one, two, three, last = (configurations[..., four[..., place], :] for place in range(4))
    first, axis, third = two - one, three - two, last - three
    near, far = torch.linalg.cross(first, axis), torch.linalg.cross(axis, third)
    sine = torch.linalg.vector_norm(axis, dim=-1) * (first * far).sum(-1)
    return torch.atan2(sine, (near * far).sum(-1))


def ramachandran_map(
    phi: Values,
    psi: Values,
    *,
    log_weights: Values | None = None,
    bins: int = 64,
    smoothing: float = 1.0,
) -> Floats:
    """Return the weighted distribution of two angles on the torus.

    Parameters
    ----------
    phi, psi : array-like or Tensor of shape (n,)
        In radians, of any turn.
    log_weights : array-like of shape (n,), optional
        Of any normalisation.
    bins : int >= 2
        Bins of either angle, the first from -pi.
    smoothing : float >= 0
        Standard deviation of the Gaussian it is convolved with, in bins; 0 for none.

    Returns
    -------
    ndarray of shape (bins, bins)
        Probabilities of sum 1; the first axis is phi.

    Raises
    ------
    ValueError
        For arguments of wrong shapes or values.
    """
    angles = [_as_angles(values, name) for values, name in ((phi, "phi"), (psi, "psi"))]
    if angles[0].shape != angles[1].shape:
        raise ValueError(f"phi and psi must have one shape, got {angles[0].shape} and {angles[1].shape}")
    if isinstance(bins, bool) or not isinstance(bins, int) or bins < 2:
        raise ValueError(f"bins must be an integer of at least 2, got {bins!r}")
    if not (math.isfinite(smoothing) and smoothing >= 0.0):
        raise ValueError(f"smoothing must be finite and not negative, got {smoothing}")
    weights = as_weights(log_weights, len(angles[0]), "log_weights").cpu().numpy()
    row, column = (_bin_of(values, bins) for values in angles)
    counts: Floats = np.bincount(row * bins + column, weights, bins * bins).astype(np.float64)
    table = counts.reshape(bins, bins)
    return _smoothed(table, smoothing) if smoothing > 0.0 else table


def jensen_shannon_divergence(first: ArrayLike, second: ArrayLike) -> float:
    """Return the Jensen-Shannon divergence of two distributions over the same bins, in nats.

    Parameters
    ----------
    first, second : array-like of one shape
        Not negative, with a positive sum; each is divided by its sum.

    Returns
    -------
    float
        Between 0 and log 2.

    Raises
    ------
    ValueError
        For other shapes or values.
    """
    tables = [_as_distribution(values, name) for values, name in ((first, "first"), (second, "second"))]
    if tables[0].shape != tables[1].shape:
        raise ValueError(f"first and second must have one shape, got {tables[0].shape} and {tables[1].shape}")
    middle = 0.5 * (tables[0] + tables[1])
    total = 0.0
    for table in tables:
        inside = table > 0.0
        total += 0.5 * float((table[inside] * np.log(table[inside] / middle[inside])).sum())
    return max(total, 0.0)


def ramachandran_divergence(
    first: tuple[Values, ...],
    second: tuple[Values, ...],
    *,
    bins: int = 64,
    smoothing: float = 1.0,
) -> float:
    """Return the Jensen-Shannon divergence of the maps of two weighted samples, in nats.

    Parameters
    ----------
    first, second : (phi, psi) or (phi, psi, log_weights)
        Angles in radians, each of shape (n,).
    bins, smoothing
        As for `ramachandran_map`, the same for both.

    Raises
    ------
    ValueError
        As of `ramachandran_map`.
    """
    maps = []
    for phi, psi, *weights in (first, second):
        log_weights = weights[0] if weights else None
        maps.append(ramachandran_map(phi, psi, log_weights=log_weights, bins=bins, smoothing=smoothing))
    return jensen_shannon_divergence(*maps)


def in_arc(angles: Values, start: float, end: float) -> NDArray[np.bool_]:
    """Return which angles lie on the arc that runs from `start` upwards to `end`, across pi if need be.

    Parameters
    ----------
    angles : array-like or Tensor
        In radians, of any turn.
    start, end : float
        In radians; the start belongs to the arc, the end does not. Equal angles give the whole circle.
    """
    turn = 2.0 * math.pi
    length = (end - start) % turn or turn
    found: NDArray[np.bool_] = (_as_angles(angles, "angles") - start) % turn < length
    return found


def _checked_places(configurations: Tensor, places: ArrayLike) -> Tensor:
    if configurations.ndim < 2 or configurations.shape[-1] != 3:
        raise ValueError(f"configurations must have shape (..., atoms, 3), got {tuple(configurations.shape)}")
    four = np.asarray(places)
    atoms = configurations.shape[-2]
    if four.ndim not in (1, 2) or four.shape[-1] != 4 or not np.issubdtype(four.dtype, np.integer):
        raise ValueError(
            f"places must be integers of shape (4,) or (k, 4), got {four.dtype} of shape {four.shape}"
        )
    if four.min(initial=0) < 0 or four.max(initial=0) >= atoms:
        raise ValueError(f"places must lie between 0 and {atoms - 1}, got {four.min()} to {four.max()}")
    rows = np.sort(four.reshape(-1, 4), axis=1)
    if (rows[:, 1:] == rows[:, :-1]).any():
        raise ValueError("places must name four different atoms for each angle, got one twice")
    return torch.as_tensor(four.astype(np.int64), device=configurations.device)


def _as_angles(values: Values, name: str) -> Floats:
    plain = values.detach().cpu().numpy() if isinstance(values, Tensor) else values
    found = np.asarray(plain, dtype=np.float64)
    if found.ndim != 1 or not len(found) or not np.isfinite(found).all():
        raise ValueError(f"{name} must be finite numbers of shape (n,), got shape {found.shape}")
    return found


def _as_distribution(values: ArrayLike, name: str) -> Floats:
    table = np.asarray(values, dtype=np.float64)
    if not np.isfinite(table).all() or (table < 0.0).any() or not table.sum() > 0.0:
        raise ValueError(f"{name} must be finite, not negative and not all 0")
    shares: Floats = table / table.sum()
    return shares


def _bin_of(angles: Floats, bins: int) -> NDArray[np.int64]:
    turns = angles / (2.0 * math.pi) + 0.5
    # A tiny negative number modulo 1 is rounded to 1, which is bin 0 of the next turn.
    return np.floor((turns % 1.0) * bins).astype(np.int64) % bins


def _smoothed(table: Floats, width: float) -> Floats:
    """Convolve with the Gaussian on the torus, whose images are summed by its Fourier series."""
    bins = len(table)
    frequency = 2.0 * math.pi * np.fft.fftfreq(bins)
    damping = np.exp(-0.5 * (width * frequency) ** 2)
    spectrum = np.fft.fft2(table) * damping[:, None] * damping[None, :]
    # Cut at the highest frequency of the bins, a narrow Gaussian has tiny negative ripples.
    smooth: Floats = np.maximum(np.fft.ifft2(spectrum).real, 0.0)
    shares: Floats = smooth / smooth.sum()
    return shares
