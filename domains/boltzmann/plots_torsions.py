"""Ramachandran maps and free-energy profiles, weighted, with error bands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .metrics_checks import Values
from .metrics_profiles import FreeEnergyProfile
from .plots_style import FAINT, INK, Floats, calm, colours, panels, unit_label, with_reference
from .torsions import ramachandran_map

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_free_energy_profiles", "plot_ramachandran"]

_TICKS = (-180, -90, 0, 90, 180)


def plot_ramachandran(
    torsions: Mapping[str, tuple[Values, ...]],
    *,
    kT: float = 1.0,  # noqa: N803 - the symbol of the field
    units: str = "kT",
    bins: int = 64,
    smoothing: float = 0.0,
    highest: float | None = None,
    ax: Any = None,
) -> Figure:
    r"""Draw free energies of two torsions, a map a sample.

    Parameters
    ----------
    torsions : mapping of str to (phi, psi) or (phi, psi, log_weights)
        Angles in radians, shape (n,); a map each, all in one scale of colours.
    kT : float, default 1
        In `units`.
    units : str
        Of the free energies.
    bins : int
        Bins of either angle.
    smoothing : float >= 0
        Standard deviation, in bins, of the Gaussian with which a map is smoothed on the torus; 0 for none.
    highest : float, optional
        Free energy at which colours end, in `units`; 7 kT by default. The lowest bin of each map is 0.
    ax : Axes or array of Axes, optional
        Where to draw, one a map.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        For angles of wrong shapes or values.
    ImportError
        If matplotlib is not installed.
    """
    if not torsions:
        raise ValueError("there is nothing to draw: torsions is empty")
    maps = {name: _free_energy_map(one, name, bins, smoothing, kT) for name, one in torsions.items()}
    figure, axes = panels(len(maps), ax, size=(3.6, 3.5), columns=4)
    top = 7.0 * kT if highest is None else highest
    image: Any = None
    for (name, free), one in zip(maps.items(), axes, strict=True):
        image = one.imshow(
            free.T, origin="lower", extent=(-180, 180, -180, 180), vmin=0.0, vmax=top, cmap="viridis",
            interpolation="nearest", aspect="equal",
        )  # fmt: skip
        _angle_axes(one, name)
        one.set_ylabel("ψ (degrees)")
    figure.colorbar(image, ax=axes, label=f"free energy ({units})", extend="max", shrink=0.85)
    return figure


def plot_free_energy_profiles(
    profiles: Mapping[str, FreeEnergyProfile],
    reference: FreeEnergyProfile | None = None,
    *,
    coordinate: str = "coordinate",
    units: str = "kT",
    angle: bool = False,
    sigmas: float = 2.0,
    highest: float | None = None,
    ax: Any = None,
) -> Figure:
    """Draw free energies along a coordinate with bands of their errors.

    Parameters
    ----------
    profiles : mapping of str to FreeEnergyProfile
        What `free_energy_profile` gives; each is 0 at its lowest bin.
    reference : FreeEnergyProfile, optional
        Drawn in black, dashed.
    coordinate : str
        Its name, with its unit, for the label.
    units : str
        Of the free energies.
    angle : bool
        Whether the coordinate is an angle in radians; degrees are shown.
    sigmas : float
        Half width of the bands in standard errors; 0 for none.
    highest : float, optional
        Where the axis ends.
    ax : Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If there is nothing to draw, or a profile is called "reference" though a reference is given.
    ImportError
        If matplotlib is not installed.
    """
    named = with_reference(profiles, reference, "profiles")
    figure, (axes,) = panels(1, ax, size=(5.2, 3.4))
    for (name, profile), colour in zip(named.items(), colours(named), strict=True):
        line = "--" if colour is None else "-"
        _draw_profile(axes, profile, name, colour or INK, line, sigmas, angle)
    axes.set_xlabel(f"{coordinate} (degrees)" if angle else coordinate)
    axes.set_ylabel(unit_label("free energy", units))
    axes.set_ylim(bottom=0.0, top=highest)
    if angle:
        axes.set_xlim(-180, 180)
        axes.set_xticks(_TICKS)
    calm(axes)
    if len(named) > 1:
        axes.legend(frameon=False, fontsize=8.5)
    return figure


def _draw_profile(
    ax: Axes, profile: FreeEnergyProfile, label: str, colour: str, line: str, sigmas: float, angle: bool
) -> None:
    places = np.degrees(profile.middles) if angle else profile.middles
    # Infinite values would end the line with a warning; gaps show where nothing was drawn.
    values = np.where(np.isfinite(profile.values), profile.values, np.nan)
    ax.plot(places, values, color=colour, linestyle=line, linewidth=1.6, label=label, zorder=3)
    if sigmas > 0:
        off = sigmas * profile.errors
        ax.fill_between(places, values - off, values + off, color=colour, alpha=0.2, linewidth=0, zorder=2)


def _free_energy_map(
    torsions: tuple[Values, ...],
    name: str,
    bins: int,
    smoothing: float,
    kT: float,  # noqa: N803
) -> Floats:
    if not isinstance(torsions, tuple) or len(torsions) not in (2, 3):
        raise ValueError(f"torsions[{name!r}] must be (phi, psi) or (phi, psi, log_weights)")
    logs = torsions[2] if len(torsions) == 3 else None
    try:
        mass = ramachandran_map(*torsions[:2], log_weights=logs, bins=bins, smoothing=smoothing)
    except ValueError as error:
        raise ValueError(f"torsions[{name!r}]: {error}") from None
    largest = max(float(np.abs(np.asarray(angles)).max()) for angles in torsions[:2])
    if largest > 4 * np.pi:
        raise ValueError(f"torsions[{name!r}] must be in radians, got angles up to {largest:.4g}")
    # Smoothing by a Fourier series leaves tiny numbers of either sign where nothing was.
    shown = np.where(mass > 1e-12, mass, np.nan)
    return np.asarray(-kT * np.log(shown / mass.max()))


def _angle_axes(ax: Axes, title: str) -> None:
    ax.set_title(title, fontsize=10, color=INK)
    ax.set_xticks(_TICKS)
    ax.set_yticks(_TICKS)
    ax.set_xlabel("φ (degrees)")
    ax.axhline(0, color=FAINT, linewidth=0.5, zorder=0)
    ax.axvline(0, color=FAINT, linewidth=0.5, zorder=0)
    ax.tick_params(colors=INK, labelsize=8)
