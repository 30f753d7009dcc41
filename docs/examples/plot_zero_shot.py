r"""
Forecasting series that the model has never seen
================================================

A forecaster is usually fitted to the series that it forecasts. A *zero-shot* forecaster is trained once, on
many series of many frequencies, and is then *prompted*: it is given the history of a new series and its
season length, and forecasts without a fit. The idea for diffusion models is that of *A Generative
Pre-Trained Diffusion Paradigm for Zero-Shot Time Series Forecasting* (arXiv 2406.02212).

What can be carried from one series to another? Not its level, unit or season: these are in the prompt. What
remains is how forecasts miss. Here all series are hit by rare large shocks, upwards only, that fade over a
few steps, so forecasts miss on one side. A forecaster with Gaussian errors cannot say so.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np

from sciffusion.domains.forecasting import ZeroShotForecaster, crps

HORIZON = 6


def family(seed: int, season: int, n: int = 12, length: int = 160) -> np.ndarray:
    """Make series of one season length with random units, phases, trends and shocks."""
    generator = np.random.default_rng(seed)
    rows = np.arange(length)
    noise = np.exp(generator.normal(size=(n, length))) - np.exp(0.5)
    for row in range(1, length):
        noise[:, row] += 0.4 * noise[:, row - 1]
    phase = generator.uniform(0, season, (n, 1))
    wave = generator.uniform(1.0, 4.0, (n, 1)) * np.sin(2 * np.pi * (rows + phase) / season)
    unit = 10.0 ** generator.uniform(-2, 3, (n, 1))
    return unit * (wave + generator.normal(0.0, 0.01, (n, 1)) * rows + noise)


# %%
# Pre-training
# ------------
#
# Four sets with seasons of 4, 6, 7 and 12 steps, a dozen series each, in units from hundredths to thousands.
# Each set comes with its season length. The second model leaves its network off: its base, a stack of cheap
# forecasts whose weights all sets share, is the same, and its errors are Gaussian.

sets = {f"season {season}": (family(season, season), season) for season in (4, 6, 7, 12)}
small = {"n_members": 1, "width": 64, "dropout": 0.0, "batch_size": 256, "learning_rate": 1e-2}
models = {
    "pre-trained": ZeroShotForecaster(
        horizon=HORIZON, max_steps=250, max_windows=6000, random_state=0, **small
    ),
    "network off": ZeroShotForecaster(horizon=HORIZON, network_off=True, max_windows=6000, random_state=0),
}
for model in models.values():
    model.fit(sets)

# %%
# Prompts
# -------
#
# Unseen series with a season of 9 steps, which no training set has. The score is the CRPS (smaller is better)
# in units of each series' deviation.

unseen = family(109, 9, n=60)
prompt, future = unseen[:, :-HORIZON], unseen[:, -HORIZON:]
unit = unseen.std(axis=1)[:, None]
scores = {}
for name, model in models.items():
    paths = model.sample(prompt, season_length=9, n_samples=100)
    scores[name] = float(crps(future / unit, paths / unit[:, None], fair=True).mean())
    print(f"{name}: CRPS {scores[name]:.3f}")

# %%
# The intervals tell the difference: those of the pre-trained model lean upwards, where the shocks come from,
# and stay short below.

figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.6), sharey=True, layout="constrained")
shown = 3
rows = np.arange(unseen.shape[1])
for axis, (name, model) in zip(axes, models.items(), strict=True):
    levels = model.predict_quantiles(
        prompt[[shown]], season_length=9, quantiles=[0.025, 0.1, 0.5, 0.9, 0.975], n_samples=1000
    )[0]
    ahead = rows[-HORIZON:]
    axis.plot(
        rows[-8 * HORIZON :], unseen[shown, -8 * HORIZON :], color="black", linewidth=1.0, label="series"
    )
    axis.fill_between(ahead, levels[:, 0], levels[:, 4], color="#e0a458", alpha=0.4, label="95 %")
    axis.fill_between(ahead, levels[:, 1], levels[:, 3], color="#c1440e", alpha=0.4, label="80 %")
    axis.plot(ahead, levels[:, 2], color="#c1440e", label="median")
    axis.set_title(f"{name}: CRPS over 60 unseen series {scores[name]:.3f}")
    axis.set_xlabel("step")
axes[0].legend(fontsize=8, loc="upper left")
plt.show()

# %%
# Units do not matter
# -------------------
#
# All that the network sees is relative to the prompt itself. A series told in degrees Fahrenheit instead of
# Celsius gets the same forecast in Fahrenheit.

celsius = models["pre-trained"].predict(prompt[:5] / unit[:5], season_length=9)
fahrenheit = models["pre-trained"].predict(32.0 + 1.8 * prompt[:5] / unit[:5], season_length=9)
print(f"largest difference: {np.abs((fahrenheit - 32.0) / 1.8 - celsius).max():.1e} standard deviations")

# %%
# On real sets the gain is smaller: what they share beyond the base is little. :doc:`/benchmarks` has the
# numbers, against fits to each set.
