r"""
Another temperature without another model
=========================================

A diffusion model of :math:`p` also knows :math:`q \propto p^\gamma`: the law at another temperature, whose
score is :math:`\gamma` times that of p. Only at the end, though. On the way :math:`p_t^\gamma` is not the
noisy version of q, so that following its score, *pure guidance*, ends in a wrong law: here in wrong masses of
the modes. Weights mend that, if they do not collapse. *DriftLite* bends the drift at each step so that the
weights have as little to do as possible (Ren, Gao, Ying, Rotskoff and Han, arXiv 2509.21655).
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import torch

from sciffusion.continuous import VariancePreserving
from sciffusion.exact import ExactDenoiser, GaussianMixtureTarget
from sciffusion.sampling import log_snr_grid
from sciffusion.sampling.driftlite import DriftLiteSampler

# %%
# A model with a known answer
# ---------------------------
#
# Four modes in ten dimensions, of different widths. Annealing to half the temperature (:math:`\gamma = 2`)
# favours the narrow ones: the mass of a mode with weight w and standard deviation s becomes proportional to
# :math:`w^2 s^{-10}`.

DIM, GAMMA = 10, 2.0
weights = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
stds = torch.tensor([0.60, 0.62, 0.66, 0.70], dtype=torch.float64)
means = 1.6 * torch.randn(4, DIM, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
model = GaussianMixtureTarget.from_stds(weights.tolist(), means, stds[:, None].expand(4, DIM))
denoiser = ExactDenoiser(model, VariancePreserving())

exact = weights**GAMMA * stds ** (DIM * (1.0 - GAMMA))
exact = exact / exact.sum()

# %%
# Three samplers, one score
# -------------------------
#
# ``from_denoiser`` takes a denoiser of this library, ``from_score`` any function of values and time, a
# protein model for instance. All three samplers see the same score; they evaluate it as often, but for one
# evaluation more with weights.

grid = log_snr_grid(denoiser.path, 120, end=0.005)
samplers = {
    "pure guidance": DriftLiteSampler.from_denoiser(denoiser, control="none", weights="none"),
    "weights": DriftLiteSampler.from_denoiser(denoiser, control="none"),
    "weights and control": DriftLiteSampler.from_denoiser(denoiser, control="vcg"),
}
results = {
    name: sampler.sample(
        grid, count=800, shape=(DIM,), gamma=GAMMA, generator=torch.Generator().manual_seed(0)
    )
    for name, sampler in samplers.items()
}


def masses(result) -> torch.Tensor:
    """Return the weighted share of particles nearest to each mode."""
    count = len(result.samples)
    weight = torch.full((count,), 1.0 / count) if result.log_weights is None else result.log_weights.exp()
    nearest = torch.cdist(result.samples, means.float()).argmin(1)
    return torch.stack([weight[nearest == mode].sum() for mode in range(4)])


# %%
# What to look at
# ---------------
#
# The masses show what is right and what is not. The variance of the weights' growth shows why: control takes
# most of it away, so that particles are rarely resampled and many of the first ones keep descendants. Read
# the smallest effective sample size and the number of ancestors, not the last size, which looks healthy after
# any collapse.

figure, (bars, panel) = plt.subplots(1, 2, figsize=(9.5, 3.8), layout="constrained")
places = torch.arange(4)
bars.bar(places - 0.3, exact, 0.2, color="black", label="exact")
for shift, (name, result) in enumerate(results.items()):
    bars.bar(places - 0.1 + 0.2 * shift, masses(result), 0.2, label=name)
bars.set(xlabel="mode", ylabel="mass", title=r"$p^2$: masses of the modes", xticks=places)
bars.legend()

trace = results["weights and control"].trace
log_snr = denoiser.path.log_snr(grid[:-1])
panel.semilogy(log_snr, trace["variance_guidance"][:, 0], color="tab:orange", label="without control")
panel.semilogy(log_snr, trace["variance_potential"][:, 0], color="tab:green", label="with control")
panel.set(xlabel=r"$\log(\alpha/\sigma)$: from noise to data", title="variance of the weights' growth")
panel.legend()
plt.show()

for name, result in results.items():
    report = result.particles
    if report is not None:
        print(
            f"{name:20} smallest ESS {float(report.ess_history.min()):.0f} of 800, "
            f"{int(report.resamplings)} resamplings, {int(report.unique_ancestors)} ancestors, "
            f"log Z {float(report.log_normaliser):.2f} +- {float(report.log_normaliser_error):.2f}"
        )

# %%
# The normaliser :math:`Z = \int p^\gamma` comes with the weights. The exact one here is close to
# :math:`\sum_k w_k^2 (4 \pi s_k^2)^{-d/2}`, since the modes hardly overlap.

log_z = torch.logsumexp(GAMMA * weights.log() - 0.5 * DIM * torch.log(4.0 * torch.pi * stds**2), 0)
print(f"{'exact':20} log Z {float(log_z):.2f}")
