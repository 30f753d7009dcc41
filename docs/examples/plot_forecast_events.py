r"""
The probability of what has hardly happened yet
===============================================

A forecaster that draws joint paths can be asked about anything that is a function of a path: will the peak of
the next day exceed 60, and what would such a day look like? Here demand has a daily rhythm, a level that
wanders, and a spread that grows with it.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import torch

from sciffusion import DiffusionForecaster

rng = np.random.default_rng(0)
hours = np.arange(24 * 40)
level = 30.0 * np.exp(np.cumsum(rng.normal(0.0, 0.015, hours.size)) * 0.5)
demand = level * (1.0 + 0.3 * np.sin(2 * np.pi * hours / 24)) * np.exp(rng.normal(0.0, 0.06, hours.size))

model = DiffusionForecaster(
    horizon=24, season_length=24, max_steps=150, n_members=4, width=64, random_state=0
).fit(demand[None])
plain = model.sample(n_samples=1000)[0]

# %%
# From common to rare
# -------------------
#
# The paths of the forecaster are a function of Gaussian noise. Counting hits among plain paths tells nothing
# once the event is rarer than one in the number of paths; importance sampling draws the noise near the event
# and weighs each path, and its relative error hardly grows. Where both can tell, they agree: they estimate
# the same number.


def peak(paths: torch.Tensor) -> torch.Tensor:
    """Return the highest of the next 24 values."""
    return paths.amax(-1)


highest = plain.max(axis=1)
values = np.linspace(np.quantile(highest, 0.4), highest.max() + 0.4 * np.ptp(highest), 7)
estimates = {
    method: [model.event_probability((peak, ">", value), method=method, n_samples=1000) for value in values]
    for method in ("monte_carlo", "importance")
}

figure, axes = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
for method, found in estimates.items():
    chance = np.array([one.probability[0] for one in found])
    seen = chance > 0.0
    error = np.array(
        [[one.probability[0] - one.lower[0], one.upper[0] - one.probability[0]] for one in found]
    ).T
    words = "1000 plain paths" if method == "monte_carlo" else "importance sampling"
    axes[0].errorbar(
        values[seen], chance[seen], error[:, seen], fmt="o" if method == "importance" else "s", capsize=4,
        label=words, alpha=0.8, markersize=8 if method == "monte_carlo" else 5,
    )  # fmt: skip
axes[0].set_yscale("log")
axes[0].set_xlabel("value that the day's peak exceeds")
axes[0].set_ylabel("probability")
axes[0].legend()

# %%
# Days with such a peak
# ---------------------
#
# ``sample(condition=...)`` draws paths in which the event holds, here one that only a few plain paths in a
# thousand show. The rest of such a day is higher, too: the residuals of neighbouring hours go together.

value = float(np.quantile(highest, 0.5) + 2.5 * (np.quantile(highest, 0.9) - np.quantile(highest, 0.5)))
rare = model.sample(n_samples=30, condition=(peak, ">", value), return_weights=False)[0]
axes[1].plot(hours[-72:], demand[-72:], color="black", linewidth=1.2, label="observed")
ahead = hours[-1] + 1 + np.arange(24)
axes[1].fill_between(
    ahead,
    *np.quantile(plain, [0.05, 0.95], axis=0),
    color="tab:blue",
    alpha=0.25,
    label="90 % of plain paths",
)
axes[1].plot(ahead, rare.T, color="tab:orange", linewidth=0.8, alpha=0.6)
axes[1].plot([], [], color="tab:orange", label=f"paths with a peak above {value:.0f}")
axes[1].axhline(value, color="grey", linestyle=":")
axes[1].set_xlabel("hour")
axes[1].set_ylabel("demand")
axes[1].set_ylim(top=48.0)
axes[1].legend(loc="upper left")
plt.show()

assert (rare.max(axis=1) > value).all()
chance = model.event_probability((peak, ">", value))
print(f"probability {chance.probability[0]:.1e} +- {chance.standard_error[0]:.0e} ({chance.method[0]})")
