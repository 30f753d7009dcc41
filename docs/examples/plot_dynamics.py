r"""
Random futures of a chaotic system
==================================

A trajectory of Lorenz's system can be followed for a while; then small errors have grown to the size of the
attractor, and only the statistics are left to forecast. `DynamicsDiffusion` learns from trajectories alone
and draws whole futures, of any length, in two ways:

- **rolling** diffusion denoises a window of frames, the later the noisier, and moves it along;
- **DYffusion** forecasts the end of the window, interpolates between now and then with dropout left on, and
  walks from one to the other.

Both are fitted here for a few seconds, far too short for their best; the benchmark report has longer fits and
other models next to them.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np

from sciffusion import DynamicsDiffusion
from sciffusion.datasets import make_lorenz63
from sciffusion.domains.forecasting.metrics import crps

train = make_lorenz63(1000, 40, random_state=0)
test = make_lorenz63(30, 51, random_state=1)
lead = test.times[1:] / test.lyapunov_time

# %%
# Fit and draw
# ------------
#
# Trajectories have the shape ``(n, steps, dim)``, futures ``(n, draws, steps, dim)``. The forecast begins at
# one known state and goes on for more than ten times the window of 4 steps.

draws = {}
for method in ("rolling", "dyffusion"):
    model = DynamicsDiffusion(
        method=method, width=96, depth=3, max_steps=250, batch_size=256, random_state=0, device="cpu"
    ).fit(train.values)
    draws[method] = model.sample(test.values[:, 0], steps=50, n_samples=20, random_state=0)
    print(f"{method}: {model.evaluations(50)} network evaluations for 50 steps")

# %%
# Fans
# ----
#
# Twenty futures of the variable x from each of two states. They keep together until the state comes near the
# saddle between the two wings; there some go left and some go right, and each goes on as a path of its own.

figure, panels = plt.subplots(2, 2, figsize=(9, 5), sharex=True, sharey=True, layout="constrained")
for column, method in enumerate(draws):
    for row, case in enumerate((0, 5)):
        axes = panels[row, column]
        axes.plot(lead, draws[method][case, :, :, 0].T, color="#c1440e", lw=0.6, alpha=0.5)
        axes.plot(lead, test.values[case, 1:, 0], color="black", lw=1.6, label="truth")
        axes.set_ylabel(f"x, state {row + 1}" if column == 0 else "")
    panels[0, column].set_title(method)
    panels[1, column].set_xlabel("lead (Lyapunov times)")
panels[0, 0].legend(loc="lower left")
plt.show()

# %%
# How good, and do they know it?
# ------------------------------
#
# The CRPS grows from almost nothing to that of climatology. The spread of the draws over the error of their
# mean tells whether a model knows its own doubt: 1 is right, more is too cautious. At short leads the system
# is deterministic and every difference between draws is an error of the networks that the mean over draws
# removes, so both are too cautious there.

scale = train.values.std((0, 1))
truth = test.values[:, 1:] / scale
climate = train.values[:, 0] / scale
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
for method, colour in (("rolling", "#c1440e"), ("dyffusion", "#2e6fa3")):
    paths = draws[method] / scale
    left.semilogy(lead, crps(truth, paths, fair=True).mean((0, 2)), color=colour, label=method)
    error = np.sqrt(((paths.mean(1) - truth) ** 2).mean((0, 2)))
    spread = np.sqrt(paths.var(1, ddof=1).mean((0, 2)) * 21 / 20)
    right.plot(lead, spread / error, color=colour, label=method)
base = crps(truth, np.broadcast_to(climate[None, :200, None], (30, 200, 50, 3)), fair=True).mean((0, 2))
left.semilogy(lead, base, color="0.6", label="climatology")
left.set(xlabel="lead (Lyapunov times)", ylabel="CRPS (standard deviations)")
right.axhline(1.0, color="0.6", lw=0.8)
right.set(xlabel="lead (Lyapunov times)", ylabel="spread / error", ylim=(0.0, 3.6))
left.legend()
plt.show()
