r"""
What is wrong with this sampler?
================================

A sampler can fail in ways that a look at its samples does not show. Here four faults are planted, and for
each the diagnostic that finds it. Every diagnostic comes with what it is to be read against: a distance
without its floor, or a share of copies without the share that honest samples have, says nothing.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import torch

from sciffusion.continuous import DPMSolverMultistep, VariancePreserving
from sciffusion.diagnostics import (
    energy_test,
    memorisation,
    normal_bundle_dimension,
    rank_calibration,
    region_coverage,
    spectrum_ratio,
)
from sciffusion.exact import EmpiricalTarget, ExactDenoiser, GaussianMixtureTarget, GaussianTarget
from sciffusion.sampling import log_snr_grid, sample

path = VariancePreserving()
generator = torch.Generator().manual_seed(0)
figure, axes = plt.subplots(2, 2, figsize=(8.5, 6.6), layout="constrained")
# sphinx_gallery_defer_figures

# %%
# It copies
# ---------
#
# A perfectly trained network on too few data *is* the sampler of the empirical law. For each sample the ratio
# of the distances to the nearest and second nearest training point is taken; held-out data tell which ratios
# are small.

means = torch.tensor([[-1.0, 0.0], [1.0, 0.5]], dtype=torch.float64)
law = GaussianMixtureTarget.from_stds([0.5, 0.5], means, 0.4 * torch.ones_like(means))
training, held_out = law.draw(200, generator), law.draw(400, generator)

laws = (("true law", law, "#5b7083"), ("empirical law", EmpiricalTarget(training), "#c1440e"))
for name, target, colour in laws:
    run = sample(
        ExactDenoiser(target, path), DPMSolverMultistep(2), log_snr_grid(path, 30, last_log_snr=4.0),
        shape=(400, 2), generator=generator,
    )  # fmt: skip
    found = memorisation(run.samples, training, held_out)
    axes[0, 0].hist(found.ratios.numpy(), bins=30, range=(0, 1), alpha=0.6, color=colour, label=name)
    print(
        f"{name}: {found.copies:.0%} copies, {found.expected_copies:.0%} expected; "
        f"pull to the training data {found.training_share_z:+.1f} standard errors"
    )
axes[0, 0].axvline(found.threshold, color="black", linewidth=0.8, linestyle=":")
axes[0, 0].set(title="copies", xlabel="nearest / second nearest distance", ylabel="samples")
axes[0, 0].legend()
# sphinx_gallery_defer_figures

# %%
# It is too sure of itself
# ------------------------
#
# Of a conditional sampler one asks that the truth could be one of its draws. Then the rank of the truth among
# them is uniform. Draws that are too narrow give a U; the dispersion is the variance of the ranks over that
# of uniform ones. ``region_coverage`` asks the same of all coordinates together.

seen = torch.randn(2000, 1, 2, generator=generator, dtype=torch.float64)
for spread, colour in ((1.0, "#5b7083"), (0.6, "#c1440e")):
    noise = torch.randn(2000, 40, 2, generator=generator, dtype=torch.float64)
    truth = seen[:, 0] + noise[:, 0]
    draws = seen + spread * noise[:, 1:]
    ranks = rank_calibration(draws, truth, generator=generator)
    regions = region_coverage(draws, truth, generator=generator)
    axes[0, 1].hist(
        ranks.positions[:, 0].numpy(),
        bins=20,
        range=(0, 1),
        alpha=0.6,
        color=colour,
        label=f"spread {spread:g}",
    )
    print(
        f"spread {spread:g}: dispersion {float(ranks.dispersion[0]):.2f} +- "
        f"{float(ranks.dispersion_error[0]):.2f}, p = {float(ranks.p_values[0]):.2g}; "
        f"regions p = {regions.p_value:.2g}"
    )
axes[0, 1].axhline(100, color="black", linewidth=0.8, linestyle=":")
axes[0, 1].set(title="calibration", xlabel="rank of the truth among the draws", ylabel="items")
axes[0, 1].legend(loc="upper center")
# sphinx_gallery_defer_figures

# %%
# It smooths
# ----------
#
# Series whose neighbours are averaged look right at a glance. Their power, band by band over that of real
# series, does not.

series = GaussianTarget.autoregressive(64, 0.8)
real, generated = series.draw(500, generator), series.draw(500, generator)
smoothed = 0.85 * generated + 0.15 * generated.roll(1, 1)
for values, name, colour in ((generated, "exact", "#5b7083"), (smoothed, "smoothed", "#c1440e")):
    found = spectrum_ratio(values, real, 10, generator=generator)
    middle = 0.5 * (found.edges[1:] + found.edges[:-1])
    axes[1, 0].errorbar(middle, found.ratio, 2.0 * found.error, fmt="o-", color=colour, label=name, capsize=2)
axes[1, 0].axhline(1.0, color="black", linewidth=0.8, linestyle=":")
axes[1, 0].set(title="spectrum", xlabel="frequency", ylabel="generated / real power", ylim=(0, 1.3))
axes[1, 0].legend(loc="lower left")
# sphinx_gallery_defer_figures

# %%
# A general two-sample test does not see it: in 64 dimensions the energy distance of the smoothed series lies
# within its values under permuted labels. Ask about a fault by the diagnostic that is made for it.

for values, name in ((generated, "exact"), (smoothed, "smoothed")):
    found = energy_test(values, real, generator=generator, n_permutations=200)
    print(f"{name}: distance {found.distance:.3f}, floor {found.null_mean:.3f}, p = {found.p_value:.3f}")
# sphinx_gallery_defer_figures

# %%
# It knows more directions than the data have, or fewer
# -----------------------------------------------------
#
# The dimension of data is a question of scale. Of ten coordinates with standard deviations 1, 1, .1, .1, .1
# and five times .001 one sees ten, five, two or none, depending on the noise at which one asks.

stds = torch.tensor([1.0] * 2 + [0.1] * 3 + [0.001] * 5, dtype=torch.float64)
denoiser = ExactDenoiser(GaussianTarget.diagonal(stds), path)
points = torch.zeros(1, 10, dtype=torch.float64)
scales = torch.logspace(-3.5, 1.0, 40, dtype=torch.float64)
dimensions = [
    normal_bundle_dimension(denoiser, points, t, generator=generator).mean
    for t in path.time_of_log_snr(-torch.log(scales)).tolist()
]
axes[1, 1].step(scales, dimensions, where="mid", color="#2f6690")
axes[1, 1].set(title="local dimension", xscale="log", xlabel="scale (relative noise)", ylabel="dimension")
plt.show()
