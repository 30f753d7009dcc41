"""
The forecaster inside sktime
============================

``SktimeDiffusionForecaster`` is the diffusion forecaster with the interface that every forecaster of sktime
has, so that sktime's splitters, metrics, pipelines and searches take it as one of their own. It needs the
extra ``sciffusion[forecasting]``.

The series is the number of airline passengers a month, 1949 to 1960, which comes with sktime.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sktime.datasets import load_airline
from sktime.performance_metrics.forecasting.probabilistic import PinballLoss

from sciffusion.domains.forecasting import SktimeDiffusionForecaster

y = load_airline()
known, later = y[:96], y[96:]

# %%
# Fit, points, intervals, paths
# -----------------------------
#
# The horizon is that of ``fit``; the season of twelve months comes from the index. The ensemble is made small
# here to keep the page quick.

forecaster = SktimeDiffusionForecaster(
    n_samples=200, options={"n_members": 3, "width": 64, "max_steps": 120}, random_state=0
)
forecaster.fit(known, fh=np.arange(1, 25))
print(forecaster.predict().head(3))

# %%
# Points are medians; quantiles, intervals and variances are read from the same draws. sktime has no method
# for whole paths, which here is ``sample``: a column is one possible future of all 24 months, so that
# questions about several months at once have an answer, such as the law of the best month of next year.

intervals = {level: forecaster.predict_interval(coverage=level)["Number of airline passengers"][level]
             for level in (0.5, 0.8, 0.95)}  # fmt: skip
paths = forecaster.sample()
best = paths.iloc[:12].max()
print(f"best month of the first year: {best.quantile(0.05):.0f} to {best.quantile(0.95):.0f} thousand")
print("it was", later[:12].max())

# %%
# New months, no training
# -----------------------
#
# ``update`` appends rows. The next forecast starts from them, with the model as it was, in some hundredths of
# a second. The half-years below were forecast one after the other.

one_by_one = []
rolling = SktimeDiffusionForecaster(
    n_samples=200, options={"n_members": 3, "width": 64, "max_steps": 120}, random_state=0
).fit(known, fh=np.arange(1, 7))
for start in range(0, len(later), 6):
    one_by_one.append(rolling.predict_quantiles(alpha=[0.1, 0.5, 0.9]))
    rolling.update(later[start : start + 6], update_params=False)
table = pd.concat(one_by_one)
print(f"pinball loss: {PinballLoss()(later, table):.1f}")

# %%
# The left picture looks two years ahead from 1956; the truth (dots) was not seen. On the right are the eight
# forecasts of half a year, each made when the months before it had become known.

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), sharey=True, constrained_layout=True)


def at(index: pd.PeriodIndex) -> pd.DatetimeIndex:
    """Return moments to draw at."""
    return index.to_timestamp()


for (level, band), colour in zip(
    reversed(list(intervals.items())), ("#dbe9f4", "#b3d1e6", "#7fb2d5"), strict=True
):
    left.fill_between(at(band.index), band["lower"], band["upper"], color=colour, linewidth=0,
                      label=f"{level:.0%} interval")  # fmt: skip
left.plot(at(paths.index), paths.iloc[:, [0, 100, 7]], color="#1f4e79", linewidth=0.8)
left.plot(at(known.index[-48:]), known[-48:], color="black", linewidth=1.2)
left.plot(at(later.index[:24]), later[:24], "o", color="#c8553d", markersize=3.5, label="what came")
left.set_title("two years ahead, three of 200 paths", fontsize=11)
left.set_ylabel("passengers (thousands)")
left.legend(frameon=False, fontsize=9, loc="upper left")

for place, found in enumerate(one_by_one):
    stamps, lower, middle, upper = at(found.index), *(found.iloc[:, k] for k in range(3))
    colour = ("#7fb2d5", "#e0a458")[place % 2]
    right.fill_between(stamps, lower, upper, color=colour, alpha=0.6, linewidth=0)
    right.plot(stamps, middle, color="#1f4e79", linewidth=1.0)
right.plot(at(known.index[-48:]), known[-48:], color="black", linewidth=1.2)
right.plot(at(later.index), later, "o", color="#c8553d", markersize=3.5)
right.set_title("half a year ahead, updated without training (80 %)", fontsize=11)
for panel in (left, right):
    panel.spines[["top", "right"]].set_visible(False)

# %%
# Many series
# -----------
#
# A panel or hierarchy of sktime, an index of names above the stamps, is learned by **one** model that all its
# series share, not by one model each. Columns of ``X`` are covariates known in advance: they must be given
# for the months to forecast, too.
