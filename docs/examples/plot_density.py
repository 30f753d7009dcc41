r"""
Density, draws and missing values from one model
================================================

`DensityDiffusion` learns a table of numbers by taking noise off its rows. From the one network come the
density of a row, new rows, and what a missing value may have been. Here the table has two columns, so that
all three can be drawn: points on two half-moons.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import make_moons
from sklearn.neighbors import KernelDensity

from sciffusion import DensityDiffusion

torch.set_num_threads(1)  # a network this small only loses time to more threads
train, _ = make_moons(1500, noise=0.08, random_state=0)
test, _ = make_moons(300, noise=0.08, random_state=1)

# %%
# Fitting and scoring
# -------------------
#
# The score is the mean log density of new rows, in nats. It comes from the probability flow, and so do its
# errors: the divergence is exact in two dimensions, and halving the steps shows what the integration does.

model = DensityDiffusion(width=64, max_steps=600, learning_rate=0.008, random_state=0).fit(train)
estimate = model.score_samples(test, nfe=32, return_std=True)
kernel = KernelDensity(bandwidth=0.07).fit(train).score(test) / len(test)
print(f"diffusion {estimate.log_density.mean():.2f}, kernels {kernel:.2f} nats")
print(f"largest change when the steps are halved: {estimate.step_error.max():.3f}")

# %%
# One network, three uses
# -----------------------
#
# On the right the first coordinate is given and the second is drawn: where both moons are possible, the draws
# are divided between them, which no single imputed number could say. The few draws between the moons are the
# network's error after a short training; they become rarer with more steps.

side = np.linspace(-1.7, 2.7, 48), np.linspace(-1.1, 1.6, 32)
places = np.stack(np.meshgrid(*side), axis=-1).reshape(-1, 2)
density = np.exp(model.score_samples(places, nfe=16)).reshape(len(side[1]), len(side[0]))
drawn = model.sample(600, random_state=0)
given_place = 0.5
given = model.sample(300, given={0: given_place}, random_state=0)

figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained", sharex=True, sharey=True)
axes[0].contourf(*side, density, levels=12, cmap="Blues")
axes[0].plot(*test.T, ".", color="#c1440e", markersize=2)
axes[0].set_title("density, and rows not seen")
axes[1].plot(*drawn.T, ".", color="#1f5f8b", markersize=3)
axes[1].set_title("600 draws")
axes[2].plot(*train.T, ".", color="0.8", markersize=2)
axes[2].plot(given[:, 0], given[:, 1], ".", color="#c1440e", markersize=4, alpha=0.5)
heights, edges = np.histogram(given[:, 1], bins=36, range=(-1.1, 1.6), density=True)
axes[2].stairs(given_place + 0.6 * heights / heights.max(), edges, orientation="horizontal", color="#c1440e",
               baseline=given_place)  # fmt: skip
axes[2].set_title(f"second value given the first is {given_place}")
for panel in axes:
    panel.set_xlabel("first value")
axes[0].set_ylabel("second value")
plt.show()
