"""Pictures of what weights did in a run, and of a draw as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .metrics_reference import EnergyFunction
from .plots_distributions import plot_energies, plot_radial_distribution
from .plots_style import COLOURS, FAINT, INK, calm, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_ess", "plot_samples"]


def plot_ess(
    runs: Mapping[str, Any] | Any,
    *,
    particles: int | None = None,
    threshold: float | None = 0.9,
    ax: Any = None,
) -> Figure:
    """Draw the effective sample sizes of all systems of a run over its steps.

    Parameters
    ----------
    runs : run, or mapping of str to run
        A run is a `BoltzmannSample`, `Configurations` with ``ess``, or an array of shape (steps, systems):
        effective sample sizes after each weighing and before resampling, as shares of the particles.
    particles : int, optional
        Particles of a system, where arrays are numbers of particles and no shares.
    threshold : float, optional
        Share of effective particles below which a system was resampled: these steps are marked. None if there
        was no resampling, which a `BoltzmannSample` knows itself.
    ax : Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        For sizes of a wrong shape or that are no shares.
    ImportError
        If matplotlib is not installed.
    """
    named = dict(runs) if isinstance(runs, Mapping) else {"": runs}
    shares = {name: _shares(run, particles) for name, run in named.items()}
    figure, (axes,) = panels(1, ax, size=(5.2, 3.2))
    for number, (name, run) in enumerate(named.items()):
        marked = None if _was_never_resampled(run) else threshold
        _draw_sizes(axes, shares[name], COLOURS[number % len(COLOURS)], name, marked)
    if threshold is not None and not all(map(_was_never_resampled, named.values())):
        axes.axhline(threshold, color=FAINT, linewidth=0.8, linestyle=":", zorder=1)
    axes.set_xlabel("step")
    axes.set_ylabel("share of effective particles")
    axes.set_ylim(0.0, 1.03)
    calm(axes)
    # Lines may lie anywhere, those of a collapse at the bottom: the legend must not hide them.
    axes.legend(loc="best", framealpha=0.85, edgecolor="none", fontsize=8.5)
    return figure


def _shares(run: Any, particles: int | None) -> NDArray[np.float64]:
    """Return shares of effective particles, shape (steps, systems)."""
    sizes = np.asarray(getattr(run, "ess", run), dtype=np.float64)
    if sizes.ndim != 2 or not sizes.size:
        raise ValueError(
            f"effective sample sizes must have shape (steps, systems), got {sizes.shape}; runs without "
            "weights have none"
        )
    scale = 1.0 if particles is None or hasattr(run, "ess") else float(particles)
    if not ((sizes > 0.0) & (sizes < scale * (1 + 1e-6))).all():
        hint = "" if particles is not None else "; give particles= if these are numbers of particles"
        raise ValueError(
            f"effective sample sizes must lie in 0 to {scale:g}, got {sizes.min():.4g} to "
            f"{sizes.max():.4g}{hint}"
        )
    return sizes / scale


def _was_never_resampled(run: Any) -> bool:
    known = getattr(run, "resamplings", None)
    return known is not None and not np.any(known)


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
    ess: Any = None,
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
    ess, threshold
        As `runs` and `threshold` of `plot_ess`.
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
        plot_ess(ess, threshold=threshold, ax=axes[-1])
    if title is not None:
        figure.suptitle(title, fontsize=11, color=INK)
    return figure
