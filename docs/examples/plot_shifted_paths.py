r"""
Processes that end around an observation
========================================

A mean-reverting process takes a clean signal not to zero but to an observation of it: x ends at
:math:`\mu + \sigma\varepsilon`, and sampling starts from the observation plus noise. In :math:`u = x - \mu`
it is an ordinary path, so every solver and every objective serves it unchanged. Two things are shown here on
a signal whose exact posterior is known: that the restored signals have that posterior, and what it costs to
start from the wrong law.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import torch

from sciffusion.continuous import (
    DPMSolverMultistep,
    GaussianStart,
    MeanReverting,
    OrnsteinUhlenbeckVarianceExploding,
    Shifted,
    start_divergence,
)
from sciffusion.exact import ExactDenoiser, GaussianTarget
from sciffusion.sampling import State, log_snr_grid, sample, uniform_grid

# %%
# A noisy recording
# -----------------
#
# The signal is an AR(1) series, the recording adds noise of standard deviation .8. Both laws are Gaussian,
# and so is the posterior.

LENGTH, NOISE = 60, 0.8
prior = GaussianTarget.autoregressive(LENGTH, 0.95)
generator = torch.Generator().manual_seed(2)
signal = prior.draw(1, generator)[0]
recording = signal + NOISE * torch.randn(LENGTH, generator=generator, dtype=torch.float64)
gain = torch.linalg.solve(
    prior.covariance + NOISE**2 * torch.eye(LENGTH, dtype=torch.float64), prior.covariance
).mT
covariance = prior.covariance - gain @ prior.covariance
posterior = GaussianTarget.full(0.5 * (covariance + covariance.mT), gain @ recording)

# %%
# Restoration
# -----------
#
# The exact denoiser of :math:`u = x - y` stands in for a trained network that sees u and the recording.

process = Shifted(MeanReverting(), mean=recording)
law_of_u = GaussianTarget.full(posterior.covariance, posterior.mean - recording)
denoiser = ExactDenoiser(law_of_u, process.path)
result = sample(
    denoiser,
    DPMSolverMultistep(2),
    log_snr_grid(process.path, 20),
    shape=(400, LENGTH),
    generator=generator,
    dtype=torch.float64,
)
restored = process.restore(result.samples)

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
left.plot(recording, ".", color="0.6", label="recording")
low, high = restored.quantile(torch.tensor([0.05, 0.95], dtype=torch.float64), dim=0)
left.fill_between(range(LENGTH), low, high, alpha=0.3, label="90 % of the restored")
left.plot(restored[0], linewidth=1.0, label="one restored signal")
left.plot(signal, "k", linewidth=1.0, label="signal")
left.set(title=f"Posterior samples, {result.nfe} evaluations")
left.legend(fontsize=8)
exact_std = posterior.covariance.diagonal().sqrt()
print(f"restored over exact standard deviation, mean: {float((restored.std(0) / exact_std).mean()):.2f}")
# sphinx_gallery_defer_figures

# %%
# The start matters
# -----------------
#
# The speech-enhancement path OUVE keeps :math:`\alpha_1 = .22` of the signal at its end. A start in pure
# noise ignores it; no number of steps repairs that, as the line that stays level shows. A Gaussian fitted to
# the data starts from the right law.

path = OrnsteinUhlenbeckVarianceExploding()
data = GaussianTarget.isotropic(1, std=0.3, mean=0.8)
speech = ExactDenoiser(data, path)
training = data.draw(2000, generator)
starts = {
    "pure noise": float(path.coefficients(1.0).sigma)
    * torch.randn(4000, 1, generator=generator, dtype=torch.float64),
    "Gaussian fit": GaussianStart.fit(training).draw(4000, path, generator, dtype=torch.float64),
}
steps = (4, 8, 16, 32, 64)
for name, start in starts.items():
    means = [
        float(sample(speech, DPMSolverMultistep(2), uniform_grid(n), state=State(x=start)).samples.mean())
        for n in steps
    ]
    right.plot(range(len(steps)), means, "o-", label=name)
right.axhline(0.8, color="0.5", label="exact")
right.set_xticks(range(len(steps)), [str(n) for n in steps])
right.set(xlabel="network evaluations", ylabel="mean of the samples", title="Starts of the OUVE path")
right.legend(fontsize=8)
plt.show()

print(
    f"divergence of the true start law from pure noise: {float(start_divergence(path, 0.8, 0.09)):.3f} nats"
)
