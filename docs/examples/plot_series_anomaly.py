r"""
Anomalies in series: what no forecast expected, what does not fit between its neighbours
========================================================================================

A fitted forecaster knows what is usual, so it can say what is not, in two ways. A *forecast* score asks
whether a value came as a surprise; it looks at the past only and can be used as values arrive. A
*denoising* score hides a block of values and asks how badly each fits what is known on both sides; it needs
what came after. Their root of summed squares is the default."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np

from sciffusion import DiffusionForecaster

# %%
# A pulse with three faults
# -------------------------
#
# The forecaster is fitted on 600 steps without a fault. Then come a spike, a beat that is turned round, and
# a sensor that sticks.

generator = np.random.default_rng(0)
steps = np.arange(1200)
phase = 2 * np.pi * steps / 24
pulse = np.sin(phase) + 0.6 * np.sin(2 * phase + 1.0) + generator.normal(0.0, 0.12, len(steps))
faults = {"spike": slice(760, 761), "turned round": slice(888, 912), "stuck": slice(1040, 1060)}
pulse[faults["spike"]] += 1.2
pulse[faults["turned round"]] = pulse[faults["turned round"]][::-1]
pulse[faults["stuck"]] = pulse[faults["stuck"]].mean() + generator.normal(0.0, 0.02, 20)

forecaster = DiffusionForecaster(horizon=12, season_length=24, max_steps=40, n_members=2, random_state=0).fit(
    pulse[None, :600]
)

# %%
# Scores of single rows, and over a window
# ----------------------------------------
#
# Scores have no units; about 1 and below is usual. A spike is one large score. A changed shape is many
# scores that are a little too large, so `window` averages over about the length of what is looked for.

names = ("forecast", "denoising", "combined")
figure, axes = plt.subplots(4, 1, figsize=(9, 7.2), sharex=True, layout="constrained")
axes[0].plot(steps[600:], pulse[600:], "k", lw=0.8)
axes[0].set_ylabel("pulse")
for panel, kind in zip(axes[1:], names, strict=True):
    points = forecaster.anomaly_score(pulse[None], kind=kind)[0]
    smooth = forecaster.anomaly_score(pulse[None], kind=kind, window=24)[0]
    panel.plot(steps[600:], points[600:], color="0.65", lw=0.8, label="row")
    panel.plot(steps[600:], smooth[600:], color="#c1440e", lw=1.4, label="window of 24")
    panel.set_ylabel(kind)
    for name, where in faults.items():
        most, mean = np.nanmax(points[where]), smooth[where].mean()
        print(f"{kind:>9}, {name:<12}: {most:5.1f} at most, {mean:4.1f} in a window")
    print(f"{kind:>9}, elsewhere   : median {np.nanmedian(points[600:]):.2f}")
for panel in axes:
    for name, where in faults.items():
        panel.axvspan(where.start - 2, where.stop + 2, color="tab:blue", alpha=0.15)
        if panel is axes[0]:
            panel.text(where.start, 1.02, name, transform=panel.get_xaxis_transform(), fontsize=8)
axes[1].legend(fontsize=8, loc="upper right")
axes[-1].set_xlabel("step")
plt.show()

# %%
# Which kind to take
# ------------------
#
# Where values must be judged as they come, only ``kind="forecast"`` is honest. In hindsight the denoising
# score knows both sides and is the sharper one for outliers; but what lies next to a fault is judged by the
# fault as well, so its edges blur. A long fault can become the normal state for both: forecasts start from
# the stuck sensor, and hidden blocks are interpolated from it.
