"""The picture of the protein benchmark: structure, distance, fluctuations, covariances and log Z."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from boltzmann_protein_models import Reference, SystemValues
from survival_pictures import save_figure
from torch import Tensor

__all__ = ["draw_protein"]

OURS, PG, COLD, BOTH = "VCG-SMC", "PG", "300 K", "300 K and restraint"
Kept = Mapping[tuple[str, str], SystemValues]


def draw_protein(
    references: Mapping[str, Reference], kept: Kept, rows: pd.DataFrame, path: Path, note: str
) -> None:
    """Draw what was sampled beside what is exact; the first system of each run is shown."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure = pyplot.figure(figsize=(13.5, 8.2), layout="constrained")
    panels = [figure.add_subplot(2, 3, place) for place in (1, 2, 3)]
    _structure(panels[0], references, kept)
    _distances(panels[1], references, kept)
    _fluctuations(panels[2], references, kept)
    for place, setting in ((4, COLD), (5, BOTH)):
        panel = figure.add_subplot(2, 3, place)
        image = _covariances(panel, references[setting], kept[setting, OURS], setting)
        figure.colorbar(image, ax=panel, label="nm²")
    _errors(figure.add_subplot(2, 3, 6), rows)
    figure.suptitle(f"Villin headpiece, elastic network at 600 K, cooled and pulled{note}")
    save_figure(figure, path)


def _mean_structure(reference: Reference, mean: Tensor) -> Tensor:
    return reference.network.from_modes(mean[None])[0]


def _structure(panel: Any, references: Mapping[str, Reference], kept: Kept) -> None:
    """Draw the chain in the plane of its ends' difference and the widest direction across it."""
    reference = references[BOTH]
    before = reference.network.positions
    along = (before[-1] - before[0]) / (before[-1] - before[0]).norm()
    across = torch.linalg.svd(before - (before @ along)[:, None] * along).Vh[0]
    plane = torch.stack([along, across])
    panel.plot(*(plane @ before.mT), "o-", color="0.65", markersize=3, label="model, 600 K")
    exact = _mean_structure(reference, reference.mean)
    panel.plot(*(plane @ exact.mT), "-", color="black", alpha=0.6, label="300 K, pulled: exact")
    ours = _mean_structure(reference, kept[BOTH, OURS].mean)
    panel.plot(*(plane @ ours.mT), "o", color="#c1440e", markersize=4, label="300 K, pulled: sampled")
    for structure, colour in ((before, "0.65"), (exact, "#c1440e")):
        panel.plot(*(plane @ structure[[0, -1]].mT), "--", color=colour)
    panel.set(title="Mean structure; dashes join the ends", xlabel="nm", ylabel="nm", aspect="equal")
    panel.legend(fontsize=7)


def _distances(panel: Any, references: Mapping[str, Reference], kept: Kept) -> None:
    shown = {COLD: "#5b7083", BOTH: "#c1440e"}
    for setting, colour in shown.items():
        values = kept[setting, OURS]
        panel.hist(values.lengths, 40, weights=values.weights, density=True, color=colour, alpha=0.35)
        lengths, density = references[setting].length_density(200)
        panel.plot(lengths, density, color=colour, label=f"{setting}: exact")
    guided = kept[BOTH, PG]
    panel.hist(guided.lengths, 40, density=True, histtype="step", color="black", label="pure guidance, both")
    panel.axvline(references[BOTH].setting.distance, color="black", linestyle=":", label="asked for")
    panel.set(
        xlabel="distance of the ends (nm)",
        ylabel="density (1/nm)",
        title="Bars: sampled by VCG-SMC",
        xlim=(0.7, 2.0),
    )
    panel.legend(fontsize=7, loc="upper right")


def _fluctuations(panel: Any, references: Mapping[str, Reference], kept: Kept) -> None:
    for setting, colour in {COLD: "#5b7083", BOTH: "#c1440e"}.items():
        reference, values = references[setting], kept[setting, OURS]
        network = reference.network
        residues = torch.arange(1, network.n_atoms + 1)
        panel.plot(residues, network.fluctuations(reference.covariance).sqrt(), color=colour, label=setting)
        panel.plot(residues, network.fluctuations(values.covariance).sqrt(), "o", color=colour, markersize=3)
    network = references[COLD].network
    hot = network.fluctuations(network.law(600.0).covariance).sqrt()
    panel.plot(torch.arange(1, network.n_atoms + 1), hot, color="0.65", label="model, 600 K")
    panel.set(
        xlabel="residue", ylabel="fluctuation (nm)", title="Lines: exact; dots: sampled", ylim=(0, None)
    )
    panel.legend(fontsize=7)


def _pair_covariances(reference: Reference, covariance: Tensor) -> Tensor:
    """Give the mean of ``u_i . u_j`` for all pairs of residues."""
    network = reference.network
    whole = network.modes @ covariance @ network.modes.mT
    blocks = whole.reshape(network.n_atoms, 3, network.n_atoms, 3)
    return blocks.diagonal(dim1=1, dim2=3).sum(-1)


def _covariances(panel: Any, reference: Reference, values: SystemValues, setting: str) -> Any:
    exact, found = (_pair_covariances(reference, part) for part in (reference.covariance, values.covariance))
    both = torch.triu(exact, 1) + torch.tril(found)
    both.fill_diagonal_(math.nan)  # the fluctuations themselves, in the panel above
    limit = float(both.nan_to_num().abs().max())
    image = panel.imshow(both.numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit, origin="lower")
    panel.set(xlabel="residue", ylabel="residue", title=f"{setting}\nsampled above, exact below")
    return image


def _errors(panel: Any, rows: pd.DataFrame) -> None:
    part = rows[(rows["setting"] == BOTH) & rows["variance_error"].notna()]
    part = part[part["variance_error"] < 2.0]  # not those whose particles ran away
    means = part.groupby("method")["variance_error"].mean().sort_values(ascending=False)
    panel.barh(means.index, means, color=["#c1440e" if name == OURS else "#5b7083" for name in means.index])
    panel.plot(part["variance_error"], part["method"], "k.", markersize=3)
    panel.axvline(float(part["variance_error_floor"].iloc[0]), color="black", linestyle="--", label="floor")
    panel.invert_yaxis()
    panel.legend(fontsize=7)
    panel.set(xlabel="mean relative error of the 99 variances", title=BOTH)
