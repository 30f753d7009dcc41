"""Pictures of the benchmark of the clusters: energies, distances of pairs, effective sizes over steps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from boltzmann_clusters_rows import ClusterTask, SystemDraws
from survival_pictures import new_figure, save_figure

from sciffusion.datasets import ParticleDataset
from sciffusion.domains.boltzmann import plot_energies, plot_ess, plot_radial_distribution

__all__ = ["draw_task"]

SHOWN = ("pure guidance", "G-SMC", "VCG-SMC")
FEW = 10_000


def draw_task(
    task: ClusterTask,
    reference: ParticleDataset,
    draws: Mapping[str, SystemDraws],
    folder: Path,
    note: str = "",
) -> str:
    """Write the picture of a task and return its name.

    Parameters
    ----------
    task : ClusterTask
        What was drawn.
    reference : ParticleDataset
        What it should look like.
    draws : mapping of str to SystemDraws
        All draws of each method together.
    folder : Path
        Where the picture goes.
    note : str
        Added to the title.
    """
    figure, axes = new_figure(columns=3, width=4.4)
    few = reference.configurations[:FEW]
    samples = {name: (draws[name].configurations, draws[name].log_weights) for name in SHOWN if name in draws}
    low, high = np.quantile(reference.energies, (0.001, 0.999))
    margin = 0.4 * (high - low)
    limits = (float(low - margin), float(high + margin))
    plot_energies(samples, few, energy=reference.energy, range=limits, bins=70, ax=axes[0, 0])
    plot_radial_distribution(samples, few, ax=axes[0, 1])
    runs = {name: draws[name].ess for name in SHOWN if name in draws and draws[name].ess.size}
    if runs:
        plot_ess(runs, ax=axes[0, 2])
    figure.suptitle(f"{task.name}{note}")
    name = f"{task.stem}.png"
    save_figure(figure, folder / name)
    return name
