r"""
Solvers of discrete diffusion, without any error of drawing
===========================================================

Samplers of tokens are usually compared by samples, and small differences drown in noise. For short
sequences of few tokens the law of a sampler can be *computed*: a step draws independent sites from known
laws, and their products are summed over all sequences. With an exact denoiser in the network's place, what
is left is the error of the sampler alone.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import torch

from sciffusion.discrete import (
    Ancestral,
    Corrected,
    DiscretePrediction,
    FirstHitting,
    Gibbs,
    Mask,
    PredictionTrapezoid,
    Uniform,
    keep_grid,
)
from sciffusion.exact import MarkovChainOracle, propagate_tokens, sampler_error
from sciffusion.sampling import sample

# %%
# A chain whose posterior is known
# --------------------------------
#
# The data are Markov chains of 3 tokens on 4 sites: 81 sequences. Noisy tokens make it a hidden Markov model,
# so ``denoiser`` answers with the exact law of every clean token, for any process.

oracle = MarkovChainOracle.bench_a()
uniform, mask = Uniform(3), Mask(3)

law = propagate_tokens(oracle.denoiser(uniform), Ancestral(), keep_grid(8), length=4)
total = float(law.probabilities.sum())
print(f"{law.nfe} evaluations, {len(law.sequences)} sequences, probabilities sum to {total:.6f}")

# %%
# Two laws that must not be confused
# ----------------------------------
#
# A network for uniform noise may predict the clean token of a site from *all* noisy tokens (the denoiser) or
# from all but the site's own (leave one out). The formula of the reverse step asks for the second. With the
# first in its place samples look plausible, and no number of steps makes them right. Here the kind is part of
# a prediction's type; to make the mistake, one has to lie about it.


class PlugIn:
    """The denoiser's law under the name of the leave-one-out law."""

    path = uniform

    def __call__(self, state, condition=None, cache=None):
        """Predict."""
        return DiscretePrediction(oracle.predict(uniform, state, "denoiser").logits, "loo")


for nfe in (4, 16, 64):
    wrong = sampler_error(oracle, PlugIn(), Ancestral(), keep_grid(nfe))
    right = sampler_error(oracle, oracle.denoiser(uniform), Ancestral(), keep_grid(nfe))
    print(f"{nfe:3} evaluations: wrong {wrong.total_variation:.3f}, right {right.total_variation:.4f}")

# %%
# Solvers at equal evaluations
# ----------------------------
#
# The ancestral step draws every site from its exact law and neglects only that sites of one step depend on
# each other; its error falls as one over the steps. ``PredictionTrapezoid`` spends two evaluations on a step
# and extrapolates the prediction. ``Corrected`` adds Gibbs moves, each of which redraws one site.
# ``steps_within`` turns a budget into steps.

masked, unmasked = oracle.denoiser(mask, "denoiser"), oracle.denoiser(uniform)
rows = {
    "uniform, denoiser plugged in": (PlugIn(), Ancestral(), "linear", "k--"),
    "uniform, ancestral": (unmasked, Ancestral(), "linear", "#c1440e"),
    "uniform, trapezoid": (unmasked, PredictionTrapezoid(), "cosine", "#e0a458"),
    "mask, ancestral": (masked, Ancestral(), "linear", "#2a6f97"),
    "mask, trapezoid": (masked, PredictionTrapezoid(), "linear", "#2a9d8f"),
    "mask, Gibbs moves": (masked, Corrected(Ancestral(), Gibbs()), "linear", "#6a4c93"),
}
figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.4), layout="constrained")
for name, (denoiser, solver, spacing, style) in rows.items():
    budgets = [n for n in (2, 4, 8, 16, 32) if n >= max(solver.total_nfe(1), 2)]
    errors = [
        sampler_error(oracle, denoiser, solver, keep_grid(solver.steps_within(n), spacing)) for n in budgets
    ]
    look = {"color": style} if style.startswith("#") else {"color": "black", "ls": "--"}
    nfe, distances = [e.nfe for e in errors], [e.total_variation for e in errors]
    left.loglog(nfe, distances, marker="o", ms=4, label=name, **look)
left.set(xlabel="network evaluations", ylabel="total variation", title="Error of the sampler's law")
left.legend(fontsize=8)

# %%
# What correctors may and may not do
# ----------------------------------
#
# A Gibbs move of one random site leaves the law of the noisy tokens as it is. Two neighbours drawn in one
# move are treated as independent, and that error stays however many steps are made; two sites that are far
# apart hardly notice. Choosing the sites whose tokens look least certain is worse than any of these: the
# choice depends on the tokens, and samples gather at the modes. Such a corrector says so.

print("biased:", Gibbs(select="lowest_margin").biased, "- one random site:", Gibbs().biased)
moves = {
    "no corrector": (None, "#999999"),
    "1 random site": (Gibbs(), "#6a4c93"),
    "2 sites, at least 3 apart": (Gibbs(2, spacing=3), "#2a9d8f"),
    "2 sites anywhere": (Gibbs(2, spacing=1), "#e0a458"),
    "lowest margin": (Gibbs(select="lowest_margin"), "#c1440e"),
}
for name, (corrector, colour) in moves.items():
    solver = Ancestral() if corrector is None else Corrected(Ancestral(), corrector)
    errors = [
        sampler_error(oracle, unmasked, solver, keep_grid(solver.steps_within(n))) for n in (8, 16, 32, 64)
    ]
    nfe, distances = [e.nfe for e in errors], [e.total_variation for e in errors]
    right.loglog(nfe, distances, marker="o", ms=4, color=colour, label=name)
right.set(xlabel="network evaluations", title="Correctors on uniform noise")
right.legend(fontsize=8)
plt.show()

# %%
# One token at a time
# -------------------
#
# A masked sequence can be followed from one revealed token to the next. Every item of the batch has its own
# times, nothing is approximated, and the price is one evaluation a site.

generator = torch.Generator().manual_seed(0)
result = sample(masked, FirstHitting(), keep_grid(4), shape=(20_000, 4), generator=generator)
surprise = -oracle.log_likelihood(result.samples).mean()
print(
    f"{result.nfe} evaluations: mean surprise {surprise:.3f} nats, entropy of the data {oracle.entropy():.3f}"
)
