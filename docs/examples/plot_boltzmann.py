r"""
Particles at half the temperature a model was trained at
========================================================

A model learns four particles with double wells at temperature 2, where they change places easily. Weighted
particles then draw them at temperature 1: the law :math:`p^\gamma` with :math:`\gamma = 2`, without any
further training. Whether the draws are right is measured against a simulation at temperature 1, and the
*floor* says what the measures are between two simulations.
"""

from __future__ import annotations

import matplotlib.pyplot as plt

from sciffusion import BoltzmannDiffusion
from sciffusion.datasets import make_dw4
from sciffusion.domains.boltzmann import (
    compare_samples,
    families,
    free_energy_profile,
    pair_distances,
    plot_ess,
    plot_free_energy_profiles,
    plot_samples,
)

# %%
# A model, and simulations to check it
# ------------------------------------
#
# The trained model comes with the library.

model = BoltzmannDiffusion.from_pretrained("double_well_4", device="cpu")
cold, other = (make_dw4(4000, temperature=1.0, random_state=seed) for seed in (0, 1))
print(cold)

# %%
# Annealed, weighted draws
# ------------------------
#
# Both runs are guided to the law at temperature 1. In the second one the drift is also bent so that the
# weights of the particles stay as even as possible: it is resampled less often, and more particles of the
# start have descendants.

runs = {
    name: model.sample(500, temperature=1.0, control=control, nfe=50, random_state=0)
    for name, control in (("guided", "none"), ("controlled", "vcg"))
}
plot_ess(runs)
for name, drawn in runs.items():
    print(f"{name:>10}: {drawn.resamplings.sum()} resamplings, {drawn.unique_ancestors} ancestors")

# %%
# Distances of particles and energies, against the simulation:

plot_samples(runs, cold, energy=cold.energy)

# %%
# In numbers. Every one is to be read beside the floor.

compare_samples(runs, cold, second_reference=other, n_floor=2, features=("distances",), kernel_rows=1000)

# %%
# A free energy along a distance
# ------------------------------
#
# Particles that descend from one of the start resemble each other, so that the error counts families. Bands
# are two standard errors.

settings = {"bins": 22, "range": (1.9, 6.1)}
profiles = {
    name: free_energy_profile(
        pair_distances(drawn.configurations)[:, 0],
        log_weights=drawn.log_weights,
        groups=families(drawn),
        **settings,
    )
    for name, drawn in runs.items()
}
known = free_energy_profile(pair_distances(cold.configurations)[:, 0], **settings)
plot_free_energy_profiles(profiles, known, coordinate="distance of two particles")
plt.show()
