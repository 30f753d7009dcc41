r"""
Which rows are strange
======================

A denoiser restores what it knows. `DiffusionAnomalyDetector` puts noise on a row, takes it off again and
looks at the error, over a range of noise levels: small noise shows how a row differs in detail, large noise
whether it lies among the others at all. Here the normal rows lie on a ring, and the rows in its middle are as
strange as those outside, though no column on its own shows it.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import torch

from sciffusion import DiffusionAnomalyDetector
from sciffusion.estimators.vectors.anomaly_scores import LEVELS

torch.set_num_threads(1)  # a network this small only loses time to more threads
rng = np.random.default_rng(0)
angle = rng.uniform(0.0, 2.0 * np.pi, 800)
normal = np.stack([np.cos(angle), np.sin(angle)], axis=1) + 0.1 * rng.normal(size=(800, 2))
strange = np.concatenate([0.12 * rng.normal(size=(15, 2)), rng.uniform(-2.2, 2.2, size=(25, 2))])

# %%
# Two measures that are learned
# -----------------------------
#
# ``"denoising"`` (the default) is the error of the restored row; ``"time"`` asks a classifier how much noise
# a row seems to carry. The line is where `predict` changes its mind: `contamination` says which share of the
# training rows may lie outside. The four strange rows that are missed happen to lie on the ring.

side = np.linspace(-2.3, 2.3, 40)
places = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
figure, axes = plt.subplots(1, 3, figsize=(11.5, 3.6), layout="constrained")
for panel, measure in zip(axes, ("denoising", "time"), strict=False):
    detector = DiffusionAnomalyDetector(
        measure=measure, contamination=0.05, width=48, max_steps=500, n_draws=4, random_state=0
    ).fit(normal)
    decision = detector.decision_function(places).reshape(len(side), len(side))
    panel.contourf(side, side, decision, levels=14, cmap="Blues")
    panel.contour(side, side, decision, levels=[0.0], colors="black")
    panel.plot(*normal.T, ".", color="0.35", markersize=1.5)
    found = detector.predict(strange) == -1
    panel.plot(*strange[found].T, "x", color="#c1440e", markersize=5, label="strange, found")
    panel.plot(*strange[~found].T, "o", color="#e0a458", markersize=5, label="strange, missed")
    panel.set_title(f'measure="{measure}"')
    panel.set_aspect("equal")
    print(f"{measure}: {found.sum()} of {len(strange)} strange rows found")
    if measure == "denoising":
        denoiser = detector
axes[0].legend(fontsize=8, loc="upper right")
# sphinx_gallery_defer_figures

# %%
# What the noise levels see
# -------------------------
#
# A row near the middle is restored badly at small and middle noise; at large noise its error falls below that
# of a normal row, because everything is drawn to the middle. Averaging standardised errors over the levels
# keeps the verdict from hanging on one choice of the noise.

rows = {"on the ring": [1.0, 0.0], "in the middle": [0.0, 0.0], "outside": [1.9, 0.0]}
errors = denoiser.log_errors(np.array(list(rows.values())))
for label, error in zip(rows, errors, strict=True):
    axes[2].semilogx(LEVELS, error, "o-", label=label, markersize=4)
axes[2].axhline(0.0, color="0.7", linewidth=0.8)
axes[2].set_xlabel("noise level in standard deviations")
axes[2].set_ylabel("standardised log error")
axes[2].set_title("error by level")
axes[2].legend(fontsize=8)
plt.show()
