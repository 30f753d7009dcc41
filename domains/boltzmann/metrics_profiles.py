r"""Free energies along a coordinate from weighted draws, with errors.

With weights :math:`W_i` of sum 1 and bins b of width :math:`\Delta_b` along a coordinate s,

.. math::
   p_b = \sum_i W_i 1[s_i \in b], \qquad F_b = -k_B T \log \frac{p_b}{\Delta_b} + \text{const},

.. math::
   \sigma_b = \frac{k_B T}{p_b}
   \Bigl(\sum_g \Bigl(\sum_{i \in g} W_i (1[s_i \in b] - p_b)\Bigr)^2\Bigr)^{1/2}.

The error is that of a ratio of sums over independent groups g: the draws themselves, or what they share, such
as the particle of the start from which they descend, or their chain. Draws that resemble each other but stand
in groups of their own make it too small.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .metrics_checks import Values, as_weights

__all__ = ["FreeEnergyProfile", "families", "free_energy_difference", "free_energy_profile"]

Floats = NDArray[np.float64]


class FreeEnergyProfile(NamedTuple):
    """A free energy along a coordinate.

    Parameters
    ----------
    edges : ndarray of shape (bins + 1,)
        In the unit of the coordinate.
    values : ndarray of shape (bins,)
        In the unit of kT, 0 at the lowest; infinite in bins without weight.
    errors : ndarray of shape (bins,)
        Standard errors, in the unit of kT; NaN in bins without weight.
    """

    edges: Floats
    values: Floats
    errors: Floats

    @property
    def middles(self) -> Floats:
        """Middles of the bins."""
        return (self.edges[1:] + self.edges[:-1]) / 2


class Genealogy(Protocol):
    """What a draw says about whom its particles descend from."""

    @property
    def ancestors(self) -> NDArray[np.int64]:
        """Number of the particle of the start, within its system, shape (n,)."""

    @property
    def ess(self) -> Floats:
        """Shares of effective particles, shape (steps, systems)."""


def families(drawn: Genealogy) -> NDArray[np.int64]:
    """Return a label for each draw that those share which descend from one particle of the start.

    Parameters
    ----------
    drawn : BoltzmannSample
        Its systems follow each other and have nearly equal numbers of particles.

    Returns
    -------
    ndarray of int64, shape (n,)
        For the `groups` of `free_energy_profile` and `free_energy_difference`.
    """
    ancestors = np.asarray(drawn.ancestors)
    n, systems = len(ancestors), np.shape(drawn.ess)[1]
    if systems == 0:
        return np.arange(n)
    # System k holds the draws from n k // systems on.
    edges = np.arange(systems + 1) * n // systems
    system = np.repeat(np.arange(systems), np.diff(edges))
    return np.asarray(system * n + ancestors, dtype=np.int64)


def free_energy_profile(
    coordinate: ArrayLike,
    *,
    kT: float = 1.0,  # noqa: N803 - the symbol of the field
    log_weights: Values | None = None,
    groups: ArrayLike | None = None,
    bins: int = 60,
    range: tuple[float, float] | None = None,
) -> FreeEnergyProfile:
    """Return the free energy along a coordinate.

    Parameters
    ----------
    coordinate : array-like of shape (n,)
        Value of every draw: a torsion angle, a distance.
    kT : float, default 1
        In the unit in which the free energy is wanted.
    log_weights : array-like of shape (n,), optional
        Of any normalisation.
    groups : array-like of shape (n,), optional
        Labels of what draws share, for the errors; every draw is independent by default.
    bins : int
        Number of bins.
    range : (float, float), optional
        First and last edge, such as (-pi, pi) for an angle; those of the values by default. What lies outside
        counts in the normalisation.

    Returns
    -------
    FreeEnergyProfile

    Raises
    ------
    ValueError
        For arguments of wrong shapes or values.
    """
    values, weights = _checked(coordinate, log_weights, kT)
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    low, high = (values.min(), values.max()) if range is None else map(float, range)
    if not (np.isfinite([low, high]).all() and low < high):
        raise ValueError(f"range must be increasing and finite, got ({low}, {high})")
    edges = np.linspace(low, high, bins + 1)
    where = np.digitize(values, edges) - 1
    where[values == high] = bins - 1  # the last bin holds its upper edge
    inside = (where >= 0) & (where < bins)
    shares: Floats = np.bincount(where[inside], weights[inside], bins).astype(np.float64)
    variances = _share_variances(where, inside, weights, shares, _group_numbers(groups, len(values)))
    with np.errstate(divide="ignore", invalid="ignore"):
        free = -kT * np.log(shares / np.diff(edges))
        errors = kT * np.sqrt(variances) / shares
    free -= free[np.isfinite(free)].min() if shares.any() else 0.0
    return FreeEnergyProfile(edges, free, np.where(shares > 0, errors, np.nan))


def free_energy_difference(
    first: ArrayLike,
    second: ArrayLike,
    *,
    kT: float = 1.0,  # noqa: N803 - the symbol of the field
    log_weights: Values | None = None,
    groups: ArrayLike | None = None,
) -> tuple[float, float]:
    r"""Return the free energy of one set of states less that of another, with its standard error.

    .. math:: \Delta F = -k_B T \log \frac{\sum_i W_i 1[i \in A]}{\sum_i W_i 1[i \in B]}

    Parameters
    ----------
    first, second : array-like of bool of shape (n,)
        Which draws are in A and in B.
    kT, log_weights, groups
        As for `free_energy_profile`.

    Returns
    -------
    difference, error : float
        In the unit of kT; infinite, with error NaN, if a state has no weight.

    Raises
    ------
    ValueError
        For arguments of wrong shapes or values, or a draw in both states.
    """
    states = [np.asarray(one) for one in (first, second)]
    if any(one.dtype != bool or one.ndim != 1 or one.shape != states[0].shape for one in states):
        raise ValueError("first and second must be boolean arrays of one shape (n,)")
    if (states[0] & states[1]).any():
        raise ValueError(f"{int((states[0] & states[1]).sum())} draws are in both states; states must differ")
    _, weights = _checked(np.zeros(len(states[0])), log_weights, kT)
    share = [float(weights[one].sum()) for one in states]
    if not all(share):
        return kT * np.inf * (1 if share[0] == 0 else -1) if any(share) else np.nan, np.nan
    # The logarithm of a ratio of two means, to first order.
    influence = weights * (states[0] / share[0] - states[1] / share[1])
    sums = np.bincount(_group_numbers(groups, len(weights)), influence)
    return float(-kT * np.log(share[0] / share[1])), float(kT * np.sqrt((sums**2).sum()))


def _share_variances(
    where: NDArray[np.int64],
    inside: NDArray[np.bool_],
    weights: Floats,
    shares: Floats,
    group: NDArray[np.int64],
) -> Floats:
    """Return the variances of the shares of bins, by sums over groups."""
    bins, totals = len(shares), np.bincount(group, weights)
    # Only pairs of group and bin that occur: with m_gb the weight of group g in bin b and m_g all
    # its weight, sum_g (m_gb - p_b m_g)^2 = sum m_gb^2 - 2 p_b sum m_gb m_g + p_b^2 sum m_g^2.
    pairs, number = np.unique(group[inside] * bins + where[inside], return_inverse=True)
    mass = np.bincount(number.ravel(), weights[inside], len(pairs))
    squares = np.bincount(pairs % bins, mass**2, bins)
    mixed = np.bincount(pairs % bins, mass * totals[pairs // bins], bins)
    variances = squares - 2 * shares * mixed + shares**2 * (totals**2).sum()
    return np.asarray(np.maximum(variances, 0.0))


def _group_numbers(groups: ArrayLike | None, count: int) -> NDArray[np.int64]:
    if groups is None:
        return np.arange(count)
    labels = np.asarray(groups)
    if labels.shape != (count,):
        raise ValueError(f"groups must have shape ({count},), one label a draw, got {labels.shape}")
    return np.asarray(np.unique(labels, return_inverse=True)[1].ravel(), dtype=np.int64)


def _checked(coordinate: ArrayLike, log_weights: Values | None, kT: float) -> tuple[Floats, Floats]:  # noqa: N803
    values = np.asarray(coordinate, dtype=np.float64)
    if values.ndim != 1 or len(values) == 0 or not np.isfinite(values).all():
        raise ValueError(f"coordinate must be finite numbers of shape (n,), got shape {values.shape}")
    if not (np.isfinite(kT) and kT > 0):
        raise ValueError(f"kT must be positive and finite, got {kT}")
    return values, as_weights(log_weights, len(values), "log_weights").cpu().numpy()
