r"""
Your own protein model, at another temperature and under a restraint
====================================================================

Whoever has a model of a protein as a *score function* (the gradient of the log density of noisy structures,
what a diffusion model learns) can draw from other laws without training anything: at another temperature, or
with a potential added, such as a measured distance. This page is a template for that. The "outside model" is
one whose answers are known: an elastic network of the villin headpiece, three helices in 35 residues, from a
structure that comes with OpenMM. Replace three things to use it with your own model: the score, the path on
which it holds, and the potential.
"""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
import torch

from sciffusion.continuous import VariancePreserving
from sciffusion.domains.boltzmann import DistanceRestraint, ElasticNetwork, load_villin, restrained_law
from sciffusion.domains.boltzmann.diffusion import BoltzmannDiffusion
from sciffusion.domains.boltzmann.units import thermal_energy
from sciffusion.sampling.driftlite import DifferentiableReward

# %%
# The outside model
# -----------------
#
# A score is a function of positions ``(batch, atoms, 3)`` and a time between 0 (data) and 1 (noise); the path
# says how much noise there is at that time. Lengths are in nm here. This one is exact and knows its
# divergence, too; that of a network is found by random probes (``n_probes=1``).

HOT, COLD = 600.0, 300.0
protein = load_villin()
network = ElasticNetwork(protein.positions)
path = VariancePreserving()
model = network.score(HOT, path)


def score(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Return the gradient of the log density: put your network here."""
    return model(x, t)


# %%
# The sampler
# -----------
#
# The model does not say where the molecule is and how it is turned: that freedom must be taken out, by a
# projection and the dimension that is left (without them the centre alone is taken out, as for a network of
# centred structures, which leaves ``3 * atoms - 3``). ``min_noise`` is where a draw ends, in nm.

sampler = BoltzmannDiffusion.from_score(
    score, path=path, atoms=35, temperature=HOT, units="kJ/mol", divergence=model.divergence,
    project=network.project, effective_dim=network.effective_dim, min_noise=0.002, nfe=200, particles=400,
)  # fmt: skip

# %%
# A potential
# -----------
#
# Pull the ends of the chain, residues 1 and 35, from their 1.02 nm towards 1.5. A potential is any function
# of positions that can be differentiated twice, in the units of the sampler; ``n_probes=1`` finds its second
# derivatives by one random probe. A stiff potential should come in when the noise has become as small as the
# length on which it varies: ``reward_scale``. By default it comes at noise of one unit of length, too early.

restraint = DistanceRestraint(0, 34, distance=1.5, stiffness=500.0)  # nm, kJ/mol/nm^2
thermal = thermal_energy(COLD, "kJ/mol")
width = math.sqrt(thermal / (2.0 * restraint.stiffness))
cold = sampler.sample(400, temperature=COLD)
pulled = sampler.sample(
    400, temperature=COLD, potential=DifferentiableReward(restraint, n_probes=1), reward_scale=width
)

# %%
# What is exact
# -------------
#
# At 300 K the network's law is normal, and the restraint depends on three numbers, the difference of two
# positions. So its law is known exactly. The free energy of the restraint is the difference of two log
# normalisers.

law = restrained_law(network.law(COLD), network.difference(0, 34), restraint, thermal)
estimate = float(pulled.log_normaliser.mean() - cold.log_normaliser.mean())
found, exact = (-thermal * value for value in (estimate, law.log_normaliser))
print(f"free energy of the restraint: {found:.2f} kJ/mol, exact {exact:.2f}")
print(f"ancestors of the pulled structures: {len(set(pulled.ancestors.tolist()))} of 400")

lengths = np.linalg.norm(pulled.configurations[:, 0] - pulled.configurations[:, 34], axis=-1)
print(f"mean distance: {np.exp(pulled.log_weights) @ lengths:.3f} nm")

# %%
# What to look at
# ---------------
#
# The distance follows the exact density: it meets the restraint half-way, for the network pulls back. The
# fluctuations of all residues follow the exact ones; cooling made them smaller by :math:`\sqrt 2`.

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
points = torch.linspace(0.6, 1.7, 200, dtype=torch.float64)
free = restrained_law(
    network.law(COLD), network.difference(0, 34), DistanceRestraint(0, 34, 1.5, 1e-9), thermal
)
for result, exact, name in ((cold, free, "300 K"), (pulled, law, "300 K and restraint")):
    ends = np.linalg.norm(result.configurations[:, 0] - result.configurations[:, 34], axis=-1)
    weight = np.exp(result.log_weights)
    (line,) = left.plot(points, exact.length_density(points, nodes=24), label=name)
    left.hist(ends, 30, weights=weight, density=True, color=line.get_color(), alpha=0.3)
    off = result.configurations - np.tensordot(weight, result.configurations, 1)
    spread = np.sqrt(weight @ (off**2).sum(-1))
    right.plot(
        range(1, 36), network.fluctuations(exact.covariance).sqrt(), color=line.get_color(), label=name
    )
    right.plot(range(1, 36), spread, "o", color=line.get_color(), markersize=3)
hot = network.fluctuations(network.law(HOT).covariance).sqrt()
right.plot(range(1, 36), hot, color="0.7", label="the model, 600 K")
left.axvline(restraint.distance, color="black", linestyle=":", label="asked for")
left.set(xlabel="distance of the ends (nm)", ylabel="density (1/nm)", title="lines: exact; bars: sampled")
right.set(xlabel="residue", ylabel="fluctuation (nm)", title="lines: exact; dots: sampled", ylim=(0, None))
left.legend()
right.legend(loc="lower right")
plt.show()
