"""Pictures of what weights did in a run, and of a draw as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .metrics_reference import EnergyFunction
from .plots_distributions import plot_energies, plot_radial_distribution
from .plots_style import COLOURS, FAINT, INK, calm, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_ess", "plot_samples"]


def plot_ess(
    runs: Mapping[str, ArrayLike] | ArrayLike,
    *,
    particles: int,
    threshold: float | None = 0.9,
    ax: Any = None,
) -> Figure:
    """Draw the effective sample sizes of all systems of a run over its steps.

    Parameters
    ----------
    runs : array-like of shape (steps, systems), or mapping of str to such
        Effective sample size after each weighing, before resampling.
    particles : int
        Particles of a system.
    threshold : float, optional
        Share of effective particles below which a system was resampled: these steps are marked. None if there
        was no resampling.
    ax : Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        For sizes of a wrong shape or outside of 1 to `particles`.
    ImportError
        If matplotlib is not installed.
    """
    named = dict(runs) if isinstance(runs, Mapping) else {"": runs}
    figure, (axes,) = panels(1, ax, size=(5.2, 3.2))
    for number, (name, values) in enumerate(named.items()):
        sizes = np.asarray(values, dtype=np.float64)
        if sizes.ndim != 2 or not sizes.size:
            raise ValueError(f"effective sample sizes must have shape (steps, systems), got {sizes.shape}")
        if not ((sizes > 1 - 1e-6) & (sizes < particles * (1 + 1e-6))).all():
            raise ValueError(
                f"effective sample sizes must lie in 1 to particles={particles}, got {sizes.min():.4g} to "
                f"{sizes.max():.4g}"
            )
        _draw_sizes(axes, sizes / particles, COLOURS[number % len(COLOURS)], name, threshold)
    if threshold is not None:
        axes.axhline(threshold, color=FAINT, linewidth=0.8, linestyle=":", zorder=1)
    axes.set_xlabel("step")
    axes.set_ylabel("share of effective particles")
    axes.set_ylim(0.0, 1.03)
    calm(axes)
    axes.legend(frameon=False, fontsize=8.5, loc="lower left")
    return figure


def _draw_sizes(ax: Any, shares: Any, colour: str, name: str, threshold: float | None) -> None:
    steps = np.arange(1, len(shares) + 1)
    alpha = min(1.0, max(0.08, 2.0 / shares.shape[1] ** 0.5)) if shares.shape[1] > 1 else 1.0
    ax.plot(steps, shares, color=colour, linewidth=0.9, alpha=0.6 * alpha, zorder=2)
    prefix = f"{name}: " if name else ""
    systems = f"median of {shares.shape[1]} systems, " if shares.shape[1] > 1 else ""
    ax.plot(
        steps, np.median(shares, 1), color=colour, linewidth=1.8, zorder=3,
        label=f"{prefix}{systems}smallest {shares.min():.2f}",
    )  # fmt: skip
    if threshold is None:
        return
    step, system = np.nonzero(shares < threshold)
    if len(step):
        ax.scatter(
            steps[step], shares[step, system], s=13, color=colour, edgecolors=INK, linewidths=0.4, zorder=4,
            label=f"{prefix}{len(step) / shares.shape[1]:.3g} resamplings a system",
        )  # fmt: skip


def plot_samples(
    samples: Mapping[str, Any],
    reference: Any = None,
    *,
    energy: EnergyFunction | None = None,
    energies: Mapping[str, Any] | None = None,
    reference_energies: Any = None,
    ess: ArrayLike | None = None,
    particles: int | None = None,
    threshold: float | None = 0.9,
    units: str | None = None,
    length_unit: str | None = None,
    title: str | None = None,
) -> Figure:
    """Draw distances, energies and effective sample sizes side by side, as far as they are known.

    Parameters
    ----------
    samples, reference, energy
        As for `plot_radial_distribution` and `plot_energies`.
    energies : mapping of str to energies, optional
        In place of `energy`, as for `plot_energies`, with `reference_energies`.
    ess, particles, threshold
        As for `plot_ess`.
    units, length_unit : str, optional
        For the labels.
    title : str, optional
        Above all.

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
    with_energies = energy is not None or energies is not None
    figure, axes = panels(1 + with_energies + (ess is not None))
    plot_radial_distribution(samples, reference, length_unit=length_unit, ax=axes[0])
    if energies is not None:
        plot_energies(energies, reference_energies, units=units, ax=axes[1])
    elif energy is not None:
        plot_energies(samples, reference, energy=energy, units=units, ax=axes[1])
    if ess is not None:
        if particles is None:
            raise ValueError("ess needs particles, the number of particles of a system")
        plot_ess(ess, particles=particles, threshold=threshold, ax=axes[-1])
    if title is not None:
        figure.suptitle(title, fontsize=11, color=INK)
    return figure
