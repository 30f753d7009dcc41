r"""
Data between bounds
===================

Shares, probabilities and scaled measurements lie between two bounds. Ordinary diffusion does not know this:
where much of the data sits near a bound, samples end outside. Two remedies: folding the finished samples
back, and a *reflected* path, whose noise is thrown back at the bounds, so that nothing ever leaves.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.stats import beta, wasserstein_distance

from sciffusion.continuous import (
    AncestralDDPM,
    ReflectedAtoms,
    ReflectedVarianceExploding,
    VarianceExploding,
)
from sciffusion.exact import EmpiricalTarget, ExactDenoiser
from sciffusion.sampling import ReflectionHook, log_snr_grid, sample

# %%
# The data
# --------
#
# Points of a beta law that piles up near 0, between the bounds 0 and 1. They stand for a trained model: the
# exact score of their noisy versions is known on both paths. Noise of .03 is left at the end.

share = (np.arange(120) + 0.5) / 120
atoms = torch.as_tensor(beta(0.6, 2.0).ppf(share))[:, None]
free = VarianceExploding(0.03, 2.0)
reflected = ReflectedVarianceExploding(0.03, 2.0, low=0.0, high=1.0)
model = ExactDenoiser(EmpiricalTarget(atoms), free)
bounded_model = ReflectedAtoms(atoms, reflected)

# %%
# Four runs
# ---------
#
# Folding after every step belongs to the reflected path, where the score is that of folded noise. On the
# ordinary path it is wrong: noisy values belong outside the bounds there.

grid = log_snr_grid(free, 40)
solver = AncestralDDPM("upper")  # the reverse step of both paths
common = {"shape": (1500, 1), "dtype": torch.float64}
runs = {
    "ordinary path": sample(model, solver, grid, generator=torch.Generator().manual_seed(0), **common),
    "folded at the end": sample(
        model,
        solver,
        grid,
        hooks=[ReflectionHook(0.0, 1.0, only_last=True)],
        generator=torch.Generator().manual_seed(0),
        **common,
    ),
    "folded at every step": sample(
        model,
        solver,
        grid,
        hooks=[ReflectionHook(0.0, 1.0)],
        generator=torch.Generator().manual_seed(0),
        **common,
    ),
    "reflected path": sample(
        bounded_model,
        solver,
        grid,
        hooks=[ReflectionHook(0.0, 1.0)],
        generator=torch.Generator().manual_seed(0),
        **common,
    ),
}
truth = bounded_model.draw_marginal(40_000, 0.0, torch.Generator().manual_seed(1))[:, 0].numpy()

figure, panels = plt.subplots(1, 4, figsize=(12, 3.2), sharey=True, layout="constrained")
for panel, (name, result) in zip(panels, runs.items(), strict=True):
    values = result.samples[:, 0].numpy()
    outside = float(((values < 0.0) | (values > 1.0)).mean())
    distance = wasserstein_distance(values, truth)
    print(f"{name:21} outside {outside:5.1%}   Wasserstein distance to the exact law {distance:.4f}")
    bins = {"bins": 48, "range": (-0.2, 1.0), "density": True}
    panel.hist(values, color="#bcd2e0", **bins)
    panel.hist(truth, histtype="step", color="#c1440e", label="exact", **bins)
    panel.axvline(0.0, color="0.5", lw=0.8)
    panel.set(title=name, xlabel="x", yticks=[])
panels[0].legend(frameon=False)
plt.show()

# %%
# Folding at the end keeps the samples inside and is right here, where the noise left at the end would have
# been folded in the same way. Folding an ordinary run at every step distorts the law. The reflected path
# needs no repair, at any number of steps; what is left of its distance here is the first-order error of the
# steps. A network is trained for it with `ReflectedObjective`.
