r"""
How likely is a rare event?
===========================

A model of a time series is asked for paths in which something rare happens, and for the probability that it
does. Both come from one trained denoiser: *event guidance* steers the sampler to paths with the event, and
the ratio of guided to unguided path densities turns them into an unbiased estimate of the probability, with
a standard error. Here the series is autoregressive and its denoiser exact, so the answers can be compared.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import torch

from sciffusion.continuous import DPMSolverMultistep, VariancePreserving
from sciffusion.exact import ExactDenoiser, GaussianTarget
from sciffusion.sampling import event_probability, log_snr_grid, sample
from sciffusion.sampling.guidance import Event, EventGuidance

LENGTH = 24
series = GaussianTarget.autoregressive(LENGTH, 0.8)
path = VariancePreserving()
denoiser = ExactDenoiser(series, path)
grid = log_snr_grid(path, 60, last_log_snr=5.0)

# %%
# Paths that obey
# ---------------
#
# Two conditions at once: the series passes through -1 at step 6 (an equality, with a small noise), and its
# mean over the last eight steps exceeds 1.8 (an inequality). Any differentiable function of the path will
# do.

conditions = [
    Event(lambda x: x[:, 6], "==", -1.0, noise_std=0.05),
    Event(lambda x: x[:, -8:].mean(-1), ">", 1.8),
]
paths = sample(
    denoiser, DPMSolverMultistep(2), grid, shape=(40, LENGTH), guidance=EventGuidance(conditions),
    generator=torch.Generator().manual_seed(0), dtype=torch.float64,
).samples  # fmt: skip
print(f"smallest mean of the last eight steps: {float(paths[:, -8:].mean(-1).min()):.3f}")

# %%
# How probable it is that the mean exceeds a threshold
# ----------------------------------------------------
#
# With 1000 paths a threshold whose probability is below 1e-3 is hardly ever passed by chance. Guided paths
# pass it all the time, and their weights say how much each counts.

weights = torch.zeros(LENGTH, dtype=torch.float64)
weights[-8:] = 1.0 / 8.0
std = float((weights @ series.covariance @ weights).sqrt())
thresholds = torch.linspace(0.5, 4.0, 8) * std
estimates = {"monte_carlo": [], "importance": []}
for threshold in thresholds.tolist():
    event = (lambda x: x[:, -8:].mean(-1), ">", threshold)
    for method, found in estimates.items():
        found.append(
            event_probability(
                denoiser, event, grid, shape=(1000, LENGTH), method=method,
                generator=torch.Generator().manual_seed(1),
            )
        )  # fmt: skip
exact = torch.special.ndtr(-thresholds.double() / std)
last = estimates["importance"][-1]
print(
    f"at four standard deviations: {last.probability:.2e} +- {last.standard_error:.1e}, exact {exact[-1]:.2e}"
)

# %%
# Plain Monte Carlo ends where its last hit ends; the estimate by guided paths keeps its relative error.

figure, axes = plt.subplots(1, 2, figsize=(10.5, 3.9), layout="constrained")
axes[0].plot(paths.T.numpy(), color="tab:blue", alpha=0.3, linewidth=0.9)
axes[0].plot([6], [-1.0], "o", color="black", label="passes through -1")
axes[0].plot([LENGTH - 8, LENGTH - 1], [1.8, 1.8], color="tab:red", label="mean of these above 1.8")
axes[0].set(xlabel="step", ylabel="value", title="Paths under two conditions")
axes[0].legend()
for (method, found), marker in zip(estimates.items(), "os", strict=True):
    hit = [i for i, estimate in enumerate(found) if estimate.effective_sample_size > 0]
    axes[1].errorbar(
        (thresholds[hit] / std).numpy(), [found[i].probability for i in hit],
        [min(2.0 * found[i].standard_error, 0.99 * found[i].probability) for i in hit],
        fmt=marker, capsize=3, label=method.replace("_", " "),
    )  # fmt: skip
axes[1].semilogy((thresholds / std).numpy(), exact.numpy(), color="black", linewidth=0.9, label="exact")
axes[1].set(
    xlabel="threshold / standard deviation",
    ylabel="probability",
    title="1000 paths each, two standard errors",
)
axes[1].legend()
plt.show()
