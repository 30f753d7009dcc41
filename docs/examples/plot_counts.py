r"""
Counts: draws, missing counts and dispersion
============================================

A table of counts is not a table of real numbers: its values are whole and never negative, many are zero, and
their spread is whatever it is. `CountDiffusion` works on the counts themselves. Its noise lets individuals
vanish one by one until nothing is left, and draws are births, starting from nothing.

The counts here are those of scikit-learn's handwritten digits, where each of 64 columns says how many of the
16 pixels in a small square were inked.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits

from sciffusion import CountDiffusion

torch.set_num_threads(1)  # a network this small only loses time to more threads
digits = load_digits()
X, names = digits.data.astype(int), np.array([f"digit {number}" for number in digits.target])
train, test = np.arange(len(X)) % 6 > 0, np.arange(len(X)) % 6 == 0

# %%
# One fit
# -------
#
# The second argument holds what draws may be conditioned on, here a class a row. The score is a lower bound
# of the mean log likelihood of rows that were not seen; columns taken for independent are a measure for it.

model = CountDiffusion(
    largest=16, width=128, depth=2, max_steps=200, learning_rate=5e-3, batch_size=128, dropout=0.0,
    condition_dropout=0.2, random_state=0,
).fit(X[train], names[train])  # fmt: skip
laws = np.stack([np.bincount(column, minlength=17) + 0.1 for column in X[train].T])
logs = np.log(laws / laws.sum(axis=1, keepdims=True))
independent = logs[np.arange(64), X[test]].sum(axis=1).mean()
bound = model.score_samples(X[test], names[test], draws=16).mean()
print(
    f"mean log likelihood given the class: at least {bound:.0f} nats; "
    f"of columns taken for independent: {independent:.0f}"
)

# %%
# Draws, and the lower half of a digit given its upper half
# ---------------------------------------------------------
#
# Conditions steer whole rows (first two lines of pictures). Any counts may be given, and the others are drawn
# to go with them: the third line shows upper halves of unseen digits, completed.
#
# On the right every dot is a column. Counts of ink are far more dispersed than Poisson counts, whose variance
# is their mean, and draws follow them, even those of two network evaluations: births are drawn from the whole
# law of what is missing, so that a single column comes out right in any number of steps. What more
# evaluations buy is that columns agree with each other.

drawn = model.sample(10, condition=[f"digit {number}" for number in range(10)], random_state=1)
seen = X[test][:10]
halves = seen.astype(float)
halves[:, 32:] = np.nan
completed = model.impute(halves, random_state=0)
classes = names[train][:500]  # in the proportions of the data
few, many = (model.sample(500, condition=classes, nfe=nfe, random_state=0) for nfe in (2, 32))

figure = plt.figure(figsize=(11, 3.6), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=(2.1, 1.0))
panels = left.subplots(3, 10)
rows = {
    "data": [X[test][names[test] == f"digit {n}"][0] for n in range(10)],
    "drawn": drawn,
    "completed": completed,
}
for line, (title, images) in zip(panels, rows.items(), strict=True):
    line[0].set_ylabel(title)
    for panel, image in zip(line, images, strict=True):
        panel.imshow(image.reshape(8, 8), cmap="Greys", vmin=0, vmax=16)
        panel.set_xticks([])
        panel.set_yticks([])
        if title == "completed":
            panel.axhline(3.5, color="#c1440e", linewidth=1.0)
panel = right.subplots()
for table, colour, label in (
    (X, "0.55", "data"), (few, "#c1440e", "draws, 2 evaluations"), (many, "#1f5f8b", "draws, 32 evaluations")
):  # fmt: skip
    panel.plot(table.mean(axis=0), table.var(axis=0), ".", color=colour, label=label)
panel.plot([0, 13], [0, 13], color="0.8", zorder=0, label="Poisson")
panel.set_xlabel("mean of a column")
panel.set_ylabel("variance")
panel.legend(frameon=False, fontsize=8)
plt.show()

# %%
# How much do columns agree? The correlations of neighbouring columns tell. Those of the draws are below those
# of the data after so short a training; `max_steps` is 2000 unless it is said otherwise.

for label, table in {"data": X, "2 evaluations": few, "32 evaluations": many}.items():
    images = table.reshape(-1, 8, 8)[:, 2:6, 2:6]
    pairs = [np.corrcoef(images[:, i, j], images[:, i + 1, j])[0, 1] for i in range(3) for j in range(4)]
    print(f"{label}: mean correlation of vertical neighbours {np.mean(pairs):.2f}")
