"""Pictures of diagnostics that say more than their numbers; they need the extra ``plots`` (matplotlib)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from sciffusion.diagnostics.calibration import RankCalibration, RegionCoverage
from sciffusion.diagnostics.memorisation import Memorisation
from sciffusion.diagnostics.spectra import SpectrumRatio

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_copies", "draw_coverage", "draw_ranks", "draw_spectrum_ratio"]

_REFERENCE: dict[str, Any] = {"color": "black", "linewidth": 0.8, "linestyle": ":"}


def draw_ranks(
    calibration: RankCalibration, coordinate: int = 0, axes: Axes | None = None, bins: int = 20
) -> Axes:
    """Draw the histogram of ranks: flat is right, a U too narrow, a hill too wide.

    Parameters
    ----------
    calibration : RankCalibration
        From `rank_calibration`.
    coordinate : int, default 0
        Which one to draw.
    axes : matplotlib Axes, optional
        Where to draw; new ones by default.
    bins : int, default 20
        Of the histogram.

    Returns
    -------
    matplotlib Axes
        With two standard deviations around the height of uniform ranks.
    """
    panel = _axes(axes)
    positions = calibration.positions[:, coordinate]
    height = positions.shape[0] / bins
    spread = 2.0 * (height * (1.0 - 1.0 / bins)) ** 0.5
    panel.hist(positions.numpy(), bins=bins, range=(0.0, 1.0), color="#5b7083")
    panel.axhspan(height - spread, height + spread, color="black", alpha=0.15)
    panel.axhline(height, **_REFERENCE)
    panel.set(xlabel="rank of the truth among the draws, 0 to 1", ylabel="items")
    return panel


def draw_coverage(coverage: RegionCoverage, axes: Axes | None = None) -> Axes:
    """Draw observed against nominal coverage: the diagonal is right, below it draws are too narrow.

    Parameters
    ----------
    coverage : RegionCoverage
        From `region_coverage`.
    axes : matplotlib Axes, optional
        Where to draw; new ones by default.

    Returns
    -------
    matplotlib Axes
        With the diagonal.
    """
    panel = _axes(axes)
    panel.plot(coverage.levels, coverage.coverage, color="#c1440e")
    panel.plot([0.0, 1.0], [0.0, 1.0], **_REFERENCE)
    panel.set(xlabel="share of the draws in the region", ylabel="share of the truths in it", aspect="equal")
    return panel


def draw_copies(found: Memorisation, axes: Axes | None = None, bins: int = 30) -> Axes:
    """Draw the ratios of nearest to second nearest distances beside those of samples that are no copies.

    Parameters
    ----------
    found : Memorisation
        From `memorisation`.
    axes : matplotlib Axes, optional
        Where to draw; new ones by default.
    bins : int, default 30
        Of the histograms.

    Returns
    -------
    matplotlib Axes
        With the threshold; copies lie to its left.
    """
    panel = _axes(axes)
    options: dict[str, Any] = {"bins": bins, "range": (0.0, 1.0), "density": True, "alpha": 0.6}
    panel.hist(found.null_ratios.cpu().numpy(), color="#5b7083", label="no copies", **options)
    panel.hist(found.ratios.cpu().numpy(), color="#c1440e", label="generated", **options)
    panel.axvline(found.threshold, **_REFERENCE)
    panel.set(xlabel="nearest / second nearest training distance", ylabel="density")
    panel.legend()
    return panel


def draw_spectrum_ratio(found: SpectrumRatio, axes: Axes | None = None) -> Axes:
    """Draw the ratio of powers over the frequency, with two standard errors.

    Parameters
    ----------
    found : SpectrumRatio
        From `spectrum_ratio`.
    axes : matplotlib Axes, optional
        Where to draw; new ones by default.

    Returns
    -------
    matplotlib Axes
        With the line at 1.
    """
    panel = _axes(axes)
    middle = 0.5 * (found.edges[1:] + found.edges[:-1])
    panel.errorbar(middle, found.ratio, 2.0 * found.error, fmt="o-", color="#c1440e", capsize=2)
    panel.axhline(1.0, **_REFERENCE)
    top = float(torch.nan_to_num(found.ratio + 2.0 * found.error, nan=1.0).max())
    panel.set(xlabel="frequency", ylabel="generated / reference power", ylim=(0.0, 1.1 * max(top, 1.0)))
    return panel


def _axes(axes: Axes | None) -> Axes:
    if axes is not None:
        return axes
    from matplotlib import pyplot

    return pyplot.subplots(layout="constrained")[1]
