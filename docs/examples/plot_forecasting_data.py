"""
Real time series to forecast
============================

``sciffusion.datasets`` fetches public series once, checks that they are the ones their cards describe and
keeps them: meters, roads, car parks, page views, sales, weather, prices. This page looks at a few before any
model is fitted, since what is seen here decides what a forecaster must cope with: seasons of different
lengths, gaps, trends, days that are unlike all others.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np

from sciffusion.datasets import (
    DatasetUnavailableError,
    ForecastingDataset,
    forecasting_card,
    forecasting_loader,
    labelled_series_loader,
    list_forecasting_datasets,
)

table = list_forecasting_datasets()
print(
    table[["series", "shortest", "longest", "missing", "season_length", "horizon", "held_back"]].to_string()
)


# %%
# Six kinds of difficulty
# -----------------------
#
# Each picture shows the last rows of one series. The shaded part is what forecasts are judged on:
# ``n_windows`` stretches of ``horizon`` rows, each forecast from what lies before it.


def fetched(name: str) -> ForecastingDataset | None:
    """Return the set, or None where it cannot be downloaded."""
    try:
        return forecasting_loader(name)()
    except DatasetUnavailableError as error:
        print(f"{name} is left out: {str(error).splitlines()[0]}")
        return None


def draw(panel: plt.Axes, name: str, series: int, rows: int, title: str) -> None:
    """Draw the last rows of one series and the windows that forecasts of it are judged on."""
    data = fetched(name)
    panel.set_title(title, fontsize=10)
    if data is None:
        return
    values = data.arrays(rows)[series]
    judged = data.horizon * data.n_windows
    panel.plot(np.arange(-rows, 0), values, color="#1f4e79", linewidth=0.9)
    for start in range(-judged, 0, 2 * data.horizon):
        panel.axvspan(start, start + data.horizon, color="#e0a458", alpha=0.35, linewidth=0)
    panel.axvspan(-judged, 0, color="#e0a458", alpha=0.2, linewidth=0)
    panel.set_xlabel(f"rows before the end ({name})", fontsize=8)
    panel.set_ylabel(data.card.target.unit, fontsize=8)
    panel.tick_params(labelsize=8)


figure, axes = plt.subplots(3, 2, figsize=(10, 8), layout="constrained")
draw(axes[0, 0], "electricity_hourly", 0, 24 * 35, "A last week unlike the others: Christmas")
draw(axes[0, 1], "wind_hourly", 0, 24 * 21, "No season: wind power, bounded on both sides")
draw(axes[1, 0], "parking", 1, 18 * 21, "Gaps: days missing in a car park")
draw(axes[1, 1], "wikipedia_traffic", 1, 365, "Bursts: views of a page")
draw(axes[2, 0], "walmart_sales", 0, 143, "Few seasons: sales with holidays known in advance")
draw(axes[2, 1], "sunspots_monthly", 0, 12 * 70, "A season whose length varies: sunspots")
plt.show()

# %%
# Cards
# -----
#
# The card of a set says what one row is, where it comes from, what the loader changed and what to beware of.
# A loaded set is compared with its card, so that a file that was changed is noticed.

print(forecasting_card("parking"))

# %%
# Anomalies with labels
# ---------------------
#
# For judging an anomaly score there are series whose anomalous rows are known. They are split: nothing before
# the dashed line is labelled, so a model is fitted there and asked about the rest.

figure, axes = plt.subplots(3, 1, figsize=(10, 6), layout="constrained")
for panel, name in zip(axes, ("yahoo", "mitdb", "kdd_tsad_135"), strict=True):
    try:
        labelled = labelled_series_loader(name)()
    except DatasetUnavailableError as error:
        print(f"{name} is left out: {str(error).splitlines()[0]}")
        continue
    boundary = len(labelled.train)
    panel.plot(np.concatenate([labelled.train, labelled.test])[:, 0], color="#1f4e79", linewidth=0.8)
    panel.axvline(boundary, color="black", linestyle="--", linewidth=0.9)
    for start, stop in labelled.events:
        panel.axvspan(boundary + start, boundary + stop, color="#c1440e", alpha=0.5)
    panel.set_title(labelled.card.title, fontsize=10)
    panel.tick_params(labelsize=8)
axes[-1].set_xlabel("row")
plt.show()
