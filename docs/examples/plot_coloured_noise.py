r"""
Coloured noise, biased and unbiased
===================================

A stochastic sampler puts noise back at every step. White noise disturbs all frequencies alike, also those
that are finished already, and so it is tempting to colour it. Whether that changes *what* is sampled depends
on one thing: a covariance :math:`C` in the noise must stand in the drift, too,

.. math:: dx = (u - w\,C s)\,dt + \sqrt{2w}\,C^{1/2}\,d\bar W .

Here the data are Gaussian series with a known spectrum, and the exact denoiser takes the network's place:
every deviation is the sampler's own.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import torch

from sciffusion.continuous import (
    BrownianTree,
    ColoredNoise,
    EulerMaruyama,
    RectifiedFlow,
    SpectralOperator,
    measure_progress,
    sigma_strength,
)
from sciffusion.exact import ExactDenoiser, GaussianTarget
from sciffusion.sampling import State, sample, uniform_grid

# %%
# Series with a power law as spectrum
# -----------------------------------

LENGTH = 64
frequency = torch.arange(1, LENGTH // 2 + 2, dtype=torch.float64)
spectrum = SpectralOperator(frequency**-1.5, (LENGTH,)).normalised()
target = GaussianTarget.full(spectrum.apply(torch.eye(LENGTH, dtype=torch.float64)))
denoiser = ExactDenoiser(target, RectifiedFlow())

# %%
# Which frequencies are finished when
# -----------------------------------
#
# The published calibration follows deterministic trajectories and compares the clean estimate with the end of
# each, frequency by frequency. Low frequencies form first. The noise covariance leaves out what has formed.

generator = torch.Generator().manual_seed(0)
start = torch.randn(256, LENGTH, generator=generator, dtype=torch.float64)
progress = measure_progress(denoiser, uniform_grid(100), start)
covariance = progress.covariance(divider=1.0, power=0.5)

# %%
# Three samplers at equal cost
# ----------------------------

noises = {
    "white noise": None,
    "coloured, drift left as it is": ColoredNoise(covariance, match_drift=False),
    "coloured, drift matched": ColoredNoise(covariance),
}
figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.9), layout="constrained")
shown = axes[0].pcolormesh(progress.times, frequency - 1, progress.progress.mT, vmin=0, vmax=1)
axes[0].set(xlabel="time t (1 is noise)", ylabel="frequency", title="How far each frequency has formed")
axes[0].invert_xaxis()
figure.colorbar(shown, ax=axes[0])

for name, noise in noises.items():
    solver = EulerMaruyama(sigma_strength, noise)
    result = sample(
        denoiser, solver, uniform_grid(150), shape=(2000, LENGTH), generator=generator, dtype=torch.float64
    )
    power = torch.fft.rfft(result.samples).abs().square().mean(0) / LENGTH
    ratio = power / spectrum.eigenvalues
    axes[1].plot(frequency - 1, ratio, label=name)
    print(f"{name:32} lowest 5: {float(ratio[:5].mean()):.2f}   highest 10: {float(ratio[-10:].mean()):.2f}")
axes[1].axhline(1.0, color="black", linewidth=0.6)
axes[1].set(xlabel="frequency", ylabel="sampled power / true power", title="150 network evaluations each")
axes[1].legend()
plt.show()

# %%
# Colouring the noise alone takes power from the low frequencies and gives it to the high ones, and more steps
# do not help: it converges to another law. With images, where networks produce too little at high
# frequencies, that can look like an improvement. With the drift matched the law is that of the data.
#
# Noise that does not depend on the steps
# ---------------------------------------
#
# With fresh noise two runs on different grids have nothing to do with each other, even from one start. A
# Brownian tree fixes the noise as a function of time, so that a run with more steps refines the same sample.

white_start = torch.randn(1, LENGTH, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.2), layout="constrained", sharey=True)
for panel, title in zip(axes, ("white noise", "Brownian tree"), strict=True):
    for n_steps in (30, 100, 300):
        noise = BrownianTree(7) if title == "Brownian tree" else None
        run = sample(
            denoiser,
            EulerMaruyama(sigma_strength, noise),
            uniform_grid(n_steps),
            state=State(x=white_start),
            generator=torch.Generator().manual_seed(n_steps),
        )
        panel.plot(run.samples[0], label=f"{n_steps} steps")
    panel.set(title=title, xlabel="position in the series")
axes[0].legend()
plt.show()
