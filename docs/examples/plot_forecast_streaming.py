"""
Intervals that adapt, and a stream of forecasts
===============================================

Rows arrive one after the other. A forecaster takes them in without a new fit: its histories grow, its ridge
is extended exactly, and the levels of its conformal intervals follow the misses. Halfway through, the errors
of these series double.
"""

import matplotlib.pyplot as plt
import numpy as np

from sciffusion import DiffusionForecaster

rng = np.random.default_rng(0)
n_series, n_old, n_new = 6, 240, 120
season = np.sin(np.arange(n_old + n_new) * np.pi / 6)
X = season + 0.3 * rng.standard_normal((n_series, n_old + n_new))
X[:, n_old + n_new // 2 :] += 0.52 * rng.standard_normal((n_series, n_new // 2))

# %%
# Before each row arrives, an interval of 80 % is forecast for it, then the row is handed to `update`. The
# step size ``gamma`` says how fast levels move: :math:`\alpha_{t+1} = \alpha_t + \gamma(\alpha -
# \mathrm{err}_t)`.
model = DiffusionForecaster(horizon=6, season_length=12, network_off=True, random_state=0)
model.fit(X[:, :n_old])
fixed = model.conformal_.bounds(80)
lower, upper, covered = [], [], []
for t in range(n_old, n_old + n_new):
    interval = model.predict_interval(1, level=80, method="adaptive")[:, 0, :, 0]
    lower.append(interval[0, 0])
    upper.append(interval[0, 1])
    covered.append(np.mean((X[:, t] >= interval[:, 0]) & (X[:, t] <= interval[:, 1])))
    model.update(X[:, [t]], gamma=0.05)

# %%
# A stream keeps sample paths that move along with the window. Each push gives the next forecast; with a
# network it costs half of the evaluations of fresh draws.
stream = DiffusionForecaster(horizon=6, season_length=12, network_off=True, random_state=0)
stream = stream.fit(X[:, :n_old]).stream(n_samples=60)
paths = [stream.push(X[:, t])[0] for t in range(n_old, n_old + 24)]

# %%
figure, axes = plt.subplots(1, 3, figsize=(12.5, 3.6), layout="constrained")
rows = np.arange(n_new)
axes[0].fill_between(rows, lower, upper, alpha=0.3, label="80 % interval")
axes[0].plot(rows, X[0, n_old:], ".", color="0.2", label="values")
axes[0].axvline(n_new / 2, color="0.6", linestyle=":")
axes[0].set(title="Adaptive intervals of the next value", xlabel="row", ylabel="first series")
axes[0].legend(frameon=False, loc="upper left")
axes[1].plot(rows[7:-7], np.convolve(covered, np.ones(15) / 15, mode="valid"))
axes[1].axhline(0.8, color="0.6")
axes[1].axvline(n_new / 2, color="0.6", linestyle=":")
axes[1].set(title="Coverage, mean of 15 rows", xlabel="row", ylim=(0.3, 1.02))
axes[2].plot(np.arange(24), X[0, n_old : n_old + 24], ".-", color="0.2")
for start in (5, 11, 17):
    ahead = np.arange(start + 1, start + 7)
    axes[2].plot(ahead, paths[start][:25].T, color="C1", alpha=0.25, linewidth=0.8)
axes[2].set(title="Paths of a stream after rows 5, 11 and 17", xlabel="row")
plt.show()

# %%
# The coverage drops when the errors double and comes back as the levels and the held-out errors follow. A
# fixed level would stay below.
