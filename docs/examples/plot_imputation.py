r"""
Filling gaps with draws instead of guesses
==========================================

A line through a gap says nothing about how far off it may be, and it is smoother than the series ever was.
The forecaster fills gaps by *draws*: each is a completed series that could have been, joint over the whole
gap. Its base stacks cheap values from both sides (lines, levels, the same phase one season away); the
network that forecasts has also learned windows with gaps, and corrects what the base leaves."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from sciffusion import DiffusionForecaster

# %%
# Four weeks of an hourly load with holes
# ---------------------------------------
#
# Four series with a daily wave and a level that wanders. A block of 30 hours is lost, single values are lost
# everywhere, and the first and last hours are missing too.

generator = np.random.default_rng(0)
hours = pd.date_range("2024-03-04", periods=28 * 24, freq="h")
wave = 4.0 * np.sin(2 * np.pi * np.arange(len(hours)) / 24) + 1.5 * np.cos(
    4 * np.pi * np.arange(len(hours)) / 24
)
level = np.cumsum(generator.normal(0.0, 0.25, (4, len(hours))), axis=1)
truth = 30.0 + wave * (1.0 + 0.03 * level) + level + generator.normal(0.0, 0.4, level.shape)

holes = truth.copy()
holes[generator.random(truth.shape) < 0.1] = np.nan
holes[0, 560:590] = np.nan
holes[0, :6] = np.nan
holes[0, -10:] = np.nan
frame = pd.DataFrame(
    {
        "unique_id": np.repeat([f"meter {number}" for number in range(4)], len(hours)),
        "ds": np.tile(hours, 4),
        "y": holes.reshape(-1),
    }
)

# %%
# One fit, many completed copies
# ------------------------------
#
# `impute` gives the median of the draws, or with `n_samples` the draws themselves, in the user's own rows.
# What was known comes back to the last bit.

forecaster = DiffusionForecaster(horizon=24, max_steps=40, n_members=2, random_state=0).fit(frame)
completed = forecaster.impute(frame)
copies = forecaster.impute(frame[frame["unique_id"] == "meter 0"], n_samples=100)
assert completed["y"].notna().all()
known = frame["y"].notna()
assert (completed.loc[known, "y"] == frame.loc[known, "y"]).all()

draws = copies["y"].to_numpy().reshape(100, len(hours))
shown = slice(530, 672)
figure, axes = plt.subplots(2, 1, figsize=(9, 5.6), sharex=True, layout="constrained")
for panel, paths in zip(axes, (False, True), strict=True):
    panel.plot(hours[shown], truth[0, shown], color="0.6", lw=1, label="the truth")
    panel.plot(hours[shown], holes[0, shown], "k", lw=1.2, label="known")
    if paths:
        lost = np.isnan(holes[0]) | np.isnan(np.roll(holes[0], 1)) | np.isnan(np.roll(holes[0], -1))
        for draw in draws[:4]:
            panel.plot(hours[shown], np.where(lost, draw, np.nan)[shown], lw=1, alpha=0.9)
    else:
        low, high = np.quantile(draws, [0.1, 0.9], axis=0)
        panel.fill_between(hours[shown], low[shown], high[shown], color="#c1440e", alpha=0.3, label="80 %")
        panel.plot(hours[shown], np.where(np.isnan(holes[0]), np.median(draws, axis=0), np.nan)[shown],
                   color="#c1440e", label="median")  # fmt: skip
    panel.set_ylabel("load")
axes[0].legend(ncol=4, loc="lower left", fontsize=8)
axes[1].set_title("four of the draws: the last gap is a forecast, the others are tied down on both sides")
plt.show()

# %%
# The interval is wide in the middle of a gap and closes where known values tie it down. The ten hours at
# the end have nothing after them: they are forecasts, and their interval opens.
#
# How good is it?
# ---------------
#
# The truth is known here, so the mean error of the median can be set against a line through each gap.

filled = completed["y"].to_numpy().reshape(4, -1)
line = pd.DataFrame(holes.T).interpolate(limit_direction="both").to_numpy().T
missing = np.isnan(holes)
for name, values in (("line", line), ("median of draws", filled)):
    print(f"{name:>16}: mean absolute error {np.abs(values - truth)[missing].mean():.3f}")
inside = (np.quantile(draws, 0.1, axis=0) <= truth[0]) & (truth[0] <= np.quantile(draws, 0.9, axis=0))
print(f"80 % intervals of meter 0 hold {inside[missing[0]].mean():.0%} of the lost values")
