r"""
One slider from regression to generation
========================================

The estimate with the smallest mean squared error is the mean of all that could be true, and looks like none
of it. A draw from the posterior looks right and has twice the error. Between the two lies a frontier. For a
jointly normal pair it is known: with the posterior covariance :math:`S`,

.. math::
   \mathrm{MSE} = (1 + \rho^2) \operatorname{tr} S, \qquad
   W_2^2 = (1 - \rho)^2 \operatorname{tr} S, \qquad 0 \le \rho \le 1 .

A two-time interpolant has both ends in one model. Here the exact heads stand in for a trained network.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import torch

from sciffusion.continuous import GaussianHeads, TwoTimeInterpolant
from sciffusion.exact import GaussianTarget
from sciffusion.sampling import restore

# %%
# A blurred and noisy series
# --------------------------

LENGTH, NOISE_STD = 40, 0.3
prior = GaussianTarget.autoregressive(LENGTH, 0.9)
ones = torch.ones(LENGTH, dtype=torch.float64)
blur = sum(torch.diag(ones[abs(k) :], k) for k in range(-3, 4)) / 7.0
heads = GaussianHeads.of_observation(TwoTimeInterpolant(1.0), prior.covariance, blur, NOISE_STD)

generator = torch.Generator().manual_seed(3)
truth = prior.draw(1, generator)
seen = truth @ blur.mT + NOISE_STD * torch.randn(truth.shape, generator=generator, dtype=truth.dtype)
posterior_std = float(heads.variances.mean().sqrt())

# %%
# Three positions of the slider
# -----------------------------
#
# ``rho=0`` takes one evaluation and is the regression. The others follow the curve from noise and regress
# from where the slider stops it, starting from the same noise.

figure, axes = plt.subplots(1, 4, figsize=(13, 3.3), layout="constrained", width_ratios=(1, 1, 1, 1.15))
for panel, rho in zip(axes[:3], (0.0, 0.6, 1.0), strict=True):
    noise = torch.Generator().manual_seed(0)
    answers = restore(heads, seen.expand(4, LENGTH), rho, noise, posterior_std=posterior_std)
    panel.plot(answers.samples.mT, color="C1", linewidth=1.2, alpha=0.8)
    panel.plot(truth[0], color="black", linewidth=1.5)
    panel.set(
        title=f"rho = {rho:g}, {answers.nfe} evaluation{'s' if answers.nfe > 1 else ''}",
        xlabel="position",
        ylim=(-3.2, 3.2),
    )
axes[0].plot([], [], color="black", label="truth")
axes[0].plot([], [], color="C1", label="answers")
axes[0].legend(fontsize="small")
# sphinx_gallery_defer_figures

# %%
# Against the frontier
# --------------------
#
# Mean and covariance of many answers give both measures. The posterior variances of this task are unequal, so
# that one stop cannot suit all of them and the slider runs a little above the line. Mixing
# the regression with a draw (:func:`sciffusion.sampling.posterior_mean_slider`) would be on it, for one more
# evaluation.

trace = float(heads.covariance.trace())
values, basis = torch.linalg.eigh(heads.covariance)
root = (basis * values.clamp_min(0.0).sqrt()) @ basis.mT
points = []
for rho in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
    noise = torch.Generator().manual_seed(1)
    found = restore(heads, seen.expand(4000, LENGTH), rho, noise, posterior_std=posterior_std).samples
    covariance = found.mT.cov()
    bias = float((found.mean(0) - heads.mean(seen)[0]).square().sum())
    spread = float(covariance.trace())
    cross = float(torch.linalg.eigvalsh(root @ covariance @ root).clamp_min(0.0).sqrt().sum())
    points.append(((bias + trace + spread) / trace, (bias + trace + spread - 2.0 * cross) / trace))
    print(f"rho {rho:.1f}: MSE {points[-1][0]:.3f}, squared W2 {points[-1][1]:.3f} (shares of tr S)")
rho_line = torch.linspace(0.0, 1.0, 101)
axes[3].plot(1.0 + rho_line**2, (1.0 - rho_line) ** 2, color="black", label="frontier")
axes[3].plot(*zip(*points, strict=True), "C1o", label="slider")
axes[3].set(xlabel="mean squared error / tr S", ylabel="squared W2 / tr S", title="Distortion and perception")
axes[3].legend(fontsize="small")
plt.show()
