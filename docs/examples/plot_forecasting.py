"""
Fan charts, gaps, anomalies: what one forecaster answers
========================================================

Four hourly series of the M4 competition, without a word about what they measure. One model is fitted on all
but the last three days of each, and is then asked for everything a user of forecasts asks for.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from sciffusion import DiffusionForecaster
from sciffusion.datasets import DatasetUnavailableError, fetch_m4_hourly
from sciffusion.domains.forecasting import backtest
from sciffusion.domains.forecasting.plots import (
    plot_anomaly,
    plot_backtest,
    plot_calibration,
    plot_forecast,
    plot_imputation,
)


def hourly_series() -> pd.DataFrame:
    """Return the last five weeks of the series, or simulated ones where they cannot be downloaded."""
    try:
        return fetch_m4_hourly().last(24 * 35)
    except DatasetUnavailableError as error:
        print(f"simulated series in their place: {str(error).splitlines()[0]}")
    hours, rng = np.arange(24 * 35), np.random.default_rng(0)
    parts = []
    for name in ("a", "b", "c", "d"):
        noise = np.convolve(rng.normal(size=len(hours) + 9), np.ones(10) / 10, "valid")
        load = 10 + 3 * np.sin(2 * np.pi * hours / 24) + np.sin(2 * np.pi * hours / 168) + noise
        stamps = pd.date_range("2024-01-01", periods=len(hours), freq="h")
        parts.append(pd.DataFrame({"unique_id": name, "ds": stamps, "y": load}))
    return pd.concat(parts, ignore_index=True)


data = hourly_series()
from_end = data.groupby("unique_id").cumcount(ascending=False)
train = data[from_end >= 72]

QUICK = {"max_steps": 80, "n_members": 4}  # in place of 600 and 8, to spare the builders of this page
model = DiffusionForecaster(horizon=24, random_state=0, **QUICK).fit(train)

# %%
# Forecasts
# ---------
#
# ``sample`` draws joint paths; the bands are their quantiles, step by step. A day was learned at once; the
# two days after it are drawn by going on from each path.

paths = model.sample(72, n_samples=100)
plot_forecast(paths, data, last=24 * 5)
plt.show()

# %%
# Whole paths answer what bands cannot: how much within the three days together, and when the peak comes.

total = paths.groupby(["unique_id", "sample_id"], sort=False)["y"].sum()
print("sum of the three days, 80 % interval:")
print(total.groupby("unique_id", sort=False).quantile([0.1, 0.5, 0.9]).unstack().round().to_string())

# %%
# Gaps
# ----
#
# Sixteen hours of each series are hidden, and drawn given both of their sides.

holed = train.copy()
hidden = from_end[train.index].between(72 + 100, 72 + 115)
holed.loc[hidden, "y"] = np.nan
copies = model.impute(holed, n_samples=100)
plot_imputation(copies, holed, truth=train)
plt.show()

# %%
# Anomalies
# ---------
#
# A value is multiplied by one and a half, twelve hours of another day are shifted by five hours. Both are
# odd for the hour they stand at, though not unheard of for the series. The score has no unit and is about 1
# for usual rows; where to put the threshold is the user's choice between alarms that are false and missed.

name = data["unique_id"].unique()[1]
odd = train[train["unique_id"] == name].tail(24 * 14).reset_index(drop=True)
marks = np.zeros(len(odd), dtype=bool)
marks[150] = marks[240:252] = True
odd.loc[150, "y"] *= 1.5
odd.loc[240:251, "y"] = odd.loc[235:246, "y"].to_numpy()
scores = model.anomaly_score(odd)
plot_anomaly(scores, odd, labels=marks, threshold=8.0)
plt.show()

# %%
# Backtest
# --------
#
# Before any of this is believed: how good were such forecasts of the last five days, each made the day
# before, and did the intervals hold? The score is in units of the error of repeating the day before. With so
# few days the bars, made by drawing days again, are wide.

forecaster = DiffusionForecaster(horizon=24, random_state=0, **QUICK)
table, draws = backtest(forecaster, data, horizon=24, n_windows=5, season_length=24, return_draws=True)
print(table[["scaled_crps", "mase", "coverage-80", "coverage-95"]].mean().round(3).to_string())
plot_backtest(table, draws=draws, data=data)
plt.show()

# %%
# The first picture says whether the truth falls everywhere among the draws, the second how much the
# intervals of every level cover.

plot_calibration(draws, data)
plt.show()
