r"""
What few steps cost
===================

Sampling with few network evaluations does not only blur the samples. Here an exact mixture is sampled with
4, 8 and 32 evaluations by a first-order and a second-order solver, so that all that differs from the truth is
the solver's doing: with 4 the valley between the two modes is filled and the tails are cut off, with 8 the
outline is right, with 32 the second-order samples can hardly be told from the target.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import torch

from sciffusion.continuous import DPMSolverMultistep, Euler, VariancePreserving
from sciffusion.exact import ExactDenoiser, GaussianMixtureTarget
from sciffusion.sampling import sample, uniform_grid

N_SAMPLES = 20_000
means = torch.tensor([-1.5, 1.0], dtype=torch.float64)
stds = torch.tensor([0.3, 0.6], dtype=torch.float64)
target = GaussianMixtureTarget.from_stds([0.4, 0.6], means, stds)
denoiser = ExactDenoiser(target, VariancePreserving())

# %%
# The density of the target, for comparison
# -----------------------------------------

values = torch.linspace(-3.5, 3.5, 400, dtype=torch.float64)[:, None]
clean, no_noise = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
density = target.log_density(values, clean, no_noise).exp()

# %%
# Samples from each solver
# ------------------------
#
# Every run starts from the same noise: an explicit generator with the same seed.

figure, panels = plt.subplots(2, 3, figsize=(9, 5), sharex=True, sharey=True, layout="constrained")
for row, solver in zip(panels, (Euler(), DPMSolverMultistep(order=2)), strict=True):
    for axes, n_steps in zip(row, (4, 8, 32), strict=True):
        result = sample(
            denoiser,
            solver,
            uniform_grid(n_steps),
            shape=(N_SAMPLES, 1),
            generator=torch.Generator().manual_seed(0),
            dtype=torch.float64,
        )
        axes.hist(result.samples[:, 0].numpy(), bins=120, range=(-3.5, 3.5), density=True, color="0.75")
        axes.plot(values[:, 0], density, color="C0")
        axes.set_title(f"{type(solver).__name__}, {result.nfe} evaluations", fontsize="medium")
        print(f"{type(solver).__name__:20} nfe {result.nfe:3}  std {float(result.samples.std()):.3f}")
plt.show()

# %%
# The standard deviation of the target, which the samples should have:

mean = float((torch.tensor([0.4, 0.6]) * means).sum())
variance = float((torch.tensor([0.4, 0.6]) * (stds**2 + means**2)).sum()) - mean**2
print(f"exact std {variance**0.5:.3f}")
