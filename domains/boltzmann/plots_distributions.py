"""Pictures of the distances between atoms and of energies, weighted, with a reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .metrics_distances import AtomTypes, Normalisation, pair_distances, radial_distribution
from .metrics_reference import EnergyFunction, energies_of, sample_parts
from .plots_style import (
    Floats,
    calm,
    colours,
    draw_density,
    normalised,
    panels,
    shared_edges,
    unit_label,
    with_reference,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_energies", "plot_radial_distribution"]


def plot_radial_distribution(
    samples: Mapping[str, Any],
    reference: Any = None,
    *,
    bins: int | None = None,
    range: tuple[float, float] | None = None,
    normalisation: Normalisation = "density",
    atom_types: AtomTypes = None,
    pair: tuple[int, int] | None = None,
    length_unit: str | None = None,
    ax: Any = None,
) -> Figure:
    """Draw the distribution of the distances between atoms.

    Parameters
    ----------
    samples : mapping of str to sample
        A sample is an array of configurations, a pair of configurations and log weights, or an object with
        ``configurations`` and ``log_weights``.
    reference : sample, optional
        Drawn as a grey area.
    bins, range, normalisation, atom_types, pair
        As for `radial_distribution`; by default there are as many bins as the effective number of draws
        fills, and the range covers .998 of all distances of every sample.
    length_unit : str, optional
        For the label; "reduced" has none.
    ax : Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        For arguments of wrong shapes or values.
    ImportError
        If matplotlib is not installed.
    """
    named = with_reference(samples, reference)
    parts = {name: sample_parts(sample, f"samples[{name!r}]") for name, sample in named.items()}
    if range is None:
        range = _distance_range(parts, atom_types, pair)
    bins = _distance_bins(parts) if bins is None else bins
    figure, (axes,) = panels(1, ax)
    for (name, (values, logs)), colour in zip(parts.items(), colours(parts), strict=True):
        found = radial_distribution(
            values, log_weights=logs, bins=bins, range=range, normalisation=normalisation,
            atom_types=atom_types, pair=pair,
        )  # fmt: skip
        draw_density(axes, found.edges, found.values, name, colour, smooth=True)
    axes.set_xlabel(unit_label("distance between atoms", length_unit))
    axes.set_ylabel("density" if normalisation == "density" else "density of the vector between atoms")
    _finish(axes, range)
    return figure


def plot_energies(
    samples: Mapping[str, Any],
    reference: Any = None,
    *,
    energy: EnergyFunction | None = None,
    units: str | None = None,
    bins: int | None = None,
    range: tuple[float, float] | None = None,
    ax: Any = None,
) -> Figure:
    """Draw histograms of weighted energies.

    Parameters
    ----------
    samples : mapping of str to sample
        With `energy` as for `plot_radial_distribution`; without it, energies of shape (n,), pairs of energies
        and log weights, or objects with ``energies`` and ``log_weights``.
    reference : sample, optional
        Drawn as a grey area.
    energy : callable, optional
        From a float64 tensor ``(batch, atoms, dimensions)`` to energies ``(batch,)``.
    units : str, optional
        Of the energies, for the label; "reduced" has none.
    bins : int, optional
        Number of bins; chosen by the effective number of draws by default.
    range : (float, float), optional
        First and last edge; those that cover .998 of every sample by default.
    ax : Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        For arguments of wrong shapes or values.
    ImportError
        If matplotlib is not installed.
    """
    named = with_reference(samples, reference)
    groups = {name: _weighted_energies(sample, name, energy) for name, sample in named.items()}
    edges = shared_edges(groups, bins)
    if range is not None:
        edges = np.linspace(*range, len(edges))
    figure, (axes,) = panels(1, ax)
    for (name, (values, weights)), colour in zip(groups.items(), colours(groups), strict=True):
        mass, _ = np.histogram(values, bins=edges, weights=weights)
        draw_density(axes, edges, mass / np.diff(edges), name, colour)
    axes.set_xlabel(unit_label("energy", units))
    axes.set_ylabel("density")
    _finish(axes, (edges[0], edges[-1]))
    return figure


def _distance_range(
    parts: Mapping[str, tuple[Any, Any]], atom_types: AtomTypes, pair: tuple[int, int] | None
) -> tuple[float, float]:
    groups: dict[str, tuple[Floats, Floats]] = {}
    for name, (values, logs) in parts.items():
        found = pair_distances(values, atom_types=atom_types, pair=pair).cpu().numpy()
        shares = normalised(logs, len(found))[:, None] / found.shape[1]
        groups[name] = (found.ravel(), np.broadcast_to(shares, found.shape).ravel())
    edges = shared_edges(groups, 1)
    return max(0.0, float(edges[0])), float(edges[-1])


def _distance_bins(parts: Mapping[str, tuple[Any, Any]]) -> int:
    effective = min(1.0 / float((normalised(logs, len(x)) ** 2).sum()) for x, logs in parts.values())
    return int(np.clip(6 * effective ** (1 / 3), 30, 120))


def _weighted_energies(sample: Any, name: str, energy: EnergyFunction | None) -> tuple[Floats, Floats]:
    if energy is None and hasattr(sample, "energies"):
        values, logs = sample.energies, getattr(sample, "log_weights", None)
    else:
        values, logs = sample_parts(sample, f"samples[{name!r}]")
    if energy is not None:
        values = energies_of(energy, values).cpu()
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or not np.isfinite(found).all():
        raise ValueError(
            f"samples[{name!r}] must have finite energies of shape (n,), got shape {found.shape}; give "
            "energy= to compute them from configurations"
        )
    return found, normalised(logs, len(found))


def _finish(ax: Any, limits: tuple[float, float]) -> None:
    calm(ax)
    ax.set_xlim(*limits)
    ax.set_ylim(bottom=0.0)
    if len(ax.get_legend_handles_labels()[1]) > 1:
        ax.legend(frameon=False, fontsize=8.5)
