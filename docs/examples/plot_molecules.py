r"""
Molecules tilted to a property, with honest weights
===================================================

A small model of molecules is fitted on strings and then steered, without any further training, towards a
property. Steering by weighted particles aims at a law that can be written down, the model times
:math:`e^{\lambda r}`, so that it can be checked: many unguided draws with these weights give the same law.
"""

from __future__ import annotations

import io

import matplotlib.pyplot as plt
import numpy as np

from sciffusion import MoleculeDiffusion
from sciffusion.datasets import load_nci
from sciffusion.domains.molecules import molecular_properties, molecule_grid, plot_properties

# %%
# A model of small molecules
# --------------------------
#
# Compounds of the National Cancer Institute come with RDKit. To be quick, only the smallest are used, and the
# model sees each of them a few times: its molecules are simple, and not all of them are sensible. Molecules
# that cannot be written as SELFIES are left out and listed.

smiles = load_nci().frame["smiles"]
smiles = smiles[(smiles.str.len() <= 15) & ~smiles.str.contains(".", regex=False)]
model = MoleculeDiffusion(
    width=32, depth=1, n_heads=2, max_steps=150, batch_size=64, learning_rate=5e-3, ema_decay=0.98,
    validation_fraction=0.0, nfe=12, random_state=0, device="cpu",
)  # fmt: skip
model.fit(smiles, errors="drop")
print(model.report_)
print("bound:", round(model.score(smiles[:50]), 1), "nats a molecule")

# %%
# Draws, and a tilt
# -----------------
#
# The reward is logP, computed by RDKit, and :math:`\lambda = 0.5`. Particles are weighed by the reward of
# guesses of the finished molecule on the way and of the finished molecule at the end; the weights that are
# left make up for everything else. Rewards cost no network evaluations.

plain = model.sample(500, solver="ancestral", only_valid=True, random_state=0)
tilted = model.sample(300, reward="logp", scale=0.5, return_weights=True, random_state=0)
print(tilted.summary())

# %%
# What it should be is known: the unguided draws with weights :math:`e^{\lambda\,\mathrm{logP}}` (line). The
# particles' own histogram, weighted, falls on it, also for properties that the reward does not name.

logp = molecular_properties(plain, ["logp"])["logp"].to_numpy()
expected = np.exp(0.5 * logp)
plot_properties(
    plain, tilted.smiles, names=["logp", "tpsa", "weight"], weights=tilted.weights, expected_weights=expected,
    labels=("model", "tilted"),
)  # fmt: skip
after = molecular_properties(tilted.smiles, ["logp"], invalid=0.0)["logp"]
print(f"mean logP: model {logp.mean():.2f}, tilted {tilted.average(after):.2f}, "
      f"expected {np.average(logp, weights=expected):.2f}")  # fmt: skip

# %%
# Around a scaffold
# -----------------
#
# The tokens of a scaffold are known from the start and stay as they are. Whether a molecule contains the
# scaffold is checked afterwards; here draws that do not are rejected.

drawn = model.sample(40, scaffold="*c1ccccc1", require_scaffold=True, random_state=1)
share = model.sample(40, scaffold="*c1ccccc1", return_weights=True, random_state=1).scaffold_share
print(f"{share:.0%} of the draws contain the scaffold")
grid = molecule_grid(list(dict.fromkeys(drawn))[:8], scaffold="*c1ccccc1", properties=["logp"])

figure, ax = plt.subplots(figsize=(9.6, 4.0), layout="constrained")
ax.imshow(plt.imread(io.BytesIO(grid.png)))
ax.axis("off")
plt.show()
