r"""
Towards a goal, and how far from the truth
==========================================

Three ways to ask a trained model for larger values: classifier-free guidance, the gradient of a reward, and
particles that are weighed by the reward. The first two bend the samples; only the last one samples the law
:math:`p(x)\,e^{r(x)}` that a reward stands for. With a mixture whose law is known the difference can be
drawn.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import torch
from scipy.stats import chi2

from sciffusion.continuous import ERSDE, Heun, VariancePreserving
from sciffusion.exact import ExactDenoiser, GaussianMixtureTarget, GaussianTarget
from sciffusion.sampling import FeynmanKacSteering, log_snr_grid, sample
from sciffusion.sampling.guidance import (
    AutoGuidance,
    ClassifierFreeGuidance,
    DensityGuidance,
    MedianNormStart,
    RewardGuidance,
)

# %%
# A model with a condition
# ------------------------
#
# Without a condition the data have two modes. The condition ``"high"`` means: the reward :math:`r(x) = x` has
# been taken into account, so the conditional law is :math:`p(x) e^{x}` up to a factor; for normal components
# that is again a mixture, with means moved by the variance and weights by :math:`e^{m + v/2}`.

weights = torch.tensor([0.6, 0.4], dtype=torch.float64)
means = torch.tensor([-1.2, 1.0], dtype=torch.float64)
stds = torch.tensor([0.5, 0.4], dtype=torch.float64)
path = VariancePreserving()


def tilted(strength: float) -> GaussianMixtureTarget:
    """Return the law proportional to ``p(x) exp(strength * x)``."""
    moved = means + strength * stds**2
    mass = weights * torch.exp(strength * means + 0.5 * (strength * stds) ** 2)
    return GaussianMixtureTarget.from_stds((mass / mass.sum()).tolist(), moved, stds)


class Conditional:
    """The exact denoiser with or without the condition."""

    def __init__(self) -> None:
        self.path = path
        self.of = {None: ExactDenoiser(tilted(0.0), path), "high": ExactDenoiser(tilted(1.0), path)}

    def __call__(self, state, condition=None, cache=None):
        """Return the prediction for the condition."""
        return self.of[condition](state)


# %%
# Four runs towards :math:`p(x) e^{2x}`
# -------------------------------------
#
# Classifier-free guidance of scale 2 extrapolates from the unconditional to the conditional prediction.
# Auto-guidance does the same from a weaker model; here the data without any condition take that part. The
# reward's gradient is taken at the clean estimate. Steering needs no gradient at all: it weighs particles by
# the reward and resamples them, so its samples carry weights. It tilts what the solver samples, so the solver
# must be accurate in the tails: `ERSDE` is of second order; ancestral steps of first order would miss the
# mean by a tenth here.

grid = log_snr_grid(path, 60, end=0.0)
generator = torch.Generator().manual_seed(0)
count = 6000
common = {"shape": (count, 1), "generator": generator, "dtype": torch.float64}

runs = {
    "classifier-free": sample(
        Conditional(), Heun(), grid, condition="high", guidance=ClassifierFreeGuidance(2.0), **common
    ),
    "weaker model": sample(
        ExactDenoiser(tilted(1.0), path),
        Heun(),
        grid,
        guidance=AutoGuidance(ExactDenoiser(tilted(0.0), path), 2.0),
        **common,
    ),
    "reward gradient": sample(
        Conditional(), ERSDE(), grid, guidance=RewardGuidance(lambda x: x[:, 0], scale=2.0), **common
    ),
    "steered particles": sample(
        Conditional(),
        ERSDE(),
        grid,
        particles=FeynmanKacSteering(lambda x: x[:, 0], count=count, scale=2.0),
        **common,
    ),
}

for name, result in runs.items():
    values = result.unweighted(torch.Generator().manual_seed(1))[:, 0]
    moments = f"mean {float(values.mean()):.3f}  std {float(values.std()):.3f}"
    print(f"{name:18} nfe {result.nfe:4}  {moments}")

exact = tilted(2.0).draw(100_000, torch.Generator().manual_seed(2))[:, 0]
print(f"{'exact':27}  mean {float(exact.mean()):.3f}  std {float(exact.std()):.3f}")

axis = torch.linspace(-3.0, 3.0, 301, dtype=torch.float64)
one, none = torch.ones((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
truth = tilted(2.0).log_density(axis[:, None], one, none).exp()
plain = tilted(0.0).log_density(axis[:, None], one, none).exp()

figure, panels = plt.subplots(1, 4, figsize=(12, 3.2), sharey=True, layout="constrained")
for panel, (name, result) in zip(panels, runs.items(), strict=True):
    values = result.unweighted(torch.Generator().manual_seed(1))[:, 0]
    panel.hist(values.numpy(), bins=60, range=(-3, 3), density=True, color="#bcd2e0")
    panel.plot(axis, plain, color="0.6", lw=1, label="data")
    panel.plot(axis, truth, color="#c1440e", label="data x exp(2x)")
    panel.set(title=name, xlabel="x", yticks=[])
panels[0].legend(frameon=False, fontsize=8)
plt.show()

# %%
# Classifier-free guidance and auto-guidance (one formula, here with the same two models, so that the results
# differ by chance alone) overshoot: the mean is too large and the spread too small. The gradient of the
# reward at the clean estimate, which does not know how uncertain that estimate still is, goes too far as
# well. Weighted particles are right up to their number.
#
# Likely and unlikely samples
# ---------------------------
#
# A goal may also be the density itself. `DensityGuidance` takes samples of the deterministic flow to a
# quantile of the log density; for normal vectors that is a quantile of their norm.

ends = tuple(float(path.log_snr(t)) for t in (grid[0], grid[-2]))
dim = 20
normal = ExactDenoiser(GaussianTarget.isotropic(dim), path)
for quantile in (0.1, 0.5, 0.9):
    result = sample(
        normal,
        Heun(),
        grid,
        guidance=DensityGuidance(quantile, log_snr_range=ends),
        hooks=[MedianNormStart(path)],
        shape=(2000, dim),
        generator=generator,
        dtype=torch.float64,
    )
    # Of standard normal vectors the squared norm has a chi-square law; small norms are likely vectors.
    share = 1.0 - chi2.cdf(result.samples.square().sum(-1).mean(), dim)
    print(f"asked for the quantile {quantile} of the density, got {share:.2f}")
